"""The tables of a spool's file, and what is done with its rows; plain functions of a transaction.

A row is an event with the sinks that it is still owed to. It goes when the last of them has settled it, in any order,
so that one batch that is stuck keeps nothing behind it.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final
from zlib import crc32

from eventpipe.events import CapturedEvent
from eventpipe.spool.status import Glance
from eventpipe.spool.values import Ask, Discard, Holding, Page, Settled, Written
from eventpipe.stores.packing import checksum, pack_checked, unpack
from eventpipe.stores.sqlite_faults import corrupt
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_opening import Scheme

MAX_SINKS: Final = 31
_MASK: Final = (1 << MAX_SINKS) - 1

_VERSION_1: Final = """
CREATE TABLE events (
  id INTEGER PRIMARY KEY,                -- in the order in which they were written; none is given twice
  owed INTEGER NOT NULL,                 -- the bits of sinks that have not settled it, and a checksum of them
  captured_at REAL NOT NULL,             -- wall clock
  size INTEGER NOT NULL,                 -- as it counts against bounds in bytes
  checksum INTEGER NOT NULL,
  name BLOB NOT NULL,
  extra BLOB,
  data BLOB NOT NULL
);
CREATE TABLE sinks (
  bit INTEGER PRIMARY KEY,               -- 0 to 30
  name BLOB NOT NULL UNIQUE
);
CREATE TABLE quarantine (                -- rows that did not pass their checksum, as they were found
  id INTEGER PRIMARY KEY,
  found_at REAL NOT NULL,
  fault BLOB NOT NULL,
  "row" BLOB
);
CREATE TABLE counters (                  -- what is not to be read off the rows that are left
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
"""
# Rows of a statement: after each the thread waits for the interpreter's lock, behind the loop. The connection keeps as
# many statements prepared as there are lengths up to this.
_TOGETHER: Final = 32
_WIDTH: Final = 8
_INSERTS: Final = tuple(
    f"INSERT INTO events VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?)'] * rows)}"  # noqa: S608  # constants
    for rows in range(_TOGETHER + 1)
)
COLUMNS: Final = "id, owed, captured_at, size, checksum, name, extra, data"
_USED: Final = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
# In the order of the table: by its number a row whose number was altered is not found.
_DELETE_LIKE: Final = f"DELETE FROM events WHERE +{COLUMNS.replace(', ', ' IS ? AND ')} IS ?"  # noqa: S608  # constants
_NOBODYS: Final = "coalesce(owed & ?, 0) = 0"  # a damaged one may be nothing at all
_PAIR: Final = struct.Struct("<qI")
_ALTERED: Final = "the event does not pass its checksum"


def begin(transaction: Transaction, ask: tuple[Sequence[str], float]) -> tuple[dict[str, int], Holding]:
    """The bits of sinks, and what there is at this moment; all of it or nothing is done, whatever shows to be damaged.

    Raises:
        ValueError: There are more sinks than bits.
    """
    names, now = ask
    return bits_of(transaction, names), hold(transaction, now)


def bits_of(transaction: Transaction, names: Sequence[str]) -> dict[str, int]:
    """The bit of each sink that is named; one that is new gets the lowest that no row needs.

    Raises:
        ValueError: There are more sinks than bits.
    """
    db = transaction.db
    known = sinks_in(db)
    missing = [name for name in names if name not in known]
    for name in missing:
        bit = next((bit for bit in range(MAX_SINKS) if bit not in known.values()), None)
        if bit is None:
            raise ValueError(f"a spool keeps events for {MAX_SINKS} sinks at most, and {name!r} is one more")
        db.execute("INSERT INTO sinks VALUES (?, ?)", (bit, name.encode(errors="replace")))
        known[name] = bit
    return {name: 1 << known[name] for name in names}


def write(transaction: Transaction, calls: Sequence[Written]) -> list[int]:
    """Keep events, for many callers; for each the bytes that are in use then."""
    db = transaction.db
    values: list[object] = []
    for call in calls:
        _append_values(values, call)
    step = _TOGETHER * _WIDTH
    for first in range(0, len(values), step):
        part = values[first : first + step]
        db.execute(_INSERTS[len(part) // _WIDTH], part)
    _count_in(db, len(values) // _WIDTH)
    return [_used(db)] * len(calls)


def settle(transaction: Transaction, calls: Sequence[Settled]) -> list[int]:
    """Let go of events that sinks have settled, for many callers; for each the bytes that are in use then.

    What is not there any more is passed over.
    """
    db = transaction.db
    (sinks,) = db.execute("SELECT count(*) FROM sinks").fetchone()
    gone = 0
    for bit, ids in calls:
        if sinks == 1:  # as a rule: nobody else is owed them, whatever the rows say
            gone += db.executemany("DELETE FROM events WHERE id BETWEEN ? AND ?", _runs(ids)).rowcount
            continue
        # The last of the sinks, as a rule.
        alone = [(number, sealed(number, bit)) for number in ids]
        deleted = db.executemany("DELETE FROM events WHERE id = ? AND owed = ?", alone).rowcount
        gone += deleted
        if deleted == len(alone):
            continue
        for number in ids:
            row = db.execute("SELECT owed FROM events WHERE id = ?", (number,)).fetchone()
            if row is not None and (owed := unsealed(number, row[0])) is not None:
                left = owed & ~bit
                db.execute("UPDATE events SET owed = ? WHERE id = ?", (sealed(number, left), number))
    _count_in(db, -gone)
    return [_used(db)] * len(calls)


def read(transaction: Transaction, ask: Ask) -> Page:
    """Read events that a sink is owed; rows that do not pass their checksum are set aside."""
    db = transaction.db
    found: list[tuple[int, CapturedEvent]] = []
    faulty: list[tuple[Any, ...]] = []
    size, last = 0, ask.after
    rows = db.execute(
        f"SELECT {COLUMNS} FROM events WHERE id > ? AND owed & ? ORDER BY id",  # noqa: S608  # constants
        (ask.after, ask.bit),
    )
    for row in rows:
        number = row[0]
        if number in ask.held:
            continue
        event = event_of(row, ask.shift)
        if event is None:
            faulty.append(row)
        elif number > last:  # else a damaged page shows it a second time
            if found and (len(found) >= ask.max_events or size + event.held > ask.max_bytes):
                break
            found.append((number, event))
            size += event.held
            last = number
    rows.close()
    for row in faulty:
        set_aside(db, row, ask.now)
    damaged = [_as_found(db, row[1]) for row in faulty]
    return Page(found, damaged)


def hold(transaction: Transaction, now: float) -> Holding:
    """What there is; a look at every row, in which those go to quarantine that no sink would ever ask for."""
    db = transaction.db
    bits = sinks_in(db)
    rows, nobodys, oldest, *owed = _count(db, bits.values())
    counted = _counted(db)
    missing = 0 if counted is None else max(counted - rows, 0)
    if counted is None:
        recount(db)
    if nobodys:
        for row in db.execute(f"SELECT {COLUMNS} FROM events WHERE {_NOBODYS}", (_all(bits.values()),)).fetchall():  # noqa: S608  # constants
            set_aside(db, row, now)
        rows, _, oldest, *owed = _count(db, bits.values())
    (last,) = db.execute("SELECT max(id) FROM events").fetchone()
    (damaged,) = db.execute("SELECT count(*) FROM quarantine").fetchone()
    last = max(last or 0, _counter(db, "last"))
    by_sink = dict(zip(bits, owed, strict=True))
    return Holding(by_sink, rows, _used(db), last, oldest if isinstance(oldest, float) else None, damaged, missing)


def glance(transaction: Transaction, _: None) -> Glance:
    """What is quickly looked up: of the rows only the first is looked at."""
    first = transaction.db.execute("SELECT captured_at FROM events ORDER BY id LIMIT 1").fetchone()
    (damaged,) = transaction.db.execute("SELECT count(*) FROM quarantine").fetchone()
    return Glance(first[0] if first is not None and isinstance(first[0], float) else None, damaged)


def used(transaction: Transaction, _: None) -> int:
    """Bytes of the pages that are in use."""
    return _used(transaction.db)


def is_empty(transaction: Transaction, _: None) -> bool:
    """Whether nothing is left, not even what was damaged, and nothing is missing."""
    (is_any,) = transaction.db.execute(
        "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM quarantine)"
    ).fetchone()
    return not (is_any or _counted(transaction.db))


def note_last(transaction: Transaction, last: int) -> None:
    """Remember the highest number that was ever given, whatever rows are left."""
    transaction.db.execute("INSERT OR REPLACE INTO counters VALUES ('last', ?)", (last,))


def discard(transaction: Transaction, ask: Discard) -> list[tuple[int, int]]:
    """Delete the oldest events that nobody has in memory; of each its number, and the bits of the sinks it was owed."""
    db = transaction.db
    gone: list[tuple[int, int]] = []
    left = ask.max_bytes
    rows = db.execute("SELECT id, owed, size FROM events WHERE captured_at < ? ORDER BY id", (ask.before,))
    for number, owed, size in rows:
        if left <= 0 or len(gone) >= ask.max_events:
            break
        if number not in ask.held and (bits := unsealed(number, owed)) is not None:  # else it may be another's number
            gone.append((number, bits))
            left -= max(size, 1) if isinstance(size, int) else 1
    rows.close()
    let_go(db, [number for number, _ in gone])
    return gone


def let_go(db: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete rows, whoever they are owed to."""
    _count_in(db, -db.executemany("DELETE FROM events WHERE id = ?", [(number,) for number in ids]).rowcount)


def recount(db: sqlite3.Connection) -> None:
    """Note how many rows there are; what was missing is so no more."""
    (found,) = db.execute("SELECT count(*) FROM events").fetchone()
    db.execute("INSERT OR REPLACE INTO counters VALUES ('rows', ?)", (sealed(0, found),))


# -- one row ----------------------------------------------------------------------------------------------------------


def sealed(number: int, bits: int) -> int:
    """The bits of sinks as they are kept: an event whose bits have flipped goes nowhere rather than somewhere else."""
    return bits | crc32(_PAIR.pack(number, bits)) << MAX_SINKS


def unsealed(number: int, owed: object) -> int | None:
    """The bits of the sinks that an event is owed to; ``None``: they were altered."""
    if not isinstance(owed, int):
        return None
    bits = owed & _MASK
    return bits if sealed(number, bits) == owed else None


def _append_values(values: list[object], written: Written) -> None:
    ids, events, owed, captured_at = written
    for number, event in zip(ids, events, strict=True):
        seal = owed | crc32(_PAIR.pack(number, owed)) << MAX_SINKS  # as sealed(), without a call
        values += (number, seal, captured_at, *pack_checked(event, number, captured_at))


def _runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Numbers that follow each other, as the first and the last of each row of them."""
    if isinstance(ids, range):  # as those of a batch are
        return [(ids.start, ids.stop - 1)]
    runs: list[tuple[int, int]] = []
    first = last = -1
    for number in sorted(ids):
        if number != last + 1:
            runs.append((first, last))
            first = number
        last = number
    return [*runs[1:], (first, last)]


def event_of(row: tuple[Any, ...], shift: float) -> CapturedEvent | None:  # Any: whatever a damaged row holds
    """The event of a row, its moment of capture moved by ``shift``; ``None``: it does not pass its checksum."""
    number, owed, captured_at, size, check, name, extra, data = row
    try:
        if unsealed(number, owed) is None or checksum(number, captured_at, name, extra, data, size) != check:
            return None
        return unpack(name, extra, data, captured_at + shift)
    except (TypeError, ValueError, struct.error):
        return None


def set_aside(db: sqlite3.Connection, row: tuple[Any, ...], now: float) -> None:  # Any: as above
    """Put a row into quarantine.

    Where its number was altered too it may be another's, and that one stays.

    Raises:
        sqlite3.DatabaseError: It cannot be moved there.
    """
    number, *rest = row
    kept = b"\0".join(value if isinstance(value, bytes) else repr(value).encode() for value in rest)
    db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?)", (number, now, _ALTERED.encode(), kept))
    if db.execute(f"SELECT {COLUMNS} FROM events WHERE id = ?", (number,)).fetchone() == row:  # noqa: S608  # constants
        let_go(db, [number])
    elif deleted := db.execute(_DELETE_LIKE, row).rowcount:
        _count_in(db, -deleted)
    else:
        raise corrupt(f"row {number} can be read, and not be deleted")


def sinks_in(db: sqlite3.Connection) -> dict[str, int]:
    """The number of the bit of each sink, in the order of bits."""
    rows: Iterable[tuple[int, object]] = db.execute("SELECT bit, name FROM sinks ORDER BY bit").fetchall()
    return {name.decode(errors="replace"): bit for bit, name in rows if isinstance(name, bytes)}


def _count(db: sqlite3.Connection, bits: Iterable[int]) -> tuple[Any, ...]:  # Any: a damaged row may be the oldest
    """Rows in all and those of no sink, when the oldest was captured, and the rows of each sink.

    In one pass without a sort: a GiB is read in a second.
    """
    each = "".join(f", total(owed >> {bit} & 1)" for bit in bits)
    rows, nobodys, oldest, *owed = db.execute(
        f"SELECT count(*), total({_NOBODYS}), min(captured_at){each} FROM events",  # noqa: S608  # numbers
        (_all(bits),),
    ).fetchone()
    return rows, nobodys, oldest, *map(int, owed)


def _as_found(db: sqlite3.Connection, owed: object) -> int:
    """The bits of sinks as SQLite sees them, whatever they have become."""
    (bits,) = db.execute("SELECT ? & ?", (owed, _MASK)).fetchone()
    return int(bits)


def _all(bits: Iterable[int]) -> int:
    return sum(1 << bit for bit in bits)


def _used(db: sqlite3.Connection) -> int:
    (used,) = db.execute(_USED).fetchone()
    return int(used)


def _counter(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0


def _counted(db: sqlite3.Connection) -> int | None:
    """How many rows there are to be: a page that is damaged may lose some unseen. ``None``: that is not known."""
    return unsealed(0, _counter(db, "rows"))


def _count_in(db: sqlite3.Connection, rows: int) -> None:
    """Note that there are so many rows more, or fewer."""
    counted = _counted(db)
    if counted is not None and rows:
        db.execute("UPDATE counters SET value = ? WHERE name = 'rows'", (sealed(0, max(counted + rows, 0)),))


def _recover(db: sqlite3.Connection, path: str) -> None:
    del db, path  # rows stand for themselves; each is looked at when it is read


SCHEME: Final = Scheme("spool of eventpipe", 0x45765370, (_VERSION_1,), _recover)  # "EvSp"
