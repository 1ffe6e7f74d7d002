"""Where the dispatcher task waits when there is nothing to decide."""

from __future__ import annotations

import asyncio
import contextlib
from math import inf

from eventpipe.core.waking import resolve


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
        if self._waiter is not None:
            resolve(self._waiter)

    def rouse(self) -> None:
        """Wake the task, also out of a signal handler, which runs inside the loop's wait for sockets."""
        self.wake()
        if self._waiter is not None and self._timer is None:  # else that wait ends in time
            with contextlib.suppress(RuntimeError):  # the loop was closed
                self._waiter.get_loop().call_soon_threadsafe(_nothing)  # which alone ends it: PEP 475

    async def park(self, until: float) -> None:
        """Wait until ``wake()``, or until the loop clock says ``until``; infinity is never; not at all while awake.

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
            if not self.is_awake:  # else a signal handler asked for another look meanwhile
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


def _nothing() -> None:
    pass
