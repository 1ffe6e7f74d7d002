"""A store that keeps everything in the memory of its process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Final

from eventpipe.checked import shown
from eventpipe.clock import Clock
from eventpipe.core.gate import Gate
from eventpipe.errors import ClosedError, UnknownConsumerError
from eventpipe.events import CapturedEvent
from eventpipe.retention import OnFull, Retention
from eventpipe.stores.delivery_values import DELIVERIES
from eventpipe.stores.memory_consumer import MemoryConsumer
from eventpipe.stores.memory_deliveries import KeptDeliveries, MemoryDeliveries
from eventpipe.stores.memory_leases import MemoryLeases
from eventpipe.stores.memory_log import size_of
from eventpipe.stores.memory_topic import MemoryTopic
from eventpipe.stores.names import check_name
from eventpipe.stores.values import (
    DEAD_SUFFIX,
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

# Events that are dropped in one step of the loop; to let go of that many takes about 3 ms.
_TRIM_STEP: Final = 8_192


class MemoryStore:
    """Keeps topics, consumers, leases and deliveries for as long as the object lives; offsets are dense, from 0 on.

    Events are kept by reference, as they were captured. Memory is bounded: a topic that was declared without bounds, or
    made by its first append, has those that are given here. Deliveries have none: they are kept until they are settled
    and purged. What is kept stays over ``aclose()`` and a second ``open()``, in another event loop also.

    A repeated append is known by the id of its event for as long as the event is kept, and within ``dedupe_window``
    afterwards; of events that retention dropped before they were that old, the last 100 000 ids of a topic are known.

    Nothing suspends but ``wait()`` and the trim of a large topic, so that a cancellation finds everything done or
    nothing.

    Args:
        max_events: Events that a topic holds unless it is declared otherwise. ``None``: any number.
        max_bytes: Encoded bytes that a topic holds unless it is declared otherwise. ``None``: any number.
        on_full: What an append meets in such a topic when it is full.
        dedupe_window: Seconds in which an event that is appended again is known by its id, also when all have settled
            it; 0: only while it is kept.
        clock: What tells the time; ``None``: the clocks of this process.

    Raises:
        ValueError: An option is wrong.
    """

    name = "memory"
    is_shared = False

    def __init__(
        self,
        *,
        max_events: int | None = 100_000,
        max_bytes: int | None = 64 * 1024 * 1024,
        on_full: OnFull = "reject",
        dedupe_window: float = 120.0,
        clock: Clock | None = None,
    ) -> None:
        if type(dedupe_window) not in (int, float) or not 0 <= dedupe_window < math.inf:
            raise ValueError(
                f"dedupe_window must be a finite number of seconds, at least 0, not {shown(dedupe_window)}"
            )
        has_no_bound = max_events is None and max_bytes is None
        self._retention = Retention(
            max_events=max_events,
            max_bytes=max_bytes,
            on_full=None if has_no_bound and on_full == "reject" else on_full,
        )
        self._dedupe_window = dedupe_window
        self._now = (clock or Clock()).time
        self._topics: dict[str, MemoryTopic] = {}
        self._leases = MemoryLeases()
        self._claims = 0  # of all consumers: a claim of one that was removed is none of one that was added anew
        self._gates: dict[str, Gate] = {}  # by subject: a topic, or the name of a lease
        self._is_open = False
        self._deliveries = KeptDeliveries()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._topics)} topics>"

    @property
    def deliveries(self) -> MemoryDeliveries:
        """What keeps deliveries; see ``DeliveringStore``."""
        return MemoryDeliveries(  # not kept: each would keep the other alive, and with it all that is in memory
            self._deliveries,
            check_open=self._check_open,
            moved=lambda: self._gate(DELIVERIES).move(),
            now=self._now,
        )

    async def open(self) -> None:
        """See ``Store``."""
        if self._is_open:
            raise RuntimeError("store memory is open already; each log needs a store of its own, or aclose() it first")
        self._is_open = True
        self._gates.clear()
        for topic in self._topics.values():
            topic.gate = self._gate(topic.name)

    async def aclose(self) -> None:
        """See ``Store``; leases without an end are over."""
        self._is_open = False
        self._leases.close()
        for gate in self._gates.values():
            gate.close("store memory was closed")

    def version(self, subject: str) -> int:
        """See ``Store``."""
        return self._gate(subject).version

    async def wait(self, subject: str, seen: int) -> None:
        """See ``Store``."""
        self._check_open()
        await self._gate(subject).wait(seen)

    async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
        """See ``TopicStore``."""
        kept = self._topics.get(topic)
        if kept is None or not self._is_open:
            kept = self._made(topic)
        return kept.append(events, self._now(), is_replay, may_drop=not is_replay)

    async def read(self, topic: str, start: int, *, max_events: int, max_bytes: int) -> list[StoredEvent]:
        """See ``TopicStore``."""
        self._check_open()
        found: list[StoredEvent] = []
        kept = self._topics.get(topic)
        if kept is not None:
            for offset, event, stamp in kept.log.scan(start):
                size = size_of(event)
                if len(found) >= max_events or (found and size > max_bytes):
                    break
                max_bytes -= size
                found.append(StoredEvent(offset, stamp, event))
        return found

    async def offset_at(self, topic: str, stamp: float) -> int:
        """See ``TopicStore``."""
        self._check_open()
        return self._topics[topic].log.offset_at(stamp) if topic in self._topics else 0

    async def declare(self, topic: str, retention: Retention) -> None:
        """See ``TopicStore``; one without bounds gets those of the store."""
        self._made(topic).declare(self._bounded(retention))

    async def topics(self, name: str | None = None) -> list[TopicInfo]:
        """See ``TopicStore``."""
        self._check_open()
        if name is not None:
            return [self._topics[name].info()] if name in self._topics else []
        return [self._topics[known].info() for known in sorted(self._topics)]

    async def trim(self, topic: str, before: int | None = None) -> int:
        """See ``TopicStore``.

        Cancellation:
            What is trimmed is trimmed; the rest stays.
        """
        self._check_open()
        kept = self._topics.get(topic)
        count = 0
        while kept is not None:
            trimmed = kept.trim(self._now(), before, _TRIM_STEP)
            count += trimmed
            if trimmed < _TRIM_STEP:
                break
            await asyncio.sleep(0)  # appends go on meanwhile
        return count

    async def verify(self, topic: str | None = None) -> list[Damage]:
        """See ``TopicStore``; in memory nothing is ever damaged."""
        self._check_open()
        return []

    async def add_consumer(self, key: ConsumerKey, start: Start) -> ConsumerInfo:
        """See ``ConsumerStore``."""
        self._check_open()
        check_name("consumer", key.name)
        check_name("topic", key.topic)
        topic = self._topics.get(key.topic) or self._new(key.topic)
        consumer = topic.consumers.get(key.name)
        if consumer is None:
            consumer = topic.add_consumer(key.name, topic.resolve(start), self._claims)
            self._topics[key.topic] = topic
        return self._info(topic, consumer)

    async def remove_consumer(self, key: ConsumerKey) -> None:
        """See ``ConsumerStore``; the lease of the consumer is lost to whoever has it."""
        topic, _ = self._known(key)
        del topic.consumers[key.name]
        topic.move()
        self._leases.revoke(key.lease)
        self._gate(key.lease).move()

    async def consumers(self, topic: str | None = None) -> list[ConsumerInfo]:
        """See ``ConsumerStore``."""
        self._check_open()
        names = sorted(self._topics) if topic is None else [topic] if topic in self._topics else []
        return [
            self._info(kept, kept.consumers[name])
            for kept in map(self._topics.__getitem__, names)
            for name in sorted(kept.consumers)
        ]

    async def claim(
        self, key: ConsumerKey, token: int | None, *, max_events: int, max_bytes: int, ttl: float | None = None
    ) -> Claims:
        """See ``ConsumerStore``."""
        topic, consumer = self._known(key, token)
        if token is None and ttl is None:
            raise ValueError(f"a competing claim of consumer {key} needs ttl, the seconds that it holds an event")
        self._claims += 1
        return consumer.claim(
            topic.log,
            token,
            self._claims,
            self._now(),
            max_events=max_events,
            max_bytes=max_bytes,
            ttl=ttl if token is None else None,
        )

    async def settle(self, key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        """See ``ConsumerStore``."""
        topic, consumer = self._known(key, token)
        if consumer.go_on(dispositions):
            topic.room_was_made()
            return
        now = self._now()
        letters = consumer.check(dispositions)
        if letters:
            dead = key.topic + DEAD_SUFFIX
            self._topics.setdefault(dead, self._new(dead)).append(letters, now, True)
        if consumer.settle(dispositions, now):
            topic.move()
        else:
            topic.room_was_made()

    async def extend(self, key: ConsumerKey, claimed: Sequence[ClaimedEvent], ttl: float) -> None:
        """See ``ConsumerStore``."""
        _, consumer = self._known(key)
        consumer.extend(claimed, self._now() + ttl)

    async def seek(self, key: ConsumerKey, offset: int) -> None:
        """See ``ConsumerStore``."""
        topic, consumer = self._known(key)
        consumer.seek(topic.resolve(offset), self._claims)
        topic.move()

    async def pause(self, key: ConsumerKey, is_paused: bool) -> None:
        """See ``ConsumerStore``."""
        topic, consumer = self._known(key)
        consumer.is_paused = is_paused
        if not is_paused:
            topic.move()

    async def acquire(self, name: str, holder: str, ttl: float | None) -> int:
        """See ``LeaseStore``."""
        self._check_open()
        return self._leases.acquire(name, holder, ttl, self._now())

    async def renew(self, name: str, token: int, ttl: float | None) -> None:
        """See ``LeaseStore``."""
        self._check_open()
        self._leases.renew(name, token, ttl, self._now())

    async def release(self, name: str, token: int) -> None:
        """See ``LeaseStore``."""
        if self._leases.release(name, token):
            self._gate(name).move()

    def _check_open(self) -> None:
        if not self._is_open:
            raise ClosedError("store memory is not open; an EventLog opens it when it starts, and so do Deliveries")

    def _gate(self, subject: str) -> Gate:
        gate = self._gates.get(subject)
        if gate is None:
            gate = self._gates[subject] = Gate()
        return gate

    def _bounded(self, retention: Retention) -> Retention:
        if retention.max_events is retention.max_bytes is None:
            return self._retention.model_copy(update={"max_age": retention.max_age})
        return retention

    def _new(self, topic: str) -> MemoryTopic:
        return MemoryTopic(topic, self._retention, self._gate(topic), self._dedupe_window)

    def _made(self, topic: str) -> MemoryTopic:
        """The topic, made if it does not exist."""
        self._check_open()
        kept = self._topics.get(topic)
        if kept is None:
            check_name("topic", topic)
            kept = self._topics[topic] = self._new(topic)
        return kept

    def _known(self, key: ConsumerKey, token: int | None = None) -> tuple[MemoryTopic, MemoryConsumer]:
        """A consumer and its topic, for somebody whose token is the newest."""
        self._check_open()
        topic = self._topics.get(key.topic)
        consumer = None if topic is None else topic.consumers.get(key.name)
        if topic is None or consumer is None:
            raise UnknownConsumerError(key.topic, key.name)
        if token is not None:
            self._leases.check(key.lease, token, self._now())
        return topic, consumer

    def _info(self, topic: MemoryTopic, consumer: MemoryConsumer) -> ConsumerInfo:
        now = self._now()
        return consumer.info(topic.log, now, *self._leases.state(consumer.key.lease, now))
