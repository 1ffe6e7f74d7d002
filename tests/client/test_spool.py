"""A client with a spool: what would be dropped is on disk, comes back when there is room, and is counted."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from eventpipe import AsyncClient, DropReason, OutcomeKind, PermanentSinkError, RetryPolicy, TransientSinkError
from eventpipe.errors import SpoolError
from eventpipe.events import Durability, SpoolReplay
from eventpipe.sinks import MemorySink
from eventpipe.spool import rows
from eventpipe.spool.values import Written
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.testing import GatedSink, check_ledger
from eventpipe.testing.recording import RecordingSink

pytestmark = pytest.mark.asyncio

FOLDER = "spool"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / FOLDER


class DownSink(RecordingSink):
    """A far end that is down."""

    def __init__(self, error: Exception | None = None, *, name: str = "sink") -> None:
        super().__init__(name=name)
        self.error: Exception | None = error or TransientSinkError("down")

    async def _answer(self, batch: object) -> None:
        if self.error is not None:
            raise self.error


async def received(sink: MemorySink, events: int) -> None:
    """Wait until a far end has so many events."""
    while len(sink.events) < events:  # noqa: ASYNC110  # threads bring it about
        await asyncio.sleep(0.001)


async def capture(client: AsyncClient, number: int, **given: object) -> list[str]:
    """Capture events; their ids."""
    return [(await client.capture("a", properties={"n": n}, **given)).uuid for n in range(number)]  # type: ignore[arg-type]


async def test_what_a_close_has_no_time_for_is_delivered_in_the_next_life(folder: Path) -> None:
    """Each event once, in its order."""
    async with AsyncClient(DownSink(), spool=folder, close_timeout=0.5) as client:
        uuids = await capture(client, 20)
        report = await client.aclose()
    assert (report.spooled, report.dropped, report.pending, bool(report)) == (20, 0, 0, True)
    check_ledger(client, drained=True)

    sink = MemorySink(name="sink")
    async with AsyncClient(sink, spool=folder) as client:
        assert client.statistics().recovered == 20
        check_ledger(client)
        await received(sink, 20)
        report = await client.aclose()
    assert sink.uuids == uuids
    assert (report.delivered, report.spooled) == (20, 0)
    check_ledger(client, received=sink.uuids, drained=True)
    assert list(folder.iterdir()) == []  # noqa: ASYNC240  # a look


async def test_close_that_takes_long_has_everything_on_disk_before_its_deadline(folder: Path) -> None:
    """So that it is safe whoever ends the process; and what is delivered meanwhile is not there any more."""
    sink = GatedSink(name="sink")
    async with AsyncClient(sink, spool=folder, batch_events=10, workers=1) as client:
        await capture(client, 30)
        closing = asyncio.create_task(client.aclose(5))
        spool = client._spool
        assert spool is not None
        while spool.shelves["sink"].held < 30:  # noqa: ASYNC110  # a thread brings it about
            await asyncio.sleep(0.001)
        assert client.statistics().spooled == 0  # it is in memory as well
        sink.release()
        report = await closing
    assert (report.delivered, report.spooled) == (30, 0)
    check_ledger(client, received=sink.uuids, drained=True)
    assert sorted(folder.iterdir()) == []  # noqa: ASYNC240


async def test_what_finds_no_room_waits_on_disk_and_comes_back_when_there_is_some(folder: Path) -> None:
    """Every event arrives once, in the same life."""
    sink = GatedSink(name="sink")
    async with AsyncClient(sink, spool=folder, queue_events=50, batch_events=10, workers=1) as client:
        await capture(client, 500)
        numbers = check_ledger(client)
        assert (numbers.spooled, numbers.pending, numbers.dropped) == (450, 50, 0)
        sink.release()
        await received(sink, 500)
        check_ledger(client)
        report = await client.aclose()
    assert (report.delivered, report.dropped, report.spooled) == (500, 0, 0)
    check_ledger(client, received=sink.uuids, drained=True)


async def test_receipt_tells_that_an_event_is_on_disk(folder: Path) -> None:
    """Its outcome comes once it is there; who listens is told as well."""
    sink = GatedSink(name="sink")
    async with AsyncClient(sink, spool=folder, queue_events=10, batch_events=10, workers=1) as client:
        told: list[int] = []
        client.on_outcome(lambda outcome: told.append(len(outcome.captured)), OutcomeKind.SPOOLED)
        await capture(client, 10)
        receipt = await client.capture("a")
        assert (receipt.accepted, receipt.reason) == (True, None)
        outcome = await receipt.outcome(5)
        assert (outcome.kind, outcome.reason, told) == (OutcomeKind.SPOOLED, "queue_full", [1])
        sink.release()


async def test_flush_waits_for_what_is_on_its_way_to_disk(folder: Path) -> None:
    """It is settled when it is there."""
    sink = GatedSink(name="sink")
    async with AsyncClient(sink, spool=folder, queue_events=30, batch_events=10, workers=1) as client:
        await capture(client, 30)
        receipts = [client.capture_nowait("a") for _ in range(20)]
        report = await client.flush(0.5)
        assert (report.spooled, report.pending, report.dropped) == (20, 30, 0)
        outcomes = [await receipt.outcome(0) for receipt in receipts]
        assert {outcome.kind for outcome in outcomes} == {OutcomeKind.SPOOLED}
        sink.release()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_wrong_configuration_keeps_the_backlog(folder: Path, status: int) -> None:
    """What was refused for it is on disk, and arrives when it is mended."""
    reason = DropReason.UNAUTHORIZED if status in (401, 403) else DropReason.MISCONFIGURED
    sink = DownSink(PermanentSinkError("no", scope="sink", status=status, reason=reason))
    async with AsyncClient(sink, spool=folder, max_batch_age=0.01, close_timeout=0.5) as client:
        await capture(client, 5)
        assert (await client.flush(1)).spooled == 5
        sink.error = None
        await capture(client, 1)  # which works: so does the rest
        await received(sink, 6)
        check_ledger(client)


async def test_last_attempt_that_failed_puts_the_batch_on_disk(folder: Path) -> None:
    """Instead of dropping it as exhausted."""
    sink = DownSink()
    async with AsyncClient(
        sink,
        spool=folder,
        max_batch_age=0.01,
        close_timeout=0.5,
        retry=RetryPolicy(max_attempts=2, initial=0.01, min_delay=0.01),
    ) as client:
        await capture(client, 5)
        report = await client.flush(5)
        assert (report.spooled, report.dropped) == (5, 0)


@pytest.mark.parametrize("level", ["process", "power"])
async def test_capture_returns_when_the_event_is_as_durable_as_asked(folder: Path, level: str) -> None:
    """The receipt says so; an event that need not be is not."""
    sink = GatedSink(name="sink")
    async with AsyncClient(sink, spool=folder, durability=level) as client:  # type: ignore[arg-type]
        receipt = await client.capture("a")
        assert receipt.durability == level
        assert (await client.capture("a", durability="memory")).durability == "memory"
        assert client.statistics().pending == 2
        sink.release()
        report = await client.aclose()
    assert report.delivered == 2
    assert list(folder.iterdir()) == []  # noqa: ASYNC240  # a look


async def test_event_that_cannot_be_written_is_sent_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The receipt says that it is in memory alone, and a line that it is so, once."""
    sink = MemorySink(name="sink")
    async with AsyncClient(sink, spool=folder, durability="process") as client:
        spool = client._spool
        assert spool is not None

        def fail(*_: object, **__: object) -> None:
            raise SpoolError("the disk is gone")

        monkeypatch.setattr(spool.writer, "turn", fail)
        receipts = [await client.capture("a") for _ in range(3)]
        assert [receipt.durability for receipt in receipts] == ["memory"] * 3
        monkeypatch.undo()
        assert (await client.capture("a")).durability == "process"
    assert len(sink.events) == 4
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "events cannot be written to the spool, and are in memory only: the disk is gone",
        "events are written to the spool again; 3 were in memory only",
    ]


async def test_what_was_damaged_on_disk_is_not_sent_and_is_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bit flipped in one of ten: nine arrive, one is dropped with a number, a reason and a line."""
    async with AsyncClient(DownSink(), spool=folder, close_timeout=0.5) as client:
        uuids = await capture(client, 10)
    (path,) = folder.glob("*.db")  # noqa: ASYNC240
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE events SET data = CAST(replace(data, '\"n\":3', '\"n\":4') AS BLOB)")

    sink = MemorySink(name="sink")
    async with AsyncClient(sink, spool=folder) as client:
        await received(sink, 9)
        numbers = check_ledger(client, drained=True)
    assert sink.uuids == [uuid for number, uuid in enumerate(uuids) if number != 3]
    assert (numbers.recovered, numbers.delivered, numbers.dropped_by_reason) == (10, 9, {"damaged": 1})
    assert numbers.by_event["(others)"].dropped == 1
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(lines) == 1
    assert "events are being dropped, reason damaged" in lines[0]


async def test_each_of_two_sinks_gets_what_it_is_owed(folder: Path) -> None:
    """One is down: what was delivered to the other is not delivered to it again."""
    up, down = MemorySink(name="up"), DownSink(name="down")
    async with AsyncClient(up, down, spool=folder, durability="process", close_timeout=0.5) as client:
        await capture(client, 10)
        report = await client.aclose()
    assert (report.delivered, report.spooled) == (10, 10)
    up, again = MemorySink(name="up"), MemorySink(name="down")
    async with AsyncClient(up, again, spool=folder) as client:
        await received(again, 10)
    assert (len(up.events), len(again.events)) == (0, 10)


@pytest.mark.parametrize(
    ("option", "value"), [("durability", "process"), ("durability", "power"), ("overflow", "spill")]
)
async def test_what_needs_a_disk_is_refused_without_one(option: str, value: str) -> None:
    """By the client and by a capture, with the way out."""
    with pytest.raises(ValueError, match=rf"{option}='{value}' needs a disk: give the client a folder, such as spool="):
        AsyncClient(MemorySink(), **{option: value})  # type: ignore[arg-type]
    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(ValueError, match=rf"{option}='{value}' needs a disk"):
            await client.capture("a", **{option: value})  # type: ignore[arg-type]
        assert client.statistics().captured == 0


async def test_folder_that_cannot_be_used_is_told_at_the_start(folder: Path) -> None:
    """And nothing is left running."""
    folder.write_text("mine")  # noqa: ASYNC240
    client = AsyncClient(MemorySink(), spool=folder)
    with pytest.raises(SpoolError, match="is no folder; name a folder"):
        await client.__aenter__()
    await client.aclose()
    assert folder.read_text() == "mine"  # noqa: ASYNC240


async def test_idle_it_takes_no_steps(folder: Path) -> None:
    """But those in which it looks for files of processes that are gone."""
    async with AsyncClient(MemorySink(), spool=folder) as client:
        await asyncio.sleep(0.05)
        assert client.statistics().captured == 0


async def overfull(client: AsyncClient, events: int) -> list[str]:
    """Fill the queue of 100, and put so many more on disk; the ids of the latter."""
    await capture(client, 100)
    uuids = await capture(client, events)
    await on_disk(client, events)
    return uuids


async def on_disk(client: AsyncClient, events: int) -> None:
    """Wait until so many are on disk only, and written."""
    while client.statistics().spooled != events:  # noqa: ASYNC110  # threads bring it about
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("replay", ["behind", "before"])
async def test_what_comes_back_goes_behind_or_before_what_is_in_memory(folder: Path, replay: SpoolReplay) -> None:
    """As it was asked for; the batch that is taken already stays ahead."""
    sink = GatedSink(name="sink")
    async with AsyncClient(
        sink, spool=folder, spool_replay=replay, queue_events=100, batch_events=10, workers=1, max_batch_age=0.001
    ) as client:
        kept = await overfull(client, 20)
        await sink.reached(1)
        for batches in (1, 2, 3):
            sink.release(1)
            await sink.reached(batches + 1)
            if replay == "before":
                await on_disk(client, max(20 - 10 * batches, 0))
        sink.release()
        await client.flush()
        await received(sink, 120)
        places = [place for place, event in enumerate(sink.events) if event.uuid in kept]
    if replay == "behind":
        assert places == list(range(100, 120))
    else:
        assert max(places) < 60


async def test_full_queue_does_not_keep_waiting_what_is_on_disk(folder: Path) -> None:
    """Though something fresh takes each place that is made, a batch comes back for every five that left."""
    sink = GatedSink(name="sink")
    async with AsyncClient(
        sink, spool=folder, queue_events=100, batch_events=10, workers=1, max_batch_age=0.001
    ) as client:
        kept = await overfull(client, 20)
        await sink.reached(1)
        sink.release(1)
        await sink.reached(2)
        await on_disk(client, 10)  # it was its turn
        for batches in range(2, 8):
            sink.release(1)
            await sink.reached(batches + 1)
            assert client.statistics().spooled == 10
            await capture(client, 0 if batches == 2 else 10)  # some room is kept for what comes back
        sink.release(1)
        await on_disk(client, 0)
        assert not set(sink.uuids) & set(kept)
        sink.release()


async def test_flush_does_not_count_what_comes_back_before_it(folder: Path) -> None:
    """It waits for what was captured before it, however much is put at the head of the queue meanwhile."""
    sink = GatedSink(name="sink")
    async with AsyncClient(
        sink, spool=folder, spool_replay="before", queue_events=100, batch_events=10, workers=1, max_batch_age=0.001
    ) as client:
        kept = await overfull(client, 20)
        await sink.reached(1)
        flushing = asyncio.create_task(client.flush(1000))
        await asyncio.sleep(0)
        while not flushing.done():
            sink.release(1)
            await asyncio.sleep(0.001)
        report = flushing.result()
        assert (report.delivered, report.pending) == (100, 0)
        assert not {event.uuid for event in sink.events[:100]} & set(kept)
        sink.release()


async def test_far_end_that_refuses_its_key_is_asked_once_a_minute(folder: Path) -> None:
    """Whatever is captured meanwhile; and when it was mended everything arrives."""
    sink = DownSink(PermanentSinkError("no", scope="sink", status=401, reason=DropReason.UNAUTHORIZED))
    async with AsyncClient(
        sink, spool=folder, queue_events=100, batch_events=10, max_batch_age=0.01, close_timeout=0.5
    ) as client:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(300):
            await capture(client, 1)
            await asyncio.sleep(1)
        assert 5 <= len(sink.attempts) <= 6
        assert loop.time() - began >= 300
        numbers = check_ledger(client)
        assert (numbers.dropped, numbers.pending + numbers.spooled) == (0, 300)
        sink.error = None
        await received(sink, 300)
        check_ledger(client, received=sink.uuids)


async def test_worker_begins_nothing_before_what_it_sent_is_off_the_disk(folder: Path) -> None:
    """Else a kill would have more sent again than the workers had in hand."""
    sink = GatedSink(name="sink")
    async with AsyncClient(
        sink, spool=folder, durability="process", batch_events=10, workers=1, max_batch_age=60
    ) as client:
        await asyncio.gather(*(client.capture("a") for _ in range(20)))
        await sink.reached(1)
        assert client._spool is not None
        (file,) = client._spool._files.values()
        with file._port._file.busy:  # nothing is written or deleted meanwhile
            sink.release()
            await asyncio.sleep(1)
            assert (len(sink.attempts), client.statistics().delivered) == (1, 10)
        await sink.reached(2)
        await client.flush()


@pytest.mark.parametrize("level", ["process", "power"])
async def test_file_whose_fsync_failed_is_never_written_again(
    folder: Path, level: Durability, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was on its way there is in memory alone, and said to be; what comes next is in another file, and arrives."""
    sink = GatedSink(name="sink")
    async with AsyncClient(sink, spool=folder, durability=level, max_batch_age=0.001) as client:
        spool = client._spool
        assert spool is not None
        assert (await client.capture("before")).durability == level
        ((number, file),) = spool._files.items()
        broken, write = [file.owned.path], rows.write

        def fail(transaction: Transaction, calls: Sequence[Written]) -> list[int]:
            assert not write_again
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            write_again.append(1)
            raise error

        write_again: list[int] = []
        monkeypatch.setattr(rows, "write", fail)
        weak = await client.capture("during")
        assert weak.durability == "memory"
        monkeypatch.setattr(rows, "write", write)
        assert (await client.capture("meanwhile")).durability == "memory"  # nothing more is written there
        while number in spool._files:  # noqa: ASYNC110  # threads bring it about
            await asyncio.sleep(0.001)
        assert (await client.capture("after")).durability == level
        assert [other.owned.path for other in spool._files.values()] != broken
        sink.release()
        report = await client.flush()
        assert (report.delivered, report.dropped) == (4, 0)
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert sum("cannot be written to the spool, and are in memory only" in line for line in told) == 1
    assert sum("is set aside as it is" in line for line in told) == 1
    check_ledger(client, received=sink.uuids, drained=True)
    assert [path for path in folder.iterdir() if path.suffix == ".db"] == broken  # noqa: ASYNC240  # a look
