"""What goes wrong in a pass: no error is hidden, nobody is left behind, and what was sent is not sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventpipe.core.lease import Lease
from eventpipe.delivery.bookkeeping import insist
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.errors import LeaseLostError, StoreError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import DeliveryState
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing import GatedSink, HangingSink
from eventpipe.testing.recording import RecordingSink
from eventpipe.testing.sweep import Swept, cancellation_sweep
from tests.delivery.conftest import Faults, locked
from tests.delivery.test_reconciler_passes import FailingSink, add, only_row, publish, states

pytestmark = pytest.mark.asyncio


def _workers() -> list[str]:
    """Tasks of attempts that have not ended."""
    return [task.get_name() for task in asyncio.all_tasks() if "attempts" in task.get_name()]


class TestInfrastructure:
    @pytest.mark.parametrize("call", ["rescue", "due"])
    async def test_a_store_that_cannot_list_is_an_error_of_the_pass(
        self, deliveries: Deliveries, faults: Faults, call: str
    ) -> None:
        """It is raised, not reported; nothing was claimed, and the next pass does everything."""
        await add(deliveries, "acme", RecordingSink())
        await publish(deliveries, 3, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        faults.fail(call, lambda number, _: locked() if number == 1 else None)
        with pytest.raises(StoreError, match="database is locked"):
            await reconciler.reconcile()

        assert "claim" not in faults.calls
        assert (await reconciler.reconcile()).succeeded == 3

    async def test_a_claim_that_fails_on_page_two_is_raised_after_every_worker_has_ended(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """What was being attempted is written; its notes say what was done; the next pass does the rest."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        faults.fail("claim", lambda number, _: locked() if number == 2 else None)
        pass_ = asyncio.create_task(reconciler.reconcile())
        await sink.reached(2)
        sink.release(1)
        await asyncio.sleep(1)
        assert not pass_.done()
        sink.release()
        with pytest.raises(StoreError, match="database is locked") as raised:
            await pass_

        assert _workers() == []
        assert raised.value.__notes__ == ["the pass until then: 2 claimed, 2 succeeded, 0 failed, 0 retried"]
        assert (await reconciler.reconcile()).succeeded == 3
        assert len(sink.uuids) == 5


class TestCancellation:
    async def test_a_pass_cancelled_while_it_waits_for_a_slot_gives_everything_back(
        self, deliveries: Deliveries
    ) -> None:
        """What runs is cancelled, told as interrupted, and due at once; no worker and no claim is left."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 3, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        async with deliveries.subscribe(OutcomeKind.INTERRUPTED) as outcomes:
            pass_ = asyncio.create_task(reconciler.reconcile())
            await sink.reached(2)
            pass_.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pass_
            told = [await anext(outcomes) for _ in range(2)]

        assert (_workers(), sink.running, reconciler.statistics().in_flight) == ([], 0, 0)
        assert [(row.state, row.claimed_until) for row in await deliveries.rows()] == [
            (DeliveryState.PENDING, None)
        ] * 3
        assert [one.attempt for one in told if isinstance(one, Outcome)] == [1, 1]
        sink.release()
        assert (await reconciler.reconcile()).succeeded == 3

    async def test_a_pass_cancelled_anywhere_leaves_no_worker_and_no_claim(self) -> None:
        """At whichever point, and also where it is cancelled again while it cleans up."""

        class Quick(RecordingSink):
            async def _answer(self, batch: object) -> None:
                del batch
                await asyncio.sleep(0.001)

        @asynccontextmanager
        async def one_pass() -> AsyncIterator[Swept]:
            async with Deliveries(MemoryStore()) as deliveries:
                for name in "ab":
                    await add(deliveries, name, Quick(), rate_limit=100 if name == "b" else None)
                await publish(deliveries, 3, "a", "b")
                reconciler = Reconciler(deliveries, workers=2, lock="passes")
                yield reconciler.reconcile()
                assert _workers() == []
                assert [row.id for row in await deliveries.rows() if row.claimed_until is not None] == []
                assert reconciler.statistics().in_flight == 0
                assert not (await reconciler.reconcile()).lock_held
                assert set(await states(deliveries)) == {DeliveryState.SUCCESS}

        assert await cancellation_sweep(one_pass) > 10

    async def test_rows_that_are_granted_to_a_cancelled_pass_are_given_back(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """A claim that was under way is seen to its end."""
        await add(deliveries, "acme", RecordingSink())
        await publish(deliveries, 1, "acme")
        gate = faults.hold("claim")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=2).reconcile())
        while "claim" not in faults.calls:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.01)
        pass_.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await pass_

        row = await only_row(deliveries)
        assert (row.state, row.claimed_until) == (DeliveryState.PENDING, None)

    async def test_an_attempt_that_ignores_its_cancellation_keeps_its_row(
        self, deliveries: Deliveries, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The pass ends all the same, and names it; nobody else attempts the row while it runs."""
        sink = HangingSink(swallows=100)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        pass_ = asyncio.create_task(reconciler.reconcile())
        await sink.reached(1)
        pass_.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await pass_
        row = await only_row(deliveries)
        await sink.release()

        assert row.claimed_until is not None
        assert "ignored their cancellation" in caplog.text
        await asyncio.sleep(0.1)
        assert reconciler.statistics().in_flight == 0

    @pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, KeyError, BaseException])
    async def test_whatever_a_sink_raises_is_a_failed_attempt(
        self, deliveries: Deliveries, error: Callable[[], BaseException]
    ) -> None:
        """It ends neither the pass nor another item."""
        bad, good = FailingSink(error), RecordingSink()
        await add(deliveries, "bad", bad)
        await add(deliveries, "good", good)
        await publish(deliveries, 3, "bad", "good")

        report = await Reconciler(deliveries, workers=2).reconcile()

        assert (report.succeeded, len(good.uuids), report.errors) == (3, 3, ())
        assert report.retried == len(bad.attempts) > 0
        assert _workers() == []


class TestBookkeeping:
    async def test_a_write_that_fails_is_tried_again_and_the_send_is_not(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """A store that is locked for five seconds costs nothing but these."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5, "acme")
        loop = asyncio.get_running_loop()
        faults.fail("change", lambda *_: locked() if loop.time() < 5 else None)

        report = await Reconciler(deliveries, workers=2).reconcile()

        assert (report.succeeded, report.errors, len(sink.attempts)) == (5, (), 5)

    async def test_every_row_whose_bookkeeping_fails_is_listed_and_no_other(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """Ten of a hundred: ten errors by delivery id, ninety delivered, each sent once."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 100, "acme")
        faults.fail("change", lambda _, args: locked() if any(one.id % 10 == 0 for one in args[0]) else None)

        report = await Reconciler(deliveries, workers=8).reconcile()

        assert (report.claimed, report.succeeded, bool(report)) == (100, 90, False)
        assert sorted(id_ for id_, _ in report.errors) == [
            row.id for row in (await deliveries.rows())[::-1] if row.id % 10 == 0
        ]
        assert {type(error) for _, error in report.errors} == {StoreError}
        assert len(set(sink.uuids)) == len(sink.uuids) == 100

    async def test_what_was_sent_and_not_written_is_written_by_a_later_pass(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """When it claims the row again; it is not sent again, and counts as what it came to."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 2, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        faults.fail("change", lambda *_: locked())
        first = await reconciler.reconcile()
        assert reconciler.statistics().unwritten == 2
        faults.heal("change")
        await asyncio.sleep(61)
        second = await reconciler.reconcile()

        assert (len(first.errors), second.succeeded, len(sink.attempts)) == (2, 2, 2)
        assert await states(deliveries) == [DeliveryState.SUCCESS] * 2
        assert [one.number for one in await deliveries.attempts(1)] == [1]
        assert reconciler.statistics().unwritten == 0

    async def test_what_was_sent_while_the_store_failed_is_written_while_its_claim_holds(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """So that no other reconciler sends it again; who listens is told of it then."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        loop = asyncio.get_running_loop()
        fails_until = loop.time() + 10
        faults.fail("change", lambda *_: locked() if loop.time() < fails_until else None)
        async with deliveries.subscribe(OutcomeKind.DELIVERED) as told:
            async with Reconciler(deliveries, workers=4) as one, Reconciler(deliveries, workers=4) as other:
                await publish(deliveries, 20, "acme")
                await asyncio.sleep(40)
                found = await states(deliveries)
                unwritten = one.statistics().unwritten + other.statistics().unwritten
                await asyncio.sleep(60)
            outcomes = [outcome for _ in range(20) if isinstance(outcome := await told.receive(1), Outcome)]

        assert found == [DeliveryState.SUCCESS] * 20
        assert unwritten == 0
        assert len(sink.attempts) == 20
        assert sorted(outcome.uuids[0] for outcome in outcomes) == sorted(sink.uuids)

    async def test_what_somebody_else_changed_meanwhile_is_written_by_nobody(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """It is not counted as unwritten any more."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        (uuid,) = await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        faults.fail("change", lambda *_: locked())
        await reconciler.reconcile()
        faults.heal("change")
        await deliveries.cancel_deliveries(uuid)
        report = await reconciler.reconcile()

        assert (report.succeeded, reconciler.statistics().unwritten) == (0, 0)
        assert await states(deliveries) == [DeliveryState.FAILED]

    async def test_what_was_sent_keeps_its_claim_when_the_pass_is_cancelled_before_it_is_written(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """Given back, it would be sent again by somebody else at once; here it is written when the claim is over."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        faults.fail("change", lambda *_: locked())
        pass_ = asyncio.create_task(reconciler.reconcile())
        while "change" not in faults.calls:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.01)
        pass_.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pass_
        faults.heal("change")
        row = await only_row(deliveries)
        await asyncio.sleep(61)

        assert row.claimed_until is not None
        assert (await reconciler.reconcile()).succeeded == 1
        assert len(sink.attempts) == 1

    async def test_a_row_that_was_asked_for_again_meanwhile_is_sent_again(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """What is known of an attempt says nothing once the row has changed."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        (uuid,) = await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        faults.fail("change", lambda *_: locked())
        await reconciler.reconcile()
        faults.heal("change")
        await asyncio.sleep(61)
        await publish(deliveries, 1, "acme")
        asked = await deliveries.resend(uuid)
        again = await reconciler.reconcile()

        assert len(asked.done) == 1
        # Never written, it was pending: due at once is all that a resend of it means. What was sent stays sent.
        assert again.succeeded == 2
        assert [batch.events[0].uuid for batch in sink.attempts].count(uuid) == 2

    async def test_an_unforeseen_error_is_listed_with_its_delivery(
        self, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And aborts no other item."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        uuids = await publish(deliveries, 3, "acme")
        attempt = deliveries.senders.attempt

        async def broken(endpoint: Any, event: Any, number: int, *, timeout: float) -> Any:  # Any: handed through
            if event.uuid == uuids[1]:
                raise ZeroDivisionError
            return await attempt(endpoint, event, number, timeout=timeout)

        monkeypatch.setattr(deliveries.senders, "attempt", broken)
        report = await Reconciler(deliveries, workers=1).reconcile()

        assert (report.claimed, report.succeeded) == (3, 2)
        assert [(id_, type(error)) for id_, error in report.errors] == [(2, ZeroDivisionError)]

    async def test_a_resend_that_races_an_attempt_wins(self, deliveries: Deliveries) -> None:
        """The attempt is counted as skipped, and the row is delivered once more."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        (uuid,) = await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        pass_ = asyncio.create_task(reconciler.reconcile())
        await sink.reached(1)
        asked = await deliveries.resend(uuid)
        sink.release()
        first, second = await pass_, await reconciler.reconcile()

        assert len(asked.done) == 1
        assert (first.skipped, first.succeeded, second.succeeded, len(sink.uuids)) == (1, 0, 1, 2)

    async def test_a_claim_that_is_near_its_end_is_not_begun_with(self, deliveries: Deliveries, faults: Faults) -> None:
        """What the store grants so late that an attempt could outlive it is given back."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=1, timeout=15, claim_ttl=60)
        gate = faults.hold("claim")
        asyncio.get_running_loop().call_later(46, gate.set)
        late = await reconciler.reconcile()
        in_time = await reconciler.reconcile()

        assert (late.claimed, late.skipped, in_time.succeeded, len(sink.attempts)) == (1, 1, 1, 1)

    async def test_a_claim_outlives_the_timeout_of_its_endpoint(self, deliveries: Deliveries) -> None:
        """Also where that is longer than the reconciler's claims last."""
        sink = GatedSink()
        await deliveries.add_endpoint(Endpoint("acme", sink=sink, timeout=100))
        await publish(deliveries, 1, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=1).reconcile())
        await sink.reached(1)
        row = await only_row(deliveries)
        sink.release()

        assert (await pass_).succeeded == 1
        assert row.claimed_until is not None
        assert row.claimed_until > row.created_at + 100

    async def test_nothing_is_written_once_that_is_not_allowed_any_more(self) -> None:
        """It is asked before each try, the first one too: the loss may come before anybody is cancelled for it."""
        calls: list[str] = []

        async def call() -> None:
            calls.append("change")
            raise locked()

        def check() -> None:
            calls.append("check")
            if calls.count("check") == 3:
                raise LeaseLostError("passes was taken over")

        with pytest.raises(LeaseLostError):
            await insist(call, check)

        assert calls == ["check", "change", "check", "change", "check"]


class TestLock:
    async def test_a_lock_held_elsewhere_is_no_error(self, deliveries: Deliveries) -> None:
        """Nothing is done, and the report says why; once it is free, the pass is made, and the lock given back."""
        await add(deliveries, "acme", RecordingSink())
        await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=1, lock="passes")
        lease = Lease(deliveries.store, "passes")
        await lease.acquire()
        held = await reconciler.reconcile()
        await lease.release()
        free = await reconciler.reconcile()
        await lease.acquire(timeout=0)
        await lease.release()

        assert (held.lock_held, held.claimed, free.lock_held, free.succeeded) == (True, 0, False, 1)

    async def test_two_passes_of_one_reconciler_hold_its_lock_together(self, deliveries: Deliveries) -> None:
        """Calls at once are not in each other's way."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 2, "acme")
        reconciler = Reconciler(deliveries, workers=3, lock="passes")
        first = asyncio.create_task(reconciler.reconcile())
        await sink.reached(2)
        second = await reconciler.reconcile()
        other = await Reconciler(deliveries, workers=3, lock="passes").reconcile()
        sink.release()

        assert (second.lock_held, other.lock_held, (await first).succeeded) == (False, True, 2)

    async def test_a_lock_that_is_lost_ends_the_pass_without_another_write(
        self, deliveries: Deliveries, faults: Faults, store: DeliveringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither what attempts came to nor what was given back; every worker has ended; who is next does the rest."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 3, "acme")
        monkeypatch.setattr(store, "is_shared", True)
        reconciler = Reconciler(deliveries, workers=2, lock="passes")
        pass_ = asyncio.create_task(reconciler.reconcile())
        await sink.reached(2)

        async def taken(*_: Any) -> None:
            raise LeaseLostError("passes was taken over")

        monkeypatch.setattr(store, "renew", taken)
        began = asyncio.get_running_loop().time()
        with pytest.raises(LeaseLostError, match="taken over"):
            await pass_

        assert asyncio.get_running_loop().time() - began < 5  # long before an attempt would time out
        assert (_workers(), sink.running) == ([], 0)
        assert "change" not in faults.calls
        assert "release" not in faults.calls
        assert sum(row.claimed_until is not None for row in await deliveries.rows()) == 2

    async def test_a_lock_that_is_lost_between_send_and_write_stops_the_write(
        self, deliveries: Deliveries, faults: Faults, store: DeliveringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the attempt came to is known, is not written, and is not sent again by this reconciler."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        monkeypatch.setattr(store, "is_shared", True)
        reconciler = Reconciler(deliveries, workers=2, lock="passes")
        faults.fail("change", lambda *_: locked())
        pass_ = asyncio.create_task(reconciler.reconcile())
        while "change" not in faults.calls:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.01)
        renew = store.renew

        async def taken(*_: Any) -> None:
            raise LeaseLostError("passes was taken over")

        monkeypatch.setattr(store, "renew", taken)
        with pytest.raises(LeaseLostError, match="taken over"):
            await pass_
        tries = faults.calls.count("change")
        monkeypatch.setattr(store, "renew", renew)
        faults.heal("change")
        await asyncio.sleep(120)

        assert faults.calls.count("change") == tries
        assert (await reconciler.reconcile()).succeeded == 1
        assert len(sink.attempts) == 1
