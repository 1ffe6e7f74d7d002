"""A pipeline drains from the client to the far ends, within its deadline."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    Deadline,
    RetryPolicy,
    ServiceState,
)
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent, Handler
from eventpipe.pipeline import ConsumerSummary, Pipeline
from eventpipe.retention import Retention
from eventpipe.sinks import CallbackSink, LogSink
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock
from tests.pipeline.parts import Taken, append, fail

pytestmark = pytest.mark.asyncio

ONCE_A_MINUTE = RetryPolicy(initial=60.0, max_delay=60.0)


async def test_what_was_captured_is_at_the_far_end_when_it_has_stopped(store: Store, clock: LoopClock) -> None:
    """Capture, log, consumer, far end: nothing waits anywhere, although nothing had left before the stop."""
    log, taken = EventLog(store, clock=clock), Taken()
    client = AsyncClient(LogSink(log, "orders"), max_batch_age=60.0)
    async with Pipeline(client=client, log=log, consumers=[Consumer(log, "orders", "audit", taken)]) as pipeline:
        for number in range(100):
            await pipeline.client.capture("paid", properties={"number": number})
        assert taken.numbers == []

        report = await pipeline.stop()

    assert taken.numbers == list(range(100))
    assert report
    assert report.client is not None
    assert (report.client.delivered, report.client.dropped, report.client.pending) == (100, 0, 0)
    assert report.consumers == (ConsumerSummary("orders", "audit", delivered=100, pending=0),)
    assert report.stopped == ("consumer 'audit' of topic 'orders'", "eventpipe-log")


async def test_what_one_consumer_appends_another_is_handed_before_the_end(store: Store, clock: LoopClock) -> None:
    """Passes go on until nothing is pending, along a row of topics, whatever order the consumers were given in."""
    log, taken = EventLog(store, clock=clock), Taken()

    def passed_on(topic: str) -> Handler:
        async def pass_on(consumed: ConsumedEvent) -> None:
            await log.append(topic, consumed.event)

        return pass_on

    consumers = [
        Consumer(log, "third", "last", taken, delay=0.0),
        Consumer(log, "second", "middle", passed_on("third")),
        Consumer(log, "first", "first", passed_on("second")),
    ]
    async with Pipeline(log=log, consumers=consumers) as pipeline:
        await append(log, range(3), "first")

        report = await pipeline.stop()

    assert taken.numbers == [0, 1, 2]
    assert report


async def test_a_backlog_that_was_not_claimed_yet_is_handed_out_at_the_stop(store: Store, clock: LoopClock) -> None:
    """More is pending than a consumer has in hand: it is handed out within the deadline all the same."""
    log, taken = EventLog(store, clock=clock), Taken(seconds=0.001)
    consumer = Consumer(log, "orders", "audit", taken, batch_events=2)
    async with Pipeline(log=log, consumers=[consumer]) as pipeline:
        await append(log, range(50))

        report = await pipeline.stop()

    assert taken.numbers == list(range(50))
    assert report


async def test_a_dead_far_end_holds_up_the_stop_no_longer_than_the_deadline(store: Store, clock: LoopClock) -> None:
    """The report says what is pending and why; the other consumer has everything; the next start delivers the rest."""
    log, taken = EventLog(store, clock=clock), Taken()
    hanging = CallbackSink(lambda batch: asyncio.sleep(3600), name="hanging")
    consumers = [
        Consumer(log, "orders", "audit", taken),
        Consumer(log, "orders", "dead", fail, retry=ONCE_A_MINUTE),
        Consumer(log, "orders", "mute", hanging, timeout=3600.0, batch_events=1),
    ]
    async with Pipeline(log=log, consumers=consumers, stop_timeout=5.0) as pipeline:
        await append(log, range(3))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()

        report = await pipeline.stop()

        assert 4.0 <= asyncio.get_running_loop().time() - began <= 5.25

    assert not report
    assert not report.is_drained
    assert [(consumer.name, consumer.delivered, consumer.pending) for consumer in report.consumers] == [
        ("audit", 3, 0),
        ("dead", 0, 3),
        ("mute", 0, 3),
    ]
    assert report.consumers[1].last_error is not None
    assert "down" in report.consumers[1].last_error

    later, log = Taken(), EventLog(store, clock=clock)
    consumers = [Consumer(log, "orders", name, later) for name in ("dead", "mute")]
    async with Pipeline(log=log, consumers=consumers) as pipeline:
        report = await pipeline.stop()

    assert report
    assert sorted(later.numbers) == [0, 0, 1, 1, 2, 2]


async def test_consumers_go_on_while_the_client_closes(clock: LoopClock) -> None:
    """A client whose events wait for room in a topic gets it from the consumer, and drops nothing."""
    store = MemoryStore(clock=clock, dedupe_window=0)
    log = EventLog(store, topics={"orders": Retention(max_events=5, on_full="wait")}, clock=clock)
    taken = Taken(seconds=0.01)
    client = AsyncClient(LogSink(log, "orders"), batch_events=5, workers=1, max_batch_age=60.0)
    consumer = Consumer(log, "orders", "audit", taken)
    async with Pipeline(client=client, log=log, consumers=[consumer]) as pipeline:
        for number in range(40):
            client.capture_nowait("paid", properties={"number": number})

        report = await pipeline.stop()

    assert taken.numbers == list(range(40))
    assert report


async def test_a_client_with_a_mute_sink_leaves_half_of_the_time_to_consumers(clock: LoopClock) -> None:
    """Its other sink may hang until the middle of the stop; what it fed the log is handed out in the rest of it."""
    log, taken = EventLog(MemoryStore(clock=clock), clock=clock), Taken()
    mute = CallbackSink(lambda batch: asyncio.sleep(3600), name="mute")
    client = AsyncClient(LogSink(log, "orders"), mute)
    async with Pipeline(client=client, log=log, consumers=[Consumer(log, "orders", "audit", taken)]) as pipeline:
        client.capture_nowait("paid", properties={"number": 0})
        began = asyncio.get_running_loop().time()

        report = await pipeline.stop(timeout=10)

        assert asyncio.get_running_loop().time() - began == pytest.approx(4.75, abs=0.3)

    assert taken.numbers == [0]
    assert report.client is not None
    assert dict(report.client.dropped_by_reason) == {"close_deadline": 1}
    assert [consumer.pending for consumer in report.consumers] == [0]
    assert not report


async def test_a_later_stop_brings_the_end_forward(clock: LoopClock) -> None:
    """Whatever it waits for: the client, or a consumer that has a hanging far end."""
    for is_client in (True, False):
        log = EventLog(MemoryStore(clock=clock), clock=clock)
        mute = CallbackSink(lambda batch: asyncio.sleep(3600), name="mute")
        client = AsyncClient(mute) if is_client else None
        consumers = [] if is_client else [Consumer(log, "orders", "mute", mute, timeout=3600.0, batch_events=1)]
        async with Pipeline(client=client, log=log, consumers=consumers) as pipeline:
            if client is not None:
                client.capture_nowait("paid")
            await append(log, range(1))
            await asyncio.sleep(2)
            began = asyncio.get_running_loop().time()
            first = asyncio.create_task(pipeline.stop(timeout=100))
            await asyncio.sleep(1)

            await pipeline.stop(timeout=1)

            assert asyncio.get_running_loop().time() - began <= 2.5
            assert not await first


async def test_a_cut_off_ends_at_once_and_loses_nothing_that_the_log_has(store: Store, clock: LoopClock) -> None:
    """``cancel()`` waits for no far end: what was in hand is given back, and pending."""
    log = EventLog(store, clock=clock)
    mute = CallbackSink(lambda batch: asyncio.sleep(3600), name="mute")
    consumer = Consumer(log, "orders", "mute", mute, timeout=3600.0, batch_events=1)
    async with Pipeline(log=log, consumers=[consumer]) as pipeline:
        await append(log, range(3))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        pipeline.cancel()

        report = await pipeline.stop()

        # A store with a thread takes real time.
        assert asyncio.get_running_loop().time() - began <= (0.25 if isinstance(store, MemoryStore) else 2.0)
        assert pipeline.state is ServiceState.STOPPED

    assert [consumer.pending for consumer in report.consumers] == [3]
    assert not report


async def test_a_consumer_that_somebody_else_holds_is_left_to_them(store: Store, clock: LoopClock) -> None:
    """The stop waits for no lease; what is pending is told."""
    log, taken = EventLog(store, clock=clock), Taken()
    await log.start()
    async with log.receiver("orders", "audit"):
        pipeline = Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", taken)])
        await pipeline.start()
        await append(log, range(2))
        began = asyncio.get_running_loop().time()

        report = await pipeline.stop()

        assert asyncio.get_running_loop().time() - began < 1

    assert (taken.numbers, [consumer.pending for consumer in report.consumers]) == ([], [2])
    assert not report


async def test_a_paused_consumer_is_handed_nothing_at_the_end(store: Store, clock: LoopClock) -> None:
    """Who paused it meant it: what is pending stays, and is told."""
    log, taken = EventLog(store, clock=clock), Taken()
    async with Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", taken)]) as pipeline:
        await log.pause("orders", "audit")
        await append(log, range(2))

        report = await pipeline.stop()

    assert (taken.numbers, [consumer.pending for consumer in report.consumers]) == ([], [2])


async def test_a_handler_that_swallows_its_cancellation_is_named(clock: LoopClock) -> None:
    """It holds up neither the stop nor the end of the log, and goes on."""
    log, left = EventLog(MemoryStore(clock=clock), clock=clock), asyncio.Event()

    async def deaf(consumed: ConsumedEvent) -> None:
        while not left.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await left.wait()

    async with Pipeline(log=log, consumers=[Consumer(log, "orders", "deaf", deaf, timeout=3600.0)]) as pipeline:
        await append(log, range(2))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()

        report = await pipeline.stop(timeout=3)

        assert asyncio.get_running_loop().time() - began <= 3.25
        assert log.state is ServiceState.STOPPED
    left.set()
    await asyncio.sleep(0.1)

    assert len(report.stragglers) == 1
    assert "deaf" in report.stragglers[0]
    assert [consumer.pending for consumer in report.consumers] == [2]


async def test_a_request_without_end_waits_as_long_as_it_takes(clock: LoopClock) -> None:
    """With a deadline that never comes the client has its own timeout, and consumers all the time they need."""
    log, taken = EventLog(MemoryStore(clock=clock), clock=clock), Taken(seconds=30.0)
    async with Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", taken)]) as pipeline:
        await append(log, range(4))
        pipeline.request_stop(Deadline())
        await pipeline.stopped()

    assert taken.numbers == [0, 1, 2, 3]


async def test_what_retention_dropped_is_lost(clock: LoopClock) -> None:
    """Events that a consumer never saw are a gap in its summary, and the report is false."""
    kept = {"orders": Retention(max_events=2, on_full="drop_oldest")}
    log = EventLog(MemoryStore(clock=clock), topics=kept, clock=clock)
    gate = asyncio.Event()

    async def wait(consumed: ConsumedEvent) -> None:
        await gate.wait()

    async with Pipeline(log=log, consumers=[Consumer(log, "orders", "slow", wait, batch_events=1)]) as pipeline:
        await append(log, range(20))
        gate.set()

        report = await pipeline.stop()

    assert report.consumers[0].gap > 0
    assert report.consumers[0].pending == 0
    assert not report


async def test_a_batch_reaches_a_sink_whole(clock: LoopClock) -> None:
    """A sink gets batches, and is told of the last one before the end."""
    log, batches = EventLog(MemoryStore(clock=clock), clock=clock), []

    async def keep(batch: Batch) -> None:
        batches.append([event.properties["number"] for event in batch.events])

    consumer = Consumer(log, "orders", "audit", CallbackSink(keep), max_batch_age=60.0, batch_events=4)
    async with Pipeline(log=log, consumers=[consumer]):
        await append(log, range(10))

    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
