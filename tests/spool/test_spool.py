"""A spool: what this process has on disk, and what others left there."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from eventpipe.clock import Clock
from eventpipe.errors import ClosedError, SpoolError
from eventpipe.events import CapturedEvent
from eventpipe.spool import folder
from eventpipe.spool import spool as module
from eventpipe.spool.bounds import SpoolBounds
from eventpipe.spool.spool import Spool
from tests.spool.test_file import an_event

pytestmark = pytest.mark.asyncio

Told = list[tuple[str, int]]
Running = Callable[..., AbstractAsyncContextManager[tuple[Spool, Told, Told]]]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Runs a spool in the folder of the test; with what it told of others' events, and of damaged ones."""

    @asynccontextmanager
    async def run(*sinks: str) -> AsyncIterator[tuple[Spool, Told, Told]]:
        taken_over: Told = []
        damaged: Told = []
        spool = Spool(
            tmp_path / "spool",
            sinks or ("sink",),
            clock=Clock(),
            on_taken_over=lambda sink, count: taken_over.append((sink, count)),
            on_lost=lambda sink, count, _: damaged.append((sink, count)),
            on_set_aside=lambda: None,
            bounds=SpoolBounds(2**30),
        )
        await spool.start()
        try:
            yield spool, taken_over, damaged
        finally:
            await spool.stop()

    return run


async def kept(spool: Spool, *numbers: int, sinks: tuple[str, ...] = ("sink",)) -> list[CapturedEvent]:
    """Write events that have these numbers."""
    events = [an_event(number) for number in numbers]
    await asyncio.gather(*(spool.writer.write([event], sinks, is_synced=False).waiter() for event in events))
    return events


async def until(is_so: Callable[[], object]) -> None:
    """Wait for what threads bring about."""
    while not is_so():  # noqa: ASYNC110  # they set no event of this loop
        await asyncio.sleep(0.001)


def numbers_of(events: list[CapturedEvent]) -> list[int]:
    return [event.properties["number"] for event in events]


async def take(spool: Spool, sink: str = "sink", events: int = 100) -> list[int]:
    return numbers_of(await spool.take(sink, events, 1 << 20))


async def test_what_is_settled_leaves_nothing_behind(running: Running, tmp_path: Path) -> None:
    """Neither events nor files."""
    async with running() as (spool, _, _):
        events = await kept(spool, 1, 2, 3)
        assert (spool.shelves["sink"].held, spool.waiting) == (3, 0)
        spool.settle("sink", events)
    assert list((tmp_path / "spool").iterdir()) == []


async def test_what_is_not_settled_comes_in_the_next_life_in_its_order(running: Running) -> None:
    """In as many pages as are asked for, and each event once."""
    async with running() as (spool, _, _):
        events = await kept(spool, *range(10))
        spool.settle("sink", [events[3], events[0]])
    async with running() as (spool, taken_over, _):
        assert taken_over == [("sink", 8)]
        assert spool.waiting == 8
        assert await take(spool, events=5) == [1, 2, 4, 5, 6]
        assert await take(spool, events=5) == [7, 8, 9]
        assert await take(spool) == []
        assert (spool.shelves["sink"].held, spool.waiting) == (8, 0)


async def test_what_is_put_back_comes_again_and_what_is_held_does_not(running: Running) -> None:
    """From where it lies, among events that are in memory."""
    async with running() as (spool, _, _):
        events = await kept(spool, *range(6))
        shelf = spool.shelves["sink"]
        shelf.put_back([events[4].ticket, events[1].ticket])
        assert spool.waiting == 2
        assert await take(spool) == [1, 4]
        shelf.put_back([events[2].ticket])
        assert await take(spool) == [2]
        assert await take(spool) == []


async def test_each_sink_has_its_own_part(running: Running) -> None:
    """An event goes when the last of those has settled it that it was written for."""
    async with running("a", "b") as (spool, _, _):
        [first] = await kept(spool, 1, sinks=("a", "b"))
        [second] = await kept(spool, 2, sinks=("b",))
        spool.settle("a", [first])
    async with running("a", "b") as (spool, taken_over, _):
        assert taken_over == [("b", 2)]
        assert await take(spool, "a") == []
        assert await take(spool, "b") == [1, 2]
    del second


async def test_events_of_a_sink_that_is_not_there_stay(
    running: Running, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A line says how many, and they come when it is there again."""
    async with running("old") as (spool, _, _):
        await kept(spool, 1, 2, sinks=("old",))
    async with running("new") as (spool, taken_over, _):
        assert taken_over == []
        assert "holds 2 events for sink 'old', which this client does not have" in caplog.text
    async with running("old") as (spool, taken_over, _):
        assert taken_over == [("old", 2)]
        assert await take(spool, "old") == [1, 2]
    assert len(folder.names(tmp_path / "spool")) == 1


async def test_file_of_an_owner_that_is_gone_is_taken_over_while_it_runs(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And deleted when it is empty; that of one who lives is left alone."""
    monkeypatch.setattr(module, "ADOPT_INTERVAL", 0.005)
    async with running() as (other, _, _), running() as (spool, taken_over, _):
        await kept(other, 1, 2)
        await kept(spool, 0)
        await asyncio.sleep(0.01)  # some looks
        assert taken_over == []
        await other.stop()
        await until(lambda: taken_over)
        assert taken_over == [("sink", 2)]
        found = await spool.take("sink", 100, 1 << 20)
        assert numbers_of(found) == [1, 2]
        spool.settle("sink", found)
        await until(lambda: len(folder.names(tmp_path / "spool")) == 1)


async def test_damaged_event_is_counted_once_for_each_sink(running: Running, tmp_path: Path) -> None:
    """And the others come."""
    async with running("a", "b") as (spool, _, _):
        await kept(spool, *range(4), sinks=("a", "b"))
    [name] = folder.names(tmp_path / "spool")
    with sqlite3.connect(tmp_path / "spool" / f"{name}.db") as db:
        db.execute("UPDATE events SET data = cast(data || 'x' as blob) WHERE id = 2")
    db.close()
    async with running("a", "b") as (spool, taken_over, damaged):
        assert taken_over == [("a", 4), ("b", 4)]
        assert await take(spool, "a") == [0, 2, 3]
        assert damaged == [("a", 1), ("b", 1)]
        assert await take(spool, "b") == [0, 2, 3]
        assert spool.waiting == 0


async def test_file_that_is_none_of_ours_is_left_as_it_is(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody tries again, and others are taken over beside it."""
    monkeypatch.setattr(module, "ADOPT_INTERVAL", 0.005)
    place = folder.check(tmp_path / "spool")
    async with running() as (_, taken_over, _):
        (place / "20000101T000000-00000000.db").write_bytes(b"mine" * 5000)
        await until(lambda: "is no SQLite database" in caplog.text)
        async with running() as (other, _, _):
            await kept(other, 1)
        await until(lambda: taken_over)
        assert caplog.text.count("is no SQLite database; name another file, or move this one away") == 1
    assert (place / "20000101T000000-00000000.db").read_bytes() == b"mine" * 5000


async def test_start_fails_where_the_folder_cannot_be_used(running: Running, tmp_path: Path) -> None:
    """With the reason, and nothing is left running."""
    (tmp_path / "spool").write_text("mine")
    with pytest.raises(SpoolError, match="is no folder"):
        async with running():
            pass
    assert (tmp_path / "spool").read_text() == "mine"


async def test_nothing_is_written_before_it_starts_and_after_it_stopped(running: Running) -> None:
    """The caller hears of it, and the event has no ticket."""
    async with running() as (spool, _, _):
        pass
    event = an_event()
    with pytest.raises(ClosedError):
        spool.writer.write([event], ["sink"], is_synced=False)
    assert not hasattr(event, "ticket")


async def test_bytes_grow_with_what_is_written_and_shrink_with_what_is_settled(running: Running) -> None:
    """They are pages in use."""
    async with running() as (spool, _, _):
        empty = spool.bytes
        events = await kept(spool, *range(500))
        full = spool.bytes
        assert full > empty + 500 * events[0].held
        spool.settle("sink", events)
        await until(lambda: not spool.shelves["sink"].held)
        assert spool.bytes < empty + 20_000
