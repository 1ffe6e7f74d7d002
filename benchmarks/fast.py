"""Loads that go as fast as they can: what an event costs, and how many pass."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Iterator

from benchmarks.clocks import clock_cost, herd, percentile, ticker, timed
from benchmarks.subject import Gated, Subject
from benchmarks.workload import Captured, Result, take

ROUND = 8_000  # below the bound of 10 000 that most queues have, and a whole number of batches of 100 and of 500
SETTLING = 0.05  # seconds in which what was captured reaches the workers


async def throughput(
    subject: Subject,
    events: Iterator[Captured],
    *,
    total: int,
    batch_events: int,
    round_events: int = ROUND,
    receipts: str = "ignored",
) -> Result:
    """Capture as fast as it goes, in rounds that the queue has room for, each waited for.

    The producer gives way after as many events as fill a batch: for a loop written by hand the best that can happen.
    The receipts of a batch may be ``kept`` until the next one, or ``awaited``.
    """
    began, wall = time.process_time(), time.perf_counter()
    for done in range(0, total, round_events):
        size = min(round_events, total - done)
        for at in range(0, size, batch_events):
            batch = take(events, min(batch_events, size - at))
            if receipts == "ignored":
                await capture(subject, batch)
            else:
                kept = [await subject.capture(name, distinct_id=who, properties=what) for name, who, what in batch]
                if receipts == "awaited":
                    for receipt in kept:
                        await receipt.outcome()
            await asyncio.sleep(0)
        await subject.drain()
    return _speed(total, began, wall)


async def flood(
    subject: Subject, events: Iterator[Captured], *, total: int, batch_events: int, producers: int = 1
) -> Result:
    """Capture without rounds: who waits for room is held up by the far end, nothing else holds anybody up.

    Together the producers give way once for each full batch, and one of them at the latest after each of its events.
    """
    began, wall = time.process_time(), time.perf_counter()
    each = total // producers
    chunk = max(1, batch_events // producers)

    async def produce() -> None:
        for at in range(0, each, chunk):
            await capture(subject, take(events, min(chunk, each - at)))
            await asyncio.sleep(0)

    await asyncio.gather(*(produce() for _ in range(producers)))
    await subject.drain()
    return _speed(each * producers, began, wall)


async def hurried(
    subject: Subject, events: Iterator[Captured], *, total: int, batch_events: int, round_events: int = ROUND
) -> Result:
    """As ``throughput()``, each call timed: what a capture takes while all the rest works, and no cache is cold."""
    cost = clock_cost()
    taken = array("q")
    for done in range(0, total, round_events):
        size = min(round_events, total - done)
        for at in range(0, size, batch_events):
            await timed(subject, take(events, min(batch_events, size - at)), taken)
            await asyncio.sleep(0)
        await subject.drain()
    us = sorted((ns - cost) / 1e3 for ns in taken)
    return {"captured": total, "figures": {"p50_us": percentile(us, 50), "p99_us": percentile(us, 99)}}


async def tight_loop(subject: Subject, events: Iterator[Captured], *, total: int) -> Result:
    """Captures and nothing else; the moments let the far end say what had arrived when the loop ended."""
    began = time.monotonic()
    await capture(subject, take(events, total))
    ended = time.monotonic()
    await subject.drain()
    figures = {"loop_us": (ended - began) / total * 1e6}
    return {"captured": total, "figures": figures, "moments": {"began": began, "ended": ended}}


async def burst(subject: Subject, events: Iterator[Captured], *, total: int) -> Result:
    """So many captures in a row, as from one handler, then what it takes until they are sent."""
    began = time.perf_counter()
    async with ticker() as late:
        await capture(subject, take(events, total))
        captured = time.perf_counter() - began
    await subject.drain()
    drained = time.perf_counter() - began
    figures = {"capture_seconds": captured, "drained_seconds": drained, "lag_max_ms": max(late) * 1e3}
    return {"captured": total, "figures": figures}


async def flush_storm(subject: Gated, events: Iterator[Captured], *, pending: int, flushers: int) -> Result:
    """CPU that each flusher beyond the first adds when many wait for the same events, without the task around it."""
    used = []
    for size in (1, flushers):
        subject.gate.clear()
        await capture(subject, take(events, pending))
        await asyncio.sleep(SETTLING)
        used.append(await herd(size, subject.drain, subject.gate))
    task = await herd(flushers, nothing, subject.gate) / flushers
    flush = (used[1] - used[0]) / (flushers - 1) - task
    return {"captured": 0, "figures": {"flush_us": flush, "task_us": task}}  # nothing is meant for the far end


async def nothing() -> None:
    """Stands for a flush where the task around it is measured."""


async def capture(subject: Subject, events: Iterator[Captured]) -> None:
    """Capture all of ``events`` in a row."""
    call = subject.capture
    if subject.is_async:
        for event, distinct_id, properties in events:
            await call(event, distinct_id=distinct_id, properties=properties)
    else:
        for event, distinct_id, properties in events:
            call(event, distinct_id=distinct_id, properties=properties)


def _speed(total: int, began: float, wall: float) -> Result:
    used, elapsed = time.process_time() - began, time.perf_counter() - wall
    return {"captured": total, "figures": {"cpu_us": used / total * 1e6, "per_second": total / elapsed}}
