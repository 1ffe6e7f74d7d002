"""Events as SQLite keeps them: read back, checked, and set aside where they do not pass."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, Final, Generic, NamedTuple, TypeVar

from eventpipe.events import CapturedEvent
from eventpipe.stores.packing import Row, are_sound, checksum, unpack, unpack_all
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_schema import OFFSET_BITS, OFFSET_MASK, place_of
from eventpipe.stores.sqlite_tables import Topic, find_topic, save_topic
from eventpipe.stores.values import Damage, StoredEvent

MISSING: Final = "it is missing"
ALTERED: Final = "it does not pass its checksum"

# One transaction's worth of a verification: about 10 ms, in which nobody else's job is done.
VERIFY_STEP: Final = 4_000
# Held in memory meanwhile: as much as a consumer holds at most.
VERIFY_BYTES: Final = 32 * 1024 * 1024

# So many rows are read at once, and decided on together: row by row they cost a quarter more. Where events are large it
# is as few as have room, as far as those before them tell, and this much is taken for one before any was read.
_PAGE: Final = 64
_LARGE: Final = 256 * 1024

_SELECT: Final = (
    "SELECT place, appended_at, name, extra, data, size, checksum FROM events"
    " WHERE place >= ? AND place < ? ORDER BY place"
)

EventT = TypeVar("EventT", bound=StoredEvent)


class Fault(NamedTuple):
    """An offset at which there is no event that can be trusted."""

    offset: int
    fault: str


class Reading(Generic[EventT]):
    """What is read at once, as long as there is room; it may be read in several pieces.

    What is all there and sound is kept as it is read, and made into events when somebody asks for those.

    Attributes:
        faults: What was met on the way and does not pass.
        is_full: Whether nothing more is read.
    """

    def __init__(
        self, kind: Callable[..., EventT], rest: tuple[int, ...], *, max_events: int, max_bytes: int, shift: float
    ) -> None:
        """Read nothing yet.

        Args:
            kind: Makes what is read, of the parts of a ``StoredEvent`` and ``rest``.
            rest: What is the same for all of them.
            max_events: At most so many.
            max_bytes: At most so many bytes, but for the first.
            shift: What makes a moment on the loop clock of a stamp.
        """
        self.faults: list[Fault] = []
        self.is_full = max_events < 1
        self._events: list[EventT] = []
        self._first = 0  # what is sound, and of which no events are made yet, begins there
        self._captured: list[CapturedEvent] = []
        self._moments: list[float] = []
        self._kind = kind
        self._rest = rest
        self._most = max_events
        self._room = max_bytes
        self._shift = shift
        self._largest = _LARGE  # bytes of an event, as of the page before

    def __len__(self) -> int:
        return len(self._events) + len(self._captured)

    @property
    def events(self) -> list[EventT]:
        """What was read."""
        kind, rest, first = self._kind, self._rest, self._first
        self._events += [
            kind(offset, moment, event, None, b"", *rest)
            for offset, (event, moment) in enumerate(zip(self._captured, self._moments, strict=True), first)
        ]
        self._captured, self._moments = [], []
        return self._events

    def run(self) -> tuple[int, list[CapturedEvent], list[float]] | None:
        """The same, where all of it is sound and follows one another: where it begins, and the moments of each."""
        return None if self._events or not self._captured else (self._first, self._captured, self._moments)

    def scan(self, db: sqlite3.Connection, topic: Topic, start: int, before: int) -> int:
        """Read what is kept from ``start`` to ``before``, ascending, while there is room; where to go on."""
        if self.is_full or start >= before:
            return start
        expected, place = start, place_of(topic.id, start)
        with closing(db.execute(_SELECT, (place, place_of(topic.id, before)))) as rows:  # stepped as they are asked for
            while count := self._step():
                page = rows.fetchmany(count)
                if not page:
                    self.faults += [Fault(missing, MISSING) for missing in range(expected, before)]
                    return before
                if self._take_all(page, place_of(topic.id, expected)):
                    expected += len(page)
                else:
                    expected = self._take_each(page, expected, before)
        return expected

    def _step(self) -> int:
        """How many rows to read next, as far as it can be told how many fit."""
        return 0 if self.is_full else min(self._most - len(self), _PAGE, max(self._room // self._largest, 1))

    def _take_all(self, page: list[Row], place: int) -> bool:
        """Take what is all there, from a place on, all sound and fits, as nearly every page is; else nothing of it.

        Such a page costs two thirds of what it does to decide for each of its events.
        """
        try:
            # In ascending order, and no place twice; one that is altered where it lies does not pass its checksum.
            if page[-1][0] - place >= len(page):  # some are missing
                return False
            if not are_sound(page):
                return False
            sizes = [row[5] for row in page]
            needed, self._largest = sum(sizes), max(1, *sizes)
            if needed > self._room:
                return False
            captured = unpack_all(page, self._shift)
        except (TypeError, ValueError, struct.error):  # a value of another type, or what can be no event again
            return False
        first = place & OFFSET_MASK
        if first != self._first + len(self._captured):
            _ = self.events  # what lies before is no run with this
        if not self._captured:
            self._first = first
        self._captured += captured
        self._moments += [row[1] for row in page]
        self._room -= needed
        self.is_full = len(self) >= self._most
        return True

    def _take_each(self, page: list[Row], expected: int, before: int) -> int:
        """Take what is sound and fits, one by one; where to go on."""
        events, faults = self.events, self.faults
        kind, rest, shift = self._kind, self._rest, self._shift
        for place, moment, name, extra, data, size, check in page:
            offset = place & OFFSET_MASK
            if offset != expected:
                if not expected < offset < before:  # its place was altered, and it is missing where it was
                    continue
                faults += [Fault(missing, MISSING) for missing in range(expected, offset)]
            try:
                is_sound = checksum(place, moment, name, extra, data, size) == check
            except (TypeError, struct.error):  # a value has become one of another type
                is_sound = False
            if not is_sound:
                faults.append(Fault(offset, ALTERED))
                expected = offset + 1
                continue
            if size > self._room and events:
                self.is_full = True
                return offset
            self._room -= size
            try:
                events.append(kind(offset, moment, unpack(name, extra, data, moment + shift), None, b"", *rest))
            except ValueError as error:
                events.append(kind(offset, moment, None, str(error), data, *rest))
            expected = offset + 1
        self.is_full = len(events) >= self._most
        return expected


def read(transaction: Transaction, ask: tuple[str, int, int, int, float]) -> list[StoredEvent]:
    """Events of a topic from an offset on: topic, start, how many and how many bytes at most, and the shift."""
    name, start, max_events, max_bytes, shift = ask
    topic = find_topic(transaction.db, name)
    reading = Reading(StoredEvent, (), max_events=max_events, max_bytes=max_bytes, shift=shift)
    if topic is not None:
        reading.scan(transaction.db, topic, max(start, topic.first), topic.end)
    return reading.events


def set_aside(db: sqlite3.Connection, topic: Topic, faults: Iterable[Fault]) -> None:
    """Take what cannot be trusted out of a topic, and keep it for those who look into it."""
    for offset, fault in faults:
        place = place_of(topic.id, offset)
        if db.execute("SELECT 1 FROM damaged WHERE place = ?", (place,)).fetchone() is not None:
            continue
        row: tuple[Any, Any] | None = db.execute("SELECT size, data FROM events WHERE place = ?", (place,)).fetchone()
        size, data = (0, None) if row is None else row
        db.execute("INSERT INTO damaged VALUES (?, ?, ?)", (place, fault, data))
        db.execute("DELETE FROM events WHERE place = ?", (place,))
        topic.damaged += 1
        topic.events = max(topic.events - 1, 0)
        topic.bytes = max(topic.bytes - size, 0) if isinstance(size, int) else topic.bytes
    save_topic(db, topic)


def verify(transaction: Transaction, ask: tuple[str, int]) -> int | None:
    """Check the next events of a topic from an offset on; where to go on, ``None``: nowhere."""
    name, start = ask
    topic = find_topic(transaction.db, name)
    if topic is None:
        return None
    reading = Reading(StoredEvent, (), max_events=VERIFY_STEP, max_bytes=VERIFY_BYTES, shift=0.0)
    follows = reading.scan(transaction.db, topic, max(start, topic.first), topic.end)
    if reading.faults:
        set_aside(transaction.db, topic, reading.faults)
    return follows if reading.is_full else None


def damages(transaction: Transaction, name: str | None) -> list[Damage]:
    """What was set aside of a topic, or of all, by topic and offset."""
    rows = transaction.db.execute(
        f"SELECT topics.name, place & {OFFSET_MASK}, fault FROM damaged"  # noqa: S608  # constants
        f" JOIN topics ON topics.id = place >> {OFFSET_BITS} WHERE ? IS NULL OR topics.name = ?"
        " ORDER BY topics.name, place",
        (name, name),
    )
    return [Damage(*row) for row in rows]
