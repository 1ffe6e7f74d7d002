"""Several processes that append to one file, and one that is parked there."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from eventpipe.log.eventlog import EventLog
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import StoredEvent
from tests.processes.logged import TOPIC, made, seal
from tests.processes.nursery import Child, nursery
from tests.stores.places import quick_folder

PRODUCERS = 4
EVENTS = 200  # of each
POLL = 0.05  # seconds: the default of SqliteStore

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60)]


@pytest.fixture
def path() -> Iterator[Path]:
    """In memory, if there is a place: it is not about disks."""
    with TemporaryDirectory(dir=quick_folder()) as folder:
        yield Path(folder, "log.db")


def store_of(path: Path) -> SqliteStore:
    return SqliteStore(path, shared=True, durability="process")


async def kept_in(path: Path) -> list[StoredEvent]:
    async with EventLog(store_of(path)) as log:
        return [stored async for stored in log.read(TOPIC)]


def test_processes_that_append_at_once_share_the_offsets(path: Path, tmp_path: Path) -> None:
    """Also where they make the file and the topic at once: each offset once, dense, each producer's events in order."""
    with nursery(tmp_path) as children:
        producers = [
            children.fork(
                "produce", path=str(path), shared=True, producer=number, first=0, last=EVENTS, seed=number, pause=0.0
            )
            for number in range(PRODUCERS)
        ]
        assert [producer.wait() for producer in producers] == [0] * PRODUCERS
    kept = asyncio.run(kept_in(path))

    assert [stored.offset for stored in kept] == list(range(PRODUCERS * EVENTS))
    seals = {stored.offset: seal(stored.event) for stored in kept if stored.event is not None}
    for number, producer in enumerate(producers):
        told = [int(offset) for entry in producer.entries("acked") for offset in entry[3:]]
        assert told == sorted(told)
        assert [seals[offset] for offset in told] == [seal(made(number, one)) for one in range(EVENTS)]


async def append_and_time(path: Path, parked: Child, times: int) -> list[float]:
    """Seconds from each append to the moment when somebody in another process is handed the event."""
    took = []
    async with EventLog(store_of(path)) as log:
        for number in range(times):
            await asyncio.sleep(POLL * (1 + number / times))  # it is parked, at any place between two polls
            offset = await log.append(TOPIC, made(0, number))
            appended_at = time.monotonic()
            while not (handed := parked.entries("handed")[offset:]):  # noqa: ASYNC110  # it is another process
                await asyncio.sleep(0.001)
            took.append(handed[0].at - appended_at)
    return took


@pytest.mark.parametrize("kind", ["receiver", "handler"])
def test_append_wakes_who_is_parked_in_another_process(path: Path, tmp_path: Path, kind: str) -> None:
    """Within three polls as a rule, and within ten on a busy machine."""
    with nursery(tmp_path) as children:
        parked = children.fork(
            "follow", path=str(path), shared=True, kind=kind, consumer="billing", work=0.0, ttl=60.0, heartbeat=3.0
        )
        parked.await_entry("waits")
        took = asyncio.run(append_and_time(path, parked, 10))

    assert statistics.median(took) <= 3 * POLL
    assert max(took) <= 10 * POLL
