"""What goes into one batch: what fits, of one lane, no event twice, and few beside one that was handed out before."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from eventpipe.events import UUID_AT, CapturedEvent
from eventpipe.log.lines import Held

OrderedBy = Literal["topic", "key"]


class Rules(NamedTuple):
    """How events leave.

    Attributes:
        ordered_by: What is kept in order.
        batch_events: Events that leave at once, at most.
        batch_bytes: Their encoded bytes, at most, unless it is one event.
        max_batch_age: Seconds from the append that a batch waits for more events.
        delay: Seconds from the append before which no event leaves.
        target: Events to have in hand while there are more.
        target_bytes: Their encoded bytes.
        max_attempts: How often an event is handed out; ``None``: without end.
        concurrency: How many hand-outs there are at once.
        lane_of: Names the lane of an event; ``None``: there are none. A batch has one lane.
    """

    ordered_by: OrderedBy | None
    batch_events: int
    batch_bytes: int
    max_batch_age: float
    delay: float
    target: int
    target_bytes: int
    max_attempts: int | None
    concurrency: int = 1
    lane_of: Callable[[CapturedEvent], str | None] | None = None


class Filling:
    """A batch that is being filled from lines of events.

    An event at a later attempt is with fewer others each time, and alone at the last one: a fault that a far end does
    not put down to one event ends with that event, and not with its neighbours.

    Attributes:
        batch: What is in it.
        size: Its encoded bytes.
        most: How many it takes.
        is_full: Whether nothing more goes in.
    """

    def __init__(self, rules: Rules) -> None:
        self.batch: list[Held] = []
        self.size = 0
        self.most = rules.batch_events
        self.is_full = False
        self._rules = rules
        self._ids: set[bytes] = set()
        self._lane: str | None = None

    def fill(self, events: deque[Held], last: float) -> bool:
        """Move events from the front of a line into the batch, as far as it takes them.

        Args:
            events: The line.
            last: Move none after this offset.

        Returns:
            Whether the line goes on: the batch may be full, but does not refuse the line's first event.
        """
        batch, ids, size, room = self.batch, self._ids, self.size, self._rules.batch_bytes
        lane_of = self._rules.lane_of
        before, goes_on = len(batch), True
        for held in events:
            claimed, event = held.claimed, held.claimed.event
            if claimed.offset > last:
                break
            most = self.most if claimed.attempt == 1 else min(self.most, self._most_at(claimed.attempt))
            if batch and (held.fault is not None or len(batch) >= most or size + held.size > room):
                self.is_full = True
                break
            lane = None if lane_of is None or event is None or held.fault is not None else _called(lane_of, event)
            id_ = b"" if event is None else event.data[UUID_AT]
            if batch and (lane != self._lane or id_ in ids):
                goes_on = False
                break
            batch.append(held)
            ids.add(id_)
            size += held.size
            self.most, self._lane = most, lane
            if held.fault is not None or len(batch) >= most:
                self.is_full = True
                break
        for _ in range(len(batch) - before):
            events.popleft()
        self.size = size
        return goes_on

    def _most_at(self, attempt: int) -> int:
        return (
            1
            if attempt >= (self._rules.max_attempts or math.inf)
            else max(self._rules.batch_events >> (attempt - 1), 1)
        )


def _called(lane_of: Callable[[CapturedEvent], str | None], event: CapturedEvent) -> str | None:
    try:
        return lane_of(event)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  # a codec's fault costs its event the lane alone
        return None
