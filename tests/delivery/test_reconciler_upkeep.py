"""What a reconciler learns on its way: what it forgets, what it sees change, and what it knows of earlier attempts."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import TransientSinkError
from eventpipe.delivery import bookkeeping
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.policy import MINUTE
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.stores.delivery_values import DeliveryState
from eventpipe.testing import GatedSink
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults, claimed_by_hand, locked
from tests.delivery.test_reconciler_lines import TimedSink
from tests.delivery.test_reconciler_passes import add, only_row, publish, states

pytestmark = pytest.mark.asyncio


class TestPaces:
    async def test_endpoints_that_are_gone_leave_nothing_behind(self, deliveries: Deliveries) -> None:
        """Customers come and go for as long as a process lives."""
        reconciler = Reconciler(deliveries, workers=2)
        for number in range(20):
            await add(deliveries, f"customer-{number}", RecordingSink())
            await publish(deliveries, 1, f"customer-{number}")
            await reconciler.reconcile()
            await deliveries.remove_endpoint(f"customer-{number}")
        await asyncio.sleep(MINUTE)
        await reconciler.reconcile()

        assert reconciler.statistics().succeeded == 20
        assert len(reconciler._common.pacing._paces) == 0

    async def test_a_rate_that_is_set_during_a_pass_holds_from_then_on(self, deliveries: Deliveries) -> None:
        """An owner who asks for it need not wait for the end of a backlog."""
        sink = TimedSink(0.1)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 100, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=1).reconcile())
        await sink.reached(10)
        await deliveries.set_rate_limit("acme", 1.0)
        await asyncio.sleep(2)  # a look at the endpoints, and what may come at once
        before = len(sink.attempts)
        await asyncio.sleep(20)
        sent = len(sink.attempts) - before

        assert (await pass_).succeeded == 100
        assert 19 <= sent <= 21

    async def test_what_is_published_to_an_endpoint_that_is_left_alone_waits_for_its_probe(
        self, deliveries: Deliveries
    ) -> None:
        """And not for the interval, nor for the retry of the row that failed."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        loop = asyncio.get_running_loop()
        sink.release(1, error=TransientSinkError("connection refused"))
        sink.release()
        async with Reconciler(deliveries, workers=2, interval=600):
            await publish(deliveries, 1, "acme")
            await sink.reached(1)
            await asyncio.sleep(0.1)
            began = loop.time()
            await publish(deliveries, 1, "acme")
            await sink.reached(2)
            took = loop.time() - began
            await asyncio.sleep(0.1)

        assert 0.3 < took < 1.5  # probed a second after it failed
        assert await states(deliveries) == [DeliveryState.SENDING, DeliveryState.SUCCESS]


class TestKnown:
    async def test_what_was_known_of_an_attempt_is_not_written_over_a_later_one(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """Another process has attempted it since, and failed as well: it is attempted again, not counted twice."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        one, other = Reconciler(deliveries, workers=1), Reconciler(deliveries, workers=1)
        sink.release(3, error=TransientSinkError("connection refused"))
        sink.release()
        await one.reconcile()
        await asyncio.sleep(6)
        faults.fail("change", lambda *_: locked())
        unwritten = await one.reconcile()
        faults.heal("change")
        await asyncio.sleep(61)
        elsewhere = await other.reconcile()
        await asyncio.sleep(6 * MINUTE)
        last = await one.reconcile()

        assert (len(unwritten.errors), elsewhere.retried, last.succeeded) == (1, 1, 1)
        assert len(sink.attempts) == 4
        row = await only_row(deliveries)
        assert (row.state, row.total_attempts) == (DeliveryState.SUCCESS, 3)

    async def test_what_arrived_and_could_not_be_written_has_arrived_although_its_endpoint_is_disabled_now(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """It is written as what it came to, while its neighbour, which was never sent, fails; nothing stays in mind."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        faults.fail("change", lambda *_: locked())
        await reconciler.reconcile()
        faults.heal("change")
        await publish(deliveries, 1, "acme")
        await asyncio.sleep(61)
        await claimed_by_hand(deliveries, "acme", lasts=10)  # by one who dies with it
        await deliveries.disable_endpoint("acme", "they asked")
        await asyncio.sleep(11)
        report = await reconciler.reconcile()

        assert (report.succeeded, report.failed, len(sink.attempts)) == (1, 1, 1)
        assert await states(deliveries) == [DeliveryState.SUCCESS, DeliveryState.FAILED]
        assert len(reconciler._common.books._known) == 0

    async def test_what_is_known_and_not_written_is_bounded(
        self, deliveries: Deliveries, faults: Faults, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store that refuses writes for days costs no more memory than one that does for an hour."""
        monkeypatch.setattr(bookkeeping, "MAX_KNOWN", 3)
        await add(deliveries, "acme", RecordingSink())
        await publish(deliveries, 5, "acme")
        faults.fail("change", lambda *_: locked())
        reconciler = Reconciler(deliveries, workers=2)
        report = await reconciler.reconcile()

        assert (len(report.errors), reconciler.statistics().unwritten) == (5, 3)

    async def test_every_row_that_cannot_be_failed_is_listed(self, deliveries: Deliveries, faults: Faults) -> None:
        """Of an endpoint that is disabled: each by its id, with what the store said; a later pass fails them."""
        await add(deliveries, "acme", RecordingSink())
        await publish(deliveries, 3, "acme")
        await deliveries.disable_endpoint("acme", "they asked")
        faults.fail("change", lambda *_: locked())
        reconciler = Reconciler(deliveries, workers=1)

        first = await reconciler.reconcile()
        faults.heal("change")
        await asyncio.sleep(61)

        assert (first.claimed, first.failed) == (3, 0)
        assert [(id_, str(error)) for id_, error in first.errors] == [(id_, "database is locked") for id_ in (1, 2, 3)]
        assert (await reconciler.reconcile()).failed == 3
