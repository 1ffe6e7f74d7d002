"""What an SQLite file is brought to when it is opened: leases that nobody has are free, and rows fit one another.

Each event has a checksum, the rows of topics and consumers have none. What they say has to fit: the offsets of a topic
are those of its events and of what was set aside, and a consumer has nothing settled that was never handed out.
"""

from __future__ import annotations

import sqlite3
import struct
from typing import Final

from eventpipe.core.log import contained_logger
from eventpipe.errors import StoreError
from eventpipe.stores import sqlite_marks as marks
from eventpipe.stores.packing import checksum
from eventpipe.stores.sqlite_schema import OFFSET_MASK, place_of
from eventpipe.stores.sqlite_tables import (
    CLAIM_BITS,
    Consumer,
    Topic,
    all_topics,
    consumers_of,
    save_consumer,
    save_topic,
)
from eventpipe.stores.values import ConsumerKey

# Columns of a consumer that are numbers; the first three are never below the one before.
_NUMBERS: Final = ("position", "next", "handed", "has_cursor", "claims", "fence", "gap", "skipped", "dead", "dropped")

_logger = contained_logger(__name__)


def recover(db: sqlite3.Connection, path: str) -> None:
    """Do so, in a transaction; a file that was left in order costs some look-ups for each topic.

    Raises:
        StoreError: A topic or a consumer has lost its name.
    """
    # Only a process that has the file to itself holds leases without an end, and this one has just opened it.
    db.execute("UPDATE leases SET holder = NULL WHERE holder IS NOT NULL AND ends_at IS NULL")
    for topic in all_topics(db):
        consumers = list(consumers_of(db, topic))
        names: list[object] = [topic.name, *(consumer.name for consumer in consumers)]
        if not all(isinstance(name, str) for name in names):
            raise StoreError(
                f"{path} is damaged: the name of a topic or a consumer is none; restore a copy, or take out what can be"
                f" read with: sqlite3 {path} .recover"
            )
        _mend_topic(db, topic, consumers)
        for consumer in consumers:
            if not _is_possible(topic, consumer):
                _begin_anew(db, topic, consumer)
            if _is_ahead_of_its_lease(db, topic, consumer):
                consumer.token = None  # so that the next owner is told from the last one, whatever its token
                save_consumer(db, consumer)


def _mend_topic(db: sqlite3.Connection, topic: Topic, consumers: list[Consumer]) -> None:
    """See that a topic has the offsets of its events; none of them is lost, and none is given to another event."""
    was = (topic.first, topic.end, topic.events)
    topic.first, topic.end, topic.events = map(_number, was)
    topic.end = max(topic.end, _end_of_sound(db, topic))
    lowest, last = _kept(db, topic, "ASC"), _kept(db, topic, "DESC")
    if not _fits(db, topic, topic.first, topic.end):
        if lowest is None or last is None:
            ends = (topic.first, topic.end)
            handed = max([_number(consumer.handed) for consumer in consumers], default=0)
            topic.first = topic.end = min([end for end in ends if end >= handed], default=max(ends))
        elif _fits(db, topic, topic.first, last + 1):
            topic.end = last + 1
        elif _fits(db, topic, lowest, topic.end):
            topic.first = lowest
        else:
            topic.first, topic.end = lowest, last + 1
        topic.events = topic.end - topic.first - _set_aside(db, topic, topic.first, topic.end)
    if was != (topic.first, topic.end, topic.events):
        save_topic(db, topic)
        _logger.warning(
            "the row of topic %r was damaged, and is mended: it keeps %d events, and its next offset is %d",
            topic.name,
            topic.events,
            topic.end,
        )


def _number(value: object) -> int:
    """A number of a row; a flipped bit can make it negative, or something else."""
    return max(value, 0) if isinstance(value, int) else 0


def _fits(db: sqlite3.Connection, topic: Topic, first: int, end: int) -> bool:
    return 0 <= first <= end <= OFFSET_MASK and end - first == topic.events + _set_aside(db, topic, first, end)


def _set_aside(db: sqlite3.Connection, topic: Topic, first: int, end: int) -> int:
    span = (place_of(topic.id, min(first, OFFSET_MASK)), place_of(topic.id, min(end, OFFSET_MASK)))
    (count,) = db.execute("SELECT count(*) FROM damaged WHERE place >= ? AND place < ?", span).fetchone()
    return int(count)


def _kept(db: sqlite3.Connection, topic: Topic, order: str) -> int | None:
    row = db.execute(
        f"SELECT place FROM events WHERE place >= ? AND place < ? ORDER BY place {order} LIMIT 1",  # noqa: S608
        (place_of(topic.id, 0), place_of(topic.id + 1, 0)),
    ).fetchone()
    return None if row is None else int(row[0]) & OFFSET_MASK


def _end_of_sound(db: sqlite3.Connection, topic: Topic) -> int:
    """The offset after the last event that passes its checksum, if that is beyond the end.

    One that does not pass was never there, and would be in the way of the event that is to come there.
    """
    while True:
        last = _kept(db, topic, "DESC")
        if last is None or last < topic.end:
            return topic.end
        place = place_of(topic.id, last)
        row = db.execute(
            "SELECT place, appended_at, name, extra, data, size, checksum FROM events WHERE place = ?", (place,)
        ).fetchone()
        if _is_sound(*row):
            return last + 1
        db.execute("DELETE FROM events WHERE place = ?", (place,))


def _is_sound(
    place: int, moment: float, name: bytes, extra: bytes | None, data: bytes, size: int, expected: int
) -> bool:
    try:
        return checksum(place, moment, name, extra, data, size) == expected
    except (TypeError, struct.error):  # a value has become one of another type
        return False


def _is_possible(topic: Topic, consumer: Consumer) -> bool:
    found: list[object] = [getattr(consumer, column) for column in _NUMBERS]
    numbers = list(map(_number, found))
    stages = [topic.first, *numbers[:3], topic.end]
    return found == numbers and stages == sorted(stages)


def _is_ahead_of_its_lease(db: sqlite3.Connection, topic: Topic, consumer: Consumer) -> bool:
    if consumer.token is None:
        return False
    name = ConsumerKey(topic.name, consumer.name).lease
    row = db.execute("SELECT token FROM leases WHERE name = ?", (name,)).fetchone()
    return row is None or _number(row[0]) < _number(consumer.token)


def _begin_anew(db: sqlite3.Connection, topic: Topic, consumer: Consumer) -> None:
    """Hand out all that is kept: what it has settled is not known any more, and each event comes at least once."""
    for column in _NUMBERS:
        setattr(consumer, column, _number(getattr(consumer, column)))
    consumer.position = consumer.next = consumer.handed = topic.first
    consumer.claims = consumer.fence = max(consumer.claims, consumer.fence, consumer.id << CLAIM_BITS)
    consumer.last_error = f"its row was damaged, and it began anew at offset {topic.first}"
    marks.forget(db, consumer)
    save_consumer(db, consumer)
    _logger.warning("consumer %r of topic %r: %s", consumer.name, topic.name, consumer.last_error)
