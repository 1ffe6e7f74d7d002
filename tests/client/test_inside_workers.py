"""Calls of the client inside its own workers: none waits for what only that worker could bring about."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient, Batch, DropReason, OutcomeKind, Receipt
from eventpipe.events import Overflow
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import check_ledger

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("workers", [1, 3])
async def test_deliver_inside_send_is_refused_in_words(workers: int) -> None:
    """Where every worker did it, each would wait for a free one; the error names the way out, which works."""
    errors: list[RuntimeError] = []

    async def send(batch: Batch) -> None:
        if batch.events[0].event != "outer":
            return
        try:
            await client.deliver("inner")
        except RuntimeError as error:
            errors.append(error)
            client.capture_nowait("later")

    async with AsyncClient(CallbackSink(send), workers=workers, batch_events=1) as client:
        for _ in range(workers):
            await client.capture("outer")
        assert (await client.flush()).pending == 0

    assert len(errors) == workers
    assert "inside send()" in str(errors[0])
    assert "capture_nowait()" in str(errors[0])
    assert check_ledger(client, drained=True).delivered == 2 * workers


async def test_deliver_inside_send_is_refused_at_every_sink_of_the_client() -> None:
    """Its event would go to the worker's own sink as well."""
    refused = asyncio.Event()

    async def send(batch: Batch) -> None:
        with pytest.raises(RuntimeError, match="this very worker"):
            await client.deliver("inner")
        refused.set()

    async with AsyncClient(MemorySink(), CallbackSink(send)) as client:
        await client.capture("outer")
        await client.flush()

    assert refused.is_set()


async def test_deliver_to_another_client_inside_send_waits_for_it() -> None:
    """Workers of another client are free."""
    outcomes: list[OutcomeKind] = []
    other = AsyncClient(MemorySink(), workers=1)

    async def send(batch: Batch) -> None:
        outcomes.extend(outcome.kind for outcome in await other.deliver("inner"))

    async with other, AsyncClient(CallbackSink(send), workers=1) as client:
        await client.capture("outer")
        await client.flush()

    assert outcomes == [OutcomeKind.DELIVERED]


@pytest.mark.parametrize(("option", "argument"), [("wait", None), ("drop_newest", "wait")], ids=["option", "argument"])
async def test_capture_inside_send_never_waits_for_room(option: Overflow, argument: Overflow | None) -> None:
    """Its own batch may be what fills the queue: the event is dropped as if the queue dropped the newest."""
    receipts: list[Receipt] = []

    async def send(batch: Batch) -> None:
        receipts.append(await client.capture("inner", overflow=argument))

    async with AsyncClient(
        CallbackSink(send), workers=2, batch_events=1, queue_events=2, overflow=option, max_batch_age=0
    ) as client:
        for _ in range(2):
            await client.capture("outer")
        assert (await client.flush()).pending == 0
        assert [(receipt.accepted, receipt.reason) for receipt in receipts[:2]] == [(False, DropReason.QUEUE_FULL)] * 2

    assert check_ledger(client, drained=True).dropped_by_reason[DropReason.QUEUE_FULL] == 2


async def test_capture_inside_send_of_one_sink_does_not_wait_for_another() -> None:
    """A worker of the other may wait for room in this one's queue: both would wait for ever."""
    receipts: list[Receipt] = []
    release = asyncio.Event()

    async def hold(batch: Batch) -> None:
        await release.wait()

    async def send(batch: Batch) -> None:
        if not receipts:
            receipts.append(await client.capture("inner", overflow="wait"))
        release.set()

    slow, quick = CallbackSink(hold, name="slow"), CallbackSink(send, name="quick")
    async with AsyncClient(slow, quick, workers=1, batch_events=1, queue_events=1) as client:
        await client.capture("outer")
        await client.flush()

    assert [receipt.reason for receipt in receipts] == [DropReason.QUEUE_FULL]
