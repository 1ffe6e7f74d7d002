"""What a cancellation costs: that of a pass or a consumer none of its books, that of a handler by itself an attempt."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.core.service import ServiceState
from eventpipe.errors import PermanentSinkError, StoreError
from eventpipe.events import Batch
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.reports import ConsumerError
from eventpipe.outcomes import Outcome, OutcomeKind, Verdict
from eventpipe.stores.values import ConsumerKey, Disposition
from eventpipe.testing import RecordingSink
from eventpipe.testing.events import make_event

pytestmark = pytest.mark.asyncio

POLICY = RetryPolicy(initial=1.0, min_delay=1.0, max_delay=4.0)


async def _append(log: EventLog, events: int) -> None:
    await log.append_many("orders", [make_event(f"e{number}") for number in range(events)])


class SlowSettling:
    """Has the settlements of a log take their time, before or after they are done."""

    def __init__(self, log: EventLog, when: str) -> None:
        self.reached = asyncio.Event()
        self._settle = log.store.settle
        self._when = when
        log.store.settle = self  # type: ignore[method-assign]

    async def __call__(self, key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        if self._when == "after":
            await self._settle(key, token, dispositions)
        self.reached.set()
        await asyncio.sleep(1)
        if self._when == "before":
            await self._settle(key, token, dispositions)
        if self._when == "fails":
            raise StoreError("the disk is gone")


async def _three_ways(event: ConsumedEvent) -> None:
    if event.offset == 1:
        raise PermanentSinkError("no")
    if event.offset == 2:
        raise ValueError


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_cancelled_pass_books_what_it_settles(log: EventLog, when: str, times: int) -> None:
    """In the statistics, to subscriptions and in the outcomes topic, once; however often it is cancelled meanwhile."""
    await _append(log, 3)
    consumer = Consumer(log, "orders", "audit", _three_ways, ordered_by=None, concurrency=3, outcomes_topic="outcomes")
    outcomes = consumer.subscribe(*OutcomeKind)
    settling = SlowSettling(log, when)
    running = asyncio.create_task(consumer.process())
    await settling.reached.wait()
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0.8)  # so that the second meets the settlement again, and the third the last one
    with pytest.raises(asyncio.CancelledError):
        await running

    counted = consumer.statistics()
    assert (counted.delivered, counted.dead, counted.retried, counted.interrupted) == (1, 1, 1, 0)
    info = await log.consumer("orders", "audit")
    assert (info.cursor, info.pending, len(await log.dead_letters("orders"))) == (2, 1, 1)
    told = [await outcomes.receive() for _ in range(3)]
    assert sorted(item.kind for item in told if isinstance(item, Outcome)) == ["delivered", "dropped", "retry"]
    await asyncio.sleep(5)
    kinds = [stored.event.properties["kind"] async for stored in log.read("outcomes") if stored.event]
    assert sorted(kinds) == ["delivered", "dropped", "retry"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cancelled_consumer_books_what_it_settles(log: EventLog, when: str) -> None:
    """What its statistics and the store say adds up to what was appended."""
    await _append(log, 10)
    sink = RecordingSink()
    consumer = Consumer(log, "orders", "audit", sink, batch_events=4)
    settling = SlowSettling(log, when)
    await consumer.start()
    await settling.reached.wait()
    consumer.cancel()
    await consumer.stop(10)

    counted = consumer.statistics()
    assert (counted.delivered, counted.interrupted, counted.held) == (4, 0, 0)
    assert (await log.consumer("orders", "audit")).pending == 6


async def test_what_a_cancelled_pass_could_not_settle_was_interrupted(log: EventLog) -> None:
    """The store fails at the end as well: it is counted once, and handed out again."""
    await _append(log, 3)
    consumer = Consumer(log, "orders", "audit", RecordingSink())
    settling = SlowSettling(log, "fails")
    running = asyncio.create_task(consumer.process())
    await settling.reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    counted = consumer.statistics()
    assert (counted.delivered, counted.interrupted) == (0, 3)
    assert (await log.consumer("orders", "audit")).pending == 3


class Cancelling:
    """A handler, and a sink, that cancels its own task at one event, or raises what ends one."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.given: list[tuple[str, float]] = []

    async def __call__(self, event: ConsumedEvent) -> None:
        await self._meet(event.event.name)

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        for event in batch.events:
            await self._meet(event.name)
        return None

    async def aclose(self) -> None:
        """There is nothing to release."""

    async def _meet(self, name: str) -> None:
        self.given.append((name, asyncio.get_running_loop().time()))
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(0)
        if name != "e1":
            return
        if self.how == "GeneratorExit":
            raise GeneratorExit
        for _ in range(2):
            task.cancel()
        if self.how == "waits":
            await asyncio.sleep(1)

    @property
    def names(self) -> list[str]:
        """What it was given, in order."""
        return [name for name, _ in self.given]


def _far(how: str, kind: str) -> tuple[Cancelling, Any]:
    far = Cancelling(how)
    return far, far if kind == "sink" else far.__call__


@pytest.mark.parametrize("kind", ["handler", "sink"])
@pytest.mark.parametrize("how", ["waits", "GeneratorExit"])
async def test_whatever_ends_its_own_task_has_failed(log: EventLog, how: str, kind: str) -> None:
    """It uses up its attempts, one after each delay, and dies; nothing else is touched, and the consumer goes on."""
    await _append(log, 3)
    far, given = _far(how, kind)
    async with Consumer(
        log, "orders", "audit", given, batch_events=1, retry=POLICY, max_attempts=3, outcomes_topic="outcomes"
    ) as consumer:
        async with asyncio.timeout(60):
            while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.05)
        assert consumer.state == ServiceState.RUNNING
        counted = consumer.statistics()

    assert far.names == ["e0", "e1", "e1", "e1", "e2"]
    moments = [moment for name, moment in far.given if name == "e1"]
    # Due times are stamps, which as floats are exact to a quarter of a microsecond.
    assert all(later - sooner > 1 - 1e-6 for sooner, later in itertools.pairwise(moments))
    assert (counted.delivered, counted.retried, counted.dead, counted.interrupted) == (2, 2, 1, 0)
    (letter,) = await log.dead_letters("orders")
    assert (letter.source_offset, letter.attempts, letter.reason) == (1, 3, "exhausted")


@pytest.mark.parametrize("kind", ["handler", "sink"])
@pytest.mark.parametrize("how", ["waits", "GeneratorExit"])
async def test_a_pass_outlives_what_ends_its_own_task(log: EventLog, how: str, kind: str) -> None:
    """It is a failure as any other, which the pass reports."""
    await _append(log, 3)
    far, given = _far(how, kind)
    consumer = Consumer(log, "orders", "audit", given, batch_events=1, ordered_by=None)
    with pytest.raises(ConsumerError) as caught:
        await consumer.process()

    assert (caught.value.report.delivered, caught.value.report.retried) == (2, 1)
    assert far.names == ["e0", "e1", "e2"]


@pytest.mark.parametrize(("kind", "batch_events"), [("handler", 500), ("sink", 1)])
async def test_what_cancels_its_own_task_and_returns_has_delivered(log: EventLog, kind: str, batch_events: int) -> None:
    """And the events behind it do not meet that cancellation."""
    await _append(log, 40)
    far, given = _far("returns", kind)
    report = await Consumer(log, "orders", "audit", given, batch_events=batch_events).process()

    assert (report.handed, report.delivered) == (40, 40)
    assert len(far.names) == 40


async def test_a_pass_in_a_task_that_was_cancelled_before(log: EventLog) -> None:
    """As where one cleans up: its own cancellation of long ago is no reason to let a handler off."""
    await _append(log, 3)
    far, given = _far("waits", "handler")
    consumer = Consumer(log, "orders", "audit", given)

    async def clean_up() -> int:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            with pytest.raises(ConsumerError) as caught:
                await consumer.process()
            return caught.value.report.retried
        return 0

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(1)
    task.cancel()

    assert await task == 1
    assert far.names == ["e0", "e1"]


async def test_where_all_tasks_are_cancelled_no_attempt_is_counted(log: EventLog) -> None:
    """As a loop does that ends: what runs was interrupted, and is handed out at the same attempt."""
    await _append(log, 2)
    reached, attempts = asyncio.Event(), []

    async def hang(event: ConsumedEvent) -> None:
        attempts.append(event.attempt)
        reached.set()
        await asyncio.sleep(3600)

    consumer = Consumer(log, "orders", "audit", hang, max_attempts=1)
    await consumer.start()
    await reached.wait()
    for task in asyncio.all_tasks():
        if "consumer" in task.get_name():
            task.cancel()
    await consumer.stop(1)

    assert consumer.statistics().interrupted == 1
    assert not await log.dead_letters("orders")
    await Consumer(log, "orders", "audit", hang).process(timeout=1)
    assert attempts == [1, 1]
