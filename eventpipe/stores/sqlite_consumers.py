"""Consumers in SQLite: who they are and how they stand; plain functions of a transaction."""

from __future__ import annotations

import sqlite3

from eventpipe.stores import sqlite_leases as leases
from eventpipe.stores import sqlite_marks as marks
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_schema import OFFSET_MASK, place_of
from eventpipe.stores.sqlite_tables import (
    Consumer,
    Topic,
    all_topics,
    consumers_of,
    find_consumer,
    find_topic,
    insert_consumer,
    load,
    make_topic,
    resolve,
    save_consumer,
)
from eventpipe.stores.values import ConsumerInfo, ConsumerKey, Start


def add(transaction: Transaction, ask: tuple[ConsumerKey, Start, float]) -> ConsumerInfo:
    """Register a consumer, if it is not there yet.

    Raises:
        CursorError: It cannot begin there. Nothing was changed.
    """
    key, start, now = ask
    db = transaction.db
    topic = make_topic(db, key.topic)
    consumer = find_consumer(db, topic, key.name) or insert_consumer(db, topic, key.name, resolve(topic, start))
    return _info(db, topic, consumer, now)


def remove(transaction: Transaction, key: ConsumerKey) -> None:
    """Forget a consumer; its lease is lost to whoever has it.

    Raises:
        UnknownConsumerError: There is none.
    """
    db = transaction.db
    topic, consumer = load(db, key)
    marks.forget(db, consumer)
    db.execute("DELETE FROM consumers WHERE id = ?", (consumer.id,))
    leases.revoke(transaction, key.lease)
    transaction.touched.add(topic.name)


def seek(transaction: Transaction, ask: tuple[ConsumerKey, int]) -> None:
    """Go on at an offset, as if nothing after it had ever been handed out.

    Raises:
        CursorError: It is outside of the topic.
        UnknownConsumerError: There is no such consumer.
    """
    key, offset = ask
    topic, consumer = load(transaction.db, key)
    consumer.position = consumer.next = consumer.handed = resolve(topic, offset)
    consumer.fence = consumer.claims
    marks.forget(transaction.db, consumer)
    save_consumer(transaction.db, consumer)
    transaction.touched.add(topic.name)


def pause(transaction: Transaction, ask: tuple[ConsumerKey, bool]) -> None:
    """Hand out nothing more, or go on.

    Raises:
        UnknownConsumerError: There is no such consumer.
    """
    key, is_paused = ask
    topic, consumer = load(transaction.db, key)
    consumer.is_paused = int(is_paused)
    save_consumer(transaction.db, consumer)
    if not is_paused:
        transaction.touched.add(topic.name)


def consumers(transaction: Transaction, ask: tuple[str | None, float]) -> list[ConsumerInfo]:
    """Every consumer of a topic, or of all, by topic and name."""
    name, now = ask
    db = transaction.db
    one = None if name is None else find_topic(db, name)
    topics = all_topics(db) if name is None else [] if one is None else [one]
    return [_info(db, topic, consumer, now) for topic in topics for consumer in consumers_of(db, topic)]


def _info(db: sqlite3.Connection, topic: Topic, consumer: Consumer, now: float) -> ConsumerInfo:
    holder, expires_in = leases.state(db, ConsumerKey(topic.name, consumer.name).lease, now)
    place = place_of(topic.id, consumer.position)
    oldest = db.execute(
        "SELECT appended_at FROM events WHERE place >= ? AND place < ? ORDER BY place LIMIT 1",
        (place, place_of(topic.id, topic.end)),
    ).fetchone()
    returned, waiting = db.execute(
        'SELECT count(*), count(*) FILTER (WHERE due_at > ? AND "offset" < ?) FROM marks'
        " WHERE consumer = ? AND state = ?",
        (now, consumer.next, consumer.id, marks.RETURNED),
    ).fetchone()
    settled = _settled_ahead(db, topic, consumer, topic.end)
    return ConsumerInfo(
        topic.name,
        consumer.name,
        cursor=consumer.position if consumer.has_cursor else None,
        position=consumer.position,
        pending=topic.end - consumer.position - settled,
        claimed=consumer.handed - consumer.position - _settled_ahead(db, topic, consumer, consumer.handed) - returned,
        waiting=waiting,
        oldest_at=None if oldest is None else oldest[0],
        skipped=consumer.skipped,
        dead=consumer.dead,
        dropped=consumer.dropped,
        is_paused=bool(consumer.is_paused),
        holder=holder,
        expires_in=expires_in,
        last_error=consumer.last_error,
    )


def _settled_ahead(db: sqlite3.Connection, topic: Topic, consumer: Consumer, before: int) -> int:
    """How many events from its position to ``before`` count as settled, those that were set aside among them."""
    (count,) = db.execute(
        f'SELECT count(*) FROM (SELECT "offset" FROM marks WHERE consumer = ? AND "offset" < ?'  # noqa: S608
        f" AND state = {marks.SETTLED} UNION SELECT place & {OFFSET_MASK} FROM damaged WHERE place >= ? AND place < ?)",
        (consumer.id, before, place_of(topic.id, consumer.position), place_of(topic.id, before)),
    ).fetchone()
    return int(count)
