"""The machine's clock is set while a reconciler runs: every row is settled, by a moment that is known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from eventpipe import TransientSinkError
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.policy import DELAYS, HOUR
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.stores.delivery_values import DeliveryRow, DeliveryState
from eventpipe.testing import GatedSink
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import claimed_by_hand
from tests.delivery.test_reconciler_passes import add, only_row, publish

INTERVAL: Final = 100.0
# Seconds until a row is found that a clock left lying: there is a pass every interval, and in every interval one that
# asks for such rows. A second more is what it may take to deliver it.
FOUND: Final = 2 * INTERVAL + 1
TTL: Final = 60.0
MINUTE, DAY = 60.0, 24 * HOUR

pytestmark = pytest.mark.asyncio


class OnceFailing(RecordingSink):
    """Fails the first attempt."""

    async def _answer(self, batch: object) -> None:
        del batch
        if len(self.attempts) == 1:
            raise TransientSinkError("no")


async def _pending(deliveries: Deliveries) -> None:
    """Published, and not attempted."""
    await deliveries.pause_endpoint("acme")
    await publish(deliveries, 1, "acme")


async def _claimed(deliveries: Deliveries) -> None:
    """In the hands of one who has died."""
    await _pending(deliveries)
    await claimed_by_hand(deliveries, "acme", lasts=TTL)


async def _retrying(deliveries: Deliveries) -> None:
    """Attempted once, and due again."""
    await publish(deliveries, 1, "acme")
    while not (await only_row(deliveries)).attempts:  # noqa: ASYNC110  # time is virtual
        await asyncio.sleep(0.01)
    await deliveries.pause_endpoint("acme")


@pytest.mark.parametrize(
    ("bring", "jump", "within"),
    [
        # A row that was never attempted is due when it is published, and at no moment after that.
        pytest.param(_pending, -10 * MINUTE, FOUND, id="pending, back 10 min"),
        pytest.param(_pending, -12 * HOUR, FOUND, id="pending, back 12 h"),
        pytest.param(_pending, -3 * DAY, FOUND, id="pending, back 3 d"),
        pytest.param(_pending, DAY, INTERVAL + 1, id="pending, forward 1 d"),
        # A claim may last an hour, so that one of a later hour is nobody's.
        pytest.param(_claimed, -10 * MINUTE, 10 * MINUTE + TTL + INTERVAL + 1, id="claimed, back 10 min"),
        pytest.param(_claimed, -12 * HOUR, FOUND, id="claimed, back 12 h"),
        pytest.param(_claimed, -3 * DAY, FOUND, id="claimed, back 3 d"),
        pytest.param(_claimed, DAY, INTERVAL + 1, id="claimed, forward 1 d"),
        # A delay may be of a day, so that a row that is due later than that is due now.
        pytest.param(_retrying, -10 * MINUTE, 10 * MINUTE + DELAYS[0] + 1, id="retrying, back 10 min"),
        pytest.param(_retrying, -12 * HOUR, 12 * HOUR + DELAYS[0] + 1, id="retrying, back 12 h"),
        pytest.param(_retrying, -3 * DAY, FOUND, id="retrying, back 3 d"),
        pytest.param(_retrying, DAY, INTERVAL + 1, id="retrying, forward 1 d"),
    ],
)
async def test_a_row_is_settled_however_the_clock_is_set(
    deliveries: Deliveries,
    clock: LoopClock,
    bring: Callable[[Deliveries], Awaitable[None]],
    jump: float,
    within: float,
) -> None:
    """Set back, or forward, while the reconciler runs: the row is delivered, and not later than is said here."""
    sink = OnceFailing() if bring is _retrying else RecordingSink()
    await add(deliveries, "acme", sink)
    loop = asyncio.get_running_loop()
    async with Reconciler(deliveries, workers=2, interval=INTERVAL, claim_ttl=TTL):
        await bring(deliveries)
        clock.jump(jump)
        began = loop.time()
        await deliveries.resume_endpoint("acme")
        row = await _settled(deliveries, began + within)

    assert row.state is DeliveryState.SUCCESS
    assert len(sink.attempts) == row.total_attempts == (2 if bring is _retrying else 1)


@pytest.mark.parametrize("jump", [-10 * MINUTE, -12 * HOUR, -3 * DAY, DAY], ids=["10 min", "12 h", "3 d", "on 1 d"])
async def test_an_attempt_that_runs_is_written_however_the_clock_is_set(
    deliveries: Deliveries, clock: LoopClock, jump: float
) -> None:
    """At once when the far end answers; its reconciler, which knows that it runs, sends it once."""
    sink = GatedSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 1, "acme")
    async with Reconciler(deliveries, workers=2, interval=INTERVAL, claim_ttl=TTL):
        await sink.reached(1)
        clock.jump(jump)
        sink.release()
        row = await _settled(deliveries, asyncio.get_running_loop().time() + 1)

    assert (row.state, row.total_attempts, len(sink.attempts)) == (DeliveryState.SUCCESS, 1, 1)


async def _settled(deliveries: Deliveries, deadline: float) -> DeliveryRow:
    """The row once it is final, or at a moment of the loop's clock."""
    loop = asyncio.get_running_loop()
    while (row := await only_row(deliveries)).settled_at is None and loop.time() < deadline:  # noqa: ASYNC110  # time is virtual
        await asyncio.sleep(min(INTERVAL / 10, deadline - loop.time()))
    return row
