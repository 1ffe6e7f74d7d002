"""Where events are appended to: a topic that takes each id once, and one that takes copies as they were exported."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from eventpipe.codecs.base import whole
from eventpipe.events import CapturedEvent
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import addressee, dead_letter
from eventpipe.stores.values import StoredEvent, TopicInfo

THERE_ALREADY = -1  # an offset that is below every end


class Target:
    """A topic that takes an event with the same id once."""

    def __init__(self, log: EventLog, topic: str) -> None:
        self._log = log
        self._topic = topic

    async def end(self) -> int:
        """The offset that the next event gets; 0 where there is no such topic yet."""
        info = await self._info()
        return 0 if info is None else info.end

    def is_apart(self, event: CapturedEvent) -> bool:
        """Whether an event cannot be appended together with others that are not apart."""
        del event
        return False

    async def append(self, events: Sequence[CapturedEvent]) -> list[int]:
        """Append events that are all apart, or none of them is, in one commit.

        Returns:
            Offsets, one per event; one below ``end()`` for what was there already.

        Raises:
            StoreError: As ``EventLog.append_many()``.
        """
        return await self._log.append_many(self._topic, events)

    async def _info(self) -> TopicInfo | None:
        return next((info for info in await self._log.topics() if info.name == self._topic), None)


class ImportTarget(Target):
    """A topic that takes copies too: dead letters, and what was replayed, have ids that other events have as well.

    A copy is there already as often as the topic had the same one before. Which it had is read when the first one
    comes, and kept as 16 bytes for each.
    """

    def __init__(self, log: EventLog, topic: str) -> None:
        super().__init__(log, topic)
        self._before: Counter[bytes] | None = None

    def is_apart(self, event: CapturedEvent) -> bool:
        """Whether it is a copy."""
        return _is_copy(event)

    async def append(self, events: Sequence[CapturedEvent]) -> list[int]:
        """See ``Target``."""
        if not (events and _is_copy(events[0])):
            return await super().append(events)
        if self._before is None:
            self._before = await self._read_copies()
        found: Counter[bytes] = Counter()
        new: list[CapturedEvent] = []
        offsets: list[int] = []
        for event in events:
            digest = _digest(event)
            if self._before[digest] > found[digest]:
                found[digest] += 1
                offsets.append(THERE_ALREADY)
            else:
                offsets.append(len(new))
                new.append(event)
        places = await self._log.store.append(self._topic, new, is_replay=True) if new else []
        self._before -= found  # once nothing can fail any more: it comes again in parts otherwise
        return [place if place == THERE_ALREADY else places[place] for place in offsets]

    async def _read_copies(self) -> Counter[bytes]:
        copies: Counter[bytes] = Counter()
        if await self._info() is not None:
            async with aclosing(self._log.read(self._topic)) as events:
                async for stored in events:
                    if stored.event is not None and _is_copy(stored.event):
                        copies[_digest(stored.event)] += 1
        return copies


def _is_copy(event: CapturedEvent) -> bool:
    if event.extra is None or not event.extra.headers:
        return False
    return addressee(event) is not None or dead_letter(StoredEvent(0, 0.0, event)) is not None


def _digest(event: CapturedEvent) -> bytes:
    return hashlib.blake2b(whole(event), digest_size=16).digest()
