"""A batcher that is interrupted: a signal handler, or a finalizer, captures on the thread that is taking events."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf
from types import FrameType

import pytest

from eventpipe.events import CapturedEvent
from eventpipe.testing.events import make_event
from eventpipe.transport.batcher import Batcher, LaneOf

LANES: list[LaneOf | None] = [None, lambda event: event.lane]


def make(batch_events: int, lane_of: LaneOf | None) -> Batcher:
    numbers = count(1)
    return Batcher(
        batch_events=batch_events,
        batch_bytes=10**6,
        batch_age=1.0,
        lane_of=lane_of,
        new_id=lambda: f"batch-{next(numbers)}",
        wall=lambda: 0.0,
        unique_ids=False,
    )


def fill_interrupted(
    batcher: Batcher, queue: deque[CapturedEvent], steps: range, handler: Callable[[], None], at: set[str]
) -> int:
    """Fill ``batcher`` with all of ``queue``; ``handler`` is called at those ``steps`` that Python tells of ``at``."""
    seen = count()

    def interrupt(frame: FrameType, kind: str, argument: object) -> None:
        if kind in at and next(seen) in steps:
            sys.setprofile(None)
            handler()
            sys.setprofile(interrupt)

    sys.setprofile(interrupt)
    try:
        return batcher.fill(queue, len(queue))
    finally:
        sys.setprofile(None)


def inside(batcher: Batcher) -> list[CapturedEvent]:
    """All events that the batcher has, in order."""
    batcher.close()
    events: list[CapturedEvent] = []
    while (batch := batcher.take(lambda lane: True, inf)) is not None:
        events += batch.events
    return events


WHEN = [range(step, step + 1) for step in range(12)] + [range(100)]


@pytest.mark.parametrize("steps", WHEN, ids=str)
@pytest.mark.parametrize("lane_of", LANES, ids=["one lane", "lanes"])
@pytest.mark.parametrize("batch_events", [4, 1000], ids=["a part of the queue", "all of it"])
def test_what_is_captured_meanwhile_stays(batch_events: int, lane_of: LaneOf | None, steps: range) -> None:
    """Each event is in the batcher or still in the queue, in the order of the captures."""
    batcher = make(batch_events, lane_of)
    captured = [make_event(f"e{number}") for number in range(10)]
    queue = deque(captured)

    def capture() -> None:
        captured.append(make_event("of a handler"))
        queue.append(captured[-1])

    taken = fill_interrupted(batcher, queue, steps, capture, {"call", "return", "c_call", "c_return"})

    assert len(captured) > 10
    assert batcher.events == taken
    assert [*inside(batcher), *queue] == captured


@pytest.mark.parametrize("steps", WHEN, ids=str)
@pytest.mark.parametrize("lane_of", LANES, ids=["one lane", "lanes"])
@pytest.mark.parametrize("number", [1, 3, 10])
def test_what_is_dropped_meanwhile_is_not_missed(number: int, lane_of: LaneOf | None, steps: range) -> None:
    """A handler makes room from the front of the queue, to its last event; what is left is taken."""
    batcher = make(1000, lane_of)
    events = [make_event(f"e{number}") for number in range(number)]
    queue = deque(events)
    dropped: list[CapturedEvent] = []

    def drop() -> None:
        if queue:
            dropped.append(queue.popleft())

    # Between a look at the queue and a call, no handler runs: there is no "c_call" here.
    taken = fill_interrupted(batcher, queue, steps, drop, {"call", "return", "c_return"})

    assert batcher.events == taken
    assert [event for event in events if event not in dropped] == [*inside(batcher), *queue]
