"""A client with a spool on one event loop after another, and one that nobody closes."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import pytest

from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger
from tests.client.test_spool import DownSink, capture, received

pytestmark = pytest.mark.wallclock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def close_by_hand(client: AsyncClient, events: int) -> list[str]:
    """Capture events on a loop that is closed without a word to its tasks; their ids."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(capture(client, events))
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
@pytest.mark.parametrize("ending", ["run", "close"])
def test_next_loop_goes_on_with_what_is_on_disk_and_in_memory(folder: Path, ending: str) -> None:
    """Each event is counted once and arrives once, however the loop before it ended."""
    go_on(folder, ending)
    gc.collect()  # while the test catches what asyncio logs of the first loop's tasks


def go_on(folder: Path, ending: str) -> None:
    sink = DownSink()
    client = AsyncClient(
        sink, spool=folder, durability="process", queue_events=10, batch_events=5, max_batch_age=0.01, close_timeout=5
    )
    uuids = asyncio.run(capture(client, 20)) if ending == "run" else close_by_hand(client, 20)
    numbers = client.statistics()
    assert (numbers.captured, numbers.recovered, numbers.pending + numbers.spooled) == (20, 0, 20)

    async def finish() -> None:
        uuids.extend(await capture(client, 5))
        sink.error = None
        await received(sink, 25)
        report = await client.aclose()
        assert (report.delivered, report.spooled, report.dropped) == (25, 0, 0)

    asyncio.run(finish())
    check_ledger(client, received=sink.uuids, drained=True)
    assert client.statistics().recovered == 0
    assert sorted(sink.uuids) == sorted(uuids)
    assert list(folder.iterdir()) == []


def test_client_that_nobody_closed_leaves_its_file_to_the_next(folder: Path) -> None:
    """In the same process: what it had on disk arrives with another client."""
    uuids = asyncio.run(capture(AsyncClient(DownSink(), spool=folder, durability="process"), 5))
    gc.collect()
    sink = MemorySink(name="sink")

    async def take_over() -> None:
        async with AsyncClient(sink, spool=folder) as client:
            await received(sink, 5)
            assert client.statistics().recovered == 5

    asyncio.run(take_over())
    assert [event.uuid for event in sink.events] == uuids


def test_windows_is_told_that_it_has_no_such_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the client is made, and with the way out."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ValueError, match="needs locks that Windows does not have; leave it out there"):
        AsyncClient(MemorySink(), spool=folder)
    AsyncClient(MemorySink())
