"""A reconciler makes as many passes as something calls for, and begins nothing that nobody wants any more."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import TransientSinkError
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.stores.delivery_values import DeliveryState
from eventpipe.testing import GatedSink
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults
from tests.delivery.test_reconciler_passes import FailingSink, add, publish, states

pytestmark = pytest.mark.asyncio


async def test_endpoint_that_waits_for_its_probe_calls_for_no_passes(deliveries: Deliveries) -> None:
    """While another has an attempt in flight, whose row is due whoever has it."""
    slow = GatedSink()
    await add(deliveries, "dead", FailingSink(lambda: TransientSinkError("no")))
    await add(deliveries, "slow", slow)
    async with Reconciler(deliveries, workers=4, interval=60) as reconciler:
        await publish(deliveries, 1, "dead")
        await asyncio.sleep(30)
        await publish(deliveries, 1, "dead")
        await asyncio.sleep(0.1)  # failed for the third time: probed again in 4 s
        await publish(deliveries, 1, "slow")
        await slow.reached(1)
        await asyncio.sleep(0.1)
        before = reconciler.statistics().passes
        await publish(deliveries, 1, "dead")
        await asyncio.sleep(3)
        passes = reconciler.statistics().passes - before
        slow.release()

    assert 1 <= passes <= 2


async def test_endpoint_whose_rate_is_spent_calls_for_no_passes(deliveries: Deliveries) -> None:
    """The pass that has its rows waits for the rate; a later one leaves them to it."""
    slow, limited = GatedSink(), RecordingSink()
    await deliveries.add_endpoint(Endpoint("limited", sink=limited, rate_limit=0.01))
    await add(deliveries, "slow", slow)
    await publish(deliveries, 1, "slow")
    await publish(deliveries, 1, "limited")
    async with Reconciler(deliveries, workers=4, interval=600) as reconciler:
        await limited.reached(1)
        await asyncio.sleep(0.3)
        before = reconciler.statistics().passes
        await publish(deliveries, 1, "limited")
        await asyncio.sleep(10)
        passes = reconciler.statistics().passes - before
        slow.release()
        await limited.reached(2)

    assert 1 <= passes <= 4


async def test_stop_that_comes_while_a_pass_opens_begins_nothing(deliveries: Deliveries, faults: Faults) -> None:
    """However much is due, and however long the stop may take."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 50, "acme")
    opening = faults.hold("rescue")
    reconciler = Reconciler(deliveries, workers=2)
    await reconciler.start()
    await asyncio.sleep(0.01)
    assert "rescue" in faults.calls
    stopping = asyncio.create_task(reconciler.stop())
    await asyncio.sleep(0)
    opening.set()
    await stopping

    assert sink.attempts == []
    assert await states(deliveries) == [DeliveryState.PENDING] * 50
    assert all(row.claimed_until is None for row in await deliveries.rows())
