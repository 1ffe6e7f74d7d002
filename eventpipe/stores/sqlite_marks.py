"""What a consumer's row alone does not say: events settled ahead of it, given back, or handed out a second time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from eventpipe.stores.sqlite_tables import Consumer

SETTLED: Final = 0
RETURNED: Final = 1
HELD: Final = 2


def put(
    db: sqlite3.Connection, consumer: Consumer, state: int, marks: Iterable[tuple[int, int, int, float | None]]
) -> None:
    """Say how events stand: offset, attempts, claim, and when each is due."""
    db.executemany(
        f"INSERT OR REPLACE INTO marks VALUES ({consumer.id}, ?, {state}, ?, ?, ?)",  # noqa: S608  # whole numbers
        marks,
    )


def has_any(db: sqlite3.Connection, consumer: Consumer) -> bool:
    """Whether anything is marked; what lies before its position never is."""
    return db.execute("SELECT 1 FROM marks WHERE consumer = ? LIMIT 1", (consumer.id,)).fetchone() is not None


def between(db: sqlite3.Connection, consumer: Consumer, start: int, before: int) -> dict[int, tuple[int, int, int]]:
    """State, attempts and claim of what is marked from ``start`` to ``before``, by offset."""
    rows = db.execute(
        'SELECT "offset", state, attempts, claim FROM marks WHERE consumer = ? AND "offset" >= ? AND "offset" < ?',
        (consumer.id, start, before),
    )
    return {offset: (state, attempts, claim) for offset, state, attempts, claim in rows}


def due(db: sqlite3.Connection, consumer: Consumer, now: float, limit: int) -> list[tuple[int, int]]:
    """Offset and attempts of what is due again, ascending.

    What lies at or after ``next`` was handed out before a takeover, and is met on the way.
    """
    rows = db.execute(
        'SELECT "offset", attempts FROM marks INDEXED BY marks_by_due'
        ' WHERE consumer = ? AND due_at <= ? AND "offset" < ? ORDER BY "offset" LIMIT ?',
        (consumer.id, now, consumer.next, limit),
    )
    return [(offset, attempts) for offset, attempts in rows]


def due_in(db: sqlite3.Connection, consumer: Consumer, now: float) -> float | None:
    """Seconds until something is due again; ``None``: nothing is."""
    row = db.execute(
        "SELECT due_at FROM marks INDEXED BY marks_by_due"
        ' WHERE consumer = ? AND due_at IS NOT NULL AND "offset" < ? ORDER BY due_at LIMIT 1',
        (consumer.id, consumer.next),
    ).fetchone()
    return None if row is None else max(row[0] - now, 0.0)


def forget(db: sqlite3.Connection, consumer: Consumer, before: int | None = None) -> None:
    """Take away what is marked before an offset, or everything."""
    if before is None:
        db.execute("DELETE FROM marks WHERE consumer = ?", (consumer.id,))
    else:
        db.execute('DELETE FROM marks WHERE consumer = ? AND "offset" < ?', (consumer.id, before))


def settle(db: sqlite3.Connection, consumer: Consumer, offsets: Iterable[int]) -> None:
    """Take offsets as settled: the position moves over those without a gap, and the others are marked."""
    fresh = {offset for offset in offsets if offset >= consumer.position}
    if not fresh:
        return
    before = consumer.position
    if before in fresh:
        _advance(db, consumer, fresh)
    ahead = fresh if consumer.position == before else {offset for offset in fresh if offset > consumer.position}
    if ahead:
        put(db, consumer, SETTLED, ((offset, 0, 0, None) for offset in ahead))


def pass_over(db: sqlite3.Connection, consumer: Consumer, first: int) -> None:
    """Go on at ``first``, before which everything was dropped; what it had not settled is its gap."""
    if first <= consumer.position:
        return
    lost = unsettled(db, consumer, first)
    consumer.dropped += lost
    consumer.gap += lost
    consumer.position = first
    _advance(db, consumer, frozenset())


def unsettled(db: sqlite3.Connection, consumer: Consumer, before: int) -> int:
    """How many offsets before ``before`` it has not settled."""
    (settled,) = db.execute(
        f'SELECT count(*) FROM marks WHERE consumer = ? AND "offset" < ? AND state = {SETTLED}',  # noqa: S608
        (consumer.id, before),
    ).fetchone()
    return max(before - consumer.position - int(settled), 0)


def _advance(db: sqlite3.Connection, consumer: Consumer, fresh: set[int] | frozenset[int]) -> None:
    """Move the position over what is settled without a gap."""
    position = consumer.position
    marks = db.execute(
        'SELECT "offset", state FROM marks WHERE consumer = ? AND "offset" >= ? ORDER BY "offset"',
        (consumer.id, position),
    )
    for offset, state in marks:
        while position in fresh:
            position += 1
        if offset == position and state == SETTLED:
            position += 1
        elif offset >= position:
            break
    marks.close()
    while position in fresh:
        position += 1
    consumer.position = position
    consumer.next = max(consumer.next, position)
    consumer.handed = max(consumer.handed, position)
    forget(db, consumer, position)
