"""What whoever has locked a file of a spool sees in it, and takes out by hand: plain functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from eventpipe.events import CapturedEvent
from eventpipe.spool import rows
from eventpipe.spool.rows import COLUMNS
from eventpipe.spool.values import Holding, Settled
from eventpipe.stores.sqlite_jobs import Transaction

PAGE: Final = 500  # rows read at once
_IS_NEITHER: Final = "the event does not pass its checksum"


class Seen(NamedTuple):
    """A row.

    Attributes:
        id: Its number.
        sinks: The names of those that it is owed to; a damaged one has none.
        captured_at: Wall clock; 0 where that is damaged.
        event: The event; ``None``: it does not pass its checksum.
    """

    id: int
    sinks: tuple[str, ...]
    captured_at: float
    event: CapturedEvent | None

    @property
    def fault(self) -> str | None:
        """Why there is no event."""
        return _IS_NEITHER if self.event is None else None


def see(db: sqlite3.Connection, *, after: int = 0, sink: str | None = None) -> list[Seen]:
    """The next rows behind a number, in their order, as many as make a page; empty: there are no more.

    Args:
        db: The file.
        after: The number.
        sink: Only those that this sink is owed. ``None``: all.

    Raises:
        sqlite3.Error: It cannot be read on.
    """
    names = {1 << bit: name for name, bit in rows.sinks_in(db).items()}
    wanted = -1 if sink is None else sum(bit for bit, name in names.items() if name == sink)
    found = db.execute(
        f"SELECT {COLUMNS} FROM events WHERE id > ? AND (owed & ? OR ? = -1) ORDER BY id LIMIT {PAGE}",  # noqa: S608
        (after, wanted, wanted),
    ).fetchall()
    return [_seen(row, names) for row in found]


def see_all(db: sqlite3.Connection, *, sink: str | None = None) -> Iterator[Seen]:
    """All rows, in their order.

    Raises:
        sqlite3.Error: It cannot be read on.
    """
    after = 0
    while page := see(db, after=after, sink=sink):
        yield from page
        after = page[-1].id


def set_aside(db: sqlite3.Connection) -> list[tuple[int, str]]:
    """The rows in quarantine: of each the number, and why."""
    found = db.execute("SELECT id, fault FROM quarantine ORDER BY id").fetchall()
    return [(number, fault.decode(errors="replace")) for number, fault in found]


def clear_aside(db: sqlite3.Connection) -> None:
    """Delete the rows in quarantine, and look no more for those that cannot be found."""
    db.execute("DELETE FROM quarantine")
    rows.recount(db)


def holding(db: sqlite3.Connection, now: float) -> Holding:
    """What there is; nothing is changed."""
    db.execute("BEGIN")
    try:
        return rows.hold(Transaction(db), now)
    finally:
        db.execute("ROLLBACK")


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing is left, not even what was damaged."""
    return rows.is_empty(Transaction(db), None)


def let_go(db: sqlite3.Connection, ids: Sequence[int], sink: str | None) -> None:
    """Let go of events, all at once, and durably.

    Args:
        db: The file.
        ids: Their numbers.
        sink: The only sink for which they are; they stay for others. ``None``: for all.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        if sink is None:
            rows.let_go(db, ids)
        else:
            rows.settle(Transaction(db), [Settled(rows.bits_of(Transaction(db), [sink])[sink], ids)])
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _seen(row: tuple[object, ...], names: dict[int, str]) -> Seen:
    number, owed, captured_at, *_ = row
    assert isinstance(number, int)  # noqa: S101  # the key of the table
    event = rows.event_of(row, 0.0)
    bits = rows.unsealed(number, owed) or 0
    sinks = tuple(name for bit, name in names.items() if bits & bit)
    return Seen(number, sinks, captured_at if isinstance(captured_at, float) else 0.0, event)
