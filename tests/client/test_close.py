"""The close: on time, shared, accounted for, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import anyio
import pytest

from eventpipe import AsyncClient, Batch, ClosedError, DropReason, OutcomeKind, RetryPolicy, TransientSinkError
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, HangingSink, cancellation_sweep, check_ledger
from eventpipe.transport.dispatcher import Dispatcher

pytestmark = pytest.mark.asyncio


async def test_close_sends_what_is_left() -> None:
    """Everything captured before the close is delivered, whatever its age or batch."""
    sink = MemorySink()
    client = AsyncClient(sink, max_batch_age=3600)
    receipts = await client.capture_many([f"e{number}" for number in range(1234)])

    report = await client.aclose()

    assert (report.delivered, report.dropped, report.pending, bool(report)) == (1234, 0, 0, True)
    assert [event.uuid for event in sink.events] == [receipt.uuid for receipt in receipts]
    check_ledger(client, received=[event.uuid for event in sink.events], drained=True)


@pytest.mark.parametrize("timeout", [0, 0.1, 1, 5])
async def test_close_keeps_its_deadline_with_a_sink_that_never_answers(timeout: float) -> None:
    """10 000 events, no answer: the close ends on time, ends every attempt, and accounts for all events."""
    sink = HangingSink()
    client = AsyncClient(sink)
    for _ in range(10_000):
        await client.capture("e")
    began = asyncio.get_running_loop().time()

    report = await client.aclose(timeout)

    assert timeout <= asyncio.get_running_loop().time() - began <= timeout + 0.25
    assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: 10_000}
    assert (report.delivered, report.pending, report.stragglers) == (0, 0, ())
    assert (sink.most_running, sink.running) == (16, 0)
    check_ledger(client, drained=True)


async def test_close_names_a_sink_that_swallows_its_cancellation() -> None:
    """Code that ignores cancellation cannot hold the close; its task is named."""
    sink = HangingSink(swallows=3)
    client = AsyncClient(sink, batch_events=1)
    await client.capture("e")
    began = asyncio.get_running_loop().time()

    report = await client.aclose(1)

    assert asyncio.get_running_loop().time() - began <= 1.25
    [straggler] = report.stragglers
    assert straggler.startswith("eventpipe-HangingSink")
    assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: 1}
    await sink.release()
    check_ledger(client, drained=True)


async def test_close_gives_a_batch_in_flight_one_final_attempt() -> None:
    """A batch that is in flight when the close begins and then fails is tried exactly once more."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1)
    await client.capture("e")
    await sink.reached(1)
    closing = asyncio.create_task(client.aclose(100))
    await anyio.wait_all_tasks_blocked()

    sink.release(error=TransientSinkError("down"))

    report = await closing
    assert len(sink.attempts) == 2
    assert report.dropped_by_reason == {DropReason.EXHAUSTED: 1}
    assert asyncio.get_running_loop().time() < 1


async def test_close_gives_a_batch_that_waits_for_a_retry_one_final_attempt() -> None:
    """Its backoff is kept while it ends before the deadline."""
    times = []
    loop = asyncio.get_running_loop()

    def fail(batch: Batch) -> None:
        times.append(loop.time())
        raise TransientSinkError("down")

    client = AsyncClient(CallbackSink(fail), batch_events=1, retry=RetryPolicy(initial=2, jitter=0))
    await client.capture("e")
    await asyncio.sleep(1)

    report = await client.aclose(10)

    assert times == pytest.approx([0, 2], abs=0.01)
    assert report.dropped_by_reason == {DropReason.EXHAUSTED: 1}


async def test_close_makes_the_final_attempt_at_once_when_its_backoff_outlasts_the_deadline() -> None:
    """No event waits for a moment that the close will not reach."""
    times = []
    loop = asyncio.get_running_loop()

    def fail_once(batch: Batch) -> None:
        times.append(loop.time())
        if len(times) == 1:
            raise TransientSinkError("down")

    client = AsyncClient(CallbackSink(fail_once), batch_events=1, retry=RetryPolicy(initial=20, jitter=0))
    await client.capture("e")
    await asyncio.sleep(1)

    report = await client.aclose(5)

    assert times == pytest.approx([0, 1], abs=0.01)
    assert report.delivered == 1


async def test_close_gives_a_batch_first_sent_while_closing_one_more_attempt() -> None:
    """Two attempts in all: the first and, after a transient failure, the final one."""
    attempts = 0

    def fail(batch: Batch) -> None:
        nonlocal attempts
        attempts += 1
        raise TransientSinkError("down")

    client = AsyncClient(CallbackSink(fail))
    await client.capture("e")

    report = await client.aclose(100)

    assert (attempts, report.dropped_by_reason) == (2, {DropReason.EXHAUSTED: 1})


async def test_close_does_not_wait_for_a_retry_after_beyond_its_deadline() -> None:
    """Retry-After 3600 and a deadline of 5 s: nothing can be done, so the close ends at once."""
    loop = asyncio.get_running_loop()

    def busy(batch: Batch) -> None:
        raise TransientSinkError("slow down", retry_after=3600)

    client = AsyncClient(CallbackSink(busy), batch_events=10)
    for _ in range(25):
        await client.capture("e")
    await asyncio.sleep(0.5)
    began = loop.time()

    report = await client.aclose(5)

    assert loop.time() - began < 0.1
    assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: 25}
    check_ledger(client, drained=True)


async def test_close_ends_when_the_last_events_have_expired() -> None:
    """Events that are too old when their turn comes leave nothing to wait for, although no attempt ends then."""
    loop = asyncio.get_running_loop()

    def busy(batch: Batch) -> None:
        raise TransientSinkError("slow down", retry_after=20)

    client = AsyncClient(CallbackSink(busy), batch_events=1, max_event_age=5, retry=RetryPolicy(jitter=0))
    await client.capture("e")
    await asyncio.sleep(1)

    report = await client.aclose(1000)

    assert loop.time() == pytest.approx(20, abs=0.01)
    assert report.dropped_by_reason == {DropReason.EXPIRED: 1}


async def test_nothing_is_sent_after_close_returned() -> None:
    """Batches that were queued behind a stalled worker are not sent once the close is over."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1, workers=1)
    await client.capture_many(["a", "b", "c"])
    await sink.reached(1)
    await client.aclose(0.1)

    sink.release()
    await asyncio.sleep(100)

    assert len(sink.attempts) == 1


async def test_close_twice_returns_the_same_report() -> None:
    """It is idempotent, and so is the context manager after it."""
    async with AsyncClient(MemorySink()) as client:
        await client.capture("e")
        first = await client.aclose()
    assert await client.aclose() is first


async def test_concurrent_closers_share_one_close() -> None:
    """Ten closers, one close, one report."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1)
    await client.capture("e")
    await sink.reached(1)
    closers = [asyncio.create_task(client.aclose(100)) for _ in range(10)]
    await anyio.wait_all_tasks_blocked()

    sink.release()

    reports = await asyncio.gather(*closers)
    assert all(report is reports[0] for report in reports)
    assert len(sink.attempts) == 1


async def test_earliest_deadline_of_concurrent_closers_counts() -> None:
    """Each closer returns by its own deadline, so a later and shorter one ends the close for all."""
    loop = asyncio.get_running_loop()
    client = AsyncClient(HangingSink())
    await client.capture("e")
    patient = asyncio.create_task(client.aclose(100))
    await anyio.wait_all_tasks_blocked()
    began = loop.time()

    await client.aclose(1)
    await patient

    assert 1 <= loop.time() - began <= 1.25


async def test_cancelling_one_closer_leaves_the_others_waiting() -> None:
    """The close is nobody's own."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1)
    await client.capture("e")
    await sink.reached(1)
    one, other = (asyncio.create_task(client.aclose(100)) for _ in range(2))
    await anyio.wait_all_tasks_blocked()

    one.cancel()
    await asyncio.gather(one, return_exceptions=True)

    assert one.cancelled()
    assert not other.done()
    sink.release()
    assert (await other).delivered == 1


async def test_cancelling_the_last_closer_accounts_for_everything_at_once() -> None:
    """What is in flight is cancelled, the rest is dropped, and the cancellation goes on."""
    client = AsyncClient(HangingSink(), batch_events=1, workers=2)
    await client.capture_many(["a", "b", "c"])
    closer = asyncio.create_task(client.aclose(100))
    await anyio.wait_all_tasks_blocked()

    closer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closer

    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.CLOSE_DEADLINE: 3}
    assert (await client.aclose()).dropped == 3


async def test_cancelled_close_leaks_nothing_at_any_point() -> None:
    """Cancelled at every suspension point, in three ways: no task is left, no event without a number."""

    @contextlib.asynccontextmanager
    async def closing() -> AsyncIterator[Coroutine[Any, Any, object]]:
        sink = GatedSink()
        client = AsyncClient(sink, batch_events=1, workers=2, retry=RetryPolicy(initial=0.01))
        await client.capture_many(["a", "b", "c", "d"])
        sink.release(1, error=TransientSinkError("down"))
        sink.release(1)
        asyncio.get_running_loop().call_later(0.5, sink.release)
        yield client.aclose(1)
        check_ledger(client, received=sink.uuids, drained=True)
        await client.aclose(1)

    assert await cancellation_sweep(closing) > 0


async def test_cancelled_flush_leaks_nothing_at_any_point() -> None:
    """The barrier is forgotten, no event is touched."""

    @contextlib.asynccontextmanager
    async def flushing() -> AsyncIterator[Coroutine[Any, Any, object]]:
        sink = GatedSink()
        async with AsyncClient(sink, batch_events=1, workers=2) as client:
            await client.capture_many(["a", "b", "c", "d"])
            asyncio.get_running_loop().call_later(0.5, sink.release)
            yield client.flush(1)
            check_ledger(client, received=sink.uuids)
        assert check_ledger(client, received=sink.uuids, drained=True).delivered == 4

    assert await cancellation_sweep(flushing) > 0


async def test_close_from_inside_send_does_not_deadlock() -> None:
    """It waits for everything but the batch that its own task sends, which is then delivered as well."""
    reports = []

    async def send(batch: Batch) -> None:
        if batch.events[0].event == "closer":
            reports.append(await client.aclose(50))

    client = AsyncClient(CallbackSink(send), batch_events=1)
    await client.capture_many(["closer", "other"])
    await asyncio.sleep(1)

    report = await client.aclose(50)

    assert asyncio.get_running_loop().time() < 5
    assert [(early.delivered, early.pending) for early in reports] == [(1, 1)]
    assert (report.delivered, report.dropped) == (2, 0)


async def test_captures_that_race_the_close_are_settled() -> None:
    """Every capture before, while and after the close is delivered or dropped, and its receipt says which."""
    sink = MemorySink()
    client = AsyncClient(sink)
    receipts = []

    async def produce() -> None:
        for _ in range(200):
            receipts.append(await client.capture("e"))
            await asyncio.sleep(0)

    producers = [asyncio.create_task(produce()) for _ in range(5)]
    await asyncio.sleep(0)
    await client.aclose()
    await asyncio.gather(*producers)

    outcomes = [await receipt.outcome(timeout=0) for receipt in receipts]
    delivered = {outcome.uuids[0] for outcome in outcomes if outcome.kind is OutcomeKind.DELIVERED}
    assert delivered == {event.uuid for event in sink.events}
    assert {outcome.reason for outcome in outcomes} == {None, DropReason.CLOSED}
    assert len(outcomes) == 1000
    check_ledger(client, received=[event.uuid for event in sink.events], drained=True)


async def test_capture_after_close_is_a_counted_drop_with_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """It does not raise, and a loop of it does not flood the log."""
    client = AsyncClient(MemorySink())
    await client.aclose()

    receipts = [await client.capture("late") for _ in range(100)]

    assert {receipt.reason for receipt in receipts} == {DropReason.CLOSED}
    assert not any(receipt.accepted for receipt in receipts)
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.CLOSED: 100}
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_capture_after_close_raises_in_strict_mode() -> None:
    """It counts as well."""
    client = AsyncClient(MemorySink(), strict=True)
    await client.aclose()
    with pytest.raises(ClosedError):
        await client.capture("late")
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.CLOSED: 1}


async def test_close_waits_for_callers_that_wait_for_room() -> None:
    """A caller in line was there before the close: its event gets in and is delivered."""
    sink = GatedSink()
    client = AsyncClient(sink, queue_events=1, batch_events=1, overflow="wait")
    await client.capture("a")
    waiting = asyncio.create_task(client.capture("b"))
    await sink.reached(1)
    closing = asyncio.create_task(client.aclose())
    await anyio.wait_all_tasks_blocked()

    sink.release()

    assert (await closing).delivered == 2
    assert (await waiting).accepted


async def test_close_turns_away_callers_that_still_wait_at_the_deadline() -> None:
    """They return, and their events are counted."""
    client = AsyncClient(HangingSink(), queue_events=1, batch_events=1, overflow="wait")
    await client.capture("a")
    waiting = [asyncio.create_task(client.capture("b")) for _ in range(3)]
    await anyio.wait_all_tasks_blocked()

    report = await client.aclose(1)

    assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: 4}
    assert [(await task).reason for task in waiting] == [DropReason.CLOSE_DEADLINE] * 3


async def test_close_ends_on_time_when_a_sink_hangs_in_its_own_close() -> None:
    """A far end that cannot say goodbye keeps nobody."""

    class Clingy(MemorySink):
        async def aclose(self) -> None:
            await asyncio.sleep(3600)

    client = AsyncClient(Clingy())
    await client.capture("e")
    began = asyncio.get_running_loop().time()

    report = await client.aclose(0.5)

    assert asyncio.get_running_loop().time() - began <= 0.75
    assert (report.delivered, report.stragglers) == (1, ())


async def test_close_names_a_sink_that_swallows_its_cancellation_in_its_own_close() -> None:
    """It still runs when the close returns, so the report has its name."""
    over = asyncio.Event()

    class Clingy(MemorySink):
        async def aclose(self) -> None:
            while not over.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await over.wait()

    client = AsyncClient(Clingy(name="clingy"))
    await client.capture("e")
    began = asyncio.get_running_loop().time()

    report = await client.aclose(0.5)

    assert asyncio.get_running_loop().time() - began <= 0.75
    assert (report.delivered, report.stragglers) == (1, ("eventpipe-clingy aclose",))
    over.set()
    await anyio.wait_all_tasks_blocked()


async def test_close_never_started_is_quiet() -> None:
    """A client that was never used closes without a sound."""
    report = await AsyncClient(MemorySink()).aclose()
    assert (report.delivered, report.dropped, report.pending) == (0, 0, 0)


async def test_leaving_the_context_with_an_error_still_closes() -> None:
    """The error goes on after the events were sent."""
    sink = MemorySink()

    async def fail() -> None:
        async with AsyncClient(sink) as client:
            await client.capture("e")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert len(sink.events) == 1


@pytest.mark.parametrize("earlier", [None, 0.2])
async def test_close_ends_although_a_signal_handler_s_exit_broke_into_the_end_of_its_dispatcher(
    earlier: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What should tell of that end is never called: the dispatcher is named, and its events are given up."""
    client = AsyncClient(HangingSink(), max_batch_age=0)
    await client.capture("e")
    await client.flush(0)
    monkeypatch.setattr(Dispatcher, "_ended", lambda *_: None)
    began = asyncio.get_running_loop().time()

    closers = [asyncio.create_task(client.aclose(timeout)) for timeout in (1, earlier) if timeout is not None]
    reports = await asyncio.gather(*closers)

    assert asyncio.get_running_loop().time() - began <= (earlier or 1) + 1.25
    assert all(report.dropped_by_reason == {"close_deadline": 1} for report in reports)
    assert all(report.stragglers == ("eventpipe-HangingSink",) for report in reports), reports


@pytest.mark.parametrize("started", [False, True], ids=["new", "started"])
async def test_close_without_time_begins_no_attempt(started: bool) -> None:
    """Also where the client has only just been started, and its dispatcher takes its first look."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=10)
    if started:
        async with asyncio.timeout(1):
            await client.flush()
    await client.capture("e")
    for _ in range(99):
        client.capture_nowait("e")

    report = await client.aclose(0)

    assert (report.dropped_by_reason, client.statistics().attempts) == ({DropReason.CLOSE_DEADLINE: 100}, 0)
