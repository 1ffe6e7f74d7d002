"""A wall clock that is set back while events wait for their next attempt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.retention import Retention
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import make_event

pytestmark = pytest.mark.asyncio


class Steps(LoopClock):
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0.0

    def time(self) -> float:
        return super().time() + self.step


@pytest.fixture
def clock() -> Steps:
    return Steps()


async def _caught_up(consumer: Consumer) -> None:
    async with asyncio.timeout(36_000):
        while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(1)


@pytest.mark.parametrize("step", [-10.0, -3600.0, 10.0])
@pytest.mark.parametrize("ordered_by", ["topic", "key"])
async def test_order_holds_though_the_wall_clock_is_set_while_an_event_waits(
    log: EventLog,
    clock: Steps,
    ordered_by: Any,
    step: float,  # Any: a word
) -> None:
    """The store has it wait until its clock says so; what comes behind it waits too."""
    await log.append_many("orders", [make_event(distinct_id="one") for _ in range(5)])
    seen: list[tuple[int, int]] = []

    async def handle(event: ConsumedEvent) -> None:
        seen.append((event.offset, event.attempt))
        if (event.offset, event.attempt) == (1, 1):
            asyncio.get_running_loop().call_later(0.05, setattr, clock, "step", step)
            raise ValueError

    consumer = Consumer(
        log, "orders", "billing", handle, ordered_by=ordered_by, retry=RetryPolicy(initial=0.5, jitter=0.0)
    )
    async with consumer:
        await _caught_up(consumer)

    assert seen == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1), (4, 1)]


async def test_a_key_goes_on_when_what_it_waits_for_was_dropped(log: EventLog) -> None:
    """Also while other events wait for their next attempt, and more come all the time."""
    await log.declare("orders", Retention(max_events=4, on_full="drop_oldest"))
    seen: list[int] = []

    async def handle(event: ConsumedEvent) -> None:
        seen.append(event.offset)
        if event.event.name == "fails":
            raise ValueError

    policy = RetryPolicy(initial=5.0, max_delay=5.0, jitter=0.0)
    consumer = Consumer(log, "orders", "billing", handle, ordered_by="key", retry=policy, max_attempts=None)
    async with consumer:
        await log.append("orders", make_event("fails", distinct_id="one"))
        await asyncio.sleep(1)
        await log.append("orders", make_event(distinct_id="one"))  # behind it
        for number in range(4):
            await log.append("orders", make_event("fails", distinct_id=f"other {number}"))
            await asyncio.sleep(0.1)
        await log.append("orders", make_event("last", distinct_id="one"))
        await asyncio.sleep(20)

        assert (seen.count(0), seen.count(6)) == (1, 1)
