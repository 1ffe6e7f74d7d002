# ruff: noqa: ASYNC110  # threads bring about what is waited for
"""The Nth operation of the disk fails, for every N: who captures is told the truth, and what was kept is found."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Protocol

import apsw
import pytest

from eventpipe import AsyncClient, Receipt, RetryPolicy, TransientSinkError
from eventpipe.errors import StoreError
from eventpipe.events import Durability
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger
from eventpipe.testing.recording import RecordingSink
from tests.scale import SCALE
from tests.spool.apsw_sqlite import connecting
from tests.spool.failing_disk import FailingDisk, Failure

EVENTS = 16
SAMPLE = 6 * SCALE  # of the operations of a life, each of which fails in one of its own; all of them where it is large

FAILURES = {
    "write: EIO": Failure("write", apsw.SQLITE_IOERR_WRITE),
    "write: EIO from then on": Failure("write", apsw.SQLITE_IOERR_WRITE, lasts=True),
    "write: ENOSPC": Failure("write", apsw.SQLITE_FULL),
    "write: ENOSPC from then on": Failure("write", apsw.SQLITE_FULL, lasts=True),
    "write: short, EDQUOT": Failure("write", apsw.SQLITE_IOERR_WRITE, part=0.5),
    "write: short, ENOSPC": Failure("write", apsw.SQLITE_FULL, part=0.5),
    "read: EIO": Failure("read", apsw.SQLITE_IOERR_READ),
    "read: EIO from then on": Failure("read", apsw.SQLITE_IOERR_READ, lasts=True),
    "fsync: EIO": Failure("sync", apsw.SQLITE_IOERR_FSYNC),
    "fsync: EIO from then on": Failure("sync", apsw.SQLITE_IOERR_FSYNC, lasts=True),
    "ftruncate: EIO": Failure("truncate", apsw.SQLITE_IOERR_TRUNCATE),
    "open: EMFILE": Failure("open", apsw.SQLITE_CANTOPEN),
    "open: EMFILE from then on": Failure("open", apsw.SQLITE_CANTOPEN, lasts=True),
    "unlink: EIO": Failure("delete", apsw.SQLITE_IOERR_DELETE),
}

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.wallclock,
    pytest.mark.timeout(60 + 60 * SCALE),
    # What fails where SQLite itself asks nobody, as while it closes a file, apsw tells Python of.
    pytest.mark.filterwarnings("ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"),
]


class WaveringSink(RecordingSink):
    """A far end that is down at first."""

    is_up = False

    async def _answer(self, batch: object) -> None:
        if not self.is_up:
            raise TransientSinkError("down")


class Life(NamedTuple):
    """What became of a client.

    Attributes:
        promised: Ids of events that were on disk by the word of their receipts.
        captured: Of all.
        arrived: Of those that were sent.
        error: Why it could not be started.
        closing: Seconds.
        started_at: fsyncs that there had been when it was started.
    """

    promised: set[str]
    captured: set[str]
    arrived: set[str]
    error: Exception | None
    closing: float
    started_at: int


class Counting(Protocol):
    """What counts operations by kind."""

    done: Counter[str]


async def live(folder: Path, durability: Durability, disk: Counting) -> Life:
    """Capture while the far end is down and while it is up, and close with some left."""
    sink = WaveringSink(name="far")
    receipts: list[Receipt] = []
    promised: set[str] = set()
    client = AsyncClient(
        sink,
        spool=folder,
        durability=durability,
        max_batch_age=0.001,
        batch_events=4,
        retry=RetryPolicy(max_attempts=1000, initial=0.001, max_delay=0.002),
        close_timeout=0.5,
    )
    try:
        await client.__aenter__()
    except StoreError as error:
        return Life(set(), set(), set(), error, 0.0, 0)
    started_at = disk.done["sync"]
    for number in range(EVENTS):
        receipts.append(await client.capture("e", properties={"n": number, "text": "x" * 1500}))
        if receipts[-1].durability == durability:
            promised.add(receipts[-1].uuid)
        if number == EVENTS // 3:
            sink.is_up = True
        if number == 2 * EVENTS // 3:
            await client.flush(timeout=2)
            sink.is_up = False
    began = time.monotonic()
    await client.aclose()
    closing = time.monotonic() - began
    check_ledger(client)
    return Life(promised, {receipt.uuid for receipt in receipts}, {*sink.uuids}, None, closing, started_at)


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("kind", FAILURES)
async def test_operation_of_the_disk_that_fails_costs_nothing_that_was_said_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, durability: Durability
) -> None:
    """Each receipt tells the truth: what is on disk by its word was sent, or is found by the next client.

    The client closes in a second. A client that cannot be started says which file, and what to do.
    """
    connect, failure = sqlite3.connect, FAILURES[kind]
    counting = FailingDisk("counting", None, 0)
    monkeypatch.setattr(sqlite3, "connect", connecting(counting.name))
    await live(tmp_path / "whole", durability, counting)
    counting.unregister()
    many = counting.done[failure.operation]
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to repeat a failure
    for number in sorted(random.Random(seed).sample(range(1, many + 1), min(SAMPLE, many))):
        folder, where = tmp_path / str(number), f"operation {number} of {many}"
        disk = FailingDisk(f"failing-{number}", failure, number)
        monkeypatch.setattr(sqlite3, "connect", connecting(disk.name))
        life = await live(folder, durability, disk)
        monkeypatch.setattr(sqlite3, "connect", connect)
        disk.unregister()

        if life.error is not None:
            assert str(folder) in str(life.error), where
            assert ";" in str(life.error), where
        assert life.closing <= 1.0, where
        if failure.operation == "sync" and number > life.started_at > 0:
            assert disk.failed not in disk.synced_after, where
        sink = MemorySink(name="far")
        async with AsyncClient(sink, spool=folder, max_batch_age=0.001) as client, asyncio.timeout(10):
            while not life.promised <= life.arrived.union(sink.uuids):
                await asyncio.sleep(0.002)
        check_ledger(client, drained=True)
        assert life.arrived.union(sink.uuids) <= life.captured, where
