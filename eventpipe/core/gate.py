"""Parking until something moves."""

from __future__ import annotations

import asyncio

from eventpipe.core.waking import resolve
from eventpipe.errors import ClosedError


class Gate:
    """A version that moves, and whoever waits for that.

    Read ``version``, look at what it stands for, and ``wait()`` for the version that was read: what came between the
    look and the wait is noticed. It says that something happened, never what; everybody who is woken looks again.

    A waiter is a future of its own. An ``asyncio.Condition`` would do for coroutines, but its lock can only be awaited,
    and what moves a gate are plain functions: the callback of a commit, an append in memory. Everybody is woken by
    each move, never one of them, so a wake-up cannot vanish with a cancelled waiter.

    A gate belongs to one event loop. What waited in a loop that was closed is forgotten by the next move.

    Attributes:
        version: How many times it has moved.
        is_closed: Whether it moves no more.
    """

    __slots__ = ("_parked", "_why", "is_closed", "version")

    def __init__(self) -> None:
        self.version = 0
        self.is_closed = False
        self._why = ""
        self._parked: dict[asyncio.Future[None], None] = {}  # in the order in which they came

    @property
    def waiting(self) -> int:
        """How many park."""
        return len(self._parked)

    def move(self) -> None:
        """Count one up, and wake everybody who parks; they run in the next turn of the loop."""
        self.version += 1
        if self._parked:
            self._wake()

    async def wait(self, seen: int) -> None:
        """Park until ``version`` is not ``seen``; at once when it is not. Costs nothing while nothing moves.

        Raises:
            ClosedError: The gate is closed.

        Cancellation:
            Safe. Nobody else's wake-up is taken, and nothing is kept of this waiter.
        """
        if not self.is_closed and self.version == seen:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._parked[future] = None
            try:
                await future
            finally:
                self._parked.pop(future, None)  # who was woken is out already
        if self.is_closed:
            raise ClosedError(self._why)

    def close(self, why: str = "what this waits for was closed") -> None:
        """End all waiting: for those who park and for those who come, with ``ClosedError(why)``. May come twice."""
        if not self.is_closed:
            self.is_closed = True
            self._why = why
            self._wake()

    def _wake(self) -> None:
        parked, self._parked = self._parked, {}
        for future in parked:
            resolve(future)
