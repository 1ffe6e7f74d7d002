"""The one connection to an SQLite file: a group of jobs in one transaction, each with an answer of its own."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Final

from eventpipe.errors import StoreError
from eventpipe.stores.sqlite_faults import NoRoomError, failed_sync, is_busy, is_failed_sync, is_full, translated
from eventpipe.stores.sqlite_jobs import Job, Need, Transaction
from eventpipe.stores.sqlite_opening import WAL_BYTES, WAL_PAGES, Scheme, SqliteDurability, connect, synchronous
from eventpipe.stores.sqlite_reserve import Reserve
from eventpipe.stores.sqlite_wal import WriteAheadLog

# Pages that are given back to a full disk after each settlement: as many as the reserve needs, twice.
_SHRINK_PAGES: Final = 64


# Where so little is left, the write-ahead log is copied to where it belongs before it outgrows the reserve: then there
# is room for the copy when the reserve is given up.
_TIGHT_BYTES: Final = 2 * WAL_BYTES
_TIGHT_PAGES: Final = 16


class _UndoneError(Exception):
    """The whole transaction is to be undone, and its jobs are to be done one by one."""


class SqliteConnection:
    """Does jobs; used by one thread at a time.

    Attributes:
        db: The connection.
        path: Its file, for messages.
    """

    def __init__(self, path: str, scheme: Scheme, *, is_shared: bool, durability: SqliteDurability) -> None:
        """Open the file.

        Raises:
            StoreError: It cannot be opened. It was left as it is.
        """
        self.path = path
        self._is_shared = is_shared
        self._reserve = Reserve(path)
        self.db = connect(path, scheme, is_shared=is_shared, durability=durability, reserve=self._reserve)
        self._reserve.restore()
        self._strict = synchronous(durability, is_shared=is_shared)
        self._synchronous = self._strict
        self._data_version = self._read_data_version()
        try:
            self._wal = None if is_shared else WriteAheadLog(path)
        except OSError as error:
            self.db.close()
            raise StoreError(
                f"the log of {path} cannot be read: {error.strerror}; look at its disk, or raise the limit"
                " of open files: ulimit -n"
            ) from error
        self._wal_pages = WAL_PAGES
        self._is_longer = False  # than when it was looked at
        self._has_failed_sync = False  # the next could succeed, and would tell nothing of what is on the disk

    def run(self, jobs: Sequence[Job]) -> set[str]:
        """Do jobs in their order, in one transaction if that is possible; they have their answers then.

        A job that fails is undone by itself, and its answer is the error.

        Returns:
            The names of what was changed.
        """
        touched = self._together(jobs) if len(jobs) > 1 else None
        if touched is None:
            touched = set()
            for job in jobs:
                self.tidy()  # on a disk that is all but full each may make it long
                touched |= self._alone(job)
        if (
            self._reserve.is_spent
            and not self._has_failed_sync
            and any(job.need & Need.WRITE and not job.need & Need.GROWS for job in jobs)
        ):
            self._shrink()
        return touched

    def tidy(self) -> None:
        """Copy the write-ahead log to where it belongs if it is long; when nobody waits, for it takes two fsyncs."""
        if self._wal is None or not self._is_longer or self._has_failed_sync:
            return
        self._is_longer = False
        try:
            is_long = self._wal.has(self._wal_pages)
        except OSError:
            is_long = True  # SQLite meets it as well, and says so
        if is_long:
            self._copy_log("PASSIVE")

    def has_foreign_change(self) -> bool:
        """Whether another process changed the file since the last call."""
        before, self._data_version = self._data_version, self._read_data_version()
        return before != self._data_version

    def close(self) -> None:
        """Let go of the file; what is in its write-ahead log goes where it belongs, unless an fsync failed."""
        if self._wal is not None:
            self._wal.close()
            self._wal = None
        if self._has_failed_sync:
            # The log stays: an interrupted connection does not copy it, and without "synchronous" it syncs nothing.
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("PRAGMA synchronous=OFF")
            self.db.interrupt()
        self.db.close()

    def _together(self, jobs: Sequence[Job]) -> set[str] | None:
        """Do all jobs in one transaction; ``None``: nothing was done, and they have to be done one by one."""
        touched: set[str] = set()
        try:
            self._begin(reduce(or_, (job.need for job in jobs)))
            for job in jobs:
                touched |= self._in_savepoint(job)
            self.db.execute("COMMIT")
        except (_UndoneError, NoRoomError, sqlite3.Error) as error:
            self._roll_back()
            self._see(error)
            if not is_busy(error):
                return None
            for job in jobs:  # each by itself would wait as long for whoever has the file
                job.fail(translated(error, self.path))
            return set()
        return touched

    def _in_savepoint(self, job: Job) -> set[str]:
        db = self.db
        transaction = Transaction(db)
        db.execute("SAVEPOINT job")
        try:
            job.do(transaction)
        except Exception as error:  # an answer, whatever it is
            if is_busy(error) or is_failed_sync(error):
                raise
            # Some errors undo all of a transaction, and on a full disk each job has means of its own.
            if not db.in_transaction or is_full(error) or len(job.arguments) > 1:
                raise _UndoneError from error
            db.execute("ROLLBACK TO job")
            job.fail(translated(error, self.path))
            transaction.touched.clear()
        db.execute("RELEASE job")
        return transaction.touched

    def _alone(self, job: Job) -> set[str]:
        """Do one job in a transaction of its own; on a full disk again after each thing that may have made room."""
        means = self._means(job.need)
        while True:
            transaction = Transaction(self.db)
            try:
                self._begin(job.need)
                job.do(transaction)
                self.db.execute("COMMIT")
            except Exception as error:  # noqa: BLE001  # an answer, whatever it is
                self._roll_back()
                self._see(error)
                if is_full(error) and any(means):
                    continue
                if len(job.arguments) > 1 and not is_full(error) and not is_busy(error):
                    return self._one_by_one(job)
                job.fail(translated(error, self.path))
                return set()
            return transaction.touched

    def _one_by_one(self, job: Job) -> set[str]:
        parts = job.split()
        touched: set[str] = set()
        for part in parts:
            self.tidy()
            touched |= self._alone(part)
        job.answers = [part.answers[0] for part in parts]
        return touched

    def _begin(self, need: Need) -> None:
        if need & Need.CHANGES:
            if self._has_failed_sync:
                raise failed_sync()
            self._is_longer = True
        if need & Need.GROWS and self._reserve.is_spent and not self._reserve.restore():
            raise NoRoomError(f"there is no room left for {self.path}; free some on its disk, or let consumers go on")
        if need & Need.GROWS and not self._is_shared:
            self._look_at_disk()
        wanted = self._strict if need & Need.SYNCED or self._is_shared else "NORMAL"
        if wanted != self._synchronous:
            self.db.execute(f"PRAGMA synchronous={wanted}")
            self._synchronous = wanted
        # A reader that becomes a writer fails where another process became one meanwhile.
        self.db.execute("BEGIN IMMEDIATE" if need & Need.CHANGES else "BEGIN")

    def _look_at_disk(self) -> None:
        disk = os.statvfs(self.path)
        self._wal_pages = _TIGHT_PAGES if disk.f_bavail * disk.f_frsize < _TIGHT_BYTES else WAL_PAGES

    def _see(self, error: Exception) -> None:
        self._has_failed_sync |= is_failed_sync(error)

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # on a broken disk; the next transaction meets it again
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    def _means(self, need: Need) -> Iterator[bool]:
        """Try to make room by one means after the other; whether each did."""
        if not self._is_shared:
            yield self._checkpoint()
        if not need & Need.GROWS:
            yield self._reserve.release()

    def _checkpoint(self) -> bool:
        """Copy the write-ahead log to where it belongs, so that its file can be filled anew."""
        return self._copy_log("TRUNCATE")

    def _copy_log(self, how: str) -> bool:
        try:
            (is_blocked, _, _) = self.db.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        except sqlite3.Error as error:
            self._see(error)
            return False
        return not is_blocked

    def _shrink(self) -> None:
        """Give unused pages back to the disk, and have the reserve again if there is room."""
        self.tidy()  # first: to find those pages makes the log longer
        try:
            self.db.execute(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})").fetchall()
        except sqlite3.Error as error:
            self._see(error)
        if not (self._is_shared or self._has_failed_sync):
            self._checkpoint()
        self._reserve.restore()

    def _read_data_version(self) -> int:
        (version,) = self.db.execute("PRAGMA data_version").fetchone()
        return int(version)
