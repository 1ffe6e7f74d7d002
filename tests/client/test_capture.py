"""Capture: what gets in, what does not, who is told, and who waits."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import uuid
from typing import Any

import anyio
import orjson
import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    CapturedEvent,
    DeliveryError,
    DropReason,
    Event,
    InvalidEventError,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    QueueFullError,
    RetryPolicy,
    TransientSinkError,
    Verdict,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio


async def test_event_arrives_as_it_was_captured() -> None:
    """Every argument reaches the far end; what was changed after the call does not."""
    sink = MemorySink()
    properties: dict[str, Any] = {"plan": "pro", "cart": [{"price": decimal.Decimal("9.50")}]}
    given = uuid.uuid4()
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, datetime.timezone(datetime.timedelta(hours=2)))
    async with AsyncClient(sink) as client:
        receipt = await client.capture(
            "paid", distinct_id=42, properties=properties, timestamp=when, uuid=given, headers={"trace": "t"}, key="k"
        )
        properties["cart"].clear()

    [event] = sink.events
    assert (event.event, event.distinct_id, event.uuid, event.key) == ("paid", "42", str(given), "k")
    assert event.timestamp == when
    assert event.headers == {"trace": "t"}
    assert orjson.loads(event.json)["properties"] == {"plan": "pro", "cart": [{"price": 9.5}]}
    assert receipt.uuid == str(given)


async def test_events_keep_capture_order_within_a_batch() -> None:
    """And batches leave in that order with one worker."""
    sink = MemorySink()
    async with AsyncClient(sink, batch_events=7, workers=1) as client:
        for number in range(100):
            await client.capture("e", properties={"number": number})
    assert [event.properties["number"] for event in sink.events] == list(range(100))


async def test_batch_leaves_when_its_oldest_event_is_old_enough() -> None:
    """A lone event waits for company for ``max_batch_age``, and no longer."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    async with AsyncClient(CallbackSink(lambda batch: times.append(loop.time())), max_batch_age=1.0) as client:
        await client.capture("first")
        await asyncio.sleep(0.9)
        await client.capture("second")
        await asyncio.sleep(10)
        assert times == [pytest.approx(1.0, abs=0.002)]


async def test_full_batch_leaves_at_once() -> None:
    """No timer is waited for."""
    sink = MemorySink()
    async with AsyncClient(sink, batch_events=10, max_batch_age=3600) as client:
        await client.capture_many(["e"] * 25)
        await anyio.wait_all_tasks_blocked()
        assert [len(batch.events) for batch in sink.batches] == [10, 10]
        statistics = check_ledger(client)
        assert statistics.queued + statistics.buffered == 5


async def test_batch_is_closed_before_it_exceeds_its_bytes() -> None:
    """An event above the batch limit but within its own travels alone."""
    sink = MemorySink()
    async with AsyncClient(sink, max_batch_bytes=1000, max_event_bytes=5000) as client:
        for size in (300, 300, 300, 2000, 300):
            await client.capture("e", properties={"text": "x" * size})
        await client.flush()
    sizes = [[len(event.properties["text"]) for event in batch.events] for batch in sink.batches]
    assert sizes == [[300, 300], [300], [2000], [300]]


async def test_slow_first_request_delays_nobody_else() -> None:
    """One stalled attempt costs one worker."""
    gate = asyncio.Event()
    sent: list[str] = []

    async def stall_first(batch: Batch) -> None:
        if batch.events[0].event == "stalled":
            await gate.wait()
        sent.extend(event.event for event in batch.events)

    async with AsyncClient(CallbackSink(stall_first), workers=2, batch_events=1) as client:
        await client.capture_many(["stalled"] + ["e"] * 20)
        await anyio.wait_all_tasks_blocked()
        assert sent == ["e"] * 20
        gate.set()


async def test_at_most_so_many_attempts_at_once() -> None:
    """``workers`` bounds what is in flight, however many batches wait."""
    sink = GatedSink()
    async with AsyncClient(sink, workers=3, batch_events=1) as client:
        await client.capture_many(["e"] * 10)
        await anyio.wait_all_tasks_blocked()
        assert (sink.running, check_ledger(client).in_flight) == (3, 3)
        sink.release()
    assert sink.most_running == 3


# -- overflow ---------------------------------------------------------------------------------------------------------


async def test_drop_newest_drops_an_exact_number() -> None:
    """A burst of ten times the queue in one tick: the queue's worth is kept, the rest is counted."""
    sink = MemorySink()
    client = AsyncClient(sink, queue_events=100, batch_events=10)
    async with client:
        tasks_before = len(asyncio.all_tasks())
        receipts = [client.capture_nowait("e", properties={"number": number}) for number in range(1000)]
        assert len(asyncio.all_tasks()) == tasks_before
        assert [receipt.accepted for receipt in receipts] == [True] * 100 + [False] * 900
        assert {receipt.reason for receipt in receipts[100:]} == {DropReason.QUEUE_FULL}
        await client.flush()
    assert [event.properties["number"] for event in sink.events] == list(range(100))
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.QUEUE_FULL: 900}


async def test_drop_oldest_keeps_the_newest() -> None:
    """What waits longest makes room, and its receipt says so."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=5, batch_events=1, workers=1, overflow="drop_oldest") as client:
        await client.capture("in flight")
        await sink.reached(1)
        receipts = await client.capture_many([f"e{number}" for number in range(10)])
        assert all(receipt.accepted for receipt in receipts)
        oldest = await receipts[0].outcome()
        assert (oldest.kind, oldest.reason) == (OutcomeKind.DROPPED, DropReason.QUEUE_FULL)
        sink.release()
    assert [event.event for event in sink.events] == ["in flight", "e6", "e7", "e8", "e9"]
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.QUEUE_FULL: 6}


async def test_drop_oldest_drops_the_new_event_when_nothing_is_queued() -> None:
    """What is in flight is never dropped for something newer."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=1, batch_events=1, overflow="drop_oldest") as client:
        await client.capture("in flight")
        await sink.reached(1)
        receipt = await client.capture("late")
        assert (receipt.accepted, receipt.reason) == (False, DropReason.QUEUE_FULL)
        sink.release()


async def test_wait_lets_callers_in_in_order() -> None:
    """Capacity goes to whoever waits longest; everybody gets in."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=2, batch_events=1, workers=1, overflow="wait") as client:
        tasks = [asyncio.create_task(client.capture(f"e{number}")) for number in range(6)]
        await anyio.wait_all_tasks_blocked()
        assert check_ledger(client).waiting_room == 4
        sink.release()
        await asyncio.gather(*tasks)
    assert [event.event for event in sink.events] == [f"e{number}" for number in range(6)]
    assert check_ledger(client, drained=True).delivered == 6


async def test_wait_gives_up_after_overflow_timeout() -> None:
    """The event is a counted drop."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=1, batch_events=1, overflow="wait", overflow_timeout=2) as client:
        await client.capture("a")
        began = asyncio.get_running_loop().time()
        receipt = await client.capture("b")
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
        assert (receipt.accepted, receipt.reason) == (False, DropReason.QUEUE_FULL)
        assert (await receipt.outcome()).reason == DropReason.QUEUE_FULL
        sink.release()


async def test_later_captures_do_not_overtake_those_who_wait() -> None:
    """Somebody who would not wait is refused while others wait, even if room comes up at that moment."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=1, batch_events=1, overflow="wait") as client:
        await client.capture("a")
        waiting = asyncio.create_task(client.capture("b"))
        await sink.reached(1)
        await anyio.wait_all_tasks_blocked()
        receipt = await client.capture("c", overflow="drop_newest")
        assert receipt.reason == DropReason.QUEUE_FULL
        sink.release()
        assert (await waiting).accepted


@pytest.mark.parametrize("strict", [False, True])
async def test_raise_raises_whatever_strict_is(strict: bool) -> None:
    """The error has the capacity, and the drop is counted."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=1, batch_events=1, overflow="raise", strict=strict) as client:
        await client.capture("a")
        with pytest.raises(QueueFullError) as caught:
            await client.capture("b")
        assert caught.value.capacity == 1
        with pytest.raises(QueueFullError):
            client.capture_nowait("c")
        sink.release()
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.QUEUE_FULL: 2}


async def test_queue_is_bounded_in_bytes() -> None:
    """A few large events fill it as well."""
    sink = GatedSink()
    options = {"queue_bytes": 10_000, "max_event_bytes": 5_000, "max_batch_bytes": 5_000}
    async with AsyncClient(sink, batch_events=1, **options) as client:  # type: ignore[arg-type]
        receipts = [await client.capture("e", properties={"text": "x" * 3000}) for _ in range(5)]
        assert [receipt.accepted for receipt in receipts] == [True, True, True, False, False]
        assert check_ledger(client).queue_bytes <= 10_000
        sink.release()


async def test_overflow_is_logged_once_when_it_begins_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """The second line has the number."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=10, batch_events=1) as client:
        for _ in range(50):
            await client.capture("e")
        sink.release()
        await client.flush()
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert "40 events" in caplog.records[1].getMessage()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overflow": "spill"}, "needs a disk"),
        ({"overflow": "block"}, "overflow must be 'drop_newest'"),
        ({"durability": "power"}, "needs a disk"),
    ],
)
async def test_wrong_words_are_value_errors(arguments: dict[str, Any], message: str) -> None:
    """The message has the words that exist."""
    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(ValueError, match=message):
            await client.capture("e", **arguments)


# -- what is refused --------------------------------------------------------------------------------------------------


async def test_event_too_large_is_refused_with_its_size_and_the_limit() -> None:
    """At the call; its neighbours arrive."""
    sink = MemorySink()
    async with AsyncClient(sink, max_event_bytes=1000) as client:
        receipts = await client.capture_many([Event("e"), Event("e", properties={"text": "x" * 2000}), Event("e")])
        assert [receipt.reason for receipt in receipts] == [None, DropReason.TOO_LARGE, None]
    assert len(sink.events) == 2
    async with AsyncClient(sink, max_event_bytes=1000, strict=True) as strict:
        with pytest.raises(InvalidEventError, match=r"2\d{3} bytes.*at most 1000") as caught:
            await strict.capture("e", properties={"text": "x" * 2000})
        assert caught.value.limit == 1000


@pytest.mark.parametrize("event", ["", 5, None, b"bytes"])
async def test_event_without_a_name_is_refused(event: Any) -> None:
    """Counted as invalid; raised in strict mode only."""
    async with AsyncClient(MemorySink()) as client:
        receipt = await client.capture(event)
        assert (receipt.accepted, receipt.reason) == (False, DropReason.INVALID)
        assert (await receipt.outcome()).reason == DropReason.INVALID
    async with AsyncClient(MemorySink(), strict=True) as client:
        with pytest.raises(InvalidEventError):
            await client.capture(event)
        check_ledger(client)


async def test_event_and_arguments_together_are_a_type_error() -> None:
    """An ``Event`` has everything."""
    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(TypeError, match="has all arguments"):
            await client.capture(Event("e"), distinct_id="u")


# -- several sinks ----------------------------------------------------------------------------------------------------


async def test_each_sink_has_its_own_fate() -> None:
    """A stalled sink and a full queue cost that sink alone; the event is encoded once and shared."""
    slow, fast = GatedSink(name="slow"), MemorySink(name="fast")
    async with AsyncClient(slow, fast, queue_events=10, batch_events=1, close_timeout=0) as client:
        receipts = []
        for _ in range(30):
            receipts.append(await client.capture("e"))
            await anyio.wait_all_tasks_blocked()
        assert len(fast.events) == 30
        statistics = check_ledger(client)
        assert (statistics.captured, statistics.delivered) == (60, 30)
        assert statistics.dropped_by_reason == {DropReason.QUEUE_FULL: 20}
        assert all(receipt.accepted for receipt in receipts)
        assert (await receipts[-1].outcome()).sink == "slow"  # the worst answer counts
    assert slow.attempts[0].events[0] is fast.events[0]


async def test_where_keeps_events_from_one_sink() -> None:
    """What a sink turns away is not captured by it, and counted nowhere."""
    errors = MemorySink(where=lambda event: event.event == "error", name="errors")
    everything = MemorySink(name="everything")
    async with AsyncClient(errors, everything) as client:
        await client.capture_many(["ok", "error", "ok"])
    assert [event.event for event in errors.events] == ["error"]
    assert len(everything.events) == 3
    assert check_ledger(client, drained=True).captured == 4


async def test_event_that_no_sink_wants_has_an_outcome() -> None:
    """Its receipt says that nobody took it, and waiting for it does not hang."""
    async with AsyncClient(MemorySink(where=lambda event: False)) as client:
        receipt = await client.capture("e")
        assert (receipt.accepted, receipt.reason) == (False, None)
        assert (await receipt.outcome()).kind is OutcomeKind.DROPPED
    assert check_ledger(client, drained=True).captured == 0


async def test_filter_that_raises_costs_its_sink_the_event() -> None:
    """A filter may be there for privacy: what it cannot judge does not pass."""

    def broken(event: CapturedEvent) -> bool:
        raise RuntimeError

    strict, other = MemorySink(where=broken), MemorySink()
    async with AsyncClient(strict, other) as client:
        await client.capture("e")
    assert (len(strict.events), len(other.events)) == (0, 1)
    assert client.statistics().hook_errors == 1


# -- receipts and deliver ---------------------------------------------------------------------------------------------


async def test_outcome_of_a_delivered_event() -> None:
    """Ids, name, sink, attempt and durations are there."""
    async with AsyncClient(MemorySink(name="memory")) as client:
        receipt = await client.capture("e")
        waiting = [asyncio.create_task(receipt.outcome()) for _ in range(3)]
        outcomes = await asyncio.gather(*waiting)
    for outcome in outcomes:
        assert (outcome.kind, outcome.sink, outcome.attempt) == (OutcomeKind.DELIVERED, "memory", 1)
        assert (outcome.uuids, outcome.events) == ((receipt.uuid,), ("e",))
        assert outcome.durations.queue == pytest.approx(1.0, abs=0.01)


async def test_outcome_times_out() -> None:
    """The event goes on being sent."""
    sink = GatedSink()
    async with AsyncClient(sink) as client:
        receipt = await client.capture("e")
        with pytest.raises(TimeoutError):
            await receipt.outcome(timeout=5)
        sink.release()
        assert (await receipt.outcome()).kind is OutcomeKind.DELIVERED


async def test_deliver_sends_now_and_returns_the_verdicts() -> None:
    """Nothing waits for company, and retries are made on the way."""
    attempts = 0

    def flaky(batch: Batch) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise TransientSinkError("down")

    async with AsyncClient(CallbackSink(flaky), max_batch_age=3600, retry=RetryPolicy(jitter=0)) as client:
        outcomes = await client.deliver([Event("a"), Event("b")])
        assert [(outcome.kind, outcome.attempt) for outcome in outcomes] == [(OutcomeKind.DELIVERED, 2)] * 2
        assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.01)


async def test_deliver_raises_with_every_outcome() -> None:
    """One of three is refused: the error has all three."""

    def judge(batch: Batch) -> list[Verdict]:
        return [
            Verdict(OutcomeKind.DROPPED, detail="bad") if event.event == "bad" else Verdict(OutcomeKind.DELIVERED)
            for event in batch.events
        ]

    async with AsyncClient(CallbackSink(judge)) as client:
        with pytest.raises(DeliveryError, match="1 of 3") as caught:
            await client.deliver([Event("a"), Event("bad"), Event("c")])
        assert [outcome.kind for outcome in caught.value.outcomes] == [
            OutcomeKind.DELIVERED,
            OutcomeKind.DROPPED,
            OutcomeKind.DELIVERED,
        ]
        assert caught.value.attempts == 1


async def test_deliver_times_out_and_goes_on() -> None:
    """``TimeoutError``, and the event arrives later."""
    sink = GatedSink()
    async with AsyncClient(sink) as client:
        with pytest.raises(TimeoutError):
            await client.deliver("e", timeout=1)
        sink.release()
        await client.flush()
    assert len(sink.events) == 1


# -- verdicts, splits, retries ----------------------------------------------------------------------------------------


async def test_partial_failure_sends_only_what_the_far_end_asked_for_again() -> None:
    """Same id, next attempt, fewer events; verdicts of earlier attempts are kept."""
    seen: list[tuple[str, int, list[str]]] = []

    def judge(batch: Batch) -> list[Verdict] | None:
        names = [event.event for event in batch.events]
        seen.append((batch.id, batch.attempt, names))
        kinds = {"ok": OutcomeKind.DELIVERED, "bad": OutcomeKind.DROPPED, "again": OutcomeKind.RETRY}
        return [Verdict(kinds[name]) for name in names] if batch.attempt == 1 else None

    async with AsyncClient(CallbackSink(judge), batch_events=4) as client:
        await client.capture_many(["ok", "bad", "again", "ok"])
        await client.flush()
        assert [names for _, _, names in seen] == [["ok", "bad", "again", "ok"], ["again"]]
        assert seen[0][0] == seen[1][0]
        assert seen[1][1] == 2
        statistics = check_ledger(client)
        assert (statistics.delivered, statistics.dropped_by_reason) == (3, {DropReason.REJECTED: 1})


async def test_batch_too_large_is_halved_down_to_the_one_event() -> None:
    """Only the event that is too large by itself is dropped."""

    def limited(batch: Batch) -> None:
        if sum(len(event.data) for event in batch.events) > 1000:
            raise PermanentSinkError("413", scope="size")

    async with AsyncClient(CallbackSink(limited), batch_events=16) as client:
        for number in range(16):
            await client.capture("e", properties={"text": "x" * (2000 if number == 5 else 10)})
        report = await client.flush()
        assert (report.delivered, report.dropped_by_reason) == (15, {DropReason.TOO_LARGE: 1})


async def test_poison_event_does_not_take_its_neighbours_along() -> None:
    """A 400 bisects the batch within its budget of extra requests."""
    requests = 0

    def picky(batch: Batch) -> None:
        nonlocal requests
        requests += 1
        if "poison" in [event.event for event in batch.events]:
            raise PermanentSinkError("400", scope="event")

    async with AsyncClient(CallbackSink(picky), batch_events=64) as client:
        await client.capture_many(["e"] * 40 + ["poison"] + ["e"] * 23)
        report = await client.flush()
        assert (report.delivered, report.dropped_by_reason) == (63, {DropReason.REJECTED: 1})
        assert requests <= 1 + 4 * 6


async def test_batch_of_poison_ends_within_the_budget() -> None:
    """At most 4·⌈log₂ n⌉ extra requests, then the rest is dropped."""
    requests = 0

    def refuse(batch: Batch) -> None:
        nonlocal requests
        requests += 1
        raise PermanentSinkError("400", scope="event")

    async with AsyncClient(CallbackSink(refuse), batch_events=100) as client:
        await client.capture_many(["e"] * 100)
        report = await client.flush()
        assert report.dropped_by_reason == {DropReason.REJECTED: 100}
        assert requests <= 1 + 4 * 7


async def test_retries_stop_after_max_attempts() -> None:
    """Ten attempts by default; then the batch is dropped as exhausted."""
    attempts: list[int] = []

    def fail(batch: Batch) -> None:
        attempts.append(batch.attempt)
        raise TransientSinkError("down")

    async with AsyncClient(CallbackSink(fail)) as client:
        receipt = await client.capture("e")
        outcome = await receipt.outcome()
        assert (outcome.reason, outcome.attempt) == (DropReason.EXHAUSTED, 10)
    assert attempts == list(range(1, 11))


async def test_retry_after_pauses_the_sink_and_reopens_it_with_one_probe() -> None:
    """Twenty parked batches do not all wake in the same second: one, and each success lets twice as many go."""
    loop = asyncio.get_running_loop()
    starts: list[float] = []

    async def busy_then_fine(batch: Batch) -> None:
        starts.append(loop.time())
        if loop.time() < 10:
            raise TransientSinkError("slow down", retry_after=30)
        await asyncio.sleep(1)

    async with AsyncClient(CallbackSink(busy_then_fine), batch_events=1, workers=16) as client:
        await client.capture_many(["e"] * 20)
        await client.flush(timeout=1000)
        later = [start for start in starts if start > 10]
        assert min(later) >= 30
        waves = [sum(1 for start in later if int(start - later[0] + 0.01) == second) for second in range(4)]
        assert waves[:3] == [1, 2, 8]  # each of the two successes doubles
        assert len(later) == 20


async def test_pause_of_one_sink_leaves_the_other_alone() -> None:
    """A far end that says "slow down" pauses itself."""

    def busy(batch: Batch) -> None:
        raise TransientSinkError("slow down", retry_after=200)

    other = MemorySink()
    async with AsyncClient(CallbackSink(busy), other, batch_events=1, close_timeout=0) as client:
        for _ in range(50):
            await client.capture("e")
        await anyio.wait_all_tasks_blocked()
        assert len(other.events) == 50


async def test_events_older_than_max_event_age_expire() -> None:
    """What has waited too long for the far end is dropped, not sent late."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1, workers=1, max_event_age=60) as client:
        await client.capture("in flight")
        await sink.reached(1)
        await client.capture("old")
        await asyncio.sleep(100)
        await client.capture("fresh")
        sink.release()
        await client.flush()
    assert [event.event for event in sink.events] == ["in flight", "fresh"]
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.EXPIRED: 1}


async def test_lanes_never_share_a_batch() -> None:
    """A sink with lanes gets each by itself, in capture order."""

    class Laned(MemorySink):
        def lane(self, event: CapturedEvent) -> str | None:
            return event.lane

    sink = Laned()
    async with AsyncClient(sink, batch_events=10) as client:
        for number in range(20):
            await client.capture("e", properties={"number": number}, lane="historical" if number % 2 else None)
        await client.flush()
    assert [(batch.lane, [event.properties["number"] for event in batch.events]) for batch in sink.batches] == [
        (None, list(range(0, 20, 2))),
        ("historical", list(range(1, 20, 2))),
    ]


# -- hostile sinks and hooks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [RuntimeError("x"), asyncio.CancelledError(), BaseException("x"), MemoryError(), RecursionError(), SystemExit(3)],
    ids=lambda error: type(error).__name__,
)
async def test_sink_that_raises_anything_costs_its_batch_an_attempt(error: BaseException) -> None:
    """The dispatcher and the other workers live on; the batch is tried again."""
    attempts = 0

    def hostile(batch: Batch) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise error

    async with AsyncClient(CallbackSink(hostile), batch_events=1, workers=1) as client:
        await client.capture("a")
        await client.capture("b")
        assert (await client.flush(timeout=100)).delivered == 2
        assert check_ledger(client).retries == 1


@pytest.mark.parametrize("answer", [[], [Verdict(OutcomeKind.DELIVERED)] * 3, ["ok"], 5], ids=repr)
async def test_sink_that_returns_nonsense_costs_its_batch_an_attempt(answer: Any) -> None:
    """Verdicts that do not fit the batch are an error of the sink."""

    class Odd(MemorySink):
        async def send(self, batch: Batch) -> Any:
            return answer if batch.attempt == 1 else None

    async with AsyncClient(Odd()) as client:
        await client.capture("a")
        assert (await client.flush()).delivered == 1
        assert check_ledger(client).retries == 1


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret payload"), asyncio.CancelledError(), BaseException(), SystemExit(1)],
    ids=lambda error: type(error).__name__,
)
async def test_before_send_that_raises_drops_the_event(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It may be a scrubber, so the event does not pass; the handler does not notice."""

    def scrub(event: Event) -> Event:
        if event.event == "bad":
            raise error
        return event

    sink = MemorySink()
    async with AsyncClient(sink, before_send=scrub) as client:
        receipts = await client.capture_many(["ok", "bad", "ok"])
        assert [receipt.reason for receipt in receipts] == [None, DropReason.BEFORE_SEND, None]
        assert client.statistics().hook_errors == 1
    assert len(sink.events) == 2
    assert "secret" not in caplog.text
    check_ledger(client, drained=True)


async def test_before_send_changes_and_drops_events() -> None:
    """It sees the event before it is encoded."""

    def hook(event: Event) -> Event | None:
        if event.event == "drop":
            return None
        event.properties = {"scrubbed": True}
        return event

    sink = MemorySink()
    async with AsyncClient(sink, before_send=hook) as client:
        await client.capture("drop")
        client.capture_nowait("keep", properties={"password": "x"})
    assert [(event.event, event.properties) for event in sink.events] == [("keep", {"scrubbed": True})]
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.BEFORE_SEND: 1}


async def test_before_send_that_captures_again_does_not_recurse() -> None:
    """The inner event is dropped and counted: nothing slips past a scrubber."""

    def hook(event: Event) -> Event:
        client.capture_nowait("inner")
        return event

    sink = MemorySink()
    client = AsyncClient(sink, before_send=hook)
    async with client:
        await client.capture("outer")
    assert [event.event for event in sink.events] == ["outer"]
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.BEFORE_SEND: 1}


@pytest.mark.parametrize("hook", ["before_send", "on_drop", "on_error"])
async def test_async_hook_is_refused_at_construction(hook: str) -> None:
    """The message says what to do instead."""

    async def wrong(value: object) -> None: ...

    with pytest.raises(TypeError, match=f"{hook} must be a plain function"):
        AsyncClient(MemorySink(), **{hook: wrong})  # type: ignore[arg-type]


async def test_callbacks_are_told_and_isolated() -> None:
    """A callback that raises, captures again or starts a flush disturbs nobody."""
    told: list[Outcome] = []
    errors: list[Outcome] = []
    tasks: list[asyncio.Task[Any]] = []

    def on_drop(outcome: Outcome) -> None:
        told.append(outcome)
        client.capture_nowait("from the hook")
        tasks.append(asyncio.get_running_loop().create_task(client.flush(timeout=1)))
        raise RuntimeError

    def refuse_first(batch: Batch) -> None:
        if batch.events[0].event == "bad":
            raise PermanentSinkError("no")

    client = AsyncClient(CallbackSink(refuse_first), batch_events=1, on_drop=on_drop, on_error=errors.append)
    async with client:
        await client.capture_many(["bad", "good"])
        await client.flush()
        await asyncio.gather(*tasks)
        assert [(outcome.events, outcome.reason) for outcome in told] == [(("bad",), "rejected")]
        assert [outcome.error for outcome in errors] == ["PermanentSinkError: no"]
        assert client.statistics().hook_errors == 1
    assert check_ledger(client, drained=True).delivered == 2


async def test_drops_inside_on_drop_are_counted_and_end() -> None:
    """A callback that causes drops itself is told of the first only."""
    calls = 0

    def on_drop(outcome: Outcome) -> None:
        nonlocal calls
        calls += 1
        for _ in range(3):
            client.capture_nowait("")

    client = AsyncClient(MemorySink(), on_drop=on_drop)
    async with client:
        await client.capture("")
    assert calls == 1
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.INVALID: 4}


async def test_disabled_client_does_nothing() -> None:
    """No task, no count, no error; receipts and reports are there."""
    sink = MemorySink()
    before = asyncio.all_tasks()
    async with AsyncClient(sink, enabled=False) as client:
        receipt = await client.capture("e")
        client.capture_nowait("e")
        assert (receipt.accepted, receipt.reason) == (False, None)
        assert (await receipt.outcome()).kind is OutcomeKind.DROPPED
        assert bool(await client.flush())
        assert len(await client.deliver([Event("a"), Event("b")])) == 2
        assert client.statistics().captured == 0
        assert asyncio.all_tasks() == before
    assert sink.events == []
    AsyncClient(enabled=False)


async def test_tight_loop_of_captures_does_not_starve_the_dispatcher() -> None:
    """A loop that awaits nothing else sees its events delivered while it runs, and loses none."""
    sink = MemorySink()
    async with AsyncClient(sink, queue_events=2000, batch_events=100) as client:
        for number in range(20_000):
            receipt = await client.capture("e")
            assert receipt.accepted, number
        assert len(sink.events) > 15_000


async def test_idle_client_takes_no_steps() -> None:
    """An hour of nothing costs a handful of loop steps."""
    loop: Any = asyncio.get_running_loop()
    async with AsyncClient(MemorySink()) as client:
        await client.capture("e")
        await client.flush()
        await anyio.wait_all_tasks_blocked()
        before = loop.steps
        await asyncio.sleep(3600)
        assert loop.steps - before <= 5
