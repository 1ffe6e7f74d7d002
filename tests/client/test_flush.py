"""Flush barriers: exact, concurrent, bounded, and nobody else's business."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    ClosedError,
    FlushReport,
    PermanentSinkError,
    RetryPolicy,
    TransientSinkError,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import FlakySink, GatedSink, HangingSink, check_ledger

pytestmark = pytest.mark.asyncio


async def test_flush_waits_for_what_is_in_flight() -> None:
    """An event that a worker is sending is as unsettled as one that is queued."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1) as client:
        await client.capture("in_flight")
        await sink.reached(1)

        flushing = asyncio.create_task(client.flush())
        await anyio.wait_all_tasks_blocked()

        assert not flushing.done()
        sink.release()
        report = await flushing
        assert (report.delivered, report.pending, bool(report)) == (1, 0, True)
        check_ledger(client, received=sink.uuids)


async def test_flush_does_not_wait_for_later_events() -> None:
    """A sink that holds later events for ever proves that a flush does not wait for them."""
    later = asyncio.Event()

    async def send(batch: Batch) -> None:
        if "later" in [event.event for event in batch.events]:
            await later.wait()

    async with AsyncClient(CallbackSink(send)) as client:
        await client.capture("before")
        flushing = asyncio.create_task(client.flush())
        await asyncio.sleep(0)
        for _ in range(1000):
            await client.capture("later")

        report = await flushing

        assert (report.delivered, report.pending) == (1, 0)
        assert check_ledger(client).pending == 1000
        later.set()


async def test_batch_never_spans_a_barrier() -> None:
    """Events before and after a flush never travel together, although both wait for a worker."""
    sink = GatedSink()
    async with AsyncClient(sink, workers=1, batch_events=10) as client:
        await client.capture("blocker")
        blocked = asyncio.create_task(client.flush())
        await sink.reached(1)
        await client.capture_many(["a", "b"])
        first = asyncio.create_task(client.flush())
        await anyio.wait_all_tasks_blocked()
        await client.capture_many(["c", "d"])
        sink.release()

        await asyncio.gather(blocked, first)
        await client.flush()

        assert [[event.event for event in batch.events] for batch in sink.attempts] == [
            ["blocker"],
            ["a", "b"],
            ["c", "d"],
        ]


async def test_two_flushes_at_once_are_both_exact() -> None:
    """A flush returns when its own events are settled, whatever an earlier or a later one waits for."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1) as client:
        await client.capture("first")
        first = asyncio.create_task(client.flush())
        await sink.reached(1)
        await client.capture("second")
        second = asyncio.create_task(client.flush())
        await sink.reached(2)

        sink.release(1)
        await first

        assert not second.done()
        sink.release(1)
        assert (await second).delivered == 2  # both were unsettled when it was called
        assert (await first).delivered == 1


async def test_flush_shared_with_another_counts_from_its_own_call() -> None:
    """Two flushes at one place share a barrier, and each reports what was unsettled when it was called."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1) as client:
        await client.capture_many(["a", "b"])
        early = asyncio.create_task(client.flush())
        await sink.reached(2)
        sink.release(1)
        await anyio.wait_all_tasks_blocked()

        late = asyncio.create_task(client.flush())
        await anyio.wait_all_tasks_blocked()
        sink.release()

        assert ((await early).delivered, (await late).delivered) == (2, 1)


async def test_flush_keeps_its_timeout() -> None:
    """A sink that never answers costs a flush its timeout, not more, and the report says what is pending."""
    loop = asyncio.get_running_loop()
    async with AsyncClient(HangingSink(), close_timeout=0) as client:
        await client.capture_many(["a", "b", "c"])
        began = loop.time()

        report = await client.flush(timeout=0.1)

        assert loop.time() - began == pytest.approx(0.1)
        assert (report.delivered, report.pending, bool(report)) == (0, 3, False)
        assert report.elapsed == pytest.approx(0.1)


async def test_flushes_of_the_same_events_each_keep_their_own_timeout() -> None:
    """However they follow one another, and whatever becomes of the one that is due first."""
    sink = GatedSink()
    async with AsyncClient(sink) as client:
        await client.capture("a")
        flushes = [asyncio.create_task(client.flush(timeout)) for timeout in (3, 1, 0.5, 2, math.inf)]
        await anyio.wait_all_tasks_blocked()
        flushes.pop(2).cancel()

        reports = await asyncio.gather(*flushes[:3])

        assert [report.elapsed for report in reports] == pytest.approx([3, 1, 2])
        assert [report.pending for report in reports] == [1, 1, 1]
        assert not flushes[3].done()
        sink.release()
        assert (await flushes[3]).delivered == 1


async def test_flush_that_runs_out_of_time_waits_at_no_further_sink() -> None:
    """Its time is one for all sinks, and a flush that has more of it goes on."""
    first, second = GatedSink(), GatedSink()
    async with AsyncClient(first, second) as client:
        await client.capture("a")
        short, long = (asyncio.create_task(client.flush(timeout)) for timeout in (1, 2))

        assert (await short).elapsed == pytest.approx(1)
        first.release()
        report = await long

        assert report.elapsed == pytest.approx(2)
        assert (report.delivered, report.pending) == (1, 1)
        second.release()


async def test_flush_says_what_was_dropped() -> None:
    """A flush is not true when every export failed."""

    def refuse(batch: Batch) -> None:
        raise PermanentSinkError("no")

    async with AsyncClient(CallbackSink(refuse)) as client:
        await client.capture_many(["a", "b", "c"])

        report = await client.flush()

        assert (report.delivered, report.dropped, report.dropped_by_reason) == (0, 3, {"rejected": 3})
        assert not report


async def test_flush_with_nothing_pending_sends_nothing() -> None:
    """It returns at once, and the sink hears of nothing."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        assert await client.flush() == FlushReport(elapsed=0.0)
    assert sink.batches == []


async def test_flush_does_not_send_a_leaving_batch_twice() -> None:
    """A batch that a worker has is waited for, not sent again."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1) as client:
        await client.capture("once")
        await sink.reached(1)
        flushes = [asyncio.create_task(client.flush()) for _ in range(5)]
        await anyio.wait_all_tasks_blocked()
        sink.release()
        await asyncio.gather(*flushes)
    assert len(sink.attempts) == 1


async def test_flush_hurries_a_backoff_once() -> None:
    """A backoff that waits is due at once, but a second flush does not burn another attempt."""
    attempts = 0

    def fail(batch: Batch) -> None:
        nonlocal attempts
        attempts += 1
        raise TransientSinkError("down")

    retry = RetryPolicy(initial=100, max_delay=100, jitter=0)
    async with AsyncClient(CallbackSink(fail), retry=retry, close_timeout=0) as client:
        await client.capture("stuck")
        await client.flush(timeout=0.01)
        assert attempts == 1
        await client.flush(timeout=0.01)
        assert attempts == 2

        await client.flush(timeout=0.01)

        assert attempts == 2
        assert check_ledger(client).waiting_retry == 1


async def test_flush_respects_retry_after() -> None:
    """A far end that asked for time gets it, whoever flushes."""
    times: list[float] = []
    loop = asyncio.get_running_loop()

    def busy_once(batch: Batch) -> None:
        times.append(loop.time())
        if len(times) == 1:
            raise TransientSinkError("slow down", retry_after=60)

    async with AsyncClient(CallbackSink(busy_once)) as client:
        await client.capture("patient")
        report = await client.flush(timeout=1)
        assert (report.pending, len(times)) == (1, 1)

        report = await client.flush(timeout=200)

        assert (report.delivered, len(times)) == (1, 2)
        assert times[1] - times[0] >= 60


async def test_flush_until_attempted_returns_after_one_attempt_each() -> None:
    """What failed stays pending, and a later flush delivers it."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1, retry=RetryPolicy(initial=5, jitter=0)) as client:
        await client.capture_many(["a", "b"])
        flushing = asyncio.create_task(client.flush(until="attempted"))
        await sink.reached(2)
        sink.release(1, error=TransientSinkError("down"))
        sink.release(1)

        report = await flushing

        assert (report.delivered, report.pending) == (1, 1)
        sink.release()
        assert (await client.flush()).delivered == 1
        check_ledger(client, received=sink.uuids, duplicates=True)


async def test_flush_until_attempted_wants_an_attempt_that_ends_after_the_call() -> None:
    """An attempt that had ended before the call does not count."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1, retry=RetryPolicy(initial=5, jitter=0)) as client:
        await client.capture("a")
        await sink.reached(1)
        sink.release(1, error=TransientSinkError("down"))
        await anyio.wait_all_tasks_blocked()

        flushing = asyncio.create_task(client.flush(until="attempted"))
        await sink.reached(2)

        assert not flushing.done()
        sink.release(1, error=TransientSinkError("down"))
        assert (await flushing).pending == 1
        sink.release()


async def test_flush_inside_send_leaves_out_its_own_batch() -> None:
    """A sink that flushes its own client does not wait for itself; its batch is reported as pending."""
    reports: list[FlushReport] = []

    async def send(batch: Batch) -> None:
        if batch.events[0].event == "flusher":
            reports.append(await client.flush(timeout=100))

    async with AsyncClient(CallbackSink(send), batch_events=2, workers=2) as client:
        await client.capture_many(["flusher", "flusher"])
        await client.capture_many(["other"])
        await client.flush(timeout=1000)

        assert [(report.delivered, report.pending) for report in reports] == [(1, 2)]
        check_ledger(client)


async def test_flushes_inside_every_worker_do_not_deadlock() -> None:
    """Two sends that flush at once each leave out their own batch and wait for the other only until time is up."""

    async def send(batch: Batch) -> None:
        await client.flush(timeout=1)

    async with AsyncClient(CallbackSink(send), batch_events=1) as client:
        await client.capture_many(["a", "b"])
        report = await client.flush(timeout=100)
        assert (report.delivered, report.pending) == (2, 0)


async def test_flush_after_close_is_an_error() -> None:
    """A closed client has nothing to flush, and says so."""
    client = AsyncClient(MemorySink())
    await client.aclose()
    with pytest.raises(ClosedError):
        await client.flush()


@pytest.mark.parametrize("until", ["sent", "", None])
async def test_flush_refuses_an_unknown_until(until: Any) -> None:
    """The message has the words that exist."""
    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(ValueError, match=r"until must be 'settled' or 'attempted', not"):
            await client.flush(until=until)


async def test_flush_counts_callers_that_wait_for_room() -> None:
    """An event whose caller waits for room was captured before the flush, so the flush waits for it."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=2, batch_events=1, overflow="wait") as client:
        await client.capture_many(["a", "b"])
        waiting = asyncio.create_task(client.capture("c"))
        await sink.reached(2)
        flushing = asyncio.create_task(client.flush())
        await anyio.wait_all_tasks_blocked()
        later = asyncio.create_task(client.capture("later"))
        await anyio.wait_all_tasks_blocked()

        sink.release(2)
        await sink.reached(4)
        assert not flushing.done()
        sink.release(1)

        assert (await flushing).delivered == 3
        sink.release()
        await asyncio.gather(waiting, later)
    check_ledger(client, received=sink.uuids, drained=True)


async def test_flush_reports_a_waiting_caller_that_gave_up() -> None:
    """A cancelled capture leaves the barrier as a counted drop; nobody waits for an event that will not come."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=1, batch_events=1, overflow="wait") as client:
        await client.capture("a")
        waiting = asyncio.create_task(client.capture("b"))
        await sink.reached(1)
        flushing = asyncio.create_task(client.flush())
        await anyio.wait_all_tasks_blocked()

        waiting.cancel()
        sink.release()

        report = await flushing
        assert (report.delivered, report.dropped_by_reason) == (1, {"abandoned": 1})
        assert waiting.cancelled()


@pytest.mark.parametrize("seed", range(3))
async def test_64_flushers_with_failures_are_all_exact(seed: int) -> None:
    """Captures race, attempts fail, latency is random: each flush returns with its own events settled."""
    sink = FlakySink(seed, failure_rate=0.3, latency=(0.0, 0.05))
    retry = RetryPolicy(max_attempts=50, initial=0.01, max_delay=0.05, min_delay=0)
    rounds = 20
    async with AsyncClient(sink, workers=8, batch_events=20, retry=retry, queue_events=100_000) as client:

        async def flusher(number: int) -> int:
            settled = 0
            for _ in range(rounds):
                receipts = await client.capture_many([f"e{number}"] * 3)
                report = await client.flush(timeout=1000)
                assert (report.pending, report.dropped) == (0, 0)
                assert report.delivered >= 3
                for receipt in receipts:
                    await receipt.outcome(timeout=0)  # settled already, so it does not suspend
                settled += len(receipts)
            return settled

        totals = await asyncio.gather(*(flusher(number) for number in range(64)))

        assert sum(totals) == 64 * rounds * 3
        assert check_ledger(client, received=sink.uuids).delivered == sum(totals)


async def test_flush_returns_when_its_dispatcher_is_gone() -> None:
    """A dispatcher that dies ends the flushes that wait for it, with a report that says what is pending."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1, close_timeout=0) as client:
        await client.capture("a")
        await sink.reached(1)
        flushing = asyncio.create_task(client.flush(timeout=1000))
        await anyio.wait_all_tasks_blocked()
        began = asyncio.get_running_loop().time()

        [task] = [task for task in asyncio.all_tasks() if task.get_name() == f"eventpipe-{sink.name}"]
        task.cancel()

        assert (await flushing).pending == 1
        assert asyncio.get_running_loop().time() - began < 1


async def test_flush_returns_when_every_worker_has_died() -> None:
    """Somebody cancels the workers while they send: the attempts failed, and the flush ends and says so."""
    sink = HangingSink()
    retry = RetryPolicy(max_attempts=2, initial=1, jitter=0)
    async with AsyncClient(sink, batch_events=1, workers=4, retry=retry) as client:
        await client.capture_many(["e"] * 4)
        flushing = asyncio.create_task(client.flush(timeout=1000))

        for attempts in (4, 8):
            await sink.reached(attempts)
            for task in asyncio.all_tasks():
                if task.get_name().startswith(f"eventpipe-{sink.name} worker"):
                    task.cancel()

        report = await flushing
        assert (report.delivered, report.dropped_by_reason, report.pending) == (0, {"exhausted": 4}, 0)
        assert report.elapsed == pytest.approx(1, abs=0.1)  # the backoff between the two
    check_ledger(client, drained=True)
