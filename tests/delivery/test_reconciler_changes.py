"""An endpoint that is changed while a pass runs: what begins after the change goes by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from eventpipe.delivery.attempting import Held
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.delivery.workers import Workers
from eventpipe.events import Batch
from eventpipe.outcomes import Verdict
from eventpipe.stores.delivery_values import DeliveryState, EndpointState
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults
from tests.delivery.test_reconciler_passes import add, publish, states

pytestmark = pytest.mark.asyncio

Change = Callable[[Deliveries], Awaitable[object]]

CHANGES: dict[str, Change] = {
    "paused": lambda deliveries: deliveries.pause_endpoint("acme"),
    "disabled": lambda deliveries: deliveries.disable_endpoint("acme"),
    "removed": lambda deliveries: deliveries.remove_endpoint("acme"),
}


class SteadySink(RecordingSink):
    """Answers each attempt after ten milliseconds."""

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        await asyncio.sleep(0.01)
        return await super()._answer(batch)


async def publish_steadily(deliveries: Deliveries) -> None:
    """Publish to another endpoint again and again, which moves the version of what is kept."""
    while True:
        await publish(deliveries, 1, "other")
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("change", CHANGES)
async def test_nothing_begins_once_an_endpoint_was_changed(deliveries: Deliveries, change: str) -> None:
    """Neither what is due nor what is claimed already, however much is published meanwhile."""
    sink = SteadySink()
    await add(deliveries, "acme", sink)
    await add(deliveries, "other", RecordingSink())
    await publish(deliveries, 400, "acme")
    async with Reconciler(deliveries, workers=4) as reconciler:
        publishing = asyncio.create_task(publish_steadily(deliveries))
        await sink.reached(40)
        await CHANGES[change](deliveries)
        begun = len(sink.attempts)
        await asyncio.sleep(0.5)
        publishing.cancel()
        await asyncio.sleep(0.2)
        assert reconciler.statistics().in_flight == 0
    rows = [row for row in await deliveries.rows(limit=10_000) if row.endpoint == "acme"]

    assert len(sink.attempts) - begun == 0
    assert 40 <= begun < 100
    assert [row.claimed_until for row in rows if row.claimed_until is not None] == []
    left = DeliveryState.PENDING if change == "paused" else DeliveryState.FAILED
    assert sum(row.state is left for row in rows) == 400 - begun


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED, EndpointState.REMOVED])
async def test_nothing_begins_that_was_given_a_slot_in_the_step_in_which_its_endpoint_was_held_back(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch, state: EndpointState
) -> None:
    """The call that held it back returns before the attempt would begin; the row is nobody's then."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 3, "acme")
    begin = Workers.begin

    def begin_and_hold_back(workers: Workers, held: Held) -> None:
        begin(workers, held)
        endpoint = held.lane.endpoint
        for listener in deliveries.endpoint_listeners:
            listener(replace(endpoint, state=state, version=endpoint.version + 1))

    monkeypatch.setattr(Workers, "begin", begin_and_hold_back)
    report = await Reconciler(deliveries, workers=2).reconcile()

    assert (sink.attempts, report.succeeded, report.errors) == ([], 0, ())
    assert report.claimed == report.failed + report.skipped
    assert [(row.claimed_until, row.total_attempts) for row in await deliveries.rows()] == [(None, 0)] * 3


async def test_what_begins_once_an_endpoint_was_replaced_goes_where_it_leads_now(deliveries: Deliveries) -> None:
    """All of it, in the same pass."""
    old, new = SteadySink(), SteadySink()
    await add(deliveries, "acme", old)
    await add(deliveries, "other", RecordingSink())
    await publish(deliveries, 200, "acme")
    async with Reconciler(deliveries, workers=4):
        publishing = asyncio.create_task(publish_steadily(deliveries))
        await old.reached(40)
        await deliveries.add_endpoint(Endpoint("acme", sink=new), replace=True)
        begun = len(old.attempts)
        await new.reached(200 - begun)
        publishing.cancel()
        await asyncio.sleep(0.5)

    assert (len(old.attempts), len(new.attempts)) == (begun, 200 - begun)


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED, EndpointState.REMOVED])
async def test_pass_goes_by_what_another_process_changed_before_it_claimed(
    deliveries: Deliveries, faults: Faults, state: EndpointState
) -> None:
    """It is handed nothing for what it knows, looks, and does with the rest what is to be done with it."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 30, "acme")

    async def change(number: int) -> None:
        if number == 1:
            await faults.kept.set_endpoint_state("acme", state, None)

    faults.before("claim", change)
    report = await Reconciler(deliveries, workers=2).reconcile()

    assert sink.attempts == []
    is_paused = state is EndpointState.PAUSED
    assert (report.claimed, report.failed) == ((0, 0) if is_paused else (30, 30))
    assert set(await states(deliveries)) == {DeliveryState.PENDING if is_paused else DeliveryState.FAILED}


async def test_pass_goes_on_with_an_endpoint_that_another_process_changed(
    deliveries: Deliveries, faults: Faults
) -> None:
    """Everything is attempted once, in this very pass; whatever was changed while it claimed is claimed again."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 60, "acme")

    async def change(number: int) -> None:
        if number in (1, 3):
            (acme,) = await faults.kept.endpoints("acme")
            await faults.kept.put_endpoint(acme, None, replace=True)

    faults.before("claim", change)
    report = await Reconciler(deliveries, workers=2).reconcile()

    assert (report.claimed, report.succeeded, report.skipped) == (60, 60, 0)
    assert len(sink.attempts) == len(set(sink.uuids)) == 60


async def test_endpoint_that_is_resumed_while_its_rows_are_refused_keeps_the_rest(
    deliveries: Deliveries, faults: Faults
) -> None:
    """What another process resumes is attempted in the same pass."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 10, "acme")
    await deliveries.disable_endpoint("acme")

    async def resume(number: int) -> None:
        if number == 1:
            await faults.kept.set_endpoint_state("acme", EndpointState.ACTIVE, None)

    faults.before("claim", resume)
    report = await Reconciler(deliveries, workers=2).reconcile()

    assert (report.succeeded, report.failed, len(sink.attempts)) == (10, 0, 10)
