"""One holder's side of one consumer: the right to it, what it claimed, and what became of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Literal, Protocol

from eventpipe.core.deadline import Deadline
from eventpipe.core.lease import Lease
from eventpipe.core.log import contained_logger
from eventpipe.errors import ClosedError, LeaseLostError, StoreError, UnknownConsumerError
from eventpipe.log.claimed import log_missing, told_apart
from eventpipe.log.finishing import begin, ended, finish
from eventpipe.log.in_hand import InHand
from eventpipe.log.positions import Position
from eventpipe.stores.base import Store
from eventpipe.stores.values import (
    ClaimedEvent,
    Claims,
    ConsumerInfo,
    ConsumerKey,
    Disposal,
    Disposition,
    settled_by,
)

WhenHeld = Literal["wait", "raise"]

_logger = contained_logger(__name__)

_claim_of = attrgetter("claim")


class ConsumedLog(Protocol):
    """What a claimant needs of its log.

    Attributes:
        store: Where events and cursors are kept.
    """

    store: Store

    async def add_consumer(self, topic: str, name: str, start: Position = "earliest") -> ConsumerInfo:
        """Register a consumer; one that exists stays as it is."""

    def settled(self) -> None:
        """See that something was settled, which may be worth trimming."""


class Claimant:
    """Claims the events of one consumer for one holder, and settles them or gives them back.

    Exclusive: it holds the consumer's lease from ``open()`` to ``close()``, and each claim proves itself with the
    lease's token. Competing: any number of claimants share the consumer, and each event is held by itself for ``ttl``
    seconds.

    One task at a time waits; any number may claim and settle. It has no task of its own while nothing is claimed.

    Attributes:
        key: The consumer.
        is_competing: Whether it shares the consumer.
        is_closed: Whether it claims nothing more.
        lease: The right to the consumer; ``None`` for one that shares it.
        gap: Events that retention dropped before the consumer had settled them, as far as this holder was told.
        due: Loop clock, as of the last claim: when what was given back is due. ``None``: nothing is, or it is paused.
        damaged: Events that did not pass their checksum, which this holder was told of.
        foreign: Events that are addressed to other consumers, and that this holder has passed over.
        claimed_at: When the last claim began that was answered, on the loop clock: its time runs from then at most.
        moves: How often what was claimed turned out to be worth nothing: the consumer was moved, or taken over.
    """

    def __init__(
        self,
        log: ConsumedLog,
        key: ConsumerKey,
        *,
        start: Position = "earliest",
        competing: bool = False,
        ttl: float = 60.0,
        heartbeat: float = 3.0,
        when_held: WhenHeld = "wait",
    ) -> None:
        """Claim nothing yet.

        Args:
            log: A log that runs when ``open()`` is called.
            key: The consumer.
            start: Where it begins if it does not exist.
            competing: Whether to share it.
            ttl: Seconds that the lease, or a claimed event, is held unless renewed.
            heartbeat: Seconds between renewals of the lease.
            when_held: Whether ``open()`` waits for a lease that somebody else has, or raises.
        """
        self.key = key
        self.is_competing = competing
        self.is_closed = False
        self.lease: Lease | None = None
        if not competing:
            # A reference to us, and ours to it: the holder is in no circle, and is gone when it is forgotten.
            self.lease = Lease(log.store, key.lease, ttl=ttl, heartbeat=heartbeat, on_lost=lambda _: self._wake())
        self.gap = self.damaged = self.foreign = 0
        self.moves = 0
        self.claimed_at = 0.0
        self._log = log
        self._store = log.store
        self._start = start
        self._ttl = ttl
        self._when_held = when_held
        self._token: int | None = None
        self._held = InHand()
        self._claiming: asyncio.Task[Claims | None] | None = None  # a claim whose answer nobody has taken
        self._claiming_since = 0  # moves when it began
        self._claiming_at = 0.0  # loop clock: when it began
        self._callers = 0  # who wait for an answer
        # Claimed, and not handed to a caller, because what is addressed to others could not be settled.
        self._kept: Sequence[ClaimedEvent] = []
        self._foreign: list[Disposition] = []  # claimed, and to be passed over: they are addressed to other consumers
        self._gap = 0  # events missed that no caller was told of
        self._seen: int | None = None  # the topic's version before the last claim; None: there was none
        self.due: float | None = None
        self._parked: asyncio.Timeout | None = None  # of whoever waits
        self._closing: asyncio.Task[None] | None = None

    @property
    def holding(self) -> int:
        """Events that are claimed, and neither settled, given back nor let go."""
        return len(self._held)

    @property
    def is_trusted(self) -> bool:
        """Whether the consumer is still this holder's, as far as the clock tells: look before you begin with an event.

        A process that was stopped for longer than ``ttl`` goes on in the middle of a step, before any timer fires.
        """
        if self.lease is None or not self._store.is_shared:
            return True
        try:
            self.lease.check()
        except LeaseLostError:
            return False
        return True

    async def open(self) -> None:
        """Register the consumer, which stays where it is if it exists, and take its lease.

        Raises:
            LeaseHeldError: Somebody else has the lease, and ``when_held`` is ``"raise"``.
            CursorError: The consumer is new, and ``start`` is an offset that its topic does not have.
            ClosedError: It was closed meanwhile, or the log does not run.

        Cancellation:
            Safe. The consumer may be registered; the lease is not held.
        """
        self._refuse_closed()
        await self._log.add_consumer(self.key.topic, self.key.name, self._start)
        if self.lease is not None:
            await (self.lease.acquire() if self._when_held == "wait" else self.lease.try_acquire())
            if self.is_closed:
                await self.lease.release()
                self._refuse_closed()
            self._token = self.lease.check()

    async def claim(self, max_events: int, max_bytes: int) -> Claims:
        """Claim what is due; ``events`` is empty when nothing is, and ``wait()`` says when to come again.

        Events that are addressed to another consumer are passed over. What is damaged or missing is logged here, once,
        and counted.

        Args:
            max_events: At most so many.
            max_bytes: At most so many encoded bytes, but for the first event.

        Raises:
            LeaseLostError: The lease was lost.
            UnknownConsumerError: The consumer was removed.
            ClosedError: This was closed, or the log does not run.

        Cancellation:
            Safe. The claim goes on, and the next call has its answer, whatever it asks for. Where the consumer is
            shared and nobody calls meanwhile, it is given back, for others to claim.
        """
        self._callers += 1  # before it begins: it may be done at once
        try:
            while True:
                self._refuse_closed()
                if self._claiming is None:
                    self._claiming_since = self.moves
                    self._claiming_at = asyncio.get_running_loop().time()
                    self._claiming = begin(self._claim(max_events, max_bytes))
                claiming = self._claiming
                if not claiming.done():
                    await asyncio.wait({claiming})
                    if self._claiming is not claiming:  # another caller had its answer
                        continue
                self._claiming = None
                claims = claiming.result()
                if claims is None:
                    continue
                if self._claiming_since == self.moves:
                    self.claimed_at = self._claiming_at
                    return claims
                self._gap += claims.gap
                await self.give_back(claims.events)
        finally:
            self._callers -= 1

    async def wait(self, timeout: float | None = None) -> None:
        """Park until another claim is worth it, or for ``timeout`` seconds; may return without a reason.

        That is when something moved in the topic since before the last claim, when something given back is due, or
        when this is closed. There is a timer only for a due time or a timeout.

        Raises:
            ClosedError: The log does not run.

        Cancellation:
            Safe. Nobody else's wake-up is taken.
        """
        if self._seen is None or self._claiming is not None or self.is_closed or self._is_lost:
            return
        deadline = Deadline.after(timeout)
        if self.due is not None and (deadline.when is None or self.due < deadline.when):
            deadline = Deadline.at(self.due)
        if deadline.expired:
            return
        with contextlib.suppress(TimeoutError):
            async with deadline.scope() as scope:
                self._parked = scope
                try:
                    await self._store.wait(self.key.topic, self._seen)
                finally:
                    self._parked = None

    async def settle(self, dispositions: Sequence[Disposition]) -> None:
        """Settle claimed events or give them back, in one commit; also after ``close()``, until somebody takes over.

        Raises:
            LeaseLostError: The consumer was taken over or moved since one of them was claimed, or that one was handed
                out anew. Nothing was changed.
            UnknownConsumerError: The consumer was removed.
            StoreFullError: A letter found no room. Nothing was changed.

        Cancellation:
            It is done, or has failed, when the caller goes on as cancelled.
        """
        try:
            await self._settle(dispositions)
        except LeaseLostError:
            self.moved()  # by another process perhaps, which nobody here was told of
            raise

    async def give_back(self, events: Iterable[ClaimedEvent]) -> None:
        """Give back unharmed what was not begun with: the attempt does not count. What is lost already is left alone.

        Raises:
            StoreError: The engine failed. What was not given back is due to the next holder, and the attempt counts.

        Cancellation:
            It is done, or has failed, when the caller goes on as cancelled.
        """
        # A move makes all of a claim worthless or nothing of it, so claims are given back one by one.
        groups = [list(group) for _, group in groupby(events, _claim_of)]
        if groups:
            await finish(self._give_back(groups))

    async def extend(self, claimed: Sequence[ClaimedEvent], ttl: float) -> None:
        """Hold events of a consumer that is shared for ``ttl`` seconds from now.

        Raises:
            LeaseLostError: One of them is not held any more. Nothing was changed.
            UnknownConsumerError: The consumer was removed.
        """
        await self._store.extend(self.key, claimed, ttl)

    def moved(self) -> None:
        """See that the consumer was moved: the next claim goes on from its new place, whatever was claimed before."""
        self.moves += 1
        self._seen = None
        self._wake()

    def let_go(self, claimed: ClaimedEvent) -> None:
        """Leave an event to somebody who settles it in their own time: ``close()`` does not give it back."""
        self._held.remove([claimed])

    async def close(self) -> None:
        """Claim nothing more, give back unharmed what is held, and release the lease; may come twice.

        What cannot be given back is due to the next holder, and the attempt counts; a log line says so.

        Cancellation:
            It is done when the caller goes on as cancelled.
        """
        if self._closing is None:
            self.is_closed = True
            self._wake()
            self._closing = begin(self._close())
        await ended(self._closing)

    async def _claim(self, max_events: int, max_bytes: int) -> Claims | None:
        """Claim what is due; ``None``: nobody waits for it any more, and it was given back."""
        while True:
            await self._pass_over()
            if self._kept:
                break
            if self.lease is not None:
                self._token = self.lease.check()
            self._seen = self._store.version(self.key.topic)  # before the look: what comes meanwhile is noticed
            claims = await self._store.claim(
                self.key,
                self._token,
                max_events=max_events,
                max_bytes=max_bytes,
                ttl=self._ttl if self.is_competing else None,
            )
            self.due = None if claims.due_in is None else asyncio.get_running_loop().time() + claims.due_in
            self.gap += claims.gap
            self._gap += claims.gap
            self.damaged += len(claims.damaged)
            log_missing(self.key, claims)
            if not claims.events and not claims.damaged:
                break
            self._held.add(claims.events)
            self._kept, self._foreign = told_apart(self.key.name, claims.events)
        kept, self._kept = self._kept, []
        if self.is_competing and not self._callers:
            await self.give_back(kept)
            return None
        gap, self._gap = self._gap, 0
        return Claims(kept, gap)

    async def _pass_over(self) -> None:
        """Settle what is addressed to others; where that fails, the next claim does it, and has what is ours."""
        if self._foreign:
            try:
                await self._settle(self._foreign)
                self.foreign += len(self._foreign)
            except LeaseLostError:  # moved, or lost: then all of that claim is, and the next claim says which
                self._held.remove(self._kept)
                self._kept = []
            self._foreign = []

    async def _settle(self, dispositions: Sequence[Disposition]) -> None:
        try:
            await self._store.settle(self.key, self._token, dispositions)
        except asyncio.CancelledError:
            # Whether it was done is not known. Said again, it does what was not done and changes nothing that was, and
            # needs a task of its own only here: a task for every settlement costs 15 µs.
            with contextlib.suppress(StoreError, ClosedError):
                await finish(self._store.settle(self.key, self._token, dispositions))
                self._log.settled()
            self._held.remove(settled_by(dispositions))
            raise
        except LeaseLostError:
            self._held.remove(settled_by(dispositions))
            raise
        self._held.remove(settled_by(dispositions))
        self._log.settled()

    async def _give_back(self, groups: Iterable[list[ClaimedEvent]]) -> None:
        for group in groups:
            try:
                await self._settle([Disposition(claimed, Disposal.RELEASE) for claimed in group])
            except LeaseLostError:
                # Where each is held by itself, the time of one may be over while another's is not.
                if self.is_competing and len(group) > 1:
                    await self._give_back([claimed] for claimed in group)

    async def _close(self) -> None:
        claiming, self._claiming = self._claiming, None
        if claiming is not None:
            await asyncio.wait({claiming})
            if not claiming.cancelled():
                claiming.exception()  # nobody else asks for it
        held = self._held.all()
        try:
            await self.give_back(held)
        except UnknownConsumerError:
            pass  # removed, and all that was claimed with it
        except (StoreError, ClosedError) as error:
            _logger.warning(
                "consumer %s could not give back %d events, and their attempt counts: %s", self.key, len(held), error
            )
        if self.lease is not None:
            await self.lease.release()

    @property
    def _is_lost(self) -> bool:
        return self.lease is not None and self.lease.token is None

    def _wake(self) -> None:
        if self._parked is not None and not self._parked.expired():
            self._parked.reschedule(asyncio.get_running_loop().time())

    def _refuse_closed(self) -> None:
        if self.is_closed:
            raise ClosedError(f"the holder of consumer {self.key} was closed, and claims nothing more")
