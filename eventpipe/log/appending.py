"""Appending to a store, and waiting for room in a topic that is full."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

from eventpipe.core.deadline import Deadline
from eventpipe.errors import StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.values import TopicInfo


class Appending:
    """Appends, and waits where ``on_full="wait"``.

    Who finds such a topic full gets in line, and who comes later waits behind: the first in line alone parks at the
    store and tries again, so that a thousand producers are not woken for the room of one, and nobody starves, however
    much they append at once.

    Attributes:
        lines: By topic, while somebody is in line.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lines: dict[str, _Line] = {}

    async def append(
        self, topic: str, events: Sequence[CapturedEvent], timeout: float | None = None, *, is_replay: bool = False
    ) -> list[int]:
        """Append in one commit, once there is room.

        Args:
            topic: A name that was checked.
            events: Not empty, in order.
            timeout: Seconds to wait for room; a commit that is under way is waited for. ``None``: as long as it takes.
            is_replay: Append them whatever ids the topic has.

        Raises:
            TimeoutError: There was no room in time. Nothing was appended.
            StoreFullError: There is no room and the topic does not wait, it can never take so much, or the disk is
                full. Nothing was appended.
            StoreError: The engine failed.

        Cancellation:
            The events are appended or not, all of them or none; none, while it waits for room.
        """
        patience = Patience(topic, timeout)
        if topic not in self.lines:
            try:
                return await self._store.append(topic, events, is_replay=is_replay)
            except StoreFullError:
                pass  # it comes again from the line, where its cause is looked at
        return await self.append_in_line(topic, events, patience, is_replay=is_replay)

    async def append_in_line(
        self, topic: str, events: Sequence[CapturedEvent], patience: Patience, *, is_replay: bool = False
    ) -> list[int]:
        """Append in one commit, behind those who wait for room in the topic already; otherwise as ``append()``."""
        line = self.lines.setdefault(topic, _Line())
        line.length += 1
        try:
            await patience.outlast(line.first.acquire())  # which is first come, first served
            try:
                return await self._append_first(topic, events, patience, is_replay=is_replay)
            finally:
                line.first.release()
        finally:
            line.length -= 1
            if not line.length:
                del self.lines[topic]

    async def _append_first(
        self, topic: str, events: Sequence[CapturedEvent], patience: Patience, *, is_replay: bool
    ) -> list[int]:
        had_room = False
        while True:
            seen = self._store.version(topic)
            try:
                return await self._store.append(topic, events, is_replay=is_replay)
            except StoreFullError:
                info = await self._info(topic)
                if info is None or not _may_ever_fit(info.retention, events):
                    raise
                if _fits(info, events):
                    # Room was made meanwhile; else it is the disk that is full, which no wait at this topic would end.
                    if had_room:
                        raise
                    had_room = True
                    continue
                had_room = False
            await patience.outlast(self._store.wait(topic, seen))

    async def _info(self, topic: str) -> TopicInfo | None:
        return next(iter(await self._store.topics(topic)), None)


class _Line:
    """Those who wait at one topic.

    Attributes:
        first: Held by the first of them.
        length: How many they are.
    """

    __slots__ = ("first", "length")

    def __init__(self) -> None:
        self.first = asyncio.Lock()
        self.length = 0


class Patience:
    """How long one append waits for room.

    Args:
        topic: Where.
        timeout: Seconds from now. ``None``: as long as it takes.

    Raises:
        ValueError: ``timeout`` is not a number.
        TypeError: It is of another type.
    """

    def __init__(self, topic: str, timeout: float | None) -> None:
        self._deadline = Deadline.after(timeout)
        self._topic = topic
        self._timeout = timeout

    async def outlast(self, wait: Coroutine[object, object, object]) -> None:
        """Wait, unless the deadline comes before.

        Raises:
            TimeoutError: It came.
        """
        try:
            async with self._deadline.scope():
                await wait
        except TimeoutError:
            raise TimeoutError(
                f"topic {self._topic!r} had no room within {self._timeout} s; nothing was appended"
            ) from None


def _may_ever_fit(retention: Retention, events: Sequence[CapturedEvent]) -> bool:
    """Whether to wait for room: the topic says so, and would take the events if it were empty."""
    if retention.on_full != "wait":
        return False
    return _is_within(retention, len(events), _bytes(events))


def _fits(info: TopicInfo, events: Sequence[CapturedEvent]) -> bool:
    return _is_within(info.retention, info.events + len(events), info.bytes + _bytes(events))


def _is_within(retention: Retention, events: int, size: int) -> bool:
    return (retention.max_events is None or events <= retention.max_events) and (
        retention.max_bytes is None or size <= retention.max_bytes
    )


def _bytes(events: Sequence[CapturedEvent]) -> int:
    return sum(event.held for event in events)
