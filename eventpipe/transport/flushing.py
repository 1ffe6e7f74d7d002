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
    is_late = False
    try:
        for visit in visits:
            barrier = visit.barrier
            # Spelled out: the two coroutines of `async with` cost a tenth more than the wait itself.
            await barrier.condition.acquire()
            try:
                while not (barrier.is_over or is_late):
                    barrier.announce_by(deadline)
                    await barrier.condition.wait()
                    is_late = deadline is not None and loop.time() >= deadline
            finally:
                barrier.condition.release()
    finally:
        for visit in visits:
            visit.dispatcher.flushes.leave(visit.barrier)
    delivered = pending = spooled = 0
    dropped: Counter[str] | None = None
    for visit in visits:
        delivered += visit.barrier.delivered - visit.delivered_before
        spooled += visit.barrier.spooled - visit.spooled_before
        pending += visit.left_out + max(visit.barrier.unsettled, 0)
        if visit.barrier.dropped:
            since = Counter(visit.barrier.dropped)
            since.subtract(visit.dropped_before or {})
            dropped = +since if dropped is None else dropped + since
    elapsed = loop.time() - began
    if dropped is None:
        return FlushReport(delivered, 0, {}, spooled, pending, (), elapsed)  # by name costs a quarter more
    return FlushReport(delivered, dropped.total(), dict(dropped), spooled, pending, (), elapsed)


class _Visit:
    """One flush at one barrier, which other flushes may have opened earlier: it counts from here on only."""

    __slots__ = ("barrier", "delivered_before", "dispatcher", "dropped_before", "left_out", "spooled_before")

    def __init__(self, dispatcher: Dispatcher, until: Until, *, hurry: bool) -> None:
        self.dispatcher = dispatcher
        self.barrier, self.left_out = dispatcher.flushes.open(until, hurry=hurry)
        self.delivered_before = self.barrier.delivered
        self.spooled_before = self.barrier.spooled
        self.dropped_before = Counter(self.barrier.dropped) if self.barrier.dropped else None
