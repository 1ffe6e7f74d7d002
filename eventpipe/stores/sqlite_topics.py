"""Topics in SQLite: appending to them, and what they keep; plain functions of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from eventpipe.errors import StoreError, StoreFullError
from eventpipe.events import UUID_AT, CapturedEvent
from eventpipe.retention import Retention
from eventpipe.stores.packing import checksum, pack
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_room import Ids, has_room, make_room
from eventpipe.stores.sqlite_room import trim as trim_topic
from eventpipe.stores.sqlite_schema import OFFSET_MASK, place_of
from eventpipe.stores.sqlite_tables import Topic, all_topics, find_topic, make_topic, save_topic
from eventpipe.stores.values import TopicInfo

# Rows are inserted many at a statement, so that the interpreter is let go of once for all of them. There are few sizes,
# so that each statement stays prepared, and the largest has no more values than any SQLite takes, which is 999.
_SIZES: Final = (64, 16, 4, 1)
_INSERTS: Final = {
    size: f"INSERT INTO events VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?)'] * size)}"  # noqa: S608  # constants
    for size in _SIZES
}
_COLUMNS: Final = 9

_Values = list[int | bytes | float | None]
"""Of rows, one after the other, as one statement takes them."""


Append = tuple[str, Sequence[CapturedEvent], bool, float, float]
"""One caller's append; a plain tuple, because one is made for every event.

The topic; the events, in the order in which they get their offsets; whether it is a replay, whose ids are neither
looked at nor kept; the time, and for how many seconds ids are known.
"""


def append(transaction: Transaction, calls: Sequence[Append]) -> list[list[int] | StoreFullError]:
    """Append for many callers: for each the offsets, or why there is no room.

    As a rule no id is known and there is room, so all that goes to a topic is tried at once, and looked at one by one
    where that fails.
    """
    first = calls[0][0]
    if all(call[0] == first for call in calls):  # as a rule
        return _append_to(transaction, calls)
    places: dict[str, list[int]] = {}
    for place, call in enumerate(calls):
        places.setdefault(call[0], []).append(place)
    answers: dict[int, list[int] | StoreFullError] = {}
    for own in places.values():
        answers.update(zip(own, _append_to(transaction, [calls[place] for place in own]), strict=True))
    return [answers[place] for place in range(len(calls))]


def _append_to(transaction: Transaction, calls: Sequence[Append]) -> list[list[int] | StoreFullError]:
    offsets = _append_at_once(transaction, calls)
    if offsets is None:
        return [append_one(transaction, call, may_drop=not call[2]) for call in calls]
    return offsets


def _append_at_once(transaction: Transaction, calls: Sequence[Append]) -> list[list[int] | StoreFullError] | None:
    """Append to one topic for all who ask; ``None``: that is not possible, and nothing was changed."""
    db = transaction.db
    name, _, _, latest, window = calls[-1]
    topic = make_topic(db, name)
    if _has_past_ids(db, topic):
        _forget_ids(db, latest)
        if any(_is_past(db, topic, event) for _, events, _, _, _ in calls for event in events):
            return None
    values, size = _rows_of(topic, calls)
    answers: list[list[int] | StoreFullError] = []
    end = topic.end
    for _, events, _, _, _ in calls:
        first, end = end, end + len(events)
        answers.append([first] if first + 1 == end else list(range(first, end)))
    count = end - topic.end
    db.execute("SAVEPOINT unseen")
    try:
        _insert(db, values)  # before anything is dropped: an event that is appended again may be the oldest
        if not has_room(topic, count, size):
            may_drop = not any(is_replay for _, _, is_replay, _, _ in calls)
            make_room(db, topic, count, size, Ids(latest, window), may_drop=may_drop)
    except (sqlite3.IntegrityError, StoreFullError):
        db.execute("ROLLBACK TO unseen")
        return None
    finally:
        if db.in_transaction:  # a full disk ends it
            db.execute("RELEASE unseen")
    _appended(transaction, topic, count, size)
    return answers


def append_one(transaction: Transaction, call: Append, *, may_drop: bool = True) -> list[int] | StoreFullError:
    """Append for one caller, after a look at every id and at the bounds of the topic.

    Args:
        transaction: Where.
        call: What.
        may_drop: Whether it may take the room of events that somebody has not settled, where retention says so.
    """
    name, events, is_replay, now, window = call
    db = transaction.db
    topic = make_topic(db, name)
    offsets, fresh = _planned(db, topic, events, now, is_replay=is_replay)
    if not fresh:
        return offsets
    values, size = _rows_of(topic, [(name, fresh, is_replay, now, window)])
    if not has_room(topic, len(fresh), size):
        try:
            make_room(db, topic, len(fresh), size, Ids(now, window), may_drop=may_drop)
        except StoreFullError as error:
            if topic.on_full == "wait" and not topic.is_wanted:
                topic.is_wanted = 1
                save_topic(db, topic)
            return error
    _insert(db, values)
    _appended(transaction, topic, len(fresh), size)
    return offsets


def _planned(
    db: sqlite3.Connection, topic: Topic, events: Sequence[CapturedEvent], now: float, *, is_replay: bool
) -> tuple[list[int], list[CapturedEvent]]:
    """The offset of each event, and the events that are not there yet, in order."""
    end = topic.end
    if is_replay:
        return list(range(end, end + len(events))), list(events)
    _forget_ids(db, now)
    offsets: list[int] = []
    fresh: list[CapturedEvent] = []
    own: dict[bytes, int] = {}
    for event in events:
        key = event.data[UUID_AT]
        offset = own.get(key)
        if offset is None:
            offset = own[key] = _known(db, topic, key, otherwise=end)
            if offset == end:
                end += 1
                fresh.append(event)
        offsets.append(offset)
    return offsets, fresh


def _known(db: sqlite3.Connection, topic: Topic, key: bytes, *, otherwise: int) -> int:
    row = db.execute(
        f"SELECT place & {OFFSET_MASK} FROM events WHERE topic = ? AND id = ?"  # noqa: S608  # a constant
        ' UNION ALL SELECT "offset" FROM past_ids WHERE topic = ? AND id = ?',
        (topic.id, key, topic.id, key),
    ).fetchone()
    return otherwise if row is None else int(row[0])


def _has_past_ids(db: sqlite3.Connection, topic: Topic) -> bool:
    return db.execute("SELECT 1 FROM past_ids WHERE topic = ? LIMIT 1", (topic.id,)).fetchone() is not None


def _is_past(db: sqlite3.Connection, topic: Topic, event: CapturedEvent) -> bool:
    found = db.execute("SELECT 1 FROM past_ids WHERE topic = ? AND id = ?", (topic.id, event.data[UUID_AT])).fetchone()
    return found is not None


def _forget_ids(db: sqlite3.Connection, now: float) -> None:
    db.execute("DELETE FROM past_ids WHERE ends_at <= ?", (now,))


def _rows_of(topic: Topic, calls: Sequence[Append]) -> tuple[_Values, int]:
    """Rows of events that come next in a topic, and the bytes of the events."""
    number = topic.id
    place = start = place_of(number, topic.end)
    size = 0
    values: _Values = []
    for _, events, is_replay, now, _ in calls:
        for event in events:
            name, extra, data, held = pack(event)
            check = checksum(place, now, name, extra, data, held)
            values += (place, number, None if is_replay else data[UUID_AT], now, held, check, name, extra, data)
            size += held
            place += 1
    if topic.end + place - start > OFFSET_MASK:
        raise StoreError(f"topic {topic.name!r} has had {topic.end} events and can number no more; begin another topic")
    return values, size


def _insert(db: sqlite3.Connection, values: _Values) -> None:
    first = 0
    for size in _SIZES:
        width = size * _COLUMNS
        while len(values) - first >= width:
            db.execute(_INSERTS[size], values[first : first + width])
            first += width


def _appended(transaction: Transaction, topic: Topic, count: int, size: int) -> None:
    topic.end += count
    topic.events += count
    topic.bytes += size
    topic.is_wanted = 0
    save_topic(transaction.db, topic)
    transaction.touched.add(topic.name)


def declare(transaction: Transaction, ask: tuple[str, Retention]) -> None:
    """Make a topic, or change what it keeps."""
    name, retention = ask
    db = transaction.db
    topic = make_topic(db, name)
    db.execute(
        "UPDATE topics SET max_events = ?, max_bytes = ?, max_age = ?, on_full = ?, is_wanted = 0 WHERE id = ?",
        (retention.max_events, retention.max_bytes, retention.max_age, retention.on_full, topic.id),
    )
    if topic.is_wanted:
        transaction.touched.add(name)


def trim(transaction: Transaction, ask: tuple[str, int | None, int, Ids]) -> int:
    """Drop the next events of a topic that may be dropped, so many at most; how many it was."""
    name, before, limit, ids = ask
    topic = find_topic(transaction.db, name)
    if topic is None:
        return 0
    transaction.db.execute("DELETE FROM past_ids WHERE ends_at <= ?", (ids.now,))
    count = trim_topic(transaction.db, topic, before, limit, ids)
    if count:
        if topic.is_wanted:
            topic.is_wanted = 0
            transaction.touched.add(name)
        save_topic(transaction.db, topic)
    return count


def topics(transaction: Transaction, name: str | None) -> list[TopicInfo]:
    """Every topic, by name, or the one of a name, if there is one."""
    db = transaction.db
    return [
        TopicInfo(
            topic.name,
            topic.first if topic.events else topic.end,
            topic.end,
            topic.events,
            topic.bytes,
            oldest_at=_moment(db, topic, "ASC"),
            newest_at=_moment(db, topic, "DESC"),
            retention=topic.retention,
            dropped=topic.dropped,
            damaged=topic.damaged,
        )
        for topic in (all_topics(db) if name is None else [find_topic(db, name)])
        if topic is not None
    ]


def _moment(db: sqlite3.Connection, topic: Topic, order: str) -> float | None:
    row = db.execute(
        f"SELECT appended_at FROM events WHERE place >= ? AND place < ? ORDER BY place {order} LIMIT 1",  # noqa: S608
        (place_of(topic.id, topic.first), place_of(topic.id, topic.end)),
    ).fetchone()
    return None if row is None else float(row[0])


def offset_at(transaction: Transaction, ask: tuple[str, float]) -> int:
    """The offset of the first event that was appended at a moment or later; where the wall clock was set back, of one.

    By halves, because a search of all would read every event.
    """
    name, stamp = ask
    topic = find_topic(transaction.db, name)
    if topic is None:
        return 0
    low, high = topic.first, topic.end
    while low < high:
        middle = (low + high) // 2
        row = transaction.db.execute(
            "SELECT place, appended_at FROM events WHERE place >= ? AND place < ? ORDER BY place LIMIT 1",
            (place_of(topic.id, middle), place_of(topic.id, high)),
        ).fetchone()
        if row is None or row[1] >= stamp:
            high = middle
        else:
            low = (row[0] & OFFSET_MASK) + 1
    return low
