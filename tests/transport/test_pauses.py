"""What one Retry-After parked comes back spread over time, however fast the far end is again."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient, RetryPolicy, TransientSinkError
from eventpipe.events import Batch
from eventpipe.sinks import CallbackSink
from eventpipe.testing import check_ledger

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("wait", [1.0, 10.0, 60.0], ids=str)
async def test_twenty_batches_parked_by_one_retry_after_do_not_come_back_in_one_second(wait: float) -> None:
    """None before its end, and not all at its end: each keeps the random part of its own delay."""
    loop = asyncio.get_running_loop()
    back: list[float] = []

    async def busy_then_fast(batch: Batch) -> None:
        is_busy = loop.time() < wait
        if not is_busy:
            back.append(loop.time())
        await asyncio.sleep(0.01)
        if is_busy:
            raise TransientSinkError(retry_after=wait)

    async with AsyncClient(CallbackSink(busy_then_fast), batch_events=1, workers=20) as client:
        await client.capture_many(["e"] * 20)
        await asyncio.sleep(4 * wait + 10)

        assert len(back) == 20
        assert min(back) >= wait
        assert max(back) - min(back) > 1.0
        check_ledger(client, drained=True)


async def test_fresh_events_probe_when_the_retry_after_is_over() -> None:
    """The pause is what the far end asked for; the random part belongs to the batches that were parked."""
    loop = asyncio.get_running_loop()
    sent: list[tuple[float, str]] = []

    def busy_then_fine(batch: Batch) -> None:
        sent.append((loop.time(), batch.events[0].event))
        if len(sent) == 1:
            raise TransientSinkError(retry_after=20.0)

    policy = RetryPolicy(initial=30.0, max_delay=30.0, jitter=0.0)
    async with AsyncClient(CallbackSink(busy_then_fine), batch_events=1, retry=policy) as client:
        await client.capture("parked")
        await asyncio.sleep(1)
        await client.capture("fresh")
        await asyncio.sleep(60)

    assert sent == [(0.0, "parked"), (20.0, "fresh"), (30.0, "parked")]
