"""The right to run something, with one holder at a time, among all who share a store."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from eventpipe.checked import shown
from eventpipe.core.deadline import Deadline
from eventpipe.core.granting import Granting, Grantor
from eventpipe.core.hook import is_plain
from eventpipe.core.tenure import Guard, Tenure, Terms
from eventpipe.errors import LeaseHeldError, LeaseLostError

# A store whose clock is a little slow says that no time remains, and yet that the lease is held.
MIN_PAUSE: Final = 0.05


class Lease:
    """A holder's side of a lease: takes it, keeps it, notices its loss, and gives it back.

    ::

        lease = Lease(store, "reconciler")
        await lease.acquire()
        try:
            async with lease.guard():
                ...  # cancelled when the lease is lost
        finally:
            await lease.release()

    While it is held in a store that is shared there is one task, the heartbeat; in others there is none, because who
    holds it cannot stall while somebody else goes on. A renewal that fails or hangs is tried again at the next beat.
    The lease is lost when somebody else has it, or ``ttl`` less one heartbeat after the last renewal that succeeded was
    begun, whether the store answers or not: the holder knows of it before anybody else can have the lease.

    It belongs to one event loop. After ``release()``, and after a loss, it can be acquired again.

    Attributes:
        name: What it is the right to.
        holder: Who asks, for the eyes of people.
    """

    def __init__(
        self,
        store: Grantor,
        name: str,
        *,
        holder: str | None = None,
        ttl: float = 60.0,
        heartbeat: float = 3.0,
        on_lost: Callable[[LeaseLostError], object] | None = None,
    ) -> None:
        """Make one that is not held.

        Args:
            store: Where it is kept.
            name: What it is the right to.
            holder: Who asks; ``None``: the names of host and process, and a few random letters.
            ttl: Seconds after which somebody else may have it when its holder is silent. The default outlives a process
                that is held up; failover after a crash takes as long. Not used in a store that is not shared.
            heartbeat: Seconds between renewals, below half of ``ttl``, so that one that fails costs nothing. A call to
                the store that takes longer hangs.
            on_lost: Called once with each loss, in the event loop; a plain function.

        Raises:
            ValueError: A number is not positive, or they contradict each other.
            TypeError: One of them is no number, or ``on_lost`` is no plain function.
        """
        _check_positive("ttl", ttl)
        _check_positive("heartbeat", heartbeat)
        if heartbeat >= ttl / 2:
            raise ValueError(
                f"heartbeat must be below half of ttl ({ttl / 2:g} s), not {heartbeat:g}: lower it, or raise ttl"
            )
        if on_lost is not None and not is_plain(on_lost):
            raise TypeError(
                f"on_lost must be a plain function, not {shown(on_lost)}: it is called where nothing can wait"
            )
        self.name = name
        self.holder = holder or f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"
        self._store = store
        self._terms = Terms(ttl, heartbeat) if store.is_shared else None
        self._granting = Granting(store, name, self.holder, patience=heartbeat)
        self._on_lost: Callable[[LeaseLostError], object] = on_lost or _ignore
        self._tenure: Tenure | None = None
        self._is_acquiring = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} token={self.token}>"

    @property
    def token(self) -> int | None:
        """The fencing token; ``None``: it is not held, or was lost. ``check()`` also looks at the clock."""
        tenure = self._tenure
        return tenure.token if tenure is not None and tenure.lost is None else None

    def check(self) -> int:
        """The fencing token, if the lease is still held.

        Raises:
            LeaseLostError: It was lost, or is not held.
        """
        return self._held().check()

    def guard(self) -> Guard:
        """A context manager, ``async with lease.guard():``, whose block is cancelled when the lease is lost.

        In place of that cancellation it raises ``LeaseLostError``; one from outside stays ``CancelledError``. Giving
        the lease back ends no block.

        Raises:
            LeaseLostError: It was lost, or is not held.
        """
        return Guard(self._held())

    async def try_acquire(self) -> int:
        """Take it, if nobody has it.

        Returns:
            The fencing token.

        Raises:
            LeaseHeldError: Somebody has it.
            LeaseLostError: The store took so long to answer that its answer is not to be believed.
            StoreError: The store failed. Where it granted the lease all the same, that ends after ``ttl``.
            RuntimeError: This very object holds it, or is about to take it.

        Cancellation:
            Safe. A lease that was granted meanwhile is given back, by a task that outlives the call where the store is
            slow to answer.
        """
        with self._only_once():
            return await self._ask(Deadline())

    async def acquire(self, timeout: float | None = None) -> int:
        """Take it; wait while somebody has it. Who waits longest need not be next.

        Args:
            timeout: Seconds on the loop clock; zero or less tries once. ``None``: as long as it takes.

        Returns:
            The fencing token.

        Raises:
            TimeoutError: Somebody still has it, or the store does not answer.
            LeaseLostError: As ``try_acquire()``.
            StoreError: As ``try_acquire()``.
            ClosedError: The store was closed.
            RuntimeError: As ``try_acquire()``.

        Cancellation:
            As ``try_acquire()``.
        """
        deadline = Deadline.after(timeout)
        with self._only_once():
            while True:
                seen = self._store.version(self.name)  # before the look: a release in between is noticed
                try:
                    return await self._ask(deadline)
                except LeaseHeldError as held:
                    if deadline.expired:
                        raise TimeoutError(
                            f"{self.name} was not released within {timeout} s by {held.holder}"
                        ) from held
                    pause = None if held.remaining is None else max(MIN_PAUSE, held.remaining)
                with contextlib.suppress(TimeoutError):
                    async with deadline.earlier(pause).scope():
                        await self._store.wait(self.name, seen)

    async def release(self) -> None:
        """Give it back; nothing happens when it is not held, or was lost. May come twice, and at once.

        Where the store fails, or does not answer within a heartbeat, that is logged: the lease ends by itself.

        Cancellation:
            Safe. It is given back all the same.
        """
        tenure, self._tenure = self._tenure, None
        if tenure is not None and tenure.lost is None:
            self._granting.begin_return(tenure.token, tenure.end())
        await self._granting.returned()

    def _held(self) -> Tenure:
        if self._tenure is None:
            raise LeaseLostError(f"{self.name} is not held: acquire() takes it")
        return self._tenure

    @contextmanager
    def _only_once(self) -> Iterator[None]:
        if self._is_acquiring or self.token is not None:
            state = "about to be taken" if self._is_acquiring else "held"
            raise RuntimeError(f"{self.name} is {state} by this very object: each holder needs a Lease of its own")
        self._is_acquiring = True
        try:
            yield
        finally:
            self._is_acquiring = False

    async def _ask(self, deadline: Deadline) -> int:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        token = await self._granting.ask(self._terms and self._terms.ttl, deadline)
        tenure = Tenure(self._store, self.name, token, self._on_lost)
        if self._terms is not None:
            elapsed = loop.time() - asked_at
            if elapsed >= self._terms.trust:
                self._granting.begin_return(token)
                raise LeaseLostError(f"{self.name} was granted too late to be trusted: the store took {elapsed:.1f} s")
            tenure.keep(self._terms, asked_at)
        self._tenure = tenure
        return token


def _check_positive(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{option} must be a number of seconds, not {shown(value)}")
    if not 0 < value < math.inf:
        raise ValueError(f"{option} must be a positive number of seconds, not {shown(value)}")


def _ignore(error: LeaseLostError) -> None:
    """Leave a loss to who checks for it."""
