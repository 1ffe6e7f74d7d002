"""Rows of topics and consumers in SQLite as objects, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eventpipe.errors import CursorError, UnknownConsumerError
from eventpipe.retention import OnFull, Retention
from eventpipe.stores.values import ConsumerKey

_TOPIC: Final = (
    'id, name, first, "end", events, bytes, dropped, damaged, is_wanted, max_events, max_bytes, max_age, on_full'
)
_CONSUMER: Final = (
    "id, topic, name, position, has_cursor, next, handed, token, claims, fence, is_paused, gap, skipped, dead, dropped,"
    " last_error"
)

# Claims are numbered from the consumer's id on, which is never used again: what was claimed of a consumer that was
# removed cannot be settled with one that has its name. 2**31 consumers of 2**32 claims each.
CLAIM_BITS: Final = 32


@dataclass(slots=True)
class Topic:
    """A row of ``topics``."""

    id: int
    name: str
    first: int
    end: int
    events: int
    bytes: int
    dropped: int
    damaged: int
    is_wanted: int
    max_events: int | None
    max_bytes: int | None
    max_age: float | None
    on_full: OnFull

    @property
    def retention(self) -> Retention:
        """What it keeps."""
        return Retention(
            max_events=self.max_events,
            max_bytes=self.max_bytes,
            max_age=self.max_age,
            on_full=self.on_full if self.is_bounded else None,
        )

    @property
    def is_bounded(self) -> bool:
        """Whether it can be full."""
        return self.max_events is not None or self.max_bytes is not None


@dataclass(slots=True)
class Consumer:
    """A row of ``consumers``."""

    id: int
    topic: int
    name: str
    position: int
    has_cursor: int
    next: int
    handed: int
    token: int | None
    claims: int
    fence: int
    is_paused: int
    gap: int
    skipped: int
    dead: int
    dropped: int
    last_error: str | None


def find_topic(db: sqlite3.Connection, name: str) -> Topic | None:
    """A topic, if there is one."""
    row = db.execute(f"SELECT {_TOPIC} FROM topics WHERE name = ?", (name,)).fetchone()  # noqa: S608  # constants
    return None if row is None else Topic(*row)


def make_topic(db: sqlite3.Connection, name: str) -> Topic:
    """A topic, made if there is none."""
    topic = find_topic(db, name)
    if topic is None:
        row = db.execute(f"INSERT INTO topics (name) VALUES (?) RETURNING {_TOPIC}", (name,)).fetchone()  # noqa: S608
        topic = Topic(*row)
    return topic


def all_topics(db: sqlite3.Connection) -> list[Topic]:
    """Every topic, by name."""
    # All at once: a name that is no text would leave a cursor in its traceback, and with it the file open.
    return [Topic(*row) for row in db.execute(f"SELECT {_TOPIC} FROM topics ORDER BY name").fetchall()]  # noqa: S608


def save_topic(db: sqlite3.Connection, topic: Topic) -> None:
    """Keep what changed of a topic but for its retention."""
    db.execute(
        'UPDATE topics SET first = ?, "end" = ?, events = ?, bytes = ?, dropped = ?, damaged = ?, is_wanted = ?'
        " WHERE id = ?",
        (topic.first, topic.end, topic.events, topic.bytes, topic.dropped, topic.damaged, topic.is_wanted, topic.id),
    )


def find_consumer(db: sqlite3.Connection, topic: Topic, name: str) -> Consumer | None:
    """A consumer, if there is one."""
    row = db.execute(
        f"SELECT {_CONSUMER} FROM consumers WHERE topic = ? AND name = ?",  # noqa: S608  # constants
        (topic.id, name),
    ).fetchone()
    return None if row is None else Consumer(*row)


def load(db: sqlite3.Connection, key: ConsumerKey) -> tuple[Topic, Consumer]:
    """A consumer and its topic.

    Raises:
        UnknownConsumerError: There is none.
    """
    topic = find_topic(db, key.topic)
    consumer = None if topic is None else find_consumer(db, topic, key.name)
    if topic is None or consumer is None:
        raise UnknownConsumerError(key.topic, key.name)
    return topic, consumer


def insert_consumer(db: sqlite3.Connection, topic: Topic, name: str, start: int) -> Consumer:
    """Register a consumer that is not there yet."""
    (number,) = db.execute(
        "INSERT INTO consumers (topic, name, position, next, handed, claims, fence) VALUES (?, ?, ?, ?, ?, 0, 0)"
        " RETURNING id",
        (topic.id, name, start, start, start),
    ).fetchone()
    none_yet = number << CLAIM_BITS
    db.execute("UPDATE consumers SET claims = ?, fence = ? WHERE id = ?", (none_yet, none_yet, number))
    consumer = find_consumer(db, topic, name)
    assert consumer is not None  # noqa: S101  # two lines above
    return consumer


def consumers_of(db: sqlite3.Connection, topic: Topic) -> Iterator[Consumer]:
    """Every consumer of a topic, by name."""
    select = f"SELECT {_CONSUMER} FROM consumers WHERE topic = ? ORDER BY name"  # noqa: S608  # constants
    return (Consumer(*row) for row in db.execute(select, (topic.id,)).fetchall())  # all at once, as above


def save_consumer(db: sqlite3.Connection, consumer: Consumer) -> None:
    """Keep what changed of a consumer."""
    db.execute(
        "UPDATE consumers SET position = ?, has_cursor = ?, next = ?, handed = ?, token = ?, claims = ?, fence = ?,"
        " is_paused = ?, gap = ?, skipped = ?, dead = ?, dropped = ?, last_error = ? WHERE id = ?",
        (
            consumer.position,
            consumer.has_cursor,
            consumer.next,
            consumer.handed,
            consumer.token,
            consumer.claims,
            consumer.fence,
            consumer.is_paused,
            consumer.gap,
            consumer.skipped,
            consumer.dead,
            consumer.dropped,
            consumer.last_error,
            consumer.id,
        ),
    )


def resolve(topic: Topic, start: str | int) -> int:
    """Where a consumer begins.

    Raises:
        CursorError: An offset below the first or above the end.
        ValueError: It is no place in a topic.
    """
    if start == "earliest":
        return topic.first
    if start == "latest":
        return topic.end
    if isinstance(start, str):
        raise ValueError(f"start must be 'earliest', 'latest' or an offset, not {start!r}")
    if not topic.first <= start <= topic.end:
        raise CursorError(topic.name, start, first=topic.first, last=topic.end)
    return start
