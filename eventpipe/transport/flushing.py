"""Waiting for barriers at all sinks, and saying what became of the events before them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from eventpipe.outcomes import FlushReport
from eventpipe.transport.barrier import Until
from eventpipe.transport.dispatcher import Dispatcher


async def flush(dispatchers: Sequence[Dispatcher], deadline: float | None, until: Until, *, hurry: bool) -> FlushReport:
    """Open a barrier at each sink, and wait until all are reached or ``deadline`` has come.

    Args:
        dispatchers: The sinks.
        deadline: When to return at the latest, on the loop clock; ``None`` is never.
        until: What the barriers wait for.
        hurry: Whether backoffs that wait are due at once.

    Cancellation:
        Safe. The barriers are forgotten; no event is touched.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    visits = [_Visit(dispatcher, until, hurry=hurry) for dispatcher in dispatchers]
    timer: asyncio.TimerHandle | None = None
    try:
        for visit in visits:
            if visit.is_over:
                continue
            if timer is None and deadline is not None:
                # A timer by itself: asyncio.timeout() costs 4 µs, as much as half of the rest of a flush.
                timer = loop.call_at(deadline, _expire, visits)
            condition = visit.barrier.condition
            async with condition:
                while not visit.is_over:
                    await condition.wait()
    finally:
        if timer is not None:
            timer.cancel()
        for visit in visits:
            visit.dispatcher.leave_barrier(visit.barrier)
    delivered = pending = 0
    dropped: Counter[str] | None = None
    for visit in visits:
        delivered += visit.barrier.delivered - visit.delivered_before
        pending += visit.left_out + max(visit.barrier.unsettled, 0)
        if visit.barrier.dropped:
            since = Counter(visit.barrier.dropped)
            since.subtract(visit.dropped_before or {})
            dropped = +since if dropped is None else dropped + since
    elapsed = loop.time() - began
    if dropped is None:
        return FlushReport(delivered, pending=pending, elapsed=elapsed)
    return FlushReport(delivered, dropped.total(), dict(dropped), pending=pending, elapsed=elapsed)


class _Visit:
    """One flush at one barrier, which other flushes may have opened earlier: it counts from here on only."""

    __slots__ = ("barrier", "delivered_before", "dispatcher", "dropped_before", "is_expired", "left_out")

    def __init__(self, dispatcher: Dispatcher, until: Until, *, hurry: bool) -> None:
        self.dispatcher = dispatcher
        self.barrier, self.left_out = dispatcher.open_barrier(until, hurry=hurry)
        self.delivered_before = self.barrier.delivered
        self.dropped_before = Counter(self.barrier.dropped) if self.barrier.dropped else None
        self.is_expired = False

    @property
    def is_over(self) -> bool:
        """Whether its barrier was reached, nobody is left who could reach it, or time is up."""
        return self.barrier.is_reached or self.barrier.is_given_up or self.is_expired


def _expire(visits: Sequence[_Visit]) -> None:
    for visit in visits:
        visit.is_expired = True
        asyncio.get_running_loop().create_task(visit.barrier.announce())  # over in one step
