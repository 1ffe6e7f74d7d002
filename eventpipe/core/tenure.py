"""One stretch of holding a lease: how long it is to be believed, and what ends when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol

from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context
from eventpipe.core.stopping import contained
from eventpipe.errors import LeaseLostError

_logger = contained_logger(__name__)


class Terms(NamedTuple):
    """How a lease is kept in a store that others share.

    Attributes:
        ttl: Seconds that the store keeps it without being told again.
        heartbeat: Seconds from one renewal to the next, and the time that each has.
    """

    ttl: float
    heartbeat: float

    @property
    def trust(self) -> float:
        """Seconds, from before the store was asked, in which its yes is believed.

        The store counts ``ttl`` from when it is asked, so nobody else has the lease before they are over; the heartbeat
        is left for what was begun just before the end.
        """
        return self.ttl - self.heartbeat


class Renewer(Protocol):
    """Who can make a lease last longer."""

    async def renew(self, name: str, token: int, ttl: float | None) -> None:
        """As ``LeaseStore.renew()`` does."""


class Tenure:
    """A lease while it is held, until it ends or is lost; then no task and no timer is left of it.

    The trust window is a timer of its own beside the heartbeat, so that it ends in time even if the store swallows a
    cancellation. Both go by the clock of the loop, which never jumps, and stands still while a machine sleeps. A store
    may go by another one. Where that comes to the end of the lease first, as the wall clock of a shared file does when
    it is set forward, the next heartbeat finds out; until then the token, which the store compares, keeps what is done
    here from being settled.

    Attributes:
        token: What proves to the store that this is the newest owner.
        lost: Why the right was lost; ``None``: it was not.
        guards: What is cancelled when it is.
    """

    __slots__ = (
        "_beating",
        "_is_over",
        "_loop",
        "_name",
        "_on_lost",
        "_store",
        "_timer",
        "_trusted_until",
        "guards",
        "lost",
        "token",
    )

    def __init__(self, store: Renewer, name: str, token: int, on_lost: Callable[[LeaseLostError], object]) -> None:
        self.token = token
        self.lost: LeaseLostError | None = None
        self.guards: set[Guard] = set()
        self._store = store
        self._name = name
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self._trusted_until = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None

    def keep(self, terms: Terms, asked_at: float) -> None:
        """Begin to renew it; without this call it lasts until it is ended.

        Args:
            terms: How.
            asked_at: When the store was asked for it, on the loop clock, before the call.
        """
        self._trusted_until = asked_at + terms.trust
        self._timer = self._loop.call_at(self._trusted_until, self._look, context=own_context())
        self._beating = self._loop.create_task(
            self._beat(terms, asked_at), name=f"heartbeat of {self._name}", context=own_context()
        )

    def check(self) -> int:
        """The token, if the lease is still held.

        Raises:
            LeaseLostError: It was lost; found out here, if the loop was held up when it should have been seen.
        """
        if self._trusted_until <= self._loop.time():
            self._run_out()
        if self.lost is not None:
            raise LeaseLostError(str(self.lost), holder=self.lost.holder)
        return self.token

    def end(self) -> asyncio.Task[None] | None:
        """Renew it no more; returns the heartbeat, which ends as soon as it can."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._beating is not None:
            self._beating.cancel()
        return self._beating

    def _lose(self, error: LeaseLostError) -> None:
        if not self._is_over:
            self.lost = error
            self.end()
            for guard in list(self.guards):
                guard.cancel()
            contained(f"on_lost() of {self._name}", self._on_lost, error)

    def _run_out(self) -> None:
        self._lose(LeaseLostError(f"{self._name} was lost: the store has not renewed it in time"))

    def _look(self) -> None:
        """See whether the window is over. Renewals move it and leave the timer alone, which so fires once a window."""
        if self._trusted_until <= self._loop.time():
            self._run_out()
        else:
            self._timer = self._loop.call_at(self._trusted_until, self._look, context=own_context())

    async def _beat(self, terms: Terms, asked_at: float) -> None:
        is_failing = False
        while not self._is_over:  # a store may swallow the cancellation
            await asyncio.sleep(asked_at + terms.heartbeat - self._loop.time())
            asked_at = self._loop.time()
            try:
                async with asyncio.timeout(terms.heartbeat):
                    await self._store.renew(self._name, self.token, terms.ttl)
            except LeaseLostError as error:
                self._lose(error)
                return
            except Exception as error:  # noqa: BLE001  # whatever it is, there is another beat until the window is over
                if not is_failing:
                    _logger.warning("%s could not be renewed, and is tried again: %s", self._name, where_raised(error))
                is_failing = True
            else:
                self._trusted_until = asked_at + terms.trust
                if is_failing:
                    _logger.info("%s is renewed again", self._name)
                is_failing = False


class Guard:
    """Runs the block under a lease: cancels it when the lease is lost, and raises ``LeaseLostError`` in its place.

    A cancellation from outside stays ``CancelledError``, also when both come at once. Any other exception of the block
    leaves as it is; a block that ran to its end although the lease was lost did so in vain, and is told.
    """

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure
        self._has_cancelled = False

    async def __aenter__(self) -> None:
        self._tenure.check()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine of a task
        self._task = task
        self._cancelled_before = task.cancelling()
        self._tenure.guards.add(self)

    def cancel(self) -> None:
        """End the block; one that found the loss itself, by ``check()``, is told by that."""
        if self._task is not asyncio.current_task():
            self._has_cancelled = True
            self._task.cancel()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tenure.guards.discard(self)
        if self._has_cancelled and await self._is_cancelled_from_outside(exc):
            if isinstance(exc, asyncio.CancelledError):
                return
            raise asyncio.CancelledError
        if exc is None or (self._has_cancelled and isinstance(exc, asyncio.CancelledError)):
            self._tenure.check()

    async def _is_cancelled_from_outside(self, exc: BaseException | None) -> bool:
        """Take our own cancellation back; whether there is another."""
        if not isinstance(exc, asyncio.CancelledError):
            # Ours may be on its way: up to Python 3.12 it would meet whatever the task awaits next.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        return self._task.uncancel() > self._cancelled_before
