"""Bytes: what is kept beside an event's envelope counts as well."""

from __future__ import annotations

import pytest

from eventpipe import AsyncClient, DropReason
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio


class Lifting(GatedSink):
    lifted = frozenset({"$lib"})


async def test_lifted_properties_count_for_the_limit_of_an_event() -> None:
    """A property that a codec wants outside cannot carry what would be too large inside."""
    sink = Lifting()
    sink.release()
    async with AsyncClient(sink, max_event_bytes=1000) as client:
        receipts = [await client.capture("e", properties={"$lib": "x" * size}) for size in (100, 2000)]
        assert [receipt.reason for receipt in receipts] == [None, DropReason.TOO_LARGE]
    assert [event.lifted for event in sink.events] == [{"$lib": "x" * 100}]


@pytest.mark.parametrize("where", ["lifted", "headers"])
async def test_what_is_kept_beside_the_envelope_counts_for_the_queue(where: str) -> None:
    """``queue_bytes`` bounds all that is held, and all of it leaves with the event."""
    sink = Lifting()
    text = "x" * 3000
    async with AsyncClient(
        sink, batch_events=1, queue_bytes=10_000, max_event_bytes=5_000, max_batch_bytes=5_000
    ) as client:
        arguments = {"properties": {"$lib": text}} if where == "lifted" else {"headers": {"trace": text}}
        receipts = [await client.capture("e", **arguments) for _ in range(5)]  # type: ignore[arg-type]
        assert [receipt.accepted for receipt in receipts] == [True, True, True, False, False]
        assert 9_000 < check_ledger(client).queue_bytes <= 10_000
        sink.release()
        await client.flush()
        assert check_ledger(client).queue_bytes == 0


async def test_batch_bytes_count_what_codecs_put_back() -> None:
    """Two events that fit one batch without their lifted properties travel in two."""
    sink = MemorySink()
    sink.lifted = frozenset({"$lib"})  # type: ignore[attr-defined]  # an optional attribute of the contract
    async with AsyncClient(sink, max_batch_bytes=3000) as client:
        for _ in range(2):
            await client.capture("e", properties={"$lib": "x" * 2000})
    assert [len(batch.events) for batch in sink.batches] == [1, 1]
