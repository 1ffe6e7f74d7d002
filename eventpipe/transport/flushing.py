"""Waiting for barriers at all sinks, and saying what became of the events before them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from eventpipe.core.deadline import Deadline
from eventpipe.outcomes import FlushReport
from eventpipe.transport.barrier import Barrier, Until
from eventpipe.transport.dispatcher import Dispatcher


async def flush(dispatchers: Sequence[Dispatcher], deadline: Deadline, until: Until, *, hurry: bool) -> FlushReport:
    """Open a barrier at each sink, and wait until all are reached or ``deadline`` has come.

    Args:
        dispatchers: The sinks.
        deadline: When to return at the latest.
        until: What the barriers wait for.
        hurry: Whether backoffs that wait are due at once.

    Cancellation:
        Safe. The barriers are forgotten; no event is touched.
    """
    began = asyncio.get_running_loop().time()
    left_out = sum(dispatcher.own_events for dispatcher in dispatchers)
    tallies = [_Tally(dispatcher, dispatcher.open_barrier(until, hurry=hurry)) for dispatcher in dispatchers]
    try:
        async with deadline.scope():
            for tally in tallies:
                await tally.dispatcher.wait_for(tally.barrier)
    except TimeoutError:
        pass  # the report says what is pending
    finally:
        for tally in tallies:
            tally.dispatcher.leave_barrier(tally.barrier)
    dropped: Counter[str] = Counter()
    for tally in tallies:
        dropped += tally.dropped()
    return FlushReport(
        delivered=sum(tally.delivered() for tally in tallies),
        dropped=dropped.total(),
        dropped_by_reason=dict(dropped),
        pending=sum(max(tally.barrier.unsettled, 0) for tally in tallies) + left_out,
        elapsed=asyncio.get_running_loop().time() - began,
    )


class _Tally:
    """One flush at one barrier, which other flushes may have opened earlier: counts from here on only."""

    def __init__(self, dispatcher: Dispatcher, barrier: Barrier) -> None:
        self.dispatcher = dispatcher
        self.barrier = barrier
        self._delivered = barrier.delivered
        self._dropped = Counter(barrier.dropped)

    def delivered(self) -> int:
        return self.barrier.delivered - self._delivered

    def dropped(self) -> Counter[str]:
        return self.barrier.dropped - self._dropped
