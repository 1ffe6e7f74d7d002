"""The log: topics that producers append to, and consumers who each go through them at their own pace."""

from __future__ import annotations

import datetime
import uuid as uuidlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, Unpack

from eventpipe.clock import Clock
from eventpipe.encoding import Encoder
from eventpipe.errors import StoreFullError
from eventpipe.events import CapturedEvent, DistinctId, Properties
from eventpipe.log import reading
from eventpipe.log.administration import AdministeredLog
from eventpipe.log.appending import Patience
from eventpipe.log.dead_letters import Letterbox, Selection
from eventpipe.log.described import Appendable, all_captured, captured
from eventpipe.log.letters import DeadLetter
from eventpipe.log.positions import Position, check_position, offset_of
from eventpipe.log.receiver import Receiver, ReceiverOptions
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.values import StoredEvent


class EventLog(AdministeredLog):
    """Keeps events in topics for any number of consumers, of which none can hold up a producer or another.

    Topics are made when they are first appended to, or declared with what they keep. What every consumer of a topic has
    settled is trimmed without being asked for. The store decides what survives what; the log opens and closes it.

    ::

        async with EventLog(MemoryStore()) as log:
            offset = await log.append("orders", "paid", distinct_id="42", properties={"sum": 5})

    Attributes:
        store: Where everything is kept.
        clock: What tells the time.
    """

    def __init__(
        self,
        store: Store,
        *,
        topics: Mapping[str, Retention] | None = None,
        trim_interval: float = 60.0,
        json_default: Callable[[Any], Any] | None = None,  # Any: what JSON cannot carry, and what it can
        clock: Clock | None = None,
        name: str = "eventpipe-log",
    ) -> None:
        """Make a log; nothing is opened before it starts.

        Args:
            store: Where everything is kept; this log's own.
            topics: Topics by name, each with what it keeps beyond what is settled; declared at each start.
            trim_interval: Seconds from an append or a settlement to the pass that trims what is settled. There is no
                pass, and no timer, while nothing happens and nothing grows old.
            json_default: Asked for values of properties that JSON cannot carry; it raises ``TypeError`` for what it
                does not know. ``None``: the built-in answers alone.
            clock: What tells the time; ``None``: the clocks of this process.
            name: What its task and its log lines are named after.

        Raises:
            ValueError: An option has no meaning, or no topic can have such a name.
            TypeError: A topic is declared with something else than a ``Retention``, or its name is no text.
        """
        super().__init__(store, topics=topics, trim_interval=trim_interval, clock=clock, name=name)
        self._encoder = Encoder(json_default, clock=self.clock)

    async def append(
        self,
        topic: str,
        event: Appendable,
        *,
        distinct_id: DistinctId | None = None,
        properties: Properties | None = None,
        timestamp: datetime.datetime | None = None,
        uuid: str | uuidlib.UUID | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Append one event, in the time that the store takes to commit it, whatever consumers do meanwhile.

        An event whose id the topic has already, or had within the store's window, is not appended again.

        Args:
            topic: Its name; it is made if it does not exist.
            event: Its name; a typed event, or the class of one; an ``Event``, which has the arguments down to ``key``;
                or one that a client captured, which is appended as it is.
            distinct_id: Whom it is about. ``None``: nobody in particular.
            properties: What is known of it; encoded before this waits for anything.
            timestamp: When it happened; naive means UTC. ``None`` means now.
            uuid: Its id. ``None`` means a new UUIDv7.
            headers: Values that travel beside the properties. ``None`` means none.
            key: Partition, shard and ordering key. ``None`` means ``distinct_id``.
            timeout: Seconds to wait for room in a topic that is full and has ``on_full="wait"``; a commit that is under
                way is waited for. ``None``: as long as it takes.

        Returns:
            Its offset; that of the event with the same id, where there is one.

        Raises:
            InvalidEventError: It has no name, its properties cannot be read, or its headers are the log's own.
            TimeoutError: There was no room in time. Nothing was appended.
            StoreFullError: The topic is full and does not wait, it can never take so much, or the disk is full. Nothing
                was appended.
            StoreError: The engine failed; to append an event again that has its id is safe.
            ClosedError: The log is not running.
            ValueError: No topic can have that name.
            TypeError: Arguments were given beside an event that has them already.

        Cancellation:
            The event is appended or not; it is not while this waits for room.
        """
        if topic not in self._usable:
            self._check_topic(topic)
        made: CapturedEvent | None = None
        if type(event) is str and timestamp is None and uuid is None and headers is None and key is None:
            made = self._encoder.encode_plain(event, distinct_id, properties)
        if made is None:
            made = captured(self._encoder, event, distinct_id, properties, timestamp, uuid, headers, key)
        if timeout is None and topic not in self._appending.lines:
            try:
                offsets = await self.store.append(topic, (made,))  # append() of ours would cost 0.3 µs an event
            except StoreFullError:
                offsets = await self._appending.append_in_line(topic, (made,), Patience(topic, None))
        else:
            offsets = await self._appending.append(topic, (made,), timeout)
        if self._trimming.is_quiet:
            self._trimming.touch()
        return offsets[0]

    async def append_many(self, topic: str, events: Iterable[Appendable], *, timeout: float | None = None) -> list[int]:
        """Append events in one commit: all of them or none.

        Args:
            topic: As ``append()``.
            events: In the order in which they get their offsets; each as ``append()`` takes it.
            timeout: As ``append()``; the wait is for room for all of them.

        Returns:
            Offsets, one per event, in the order given.

        Raises and Cancellation are those of ``append()``.
        """
        if topic not in self._usable:
            self._check_topic(topic)
        made = all_captured(self._encoder, events)
        if not made:
            return []
        offsets = await self._appending.append(topic, made, timeout)
        if self._trimming.is_quiet:
            self._trimming.touch()
        return offsets

    async def read(
        self, topic: str, start: Position = "earliest", *, end: Position = "latest"
    ) -> AsyncGenerator[StoredEvent]:
        """Events of a topic, in order, without a consumer: nothing is settled, and nothing is kept for this reader.

        Args:
            topic: Its name.
            start: The first of them.
            end: The first that is not read any more; ``"latest"`` is the end that the topic has when this begins.

        Raises:
            CursorError: An offset outside of what the topic keeps.
            StoreError: There is no such topic, or the engine failed.
            ClosedError: The log is not running, or stopped meanwhile.
        """
        check_position("start", start)
        check_position("end", end)
        info = await self.topic(topic)
        first, last = await offset_of(self.store, info, start), await offset_of(self.store, info, end)
        async for page in reading.pages(self.store, topic, first, last):
            for stored in page:
                yield stored

    async def follow(self, topic: str, start: Position = "latest") -> AsyncGenerator[StoredEvent]:
        """Events of a topic, in order, and those to come, until the log stops; parks while there is none.

        As with ``read()``, nothing is kept for this reader: what is trimmed before it gets there is passed over. A
        topic that does not exist yet is waited for.

        Args:
            topic: Its name.
            start: The first of them.

        Raises:
            CursorError: An offset outside of what the topic keeps.
            StoreError: There is no such topic, and ``start`` is an offset above 0; or the engine failed.
            ClosedError: The log is not running when this begins.
        """
        self._check_topic(topic)
        check_position("start", start)
        if isinstance(start, int) and start:  # such an offset was of another topic
            await self.topic(topic)
        info = await self._find_topic(topic)
        first = 0 if info is None else await offset_of(self.store, info, start)
        async for stored in reading.follow(self.store, topic, first):
            yield stored

    def receiver(self, topic: str, name: str, **options: Unpack[ReceiverOptions]) -> Receiver:
        """Make a live handle for one consumer, ``async with log.receiver("orders", "billing") as receiver:``.

        Args:
            topic: The topic.
            name: The consumer's name; it is registered when the receiver is opened, unless it exists.
            **options: Those of ``Receiver``, which says what each means.

        Raises:
            ValueError: An option is wrong, or no topic or consumer can have such a name.
            TypeError: An option is of another type.
        """
        return Receiver(self, topic, name, **options)

    # -- dead letters -------------------------------------------------------------------------------------------------

    async def dead_letters(self, topic: str, consumer: str | None = None) -> list[DeadLetter]:
        """The events that consumers of a topic gave up and nobody has dealt with, by offset.

        Args:
            topic: The topic in which they failed.
            consumer: Those of one consumer. ``None``: of all.

        Raises:
            StoreError: There is no such topic.
            ClosedError: The log is not running.
        """
        return await (await self._letterbox(topic)).letters(Selection(consumer))

    async def replay_dead_letters(
        self, topic: str, offsets: Iterable[int] | None = None, *, consumer: str | None = None
    ) -> list[DeadLetter]:
        """Append dead letters to their topic again, each for the consumer that gave it up, and take them out.

        The events have the ids that they had, and the others skip them. A letter is taken out once its event is
        appended: where that fails in between, the event is replayed and its letter still there.

        Args:
            topic: The topic in which they failed.
            offsets: The letters' own offsets. ``None``: all of them.
            consumer: Those of one consumer. ``None``: of all.

        Returns:
            The letters that were replayed, by offset. Of the others that were asked for there is none any more, or it
            stays: its event could not be decoded, or its consumer was removed.

        Raises:
            UnknownConsumerError: There is no such consumer.
            StoreFullError: There is no room, as for ``replay()``.
            StoreError: There is no such topic.
            LeaseLostError: The store was so slow that somebody else has the letters now.
            ClosedError: The log is not running.

        Cancellation:
            Some are replayed, from the first on.
        """
        box = await self._letterbox(topic)
        if consumer is not None:
            await self.consumer(topic, consumer)
        replayed = await box.replay(_selection(consumer, offsets))
        self.settled()
        return replayed

    async def delete_dead_letters(
        self, topic: str, offsets: Iterable[int] | None = None, *, consumer: str | None = None
    ) -> list[DeadLetter]:
        """Take dead letters out, for good.

        Args:
            topic: The topic in which they failed.
            offsets: The letters' own offsets. ``None``: all of them.
            consumer: Those of one consumer. ``None``: of all.

        Returns:
            The letters that were deleted, by offset; of the others that were asked for there is none any more.

        Raises:
            LeaseLostError: The store was so slow that somebody else has the letters now.
            StoreError: There is no such topic.
            ClosedError: The log is not running.
        """
        deleted = await (await self._letterbox(topic)).delete(_selection(consumer, offsets))
        self.settled()
        return deleted

    async def _letterbox(self, topic: str) -> Letterbox:
        await self.topic(topic)
        return Letterbox(self.store, self._appending, topic)


def _selection(consumer: str | None, offsets: Iterable[int] | None) -> Selection:
    return Selection(consumer, None if offsets is None else frozenset(offsets))
