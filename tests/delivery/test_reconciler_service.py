"""A reconciler that runs: what wakes it, what it waits for, and how it stops."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from eventpipe import TransientSinkError
from eventpipe.core.lease import Lease
from eventpipe.core.service import ServiceState
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.pacing import FIRST_PAUSE
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.errors import ClosedError
from eventpipe.stores.delivery_values import DeliveryState
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing import GatedSink, HangingSink, VirtualTimeLoop
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults, claimed_by_hand, locked
from tests.delivery.test_reconciler_passes import FailingSink, add, only_row, publish, states

pytestmark = pytest.mark.asyncio

# Seconds, beside those in which a store's thread works really.
AT_ONCE = 0.05


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _settled(deliveries: Deliveries) -> None:
    """Wait until no row is open."""
    async with asyncio.timeout(600):
        while set(await states(deliveries)) - {DeliveryState.SUCCESS, DeliveryState.FAILED}:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.25)


class TestWaking:
    async def test_a_publish_wakes_it(self, deliveries: Deliveries) -> None:
        """The first attempt comes at once, long before the interval is over."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        async with Reconciler(deliveries, workers=2):
            await asyncio.sleep(7)
            published_at = _now()
            await publish(deliveries, 1, "acme")
            await sink.reached(1)
            took = _now() - published_at
            await _settled(deliveries)

        assert took < AT_ONCE

    async def test_a_publish_is_attempted_at_once_while_a_pass_waits_for_a_slow_endpoint(
        self, deliveries: Deliveries
    ) -> None:
        """Also to that endpoint, and within the same bound of workers."""
        slow, quick = GatedSink(), RecordingSink()
        await add(deliveries, "slow", slow)
        await add(deliveries, "quick", quick)
        async with Reconciler(deliveries, workers=3):
            await publish(deliveries, 1, "slow")
            await slow.reached(1)
            await asyncio.sleep(3)
            published_at = _now()
            await publish(deliveries, 1, "quick")
            await quick.reached(1)
            await publish(deliveries, 5, "slow")
            await slow.reached(3)
            took = _now() - published_at
            await publish(deliveries, 1, "quick")
            await asyncio.sleep(1)
            most = slow.running
            slow.release()
            await _settled(deliveries)

        assert took < 3 * AT_ONCE
        assert most == 3
        assert (slow.most_running, len(quick.uuids)) == (3, 2)

    async def test_a_publish_is_attempted_at_once_while_a_backlog_is_worked_off(self, deliveries: Deliveries) -> None:
        """A pass that takes minutes at one endpoint holds up no other."""

        class Slow(RecordingSink):
            async def _answer(self, batch: object) -> None:
                del batch
                await asyncio.sleep(1)

        slow, quick = Slow(), RecordingSink()
        await add(deliveries, "slow", slow)
        await add(deliveries, "quick", quick)
        await publish(deliveries, 100, "slow")
        async with Reconciler(deliveries, workers=2):
            await asyncio.sleep(10.5)
            published_at = _now()
            await publish(deliveries, 1, "quick")
            await quick.reached(1)
            took = _now() - published_at
            await _settled(deliveries)

        assert took <= 1  # when the next slot is free
        assert len(slow.uuids) == 100

    async def test_rows_that_are_due_later_are_attempted_in_time(self, deliveries: Deliveries) -> None:
        """After 5 s and 5 min, within a few milliseconds, whatever the interval."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        sink.release(2, error=TransientSinkError("status 503"))
        sink.release()
        moments = []
        async with Reconciler(deliveries, workers=2, interval=1000):
            await publish(deliveries, 1, "acme")
            for attempt in (1, 2, 3):
                await sink.reached(attempt)
                moments.append(_now())
            await _settled(deliveries)

        waits = [after - before for before, after in itertools.pairwise(moments)]
        assert waits == [pytest.approx(5, abs=AT_ONCE), pytest.approx(300, abs=AT_ONCE)]

    async def test_rows_that_were_due_later_before_it_started_are_attempted_in_time(
        self, deliveries: Deliveries
    ) -> None:
        """It asks the store when the next one is due."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        sink.release(1, error=TransientSinkError("status 503"))
        sink.release()
        await publish(deliveries, 1, "acme")
        await Reconciler(deliveries, workers=1).reconcile()
        due_at = _now() + 5
        async with Reconciler(deliveries, workers=1, interval=1000):
            await sink.reached(2)
            reached_at = _now()
            await _settled(deliveries)

        assert reached_at == pytest.approx(due_at, abs=AT_ONCE)

    async def test_a_retry_is_attempted_in_time_while_its_pass_waits_for_a_slow_endpoint(
        self, deliveries: Deliveries
    ) -> None:
        """The pass need not end for it."""
        slow, sink = GatedSink(), GatedSink()
        await add(deliveries, "slow", slow)
        await add(deliveries, "acme", sink)
        sink.release(1, error=TransientSinkError("status 503"))
        sink.release()
        await publish(deliveries, 1, "slow", "acme")
        async with Reconciler(deliveries, workers=2, interval=1000):
            await sink.reached(1)
            failed_at = _now()
            await sink.reached(2)
            took = _now() - failed_at
            running = slow.running
            slow.release()
            await _settled(deliveries)

        assert took == pytest.approx(5, abs=AT_ONCE)
        assert running == 1

    async def test_what_was_left_to_an_earlier_pass_follows_as_soon_as_that_is_through_with_the_endpoint(
        self, deliveries: Deliveries
    ) -> None:
        """Although that pass goes on, because of another endpoint."""
        slow, sink = GatedSink(), RecordingSink()
        await add(deliveries, "slow", slow)
        await add(deliveries, "acme", sink, rate_limit=2)
        await publish(deliveries, 4, "acme")
        await publish(deliveries, 1, "slow")
        async with Reconciler(deliveries, workers=3, interval=1000):
            await sink.reached(2)
            await publish(deliveries, 1, "acme")
            await sink.reached(5)
            took, running = _now(), slow.running
            slow.release()
            await _settled(deliveries)

        assert took == pytest.approx(2.0, abs=0.6)
        assert running == 1

    async def test_a_row_that_became_due_behind_a_slow_one_is_attempted_when_that_has_ended(
        self, deliveries: Deliveries
    ) -> None:
        """The store tells of the first due row alone; when that is settled, the next one is looked for."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        sink.release(1, error=TransientSinkError("status 503"))
        await publish(deliveries, 1, "acme")
        await Reconciler(deliveries, workers=1).reconcile()
        await publish(deliveries, 1, "acme")
        async with Reconciler(deliveries, workers=2, interval=1000):
            await sink.reached(2)
            await asyncio.sleep(8)
            sink.release()
            ended_at = _now()
            await sink.reached(3)
            took = _now() - ended_at
            await _settled(deliveries)

        assert took < AT_ONCE

    async def test_a_limited_rate_makes_no_crowd_of_passes(self, deliveries: Deliveries) -> None:
        """What is published meanwhile waits for the pass that is at that endpoint, and follows it at once."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink, rate_limit=2)
        most = 0
        async with Reconciler(deliveries, workers=4, interval=1000) as reconciler:
            for _ in range(10):
                await publish(deliveries, 2, "acme")
                await asyncio.sleep(0.2)
                most = max(most, len(reconciler._passes))
            await sink.reached(20)
            took = _now()
            await _settled(deliveries)

        assert most == 1
        assert took == pytest.approx(9.5, abs=0.5)

    async def test_a_resend_and_a_resumed_endpoint_wake_it(self, deliveries: Deliveries) -> None:
        """Whatever makes a row due at once is attempted at once."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        async with Reconciler(deliveries, workers=2):
            (uuid,) = await publish(deliveries, 1, "acme")
            await _settled(deliveries)
            asked_at = _now()
            await deliveries.resend(uuid)
            await sink.reached(2)
            await deliveries.pause_endpoint("acme")
            await publish(deliveries, 1, "acme")
            await deliveries.resume_endpoint("acme")
            await sink.reached(3)
            took = _now() - asked_at
            await _settled(deliveries)

        assert took < 4 * AT_ONCE

    async def test_the_interval_finds_what_nothing_else_tells_of(self, deliveries: Deliveries) -> None:
        """What a dead process had claimed is attempted within an interval of the end of its claim."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 1, "acme")
        await claimed_by_hand(deliveries, "acme", lasts=60)
        began = _now()
        async with Reconciler(deliveries, workers=1, interval=15):
            await sink.reached(1)
            took = _now() - began
            await _settled(deliveries)

        assert 60 <= took <= 60 + 15 + AT_ONCE

    async def test_an_idle_reconciler_does_nothing_but_its_intervals(
        self, deliveries: Deliveries, faults: Faults
    ) -> None:
        """Three looks a minute, no busy waiting, also while somebody else has what is due."""
        await add(deliveries, "acme", RecordingSink())
        await publish(deliveries, 1, "acme")
        await claimed_by_hand(deliveries, "acme", lasts=3600)
        faults.calls.clear()
        async with Reconciler(deliveries, workers=1, interval=20) as reconciler:
            await asyncio.sleep(600)
            passes = reconciler.statistics().passes

        assert 28 <= passes <= 32
        assert 28 <= faults.calls.count("rescue") <= 32
        assert faults.calls.count("claim") <= 32

    async def test_a_dead_endpoint_is_probed_and_delivered_to_when_it_is_back(self, deliveries: Deliveries) -> None:
        """First a second after it failed, then at longer and longer pauses, and at the latest each interval."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        await publish(deliveries, 30, "acme")
        sink.release(8, error=TransientSinkError("connection refused"))
        reached = []
        async with Reconciler(deliveries, workers=1, interval=15):
            for attempt in range(1, 9):
                await sink.reached(attempt)
                reached.append(_now())
            sink.release()
            await sink.reached(9)
            recovered_at = _now()
            while len(sink.uuids) < 22:  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.01)
            took = _now() - recovered_at

        pauses = [after - before for before, after in itertools.pairwise(reached)]
        assert pauses == [pytest.approx(pause, abs=AT_ONCE) for pause in (0, 2 * FIRST_PAUSE, 4, 8, 15, 15, 15)]
        assert took < 1

    async def test_publishing_elsewhere_does_not_hammer_a_dead_endpoint(self, deliveries: Deliveries) -> None:
        """A hundred passes in ten seconds use up a handful of its attempts."""
        dead, well = FailingSink(lambda: TransientSinkError("connection refused")), RecordingSink()
        await add(deliveries, "dead", dead)
        await add(deliveries, "well", well)
        await publish(deliveries, 50, "dead")
        async with Reconciler(deliveries, workers=2):
            for _ in range(100):
                await publish(deliveries, 1, "well")
                await asyncio.sleep(0.1)

        assert len(well.uuids) == 100
        assert len(dead.attempts) <= 7


class TestStore:
    async def test_a_store_that_fails_is_asked_again_and_logged_once(
        self, deliveries: Deliveries, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After longer and longer pauses; one line when it begins to fail and one when that ends."""
        caplog.set_level("INFO")
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        faults.fail("due", lambda number, _: locked() if number <= 4 else None)
        async with Reconciler(deliveries, workers=1) as reconciler:
            await publish(deliveries, 1, "acme")
            await sink.reached(1)
            took = _now()
            await _settled(deliveries)
            await asyncio.sleep(1)
            state = reconciler.state

        lines = [record.getMessage() for record in caplog.records if "the store of" in record.getMessage()]
        assert lines == [
            "the store of eventpipe-reconciler fails, and is tried again: database is locked",
            "the store of eventpipe-reconciler works again",
        ]
        assert took == pytest.approx(0.5 + 1 + 2 + 4, abs=0.1)
        assert state is ServiceState.RUNNING

    async def test_it_fails_when_its_deliveries_stop_before_it(self, deliveries: Deliveries) -> None:
        """And says so, instead of waiting for ever."""
        reconciler = Reconciler(deliveries, workers=1)
        await reconciler.start()
        await asyncio.sleep(1)
        await deliveries.stop()
        await reconciler.stopped()

        assert reconciler.state is ServiceState.FAILED
        assert isinstance(reconciler.error, ClosedError)

    async def test_it_waits_for_the_lock_and_takes_over(self, deliveries: Deliveries) -> None:
        """Within one interval of its release."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        lease = Lease(deliveries.store, "passes")
        await lease.acquire()
        async with Reconciler(deliveries, workers=1, lock="passes", interval=5):
            await publish(deliveries, 1, "acme")
            await asyncio.sleep(60)
            attempts = len(sink.attempts)
            released_at = _now()
            await lease.release()
            await sink.reached(1)
            took = _now() - released_at
            await _settled(deliveries)

        assert attempts == 0
        assert took <= 5 + AT_ONCE


class TestStop:
    async def test_a_stop_waits_for_what_is_being_attempted_and_begins_nothing(self, deliveries: Deliveries) -> None:
        """What runs is written; the rest stays due, and nobody has it."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        reconciler = Reconciler(deliveries, workers=2)
        await reconciler.start()
        await publish(deliveries, 5, "acme")
        await sink.reached(2)
        stopping = asyncio.create_task(reconciler.stop())
        await asyncio.sleep(3)
        assert not stopping.done()
        sink.release()
        report = await stopping

        assert (bool(report), report.stopped, len(sink.attempts)) == (True, (reconciler.name,), 2)
        rows = await deliveries.rows()
        assert sum(row.state is DeliveryState.SUCCESS for row in rows) == 2
        assert all(row.claimed_until is None for row in rows)

    async def test_a_stop_cancels_at_its_deadline_and_releases_its_claims(self, deliveries: Deliveries) -> None:
        """It returns in time, and everything is due at once."""
        sink = HangingSink()
        await add(deliveries, "acme", sink)
        reconciler = Reconciler(deliveries, workers=2)
        await reconciler.start()
        await publish(deliveries, 2, "acme")
        await sink.reached(2)
        began = _now()
        report = await reconciler.stop(2)

        assert 2 <= _now() - began <= 2.25
        assert (bool(report), sink.running) == (True, 0)
        assert [(row.state, row.claimed_until) for row in await deliveries.rows()] == [
            (DeliveryState.PENDING, None)
        ] * 2

    async def test_a_stop_names_attempts_that_ignore_their_cancellation(self, deliveries: Deliveries) -> None:
        """And returns in time; their rows stay claimed, because they may arrive yet."""
        sink = HangingSink(swallows=100)
        await add(deliveries, "acme", sink)
        reconciler = Reconciler(deliveries, workers=2)
        await reconciler.start()
        await publish(deliveries, 1, "acme")
        await sink.reached(1)
        began = _now()
        report = await reconciler.stop(1)
        took = _now() - began
        row = await only_row(deliveries)
        await sink.release()
        await asyncio.sleep(0.1)

        assert took <= 1.25
        assert len(report.stragglers) == 1
        assert "attempts worker" in report.stragglers[0]
        assert row.claimed_until is not None

    async def test_it_starts_again(self, deliveries: Deliveries) -> None:
        """As often as anybody likes, also right after a stop that cut something off."""
        sink = GatedSink()
        await add(deliveries, "acme", sink)
        reconciler = Reconciler(deliveries, workers=1)
        for number in range(1, 4):
            await reconciler.start()
            await publish(deliveries, 1, "acme")
            await sink.reached(number)
            await reconciler.stop(0)
        sink.release()
        async with reconciler:
            await _settled(deliveries)

        assert await states(deliveries) == [DeliveryState.SUCCESS] * 3

    async def test_cut_off_it_leaves_no_task_and_no_claim(self, deliveries: Deliveries) -> None:
        """As a group of services does that has no time left."""
        sink = HangingSink()
        await add(deliveries, "acme", sink)
        reconciler = Reconciler(deliveries, workers=1)
        await reconciler.start()
        await publish(deliveries, 1, "acme")
        await sink.reached(1)
        reconciler.cancel()
        await reconciler.stopped()

        assert (await only_row(deliveries)).claimed_until is None
        assert [task for task in asyncio.all_tasks() if "reconciler" in task.get_name()] == []

    async def test_a_pass_can_be_asked_for_while_it_runs(self, deliveries: Deliveries) -> None:
        """It shares the workers."""
        sink = RecordingSink()
        await add(deliveries, "acme", sink)
        async with Reconciler(deliveries, workers=2) as reconciler:
            await publish(deliveries, 20, "acme")
            report = await reconciler.reconcile()
            await _settled(deliveries)
        statistics = reconciler.statistics()

        assert report.claimed <= 20
        assert (statistics.succeeded, len(sink.uuids)) == (20, 20)


async def test_parked_it_takes_a_handful_of_steps_an_hour(clock: LoopClock) -> None:
    """Of the loop; with the store in memory, for one with a thread has its own polls."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    async with (
        Deliveries(MemoryStore(clock=clock), clock=clock) as deliveries,
        Reconciler(deliveries, workers=2, interval=60),
    ):
        await asyncio.sleep(1)
        before = loop.steps
        await asyncio.sleep(3600)

        assert loop.steps - before <= 60 * 30
