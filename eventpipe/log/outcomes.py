"""What tells the world of a consumer's outcomes: its subscriptions, and a topic of its log."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context
from eventpipe.errors import EventPipeError, StoreFullError
from eventpipe.events import Event
from eventpipe.outcomes import Outcome
from eventpipe.stores.values import ConsumerKey
from eventpipe.transport.feed import OutcomeFeed
from eventpipe.transport.feed_lives import FeedLives

OUTCOME: Final = "eventpipe.outcome"
"""The name of an event that tells of an outcome."""

MAX_IDS: Final = 100  # ids that one such event names: more are counted only, so that it stays small

# Outcomes that wait to be appended: a log that is slow for so long loses outcomes, not memory.
_MAX_WAITING: Final = 1000
_APPEND_TIMEOUT: Final = 5.0  # seconds that a full outcomes topic is waited for, where it waits
_GRACE: Final = 1.0  # seconds that the last outcomes may take at a stop

_logger = contained_logger(__name__)


class AppendingLog(Protocol):
    """What appends outcomes as events."""

    async def append_many(self, topic: str, events: Sequence[Event], *, timeout: float | None = None) -> list[int]:
        """Append in one commit."""


class OutcomeTopic:
    """Appends outcomes to a topic as events, by a task that is there while some wait: none per event, none at rest.

    What the topic does not take costs nothing but these outcomes: they are counted as lost. Events that tell of
    outcomes themselves are left out, so that consumers of outcomes topics do not feed each other.

    Attributes:
        topic: Its name.
        lost: Outcomes that were not appended.
    """

    def __init__(self, log: AppendingLog, topic: str, key: ConsumerKey) -> None:
        self.topic = topic
        self.lost = 0
        self._log = log
        self._key = key
        self._waiting: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    def tell(self, outcomes: Sequence[Outcome], offsets: Sequence[Sequence[int]]) -> None:
        """Append these soon.

        Args:
            outcomes: In order.
            offsets: Those of the events of each outcome, in the order of its events.
        """
        for outcome, places in zip(outcomes, offsets, strict=True):
            told = _without_outcomes(outcome, places)
            if told is None:
                continue
            if len(self._waiting) >= _MAX_WAITING:
                self.lost += 1
            else:
                self._waiting.append(self._event(*told))
        if self._waiting and (self._task is None or self._task.done()):
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(
                self._append(), name=f"outcomes of consumer {self._key}", context=own_context()
            )

    async def finish(self) -> None:
        """Wait for what is being appended, for a moment; what is not appended then is lost.

        Cancellation:
            What is not appended yet is lost.
        """
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await asyncio.wait({task}, timeout=_GRACE)
        finally:
            task.cancel()  # a no-op where it has ended
            self.lost += len(self._waiting)
            self._waiting.clear()
        await asyncio.wait({task}, timeout=_GRACE)

    async def _append(self) -> None:
        parts: deque[list[Event]] = deque()  # each is one commit
        while parts or self._waiting:
            if not parts:
                parts.append(list(self._waiting))
                self._waiting.clear()
            events = parts.popleft()
            try:
                await self._log.append_many(self.topic, events, timeout=_APPEND_TIMEOUT)
            except asyncio.CancelledError:
                self.lost += len(events) + sum(map(len, parts))
                raise
            except (EventPipeError, TimeoutError, OSError) as error:
                if isinstance(error, StoreFullError) and not error.can_ever_fit and len(events) > 1:
                    middle = len(events) // 2
                    parts.extendleft((events[middle:], events[:middle]))
                    continue
                self.lost += len(events)
                if not self._is_failing:
                    _logger.warning("outcomes topic %s takes none of consumer %s: %s", self.topic, self._key, error)
                self._is_failing = True
            else:
                if self._is_failing:
                    _logger.info("outcomes topic %s takes those of consumer %s again", self.topic, self._key)
                self._is_failing = False

    def _event(self, outcome: Outcome, offsets: Sequence[int]) -> Event:
        return Event(
            OUTCOME,
            distinct_id=self._key.name,
            properties={
                "kind": outcome.kind,
                "consumer": self._key.name,
                "topic": self._key.topic,
                "events": len(offsets),
                "offsets": list(offsets[:MAX_IDS]),
                "uuids": [event.uuid for event in outcome.captured[:MAX_IDS]],
                "attempt": outcome.attempt,
                "reason": outcome.reason,
                "status": outcome.status,
                "error": outcome.error,
                "duration": outcome.durations.send,
            },
        )


def _without_outcomes(outcome: Outcome, offsets: Sequence[int]) -> tuple[Outcome, Sequence[int]] | None:
    """An outcome without those of its events that tell of outcomes, and the offsets; ``None``: nothing is left."""
    told = [(event, offset) for event, offset in zip(outcome.captured, offsets, strict=False) if event.name != OUTCOME]
    if len(told) == len(outcome.captured):  # also where the event could not be decoded, and is not among them
        return outcome, offsets
    if not told:
        return None
    return replace(outcome, captured=tuple(event for event, _ in told)), [offset for _, offset in told]


class Outcomes:
    """Whoever is told of the outcomes of one consumer: those who subscribe, and a topic of its log."""

    def __init__(self, key: ConsumerKey, largest_list: int, topic: OutcomeTopic | None) -> None:
        self.topic = topic
        self._lives = FeedLives(key.name, largest_list=largest_list)

    @property
    def feed(self) -> OutcomeFeed:
        """What is subscribed to."""
        return self._lives.feed

    def open(self) -> None:
        """A life begins; see ``FeedLives.open()``."""
        self._lives.open()

    def tell(self, outcomes: Sequence[Outcome], offsets: Sequence[Sequence[int]]) -> None:
        """Tell everybody."""
        self._lives.tell(outcomes)
        if self.topic is not None:
            self.topic.tell(outcomes, offsets)

    async def close(self) -> None:
        """End this life's subscriptions, once they and the topic have what there is.

        Cancellation:
            They end all the same.
        """
        try:
            if self.topic is not None:
                await self.topic.finish()
        finally:
            await self._lives.close()
