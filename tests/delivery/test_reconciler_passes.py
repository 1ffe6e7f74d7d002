"""One pass: what it takes, how much at once, what it leaves, and what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from eventpipe import Event, TransientSinkError
from eventpipe.contracts import Sink
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.judging import Judgement
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.policy import HOUR
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.delivery.sending import Attempted
from eventpipe.errors import ClosedError, PermanentSinkError, UnknownEndpointError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.outcomes import Outcome, OutcomeKind, Verdict
from eventpipe.stores.delivery_values import (
    AttemptRecord,
    ClaimedRow,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    FailureReason,
)
from eventpipe.subscriptions import Gap
from eventpipe.testing import GatedSink
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults, claimed_by_hand, locked

pytestmark = pytest.mark.asyncio


class FailingSink(RecordingSink):
    """Answers every attempt with an error."""

    def __init__(self, make_error: Callable[[], BaseException]) -> None:
        super().__init__()
        self._make_error = make_error

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        del batch
        await asyncio.sleep(0.01)
        raise self._make_error()


async def add(deliveries: Deliveries, name: str, sink: Sink, rate_limit: float | None = None) -> None:
    """Register a sink as an endpoint."""
    await deliveries.add_endpoint(Endpoint(name, sink=sink, rate_limit=rate_limit))


async def publish(deliveries: Deliveries, number: int, *endpoints: str) -> list[str]:
    """Publish so many events to endpoints; their ids."""
    events = [Event("paid", distinct_id="42", properties={"number": n}) for n in range(number)]
    return [one.event_uuid for one in await deliveries.publish_many(events, endpoints=endpoints)]


async def states(deliveries: Deliveries) -> list[DeliveryState]:
    """The states of all rows, the oldest first."""
    return [row.state for row in (await deliveries.rows(limit=10_000))[::-1]]


async def only_row(deliveries: Deliveries) -> DeliveryRow:
    """The row, where there is one."""
    (row,) = await deliveries.rows()
    return row


class TestOptions:
    @pytest.mark.parametrize("workers", [0, -1, True, False, 1.5, "4", float("nan")])
    async def test_workers_must_be_a_whole_number_of_at_least_one(
        self, deliveries: Deliveries, workers: object
    ) -> None:
        """No number of workers that would deliver nothing, or mean nothing, is taken."""
        with pytest.raises(ValueError, match=r"^workers must be a whole number, at least 1, or None .* not "):
            Reconciler(deliveries, workers=workers)  # type: ignore[arg-type]  # on purpose

    @pytest.mark.parametrize("option", ["interval", "claim_ttl", "timeout"])
    @pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, None, "1"])
    async def test_times_must_be_positive_numbers(self, deliveries: Deliveries, option: str, value: object) -> None:
        """The message names the option and the value."""
        with pytest.raises(ValueError, match=f"^{option} must be a finite number of seconds above 0, not "):
            Reconciler(deliveries, **{option: value})  # type: ignore[arg-type]  # on purpose

    async def test_an_attempt_must_end_before_its_claim(self, deliveries: Deliveries) -> None:
        """Also when both are equal; and no claim lasts so long that a rescue would take it."""
        with pytest.raises(ValueError, match=r"^timeout must be below claim_ttl \(15 s\), not 15: lower it, or raise"):
            Reconciler(deliveries, timeout=15, claim_ttl=15)
        with pytest.raises(ValueError, match=r"^claim_ttl must be at most 3600 s, not 3601$"):
            Reconciler(deliveries, claim_ttl=3601)
        with pytest.raises(ValueError, match=r"^timeout must be at most 3594 s, so that a claim can outlast it, not"):
            Reconciler(deliveries, claim_ttl=3600, timeout=3595)

    async def test_what_is_no_deliveries_or_no_name_is_refused(self, deliveries: Deliveries) -> None:
        """At construction."""
        with pytest.raises(TypeError, match=r"^deliveries must be Deliveries, not str$|^deliveries must be Deliv"):
            Reconciler("events.db")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(ValueError, match=r"^the name of a lock must not be empty$"):
            Reconciler(deliveries, lock="")

    async def test_workers_are_as_many_as_processors_unless_said(
        self, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``None`` is the documented default."""
        monkeypatch.setattr("os.cpu_count", lambda: 3)
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 10, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries).reconcile())
        await sink.reached(3)
        sink.release()
        await pass_

        assert sink.most_running == 3

    async def test_a_pass_needs_running_deliveries(self, make_store: Callable[[], object]) -> None:
        """And says what to do."""
        reconciler = Reconciler(Deliveries(make_store()))  # type: ignore[arg-type]  # what the fixture makes
        with pytest.raises(ClosedError, match="has not started"):
            await reconciler.reconcile()
        with pytest.raises(ClosedError, match="has not started"):
            await reconciler.start()


class TestPass:
    async def test_everything_due_is_delivered_in_one_pass(self, deliveries: Deliveries) -> None:
        """Each once, under its id; the report and the rows say so, and nobody has a row any more."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        uuids = await publish(deliveries, 25, "acme")

        report = await Reconciler(deliveries, workers=4).reconcile()

        assert (report.claimed, report.succeeded, report.errors, bool(report)) == (25, 25, (), True)
        assert sorted(sink.uuids) == sorted(uuids)
        assert await states(deliveries) == [DeliveryState.SUCCESS] * 25
        assert all(row.claimed_until is None for row in await deliveries.rows())

    async def test_a_pass_over_nothing_is_empty(self, deliveries: Deliveries) -> None:
        """Nothing is claimed, and the report is true."""
        report = await Reconciler(deliveries, workers=2).reconcile()

        assert (report.claimed, bool(report), report.lock_held) == (0, True, False)

    async def test_five_thousand_rows_whose_state_changes_finish_in_one_pass(self, deliveries: Deliveries) -> None:
        """Every row, although each that is done is not in the list any more: none is skipped, none comes twice."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5000, "acme")

        report = await Reconciler(deliveries, workers=16).reconcile()

        assert (report.claimed, report.succeeded) == (5000, 5000)
        assert len(set(sink.uuids)) == len(sink.uuids) == 5000

    async def test_never_more_attempts_at_once_than_workers(self, deliveries: Deliveries) -> None:
        """Measured in the far ends, over all of them, and by two passes at once."""
        sinks = {name: GatedSink() for name in "abc"}
        for name, sink in sinks.items():
            await add(deliveries, name, sink)
        await publish(deliveries, 10, "a", "b", "c")
        reconciler = Reconciler(deliveries, workers=5)
        passes = [asyncio.create_task(reconciler.reconcile()) for _ in range(2)]
        most = 0
        while not all(one.done() for one in passes):
            await asyncio.sleep(0.01)
            most = max(most, sum(sink.running for sink in sinks.values()))
            for sink in sinks.values():
                if sink.held:
                    sink.release(1)

        assert most == 5
        assert sum(one.result().succeeded for one in passes) == 30
        assert reconciler.statistics().in_flight == 0

    async def test_no_row_is_claimed_before_there_is_a_slot_for_it(self, deliveries: Deliveries) -> None:
        """A claim does not grow old in a line."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 10, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=3).reconcile())
        await sink.reached(3)
        await asyncio.sleep(1)

        claimed = [row for row in await deliveries.rows() if row.claimed_until is not None]
        sink.release()
        await pass_

        assert len(claimed) == 3

    async def test_rows_that_become_due_during_a_pass_wait_for_the_next(self, deliveries: Deliveries) -> None:
        """A pass has one cut-off, however long it takes."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 3, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        pass_ = asyncio.create_task(reconciler.reconcile())
        await sink.reached(1)
        await asyncio.sleep(1)
        await publish(deliveries, 2, "acme")
        sink.release()

        assert (await pass_).claimed == 3
        assert (await reconciler.reconcile()).claimed == 2

    async def test_two_reconcilers_deliver_each_row_once(self, deliveries: Deliveries) -> None:
        """Whatever the interleaving: a row is attempted by one claim at a time."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 200, "acme")

        reports = await asyncio.gather(*(Reconciler(deliveries, workers=7).reconcile() for _ in range(3)))

        assert sum(report.succeeded for report in reports) == 200
        assert len(sink.uuids) == 200

    async def test_a_failed_attempt_is_due_again_as_the_policy_says(self, deliveries: Deliveries) -> None:
        """After 5 s, with the attempt kept; then it arrives under the same id, as attempt 2."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        (uuid,) = await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        sink.release(1, error=TransientSinkError("status 503", status=503))
        first = await reconciler.reconcile()
        row = await only_row(deliveries)
        at_once = await reconciler.reconcile()
        await asyncio.sleep(6)
        sink.release()
        second = await reconciler.reconcile()

        assert (first.retried, bool(first), at_once.claimed, second.succeeded) == (1, False, 0, 1)
        assert (row.state, row.attempts, row.last_status) == (DeliveryState.SENDING, 1, 503)
        assert row.due_at == pytest.approx(row.created_at + 5, abs=1)  # of real time, where a store has a thread
        assert [batch.attempt for batch in sink.attempts] == [1, 2]
        assert sink.uuids == [uuid]
        assert [one.outcome for one in await deliveries.attempts(row.id)] == ["retry", "delivered"]

    async def test_a_refusal_fails_the_row_and_holds_up_no_other(self, deliveries: Deliveries) -> None:
        """It is a result, no error; the endpoint works."""
        sink = FailingSink(lambda: PermanentSinkError("status 400", status=400, scope="batch"))
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5, "acme")

        report = await Reconciler(deliveries, workers=1).reconcile()

        assert (report.claimed, report.failed, report.errors) == (5, 5, ())
        assert {row.reason for row in await deliveries.rows()} == {FailureReason.REJECTED}


class TestEndpoints:
    async def test_rows_of_a_paused_endpoint_stay_due(self, deliveries: Deliveries) -> None:
        """Untouched, until it is resumed."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await deliveries.pause_endpoint("acme")
        await publish(deliveries, 2, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        paused = await reconciler.reconcile()
        rows = await deliveries.rows()
        await deliveries.resume_endpoint("acme")

        assert paused.claimed == 0
        assert [(row.state, row.version) for row in rows] == [(DeliveryState.PENDING, 1)] * 2
        assert (await reconciler.reconcile()).succeeded == 2

    @pytest.mark.parametrize("is_removed", [False, True], ids=["disabled", "removed"])
    async def test_rows_of_an_endpoint_that_is_no_more_fail_without_an_attempt(
        self, deliveries: Deliveries, is_removed: bool
    ) -> None:
        """All of them in one pass, more than a page, with the reason; nothing reaches the sink."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 450, "acme")
        if is_removed:
            await deliveries.remove_endpoint("acme")
        else:
            await deliveries.disable_endpoint("acme")

        report = await Reconciler(deliveries, workers=2).reconcile()

        reason = FailureReason.ENDPOINT_REMOVED if is_removed else FailureReason.ENDPOINT_DISABLED
        assert (report.claimed, report.failed, sink.attempts) == (450, 450, [])
        assert {(row.state, row.reason, row.total_attempts) for row in await deliveries.rows(limit=1000)} == {
            (DeliveryState.FAILED, reason, 0)
        }

    async def test_rows_of_an_endpoint_without_a_sink_here_wait_for_a_process_that_has_it(
        self, make_store: Callable[[], object], clock: LoopClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No attempt is used up; one log line says so, however many passes there are."""
        store = make_store()
        async with Deliveries(store, clock=clock) as deliveries:  # type: ignore[arg-type]  # what the fixture makes
            await add(deliveries, "acme", RecordingSink())
            await publish(deliveries, 1, "acme")
            deliveries.senders._lent.clear()
            reconciler = Reconciler(deliveries, workers=1)
            reports = [await reconciler.reconcile() for _ in range(3)]
            row = await only_row(deliveries)

        assert [report.claimed for report in reports] == [0, 0, 0]
        assert (row.state, row.version) == (DeliveryState.PENDING, 1)
        assert [record.getMessage() for record in caplog.records if "acme" in record.getMessage()] == [
            "deliveries to endpoint acme wait: this process has no sink for it; give it in sinks="
        ]

    async def test_an_endpoint_that_is_paused_during_a_pass_gets_no_more(self, deliveries: Deliveries) -> None:
        """What is being attempted goes on; the rest stays due."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=1).reconcile())
        await sink.reached(1)
        await deliveries.pause_endpoint("acme")
        sink.release()

        assert (await pass_).claimed == 1
        assert (await states(deliveries)).count(DeliveryState.PENDING) == 4

    async def test_an_endpoint_that_is_removed_during_a_pass_gets_no_more(self, deliveries: Deliveries) -> None:
        """The attempt that runs is written as it ends; the other rows fail in the same pass."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=1).reconcile())
        await sink.reached(1)
        await deliveries.remove_endpoint("acme")
        sink.release()
        report = await pass_

        assert (report.succeeded, report.failed, len(sink.attempts)) == (1, 4, 1)

    async def test_a_rate_limit_holds_within_a_pass(self, deliveries: Deliveries) -> None:
        """Five rows at two a second take two seconds; no slot and no claim waits for that."""
        slow, quick = GatedSink(), RecordingSink()
        slow.release()
        await add(deliveries, "slow", slow, rate_limit=2)
        await add(deliveries, "quick", quick)
        await publish(deliveries, 5, "slow", "quick")
        began = asyncio.get_running_loop().time()
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=1).reconcile())
        await quick.reached(5)
        quick_took = asyncio.get_running_loop().time() - began
        await slow.reached(5)
        slow_took = asyncio.get_running_loop().time() - began

        assert quick_took < 0.5
        assert slow_took == pytest.approx(2.0, abs=0.1)
        assert (await pass_).succeeded == 10

    async def test_a_dead_endpoint_uses_one_probe_and_not_all_workers(self, deliveries: Deliveries) -> None:
        """What ran when it first failed, one probe, and no more in this pass; in the next one, one probe."""
        sink = FailingSink(lambda: TransientSinkError("connection refused"))
        await add(deliveries, "dead", sink)
        await publish(deliveries, 20, "dead")
        reconciler = Reconciler(deliveries, workers=4)

        reports = [await reconciler.reconcile() for _ in range(3)]

        assert [report.retried for report in reports] == [5, 1, 1]
        rows = await deliveries.rows()
        assert sum(row.state is DeliveryState.PENDING and row.claimed_until is None for row in rows) == 13

    async def test_an_endpoint_that_recovers_gets_everything_in_one_pass(self, deliveries: Deliveries) -> None:
        """A probe that arrives opens it again, up to all workers."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 40, "acme")
        reconciler = Reconciler(deliveries, workers=8)
        sink.release(9, error=TransientSinkError("connection refused"))
        failed = await reconciler.reconcile()
        sink.most_running = 0
        pass_ = asyncio.create_task(reconciler.reconcile())
        running = []
        for attempts in (10, 12, 20):
            await sink.reached(attempts)
            await asyncio.sleep(0.1)
            running.append(sink.running)
            sink.release(sink.running)
        sink.release()

        assert (failed.retried, (await pass_).succeeded) == (9, 31)
        assert running == [1, 2, 8]

    async def test_one_endpoint_never_takes_all_slots_while_another_has_due_rows(self, deliveries: Deliveries) -> None:
        """A hundred rows of one, published first, are not in the way of one row of another."""
        stuck, well = GatedSink(), RecordingSink()
        await add(deliveries, "a-stuck", stuck)
        await add(deliveries, "well", well)
        await publish(deliveries, 100, "a-stuck")
        await publish(deliveries, 10, "well")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=4).reconcile())
        async with asyncio.timeout(1):
            await well.reached(10)
        stuck.release()

        assert (await pass_).succeeded == 110

    async def test_retry_after_of_one_row_lets_its_neighbours_wait(self, deliveries: Deliveries) -> None:
        """The far end asked for it: nothing is sent there before, and then everything is."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 3, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        sink.release(1, error=TransientSinkError("status 429", status=429, retry_after=60.0))
        sink.release()
        first = await reconciler.reconcile()
        await asyncio.sleep(59)
        early = await reconciler.reconcile()
        await asyncio.sleep(2)
        late = await reconciler.reconcile()

        assert (first.retried, first.claimed, early.claimed, late.succeeded) == (1, 1, 0, 3)

    async def test_retry_after_of_a_row_is_clamped_by_the_policy(self, deliveries: Deliveries) -> None:
        """A far end that asks for a year gets a day."""
        sink = FailingSink(lambda: TransientSinkError("status 503", status=503, retry_after=365 * 24 * HOUR))
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        await Reconciler(deliveries, workers=1).reconcile()
        row = await only_row(deliveries)

        assert row.due_at == pytest.approx(row.created_at + 24 * HOUR, abs=1)

    async def test_410_fails_the_row_and_disables_the_endpoint(
        self, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rows that are left fail in the same pass, without an attempt."""
        await deliveries.add_endpoint(Endpoint("acme", "https://acme.example/hooks"))
        await publish(deliveries, 4, "acme")
        monkeypatch.setattr(deliveries.senders, "attempt", _gone)

        report = await Reconciler(deliveries, workers=1).reconcile()

        assert (report.claimed, report.failed, report.errors) == (4, 4, ())
        assert [row.reason for row in (await deliveries.rows())[::-1]] == [
            FailureReason.ENDPOINT_GONE,
            *[FailureReason.ENDPOINT_DISABLED] * 3,
        ]
        endpoint = await deliveries.endpoint("acme")
        assert (endpoint.state, endpoint.state_reason) == (EndpointState.DISABLED, "the far end answered 410 Gone")

    async def test_410_of_an_address_that_was_changed_since_disables_nothing(
        self, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the old one said is true of the row alone."""
        await deliveries.add_endpoint(Endpoint("acme", "https://acme.example/hooks"))
        await publish(deliveries, 1, "acme")

        async def attempt(endpoint: EndpointInfo, event: CapturedEvent, number: int, *, timeout: float) -> Attempted:
            await deliveries.add_endpoint(Endpoint("acme", "https://acme.example/new"), replace=True)
            return await _gone(endpoint, event, number, timeout=timeout)

        monkeypatch.setattr(deliveries.senders, "attempt", attempt)
        await Reconciler(deliveries, workers=1).reconcile()

        assert (await only_row(deliveries)).reason is FailureReason.ENDPOINT_GONE
        assert (await deliveries.endpoint("acme")).state is EndpointState.ACTIVE

    async def test_410_that_an_earlier_pass_was_told_disables_nothing(
        self, deliveries: Deliveries, faults: Faults, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody knows whether the endpoint is what it was then; the row fails all the same."""
        await deliveries.add_endpoint(Endpoint("acme", "https://acme.example/hooks"))
        await publish(deliveries, 1, "acme")
        monkeypatch.setattr(deliveries.senders, "attempt", _gone)
        reconciler = Reconciler(deliveries, workers=1)
        faults.fail("change", lambda *_: locked())
        first = await reconciler.reconcile()
        faults.heal("change")
        await asyncio.sleep(61)
        second = await reconciler.reconcile()

        assert (len(first.errors), second.failed) == (1, 1)
        assert (await only_row(deliveries)).reason is FailureReason.ENDPOINT_GONE
        assert (await deliveries.endpoint("acme")).state is EndpointState.ACTIVE

    async def test_410_of_an_endpoint_that_is_removed_at_that_moment_is_a_result(
        self, deliveries: Deliveries, faults: Faults, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There is nothing left to disable: no error, and nobody waits."""
        await deliveries.add_endpoint(Endpoint("acme", "https://acme.example/hooks"))
        await publish(deliveries, 1, "acme")
        monkeypatch.setattr(deliveries.senders, "attempt", _gone)
        faults.fail("set_endpoint_state", lambda *_: UnknownEndpointError("acme"))

        report = await Reconciler(deliveries, workers=1).reconcile()

        assert (report.failed, report.errors) == (1, ())
        assert report.elapsed < 0.5

    async def test_a_row_whose_event_cannot_be_read_fails_without_an_attempt(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """Its neighbours are delivered."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        first, second = await publish(deliveries, 2, "acme")

        def damaged(page: list[ClaimedRow]) -> list[ClaimedRow]:
            unreadable = [replace(event, event=None, fault="packed as version 9") for _, event in page]
            return [
                ClaimedRow(row, worse if event.uuid == first else event)
                for (row, event), worse in zip(page, unreadable, strict=True)
            ]

        faults.rewrite("claim", damaged)
        report = await Reconciler(deliveries, workers=2).reconcile()

        assert (report.failed, report.succeeded, sink.uuids) == (1, 1, [second])
        (row,) = await deliveries.rows(DeliveryFilter(event_uuid=first))
        assert (row.state, row.reason, row.total_attempts) == (DeliveryState.FAILED, FailureReason.UNREADABLE, 0)


async def _gone(endpoint: EndpointInfo, event: CapturedEvent, number: int, *, timeout: float) -> Attempted:
    """Answer as a webhook that does not exist any more."""
    del endpoint, event, timeout
    return Attempted(Judgement(DeliveryOutcome.GONE, 410, "status 410"), AttemptRecord(number, 0.0, 0.0, "gone", 410))


async def test_outcomes_are_told_once_they_are_written(deliveries: Deliveries) -> None:
    """Delivered, tried again, and given up: each with endpoint, attempt, status and event."""
    sink = GatedSink()
    await add(deliveries, "acme", sink)
    (uuid,) = await publish(deliveries, 1, "acme")
    reconciler = Reconciler(deliveries, workers=1)
    async with deliveries.subscribe(*OutcomeKind) as outcomes:
        sink.release(1, error=TransientSinkError("status 503", status=503))
        await reconciler.reconcile()
        retried = _outcome(await anext(outcomes))
        await asyncio.sleep(5)
        sink.release(1, error=PermanentSinkError("no", scope="batch"))
        await reconciler.reconcile()
        dropped = _outcome(await anext(outcomes))
        await deliveries.resend(uuid)
        sink.release()
        await reconciler.reconcile()
        delivered = _outcome(await anext(outcomes))

    told = [
        (one.kind, one.sink, one.attempt, one.reason, one.status, one.uuids) for one in (retried, dropped, delivered)
    ]
    assert told == [
        (OutcomeKind.RETRY, "acme", 1, "status_503", 503, (uuid,)),
        (OutcomeKind.DROPPED, "acme", 2, "rejected", None, (uuid,)),
        (OutcomeKind.DELIVERED, "acme", 3, None, None, (uuid,)),
    ]


def _outcome(told: Outcome | Gap) -> Outcome:
    assert isinstance(told, Outcome)
    return told


async def test_rescued_rows_of_a_clock_that_was_set_back_are_delivered_in_the_same_pass(deliveries: Deliveries) -> None:
    """Neither a claim nor a due time of a day ahead leaves a row lying."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 2, "acme")
    await claimed_by_hand(deliveries, "acme", lasts=24 * HOUR, limit=1)

    report = await Reconciler(deliveries, workers=1).reconcile()

    assert (report.rescued, report.succeeded) == (1, 2)


async def test_what_a_dead_process_had_claimed_is_due_when_its_claims_end(deliveries: Deliveries) -> None:
    """And not before."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 1, "acme")
    await claimed_by_hand(deliveries, "acme", lasts=60)
    reconciler = Reconciler(deliveries, workers=1)
    await asyncio.sleep(59)
    early = await reconciler.reconcile()
    await asyncio.sleep(1)

    assert (early.claimed, (await reconciler.reconcile()).succeeded) == (0, 1)
