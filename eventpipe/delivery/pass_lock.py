"""The right to make passes, where one process at a time is to have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from eventpipe.core.lease import Lease
from eventpipe.stores.base import Store

_HEARTBEAT: Final = 3.0
_BEATS: Final = 4  # at least so many in the time of a lease, so that one that fails costs nothing


class PassLock:
    """A lease that all passes of one reconciler hold together: the first takes it, the last gives it back.

    Args:
        store: Where it is kept.
        name: What it is called. ``None``: there is none, and whoever asks may go on.
        ttl: Seconds after which others may have it when its holder is silent.
        holder: Who asks, for the eyes of people.
    """

    def __init__(self, store: Store, name: str | None, ttl: float, holder: str) -> None:
        self._store = store
        self._name = name
        self._ttl = ttl
        self._holder = holder
        self._lease: Lease | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._users = 0

    @property
    def is_needed(self) -> bool:
        """Whether there is one."""
        return self._name is not None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Callable[[], object]]:
        """Hold it; the block is cancelled when it is lost, and raises ``LeaseLostError``. One enters at a time.

        Yields:
            What raises ``LeaseLostError`` once it was lost.

        Raises:
            LeaseHeldError: Somebody else has it.
            LeaseLostError: It was lost; or a pass that it was lost for has not ended yet.
            StoreError: The store failed.
        """
        if self._name is None:
            yield _nothing
            return
        lease = self._of_this_loop(self._name)
        if not self._users:
            await lease.try_acquire()
        self._users += 1
        try:
            async with lease.guard():
                yield lease.check
        finally:
            self._users -= 1
            if not self._users:
                await lease.release()

    def _of_this_loop(self, name: str) -> Lease:
        loop = asyncio.get_running_loop()
        if self._lease is None or self._loop is not loop:
            heartbeat = min(_HEARTBEAT, self._ttl / _BEATS)
            self._lease = Lease(self._store, name, holder=self._holder, ttl=self._ttl, heartbeat=heartbeat)
            self._loop = loop
            self._users = 0
        return self._lease


def _nothing() -> None:
    """Let go on whoever asks."""
