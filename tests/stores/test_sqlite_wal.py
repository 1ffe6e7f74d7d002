"""The write-ahead log of a file: how long it is, and that it is copied before it is too long."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventpipe.stores.sqlite_connection import SqliteConnection
from eventpipe.stores.sqlite_jobs import Job, Need, Transaction
from eventpipe.stores.sqlite_opening import WAL_BYTES, Scheme
from eventpipe.stores.sqlite_wal import WriteAheadLog

SCHEME = Scheme("file of texts", 78, ("CREATE TABLE texts (text TEXT);",), lambda _, __: None)
PAGE = 4096


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A file with a log that nobody copies."""
    db = sqlite3.connect(tmp_path / "texts.db", isolation_level=None)
    for words in ("locking_mode=EXCLUSIVE", "journal_mode=wal", "wal_autocheckpoint=0"):
        db.execute(f"PRAGMA {words}")
    db.execute("CREATE TABLE texts (text TEXT)")
    yield db
    db.close()


def copied(db: sqlite3.Connection) -> int:
    """Copy the log; how many pages SQLite says that it had."""
    _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


def test_log_is_as_long_as_sqlite_says(db: sqlite3.Connection, tmp_path: Path) -> None:
    """Also when it was begun anew over one that was longer."""
    log = WriteAheadLog(str(tmp_path / "texts.db"))
    lengths = []
    for commits in (40, 1, 7, 60, 3):
        for _ in range(commits):
            db.execute("INSERT INTO texts VALUES (?)", ("x" * PAGE,))
        found = max(pages for pages in range(1, 1000) if log.has(pages))
        lengths.append((found, copied(db)))
    log.close()
    assert [found for found, _ in lengths] == [said for _, said in lengths]
    assert len({said for _, said in lengths}) == 5


def a_job() -> Job:
    def insert(transaction: Transaction, text: str) -> None:
        transaction.db.execute("INSERT INTO texts VALUES (?)", (text,))

    job = Job(None, insert, Need.GROW, takes_many=False)
    job.arguments.append("x" * PAGE)
    return job


@pytest.mark.parametrize("together", [1, 5])
def test_log_does_not_outgrow_its_bound_by_more_than_a_group_of_jobs(tmp_path: Path, together: int) -> None:
    """Whatever is written."""
    path = tmp_path / "texts.db"
    path.touch()
    connection = SqliteConnection(str(path), SCHEME, is_shared=False, durability="process")
    longest = 0
    for _ in range(600 // together):
        connection.run([_waited_for(a_job()) for _ in range(together)])
        connection.tidy()
        longest = max(longest, Path(f"{path}-wal").stat().st_size)
    connection.close()
    assert WAL_BYTES < longest < WAL_BYTES + (4 * together + 4) * (PAGE + 24)


class _Future:
    """Of somebody who waits."""

    def cancelled(self) -> bool:
        return False


def _waited_for(job: Job) -> Job:
    job.futures.append(_Future())  # type: ignore[arg-type]
    return job
