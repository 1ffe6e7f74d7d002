"""What each outcome of a whole client says: every kind, with every field exact in virtual time."""

from __future__ import annotations

import asyncio
import gc
import math

import anyio
import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    DropReason,
    Durations,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    RetryPolicy,
    Subscription,
    TransientSinkError,
    Verdict,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, HangingSink, check_ledger

DELIVERED, RETRY, DROPPED, INTERRUPTED, SPOOLED = OutcomeKind
POLICY = RetryPolicy(initial=3, factor=2, max_attempts=3, jitter=0)
SECRET = "sk_live_1234"  # what must not be seen


async def read(subscription: Subscription) -> list[Outcome]:
    """Read to the end, where nothing may be missing."""
    items = [item async for item in subscription]
    return [item for item in items if isinstance(item, Outcome)] if subscription.missed == 0 else []


def in_short(outcome: Outcome) -> tuple[object, ...]:
    """All of it but how long it took, and which ids its events have."""
    return outcome.kind, outcome.events, outcome.attempt, outcome.reason, outcome.status, outcome.error


def nearly(queue: float, batch: float, send: float) -> tuple[object, ...]:
    """Seconds as a clock of floats adds them up."""
    return tuple(pytest.approx(seconds, abs=1e-9) for seconds in (queue, batch, send))


def seconds(durations: Durations) -> tuple[float, ...]:
    return durations.queue, durations.batch, durations.send


def far_end(*answers: BaseException | list[Verdict] | None, takes: float = 2) -> CallbackSink:
    """One that takes so long for each answer, and accepts what comes after the last."""
    left = list(answers)

    async def answer(batch: Batch) -> list[Verdict] | None:
        await asyncio.sleep(takes)
        said = left.pop(0) if left else None
        if isinstance(said, BaseException):
            raise said
        return said

    return CallbackSink(answer, name="far")


@pytest.mark.asyncio
async def test_a_delivery_says_what_was_delivered_and_how_long_it_took() -> None:
    """``queue`` from the capture of the oldest event, ``send`` as long as the far end took; nothing else to say."""
    client = AsyncClient(far_end())
    subscription = client.subscribe("delivered")
    receipts = [await client.capture("a")]
    await asyncio.sleep(0.25)
    receipts.append(await client.capture("b"))
    await client.flush()
    await client.aclose()

    [outcome] = await read(subscription)

    assert in_short(outcome) == (DELIVERED, ("a", "b"), 1, None, None, None)
    assert (outcome.sink, outcome.uuids) == ("far", tuple(receipt.uuid for receipt in receipts))
    assert seconds(outcome.durations) == nearly(0.25, 0, 2)


@pytest.mark.asyncio
async def test_a_retry_says_why_and_later_attempts_what_came_before_them() -> None:
    """``batch`` is what earlier attempts and the waits between them took; ``queue`` stays what it was."""
    error = TransientSinkError("it is down", reason="status_503", status=503)
    client = AsyncClient(far_end(error, OSError("no route")), batch_events=1, workers=1, retry=POLICY)
    subscription = client.subscribe(*OutcomeKind)
    await client.capture("first")
    await asyncio.sleep(0)
    await client.capture("second")
    await asyncio.sleep(100)
    await client.aclose()

    outcomes = await read(subscription)

    *first, first_delivered = [outcome for outcome in outcomes if outcome.events == ("first",)]
    second_failed, second_delivered = [outcome for outcome in outcomes if outcome.events == ("second",)]
    assert [in_short(outcome) for outcome in first] == [
        (RETRY, ("first",), 1, "status_503", 503, "TransientSinkError: it is down")
    ]
    assert seconds(first[0].durations) == nearly(0, 0, 2)
    assert in_short(second_failed)[:4] == (RETRY, ("second",), 1, "sink_error")
    assert seconds(second_failed.durations) == nearly(2, 0, 2)  # the one worker was busy
    assert in_short(first_delivered) == (DELIVERED, ("first",), 2, None, None, None)
    assert seconds(first_delivered.durations) == nearly(0, 5, 2)
    assert in_short(second_delivered) == (DELIVERED, ("second",), 2, None, None, None)
    assert seconds(second_delivered.durations) == nearly(2, 5, 2)


@pytest.mark.asyncio
async def test_a_last_attempt_that_fails_is_a_drop_with_its_number() -> None:
    """After two retries the third attempt is the last."""
    down = [TransientSinkError("down", reason="tls") for _ in range(3)]
    client = AsyncClient(far_end(*down), retry=POLICY, max_batch_age=0)
    subscription = client.subscribe("retry", "dropped")
    await client.capture("e")
    await asyncio.sleep(100)
    await client.aclose()

    outcomes = await read(subscription)

    assert [in_short(outcome)[:4] for outcome in outcomes] == [
        (RETRY, ("e",), 1, "tls"),
        (RETRY, ("e",), 2, "tls"),
        (DROPPED, ("e",), 3, DropReason.EXHAUSTED),
    ]
    assert [seconds(outcome.durations) for outcome in outcomes] == [nearly(0, 0, 2), nearly(0, 5, 2), nearly(0, 13, 2)]


@pytest.mark.asyncio
async def test_each_verdict_of_a_batch_is_an_outcome() -> None:
    """Events that share one are in one outcome, in capture order, with the far end's own words."""
    verdicts = [
        Verdict(DELIVERED),
        Verdict(DROPPED, DropReason.INVALID, detail="no name"),
        Verdict(RETRY, "busy", detail="later"),
        Verdict(DELIVERED),
        Verdict(DELIVERED, "warning", detail="deprecated"),
    ]
    client = AsyncClient(far_end(verdicts), batch_events=5, retry=POLICY)
    subscription = client.subscribe(*OutcomeKind)
    await client.capture_many(["a", "b", "c", "d", "e"])
    await asyncio.sleep(100)
    await client.aclose()

    outcomes = await read(subscription)

    assert [in_short(outcome) for outcome in outcomes] == [
        (DROPPED, ("b",), 1, DropReason.INVALID, None, "no name"),
        (DELIVERED, ("e",), 1, "warning", None, "deprecated"),
        (DELIVERED, ("a", "d"), 1, None, None, None),
        (RETRY, ("c",), 1, "busy", None, "TransientSinkError: later"),
        (DELIVERED, ("c",), 2, None, None, None),
    ]
    assert {seconds(outcome.durations)[2] for outcome in outcomes} == {2}
    assert seconds(outcomes[-1].durations) == nearly(0, 5, 2)


@pytest.mark.asyncio
async def test_parts_of_a_batch_that_was_too_large_remember_when_it_began() -> None:
    """Each is a batch of its own, at its first attempt, and ``batch`` says how long the whole took before it."""
    client = AsyncClient(far_end(PermanentSinkError("413", scope="size")), batch_events=2, retry=POLICY)
    subscription = client.subscribe(*OutcomeKind)
    await client.capture_many(["a", "b"])
    await asyncio.sleep(100)
    await client.aclose()

    whole, *parts = await read(subscription)

    assert in_short(whole)[:3] == (RETRY, ("a", "b"), 1)
    assert [in_short(part)[:3] for part in parts] == [(DELIVERED, ("a",), 1), (DELIVERED, ("b",), 1)]
    assert [seconds(part.durations) for part in parts] == [nearly(0, 2, 2), nearly(0, 2, 2)]


@pytest.mark.asyncio
async def test_a_drop_without_an_attempt_says_so() -> None:
    """A full queue, an event that cannot be sent, one that grew too old: attempt 0, no durations."""
    sink = GatedSink()
    client = AsyncClient(
        sink, queue_events=2, batch_events=1, workers=1, max_event_age=5, before_send=lambda e: None if e == "no" else e
    )
    subscription = client.subscribe("dropped")
    await client.capture("sent")
    await sink.reached()
    await client.capture("too old")
    await client.capture("no room")
    await asyncio.sleep(10)
    sink.release()
    await asyncio.sleep(1)
    await client.capture("e" * 10**6)
    await client.aclose()

    outcomes = await read(subscription)

    assert [(o.events[0][:7], o.attempt, o.reason) for o in outcomes] == [
        ("no room", 0, DropReason.QUEUE_FULL),
        ("too old", 0, DropReason.EXPIRED),
        ("eeeeeee", 0, DropReason.TOO_LARGE),
    ]
    assert {outcome.durations for outcome in outcomes} == {Durations()}


@pytest.mark.asyncio
async def test_a_close_that_cuts_an_attempt_off_tells_of_it_before_what_it_drops() -> None:
    """Interrupted with the number of the attempt and its time so far: the event may have arrived; then dropped."""
    sink = GatedSink(name="far")
    client = AsyncClient(sink, batch_events=1, workers=1, max_batch_age=0)
    subscription = client.subscribe("interrupted", "dropped")
    receipts = await client.capture_many(["in flight", "queued"])
    await sink.reached()
    await asyncio.sleep(1)

    report = await client.aclose(4)

    interrupted, *dropped = await read(subscription)
    assert in_short(interrupted) == (INTERRUPTED, ("in flight",), 1, None, None, None)
    assert (interrupted.sink, interrupted.uuids) == ("far", (receipts[0].uuid,))
    assert seconds(interrupted.durations) == nearly(0, 0, 5)
    assert [(one.kind, one.attempt, one.reason) for one in dropped] == [(DROPPED, 0, DropReason.CLOSE_DEADLINE)]
    assert sorted(dropped[0].events) == ["in flight", "queued"]
    assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: 2}
    assert check_ledger(client, drained=True).interrupted == 1


@pytest.mark.asyncio
async def test_an_answer_that_comes_after_the_close_is_no_outcome() -> None:
    """Of a far end that ignored its cancellation: its events were dropped, and that is what became of them."""
    told: list[Outcome] = []
    sink = HangingSink(swallows=math.inf)
    client = AsyncClient(sink, max_batch_age=0)
    client.on_outcome(told.append, *OutcomeKind)
    subscription = client.subscribe(*OutcomeKind)
    await client.capture("e")
    await sink.reached()
    report = await client.aclose(1)
    await sink.release()
    await anyio.wait_all_tasks_blocked()

    assert [outcome.kind for outcome in told] == [INTERRUPTED, DROPPED]
    assert await read(subscription) == told
    assert len(report.stragglers) == 1
    check_ledger(client, drained=True)


@pytest.mark.asyncio
async def test_an_attempt_that_somebody_cancels_from_outside_is_handed_back_unharmed() -> None:
    """Whoever cancels all tasks of a loop: interrupted, and sent again under the same number by the next dispatcher."""
    sink = GatedSink()
    async with AsyncClient(sink, max_batch_age=0) as client:
        subscription = client.subscribe(*OutcomeKind)
        receipt = await client.capture("e")
        await sink.reached()

        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await anyio.wait_all_tasks_blocked()
        sink.release()
        await client.capture("starts it again")
        await client.flush()

    outcomes = [(one.kind, one.attempt) for one in await read(subscription) if receipt.uuid in one.uuids]
    assert outcomes == [(INTERRUPTED, 1), (DELIVERED, 1)]
    assert [batch.attempt for batch in sink.attempts if receipt.uuid in [e.uuid for e in batch.events]] == [1, 1]
    assert check_ledger(client, drained=True).interrupted == 1


@pytest.mark.wallclock
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
def test_an_attempt_whose_loop_was_closed_is_handed_back_unharmed() -> None:
    """Interrupted, not counted, and sent by the next loop as the attempt that it was."""
    close_a_loop_under_an_attempt()
    gc.collect()  # while the test catches what asyncio logs of the first loop's tasks


def close_a_loop_under_an_attempt() -> None:
    attempts: list[Batch] = []

    async def hang_once(batch: Batch) -> None:
        attempts.append(batch)
        if len(attempts) == 1:
            await asyncio.Event().wait()

    client = AsyncClient(CallbackSink(hang_once), max_batch_age=0)
    subscription = client.subscribe(*OutcomeKind)

    async def begin() -> str:
        receipt = await client.capture("e", properties={"kept": True})
        while not attempts:  # noqa: ASYNC110  # nobody says so who is of this loop
            await asyncio.sleep(0)
        return receipt.uuid

    async def end() -> list[Outcome]:
        await client.aclose()
        return await read(subscription)

    loop = asyncio.new_event_loop()
    uuid = loop.run_until_complete(begin())
    loop.close()
    outcomes = asyncio.run(end())

    assert [(one.kind, one.uuids, one.attempt) for one in outcomes] == [
        (INTERRUPTED, (uuid,), 1),
        (DELIVERED, (uuid,), 1),
    ]
    assert [(batch.attempt, batch.events[0].properties) for batch in attempts] == [(1, {"kept": True})] * 2
    statistics = check_ledger(client, drained=True)
    assert (statistics.interrupted, statistics.delivered, statistics.retried) == (1, 1, 0)


@pytest.mark.asyncio
async def test_errors_of_others_show_neither_payload_nor_secret() -> None:
    """Of an error that is not a sink's own, its type and place alone are told; and no outcome shows what it is of."""

    def fail(batch: Batch) -> None:
        raise RuntimeError(f"cannot send {batch.events[0].data!r} with key {SECRET}")

    client = AsyncClient(CallbackSink(fail), retry=POLICY)
    subscription = client.subscribe(*OutcomeKind)
    await client.capture("paid", properties={"card": SECRET})
    await asyncio.sleep(100)
    await client.aclose()

    outcomes = await read(subscription)

    assert [outcome.kind for outcome in outcomes] == [RETRY, RETRY, DROPPED]
    assert all(str(one.error).startswith("TransientSinkError: RuntimeError at test_outcomes.py:") for one in outcomes)
    assert SECRET not in repr(outcomes) + repr(subscription)


@pytest.mark.asyncio
async def test_each_sink_has_outcomes_of_its_own() -> None:
    """One event to three far ends: three outcomes, each by the name of its sink."""

    def refuse(batch: Batch) -> None:
        raise PermanentSinkError("no")

    client = AsyncClient(MemorySink(name="takes"), CallbackSink(refuse, name="refuses"), MemorySink(name="takes too"))
    subscription = client.subscribe(*OutcomeKind)
    receipt = await client.capture("e")
    await client.aclose()

    outcomes = await read(subscription)

    kinds = {outcome.sink: outcome.kind for outcome in outcomes}
    assert kinds == {"takes": DELIVERED, "refuses": DROPPED, "takes too": DELIVERED}
    assert {outcome.uuids for outcome in outcomes} == {(receipt.uuid,)}


@pytest.mark.asyncio
async def test_a_callback_has_seen_what_a_flush_waited_for() -> None:
    """``on_outcome`` is called before the flush returns, with what a subscription is handed, in the same order."""
    told: list[Outcome] = []
    async with AsyncClient(far_end(TransientSinkError("down")), max_batch_age=0, retry=POLICY) as client:
        callback = client.on_outcome(told.append, *OutcomeKind)
        subscription = client.subscribe(*OutcomeKind)
        await client.capture("e")
        await client.flush(100)
        assert [outcome.kind for outcome in told] == [RETRY, DELIVERED]

        callback.close()
        await client.capture("not told")
        await client.flush(100)
        assert len(told) == 2

    assert (await read(subscription))[:2] == told


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", list(OutcomeKind))
async def test_subscriber_gets_the_kinds_it_asked_for_and_no_other(kind: OutcomeKind) -> None:
    """Of a client in which there are all of them."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1, workers=1, retry=POLICY)
    subscription = client.subscribe(kind)
    every = client.subscribe(*OutcomeKind)
    await client.capture("e")
    sink.release(1, error=TransientSinkError("down"))
    await asyncio.sleep(3)
    sink.release(1)
    await asyncio.sleep(1)
    await client.capture("given up")
    await sink.reached(3)
    await client.aclose(0)

    outcomes = await read(every)

    assert [outcome.kind for outcome in outcomes] == [RETRY, DELIVERED, INTERRUPTED, DROPPED]
    assert await read(subscription) == [outcome for outcome in outcomes if outcome.kind is kind]


@pytest.mark.asyncio
async def test_a_callback_is_named_as_its_owner_says(caplog: pytest.LogCaptureFixture) -> None:
    """The line that says who raised tells two callbacks apart."""

    def broken(outcome: Outcome) -> None:
        raise RuntimeError

    async with AsyncClient(MemorySink()) as client:
        client.on_outcome(broken, OutcomeKind.DELIVERED, name="billing")
        client.on_outcome(broken, OutcomeKind.DELIVERED)
        await client.capture("e")
        await client.flush()

    assert [record.getMessage() for record in caplog.records] == [
        "billing raised RuntimeError; further errors are counted only",
        "on_outcome raised RuntimeError; further errors are counted only",
    ]
