# ruff: noqa: T201  # processes are what this is about, and nothing else runs in the loop
"""Processes that deliver from one file: no row is two processes' at once, and one that is killed loses nothing."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventpipe.stores import SqliteStore
from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryState, EndpointInfo, Publication
from eventpipe.testing import make_event
from tests.scale import SCALE
from tests.stores.places import quick_place

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]
AUDIT = EndpointInfo("audit", "sink", created_at=1.0)
ROWS = 300


@pytest.fixture
def path() -> Iterator[Path]:
    """In memory, as nothing here depends on a disk."""
    with quick_place() as folder:
        yield folder / "log.db"


# Claims a few rows at a time until there are none, and settles them if it is told to; says what it has, and what it has
# settled, each line in one write, so that none is torn.
WORKER = """
import asyncio, os, sys
from eventpipe.stores import SqliteStore
from eventpipe.stores.delivery_values import AttemptRecord, Change, DeliveryState, EndpointInfo

async def main():
    store = SqliteStore(sys.argv[1], shared=sys.argv[2] == "shared", durability="process")
    await store.open()
    kept = store.deliveries
    endpoint = EndpointInfo("audit", "sink", created_at=1.0)
    while claimed := await kept.claim(
        endpoint, holder=str(os.getpid()), cutoff=10.0, after=None, now=10.0, until=70.5, limit=3
    ):
        ids = " ".join(str(row.id) for row, _ in claimed)
        os.write(1, f"claimed {ids}\\n".encode())
        if sys.argv[3] == "settling":
            attempt = AttemptRecord(1, 10.0, 0.1, "delivered", 200)
            changes = [
                Change(row.id, row.version, DeliveryState.SUCCESS, None, 1, None, 99.0, 10.5, attempt=attempt)
                for row, _ in claimed
            ]
            assert all(await kept.change(changes))
            os.write(1, f"settled {ids}\\n".encode())
    await store.aclose()

asyncio.run(main())
"""


def worker(path: Path, shared: str, what: str) -> subprocess.Popen[bytes]:
    # Unbuffered: what is read ahead of a line would be missing in the rest.
    return subprocess.Popen([sys.executable, "-c", WORKER, path, shared, what], stdout=subprocess.PIPE, bufsize=0)


def told(output: bytes, what: str) -> list[int]:
    lines = [line.split() for line in output.decode().splitlines()]
    return [int(number) for word, *numbers in lines if word == what for number in numbers]


@asynccontextmanager
async def opened(path: Path, *, shared: bool) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, shared=shared, durability="process")
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


async def filled(path: Path, *, shared: bool) -> None:
    async with opened(path, shared=shared) as store:
        await store.deliveries.put_endpoint(AUDIT, None, replace=False)
        await store.deliveries.publish([Publication(make_event(), ("audit",), None, 5.0, 99.0) for _ in range(ROWS)])


@pytest.mark.parametrize("what", ["holding", "settling"])
async def test_claims_of_processes_never_overlap(path: Path, what: str) -> None:
    """Three that share a file have every row between them, each of them once."""
    await filled(path, shared=True)
    workers = [worker(path, "shared", what) for _ in range(3)]
    outputs = [one.communicate(timeout=50)[0] for one in workers]

    assert [one.returncode for one in workers] == [0, 0, 0]
    claimed = sorted(number for output in outputs for number in told(output, "claimed"))
    assert claimed == list(range(1, ROWS + 1))


@pytest.mark.seeds
@pytest.mark.parametrize("shared", ["exclusive", "shared"])
async def test_killed_process_loses_nothing_that_it_settled_and_no_row(path: Path, shared: str) -> None:
    """Its claims run out; what it had written is as it wrote it, with its attempt."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    await filled(path, shared=shared == "shared")
    claimed: set[int] = set()
    settled: set[int] = set()
    for _ in range(3 * SCALE):
        process = worker(path, shared, "settling")
        assert process.stdout is not None
        first = process.stdout.readline()
        await asyncio.sleep(chance.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        output = first + process.communicate(timeout=10)[0]
        claimed |= set(told(output, "claimed"))
        settled |= set(told(output, "settled"))

        async with opened(path, shared=shared == "shared") as store:
            rows = await store.deliveries.rows(DeliveryFilter(), limit=ROWS)
            assert len(rows) == ROWS
            written = {row.id for row in rows if row.state is DeliveryState.SUCCESS}
            assert settled <= written <= claimed
            for number in written:
                assert [one.outcome for one in await store.deliveries.attempts(number)] == ["delivered"]
            again = await store.deliveries.claim(
                AUDIT, holder="a test", cutoff=10.0, after=None, now=70.5, until=71.0, limit=ROWS
            )
            assert {row.id for row, _ in again} == {row.id for row in rows} - written
            assert await store.deliveries.release([row for row, _ in again]) == len(again)
