"""A far end that is down for long, with a spool: nothing is lost, and what is held in memory does not grow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventpipe import AsyncClient, Batch, TransientSinkError
from eventpipe.testing import check_ledger
from eventpipe.testing.clock import LoopClock
from tests.scale import SCALE

HOURS = 1 if SCALE == 1 else 24  # a day in `nox -s stress`
PER_SECOND = 20
EVENTS = HOURS * 3600 * PER_SECOND
QUEUE = 1_000
MIB = 1024 * 1024
PAGE = 4096
GROWTH = 48 * MIB  # SQLite's cache and the allocator's slack, whatever the hours

pytestmark = [
    pytest.mark.stress,
    pytest.mark.asyncio,
    pytest.mark.timeout(60 * HOURS),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read off /proc"),
]


class FarEnd:
    """Is down until it is up, and marks what it took."""

    name = "far end"

    def __init__(self) -> None:
        self.is_up = False
        self.taken = bytearray(EVENTS)  # how often
        self.count = 0

    async def send(self, batch: Batch) -> None:
        if not self.is_up:
            raise TransientSinkError("down")
        await asyncio.sleep(0.01)
        for event in batch.events:
            self.taken[event.properties["n"]] += 1
        self.count += len(batch.events)

    async def aclose(self) -> None: ...


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def test_outage_of_a_day_costs_disk_and_no_memory(tmp_path: Path) -> None:
    """Twenty events a second, of which all arrive once when it is over; the client's bounds hold throughout."""
    sink = FarEnd()
    async with AsyncClient(
        sink, spool=tmp_path / "spool", spool_bytes=4096 * MIB, queue_events=QUEUE, clock=LoopClock(), workers=4
    ) as client:
        n, before, most = 0, 0, 0
        for second in range(HOURS * 3600):
            for _ in range(PER_SECOND):
                await client.capture("sold", properties={"n": n, "text": "x" * 200})
                n += 1
            await asyncio.sleep(1)
            if second == 300:  # the queue is full, and the disk in use
                before = resident()
            most = max(most, resident() if second % 60 == 0 else 0)
        numbers = check_ledger(client)
        assert (numbers.dropped, numbers.delivered, numbers.captured) == (0, 0, EVENTS)
        assert numbers.pending <= QUEUE
        sink.is_up = True
        while sink.count < EVENTS:  # threads bring it about
            await asyncio.sleep(1)
            most = max(most, resident())
            assert client.statistics().pending <= QUEUE
    print(f"{EVENTS} events, {(most - before) / MIB:.1f} MiB more than after five minutes")  # noqa: T201
    assert sink.taken == bytes([1]) * EVENTS
    assert most - before < GROWTH
    check_ledger(client, drained=True)
