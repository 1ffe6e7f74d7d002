"""Waiting for barriers at all sinks, and saying what became of the events before them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from eventpipe.outcomes import FlushReport
from eventpipe.transport.barrier import Barrier, Until
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
    try:
        for visit in visits:
            await visit.wait(deadline)
    finally:
        for visit in visits:
            visit.dispatcher.leave_barrier(visit.barrier)
    delivered = pending = 0
    dropped: Counter[str] = Counter()
    for visit in visits:
        delivered += visit.barrier.delivered - visit.delivered_before
        pending += visit.left_out + max(visit.barrier.unsettled, 0)
        if visit.barrier.dropped:
            dropped += visit.barrier.dropped - Counter(visit.dropped_before)
    return FlushReport(delivered, dropped.total(), dict(dropped), 0, pending, (), loop.time() - began)


class _Visit:
    """One flush at one barrier, which other flushes may have opened earlier: it counts from here on only."""

    __slots__ = ("barrier", "delivered_before", "dispatcher", "dropped_before", "is_expired", "left_out")

    def __init__(self, dispatcher: Dispatcher, until: Until, *, hurry: bool) -> None:
        self.dispatcher = dispatcher
        self.barrier, self.left_out = dispatcher.open_barrier(until, hurry=hurry)
        self.delivered_before = self.barrier.delivered
        self.dropped_before = dict(self.barrier.dropped)
        self.is_expired = False

    async def wait(self, deadline: float | None) -> None:
        """Park until the barrier is reached, nobody is left who could reach it, or time is up."""
        barrier = self.barrier
        if barrier.is_reached:
            return
        # A timer by itself: asyncio.timeout() costs 4 µs, as much as all the rest of a flush.
        timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._expire)
        try:
            async with barrier.condition:
                await barrier.condition.wait_for(self._is_over)
        finally:
            if timer is not None:
                timer.cancel()

    def _is_over(self) -> bool:
        return self.barrier.is_reached or self.barrier.is_given_up or self.is_expired

    def _expire(self) -> None:
        self.is_expired = True
        asyncio.get_running_loop().create_task(announce(self.barrier))  # over in one step


async def announce(barrier: Barrier) -> None:
    """Let everybody who waits at a barrier look whether that is over."""
    async with barrier.condition:
        barrier.condition.notify_all()
