"""Room in a topic that SQLite keeps: what may be dropped, and what becomes of its consumers and its ids."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from eventpipe.errors import StoreFullError
from eventpipe.stores import sqlite_marks as marks
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_schema import OFFSET_MASK, place_of
from eventpipe.stores.sqlite_tables import Topic, consumers_of, find_topic, save_consumer, save_topic

# One transaction's worth: about 20 ms, in which nobody else's job is done.
TRIM_STEP: Final = 4_000
# On a full disk fewer, whose pages fit into the reserve.
MIN_TRIM_STEP: Final = 60
_MIN_ID_STEP: Final = 600


class Ids(NamedTuple):
    """For how long ids are known after their events were dropped.

    Attributes:
        now: Wall clock.
        window: Seconds.
    """

    now: float
    window: float


def settled_before(db: sqlite3.Connection, topic: Topic) -> int:
    """The offset before which every consumer has settled everything; the first where there is no consumer."""
    (lowest,) = db.execute("SELECT min(position) FROM consumers WHERE topic = ?", (topic.id,)).fetchone()
    return topic.first if lowest is None else int(lowest)


def has_room(topic: Topic, events: int, size: int) -> bool:
    """Whether so many more events of so many bytes are within its bounds."""
    return (topic.max_events is None or topic.events + events <= topic.max_events) and (
        topic.max_bytes is None or topic.bytes + size <= topic.max_bytes
    )


def make_room(db: sqlite3.Connection, topic: Topic, events: int, size: int, ids: Ids, *, may_drop: bool = True) -> None:
    """Drop what stands in the way of an append: settled events, and others only where retention says so.

    Args:
        db: In a transaction.
        topic: Where.
        events: How many are to be appended.
        size: Their encoded bytes.
        ids: For how long their ids are known.
        may_drop: Whether events that somebody has not settled make room, where retention says so.

    Raises:
        StoreFullError: That is not enough. Nothing was changed, but that the topic knows of somebody who may wait.
    """
    most, most_bytes = topic.max_events, topic.max_bytes
    if (most is not None and events > most) or (most_bytes is not None and size > most_bytes):
        raise StoreFullError(
            f"topic {topic.name!r} can never hold {events} events of {size} bytes at once: it keeps at most"
            f" {_bounds(topic)}; append fewer at a time, or raise max_events or max_bytes of its retention",
            topic=topic.name,
            can_ever_fit=False,
        )
    before = _first_without(db, topic, events, size)
    if before > settled_before(db, topic):
        kept = f"it keeps {topic.events} events of {topic.bytes} bytes, at most {_bounds(topic)}"
        if topic.on_full != "drop_oldest":
            raise StoreFullError(
                f"topic {topic.name!r} is full: {kept}; let its consumers go on or remove those that are gone, raise"
                " the bounds of its retention, or set on_full='drop_oldest'",
                topic=topic.name,
            )
        if not may_drop:
            raise StoreFullError(
                f"topic {topic.name!r} is full, and a replay drops nothing that a consumer has not settled: {kept}; let"
                " its consumers go on or remove those that are gone, or raise the bounds of its retention",
                topic=topic.name,
            )
    drop_before(db, topic, before, ids)


def trim(db: sqlite3.Connection, topic: Topic, before: int | None, limit: int, ids: Ids) -> int:
    """Drop what every consumer has settled and what is too old, of the next ``limit`` events; how many it was."""
    settled = settled_before(db, topic)
    oldest = None if topic.max_age is None else ids.now - topic.max_age
    if oldest is None and settled <= topic.first:
        return 0
    rows = db.execute(
        "SELECT place, appended_at FROM events WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
        (
            place_of(topic.id, topic.first),
            place_of(topic.id, topic.end if before is None else min(max(before, topic.first), topic.end)),
            limit,
        ),
    )
    goal = topic.first
    for place, appended_at in rows:
        offset = place & OFFSET_MASK
        is_over = offset < settled and ids.now - appended_at >= ids.window
        if not is_over and (oldest is None or appended_at >= oldest):
            break
        goal = offset + 1
    rows.close()
    return drop_before(db, topic, goal, ids)


def relieve(transaction: Transaction, asks: Sequence[Ids]) -> list[int]:
    """Drop some of what a full disk can do without, for all who ask at once; how much of it there was, for each.

    That is what every consumer has settled, whatever its age, and ids whose time is over; where no event is left, and
    the disk is full of ids alone, the oldest of these. It is so little at a time that what SQLite writes before it
    deletes fits into the reserve.
    """
    db, ids = transaction.db, asks[-1]
    count = _forget_some(db, ids.now)
    found = db.execute(
        "SELECT topics.name, min(position) FROM topics JOIN consumers ON consumers.topic = topics.id GROUP BY topics.id"
        " HAVING min(position) > first ORDER BY min(position) - first DESC LIMIT 1"
    ).fetchone()
    topic = None if found is None else find_topic(db, found[0])
    if topic is not None:
        before = min(found[1], topic.first + MIN_TRIM_STEP)
        count += before - topic.first
        drop_before(db, topic, before, ids)
        if topic.is_wanted:
            topic.is_wanted = 0
            transaction.touched.add(topic.name)
        save_topic(db, topic)
    if not count and db.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None:
        count = _forget_some(db, math.inf)
    return [count] * len(asks)


def _forget_some(db: sqlite3.Connection, now: float) -> int:
    return db.execute(
        "DELETE FROM past_ids WHERE (topic, id) IN"
        " (SELECT topic, id FROM past_ids WHERE ends_at <= ? ORDER BY ends_at LIMIT ?)",
        (now, _MIN_ID_STEP),
    ).rowcount


def drop_before(db: sqlite3.Connection, topic: Topic, before: int, ids: Ids) -> int:
    """Drop all before an offset, and let each consumer know what of it was still to come; how many events it was."""
    if before <= topic.first:
        return 0
    _pass_over(db, topic, before)
    span = (place_of(topic.id, topic.first), place_of(topic.id, before))
    (count, size) = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM events WHERE place >= ? AND place < ?", span
    ).fetchone()
    known = db.execute(
        f"SELECT topic, id, place & {OFFSET_MASK}, appended_at + ? FROM events"  # noqa: S608  # a constant
        " WHERE place >= ? AND place < ? AND id IS NOT NULL AND appended_at > ?",
        (ids.window, *span, ids.now - ids.window),
    ).fetchall()
    db.execute("DELETE FROM events WHERE place >= ? AND place < ?", span)
    # After that, because a full disk has no other pages for them than those of the events.
    db.executemany("INSERT OR REPLACE INTO past_ids VALUES (?, ?, ?, ?)", known)
    topic.first = before
    topic.events = max(topic.events - count, 0)
    topic.bytes = max(topic.bytes - size, 0) if topic.events else 0
    return int(count)


def _pass_over(db: sqlite3.Connection, topic: Topic, before: int) -> None:
    consumers = list(consumers_of(db, topic))
    slowest = min(consumers, key=lambda consumer: consumer.position, default=None)
    if slowest is None or slowest.position >= before:
        return
    (settled_by_all,) = db.execute(
        f"""
        SELECT count(*) FROM marks AS mark
        WHERE consumer = ? AND "offset" < ? AND state = {marks.SETTLED} AND NOT EXISTS (
          SELECT 1 FROM consumers WHERE topic = ? AND position <= mark."offset" AND NOT EXISTS (
            SELECT 1 FROM marks AS other
            WHERE other.consumer = consumers.id AND other."offset" = mark."offset" AND state = {marks.SETTLED}))
        """,  # noqa: S608  # constants
        (slowest.id, before, topic.id),
    ).fetchone()
    topic.dropped += before - slowest.position - settled_by_all
    for consumer in consumers:
        if consumer.position < before:
            marks.pass_over(db, consumer, before)
            save_consumer(db, consumer)


def _first_without(db: sqlite3.Connection, topic: Topic, events: int, size: int) -> int:
    """What the first offset has to be, so that there is room."""
    excess = 0 if topic.max_events is None else topic.events + events - topic.max_events
    excess_bytes = 0 if topic.max_bytes is None else topic.bytes + size - topic.max_bytes
    before = topic.first
    rows = db.execute(
        "SELECT place, size FROM events WHERE place >= ? AND place < ? ORDER BY place",
        (place_of(topic.id, topic.first), place_of(topic.id, topic.end)),
    )
    for place, held in rows:
        if excess <= 0 and excess_bytes <= 0:
            break
        excess -= 1
        excess_bytes -= held
        before = (place & OFFSET_MASK) + 1
    rows.close()
    return before


def _bounds(topic: Topic) -> str:
    bounds = ((topic.max_events, "events"), (topic.max_bytes, "bytes"))
    return " and ".join(f"{bound} {unit}" for bound, unit in bounds if bound is not None)
