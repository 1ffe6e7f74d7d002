"""Several reconcilers, endpoints and callers at once: nobody waits for a far end, and each gets a turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.errors import StoreError
from eventpipe.stores.delivery_values import DeliveryState
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing import GatedSink
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults, locked
from tests.delivery.test_reconciler_lines import TimedSink
from tests.delivery.test_reconciler_passes import add, publish, states

pytestmark = pytest.mark.asyncio


class OrderedSink(TimedSink):
    """Notes in a list that several share that it was its turn."""

    def __init__(self, name: str, order: list[str]) -> None:
        super().__init__(0.01)
        self._name = name
        self._order = order

    async def _answer(self, batch: object) -> None:
        self._order.append(self._name)
        await super()._answer(batch)


async def test_two_that_race_send_each_once_and_list_each_error(deliveries: Deliveries, faults: Faults) -> None:
    """A hundred rows, of which ten cannot be written: each error is in one report, and none goes out twice."""
    sink = TimedSink(0.01)
    await add(deliveries, "acme", sink)
    await publish(deliveries, 100, "acme")
    faults.fail("change", lambda _, args: locked() if any(one.id % 10 == 0 for one in args[0]) else None)

    reports = await asyncio.gather(*(Reconciler(deliveries, workers=4).reconcile() for _ in range(2)))

    assert sorted(id_ for report in reports for id_, _ in report.errors) == [*range(10, 101, 10)]
    assert {type(error) for report in reports for _, error in report.errors} == {StoreError}
    assert sum(report.claimed - report.skipped for report in reports) == 100
    assert sum(report.succeeded for report in reports) == 90
    assert min(report.succeeded for report in reports) > 0
    assert len(set(sink.uuids)) == len(sink.uuids) == 100
    assert 4 < sink.most_running <= 8
    assert Counter(await states(deliveries)) == {DeliveryState.SUCCESS: 90, DeliveryState.PENDING: 10}


async def test_more_endpoints_than_workers_take_turns(deliveries: Deliveries) -> None:
    """However many rows each has, none is ever more than eight attempts ahead of another."""
    order: list[str] = []
    for number in range(7):
        name = f"customer-{number}"
        await add(deliveries, name, OrderedSink(name, order))
        await publish(deliveries, 30, name)

    report = await Reconciler(deliveries, workers=2).reconcile()

    assert (report.succeeded, len(order)) == (210, 210)
    for count in range(30):
        after = Counter(order[: 7 * count])
        assert max(after.values(), default=0) - min(after[f"customer-{n}"] for n in range(7)) <= 8


@pytest.mark.parametrize("change", ["pause", "disable", "remove"])
async def test_no_attempt_begins_when_its_endpoint_has_been_held_back(deliveries: Deliveries, change: str) -> None:
    """Not one, from the moment at which the call returns, although something else is published all the time."""
    sink = TimedSink(0.002)
    await add(deliveries, "acme", sink)
    await add(deliveries, "other", RecordingSink())
    await publish(deliveries, 1000, "acme")

    async def go_on_publishing() -> None:
        while True:
            await publish(deliveries, 1, "other")
            await asyncio.sleep(0.01)

    async with Reconciler(deliveries, workers=4), asyncio.TaskGroup() as group:
        publishing = group.create_task(go_on_publishing())
        await sink.reached(100)
        await getattr(deliveries, f"{change}_endpoint")("acme")
        begun = len(sink.attempts)
        await asyncio.sleep(2)
        publishing.cancel()

    assert len(sink.attempts) == begun < 1000


@pytest.mark.parametrize("lock", [None, "passes"], ids=["alone", "with a lock"])
async def test_an_attempt_holds_neither_a_transaction_nor_a_lock(
    tmp_path: Path, clock: LoopClock, lock: str | None
) -> None:
    """While a far end takes its time, everybody else writes at once: this process, and another with the same file."""
    sink = GatedSink()
    here, there = (
        Deliveries(SqliteStore(tmp_path / "events.db", shared=True, durability="process", clock=clock), clock=clock)
        for _ in range(2)
    )
    async with here, there:
        await add(here, "acme", sink)
        await publish(here, 1, "acme")
        async with Reconciler(here, workers=2, lock=lock) as reconciler:
            await sink.reached(1)
            async with asyncio.timeout(1):
                assert (await reconciler.reconcile()).claimed == 0
                await there.add_endpoint(Endpoint("other", "https://other.example/"))
                await there.pause_endpoint("other")
                await there.publish("paid", endpoints=["other"])
                await here.add_endpoint(Endpoint("third", "https://third.example/"))
                await here.pause_endpoint("third")
                await here.publish("paid", endpoints=["third"])
            assert sink.running == 1
            sink.release()
        assert (await states(here))[0] is DeliveryState.SUCCESS
