"""Rows that wait for slots, and slots that wait for no store: what is sent while others are claimed and written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe import TransientSinkError
from eventpipe.delivery.common import UNWRITTEN
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.judging import Judgement
from eventpipe.delivery.lane import LINE_TIME
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.delivery.sending import Attempted
from eventpipe.errors import LeaseLostError
from eventpipe.events import CapturedEvent
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import AttemptRecord, DeliveryState, EndpointInfo
from eventpipe.testing import GatedSink
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults, locked
from tests.delivery.test_reconciler_passes import add, publish, states

pytestmark = pytest.mark.asyncio


class TimedSink(RecordingSink):
    """Takes so many seconds for each attempt."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def _answer(self, batch: object) -> None:
        del batch
        await asyncio.sleep(self._seconds)


def sizes(faults: Faults, call: str) -> list[int]:
    """How many rows each call of the store was for, from now on."""
    found: list[int] = []

    def note(_: int, args: tuple[Any, ...]) -> None:  # Any: as the store's methods have it
        found.append(len(args[0]))

    faults.fail(call, note)
    return found


async def claimed(deliveries: Deliveries) -> int:
    """How many rows somebody has."""
    return sum(row.claimed_until is not None for row in await deliveries.rows(limit=1000))


class TestWriting:
    async def test_the_far_end_does_not_wait_for_what_is_written(self, deliveries: Deliveries, faults: Faults) -> None:
        """Attempts go on beside a write, up to a bound; and then they wait for it."""
        sink = TimedSink(0.01)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 40, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        gate = faults.hold("change")
        pass_ = asyncio.create_task(reconciler.reconcile())
        await asyncio.sleep(1)
        sent, statistics = len(sink.attempts), reconciler.statistics()
        gate.set()
        report = await pass_

        assert UNWRITTEN < sent <= UNWRITTEN + 2
        assert (statistics.in_flight, statistics.unwritten) == (0, sent)
        assert (report.succeeded, sink.most_running, len(sink.attempts)) == (40, 2, 40)

    async def test_a_single_worker_has_each_row_written_before_it_sends_the_next(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """So that its death costs one copy; in all passes together."""
        sink = TimedSink(0.001)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5, "acme")
        reconciler = Reconciler(deliveries, workers=1)
        gate = faults.hold("change")
        passes = [asyncio.create_task(reconciler.reconcile()) for _ in range(3)]
        await asyncio.sleep(1)
        sent = len(sink.attempts)
        gate.set()
        reports = await asyncio.gather(*passes)

        assert sent == 1
        assert sum(report.succeeded for report in reports) == len(sink.attempts) == 5

    async def test_what_gathers_is_written_at_once(self, deliveries: Deliveries, faults: Faults) -> None:
        """One call of the store for all that was answered while it was busy with the one before."""
        sink = TimedSink(0.001)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 60, "acme")
        written = sizes(faults, "change")
        gate = faults.hold("change")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=4).reconcile())
        await asyncio.sleep(0.1)
        gate.set()

        assert (await pass_).succeeded == 60
        assert written[0] <= 4
        assert written[1] >= 3 * UNWRITTEN - 4
        assert sum(written) == 60

    async def test_rows_that_cannot_be_written_together_are_written_one_by_one(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """At the same time: one that cannot be written at all holds up nobody, and is listed."""
        sink = TimedSink(0.01)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 12, "acme")
        faults.fail("change", lambda _, args: locked() if any(one.id == 3 for one in args[0]) else None)
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=4).reconcile())
        await asyncio.sleep(0.5)
        done = (await states(deliveries)).count(DeliveryState.SUCCESS)
        report = await pass_

        assert done == 11
        assert (report.succeeded, [id_ for id_, _ in report.errors], len(sink.attempts)) == (11, [3], 12)

    async def test_the_bound_holds_after_writes_that_failed(self, deliveries: Deliveries, faults: Faults) -> None:
        """No failure makes it wider."""
        sink = TimedSink(0.01)
        await add(deliveries, "acme", sink)
        reconciler = Reconciler(deliveries, workers=2)
        await publish(deliveries, 30, "acme")
        faults.fail("change", lambda _, args: locked() if len(args[0]) > 1 else None)
        assert (await reconciler.reconcile()).succeeded == 30
        faults.heal("change")
        await publish(deliveries, 40, "acme")
        gate = faults.hold("change")
        pass_ = asyncio.create_task(reconciler.reconcile())
        await asyncio.sleep(1)
        sent = len(sink.attempts) - 30
        gate.set()

        assert (await pass_).succeeded == 40
        assert UNWRITTEN < sent <= UNWRITTEN + 2

    async def test_passes_that_are_cut_off_hold_up_no_later_one(self, deliveries: Deliveries, faults: Faults) -> None:
        """What they had not written counts for nothing any more; it is written later, and not sent again."""
        sink = TimedSink(0.01)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 40, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        faults.hold("change")
        for _ in range(3):
            pass_ = asyncio.create_task(reconciler.reconcile())
            await asyncio.sleep(0.5)
            pass_.cancel()
            await asyncio.gather(pass_, return_exceptions=True)
        cut_off = len(sink.attempts)
        faults.hold("change").set()
        await asyncio.sleep(61)
        report = await reconciler.reconcile()

        assert cut_off > 3 * UNWRITTEN
        assert (report.succeeded, len(sink.attempts)) == (40, 40)

    async def test_a_pass_that_lost_its_lock_holds_up_no_later_one(
        self, deliveries: Deliveries, faults: Faults, store: DeliveringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a single worker, which sends nothing while something is being written."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 3, "acme")
        monkeypatch.setattr(store, "is_shared", True)
        reconciler = Reconciler(deliveries, workers=1, lock="passes")
        pass_ = asyncio.create_task(reconciler.reconcile())
        await sink.reached(1)

        def lost(*_: object) -> LeaseLostError:
            return LeaseLostError("passes was taken over")

        faults.fail("change", lost)
        sink.release()
        with pytest.raises(LeaseLostError):
            await pass_
        faults.heal("change")
        await asyncio.sleep(61)

        assert (await reconciler.reconcile()).succeeded == 3
        assert len(sink.attempts) == 3

    async def test_a_write_that_somebody_cancels_is_listed_and_the_others_are_written(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """Nothing is sent again: what it was is known, and written by the pass that takes the rows again."""
        sink = TimedSink(0.01)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 10, "acme")
        reconciler = Reconciler(deliveries, workers=2)
        gate = faults.hold("change")
        pass_ = asyncio.create_task(reconciler.reconcile())
        await asyncio.sleep(0.2)  # as many as may be unwritten are
        assert sink.running == 0
        (writer,) = [task for task in asyncio.all_tasks() if "attempts worker" in task.get_name()]
        writer.cancel()
        await asyncio.sleep(0)
        gate.set()
        first = await pass_
        await asyncio.sleep(61)
        second = await reconciler.reconcile()

        assert {type(error) for _, error in first.errors} == {RuntimeError}
        assert len(first.errors) + first.succeeded == 10
        assert 0 < len(first.errors) < 5
        assert second.succeeded == len(first.errors)
        rows = await deliveries.rows()
        assert [(row.state, row.total_attempts) for row in rows] == [(DeliveryState.SUCCESS, 1)] * 10
        assert len(sink.attempts) == 10


class TestLines:
    async def test_rows_are_claimed_ahead_where_the_far_end_is_quick(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """In pages, while others are sent: the store is asked few times; never more run than there are workers."""
        sink = TimedSink(0.002)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 200, "acme")

        report = await Reconciler(deliveries, workers=4).reconcile()

        assert (report.claimed, report.succeeded, report.skipped, sink.most_running) == (200, 200, 0, 4)
        assert faults.calls.count("claim") < 200 / 8
        assert len(set(sink.uuids)) == len(sink.uuids) == 200

    async def test_more_is_claimed_before_the_slots_are_idle(self, deliveries: Deliveries, faults: Faults) -> None:
        """When half of what waited has begun; the store is asked while every worker has something to do."""
        sink = TimedSink(0.01)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 100, "acme")
        running: list[int] = []

        def note(*_: object) -> None:
            running.append(sink.running)

        faults.fail("claim", note)
        await Reconciler(deliveries, workers=2).reconcile()

        assert len(running) > 5
        assert running[3:].count(2) == len(running) - 3

    async def test_workers_go_over_to_another_endpoint_that_has_something_due(self, deliveries: Deliveries) -> None:
        """In the middle of what waits at the first one: a backlog holds up nobody."""
        sinks = {name: TimedSink(0.02) for name in "ab"}
        for name, sink in sinks.items():
            await add(deliveries, name, sink)
        await publish(deliveries, 400, "a")
        async with Reconciler(deliveries, workers=4):
            await sinks["a"].reached(50)
            await publish(deliveries, 10, "b")
            await sinks["b"].reached(10)
            sent = len(sinks["a"].attempts)

        assert sent < 100

    async def test_what_waits_is_given_back_when_the_far_end_stalls(self, deliveries: Deliveries) -> None:
        """Within a second; when it goes on, the same pass claims it again, and sends it once."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 60, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=3).reconcile())
        sink.release(10)
        await sink.reached(13)
        await asyncio.sleep(0.1)
        before = await claimed(deliveries)
        await asyncio.sleep(LINE_TIME)
        after = await claimed(deliveries)
        sink.release()
        report = await pass_

        assert before > 3
        assert after == 3
        assert report.succeeded == 60
        assert (report.claimed, report.skipped) == (60, 0)
        assert len(set(sink.uuids)) == len(sink.uuids) == 60

    async def test_what_has_waited_begins_soon_enough_for_its_claim(self, deliveries: Deliveries) -> None:
        """However close its timeout is to ``claim_ttl``, an attempt that begins last ends before its claim."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 60, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=3, timeout=15, claim_ttl=15.2).reconcile())
        sink.release(10)
        await sink.reached(13)
        await asyncio.sleep(0.1)
        before = await claimed(deliveries)
        ends = [row.claimed_until for row in await deliveries.rows(limit=100) if row.claimed_until is not None]
        last = deliveries.clock.time() + 0.9 + 15 + 1
        await asyncio.sleep(0.95)
        after = await claimed(deliveries)
        sink.release()

        assert before > 3
        assert after == 3
        assert min(ends) > last
        assert (await pass_).succeeded == 60

    async def test_what_waits_at_an_endpoint_that_is_paused_stays_due(self, deliveries: Deliveries) -> None:
        """It is given back, and attempted when the endpoint is resumed."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 60, "acme")
        reconciler = Reconciler(deliveries, workers=3)
        pass_ = asyncio.create_task(reconciler.reconcile())
        sink.release(10)
        await sink.reached(13)
        await asyncio.sleep(0.3)
        assert await claimed(deliveries) > 3
        await deliveries.pause_endpoint("acme")
        sink.release()
        report = await pass_
        sent, left = len(sink.attempts), await claimed(deliveries)
        await deliveries.resume_endpoint("acme")

        assert sent < 30
        assert (report.succeeded, left) == (sent, 0)
        assert (await reconciler.reconcile()).succeeded == 60 - sent

    async def test_what_waits_fails_with_its_endpoint(self, deliveries: Deliveries) -> None:
        """In the same pass, without an attempt."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 60, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=3).reconcile())
        sink.release(10)
        await sink.reached(13)
        await asyncio.sleep(0.3)
        assert await claimed(deliveries) > 3
        await deliveries.disable_endpoint("acme")
        await asyncio.sleep(LINE_TIME)
        sink.release()
        report = await pass_

        assert (report.succeeded, report.failed) == (len(sink.attempts), 60 - len(sink.attempts))
        assert len(sink.attempts) == 13

    async def test_what_waits_fails_in_the_same_pass_when_the_far_end_says_410(
        self, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With all that was not claimed yet, and each is counted once."""
        await deliveries.add_endpoint(Endpoint("acme", "https://acme.example/hooks"))
        await publish(deliveries, 60, "acme")
        sent: list[str] = []

        async def attempt(endpoint: EndpointInfo, event: CapturedEvent, number: int, *, timeout: float) -> Attempted:
            del endpoint, timeout
            sent.append(event.uuid)
            is_gone = len(sent) == 11
            await asyncio.sleep(0.01)
            if is_gone:
                return Attempted(Judgement(DeliveryOutcome.GONE, 410, "gone"), AttemptRecord(number, 0.0, 0.01, "gone"))
            return Attempted(Judgement(DeliveryOutcome.DELIVERED), AttemptRecord(number, 0.0, 0.01, "delivered"))

        monkeypatch.setattr(deliveries.senders, "attempt", attempt)
        report = await Reconciler(deliveries, workers=3).reconcile()

        assert 11 <= len(sent) < 60
        assert (report.succeeded, report.failed, report.skipped) == (len(sent) - 1, 61 - len(sent), 0)
        assert (report.claimed, report.errors) == (60, ())

    async def test_a_far_end_that_begins_to_fail_gets_no_more_of_what_waits(self, deliveries: Deliveries) -> None:
        """What ran, and one probe; the rest is given back, for a later pass."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 60, "acme")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=3).reconcile())
        sink.release(10)
        await sink.reached(13)
        await asyncio.sleep(0.1)
        assert await claimed(deliveries) > 3
        sink.release(4, error=TransientSinkError("status 503", status=503))
        report = await pass_

        assert (report.succeeded, report.retried, len(sink.attempts)) == (10, 4, 14)
        assert await claimed(deliveries) == 0

    async def test_a_stop_gives_back_what_waits(self, deliveries: Deliveries) -> None:
        """At once: it is begun with no more, and what runs is waited for."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 60, "acme")
        async with Reconciler(deliveries, workers=3) as reconciler:
            sink.release(10)
            await sink.reached(13)
            await asyncio.sleep(0.1)
            before = await claimed(deliveries)
            stop = asyncio.create_task(reconciler.stop())
            await asyncio.sleep(0.01)
            after = await claimed(deliveries)
            sink.release()
            await stop

        assert before > 3
        assert after == 3
        assert len(sink.attempts) == 13
        assert (await states(deliveries)).count(DeliveryState.SUCCESS) == 13

    async def test_what_is_claimed_while_a_stop_comes_is_not_begun_with(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """It is given back, and counted."""
        sink = TimedSink(0.002)
        await add(deliveries, "acme", sink)
        await publish(deliveries, 5, "acme")
        gate = faults.hold("claim")
        async with Reconciler(deliveries, workers=3) as reconciler:
            while "claim" not in faults.calls:  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.01)
            stop = asyncio.create_task(reconciler.stop())
            await asyncio.sleep(0.1)
            gate.set()
            await stop

        assert (sink.attempts, await claimed(deliveries)) == ([], 0)
        assert (reconciler.statistics().claimed, reconciler.statistics().skipped) == (3, 3)

    async def test_a_page_that_is_cut_off_while_it_is_refused_is_given_back(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """Of an endpoint that is no more: nobody has its rows when the reconciler has stopped."""
        await add(deliveries, "acme", RecordingSink())
        await publish(deliveries, 50, "acme")
        await deliveries.disable_endpoint("acme")
        faults.hold("change")
        async with Reconciler(deliveries, workers=3) as reconciler:
            while "change" not in faults.calls:  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.01)
            held = await claimed(deliveries)
            await reconciler.stop(0)

        assert (held, await claimed(deliveries)) == (50, 0)

    async def test_two_endpoints_share_the_workers_whatever_waits(self, deliveries: Deliveries) -> None:
        """What was claimed for one of them first takes no slot of the other's share."""
        sinks = {name: TimedSink(0.002) for name in "ab"}
        for name, sink in sinks.items():
            await add(deliveries, name, sink)
        await publish(deliveries, 200, "a")
        await publish(deliveries, 200, "b")
        pass_ = asyncio.create_task(Reconciler(deliveries, workers=4).reconcile())
        await sinks["b"].reached(100)
        sent = len(sinks["a"].attempts)

        assert (await pass_).succeeded == 400
        assert 80 <= sent <= 120
