"""What can be read of a file that is damaged, copied to a new one row by row; blocks."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eventpipe.errors import StoreError
from eventpipe.spool import rows
from eventpipe.spool.folder import Owned, sync
from eventpipe.spool.rows import COLUMNS
from eventpipe.stores.sqlite_connection import SqliteConnection
from eventpipe.stores.sqlite_opening import find

# Numbers looked for one by one behind a row that cannot be read, where it is not known how far they go: those below
# the damaged page of pages, which has some hundreds of them, each with some tens of rows.
PROBES: Final = 200_000
_COMMIT: Final = 1_000  # rows
_INSERT: Final = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

Row = tuple[Any, ...]  # Any: whatever a damaged row holds


@dataclass(slots=True)
class Repair:
    """One run over a file.

    Attributes:
        kept: Events that are in the new file.
        altered: Numbers of those that could be read, and do not pass their checksum; they are in its quarantine.
        lost: Numbers that cannot be read, from and to; ``None``: nobody knows how far. Some of them may have been
            settled before, or never given.
        last: The highest number that is known.
    """

    kept: int = 0
    altered: list[int] = field(default_factory=list)
    lost: list[tuple[int, int | None]] = field(default_factory=list)
    last: int = 0

    def run(self, damaged: Owned, new: Owned, now: float) -> None:
        """Copy what can be read; when this returns it is on its disk, and ``damaged`` is as it was.

        Raises:
            StoreError: Nothing can be read, it is no file of a spool, or the new one cannot be written.
            OSError: The disk is full, or fails otherwise.
        """
        with tempfile.TemporaryDirectory(prefix=".repair-", dir=damaged.path.parent) as folder:
            # SQLite would change the file by opening it: what is in its log goes where it belongs.
            copy = Path(folder, "copy.db")
            shutil.copyfile(damaged.path, copy)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{damaged.path}-wal", f"{copy}-wal")
            source = sqlite3.connect(copy, isolation_level=None)
            source.text_factory = bytes
            try:
                self._check(source, damaged.path)
                find(new.path)
                connection = SqliteConnection(str(new.path), rows.SCHEME, is_shared=False, durability="power")
                try:
                    self._copy(source, connection.db, now)
                finally:
                    connection.close()
            finally:
                source.close()
        sync(new.path)
        sync(new.path.parent)

    def _check(self, source: sqlite3.Connection, path: Path) -> None:
        try:
            source.execute("PRAGMA locking_mode=EXCLUSIVE")
            source.execute("PRAGMA writable_schema=ON")  # a file that is too short is read as far as it goes
            (application_id,) = source.execute("PRAGMA application_id").fetchone()
            (version,) = source.execute("PRAGMA user_version").fetchone()
            source.execute("SELECT 1 FROM events WHERE id = 0")
        except sqlite3.Error as error:
            raise StoreError(f"nothing can be read of {path}: {error}") from error
        if (application_id, version) != (rows.SCHEME.application_id, len(rows.SCHEME.migrations)):
            raise StoreError(f"{path} is no {rows.SCHEME.what} of this version, and is left as it is")

    def _copy(self, source: sqlite3.Connection, new: sqlite3.Connection, now: float) -> None:
        new.execute("BEGIN IMMEDIATE")
        self._copy_sinks(source, new)
        was_altered = False
        for number, row in enumerate(self._rows(source), start=1):
            new.execute(_INSERT, row)
            is_altered = rows.unsealed(row[0], row[1]) is None or rows.event_of(row, 0.0) is None
            if (is_altered or was_altered) and self.last + 1 < row[0]:
                self._lose(self.last + 1, row[0] - 1)  # a page may have lost rows beside those that it altered
            self.last, was_altered = row[0], is_altered
            if is_altered:
                rows.set_aside(new, row, now)
                self.altered.append(row[0])
            else:
                self.kept += 1
            if number % _COMMIT == 0:
                new.execute("COMMIT")
                new.execute("BEGIN IMMEDIATE")
        with contextlib.suppress(sqlite3.Error):  # what is in quarantine is no event any more
            new.executemany(
                "INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?)", source.execute("SELECT * FROM quarantine")
            )
        new.execute("INSERT OR REPLACE INTO counters VALUES ('last', ?)", (self.last,))
        rows.recount(new)
        new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _copy_sinks(self, source: sqlite3.Connection, new: sqlite3.Connection) -> None:
        """Copy the names of sinks; where they cannot be read all bits get some, so that no event is nobody's."""
        try:
            names = [(bit, name.encode(errors="replace")) for name, bit in rows.sinks_in(source).items()]
        except sqlite3.Error:
            names = [(bit, f"unknown-{bit}".encode()) for bit in range(rows.MAX_SINKS)]
        new.executemany("INSERT INTO sinks VALUES (?, ?)", names)

    def _rows(self, source: sqlite3.Connection) -> Iterator[Row]:
        """All rows that can be read, in their order."""
        end = _last_of(source)
        after = 0
        while True:
            for readable in (_many_behind, _each_behind):  # of many the last is lost with the one that fails
                try:
                    for row in readable(source, after):
                        yield row
                        after = row[0]
                except sqlite3.DatabaseError:
                    continue
                return
            found = _next_readable(source, after, end)
            self._lose(after + 1, end if found is None else found - 1)
            if found is None:
                return
            after = found - 1

    def _lose(self, first: int, last: int | None) -> None:
        if (first, last) not in self.lost[-1:]:
            self.lost.append((first, last))


def _many_behind(source: sqlite3.Connection, after: int) -> Iterator[Row]:
    for row in source.execute(f"SELECT {COLUMNS} FROM events WHERE id > ? ORDER BY id", (after,)):  # noqa: S608
        yield _in_order(row, after)
        after = row[0]


def _each_behind(source: sqlite3.Connection, after: int) -> Iterator[Row]:
    while (row := _first_from(source, after + 1)) is not None:
        yield row
        after = row[0]


def _first_from(source: sqlite3.Connection, number: int) -> Row | None:
    row = source.execute(
        f"SELECT {COLUMNS} FROM events WHERE id >= ? ORDER BY id LIMIT 1",  # noqa: S608  # constant
        (number,),
    ).fetchone()
    return None if row is None else _in_order(row, number - 1)


def _in_order(row: Row, after: int) -> Row:
    if not isinstance(row[0], int) or row[0] <= after:
        raise sqlite3.DatabaseError("rows are out of order")
    return row


def _last_of(source: sqlite3.Connection) -> int | None:
    """The highest number; ``None``: what says so cannot be read."""
    try:
        (last,) = source.execute("SELECT max(id) FROM events").fetchone()
    except sqlite3.DatabaseError:
        return None
    return last or 0


def _next_readable(source: sqlite3.Connection, after: int, end: int | None) -> int | None:
    """The first number behind ``after`` from which on rows can be read again; ``None``: there is none."""
    for number in range(after + 2, (after + PROBES if end is None else end) + 1):
        with contextlib.suppress(sqlite3.DatabaseError):
            if _first_from(source, number) is not None:
                return number
    return None
