"""Asking a store for a lease and giving it back, so that nothing that was granted is forgotten."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

from eventpipe.core.deadline import Deadline
from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context

_T = TypeVar("_T")

_logger = contained_logger(__name__)

# Who gives up waits so long until what the store was asked for is undone; a service that is cut off has 0.08 s to end.
GRACE: Final = 0.05


class Grantor(Protocol):
    """What a lease needs of a store; each store of ours has it."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes may hold leases in it. Where it is false, no lease need be renewed."""

    async def acquire(self, name: str, holder: str, ttl: float | None) -> int:
        """As ``LeaseStore.acquire()`` does."""

    async def renew(self, name: str, token: int, ttl: float | None) -> None:
        """As ``LeaseStore.renew()`` does."""

    async def release(self, name: str, token: int) -> None:
        """As ``LeaseStore.release()`` does."""

    def version(self, subject: str) -> int:
        """As ``Store.version()`` does."""

    async def wait(self, subject: str, seen: int) -> None:
        """As ``Store.wait()`` does."""


class Granting:
    """The calls that take a lease and give it back. They go on to their ends without those who made them.

    A call to a store that is cancelled half-way may have done its work: the lease would be granted, and nobody would
    have its token. So each runs in a task of its own, and what was granted to somebody who left is given back.
    """

    def __init__(self, store: Grantor, name: str, holder: str, patience: float) -> None:
        """Bind them to one lease and one holder.

        Args:
            store: Who is asked.
            name: For which lease.
            holder: For whom.
            patience: Seconds that a call may take that nobody waits for, or that gives back.
        """
        self._store = store
        self._name = name
        self._holder = holder
        self._patience = patience
        self._returning: asyncio.Task[None] | None = None

    async def ask(self, ttl: float | None, deadline: Deadline) -> int:
        """Take it, if nobody has it; the token.

        Raises:
            TimeoutError: The store does not answer.
            Exception: What the store raised.

        Cancellation:
            Safe. What was granted is given back.
        """
        patience = max(GRACE, deadline.remaining())  # however late it is, a store that answers is listened to
        timeout = None if patience == math.inf else patience
        if self._returning is not None:
            await asyncio.wait({self._returning}, timeout=timeout)  # else it would be held by ourselves
        call = self._launch(self._store.acquire(self._name, self._holder, ttl), "asking for")
        try:
            await asyncio.wait({call}, timeout=timeout)
        except asyncio.CancelledError:
            await self._undo(call)
            raise
        if not call.done():
            await self._undo(call)
            raise TimeoutError(f"the store was asked for {self._name} and did not answer within {patience:g} s")
        return call.result()

    def begin_return(self, token: int, beating: asyncio.Task[None] | None = None) -> None:
        """Give it back, once the heartbeat has ended; ``returned()`` waits for that."""
        self._begin(self._return(token, beating))

    async def returned(self) -> None:
        """Wait until it is given back, if that is under way.

        Cancellation:
            It is given back all the same, and for that gets a moment.
        """
        if self._returning is not None:
            try:
                await asyncio.wait({self._returning})
            except asyncio.CancelledError:
                await self.give_grace()
                raise

    async def give_grace(self) -> None:
        """Wait a moment until it is given back, if that is under way; where it takes longer it goes on by itself."""
        if self._returning is not None:
            await asyncio.wait({self._returning}, timeout=GRACE)

    async def _undo(self, call: asyncio.Task[int]) -> None:
        self._begin(self._return_once_granted(call))
        await self.give_grace()

    async def _return_once_granted(self, call: asyncio.Task[int]) -> None:
        await asyncio.wait({call}, timeout=self._patience)
        if not call.done():
            call.cancel()
        elif not call.cancelled() and call.exception() is None:
            await self._return(call.result())

    async def _return(self, token: int, beating: asyncio.Task[None] | None = None) -> None:
        try:
            async with asyncio.timeout(self._patience):
                if beating is not None:
                    await asyncio.wait({beating})
                await self._store.release(self._name, token)
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody can do more about it
            _logger.warning("%s could not be given back, and ends by itself: %s", self._name, where_raised(error))

    def _begin(self, returning: Coroutine[Any, Any, None]) -> None:  # Any: what it yields to its loop
        self._returning = self._launch(returning, "giving back")
        self._returning.add_done_callback(self._is_over)

    def _is_over(self, task: asyncio.Task[None]) -> None:
        if self._returning is task:
            self._returning = None

    def _launch(self, call: Coroutine[Any, Any, _T], what: str) -> asyncio.Task[_T]:
        return asyncio.get_running_loop().create_task(call, name=f"{what} {self._name}", context=own_context())
