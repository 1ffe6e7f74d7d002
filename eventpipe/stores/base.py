"""What a log asks of the engine that keeps it; ``docs/stores.md`` has it on one page.

A store keeps topics, the cursors of their consumers, and leases. It hands out *deliveries*: which events are due to a
consumer, at which attempt, under which fencing token. An engine that has groups, pending entries or leases of its own
uses those. What consumers do with events, how long they wait and in which order, is none of a store's business.

Moments are seconds since the epoch on the wall clock, because other processes read them; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventpipe.events import CapturedEvent
from eventpipe.retention import Retention
from eventpipe.stores.values import (
    ClaimedEvent,
    Claims,
    ConsumerInfo,
    ConsumerKey,
    Damage,
    Disposition,
    Start,
    StoredEvent,
    TopicInfo,
)


class TopicStore(Protocol):
    """Events by topic and offset."""

    async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
        """Append in one commit: all of them or none; a topic is made when it is first appended to.

        Idempotent by event id: an event that the topic keeps already, or took within the store's ``dedupe_window``,
        is not appended again.

        Args:
            topic: A name that ``check_name()`` accepts.
            events: In the order in which they get their offsets.
            is_replay: Append them whatever ids the topic has, let no later append take them for its own, and drop
                nothing for them that some consumer has not settled, whatever ``on_full`` says.

        Returns:
            Offsets, one per event; of an event that was there already, the one that it has.

        Raises:
            StoreFullError: The topic's bounds are reached and its ``on_full`` is not ``"drop_oldest"``, or the disk is
                full. Nothing was appended.
            StoreError: The engine failed; whether the events were appended is unknown, and appending them again is
                safe.

        Cancellation:
            The events are appended or not, all of them or none.
        """

    async def read(self, topic: str, start: int, *, max_events: int, max_bytes: int) -> list[StoredEvent]:
        """Events from ``start`` on, ascending; at least one, if there is one, however large it is.

        Damaged events are left out. A topic that is unknown has none.
        """

    async def offset_at(self, topic: str, stamp: float) -> int:
        """The offset of the first event that was appended at ``stamp`` (wall clock) or later; ``end`` if none was."""

    async def declare(self, topic: str, retention: Retention) -> None:
        """Make a topic, or change what it keeps from now on."""

    async def topics(self, name: str | None = None) -> list[TopicInfo]:
        """Every topic, by name; with ``name`` that one, if there is one."""

    async def trim(self, topic: str, before: int | None = None) -> int:
        """Delete what every consumer of the topic has settled, and what ``max_age`` says; return how many events.

        Events younger than ``dedupe_window`` stay, so that a repeated append finds them. A topic without consumers
        loses nothing but by ``max_age``.

        Args:
            topic: One that exists, else nothing is deleted.
            before: An offset that is not deleted, nor anything after it; ``None``: no such bound.
        """

    async def verify(self, topic: str | None = None) -> list[Damage]:
        """Check every event of a topic, or of all, against its checksum, and list those that do not pass."""


class ConsumerStore(Protocol):
    """Durable consumers of topics, and the deliveries that are due to them.

    Numbers of claims do not repeat, also where a consumer is removed and added again.
    """

    async def add_consumer(self, key: ConsumerKey, start: Start) -> ConsumerInfo:
        """Register a consumer; one that exists stays as it is, wherever it is. The topic is made if it does not exist.

        ``"latest"`` becomes an offset here and now.

        Raises:
            CursorError: An offset below the first or above the end.
        """

    async def remove_consumer(self, key: ConsumerKey) -> None:
        """Forget a consumer and its cursor; what it was handed can be settled no more, and its lease is free.

        Raises:
            UnknownConsumerError: There is none.
        """

    async def consumers(self, topic: str | None = None) -> list[ConsumerInfo]:
        """Every consumer of a topic, or of all, by topic and name."""

    async def claim(
        self, key: ConsumerKey, token: int | None, *, max_events: int, max_bytes: int, ttl: float | None = None
    ) -> Claims:
        """Hand out what is due: first what was given back, then what was never handed out; by offset within the answer.

        With a new ``token`` everything that was handed out before and not settled is due again at once, also what was
        given back with a delay; so it is where exclusive and competing claims take turns. A consumer that is paused is
        told of no gap until it is resumed.

        Args:
            key: The consumer.
            token: The fencing token of the consumer's lease. ``None``: competing, where each event is held by itself.
            max_events: At most so many.
            max_bytes: At most so many encoded bytes, but for the first event.
            ttl: Seconds until a claimed event is due again unless it is settled or extended; for competing claims, and
                needed there.

        Raises:
            LeaseLostError: ``token`` is not the newest.
            UnknownConsumerError: The consumer was removed, or never added.
            ValueError: A competing claim without ``ttl``.

        Cancellation:
            May lose what it was about to hand out until the lease changes hands, or ``ttl`` is over: callers let it
            finish.
        """

    async def settle(self, key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        """Settle claimed events or give them back, in one commit and in any order.

        An event that is settled already stays settled, whatever is said of it, and saying the same again changes
        nothing. The cursor moves over what is settled without a gap, and never back.

        Raises:
            LeaseLostError: ``token`` is not the newest; or one of the events was handed out anew, or the consumer was
                moved by ``seek()``, since it was claimed. Nothing was changed.
            UnknownConsumerError: The consumer was removed.
            StoreFullError: A letter found no room. Nothing was changed.
            ValueError: An event is to die without a letter. Nothing was changed.
        """

    async def extend(self, key: ConsumerKey, claimed: Sequence[ClaimedEvent], ttl: float) -> None:
        """Hold events of competing claims for ``ttl`` seconds from now.

        Raises:
            LeaseLostError: One of them is not held under its claim any more. Nothing was changed.
            UnknownConsumerError: The consumer was removed.
        """

    async def seek(self, key: ConsumerKey, offset: int) -> None:
        """Move a consumer: the next event it is handed is the first at ``offset`` or after it, at its first attempt.

        What is claimed can be settled no more. One that has never settled an event still has not.

        Raises:
            CursorError: An offset below the first or above the end.
            UnknownConsumerError: There is none.
        """

    async def pause(self, key: ConsumerKey, is_paused: bool) -> None:
        """Hand out nothing more to a consumer, or go on; what is claimed can be settled.

        Raises:
            UnknownConsumerError: There is none.
        """


class LeaseStore(Protocol):
    """The right to run something, by name, with a fencing token that is one higher for each owner."""

    async def acquire(self, name: str, holder: str, ttl: float | None) -> int:
        """Take a lease that nobody holds, or whose time is over.

        Args:
            name: What it is the right to.
            holder: Who asks, for the eyes of people; the same holder twice is two owners.
            ttl: Seconds that it lasts unless renewed. ``None``: until it is released, or the store is closed; only
                where the store is not shared.

        Returns:
            The token: one higher than that of the last owner.

        Raises:
            LeaseHeldError: Somebody has it.

        Cancellation:
            It is done or not; callers let it finish.
        """

    async def renew(self, name: str, token: int, ttl: float | None) -> None:
        """Make it last ``ttl`` seconds from now; also when its time is over and nobody else has taken it.

        Raises:
            LeaseLostError: There is a newer owner, or it was released.
        """

    async def release(self, name: str, token: int) -> None:
        """Give it back; a no-op when there is a newer owner or it was released.

        Its token stays the newest until there is one: what was claimed under it can still be settled.

        Cancellation:
            It is done or not; callers let it finish.
        """


class Store(TopicStore, ConsumerStore, LeaseStore, Protocol):
    """An engine: topics, consumers and leases, and a sign when something changes.

    A store is opened and closed by the log it is given to, in one event loop at a time. Whatever is asked of one that
    is not open is ``ClosedError``.

    Attributes:
        name: For messages; without secrets.
        is_shared: Whether other processes may append, consume and hold leases in it. Where it is false, no lease need
            be renewed: who holds it cannot stall while somebody else goes on.
    """

    name: str
    is_shared: bool

    async def open(self) -> None:
        """Make it ready. A second call without ``aclose()`` in between is an error of the caller's.

        Raises:
            StoreError: It cannot be opened; the message says why, and what to do. Nothing was changed.
        """

    async def aclose(self) -> None:
        """Release everything; all that was appended and settled stays. May come twice, and before ``open()``."""

    def version(self, subject: str) -> int:
        """A number that moves when something changes that somebody may wait for: read it before you look.

        Args:
            subject: A topic (events were appended or given back, a consumer was moved, removed or resumed, room was
                made or promised by ``declare()``), or the name of a lease (it was released).
        """

    async def wait(self, subject: str, seen: int) -> None:
        """Park until ``version(subject)`` is not ``seen``; at once when it is not. Costs nothing while nothing happens.

        It may return without a reason. Time alone, as of an event that becomes due, moves no version.

        Raises:
            ClosedError: The store was closed.

        Cancellation:
            Safe. Nobody else's wake-up is taken.
        """
