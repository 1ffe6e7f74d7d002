"""What a test of a store is given, and the hand with which it consumes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from eventpipe.clock import Clock
from eventpipe.events import CapturedEvent
from eventpipe.stores.base import Store
from eventpipe.stores.values import (
    Acks,
    ClaimedEvent,
    Claims,
    ConsumerInfo,
    ConsumerKey,
    Disposal,
    Disposition,
    Start,
    StoredEvent,
    TopicInfo,
)
from eventpipe.testing.events import make_event

TOPIC: Final = "orders"
MUCH: Final = 1 << 30  # bytes, where a scenario is about something else
LONG: Final = 1_000_000.0  # seconds of a lease, where a scenario is about something else


@dataclass
class StoreRig:
    """A store under test, and the time that it goes by.

    A scenario that needs more than the rig can do is skipped, and the reason names what is missing.

    Attributes:
        store: Open and empty; closed after the test by whoever made it.
        advance: Lets so many seconds pass on the wall clock that the store goes by.
        clock: That clock.
        unopened: Makes another store like it, empty and not open, with nothing to release.
        reopen: Closes ``store`` and opens what it kept, as after a restart; ``None``: what is closed is gone.
        dedupe_window: Seconds in which the store knows an event that is appended again.
        dense_offsets: The offsets of a topic are 0, 1, 2 and so on.
    """

    store: Store
    advance: Callable[[float], Awaitable[None]]
    clock: Clock
    unopened: Callable[[], Store]
    reopen: Callable[[], Awaitable[Store]] | None = None
    dedupe_window: float = 120.0
    dense_offsets: bool = True

    def need(self, *names: str) -> None:
        """Skip the running test unless each of ``names`` is set."""
        import pytest  # not above: who only describes a store needs none

        for name in names:
            if not getattr(self, name):
                pytest.skip(f"the rig has {name}={getattr(self, name)!r}")

    async def restart(self) -> None:
        """Close the store and open it again; leases are over, and everything else is as it was."""
        assert self.reopen is not None
        self.store = await self.reopen()

    async def fill(self, count: int, topic: str = TOPIC) -> list[int]:
        """Append ``count`` new events at once; their offsets."""
        return await self.store.append(topic, some_events(count))

    async def topic(self, name: str = TOPIC) -> TopicInfo:
        """How a topic stands."""
        return {info.name: info for info in await self.store.topics()}[name]

    async def hand(self, name: str = "billing", topic: str = TOPIC, *, start: Start = "earliest") -> Hand:
        """Register a consumer and take its lease."""
        hand = Hand(self, ConsumerKey(topic, name))
        await self.store.add_consumer(hand.key, start)
        await hand.acquire()
        return hand

    async def rival(self, name: str = "billing", topic: str = TOPIC, *, ttl: float = 60.0) -> Hand:
        """Register a consumer, and be one of several who compete for its events."""
        hand = Hand(self, ConsumerKey(topic, name), ttl=ttl)
        await self.store.add_consumer(hand.key, "earliest")
        return hand


@dataclass
class Hand:
    """Somebody who consumes.

    Attributes:
        rig: Where.
        key: As which consumer.
        token: The token of its lease; ``None`` where several compete.
        ttl: Seconds for which competing claims hold; ``None`` with a lease.
    """

    rig: StoreRig
    key: ConsumerKey
    token: int | None = None
    ttl: float | None = None

    async def acquire(self) -> None:
        """Take the lease."""
        ttl = LONG if self.rig.store.is_shared else None
        self.token = await self.rig.store.acquire(self.key.lease, "a test", ttl)

    async def successor(self) -> Hand:
        """The next holder, who came because this one is gone."""
        assert self.token is not None
        await self.rig.store.release(self.key.lease, self.token)
        other = Hand(self.rig, self.key)
        await other.acquire()
        return other

    async def claim(self, max_events: int = 1_000, max_bytes: int = MUCH) -> Claims:
        """Be handed what is due."""
        return await self.rig.store.claim(
            self.key, self.token, max_events=max_events, max_bytes=max_bytes, ttl=self.ttl
        )

    async def claimed(self, max_events: int = 1_000) -> list[ClaimedEvent]:
        """The events that are due."""
        return [*(await self.claim(max_events)).events]

    async def settle(
        self,
        events: Iterable[ClaimedEvent],
        disposal: Disposal = Disposal.ACK,
        *,
        delay: float = 0.0,
        reason: str | None = None,
    ) -> None:
        """Settle events, or give them back; a letter is the event itself."""
        if disposal is Disposal.ACK and reason is None:
            await self.rig.store.settle(self.key, self.token, Acks(list(events)))  # as consumers do
            return
        dispositions = [
            Disposition(event, disposal, delay, reason, event.event if disposal is Disposal.DEAD else None)
            for event in events
        ]
        await self.rig.store.settle(self.key, self.token, dispositions)

    async def info(self) -> ConsumerInfo:
        """How the consumer stands."""
        return {info.name: info for info in await self.rig.store.consumers(self.key.topic)}[self.key.name]


def some_events(count: int) -> list[CapturedEvent]:
    """New events ``e0``, ``e1`` and so on."""
    return [make_event(f"e{number}") for number in range(count)]


def offsets_of(events: Sequence[StoredEvent]) -> list[int]:
    """Where events are."""
    return [event.offset for event in events]


def attempts_of(events: Sequence[ClaimedEvent]) -> list[tuple[int, int]]:
    """Where events are, and in which attempt."""
    return [(event.offset, event.attempt) for event in events]


def ids_of(events: Sequence[StoredEvent]) -> list[str]:
    """The ids of events that can be read."""
    return [event.event.uuid for event in events if event.event is not None]
