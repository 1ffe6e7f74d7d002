"""Instruments of the loads: how long each call took, how late a loop is, how often it wakes."""

from __future__ import annotations

import asyncio
import gc
import selectors
import statistics
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.subject import Subject
from benchmarks.workload import Captured

TICK = 0.001  # seconds; finer than any answer of a web service, coarse enough to cost little
EMPTY_READS = 8_000  # of the clock, to know what reading it costs
# For a curve: dense where it bends.
PERCENTILES = (0, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99, 100)


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts how often it waits for something to do.

    Attributes:
        waits: How often until now; after each it woke up.
    """

    def __init__(self) -> None:
        self.waits = 0
        selector = selectors.DefaultSelector()
        select = selector.select

        def counted(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            self.waits += timeout is None or timeout > 0
            return select(timeout)

        selector.select = counted  # type: ignore[method-assign]
        super().__init__(selector)


@asynccontextmanager
async def ticker() -> AsyncIterator[array[float]]:
    """Seconds that a task which sleeps for a tick woke too late, again and again; for all that shares its loop."""
    late = array("d")

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            late.append(time.perf_counter() - due)

    task = asyncio.create_task(tick())
    await asyncio.sleep(0)  # its first sleep has begun
    try:
        yield late
        await asyncio.sleep(2 * TICK)  # what held up the loop last is seen too
    finally:
        task.cancel()


async def timed(subject: Subject, events: Iterator[Captured], taken: array[int]) -> None:
    """Capture all of ``events``, and append the nanoseconds that each call took."""
    capture, is_async = subject.capture, subject.is_async
    clock = time.perf_counter_ns
    for event, distinct_id, properties in events:
        began = clock()
        if is_async:
            await capture(event, distinct_id=distinct_id, properties=properties)
        else:
            capture(event, distinct_id=distinct_id, properties=properties)
        taken.append(clock() - began)


async def herd(size: int, wait: Callable[[], Awaitable[object]], released: asyncio.Event) -> float:
    """CPU in microseconds of ``size`` tasks that begin a wait together and are released together, and of their end."""

    async def one() -> None:
        await wait()

    gc.collect()  # what was before is not this herd's
    began = time.process_time()
    tasks = [asyncio.create_task(one()) for _ in range(size)]
    await asyncio.sleep(0)  # every task has begun its wait when this returns
    released.set()
    await asyncio.gather(*tasks)
    return (time.process_time() - began) * 1e6


def clock_cost() -> float:
    """Nanoseconds that a timed call takes too long."""
    clock = time.perf_counter_ns
    empty = array("q")
    for _ in range(EMPTY_READS):
        began = clock()
        empty.append(clock() - began)
    return statistics.median(empty)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of the others do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
