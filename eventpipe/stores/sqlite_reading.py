"""Events as SQLite keeps them: read back, checked, and set aside where they do not pass."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Any, Final, NamedTuple

from eventpipe.events import CapturedEvent
from eventpipe.stores.packing import checksum, unpack
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_schema import OFFSET_BITS, OFFSET_MASK, place_of
from eventpipe.stores.sqlite_tables import Topic, find_topic, save_topic
from eventpipe.stores.values import Damage, StoredEvent

_COLUMNS: Final = "place, appended_at, name, extra, data, size, checksum"
MISSING: Final = "it is missing"
ALTERED: Final = "it does not pass its checksum"

# One transaction's worth of a verification: about 10 ms, in which nobody else's job is done.
VERIFY_STEP: Final = 4_000

Kept = tuple[int, float, int, CapturedEvent | None, str | None, bytes]
"""Offset, moment of the append, size, and event, fault and raw bytes, as ``StoredEvent`` has them."""

_Row = tuple[int, float, bytes, bytes | None, bytes, int, int]


class Fault(NamedTuple):
    """An offset at which there is no event that can be trusted."""

    offset: int
    fault: str


def scan(
    db: sqlite3.Connection, topic: Topic, start: int, shift: float, faults: list[Fault]
) -> Generator[Kept, None, None]:
    """What is kept from ``start`` on, ascending; what is met on the way and does not pass goes to ``faults``.

    Close the iterator: it reads as it is asked. ``shift`` makes a moment on the loop clock of a stamp.
    """
    expected = max(start, topic.first)
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM events WHERE place >= ? AND place < ? ORDER BY place",  # noqa: S608  # constants
        (place_of(topic.id, expected), place_of(topic.id, topic.end)),
    )
    try:
        for row in rows:
            offset = row[0] & OFFSET_MASK
            if offset != expected:
                faults += [Fault(missing, MISSING) for missing in range(expected, offset)]
            expected = offset + 1
            kept = _kept(row, offset, shift)
            if kept is None:
                faults.append(Fault(offset, ALTERED))
            else:
                yield kept
        faults += [Fault(missing, MISSING) for missing in range(expected, topic.end)]
    finally:
        rows.close()


def find(db: sqlite3.Connection, topic: Topic, offset: int, shift: float, faults: list[Fault]) -> Kept | None:
    """What is kept at an offset; ``None``: it went to ``faults``."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM events WHERE place = ?",  # noqa: S608  # constants
        (place_of(topic.id, offset),),
    ).fetchone()
    kept = None if row is None else _kept(row, offset, shift)
    if kept is None:
        faults.append(Fault(offset, MISSING if row is None else ALTERED))
    return kept


def _kept(row: _Row, offset: int, shift: float) -> Kept | None:
    """What a row holds; ``None``: it does not pass."""
    place, moment, name, extra, data, size, check = row
    try:
        if checksum(place, moment, name, extra, data, size) != check:
            return None
    except (TypeError, struct.error):  # a value has become one of another type
        return None
    try:
        return offset, moment, size, unpack(name, extra, data, moment + shift), None, b""
    except ValueError as error:
        return offset, moment, size, None, str(error), data


def read(transaction: Transaction, ask: tuple[str, int, int, int, float]) -> list[StoredEvent]:
    """Events of a topic from an offset on: topic, start, how many and how many bytes at most, and the shift."""
    name, start, max_events, room, shift = ask
    topic = find_topic(transaction.db, name)
    found: list[StoredEvent] = []
    if topic is None or max_events < 1:
        return found
    with closing(scan(transaction.db, topic, start, shift, [])) as events:
        for offset, moment, size, event, fault, raw in events:
            room -= size
            if found and room < 0:
                break
            found.append(StoredEvent(offset, moment, event, fault, raw))
            if len(found) >= max_events:
                break
    return found


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
    """Check the next ``VERIFY_STEP`` events of a topic from an offset on; where to go on, ``None``: nowhere."""
    name, start = ask
    topic = find_topic(transaction.db, name)
    if topic is None:
        return None
    faults: list[Fault] = []
    follows = None
    with closing(scan(transaction.db, topic, start, 0.0, faults)) as events:
        for count, kept in enumerate(events, 1):
            if count == VERIFY_STEP:
                follows = kept[0] + 1
                break
    if faults:
        set_aside(transaction.db, topic, faults)
    return follows


def damages(transaction: Transaction, name: str | None) -> list[Damage]:
    """What was set aside of a topic, or of all, by topic and offset."""
    rows = transaction.db.execute(
        f"SELECT topics.name, place & {OFFSET_MASK}, fault FROM damaged"  # noqa: S608  # constants
        f" JOIN topics ON topics.id = place >> {OFFSET_BITS} WHERE ? IS NULL OR topics.name = ?"
        " ORDER BY topics.name, place",
        (name, name),
    )
    return [Damage(*row) for row in rows]
