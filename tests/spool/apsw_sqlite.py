"""The part of ``sqlite3`` that stores use, on top of apsw, which lets Python stand between SQLite and its files."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import apsw

Row = tuple[Any, ...]  # Any: whatever a column holds


@contextmanager
def _translated() -> Iterator[None]:
    """Raise errors of apsw as ``sqlite3`` does."""
    try:
        yield
    except apsw.Error as error:
        code = getattr(error, "extendedresult", 1)
        kind = {apsw.SQLITE_CORRUPT: sqlite3.DatabaseError, apsw.SQLITE_NOTADB: sqlite3.DatabaseError}.get(
            code & 0xFF, sqlite3.OperationalError
        )
        told = kind(str(error))
        told.sqlite_errorcode = code
        raise told from error


class Cursor:
    """Rows of a statement, and how many it changed."""

    def __init__(self, cursor: apsw.Cursor, rowcount: int) -> None:
        self.rowcount = rowcount
        self._cursor = cursor

    def __iter__(self) -> Iterator[Row]:
        with _translated():
            yield from self._cursor

    def fetchone(self) -> Row | None:
        with _translated():
            row: Row | None = self._cursor.fetchone()
            return row

    def fetchall(self) -> list[Row]:
        with _translated():
            rows: list[Row] = self._cursor.fetchall()
            return rows

    def close(self) -> None:
        self._cursor.close()


class Connection:
    """An open file."""

    def __init__(self, path: str, vfs: str) -> None:
        with _translated():
            self._db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        self.text_factory: Callable[[bytes], object] = str

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        with _translated():
            before = self._db.total_changes()
            cursor = self._db.execute(sql, tuple(values))
            return Cursor(cursor, self._db.total_changes() - before)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        with _translated():
            before = self._db.total_changes()
            cursor = self._db.executemany(sql, [tuple(row) for row in rows])
            return Cursor(cursor, self._db.total_changes() - before)

    def interrupt(self) -> None:
        self._db.interrupt()

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):  # as there: the log that could not be copied is read at the next opening
            self._db.close(True)


def connecting(vfs: str) -> Callable[..., Connection]:
    """What stands for ``sqlite3.connect``, for the files of this virtual file system."""

    def connect(name: str, **_: object) -> Connection:
        return Connection(unquote(name.removeprefix("file:").removesuffix("?mode=rw")), vfs)

    return connect
