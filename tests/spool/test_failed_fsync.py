"""An fsync that failed is never tried again: the next one would succeed, and tell nothing of what the disk has."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from eventpipe import AsyncClient, Receipt, RetryPolicy
from eventpipe.errors import StoreError
from eventpipe.events import Durability
from eventpipe.sinks import MemorySink
from eventpipe.stores.sqlite_connection import SqliteConnection
from eventpipe.stores.sqlite_faults import is_failed_sync
from eventpipe.stores.sqlite_jobs import Job, Need, Transaction
from eventpipe.stores.sqlite_opening import Scheme
from eventpipe.testing import GatedSink, check_ledger
from tests.spool.apsw_sqlite import connecting

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

SCHEME = Scheme("file of numbers", 77, ("CREATE TABLE numbers (number INTEGER);",), lambda _, __: None)


class UnreliableDisk(apsw.VFS):
    """Fails one fsync when it is told to, and notes each write and fsync of that file after it.

    Attributes:
        fails: Whether the next fsync fails.
        failed: The names of files of which one failed.
        touched: What was done to them after that.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.fails = False
        self.failed: set[str] = set()
        self.touched: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        super().__init__(name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        return _File(name, flags, self, path.name)

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        self.note("delete", Path(name).name)
        super().xDelete(name, sync_folder)

    def note(self, operation: str, file: str) -> bool:
        """Note it; whether it fails."""
        with self._lock:
            if any(file.startswith(failed.removesuffix("-wal")) for failed in self.failed):
                self.touched.append((operation, file))
            if operation != "sync" or not self.fails:
                return False
            self.fails = False
            self.failed.add(file)
            return True


class _File(apsw.VFSFile):
    def __init__(
        self, name: str | apsw.URIFilename | None, flags: list[int], disk: UnreliableDisk, called: str
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._called = called

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.note("write", self._called)
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.note("truncate", self._called)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.note("sync", self._called):
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[UnreliableDisk]:
    """What SQLite has its files on, until ``monkeypatch.undo()``."""
    disk = UnreliableDisk(f"unreliable-{abs(hash(request.node.nodeid))}")
    monkeypatch.setattr(sqlite3, "connect", connecting(disk.name))
    yield disk
    monkeypatch.undo()
    disk.unregister()


async def a_job(number: int, need: Need) -> Job:
    """Write a number."""

    def insert(transaction: Transaction, number: int) -> int:
        transaction.db.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    job = Job(None, insert, need, takes_many=False)
    job.arguments.append(number)
    job.futures.append(asyncio.get_running_loop().create_future())
    return job


def numbers_in(path: Path) -> list[int]:
    """What is in the file."""
    db = sqlite3.connect(path)
    try:
        return [number for (number,) in db.execute("SELECT number FROM numbers ORDER BY number")]
    finally:
        db.close()


@pytest.mark.parametrize("together", [1, 3])
async def test_nothing_more_is_done_to_a_file_whose_fsync_failed(
    disk: UnreliableDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, together: int
) -> None:
    """Not for those who wait for it, nor for the next, nor when it is closed; it can be read, and opened anew."""
    path = tmp_path / "numbers.db"
    path.touch()
    db = SqliteConnection(str(path), SCHEME, is_shared=False, durability="power")
    db.run([await a_job(1, Need.GROW)])
    disk.fails = True
    lost = [await a_job(number, Need.GROW) for number in range(2, 2 + together)]
    db.run(lost)
    later = [await a_job(number, need) for number, need in enumerate([Need.NOTE, Need.ADD, Need.GROW, Need.WRITE], 7)]
    db.run(later)
    look = Job(None, lambda transaction, _: transaction.db.execute("SELECT 5").fetchone(), Need.READ, takes_many=False)
    look.arguments.append(None)
    db.run([look])
    db.close()
    touched = [*disk.touched]
    monkeypatch.undo()

    assert touched == []
    assert look.answers == [(5,)]
    for job in (*lost, *later):
        (error,) = job.answers
        assert isinstance(error, StoreError)
        assert is_failed_sync(error.__cause__)
        assert str(error) == (
            f"an fsync of {path} failed, so that nobody knows what its disk has of it, and nothing more is written"
            " there; look at the disk, then close the file and open it anew"
        )
    assert numbers_in(path)[:1] == [1]
    assert not {7, 8, 9, 10}.intersection(numbers_in(path))


@pytest.mark.parametrize("level", ["power", "process"])
@pytest.mark.parametrize("events", [1, 5])
async def test_file_of_a_client_whose_fsync_failed_is_not_touched_again(
    disk: UnreliableDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, level: Durability, events: int
) -> None:
    """The captures are told; those before are found by the next client, and those after are in another file."""
    sink, folder = GatedSink(name="far"), tmp_path / "spool"
    retry = RetryPolicy(initial=0.001, max_delay=0.002)
    kept: list[Receipt] = []
    async with AsyncClient(sink, spool=folder, durability=level, retry=retry, close_timeout=0.5) as client:
        spool = client._spool
        assert spool is not None
        kept += [await client.capture("before") for _ in range(3)]
        ((number, _),) = spool._files.items()
        disk.fails = True
        weak = await asyncio.gather(*(client.capture("during", durability="power") for _ in range(events)))
        while number in spool._files:  # noqa: ASYNC110  # threads bring it about
            await asyncio.sleep(0.001)
        kept.append(await client.capture("after"))
        assert [receipt.durability for receipt in (*kept, *weak)] == [level] * 4 + ["memory"] * events
    assert disk.touched == []
    monkeypatch.undo()

    told = {receipt.uuid for receipt in (*kept, *weak)}
    there = MemorySink(name="far")
    async with AsyncClient(there, spool=folder, max_batch_age=0.001) as client, asyncio.timeout(10):
        while not told <= {*sink.uuids, *there.uuids}:  # noqa: ASYNC110  # it looks for more files each second
            await asyncio.sleep(0.001)
    check_ledger(client, drained=True)
    assert told == {*sink.uuids, *there.uuids}


async def test_fsync_that_fails_where_the_log_is_copied_ends_the_writing(
    disk: UnreliableDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SQLite would keep it to itself, had it copied the log at the end of a commit."""
    path = tmp_path / "numbers.db"
    path.touch()
    db = SqliteConnection(str(path), SCHEME, is_shared=False, durability="process")
    before, after = await a_job(1, Need.ADD), await a_job(2, Need.ADD)
    db.run([before])
    disk.fails, db._wal_pages = True, 1
    db.tidy()
    db.run([after])
    db.close()
    touched = [*disk.touched]
    monkeypatch.undo()

    assert touched == []
    assert before.answers == [1]
    (error,) = after.answers
    assert is_failed_sync(error.__cause__)
    assert numbers_in(path) == [1]
