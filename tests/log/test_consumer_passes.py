"""How a pass ends where it cannot deliver everything: at once, with what was attempted once, and the rest pending."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.reports import ConsumerError, PassReport
from eventpipe.outcomes import DELIVERED, OutcomeKind, Verdict
from eventpipe.retention import Retention
from eventpipe.sinks import MemorySink
from eventpipe.testing import RecordingSink, make_event

pytestmark = pytest.mark.asyncio

MANY = 1_500  # more than a consumer has in hand by default


class Failing:
    """A handler that fails with what is of one of these keys, and keeps how often it was given each event."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.given: Counter[int] = Counter()

    async def __call__(self, event: ConsumedEvent) -> None:
        self.given[event.offset] += 1
        if not self.keys or event.event.key in self.keys:
            raise ValueError


class Down(RecordingSink):
    """A sink that takes nothing, and says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        raise self.error


async def _append(log: EventLog, events: int, *keys: str) -> None:
    """Events of these keys in turn."""
    await log.append_many(
        "orders", [make_event(f"e{number}", key=keys[number % len(keys)]) for number in range(events)]
    )


async def _failed_pass(consumer: Consumer) -> PassReport:
    """The report of a pass in which events fail, and which waits for nothing."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(3600):
        with pytest.raises(ConsumerError) as caught:
            await consumer.process()
    assert loop.time() - began < 0.5
    return caught.value.report


@pytest.mark.parametrize("events", [500, MANY])
async def test_a_pass_ends_at_a_failure_however_much_waits_behind_it(log: EventLog, events: int) -> None:
    """One event is attempted, and all of them stay pending."""
    await _append(log, events, "a")
    handle = Failing()

    report = await _failed_pass(Consumer(log, "orders", "audit", handle))

    assert (report.handed, report.retried, report.pending) == (1, 1, events)
    assert handle.given == {0: 1}


async def test_a_pass_ends_at_a_batch_that_failed(log: EventLog) -> None:
    """Its events were attempted once, and nothing behind them."""
    await _append(log, MANY, "a")
    sink = Down(TransientSinkError("down"))

    report = await _failed_pass(Consumer(log, "orders", "audit", sink, batch_events=100))

    assert (report.handed, report.retried, report.pending) == (100, 100, MANY)
    assert len(sink.attempts) == 1


async def test_the_last_pass_of_a_stop_ends_at_a_failure(log: EventLog) -> None:
    """A stop that has no deadline comes to its end, and says what is pending."""
    await _append(log, MANY, "a")
    handle = Failing()
    consumer = Consumer(log, "orders", "audit", handle, retry=RetryPolicy(initial=1000.0, max_delay=1000.0))
    await consumer.start()
    await asyncio.sleep(1)
    async with asyncio.timeout(1):
        report = await consumer.stop()

    assert report.pending == MANY
    assert handle.given == {0: 2}  # before the stop, and in the last pass


async def test_all_other_keys_are_delivered_in_a_pass_however_much_waits_behind_one(log: EventLog) -> None:
    """What failed is attempted once, and the events behind it not at all."""
    await _append(log, 2 * MANY, "bad", "good", "better")
    handle = Failing("bad")

    report = await _failed_pass(Consumer(log, "orders", "audit", handle, ordered_by="key"))

    assert (report.retried, report.delivered, report.pending) == (1, 4 * MANY // 3, 2 * MANY // 3)
    assert set(handle.given.values()) == {1}


@pytest.mark.parametrize("ordered_by", ["key", None])
async def test_in_a_pass_each_failing_event_that_holds_up_no_other_is_attempted_once(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, ordered_by: Any
) -> None:
    """However many fail: none of them is kept in hand for a later attempt."""
    monkeypatch.setattr("eventpipe.log.window.MAX_HELD", 600)
    await _append(log, MANY, *(f"k{number}" for number in range(MANY)))
    handle = Failing()

    report = await _failed_pass(Consumer(log, "orders", "audit", handle, ordered_by=ordered_by))

    assert (report.handed, report.retried, report.pending) == (MANY, MANY, MANY)
    assert handle.given == dict.fromkeys(range(MANY), 1)


async def test_a_pass_ends_where_its_hands_are_full_of_what_waits_behind_a_failure(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may leave has left by then, however small a batch it makes; nothing was attempted twice."""
    monkeypatch.setattr("eventpipe.log.window.MAX_HELD", 60)
    await _append(log, 52, "bad")
    await _append(log, 3, "good")
    await _append(log, 200, "bad")

    class Picky(RecordingSink):
        async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
            return [Verdict(OutcomeKind.RETRY) if event.key == "bad" else DELIVERED for event in batch.events]

    sink = Picky()
    consumer = Consumer(log, "orders", "audit", sink, ordered_by="key", batch_events=50, max_batch_age=60.0)
    report = await _failed_pass(consumer)

    assert (report.retried, report.delivered, report.pending) == (50, 3, 252)
    assert len(sink.attempts) == 2


@pytest.mark.parametrize("ordered_by", ["topic", "key", None])
@pytest.mark.parametrize("events", [10, MANY])
@pytest.mark.parametrize("error", [PermanentSinkError("no key", scope="sink"), TransientSinkError(retry_after=100)])
async def test_a_pass_does_not_wait_for_a_far_end_that_wants_to_be_left_alone(
    log: EventLog, error: Exception, events: int, ordered_by: Any
) -> None:
    """It called once, and everything stays pending for the next pass."""
    await _append(log, events, "a", "b")
    sink = Down(error)

    report = await _failed_pass(Consumer(log, "orders", "audit", sink, ordered_by=ordered_by))

    assert (report.delivered, report.pending, len(sink.attempts)) == (0, events, 1)


@pytest.mark.parametrize("ordered_by", ["topic", "key", None])
async def test_a_pass_does_not_wait_for_events_that_are_too_young(log: EventLog, ordered_by: Any) -> None:
    """They are left to a pass that comes later."""
    await _append(log, MANY, "a", "b")
    sink = MemorySink()
    consumer = Consumer(log, "orders", "audit", sink, ordered_by=ordered_by, delay=60.0)
    async with asyncio.timeout(1):
        report = await consumer.process()
    assert (report.handed, report.pending, len(sink.batches)) == (0, MANY, 0)

    await asyncio.sleep(60)
    assert (await consumer.process()).delivered == MANY


async def test_letters_without_room_are_not_tried_twice_in_a_pass(log: EventLog) -> None:
    """As all that fails, what should have died is left to the next pass, however soon it could be tried again."""
    await log.declare("orders.dead", Retention(max_events=1))
    await _append(log, 20, *(f"k{number}" for number in range(20)))
    given: Counter[int] = Counter()

    async def refuse(event: ConsumedEvent) -> None:
        given[event.offset] += 1
        await asyncio.sleep(1)
        raise PermanentSinkError("no")

    quick = RetryPolicy(initial=0.01, min_delay=0.0, max_delay=0.02)
    consumer = Consumer(log, "orders", "audit", refuse, ordered_by="key", batch_events=5, retry=quick)
    with pytest.raises(ConsumerError) as caught:
        await consumer.process()

    assert (caught.value.report.dead, caught.value.report.retried) == (1, 19)
    assert given == dict.fromkeys(range(20), 1)
