"""A spool on a real disk of 1 MiB: what it accepts until that is full, what happens then, and how it goes on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from eventpipe import AsyncClient, DropReason, RetryPolicy, TransientSinkError
from eventpipe.events import SpoolOverflow
from eventpipe.testing import check_ledger
from eventpipe.testing.recording import RecordingSink

SAID_WITHIN = 0.05  # seconds after which who captures knows that the disk is full
IN_MEMORY = 100
TEXT = "x" * 130  # which makes an event of 300 bytes

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60), pytest.mark.asyncio]


class FarEnd(RecordingSink):
    """Is down until it is up."""

    is_up = False

    async def _answer(self, batch: object) -> None:
        if not self.is_up:
            raise TransientSinkError("down")


def client_on(disk: Path, sink: FarEnd, overflow: SpoolOverflow = "drop_newest") -> AsyncClient:
    return AsyncClient(
        sink,
        spool=disk / "spool",
        spool_overflow=overflow,
        durability="process",
        queue_events=IN_MEMORY,
        batch_events=50,
        max_batch_age=0.01,
        close_timeout=5,
        retry=RetryPolicy(max_attempts=1_000_000, initial=0.01, min_delay=0.01, max_delay=0.01),
    )


async def fill(client: AsyncClient, refusals: int = 20) -> tuple[list[str], float, int]:
    """Capture until so many were not written; ids of what was before, the slowest refusal, and the size of an event."""
    kept: list[str] = []
    slowest, refused, size = 0.0, 0, 0
    while refused < refusals:
        began = time.perf_counter()
        receipt = await client.capture("paid", distinct_id="customer", properties={"text": TEXT})
        size = len(receipt._event.data)
        if receipt.durability == "process":
            kept.append(receipt.uuid)
        else:
            refused += 1
            slowest = max(slowest, time.perf_counter() - began)
    return kept, slowest, size


async def arrived(client: AsyncClient, sink: FarEnd) -> None:
    """Wait until everything that is kept has arrived."""
    sink.is_up = True
    async with asyncio.timeout(30):
        while not client._spool.is_empty or client.statistics().pending:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    sink.is_up = False


async def test_full_disk_costs_what_is_new_and_is_used_again_once_it_is_drained(disk: Path) -> None:
    """Full three times over: at least 2 000 events of 300 bytes each time, all of which arrive once."""
    sink, expected, counts, delays = FarEnd(name="far end"), [], [], []
    async with client_on(disk, sink) as client:
        for _ in range(3):
            kept, slowest, size = await fill(client)
            assert 280 <= size <= 320
            check_ledger(client)
            expected += kept
            counts.append(len(kept))
            delays.append(slowest)
            await arrived(client, sink)
        numbers = client.statistics()
        assert numbers.dropped_by_reason.keys() == {DropReason.QUEUE_FULL}
    print(f"{counts} events accepted, {max(delays) * 1e3:.1f} ms for the slowest refusal")  # noqa: T201
    assert min(counts) >= 2_000
    assert max(delays) < SAID_WITHIN
    assert set(expected) <= set(sink.uuids)
    check_ledger(client, received=sink.uuids, drained=True)
    assert list((disk / "spool").iterdir()) == []


async def test_full_disk_lets_the_oldest_go_where_that_is_wanted(disk: Path) -> None:
    """What is new is on disk all the same, and what goes for it is counted."""
    sink = FarEnd(name="far end")
    async with client_on(disk, sink, "drop_oldest") as client:
        kept = []
        for _ in range(6_000):
            receipt = await client.capture("paid", distinct_id="customer", properties={"text": TEXT})
            kept.append(receipt.uuid)
        numbers = check_ledger(client)
        assert numbers.dropped_by_reason.keys() <= {DropReason.QUEUE_FULL}
        assert numbers.spooled + numbers.pending >= 2_000
        await arrived(client, sink)
    assert Counter(sink.uuids).most_common(1)[0][1] == 1
    check_ledger(client, received=sink.uuids, drained=True)
    late = kept[-1_000:]
    assert len(set(late) & set(sink.uuids)) >= 900


async def test_client_starts_on_a_full_disk_and_empties_it(disk: Path) -> None:
    """What an earlier life left arrives, and there is room again."""
    sink = FarEnd(name="far end")
    async with client_on(disk, sink) as client:
        kept, _, _ = await fill(client)
    sink = FarEnd(name="far end")
    async with client_on(disk, sink) as client:
        await arrived(client, sink)
        again, _, _ = await fill(client, 1)
        assert len(again) >= 2_000
        await arrived(client, sink)
    assert set(kept) | set(again) <= set(sink.uuids)
