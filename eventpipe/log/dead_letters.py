"""The dead letters of a topic: looked at, replayed, deleted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Container
from operator import attrgetter
from typing import Final, NamedTuple

from eventpipe.core.lease import Lease
from eventpipe.log.appending import Appending
from eventpipe.log.letters import DeadLetter, addressee, dead_letter, restored
from eventpipe.log.reading import PAGE_BYTES, PAGE_EVENTS
from eventpipe.log.shards import read_shard_name
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.values import DEAD_SUFFIX, ClaimedEvent, ConsumerKey, Disposal, Disposition

DEAD_LETTERS: Final = "eventpipe.dead-letters"
"""The name of the consumer that the dead letters of a topic are kept for: what it has settled is dealt with."""

# Seconds. A process that dies while it looks at letters keeps others from them for so long, in a store that is shared.
_TTL: Final = 15.0
_HEARTBEAT: Final = 3.0

_offset = attrgetter("offset")  # a store hands out by offset within one claim


class Selection(NamedTuple):
    """Which letters are meant.

    Attributes:
        consumer: Those of one consumer. ``None``: of any.
        offsets: Those at these offsets. ``None``: at any.
    """

    consumer: str | None = None
    offsets: Container[int] | None = None

    def has(self, letter: DeadLetter) -> bool:
        """Whether this letter is."""
        return (self.consumer is None or letter.consumer == self.consumer) and (
            self.offsets is None or letter.offset in self.offsets
        )


class Letterbox:
    """The letters of one topic that nobody has dealt with.

    They are the events that a consumer of our own has not settled in the topic of dead letters. Whoever looks takes its
    lease for a moment, so that two never deal with one letter at once; what is not settled then is there for the next.
    """

    def __init__(self, store: Store, appending: Appending, topic: str) -> None:
        self._store = store
        self._appending = appending
        self._topic = topic
        self._key = ConsumerKey(topic + DEAD_SUFFIX, DEAD_LETTERS)

    async def letters(self, selection: Selection) -> list[DeadLetter]:
        """The letters that are meant, by offset."""
        found: list[DeadLetter] = []
        async with self._open() as pages:
            async for page in pages:
                found += [letter for _, letter in _chosen(page, selection)]
        return sorted(found, key=_offset)

    async def delete(self, selection: Selection) -> list[DeadLetter]:
        """Take out the letters that are meant; those that were taken out, by offset.

        Raises:
            LeaseLostError: Somebody else has the letters now, because the store was slow.
        """
        deleted: list[DeadLetter] = []
        async with self._open() as pages:
            async for page in pages:
                deleted += await self._take_out(page, _chosen(page, selection))
        return sorted(deleted, key=_offset)

    async def replay(self, selection: Selection) -> list[DeadLetter]:
        """Append the events of the letters that are meant, and take these out; those that were taken out, by offset.

        What could not be decoded, and what nobody is there for, stays. A shard of another number than there is now has
        heirs: one of the shards that there are has the key of its event.

        Raises:
            LeaseLostError: As ``delete()``; letters whose events were just appended are still there.
            StoreFullError: There is no room, and none that nobody waits for.
        """
        replayed: list[DeadLetter] = []
        names = {read_shard_name(consumer.name)[0] for consumer in await self._store.consumers(self._topic)}
        retentions = [topic.retention for topic in await self._store.topics() if topic.name == self._topic]
        async with self._open(min(map(_appendable, retentions), default=PAGE_EVENTS)) as pages:
            async for page in pages:
                chosen = [
                    (claimed, letter)
                    for claimed, letter in _chosen(page, selection)
                    if letter.is_decodable and read_shard_name(letter.consumer)[0] in names
                ]
                if chosen:
                    # Before they are taken out: what happens in between doubles an event, and loses none.
                    await self._appending.append(
                        self._topic, [restored(letter) for _, letter in chosen], is_replay=True
                    )
                replayed += await self._take_out(page, chosen)
        return sorted(replayed, key=_offset)

    async def _take_out(self, page: _Page, chosen: list[tuple[ClaimedEvent, DeadLetter]]) -> list[DeadLetter]:
        if chosen:
            settled = [Disposition(claimed, Disposal.ACK) for claimed, _ in chosen]
            await self._store.settle(self._key, page.token, settled)
        return [letter for _, letter in chosen]

    @contextlib.asynccontextmanager
    async def _open(self, max_events: int = PAGE_EVENTS) -> AsyncIterator[AsyncGenerator[_Page]]:
        if all(topic.name != self._key.topic for topic in await self._store.topics()):
            yield _no_pages()  # to look for letters makes no topic
            return
        await self._store.add_consumer(self._key, "earliest")
        lease = Lease(self._store, self._key.lease, ttl=_TTL, heartbeat=_HEARTBEAT)
        await lease.acquire()
        try:
            async with contextlib.aclosing(self._pages(lease, max_events)) as pages:
                yield pages
        finally:
            await lease.release()

    async def _pages(self, lease: Lease, max_events: int) -> AsyncGenerator[_Page]:
        while True:
            token = lease.check()
            claims = await self._store.claim(self._key, token, max_events=max_events, max_bytes=PAGE_BYTES)
            if not claims.events:
                return
            ours = [claimed for claimed in claims.events if _is_for_us(claimed)]
            if len(ours) < len(claims.events):
                others = [claimed for claimed in claims.events if not _is_for_us(claimed)]
                await self._store.settle(self._key, token, [Disposition(other, Disposal.SKIP) for other in others])
            yield _Page(token, ours)
            await asyncio.sleep(0)  # a store in memory never suspends, and others have things to do


class _Page(NamedTuple):
    """Some letters, and what settling them proves itself with."""

    token: int
    events: list[ClaimedEvent]


def _appendable(retention: Retention) -> int:
    """How many events a page may have that is appended again at once: no more than the topic can take."""
    return min(PAGE_EVENTS, retention.max_events or PAGE_EVENTS)


def _is_for_us(claimed: ClaimedEvent) -> bool:
    """Whether it is a letter to everybody, and not replayed for another consumer of the letters."""
    return claimed.event is None or addressee(claimed.event) in (None, DEAD_LETTERS)


async def _no_pages() -> AsyncGenerator[_Page]:
    return
    yield


def _chosen(page: _Page, selection: Selection) -> list[tuple[ClaimedEvent, DeadLetter]]:
    read = ((claimed, dead_letter(claimed)) for claimed in page.events)
    return [(claimed, letter) for claimed, letter in read if letter is not None and selection.has(letter)]
