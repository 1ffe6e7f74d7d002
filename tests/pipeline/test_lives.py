"""A pipeline starts from the log on, starts again, crashes and is closed, and leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventpipe import (
    AsyncClient,
    ClosedError,
    RetryPolicy,
    ServiceGroup,
    ServiceState,
)
from eventpipe.errors import StoreError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.pipeline import Pipeline
from eventpipe.sinks import LogSink, MemorySink
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.sweep import Swept, cancellation_sweep
from tests.pipeline.parts import Taken, append

pytestmark = pytest.mark.asyncio


async def test_a_cancelled_lifespan_ends_in_order(store: Store, clock: LoopClock) -> None:
    """Who leaves it because they were cancelled finds everything delivered: no consumer ended before its producer."""
    log, taken = EventLog(store, clock=clock), Taken(seconds=0.01)
    client = AsyncClient(LogSink(log, "orders"), max_batch_age=60.0)
    pipeline = Pipeline(client=client, log=log, consumers=[Consumer(log, "orders", "audit", taken)])

    async def lifespan() -> None:
        async with pipeline:
            for number in range(20):
                client.capture_nowait("paid", properties={"number": number})
            await asyncio.sleep(3600)

    task = asyncio.create_task(lifespan())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert taken.numbers == list(range(20))


async def test_a_life_cancelled_anywhere_loses_nothing(clock: LoopClock) -> None:
    """Wherever who entered it is cancelled: what the client says it delivered has been handed out, or is pending."""

    @asynccontextmanager
    async def life() -> AsyncIterator[Swept]:
        log, taken = EventLog(MemoryStore(clock=clock), clock=clock), Taken()
        client = AsyncClient(LogSink(log, "orders"))
        pipeline = Pipeline(client=client, log=log, consumers=[Consumer(log, "orders", "audit", taken)])

        async def live() -> None:
            async with pipeline:
                for number in range(3):
                    await client.capture("paid", properties={"number": number})

        with no_leaks():
            yield live()
            report = await pipeline.aclose()
            closed = await client.aclose()
        assert pipeline.state in (ServiceState.STOPPED, ServiceState.IDLE)
        assert closed.dropped == closed.pending == 0 or not report.consumers
        assert taken.numbers == list(range(len(taken.numbers)))
        assert len(taken.numbers) == closed.delivered

    assert await cancellation_sweep(life) > 0


async def test_a_start_that_fails_stops_what_was_started(store: Store, clock: LoopClock) -> None:
    """A consumer whose start is outside of the log: the error is raised, and nothing runs or is held."""
    log = EventLog(store, clock=clock)
    consumers = [Consumer(log, "orders", "audit", Taken()), Consumer(log, "orders", "late", Taken(), start=7)]
    client = AsyncClient(LogSink(log, "orders"))
    pipeline = Pipeline(client=client, log=log, consumers=consumers)

    with no_leaks(), pytest.raises(StoreError, match="7"):
        await pipeline.start()

    assert [part.state for part in (pipeline, log, *consumers)] == [
        ServiceState.FAILED,
        ServiceState.STOPPED,
        ServiceState.STOPPED,
        ServiceState.FAILED,
    ]
    assert not client._entrance.is_closed  # it was not started: the next start may use it
    await client.aclose()


@pytest.mark.parametrize("is_same", [True, False], ids=["the same one", "a new one each time"])
async def test_fifty_starts_and_stops_leave_nothing_and_lose_nothing(
    is_same: bool, store: Store, clock: LoopClock
) -> None:
    """Each life goes on where the one before it ended."""
    taken = Taken()
    log = EventLog(store, clock=clock)
    pipeline = Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", taken)])
    for number in range(50):
        if not is_same:
            log = EventLog(store, clock=clock)
            client = AsyncClient(LogSink(log, "orders"))
            pipeline = Pipeline(client=client, log=log, consumers=[Consumer(log, "orders", "audit", taken)])
        with no_leaks():
            async with pipeline:
                await append(log, range(number, number + 1))
            assert await pipeline.stop()

    assert taken.numbers == list(range(50))


async def test_closed_sinks_are_closed_once_it_is_left(clock: LoopClock) -> None:
    """``stop()`` leaves the sinks of consumers open, leaving ``async with`` closes them; then it does not start."""
    log, sink = EventLog(MemoryStore(clock=clock), clock=clock), MemorySink()
    pipeline = Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", sink)])
    await pipeline.start()
    await pipeline.stop()
    was_closed = sink.is_closed

    async with pipeline:
        pass

    assert (was_closed, sink.is_closed) == (False, True)
    with pytest.raises(ClosedError, match="sink"):
        await pipeline.start()


async def test_closing_twice_and_at_once_is_one_close(clock: LoopClock) -> None:
    """Also before a start, and with somebody cancelled: the sinks are closed once."""
    closes = []

    class Counting(MemorySink):
        async def aclose(self) -> None:
            closes.append(self)
            await asyncio.sleep(0.1)

    for is_started in (True, False):
        closes.clear()
        log = EventLog(MemoryStore(clock=clock), clock=clock)
        pipeline = Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", Counting())])
        if is_started:
            await pipeline.start()
        tasks = [asyncio.create_task(pipeline.aclose()) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.wait(tasks)

        assert [task.cancelled() for task in tasks] == [False, True, False]
        assert len(closes) == 1


async def test_a_sink_that_does_not_close_is_named_and_holds_up_nobody(clock: LoopClock) -> None:
    """It has its time, is cancelled, and the report of the close has its name where it still runs."""

    class Deaf(MemorySink):
        async def aclose(self) -> None:
            for _ in range(3):
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    continue

    log = EventLog(MemoryStore(clock=clock), clock=clock)
    pipeline = Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", Deaf())], stop_timeout=1.0)
    await pipeline.start()
    began = asyncio.get_running_loop().time()

    report = await pipeline.aclose()

    assert asyncio.get_running_loop().time() - began <= 1.25
    assert report.stragglers == ("sink of consumer 'audit' of topic 'orders'",)
    await asyncio.sleep(5)


async def crash(part: Consumer | EventLog) -> None:
    life = part._current()
    assert life is not None
    life.task.cancel()
    await asyncio.sleep(0.01)


async def test_a_part_that_crashes_starts_again_after_a_backoff(clock: LoopClock) -> None:
    """With ``restart`` a consumer that crashed, and a log that did, cost nobody an event."""
    log, taken = EventLog(MemoryStore(clock=clock), clock=clock), Taken()
    consumer = Consumer(log, "orders", "audit", taken)
    async with Pipeline(log=log, consumers=[consumer], restart=RetryPolicy(max_attempts=5, initial=1.0)) as pipeline:
        await append(log, range(1))
        await crash(consumer)
        assert consumer.state is ServiceState.FAILED
        await append(log, range(1, 2))
        await asyncio.sleep(2)
        assert taken.numbers == [0, 1]
        await crash(log)
        await asyncio.sleep(10)
        await append(log, range(2, 3))

        report = await pipeline.stop()

    assert taken.numbers == [0, 1, 2]
    assert report


@pytest.mark.parametrize("restart", [None, RetryPolicy(max_attempts=2, initial=1.0)], ids=["at once", "in the end"])
async def test_a_part_that_does_not_start_again_ends_the_pipeline(
    restart: RetryPolicy | None, clock: LoopClock
) -> None:
    """It has failed with that error, after it drained the others."""
    log, taken = EventLog(MemoryStore(clock=clock), clock=clock), Taken()
    consumers = [Consumer(log, "orders", "audit", taken), Consumer(log, "orders", "broken", Taken())]
    client = AsyncClient(LogSink(log, "orders"), max_batch_age=60.0)
    async with Pipeline(client=client, log=log, consumers=consumers, restart=restart) as pipeline:
        client.capture_nowait("paid", properties={"number": 0})
        await crash(consumers[1])
        if restart is not None:
            await asyncio.sleep(2)
            await crash(consumers[1])
        await pipeline.stopped()

        report = await pipeline.stop()

    assert pipeline.state is ServiceState.FAILED
    assert isinstance(pipeline.error, RuntimeError)
    assert taken.numbers == [0]
    assert not report
    assert [(consumer.name, consumer.pending) for consumer in report.consumers] == [("audit", 0), ("broken", 1)]
    assert consumers[1].name in report.failed


async def test_it_is_a_member_of_a_group(clock: LoopClock) -> None:
    """A group stops it by its own deadline, and names its parts."""
    log, taken = EventLog(MemoryStore(clock=clock), clock=clock), Taken()
    pipeline = Pipeline(log=log, consumers=[Consumer(log, "orders", "audit", taken)])
    async with ServiceGroup(pipeline) as group:
        await append(log, range(1))

        report = await group.stop(timeout=3)

    assert report
    assert report.stopped == ("consumer 'audit' of topic 'orders'", "eventpipe-log")
    assert taken.numbers == [0]


async def test_without_a_client_it_says_so(clock: LoopClock) -> None:
    """``pipeline.client`` names the way out."""
    pipeline = Pipeline(log=EventLog(MemoryStore(clock=clock)))

    assert not pipeline.has_client
    with pytest.raises(RuntimeError, match=r"no client; .*\[client\]"):
        _ = pipeline.client


async def test_parts_that_do_not_fit_are_refused(clock: LoopClock) -> None:
    """What is no part, a consumer of another log, and one that is there twice."""
    log, other = EventLog(MemoryStore(clock=clock)), EventLog(MemoryStore(clock=clock))
    consumer = Consumer(log, "orders", "audit", Taken())

    with pytest.raises(ValueError, match="not of the log of the pipeline"):
        Pipeline(log=other, consumers=[consumer])
    with pytest.raises(ValueError, match="twice"):
        Pipeline(log=log, consumers=[consumer, Consumer(log, "orders", "audit", Taken())])
    with pytest.raises(TypeError, match="log must be an EventLog, not 3"):
        Pipeline(log=3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="client must be an AsyncClient, not 'x'"):
        Pipeline(log=log, client="x")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="stop_timeout"):
        Pipeline(log=log, stop_timeout=0)
    with pytest.raises(TypeError, match="restart"):
        Pipeline(log=log, restart=3)  # type: ignore[arg-type]  # what is tested
