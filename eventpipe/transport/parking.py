"""Where the dispatcher task waits when there is nothing to decide."""

from __future__ import annotations

import asyncio
from math import inf


class Parking:
    """Parks one task until somebody wakes it or a moment comes.

    Attributes:
        is_awake: Somebody called ``wake()`` since this was last cleared: parking would miss it.
    """

    def __init__(self) -> None:
        self.is_awake = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def wake(self) -> None:
        """Let the task look again; from its own loop only."""
        self.is_awake = True
        waiter = self._waiter
        # A loop that was closed under the task leaves a future behind that can wake nobody any more.
        if waiter is not None and not waiter.done() and not waiter.get_loop().is_closed():
            waiter.set_result(None)

    async def park(self, until: float) -> None:
        """Wait until ``wake()``, or until the loop clock says ``until``; infinity is never.

        Cancellation:
            Safe. ``leave()`` comes in the end.
        """
        loop = asyncio.get_running_loop()
        if until < self._timer_at:
            # One that would come too late is replaced. One that comes too early wakes for nothing once, which costs
            # less than a new timer for every batch: 4 µs.
            self.leave()
            self._timer, self._timer_at = loop.call_at(until, self._ring), until
        waiter = self._waiter = loop.create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:  # and not that of a later life, when the garbage collector ends this one
                self._waiter = None

    def leave(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, inf

    def _ring(self) -> None:
        self._timer, self._timer_at = None, inf
        self.wake()
