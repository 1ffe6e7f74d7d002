"""What a turn of the loop writes to a spool: together, once, and whoever waits is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from eventpipe import AsyncClient
from eventpipe.core.service import ServiceState
from eventpipe.errors import ClosedError, SpoolError
from eventpipe.sinks import MemorySink
from eventpipe.spool import folder, rows
from eventpipe.spool.file import SpoolFile
from eventpipe.spool.spool import Spool
from eventpipe.spool.values import Written
from eventpipe.spool.writing import Writing
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.testing import GatedSink, check_ledger
from eventpipe.transport.runtime import Runtime
from tests.spool.test_file import an_event, file, kept, read_all
from tests.spool.test_spool import Running, numbers_of, running

__all__ = ["file", "running"]  # fixtures

pytestmark = pytest.mark.asyncio


def add(spool: Spool, *numbers: int, sinks: tuple[str, ...] = ("sink",), is_synced: bool = False) -> Writing:
    """Have events written in this turn that have these numbers."""
    writing = spool.writer.turn(sinks, is_synced=is_synced)
    writing.events.extend(an_event(number) for number in numbers)
    return writing


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each call to a file had written."""
    sizes: list[int] = []
    write = SpoolFile.write

    def noted(self: SpoolFile, events: Written, *, is_synced: bool) -> asyncio.Future[int]:
        sizes.append(len(events.ids))
        return write(self, events, is_synced=is_synced)

    monkeypatch.setattr(SpoolFile, "write", noted)
    return sizes


async def test_events_of_a_turn_are_written_together(running: Running, written: list[int]) -> None:
    """Those of the next turn by themselves, and those that are to be synced, or are for other sinks."""
    async with running("sink", "other") as (spool, _, _):
        first, same = add(spool, 1, 2), add(spool, 3)
        await first.waiter()
        await add(spool, 4).waiter()
        both = ("sink", "other")
        others = add(spool, 5), add(spool, 6, sinks=both), add(spool, 7, sinks=both, is_synced=True)
        await asyncio.gather(*(one.waiter() for one in others))

        assert same is first
        assert written == [3, 1, 1, 1, 1]
        assert [one.durability for one in (first, *others)] == ["process", "process", "process", "power"]


async def test_event_that_is_settled_in_its_turn_is_gone_from_the_disk(running: Running, tmp_path: Path) -> None:
    """It is written before it is deleted."""
    async with running() as (spool, _, _):
        writing = add(spool, 1, 2)
        spool.settle("sink", writing.events)
        await writing.waiter()
        await spool._files[spool._own].used()
        assert spool.is_empty
    assert list((tmp_path / "spool").iterdir()) == []


async def test_turn_that_a_stop_cuts_short_is_written(running: Running) -> None:
    """And is there in the next life."""
    async with running() as (spool, _, _):
        writing = add(spool, 1)
        await spool._close()  # what comes last in a stop, and in this very turn
        assert writing.durability == "process"
    async with running() as (spool, taken_over, _):
        assert taken_over == [("sink", 1)]
        assert numbers_of(await spool.take("sink", 9, 1 << 20)) == [1]


async def test_one_who_gives_up_waiting_leaves_the_others_waiting(running: Running) -> None:
    """And the event is written all the same."""
    async with running() as (spool, _, _):
        writing = add(spool, 1, 2)
        gone, stays = writing.waiter(), writing.waiter()
        gone.cancel()
        await stays
        assert (writing.durability, writing.error) == ("process", None)
        assert writing.waiter().done()


async def test_all_who_wait_learn_that_a_turn_cannot_be_written(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events are in memory alone, and hold nothing on disk."""
    async with running() as (spool, _, _):
        before = add(spool, 1)
        await before.waiter()

        def fail(_: Transaction, __: object) -> None:
            raise SpoolError("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr(rows, "write", fail)
            ended: list[Writing] = []
            writing = add(spool, 2, 3)
            writing.on_end = ended.append
            await asyncio.gather(writing.waiter(), writing.waiter())

        assert ended == [writing]
        assert (writing.durability, str(writing.error)) == ("memory", "the disk is gone")
        assert [hasattr(event, "ticket") for event in (*before.events, *writing.events)] == [True, False, False]
        assert (spool.shelves["sink"].held, spool.waiting) == (1, 0)


async def test_turn_begun_before_a_stop_is_not_written_after_it(running: Running) -> None:
    """Whoever waits is told, and what comes after is refused."""
    async with running() as (spool, _, _):
        writing = add(spool, 1)
        waiter, turn = writing.waiter(), spool.writer._turn
        spool.writer._turn = None  # as one that begins while the last file is being closed
        await spool.stop()
        spool.writer._turn = turn
        spool.writer.hand_in()
        await waiter
        assert isinstance(writing.error, ClosedError)
        with pytest.raises(ClosedError, match="is not open"):
            spool.writer.turn(("sink",), is_synced=False)


async def test_event_that_is_pushed_out_in_its_turn_is_on_disk_once(tmp_path: Path) -> None:
    """The oldest gives way to the next before the turn is over."""
    sink = GatedSink(name="sink")
    async with AsyncClient(
        sink, spool=tmp_path / "spool", durability="process", overflow="drop_oldest", queue_events=2, close_timeout=0.5
    ) as client:
        await asyncio.gather(*(client.capture("a", properties={"n": n}) for n in range(9)))
        numbers = check_ledger(client)
        spool = client._spool
        assert spool is not None
        assert (numbers.pending, numbers.spooled) == (2, 7)
        assert spool.shelves["sink"].held + spool.waiting == 9
        sink.release()
        while client.statistics().delivered < 9:  # noqa: ASYNC110  # a thread brings it about
            await asyncio.sleep(0.001)
        check_ledger(client, received=sink.uuids, drained=True)


async def test_event_that_a_close_insures_in_its_turn_is_on_disk_once(tmp_path: Path, written: list[int]) -> None:
    """It is on its way already."""
    async with AsyncClient(GatedSink(name="sink"), spool=tmp_path / "spool", close_timeout=0.5) as client:
        receipt = client.capture_nowait("a", durability="process")
        spilling = client._dispatchers[0].exit.spilling
        assert spilling is not None
        spilling.insure([receipt._event])
        await asyncio.sleep(0)
        assert written == [1]


async def test_turn_of_a_loop_that_is_gone_is_not_added_to(tmp_path: Path) -> None:
    """Nobody would ever hand it in."""
    async with AsyncClient(MemorySink(name="sink"), spool=tmp_path / "spool", durability="process") as client:
        spool, intake = client._spool, client._kept
        assert spool is not None
        assert intake is not None
        gone = asyncio.new_event_loop()
        gone.close()
        event = an_event()
        ways: list[Callable[[], Writing | None]] = [
            lambda: spool.writer.turn(("sink",), is_synced=False),
            lambda: intake.offer(event, event.held),
        ]
        for again in ways:
            stale = again()
            assert stale is not None
            stale.loop = gone
            fresh = again()
            assert fresh is not None
            assert fresh is not stale
            assert not stale.is_begun
            await fresh.waiter()


async def test_capture_that_has_more_to_wait_for_than_a_commit_goes_the_long_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While too many are on their way to the disk for want of room, and while the spool starts, or is not open."""
    async with AsyncClient(MemorySink(name="sink"), spool=tmp_path / "spool", durability="process") as client:
        intake, spilling, spool = client._kept, client._dispatchers[0].exit.spilling, client._spool
        assert intake is not None
        assert spilling is not None
        assert spool is not None
        event = an_event()
        spilling._events = client._options.queue_events
        assert intake.offer(event, event.held) is None
        spilling._events = 0
        with monkeypatch.context() as starting:  # in another loop, with files that are still those of the last one
            starting.setattr(Spool, "state", ServiceState.STARTING)
            assert intake.offer(event, event.held) is None
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(Runtime, "is_here", False)
            assert intake.offer(event, event.held) is None
        await spool.stop()
        assert intake.offer(event, event.held) is None
        assert client.statistics().captured == 0


async def test_strict_capture_raises_what_kept_its_event_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent from memory all the same."""
    sink = MemorySink(name="sink")
    async with AsyncClient(sink, spool=tmp_path / "spool", durability="process", strict=True) as client:

        def fail(_: Transaction, __: object) -> None:
            raise SpoolError("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr(rows, "write", fail)
            with pytest.raises(SpoolError, match=r"^the disk is gone$"):
                await client.capture("a")
        assert (await client.capture("b")).durability == "process"
    assert [event.event for event in sink.events] == ["a", "b"]


async def test_shelf_that_lost_its_file_loses_no_event_of_it(running: Running) -> None:
    """A write that fails after its file was closed."""
    async with running() as (spool, _, lost):
        spool.shelves["sink"].unwrote(99, [1])
        assert lost == []


@pytest.mark.parametrize("events", [1, 31, 32, 33, 64, 100])
async def test_any_number_of_events_is_written_in_its_order(file: SpoolFile, events: int) -> None:
    """However many rows a statement has."""
    ids = await kept(file, *(an_event(number) for number in range(events)))
    found = await read_all(file)
    assert [number for number, _ in found] == ids
    assert [event.properties["number"] for _, event in found] == [*range(events)]


@pytest.mark.parametrize("sinks", [1, 2])
@pytest.mark.parametrize("gone", [[], [3], [1, 2, 3], [3, 1, 2], [1, 3, 4, 6], [2, 3, 5, 99], [1, 2, 3, 4, 5, 6]])
async def test_exactly_the_events_that_are_settled_go(running: Running, sinks: int, gone: list[int]) -> None:
    """In any order, with gaps, and with numbers that are not there; by itself, and where another sink had a part."""
    async with running(*("sink", "other")[:sinks]) as (spool, _, _):
        own = spool._files[spool._own]
        await own.write(
            Written(own.next_ids(6), [an_event(n) for n in range(6)], own.bits["sink"], 0.0), is_synced=False
        )
        await own.settle(own.bits["sink"], gone)
        assert [number for number, _ in await read_all(own)] == [n for n in range(1, 7) if n not in gone]
        await own.settle(own.bits["sink"], range(1, 7))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 0, 3], [1, 2, 4], [0, 0, 2], [4]])
async def test_exactly_the_tickets_that_are_settled_go_whatever_file_they_are_of(
    running: Running, order: list[int]
) -> None:
    """Three events are of a life before, in a file of their own."""
    async with running() as (spool, _, _):
        await add(spool, 0, 1, 2).waiter()
    async with running() as (spool, _, _):
        events = await spool.take("sink", 9, 1 << 20)
        spool._own = await spool._opened(folder.own_new(spool._folder))
        fresh = add(spool, 3, 4, 5)
        await fresh.waiter()
        events += fresh.events
        assert len(spool._files) == 2

        for _ in range(2):  # the second time there is nothing to let go
            spool.settle("sink", [events[number] for number in order])
            await asyncio.gather(*(one.used() for one in spool._files.values()))
        left = [number for number in range(6) if number not in order]
        assert (spool.shelves["sink"].held, spool.waiting) == (len(left), 0)
        on_disk = [event for one in spool._files.values() for _, event in await read_all(one)]
        assert sorted(numbers_of(on_disk)) == left
