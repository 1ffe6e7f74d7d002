"""What a sink refuses, and what becomes of the events: only the poison dies, and nothing is lost that could be sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.errors import PermanentSinkError, StoreError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.reports import ConsumerError
from eventpipe.outcomes import DELIVERED, OutcomeKind, Verdict
from eventpipe.retention import Retention
from eventpipe.stores.values import ConsumerKey
from eventpipe.testing import RecordingSink
from eventpipe.testing.events import make_event

pytestmark = pytest.mark.asyncio

QUICK = RetryPolicy(initial=0.01, min_delay=0.0, max_delay=0.02)


class Picky(RecordingSink):
    """Refuses batches that have an event of the name ``"poison"``, in one way."""

    def __init__(self, error: Any) -> None:  # Any: what to raise
        super().__init__()
        self.error = error

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        if any(event.name == "poison" for event in batch.events):
            raise self.error
        return None


async def _append(log: EventLog, names: Sequence[str], topic: str = "orders") -> None:
    await log.append_many(topic, [make_event(name) for name in names])


async def _caught_up(consumer: Consumer) -> None:
    async with asyncio.timeout(3600):
        while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.05)


def _names(poison: Sequence[int], events: int = 100) -> list[str]:
    return ["poison" if number in poison else f"e{number}" for number in range(events)]


@pytest.mark.parametrize("scope", ["size", "event"])
@pytest.mark.parametrize("poison", [[0], [37], [3, 4, 60, 99], list(range(0, 100, 7))], ids=str)
async def test_only_the_poison_dies(log: EventLog, scope: Any, poison: list[int]) -> None:  # Any: a scope
    """However many there are, their neighbours are delivered, once each and in order."""
    await _append(log, _names(poison))
    sink = Picky(PermanentSinkError(scope=scope))
    consumer = Consumer(log, "orders", "audit", sink, retry=QUICK)
    async with consumer:
        await _caught_up(consumer)

    assert [letter.source_offset for letter in await log.dead_letters("orders")] == poison
    assert [event.name for event in sink.events] == [name for name in _names(poison) if name != "poison"]


async def test_a_fault_that_is_put_down_to_nobody_ends_with_its_event(log: EventLog) -> None:
    """A sink that chokes on one event in a hundred, with any error: the attempts are used up by that event alone."""
    await _append(log, _names([41]))
    sink = Picky(ValueError("row 41"))
    consumer = Consumer(log, "orders", "audit", sink, retry=QUICK, max_attempts=5)
    async with consumer:
        await _caught_up(consumer)

    (letter,) = await log.dead_letters("orders")
    assert (letter.source_offset, letter.reason, letter.attempts) == (41, "exhausted", 5)
    assert [event.name for event in sink.events] == [name for name in _names([41]) if name != "poison"]


async def test_a_refused_batch_dies_as_a_whole(log: EventLog) -> None:
    """With the sink's reason; what comes after it is delivered."""
    await _append(log, _names([1], 4))
    sink = Picky(PermanentSinkError(scope="batch"))
    report = await Consumer(log, "orders", "audit", sink, batch_events=2).process()

    assert (report.dead, report.delivered, report.errors) == (
        2,
        2,
        ("rejected: PermanentSinkError: the far end refused the batch",),
    )


async def test_verdicts_are_taken_event_by_event(log: EventLog) -> None:
    """What was delivered is settled, what was dropped is dead, and what is to come again comes again."""
    await _append(log, ["a", "b", "c", "d"])

    class Partial(RecordingSink):
        async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
            verdicts = {"b": Verdict(OutcomeKind.DROPPED, "rejected", detail="no"), "c": Verdict(OutcomeKind.RETRY)}
            return [
                DELIVERED if len(self.attempts) > 1 else verdicts.get(event.name, DELIVERED) for event in batch.events
            ]

    sink = Partial()
    consumer = Consumer(log, "orders", "audit", sink)
    with pytest.raises(ConsumerError) as caught:
        await consumer.process()

    report = caught.value.report
    assert (report.delivered, report.dead, report.retried, report.pending) == (2, 1, 1, 1)
    assert (await log.consumer("orders", "audit")).cursor == 2
    await consumer.process()
    assert [event.name for event in sink.events] == ["a", "d", "c"]
    assert [letter.error for letter in await log.dead_letters("orders")] == ["no"]


async def test_a_misconfigured_sink_pauses_and_loses_nothing(log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried with one batch a minute, at the same attempt; once that arrives, everything does."""
    await _append(log, _names([0], 10))
    sink = Picky(PermanentSinkError("no such key", scope="sink"))
    consumer = Consumer(log, "orders", "audit", sink, batch_events=2, max_attempts=2)
    async with consumer:
        await asyncio.sleep(3600)
        assert (consumer.statistics().is_paused, len(sink.attempts)) == (True, 60)
        sink.error = None

        async def accept(batch: Batch) -> Sequence[Verdict] | None:
            return None

        sink._answer = accept  # type: ignore[method-assign]
        await _caught_up(consumer)

    assert [event.name for event in sink.events] == _names([0], 10)
    assert {batch.attempt for batch in sink.attempts} == {1}
    assert [record.levelno for record in caplog.records if "misconfigured" in record.message] == [logging.ERROR]


async def test_retry_after_is_obeyed(log: EventLog) -> None:
    """Nothing is sent before; then one batch first."""
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def handle(event: ConsumedEvent) -> None:
        times.append(loop.time())
        if len(times) == 1:
            raise TransientSinkError(retry_after=90)

    await _append(log, ["a", "b"])
    consumer = Consumer(log, "orders", "audit", handle, ordered_by=None, retry=RetryPolicy(jitter=0.0))
    async with consumer:
        await _caught_up(consumer)

    assert times[1] - times[0] >= 90
    assert len(times) == 3


async def test_an_undecodable_event_is_a_dead_letter(log: EventLog) -> None:
    """It is handed to nobody, holds up nothing, and its bytes are kept."""
    await _append(log, ["a", "b", "c"])
    claim = log.store.claim

    async def spoilt(*arguments: Any, **options: Any) -> Any:  # Any: handed through
        claims = await claim(*arguments, **options)
        claims = claims._replace(events=[*claims.events])
        for claimed in claims.events:
            if claimed.offset == 1:
                claimed.event, claimed.fault, claimed.raw = None, "not an event", b"\x00"
        return claims

    log.store.claim = spoilt  # type: ignore[method-assign]
    seen: list[int] = []

    async def handle(event: ConsumedEvent) -> None:
        seen.append(event.offset)

    report = await Consumer(log, "orders", "audit", handle).process()

    assert (report.dead, seen) == (1, [0, 2])
    (letter,) = await log.dead_letters("orders")
    assert (letter.is_decodable, letter.reason, letter.error) == (False, "undecodable", "not an event")


async def test_where_letters_find_no_room_nothing_is_lost(log: EventLog) -> None:
    """What should die is tried again, in its order, until there is room."""
    await log.declare("orders.dead", Retention(max_events=1))
    await _append(log, ["poison", "poison", "a"])
    sink = Picky(PermanentSinkError(scope="event"))
    consumer = Consumer(log, "orders", "audit", sink, batch_events=1, retry=QUICK)
    async with consumer:
        await asyncio.sleep(5)
        assert [event.name for event in sink.events] == []
        assert (await consumer.lag()).events == 2
        await log.declare("orders.dead", Retention(max_events=10))
        await _caught_up(consumer)

    assert [letter.source_offset for letter in await log.dead_letters("orders")] == [0, 1]
    assert [event.name for event in sink.events] == ["a"]


async def test_letters_without_room_hold_up_no_other_event(log: EventLog) -> None:
    """Where there is no order, what else was handled is settled."""
    await log.declare("orders.dead", Retention(max_events=1))
    await _append(log, ["poison", "poison", "a", "b"])
    sink = Picky(PermanentSinkError(scope="event"))
    consumer = Consumer(log, "orders", "audit", sink, batch_events=1, ordered_by=None)
    async with consumer:
        await asyncio.sleep(5)
        assert [event.name for event in sink.events] == ["a", "b"]
        assert (await consumer.lag()).events in (1, 2)  # one letter has room, unless both came at once


async def test_an_event_that_ends_its_process_dies_alone(log: EventLog) -> None:
    """Handed out and never settled, life after life, it is claimed alone; its neighbours keep their attempts."""
    await _append(log, _names([5], 20))
    key = ConsumerKey("orders", "audit")
    await log.add_consumer(*key)
    died = 0
    for _ in range(20):
        token = await log.store.acquire(key.lease, "a process", None)
        seen: list[int] = []

        async def handle(event: ConsumedEvent, seen: list[int] = seen) -> None:
            if event.event.name == "poison":
                raise KeyError  # stands for the end of the process: below, nothing of it is settled
            seen.append(event.offset)

        await log.store.release(key.lease, token)
        consumer = Consumer(log, "orders", "audit", handle, max_attempts=4, ordered_by=None)
        claims = await _killed_at_the_poison(log, consumer)
        died += claims
        if not claims:
            break

    dead = await log.dead_letters("orders")
    assert [(letter.source_offset, letter.reason) for letter in dead] == [(5, "exhausted")]
    assert died == 4


async def _killed_at_the_poison(log: EventLog, consumer: Consumer) -> bool:
    """Let a consumer run until it is handed the poison, then act as if its process had ended; whether that came."""
    is_dead = asyncio.Event()
    settle = log.store.settle

    async def mute(*arguments: Any) -> None:  # Any: handed through
        if not is_dead.is_set():
            await settle(*arguments)

    handling = consumer._plan.handling
    attempt = handling._attempt

    async def deadly(part: Any, batch: Any) -> Any:  # Any: handed through
        if part[0].claimed.event.name == "poison":
            is_dead.set()
            await asyncio.Event().wait()
        return await attempt(part, batch)

    handling._attempt = deadly  # type: ignore[method-assign]
    log.store.settle = mute  # type: ignore[assignment, method-assign]
    try:
        await consumer.start()
        for _ in range(1000):
            if is_dead.is_set() or not (await consumer.lag()).events:
                break
            await asyncio.sleep(0.01)
        consumer.cancel()
        await consumer.stopped()
    finally:
        del log.store.settle
    return is_dead.is_set()


async def test_a_store_that_fails_for_a_while_costs_time_only(log: EventLog) -> None:
    """Claims and settlements are made again; every event is handed out once, and settled."""
    await _append(log, _names([], 30))
    claim, settle = log.store.claim, log.store.settle
    failures = 6

    def fail() -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StoreError("the disk is away")

    async def failing_claim(*arguments: Any, **options: Any) -> Any:  # Any: handed through
        fail()
        return await claim(*arguments, **options)

    async def failing_settle(*arguments: Any) -> None:  # Any: handed through
        if failures < 4:
            fail()
        await settle(*arguments)

    log.store.claim = failing_claim  # type: ignore[method-assign]
    log.store.settle = failing_settle  # type: ignore[assignment, method-assign]
    sink = RecordingSink()
    consumer = Consumer(log, "orders", "audit", sink, batch_events=10, max_batch_age=0.0, retry=QUICK)
    async with consumer:
        await _caught_up(consumer)

    assert [event.name for event in sink.events] == _names([], 30)
    assert consumer.statistics().store_errors == 6


async def test_what_is_turned_away_while_the_event_before_it_is_being_settled_is_settled(log: EventLog) -> None:
    """It is not put behind an event of which the store was told already."""
    settle, is_told, may_settle = log.store.settle, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> None:  # Any: handed through
        is_told.set()
        await may_settle.wait()
        await settle(*arguments)

    await log.append("orders", make_event("wanted"))
    consumer = Consumer(log, "orders", "audit", RecordingSink(), filter=lambda event: event.name == "wanted")
    log.store.settle = slow  # type: ignore[assignment, method-assign]
    try:
        async with consumer:
            await is_told.wait()
            await log.append("orders", make_event("unwanted"))
            await asyncio.sleep(1)
            may_settle.set()
            async with asyncio.timeout(10):
                while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
                    await asyncio.sleep(0.05)

            assert consumer.statistics().skipped == 1
    finally:
        del log.store.settle
