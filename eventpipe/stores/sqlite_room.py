"""Room in a topic that SQLite keeps: what may be dropped, and what becomes of its consumers and its ids."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from eventpipe.errors import StoreFullError
from eventpipe.stores import sqlite_marks as marks
from eventpipe.stores.sqlite_schema import OFFSET_MASK, place_of
from eventpipe.stores.sqlite_tables import Topic, consumers_of, save_consumer

# One transaction's worth: about 20 ms, in which nobody else's job is done.
TRIM_STEP: Final = 4_000
# On a full disk fewer, whose pages fit into the reserve.
MIN_TRIM_STEP: Final = 60


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


def make_room(db: sqlite3.Connection, topic: Topic, events: int, size: int, ids: Ids) -> None:
    """Drop what stands in the way of an append: settled events, and others only where retention says so.

    Raises:
        StoreFullError: That is not enough. Nothing was changed, but that the topic knows of somebody who may wait.
    """
    most, most_bytes = topic.max_events, topic.max_bytes
    if (most is not None and events > most) or (most_bytes is not None and size > most_bytes):
        raise StoreFullError(
            f"topic {topic.name!r} can never hold {events} events of {size} bytes at once: it keeps at most"
            f" {_bounds(topic)}; append fewer at a time, or raise max_events or max_bytes of its retention",
            topic=topic.name,
        )
    before = _first_without(db, topic, events, size)
    if before > settled_before(db, topic) and topic.on_full != "drop_oldest":
        raise StoreFullError(
            f"topic {topic.name!r} is full: it keeps {topic.events} events of {topic.bytes} bytes, at most"
            f" {_bounds(topic)}; let its consumers go on or remove those that are gone, raise the bounds of its"
            " retention, or set on_full='drop_oldest'",
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


def drop_before(db: sqlite3.Connection, topic: Topic, before: int, ids: Ids) -> int:
    """Drop all before an offset, and let each consumer know what of it was still to come; how many events it was."""
    if before <= topic.first:
        return 0
    _pass_over(db, topic, before)
    span = (place_of(topic.id, topic.first), place_of(topic.id, before))
    (count, size) = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM events WHERE place >= ? AND place < ?", span
    ).fetchone()
    db.execute(
        f"INSERT OR REPLACE INTO past_ids SELECT topic, id, place & {OFFSET_MASK}, appended_at + ? FROM events"  # noqa: S608
        " WHERE place >= ? AND place < ? AND id IS NOT NULL AND appended_at > ?",
        (ids.window, *span, ids.now - ids.window),
    )
    db.execute("DELETE FROM events WHERE place >= ? AND place < ?", span)
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
