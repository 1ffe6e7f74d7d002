# ruff: noqa: ASYNC240  # nothing else runs in the loop
"""Captures that wait for the disk, from plain threads and other event loops; and what a file that breaks leaves."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventpipe import AsyncClient, SyncClient
from eventpipe.errors import SpoolError
from eventpipe.events import Batch, CapturedEvent, Durability
from eventpipe.sinks import MemorySink
from eventpipe.spool.file import SpoolFile
from eventpipe.testing import GatedSink, check_ledger
from eventpipe.testing.recording import RecordingSink
from tests.client.test_spool import DownSink

pytestmark = pytest.mark.wallclock

LEVELS: list[Durability] = ["process", "power"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@asynccontextmanager
async def on_a_thread(client: AsyncClient) -> AsyncIterator[asyncio.AbstractEventLoop]:
    """Have a client live on the event loop of another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.__aenter__(), loop))
        yield loop
        if not client._entrance.is_closed:
            await client.aclose()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("is_said_by", ["client", "call"])
def test_capture_in_a_plain_thread_returns_when_its_event_is_on_disk(
    folder: Path, level: Durability, is_said_by: str
) -> None:
    """Whether the client says so, or the call."""
    by_client: Durability = level if is_said_by == "client" else "memory"
    by_call = level if is_said_by == "call" else None
    with SyncClient(DownSink(), spool=folder, durability=by_client, close_timeout=0.1) as client:
        receipts = [client.capture("e", durability=by_call) for _ in range(3)]
        assert [receipt.durability for receipt in receipts] == [level] * 3
        assert client.statistics().captured == 3


def test_capture_inside_a_sink_of_a_plain_client_waits_for_nothing(folder: Path) -> None:
    """It would wait for the thread that it is on; its event is written behind it, and arrives."""

    class Nested(RecordingSink):
        async def _answer(self, batch: Batch) -> None:
            if batch.events[0].name == "outer":
                client.capture("inner")

    sink = Nested(name="sink")
    with SyncClient(sink, spool=folder, durability="process", max_batch_age=0.01) as client:
        client.capture("outer")
        client.flush(timeout=5)
        client.flush(timeout=5)
    assert [event.name for event in sink.events] == ["outer", "inner"]
    check_ledger(client._client, received=sink.uuids, drained=True)


def test_plain_client_whose_spool_is_refused_says_so_at_the_start_and_leaves_no_thread(folder: Path) -> None:
    """By name, and with the way out."""
    folder.mkdir()
    folder.chmod(0o755)
    before = threading.active_count()
    with pytest.raises(SpoolError, match="chmod 700"), SyncClient(MemorySink(), spool=folder):
        pass
    assert threading.active_count() == before


@pytest.mark.asyncio
async def test_client_whose_spool_is_refused_leaves_no_task(folder: Path) -> None:
    """`async with` has nothing to leave then."""
    folder.mkdir()
    folder.chmod(0o755)
    before = asyncio.all_tasks()
    with pytest.raises(SpoolError, match="chmod 700"):
        async with AsyncClient(MemorySink(), spool=folder):
            pass
    assert asyncio.all_tasks() == before


@pytest.mark.asyncio
@pytest.mark.parametrize("level", LEVELS)
async def test_capture_on_another_event_loop_returns_when_its_event_is_on_disk(folder: Path, level: Durability) -> None:
    """And with `durability="memory"` it waits for nothing."""
    client = AsyncClient(DownSink(), spool=folder, close_timeout=0.1)
    async with on_a_thread(client):
        assert [(await client.capture("e", durability=level)).durability for _ in range(3)] == [level] * 3
        assert (await client.capture("e")).durability == "memory"


@pytest.mark.asyncio
async def test_capture_for_a_loop_that_stands_still_is_an_error_that_names_the_way_out(folder: Path) -> None:
    """Nobody could say when the event is on disk."""
    client = AsyncClient(MemorySink(), spool=folder, durability="process")
    loop = asyncio.new_event_loop()

    def begin() -> None:
        loop.run_until_complete(client.__aenter__())

    thread = threading.Thread(target=begin)
    thread.start()
    await asyncio.to_thread(thread.join)
    with pytest.raises(RuntimeError, match="neither running nor closed"):
        await client.capture("e")
    assert client.statistics().captured == 0

    thread = threading.Thread(target=lambda: loop.run_until_complete(client.aclose()))
    thread.start()
    await asyncio.to_thread(thread.join)
    loop.close()


@pytest.fixture
def broken() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


@pytest.mark.asyncio
async def test_what_is_in_memory_is_written_to_the_next_file_when_one_breaks(
    folder: Path, broken: sqlite3.OperationalError
) -> None:
    """A kill right after loses nothing of what was acknowledged before."""
    sink = GatedSink(name="sink")
    async with AsyncClient(sink, spool=folder, durability="process", max_batch_age=0.01) as client:
        uuids = [(await client.capture("e")).uuid for _ in range(5)]
        spool = client._spool
        assert spool is not None
        first, file = spool._own, spool._files[spool._own]
        file.fault = broken
        spool._stir.set()
        while spool._own == first or len(await rows(spool._files[spool._own])) < 5:  # noqa: ASYNC110  # threads do it
            await asyncio.sleep(0.005)
        assert [event.uuid for event in await rows(spool._files[spool._own])] == uuids
        sink.release()


async def rows(file: SpoolFile) -> list[CapturedEvent]:
    page = await file.read(file.bits["sink"], after=0, held=set(), max_events=10, max_bytes=1 << 20)
    return [event for _, event in page.events]
