"""What waits behind a pause that outlasts the close is given up at once, wherever it waits."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient, DropReason, TransientSinkError
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio


async def test_callers_in_line_do_not_hold_up_a_close_that_can_send_nothing() -> None:
    """They come in as others are given up, and are given up as well: not at the deadline, but now."""
    sink = GatedSink()
    client = AsyncClient(sink, queue_events=2, batch_events=1, workers=1, overflow="wait")
    await client.capture_many(["a", "b"])
    in_line = [asyncio.create_task(client.capture(name)) for name in "cdefg"]
    await sink.reached(1)
    closing = asyncio.create_task(client.aclose(50))
    await asyncio.sleep(0.001)

    sink.release(1, error=TransientSinkError(retry_after=200.0))
    report = await closing

    assert report.elapsed < 1.0
    assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: 7}
    assert len(sink.attempts) == 1
    await asyncio.gather(*in_line)
    check_ledger(client, drained=True)
