"""One topic in memory: its events, its consumers, and the room that its retention leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eventpipe.checked import shown
from eventpipe.core.gate import Gate
from eventpipe.errors import CursorError, StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.retention import Retention
from eventpipe.stores.memory_consumer import MemoryConsumer
from eventpipe.stores.memory_log import MemoryLog, size_of
from eventpipe.stores.values import ConsumerKey, Start, TopicInfo


class MemoryTopic:
    """What one topic keeps and who consumes it; takes the time, and never waits.

    Attributes:
        name: Its name.
        retention: What it keeps.
        log: Its events.
        consumers: By name.
        gate: Moves when somebody who waits has something to look at.
    """

    def __init__(self, name: str, retention: Retention, gate: Gate, dedupe_window: float) -> None:
        self.name = name
        self.log = MemoryLog(dedupe_window)
        self.consumers: dict[str, MemoryConsumer] = {}
        self.gate = gate
        self._dedupe_window = dedupe_window
        self._dropped = 0
        self._is_wanted = False  # an append found no room, and somebody may wait for it
        self.declare(retention)

    def append(
        self, events: Sequence[CapturedEvent], now: float, is_replay: bool, *, may_drop: bool = True
    ) -> list[int]:
        """Append all of them; their offsets.

        Args:
            events: In order.
            now: Wall clock.
            is_replay: Append them whatever ids there are.
            may_drop: Whether they may take the room of events that somebody has not settled, where retention says so.

        Raises:
            StoreFullError: There is no room. Nothing was changed.
        """
        log = self.log
        offsets, fresh, size = log.enter(events, now, is_replay)
        if fresh:
            if log.end - log.first + len(fresh) > self._max_events or log.bytes + size > self._max_bytes:
                try:
                    self._make_room(len(fresh), size, now, may_drop)
                except StoreFullError:
                    log.leave_out(fresh)
                    raise
            log.add(fresh, size, now)
            self._is_wanted = False
            self.gate.move()
        return offsets

    def declare(self, retention: Retention) -> None:
        """Keep so much from now on."""
        self.retention = retention
        self._max_events = math.inf if retention.max_events is None else retention.max_events
        self._max_bytes = math.inf if retention.max_bytes is None else retention.max_bytes
        if self._is_wanted:
            self.move()

    def move(self) -> None:
        """Wake whoever waits."""
        self._is_wanted = False
        self.gate.move()

    def room_was_made(self) -> None:
        """Wake whoever waits for room, if there is any now."""
        if self._is_wanted and self._settled_before() > self.log.first:
            self.move()

    def resolve(self, start: Start) -> int:
        """Where a consumer begins.

        Raises:
            CursorError: An offset below the first or above the end.
            ValueError: It is no place in a topic.
        """
        if start == "earliest":
            return self.log.first
        if start == "latest":
            return self.log.end
        if type(start) is not int:
            raise ValueError(f"start must be 'earliest', 'latest' or an offset, not {shown(start)}")
        if not self.log.first <= start <= self.log.end:
            raise CursorError(self.name, start, first=self.log.first, last=self.log.end)
        return start

    def add_consumer(self, name: str, start: int, fence: int) -> MemoryConsumer:
        """Register a consumer that is not there yet."""
        consumer = self.consumers[name] = MemoryConsumer(ConsumerKey(self.name, name), start, fence)
        return consumer

    def trim(self, now: float, before: int | None, limit: int) -> int:
        """Drop what every consumer has settled and is old enough, and what is too old; at most ``limit`` events.

        Returns:
            How many events were dropped.
        """
        log, max_age = self.log, self.retention.max_age
        settled = self._settled_before()
        stop = min(log.end if before is None else before, log.first + limit)
        goal = log.first
        for offset, _, stamp in log.scan(log.first):
            age = now - stamp
            is_over = offset < settled and age >= self._dedupe_window
            if offset >= stop or not (is_over or (max_age is not None and age > max_age)):
                break
            goal = offset + 1
        count = goal - log.first
        if count:
            self._drop(goal, now)
            if self._is_wanted:
                self.move()
        return count

    def info(self) -> TopicInfo:
        """How it stands."""
        log = self.log
        return TopicInfo(
            self.name,
            log.first,
            log.end,
            len(log),
            log.bytes,
            oldest_at=log.at(log.first)[1] if log else None,
            newest_at=log.at(log.end - 1)[1] if log else None,
            retention=self.retention,
            dropped=self._dropped,
        )

    def _settled_before(self) -> int:
        """The offset before which every consumer has settled everything; the first where there is no consumer."""
        return min((consumer.position for consumer in self.consumers.values()), default=self.log.first)

    def _make_room(self, count: int, size: int, now: float, may_drop: bool) -> None:
        """Drop what stands in the way: settled events, and others only where retention says so.

        Raises:
            StoreFullError: That is not enough. Nothing was changed.
        """
        if count > self._max_events or size > self._max_bytes:
            raise StoreFullError(
                f"topic {self.name!r} can never hold {count} events of {size} bytes at once: it keeps at most"
                f" {self._bounds()}; append fewer at a time, or raise max_events or max_bytes of its retention",
                topic=self.name,
                can_ever_fit=False,
            )
        before = self._first_without(count, size)
        if before > self._settled_before():
            if self.retention.on_full != "drop_oldest":
                self._is_wanted = True
                raise StoreFullError(
                    f"topic {self.name!r} is full: it keeps {len(self.log)} events of {self.log.bytes} bytes, at most"
                    f" {self._bounds()}; let its consumers go on or remove those that are gone, raise the bounds of its"
                    " retention, or set on_full='drop_oldest'",
                    topic=self.name,
                )
            if not may_drop:
                raise StoreFullError(
                    f"topic {self.name!r} is full, and a replay drops nothing that a consumer has not settled: it keeps"
                    f" {len(self.log)} events of {self.log.bytes} bytes, at most {self._bounds()}; let its consumers go"
                    " on or remove those that are gone, or raise the bounds of its retention",
                    topic=self.name,
                )
        self._drop(before, now)

    def _first_without(self, count: int, size: int) -> int:
        """What the first offset has to be, so that there is room."""
        log = self.log
        excess = log.end - log.first + count - self._max_events
        excess_bytes = log.bytes + size - self._max_bytes
        for offset, event, _ in log.scan(log.first):
            if excess <= 0 and excess_bytes <= 0:
                return offset
            excess -= 1
            excess_bytes -= size_of(event)
        return log.end

    def _bounds(self) -> str:
        bounds = ((self.retention.max_events, "events"), (self.retention.max_bytes, "bytes"))
        return " and ".join(f"{bound} {unit}" for bound, unit in bounds if bound is not None)

    def _drop(self, before: int, now: float) -> None:
        """Drop all before an offset, and let each consumer know what of it was still to come."""
        consumers = list(self.consumers.values())
        slowest = min(consumers, key=lambda consumer: consumer.position, default=None)
        if slowest is not None and slowest.position < before:
            if len(consumers) == 1:
                self._dropped += slowest.unsettled(slowest.position, before)
            else:
                self._dropped += sum(
                    not all(consumer.has_settled(offset) for consumer in consumers)
                    for offset in range(slowest.position, before)
                )
            for consumer in consumers:
                consumer.pass_over(before)
        self.log.cut(before, now)
