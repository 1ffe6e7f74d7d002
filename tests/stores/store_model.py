"""A topic with its consumers as dictionaries: one entry for everything that ever happened to an offset."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from eventpipe.stores.values import ClaimedEvent, Disposal

State = Literal["held", "back", "again", "done"]


@dataclass
class Known:
    """An event that the topic took, by its id."""

    offset: int
    stamp: float


@dataclass
class Handed:
    """What became of one offset, for one consumer that was handed it at least once."""

    state: State
    attempts: int
    serial: int
    due: float = math.inf


@dataclass
class Copy:
    """What a test was handed: the claimed event, by whom, and in which claim of the model's own count."""

    token: int | None
    serial: int
    event: ClaimedEvent


@dataclass
class ModelConsumer:
    """What a consumer may be handed next, and what may be said of it."""

    start: int
    token: int | None = None
    fence: int = 0
    serial: int = 0
    is_paused: bool = False
    has_cursor: bool = False
    skipped: int = 0
    dead: int = 0
    dropped: int = 0
    gap: int = 0
    last_error: str | None = None
    handed: dict[int, Handed] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)

    def is_done(self, offset: int) -> bool:
        if offset < self.start:
            return True
        entry = self.handed.get(offset)
        return entry is not None and entry.state == "done"

    @property
    def position(self) -> int:
        offset = self.start
        while self.is_done(offset):
            offset += 1
        return offset

    def due(self, first: int, end: int, now: float) -> list[int]:
        """What a claim with no bound would hand out."""
        offsets = range(max(first, self.start), end)
        return [offset for offset in offsets if self._is_due(self.handed.get(offset), now)]

    @staticmethod
    def _is_due(entry: Handed | None, now: float) -> bool:
        if entry is None or entry.state == "again":
            return True
        return entry.state != "done" and entry.due <= now

    def next_due(self) -> float:
        """When time alone makes something due."""
        waiting = (entry.due for entry in self.handed.values() if entry.state in ("held", "back"))
        return min(waiting, default=math.inf)

    def come(self, token: int | None) -> None:
        """See who claims: somebody else than before takes everything over."""
        if token != self.token:
            self.token = token
            self.fence = self.serial
            for entry in self.handed.values():
                if entry.state != "done":
                    entry.state = "again"

    def hand_out(self, offset: int, until: float) -> int:
        """The attempt in which an offset is handed out."""
        before = self.handed.get(offset)
        attempts = 1 if before is None else before.attempts + 1
        self.handed[offset] = Handed("held", attempts, self.serial, until)
        return attempts

    def is_lost(self, copy: Copy) -> bool:
        """Whether nothing can be said of an event any more under its claim."""
        if copy.serial <= self.fence:
            return True
        offset = copy.event.offset
        return not self.is_done(offset) and self.handed[offset].serial != copy.serial

    def settle(self, copy: Copy, disposal: Disposal, now: float, delay: float, reason: str | None) -> bool:
        """Do what is said of an event; whether that made a difference."""
        offset = copy.event.offset
        if self.is_done(offset):
            return False
        entry = self.handed[offset]
        if disposal in (Disposal.NACK, Disposal.RELEASE):
            entry.state, entry.due = "back", now + delay
            entry.attempts = copy.event.attempt - (disposal is Disposal.RELEASE)
        else:
            entry.state = "done"
            self.has_cursor = True
            self.skipped += disposal is Disposal.SKIP
            self.dead += disposal is Disposal.DEAD
        self.last_error = reason or self.last_error
        return True

    def seek(self, offset: int) -> None:
        self.start = offset
        self.handed.clear()
        self.fence = self.serial


@dataclass
class ModelTopic:
    """What is kept, who consumes it, and what is known of ids."""

    window: float
    most: int
    first: int = 0
    end: int = 0
    dropped: int = 0
    letters: int = 0
    stamps: dict[int, float] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    consumers: dict[str, ModelConsumer] = field(default_factory=dict)

    def place_of(self, uuid: str, now: float) -> int | None:
        """Where an event is that need not be appended again."""
        known = self.known.get(uuid)
        if known is None or (known.offset < self.first and now - known.stamp >= self.window):
            return None
        return known.offset

    def append(self, uuid: str, now: float, *, is_replay: bool) -> int:
        offset = self.end
        self.stamps[offset] = now
        self.end += 1
        if not is_replay:
            self.known[uuid] = Known(offset, now)
        return offset

    def settled_before(self) -> int:
        """Up to where everybody has settled everything."""
        return min((consumer.position for consumer in self.consumers.values()), default=self.first)

    def trimmable(self, now: float) -> int:
        """Up to where everybody has settled everything long ago."""
        goal = self.first
        while goal < min(self.end, self.settled_before()) and now - self.stamps[goal] >= self.window:
            goal += 1
        return goal

    def drop(self, first: int) -> None:
        """Keep nothing before ``first``; who had not settled it has a gap."""
        for offset in range(self.first, first):
            missed = [consumer for consumer in self.consumers.values() if not consumer.is_done(offset)]
            self.dropped += bool(missed)
            for consumer in missed:
                consumer.dropped += 1
                consumer.gap += 1
            del self.stamps[offset]
        for consumer in self.consumers.values():
            if consumer.start < first:
                consumer.start = first
                consumer.handed = {offset: entry for offset, entry in consumer.handed.items() if offset >= first}
        self.first = first
