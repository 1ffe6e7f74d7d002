"""The topics of a log and the consumers of each: made, looked at, moved, removed."""

from __future__ import annotations

from eventpipe.errors import UnknownConsumerError
from eventpipe.log import positions
from eventpipe.log.dead_letters import DEAD_LETTERS
from eventpipe.log.letters import addressed, addressee
from eventpipe.log.positions import Position, check_position, offset_of
from eventpipe.log.reading import pages
from eventpipe.log.running import RunningLog, check_retention, no_topic
from eventpipe.log.trimming import trim_all
from eventpipe.retention import Retention
from eventpipe.stores.names import check_name
from eventpipe.stores.values import DEAD_SUFFIX, ConsumerInfo, ConsumerKey, Damage, TopicInfo


class AdministeredLog(RunningLog):
    """What people and tools ask of a log, beside events; each call raises ``ClosedError`` unless the log runs."""

    # -- topics -------------------------------------------------------------------------------------------------------

    async def topics(self) -> list[TopicInfo]:
        """Every topic, by name."""
        self._check_running()
        return await self.store.topics()

    async def topic(self, name: str) -> TopicInfo:
        """One topic, as it is now.

        Raises:
            StoreError: There is none; the message names the one that is spelt nearly so.
        """
        known = await self.topics()
        for info in known:
            if info.name == name:
                return info
        raise no_topic(name, [info.name for info in known])

    async def declare(self, topic: str, retention: Retention) -> None:
        """Make a topic, or change what it keeps from now on.

        Raises:
            ValueError: No topic can have that name.
            TypeError: ``retention`` is none.
        """
        self._check_topic(topic)
        check_retention(topic, retention)
        await self.store.declare(topic, retention)

    async def trim(self, topic: str | None = None) -> int:
        """Delete now what every consumer has settled, as passes do by themselves; return how many events.

        Args:
            topic: One topic. ``None``: all of them; the error of one holds up none of the others.

        Raises:
            StoreError: There is no such topic, or the engine failed.
        """
        if topic is None:
            self._check_running()
            return await trim_all(self.store)
        return await self.store.trim((await self.topic(topic)).name)

    async def verify(self, topic: str | None = None) -> list[Damage]:
        """Check every event of a topic, or of all, and list those whose bytes have changed since they were appended.

        Raises:
            StoreError: There is no such topic, or the engine failed.
        """
        self._check_running()
        return await self.store.verify(None if topic is None else (await self.topic(topic)).name)

    # -- consumers ----------------------------------------------------------------------------------------------------

    async def add_consumer(self, topic: str, name: str, start: Position = "earliest") -> ConsumerInfo:
        """Register a consumer: from now on the topic keeps for it what it has not settled.

        One that exists stays as it is, wherever it is; ``seek()`` moves it.

        Args:
            topic: The topic, which is made if it does not exist.
            name: The consumer's name, its own in that topic.
            start: Where it begins. ``"latest"``, or a time, becomes an offset here and now.

        Returns:
            The consumer, as it is now.

        Raises:
            CursorError: An offset outside of what the topic keeps.
            ValueError: No topic or consumer can have such a name, or ``start`` is no place in a topic.
        """
        self._check_topic(topic)
        key = ConsumerKey(topic, check_name("consumer", name))
        check_position("start", start)
        if topic.endswith(DEAD_SUFFIX):
            # Else the progress of another consumer would let letters be trimmed that nobody has dealt with.
            await self.store.add_consumer(ConsumerKey(topic, DEAD_LETTERS), "earliest")
        return await positions.register(self.store, key, start)

    async def remove_consumer(self, topic: str, name: str) -> None:
        """Forget a consumer and where it was; what it was handed can be settled no more.

        Raises:
            UnknownConsumerError: There is none.
        """
        key = (await self.consumer(topic, name)).key
        await self.store.remove_consumer(key)
        self.holders.moved(key)
        self.settled()  # what was kept for it alone can go

    async def consumers(self, topic: str | None = None) -> list[ConsumerInfo]:
        """Every consumer of a topic, or of all, by topic and name."""
        self._check_running()
        return await self.store.consumers(topic)

    async def consumer(self, topic: str, name: str) -> ConsumerInfo:
        """One consumer, as it is now.

        Raises:
            UnknownConsumerError: There is none; the message names the one that is spelt nearly so.
        """
        known = await self.consumers(topic)
        for info in known:
            if info.name == name:
                return info
        raise UnknownConsumerError(topic, name, [info.name for info in known])

    async def pause(self, topic: str, name: str) -> None:
        """Hand out nothing more to a consumer until ``resume()``; what it has in hand can be settled.

        Raises:
            UnknownConsumerError: There is none.
        """
        await self.store.pause((await self.consumer(topic, name)).key, True)

    async def resume(self, topic: str, name: str) -> None:
        """Go on handing out events to a consumer.

        Raises:
            UnknownConsumerError: There is none.
        """
        await self.store.pause((await self.consumer(topic, name)).key, False)

    async def seek(self, topic: str, name: str, to: Position) -> None:
        """Move a consumer, running or not: what it is handed next is the first event at ``to`` or after it.

        What it has in hand can be settled no more, and attempts begin at one again.

        Args:
            topic: Its topic.
            name: Its name.
            to: ``"earliest"``, ``"latest"``, an offset, or a time: the first event that was appended then or later;
                naive means UTC.

        Raises:
            CursorError: An offset outside of what the topic keeps.
            UnknownConsumerError: There is none.
        """
        check_position("to", to)
        key = (await self.consumer(topic, name)).key
        await positions.move(self.store, key, await self.topic(topic), to)
        self.holders.moved(key)
        self.settled()

    async def replay(self, topic: str, name: str, start: Position, end: Position = "latest") -> int:
        """Hand a range of events to one consumer again, running or not, without moving it.

        They are appended once more, with the ids they have, and addressed to that consumer: it is handed them after all
        that it has still to do, and the others skip them. Copies of an earlier replay are left out. To go through
        everything again in place, ``seek()`` back.

        Args:
            topic: Its topic.
            name: Its name.
            start: The first of them, as ``seek()`` takes it.
            end: The first that is not replayed any more; ``"latest"`` is the end that the topic has now.

        Returns:
            How many events were appended.

        Raises:
            CursorError: An offset outside of what the topic keeps.
            UnknownConsumerError: There is none.
            StoreFullError: There is no room, as for ``append()``.

        Cancellation:
            As where it fails: some are replayed, from the first on.
        """
        check_position("start", start)
        check_position("end", end)
        await self.consumer(topic, name)
        info = await self.topic(topic)
        first, last = await offset_of(self.store, info, start), await offset_of(self.store, info, end)
        replayed = 0
        async for page in pages(self.store, topic, first, last):
            events = [stored.event for stored in page if stored.event is not None]
            copies = [addressed(event, name) for event in events if addressee(event) is None]
            if copies:
                await self._appending.append(topic, copies, is_replay=True)
                self.settled()
            replayed += len(copies)
        return replayed
