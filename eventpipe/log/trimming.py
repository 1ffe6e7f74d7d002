"""What every consumer has settled is trimmed without being asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from eventpipe.clock import Clock
from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.errors import StoreError
from eventpipe.stores.base import Store
from eventpipe.stores.values import ConsumerInfo, TopicInfo

_logger = contained_logger(__name__)


class Trimming:
    """Knows when a pass is worth it, makes it, and keeps what goes wrong there from everybody else.

    Attributes:
        is_quiet: Nothing was appended or settled since the last pass began.
    """

    def __init__(self, store: Store, clock: Clock, name: str) -> None:
        self._store = store
        self._clock = clock
        self._name = name
        self._failing = False
        self._called = asyncio.Event()
        self.is_quiet = True

    def touch(self) -> None:
        """Something was appended or settled: a pass is worth it, after the interval."""
        self.is_quiet = False
        self._called.set()

    async def wanted(self, timeout: float | None) -> None:
        """Park until ``touch()`` was called since the last pass began, or for ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._called.wait()

    async def make_pass(self) -> float | None:
        """Trim every topic; whatever fails is logged once, until a pass goes well again.

        Returns:
            Seconds until another pass has something to do though nothing happens meanwhile; ``None``: never.
        """
        self._called.clear()
        self.is_quiet = True
        try:
            await trim_all(self._store)
            due = next_pass(await self._store.topics(), await self._store.consumers(), self._clock.time())
        except Exception as error:  # noqa: BLE001  # an engine's own errors as well: the log works without this
            if not self._failing:
                self._failing = True
                why = str(error) if isinstance(error, StoreError) else where_raised(error)
                _logger.warning("%s: trimming fails and is tried again: %s", self._name, why)
            return 0.0
        if self._failing:
            self._failing = False
            _logger.warning("%s: trimming works again", self._name)
        return due


async def trim_all(store: Store) -> int:
    """Trim every topic; one that fails holds up none after it.

    Returns:
        How many events were deleted.

    Raises:
        Exception: What the first of those raised that failed, once the others are done.
    """
    trimmed = 0
    failure: Exception | None = None
    for topic in await store.topics():
        try:
            trimmed += await store.trim(topic.name)
        except Exception as error:  # noqa: BLE001
            failure = failure or error
    if failure is not None:
        raise failure
    return trimmed


def next_pass(topics: Iterable[TopicInfo], consumers: Iterable[ConsumerInfo], now: float) -> float | None:
    """Seconds until there is something to trim though nothing happens meanwhile; ``None``: there never will be.

    There will be where events grow older than ``max_age``, and where settled ones are kept for a while.
    """
    floors: dict[str, int] = {}
    for consumer in consumers:
        floors[consumer.topic] = min(consumer.position, floors.get(consumer.topic, consumer.position))
    due: list[float] = []
    for topic in topics:
        if not topic.events:
            continue
        if topic.retention.max_age is not None and topic.oldest_at is not None:
            due.append(max(0.0, topic.oldest_at + topic.retention.max_age - now))
        if topic.first < floors.get(topic.name, topic.first):
            due.append(0.0)
    return min(due, default=None)
