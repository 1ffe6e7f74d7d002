"""The topics of a log and the consumers of each: made, looked at, moved, removed."""

from __future__ import annotations

from eventpipe.checked import shown
from eventpipe.errors import UnknownConsumerError
from eventpipe.log import positions
from eventpipe.log.dead_letters import DEAD_LETTERS
from eventpipe.log.letters import addressed, addressee
from eventpipe.log.positions import Position, check_position, offset_of
from eventpipe.log.reading import pages
from eventpipe.log.resharding import reshard
from eventpipe.log.running import RunningLog, check_retention, no_topic
from eventpipe.log.totals import LogStatistics
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
        self._check_running()
        info = await self._find_topic(name)
        if info is None:
            raise no_topic(name, [known.name for known in await self.topics()])
        return info

    async def statistics(self) -> LogStatistics:
        """How the log stands as a whole: what it keeps, and what is pending in total.

        Raises:
            StoreError: The engine failed.
            ClosedError: The log is not running.

        Cancellation:
            Safe.
        """
        self._check_running()
        return LogStatistics.of(await self.store.topics(), await self.store.consumers())

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
        """Every consumer of a topic, or of all, by topic and name.

        Raises:
            StoreError: There is no such topic.
        """
        self._check_running()
        found = await self.store.consumers(topic)
        if topic is not None and not found:
            await self.topic(topic)
        return found

    async def consumer(self, topic: str, name: str) -> ConsumerInfo:
        """One consumer, as it is now.

        Raises:
            UnknownConsumerError: There is none; the message names the one that is spelt nearly so.
        """
        self._check_running()
        known = await self.store.consumers(topic)
        for info in known:
            if info.name == name:
                return info
        raise UnknownConsumerError(topic, name, [info.name for info in known])

    async def pause(self, topic: str, name: str) -> None:
        """Hand out nothing more to a consumer until ``resume()``; what it is at work with can be settled.

        What a holder in this process has claimed, and not begun with, is given back unharmed. One in another process
        learns of it at its next claim: what it has in hand by then, it hands out.

        Raises:
            UnknownConsumerError: There is none.
        """
        key = (await self.consumer(topic, name)).key
        await self.store.pause(key, True)
        self.holders.paused(key)

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

    async def reshard(self, topic: str, name: str, count: int) -> list[ConsumerInfo]:
        """Divide a consumer among another number of shards, while none of them runs; no event is lost.

        Each new shard begins where it is handed all that the old ones of its keys had not settled, and the old names
        are forgotten. Some events may be handed out again, as ``migration()`` says: none where the old shards are
        level, so let them finish before. Attempts begin at one again. Where an old shard is paused, the new ones are.

        Args:
            topic: Its topic.
            name: Its name, without a shard.
            count: How many shards there are to be; 1: the consumer is not divided any more, and has the name itself.

        Returns:
            The new shards, by index. Where there are so many already, nothing was done.

        Raises:
            LeaseHeldError: One of the shards runs. Nothing was changed.
            UnknownConsumerError: There is no such consumer, divided or not.
            StoreError: There is no such topic; a shard was never registered; there are shards of several counts.
            ValueError: ``count`` is below 1, or no consumer can have such a name.

        Cancellation:
            As where it fails: nothing is lost, no consumer of either count starts, and the same call does the rest.
        """
        await self.topic(topic)
        made = await reshard(self.store, topic, check_name("consumer", name), count)
        self.settled()  # what was kept for the old ones alone can go
        return made

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
            StoreFullError: There is no room, as for ``append()``; also with ``on_full="drop_oldest"``: a replay drops
                nothing that some consumer has not settled.
            ValueError: ``start`` comes after ``end``.

        Cancellation:
            As where it fails: some are replayed, from the first on.
        """
        check_position("start", start)
        check_position("end", end)
        await self.consumer(topic, name)
        info = await self.topic(topic)
        first, last = await offset_of(self.store, info, start), await offset_of(self.store, info, end)
        if first > last and end != "latest":  # where a time is after the end, there is nothing yet
            raise ValueError(
                f"start must not come after end: {shown(start)} is offset {first}, {shown(end)} is offset {last}"
            )
        replayed = 0
        async for page in pages(self.store, topic, first, last):
            events = [stored.event for stored in page if stored.event is not None]
            copies = [addressed(event, name) for event in events if addressee(event) is None]
            if copies:
                await self._appending.append(topic, copies, is_replay=True)
                self.settled()
            replayed += len(copies)
        return replayed
