"""One pass of a consumer that was not started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from eventpipe import RetryPolicy
from eventpipe.errors import LeaseHeldError, PermanentSinkError, TransientSinkError, UnknownConsumerError
from eventpipe.events import Batch
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.reports import ConsumerError, PassReport
from eventpipe.sinks import MemorySink
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ConsumerKey, Disposition
from eventpipe.testing import GatedSink
from eventpipe.testing.recording import RecordingSink

pytestmark = pytest.mark.asyncio


class Handled:
    """A handler that keeps what it was given, and fails where it is told to."""

    def __init__(self, *failing: int, error: type[BaseException] = ValueError) -> None:
        self.offsets: list[int] = []
        self.attempts: list[int] = []
        self.failing = set(failing)
        self.error = error

    async def __call__(self, event: ConsumedEvent) -> None:
        self.offsets.append(event.offset)
        self.attempts.append(event.attempt)
        await asyncio.sleep(0)
        if event.offset in self.failing:
            raise self.error


class DownSink(RecordingSink):
    """Refuses every batch until it is up."""

    is_up = False

    async def _answer(self, batch: Batch) -> None:
        if not self.is_up:
            raise TransientSinkError("down")


async def _append(log: EventLog, events: int, topic: str = "orders") -> None:
    for number in range(events):
        await log.append(topic, "paid", distinct_id=f"u{number % 3}", properties={"number": number})


async def test_a_pass_hands_out_what_is_pending_once(log: EventLog) -> None:
    """Each event once, in order; the report says so, and the next pass calls nobody."""
    await _append(log, 5)
    handle = Handled()
    consumer = Consumer(log, "orders", "audit", handle)

    assert await consumer.process() == PassReport(handed=5, delivered=5)
    assert await consumer.process() == PassReport()
    assert handle.offsets == [0, 1, 2, 3, 4]


async def test_two_passes_at_once_hand_out_each_event_once(log: EventLog) -> None:
    """The second waits for the first, and appends do not wait for either."""
    await _append(log, 3)
    sink = GatedSink()
    consumer = Consumer(log, "orders", "audit", sink)
    passes = [asyncio.create_task(consumer.process()) for _ in range(2)]
    await sink.reached()
    async with asyncio.timeout(1):
        await log.append("orders", "paid")
    sink.release()
    first, second = await asyncio.gather(*passes)

    assert (first.delivered, first.pending, second.delivered, second.pending) == (3, 1, 1, 0)
    assert len(set(sink.uuids)) == len(sink.uuids) == 4


async def test_passes_of_one_object_never_meet(log: EventLog) -> None:
    """However many tasks go on making them: each waits for its turn, and none finds the consumer held."""
    at_work: list[int] = []
    handled: list[int] = []

    async def handle(event: ConsumedEvent) -> None:
        assert not at_work
        at_work.append(event.offset)
        await asyncio.sleep(0.01)
        handled.append(at_work.pop())

    consumer = Consumer(log, "orders", "audit", handle, when_held="raise")

    async def go_on() -> int:
        delivered = 0
        for _ in range(10):
            await log.append("orders", "paid")
            delivered += (await consumer.process()).delivered
        return delivered

    assert sum(await asyncio.gather(*(go_on() for _ in range(3)))) == 30
    assert handled == list(range(30))


async def test_passes_may_be_made_in_one_loop_after_the_other() -> None:
    """Two at once in each, so that one has to wait for the other."""
    consumer = Consumer(EventLog(MemoryStore()), "orders", "audit", Handled())

    async def make_two() -> list[int]:
        async with consumer.log:
            await consumer.log.append_many("orders", ["paid"] * 3)
            return [report.delivered for report in await asyncio.gather(consumer.process(), consumer.process())]

    def run() -> list[int]:
        return asyncio.run(make_two())

    assert [await asyncio.to_thread(run) for _ in range(2)] == [[3, 0], [3, 0]]


async def test_passes_of_two_objects_hand_out_each_event_once(log: EventLog) -> None:
    """The lease parts them, as it does processes."""
    await _append(log, 3)
    sinks = [GatedSink(), GatedSink()]
    passes = [asyncio.create_task(Consumer(log, "orders", "audit", sink).process()) for sink in sinks]
    await sinks[0].reached()
    await asyncio.sleep(1)
    assert not sinks[1].attempts
    with pytest.raises(LeaseHeldError):
        await Consumer(log, "orders", "audit", MemorySink(), when_held="raise").process()
    sinks[0].release()

    assert [report.delivered for report in await asyncio.gather(*passes)] == [3, 0]


async def test_a_pass_leaves_what_came_while_it_waited_unharmed(log: EventLog) -> None:
    """What is appended after the call is for the next pass, at its first attempt."""
    await _append(log, 3)
    sink, handle = GatedSink(), Handled()
    first = asyncio.create_task(Consumer(log, "orders", "audit", sink).process())
    await sink.reached()
    consumer = Consumer(log, "orders", "audit", handle)
    second = asyncio.create_task(consumer.process())
    await asyncio.sleep(1)
    await _append(log, 2)
    sink.release()
    await first

    assert await second == PassReport(pending=2)
    await consumer.process()
    assert (handle.offsets, handle.attempts) == ([3, 4], [1, 1])


async def test_a_failure_leaves_the_cursor_and_is_raised(log: EventLog) -> None:
    """What is before it is settled, what is behind it is not touched; the report says what failed."""
    await _append(log, 5)
    handle = Handled(2)
    consumer = Consumer(log, "orders", "audit", handle)

    with pytest.raises(ConsumerError, match="handler_error: ValueError at ") as caught:
        await consumer.process()

    report = caught.value.report
    assert (report.handed, report.delivered, report.retried, report.pending) == (3, 2, 1, 3)
    assert (await log.consumer("orders", "audit")).cursor == 2
    assert consumer.statistics().retried == 1
    handle.failing.clear()
    assert (await consumer.process()).delivered == 3
    assert (handle.offsets, handle.attempts) == ([0, 1, 2, 2, 3, 4], [1, 1, 1, 2, 1, 1])


@pytest.mark.parametrize("failures", [1, 2, 5])
async def test_a_pass_hands_out_everything_however_often_the_first_has_failed(log: EventLog, failures: int) -> None:
    """Also where what failed is claimed alone, and a batch would wait for others to leave with."""
    await _append(log, 30)
    uuids = [stored.event.uuid async for stored in log.read("orders") if stored.event is not None]
    sink = DownSink()
    consumer = Consumer(log, "orders", "audit", sink, batch_events=10, max_batch_age=60, max_attempts=None)
    for _ in range(failures):
        with pytest.raises(ConsumerError):
            await consumer.process()
    sink.is_up = True

    report = await consumer.process()

    assert (report.delivered, report.pending) == (30, 0)
    assert sink.uuids == uuids


async def test_a_failing_key_holds_up_no_other_in_a_pass(log: EventLog) -> None:
    """The other keys are handed out; the failed one waits for the next pass."""
    await _append(log, 6)
    handle = Handled(1)
    consumer = Consumer(log, "orders", "audit", handle, ordered_by="key")
    with pytest.raises(ConsumerError):
        await consumer.process()

    assert (handle.offsets, (await log.consumer("orders", "audit")).pending) == ([0, 1, 2, 3, 5], 2)


@pytest.mark.parametrize("error", [ValueError, TimeoutError, asyncio.CancelledError, SystemExit, TransientSinkError])
async def test_whatever_a_handler_raises_is_a_failed_attempt(log: EventLog, error: type[BaseException]) -> None:
    """It ends neither the pass nor the program."""
    await _append(log, 1)
    consumer = Consumer(log, "orders", "audit", Handled(0, error=error))

    with pytest.raises(ConsumerError):
        await consumer.process()
    assert (await consumer.lag()).events == 1


async def test_a_permanent_refusal_is_a_dead_letter_at_once(log: EventLog) -> None:
    """The event goes to the dead letters with the reason, and the pass goes on; the report is not true."""
    await _append(log, 3)
    handle = Handled(1, error=PermanentSinkError)
    report = await Consumer(log, "orders", "audit", handle).process()

    assert (report.delivered, report.dead, report.pending, bool(report)) == (2, 1, 0, False)
    (letter,) = await log.dead_letters("orders")
    assert (letter.source_offset, letter.reason, letter.attempts) == (1, "rejected", 1)


async def test_events_that_come_during_a_pass_wait_for_the_next(log: EventLog) -> None:
    """A pass ends however fast events are appended, and its cursor moves to its own end."""
    await _append(log, 2)

    async def handle(event: ConsumedEvent) -> None:
        await log.append("orders", "paid")

    report = await Consumer(log, "orders", "audit", handle).process()

    assert (report.delivered, report.pending) == (2, 2)
    assert (await log.consumer("orders", "audit")).cursor == 2


async def test_a_backlog_is_handed_out_in_bounded_batches(log: EventLog) -> None:
    """However long the outage was."""
    await _append(log, 1_234)
    sink = MemorySink()
    await Consumer(log, "orders", "audit", sink, batch_events=100).process()

    sizes = [len(batch.events) for batch in sink.batches]
    assert (sum(sizes), max(sizes), len(sizes)) == (1_234, 100, 13)


async def test_a_pass_ends_at_its_timeout(log: EventLog) -> None:
    """What runs is cancelled and given back unharmed: the next pass has it at the same attempt."""
    await _append(log, 2)
    sink = GatedSink()
    consumer = Consumer(log, "orders", "audit", sink)
    report = await consumer.process(timeout=5)

    assert (report.delivered, report.pending, consumer.statistics().interrupted) == (0, 2, 2)
    sink.release()
    await consumer.process()
    assert [batch.attempt for batch in sink.attempts] == [1, 1]


async def test_a_cancelled_pass_settles_what_was_handled(log: EventLog) -> None:
    """The rest is given back, and the consumer is free for the next."""
    await _append(log, 3)
    reached = asyncio.Event()

    async def handle(event: ConsumedEvent) -> None:
        if event.offset == 1:
            reached.set()
            await asyncio.sleep(3600)

    running = asyncio.create_task(Consumer(log, "orders", "audit", handle).process())
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert (await log.consumer("orders", "audit")).cursor == 1
    handled = Handled()
    await Consumer(log, "orders", "audit", handled, when_held="raise").process()
    assert (handled.offsets, handled.attempts) == ([1, 2], [1, 1])


async def test_a_removed_consumer_ends_its_pass(log: EventLog) -> None:
    """Nothing of it is settled, and it is not registered again."""
    await _append(log, 2)

    async def handle(event: ConsumedEvent) -> None:
        await log.remove_consumer("orders", "audit")

    with pytest.raises(UnknownConsumerError):
        await Consumer(log, "orders", "audit", handle).process()
    assert await log.consumers("orders") == []


async def test_no_pass_while_it_runs(log: EventLog) -> None:
    """A consumer that is started makes its passes itself."""
    async with Consumer(log, "orders", "audit", MemorySink()) as consumer:
        with pytest.raises(RuntimeError, match=r"is running: process\(\)"):
            await consumer.process()


async def test_the_filter_and_its_errors(log: EventLog) -> None:
    """An event turned away is settled and counted; one whose filter raises has failed."""
    await _append(log, 6)
    handle = Handled()
    consumer = Consumer(log, "orders", "audit", handle, filter=lambda event: event.properties["number"] % 2)
    report = await consumer.process()
    assert (report.skipped, report.delivered, report.pending, handle.offsets) == (3, 3, 0, [1, 3, 5])
    assert (await log.consumer("orders", "audit")).skipped == 3

    failing = Consumer(log, "orders", "other", handle, filter=lambda event: 1 / event.properties["number"])
    with pytest.raises(ConsumerError, match="filter_error"):
        await failing.process()
    assert (failing.statistics().filter_errors, (await failing.lag()).events) == (1, 6)


async def test_what_is_turned_away_is_settled_in_order_with_the_rest(log: EventLog) -> None:
    """A store moves over events that come in order at once, and looks at each where they do not."""
    settled: list[int] = []
    settle = log.store.settle

    async def seen(key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        settled.extend(disposition.claimed.offset for disposition in dispositions)
        await settle(key, token, dispositions)

    await _append(log, 10)
    consumer = Consumer(log, "orders", "audit", MemorySink(), filter=lambda event: event.properties["number"] % 3)
    log.store.settle = seen  # type: ignore[method-assign]
    try:
        report = await consumer.process()
    finally:
        del log.store.settle

    assert (report.skipped, report.delivered, settled) == (4, 6, list(range(10)))


async def test_max_attempts_is_counted_per_event_over_passes(log: EventLog) -> None:
    """After so many an event goes to the dead letters, whatever its errors said; others are not counted with it."""
    await _append(log, 3)
    handle = Handled(1)
    consumer = Consumer(log, "orders", "audit", handle, max_attempts=3, retry=RetryPolicy(max_attempts=1))
    for _ in range(2):
        with pytest.raises(ConsumerError):
            await consumer.process()
    report = await consumer.process()

    assert (report.dead, report.delivered, report.pending) == (1, 1, 0)
    assert handle.offsets == [0, 1, 1, 1, 2]
    (letter,) = await log.dead_letters("orders")
    assert (letter.source_offset, letter.reason, letter.attempts) == (1, "exhausted", 3)
