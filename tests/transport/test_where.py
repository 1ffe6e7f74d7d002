"""A filter's fault costs its sink the event, and the caller nothing."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient
from eventpipe.events import CapturedEvent
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    "error",
    [ValueError(), asyncio.CancelledError(), RecursionError(), SystemExit()],
    ids=lambda error: type(error).__name__,
)
async def test_a_filter_that_raises_does_not_reach_the_caller(error: BaseException) -> None:
    """Not as a cancellation of the caller's task either; the other sink has the event."""

    def where(event: CapturedEvent) -> bool:
        raise error

    strict, other = MemorySink(where=where), MemorySink()
    async with AsyncClient(strict, other) as client:
        receipt = await client.capture("e")
        assert client.capture_nowait("e").accepted

    assert receipt.accepted
    assert ([event.event for event in strict.events], len(other.events)) == ([], 2)
    assert check_ledger(client, drained=True).hook_errors == 2
