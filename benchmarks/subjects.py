"""One measurement of one subject, in a process of its own: ``python -m benchmarks.subjects '{"scenario": "cpu", …}'``.

A fresh process keeps one run's heap, caches and connections out of the next. The result is one JSON object on standard
output; what takes turns with others is given each by a line on standard input, and answers it with a line. CPU is
``time.process_time()``: user and system time of every thread of this process, and nothing of the far end, which is
another process on another core.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from benchmarks.clocks import herd
from benchmarks.fast import nothing
from benchmarks.floor import Floor, TunedFloor
from benchmarks.process import pin
from benchmarks.slow import resident
from benchmarks.workload import Capture, Result, Settled, endless, pool, take
from eventpipe import AsyncClient, Batch
from eventpipe.codecs import JsonCodec
from eventpipe.sinks import HttpSink

FLUSHED = 1_000
ROUND = 8_000  # below the queue's bound of 10 000, and a whole number of batches of 100 and of 500


@asynccontextmanager
async def floor(url: str, batch_events: int, gzip: bool) -> AsyncIterator[tuple[Capture, Settled]]:
    """The hand-written loop."""
    async with Floor(url, batch_events=batch_events, gzip=gzip) as subject:
        yield subject.capture, subject.settled


@asynccontextmanager
async def tuned(url: str, batch_events: int, gzip: bool) -> AsyncIterator[tuple[Capture, Settled]]:
    """The hand-written loop with a cached stamp."""
    async with TunedFloor(url, batch_events=batch_events, gzip=gzip) as subject:
        yield subject.capture, subject.settled


@asynccontextmanager
async def eventpipe(url: str, batch_events: int, gzip: bool) -> AsyncIterator[tuple[Capture, Settled]]:
    """The client as a user gets it: defaults everywhere but the size of a batch and the compression."""
    sink = HttpSink(url, JsonCodec(), compression="gzip" if gzip else None)
    async with AsyncClient(sink, batch_events=batch_events) as client:

        async def settled(total: int) -> None:
            report = await client.flush()
            assert report, report
            delivered = client.statistics().delivered
            assert delivered == total, f"{delivered} delivered of {total}"

        yield client.capture, settled


Subject = Callable[[str, int, bool], AbstractAsyncContextManager[tuple[Capture, Settled]]]
SUBJECTS: dict[str, Subject] = {"floor": floor, "tuned": tuned, "eventpipe": eventpipe}


async def cpu(*, subject: str, url: str, batch_events: int, gzip: bool, rounds: int) -> AsyncIterator[Result]:
    """CPU per event from capture to delivery, turn by turn.

    The producer gives way after as many events as fill a batch: for the floor the best that can happen, because its
    batches are then full whenever its drainer looks.
    """
    events = endless(pool())
    total = 0
    async with SUBJECTS[subject](url, batch_events, gzip) as (capture, settled):
        for length in turns(rounds):
            began, wall = time.process_time(), time.perf_counter()
            for _ in range(length):
                for _ in range(ROUND // batch_events):
                    for event, distinct_id, properties in take(events, batch_events):
                        await capture(event, distinct_id=distinct_id, properties=properties)
                    await asyncio.sleep(0)
                total += ROUND
                await settled(total)
            used, elapsed = time.process_time() - began, time.perf_counter() - wall
            measured = ROUND * length
            yield {"captured": total, "cpu_us": used / measured * 1e6, "per_second": measured / elapsed}


async def latency(*, subject: str, url: str, batch_events: int, gzip: bool, rounds: int) -> AsyncIterator[Result]:
    """How long ``await capture()`` takes while delivery goes on, less what reading the clock twice takes."""
    events = endless(pool())
    clock = time.perf_counter_ns
    taken, empty = array("q"), array("q")
    total = 0
    async with SUBJECTS[subject](url, batch_events, gzip) as (capture, settled):
        for length in turns(rounds):
            del taken[:], empty[:]
            for _ in range(ROUND):
                began = clock()
                empty.append(clock() - began)
            for _ in range(length):
                for at in range(ROUND):
                    event, distinct_id, properties = next(events)
                    began = clock()
                    await capture(event, distinct_id=distinct_id, properties=properties)
                    ended = clock()
                    taken.append(ended - began)
                    if at % batch_events == batch_events - 1:
                        await asyncio.sleep(0)
                total += ROUND
                await settled(total)
            own = statistics.median(empty)
            ordered = sorted(taken)
            yield {
                "captured": total,
                "p50_us": (ordered[len(ordered) // 2] - own) / 1e3,
                "p99_us": (ordered[len(ordered) * 99 // 100] - own) / 1e3,
            }


def turns(rounds: int) -> Iterator[int]:
    """The rounds of each turn, as it is given on standard input: one that warms up, then ``rounds`` each.

    Between its turns a subject stands still, and nothing of it is pending: another one has the core.
    """
    for number, _ in enumerate(sys.stdin):
        if number == 1:
            gc.collect()  # what the imports left is walked once here: else it falls into one turn or another
        yield rounds if number else 1


class Gate:
    """A sink in this process whose sends wait until it is opened."""

    def __init__(self, expected: int) -> None:
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()  # set when so many events are being sent
        self._missing = expected

    async def send(self, batch: Batch) -> None:
        self._missing -= len(batch.events)
        if self._missing <= 0:
            self.reached.set()
        await self.opened.wait()

    async def aclose(self) -> None:
        self.opened.set()


async def memory(*, events: int) -> Result:
    """Resident memory per event while nothing leaves: what ``events`` pending ones add to a running client."""
    captures = endless(pool())
    sink = Gate(events)
    async with AsyncClient(sink, queue_events=2 * events, queue_bytes=1024 * events, close_timeout=0.5) as client:
        warm = 2_000
        for event, distinct_id, properties in take(captures, warm):
            await client.capture(event, distinct_id=distinct_id, properties=properties)
        gc.collect()
        before = resident()
        for event, distinct_id, properties in take(captures, events):
            await client.capture(event, distinct_id=distinct_id, properties=properties)
        gc.collect()
        after = resident()
        pending = client.statistics().pending
        assert pending == events + warm, f"{pending} pending of {events + warm}"
        sink.opened.set()
    return {"bytes": (after - before) / events}


async def flush(*, flushers: int, repeats: int) -> Result:
    """CPU per flush when many tasks flush the same events at once, its waking included, without the task around it."""
    captures = endless(pool())
    each, tasks = [], []
    for _ in range(repeats):
        sink = Gate(FLUSHED)
        async with AsyncClient(sink) as client:
            for event, distinct_id, properties in take(captures, FLUSHED):
                await client.capture(event, distinct_id=distinct_id, properties=properties)
            await sink.reached.wait()
            each.append(await herd(flushers, client.flush, sink.opened) / flushers)
        tasks.append(await herd(flushers, nothing, sink.opened) / flushers)
    task = statistics.median(tasks)
    return {"us": statistics.median(each) - task, "task_us": task}


async def starvation(*, url: str, events: int) -> Result:
    """A loop of ``await capture()`` and nothing else: what was delivered while it ran, and what found no room."""
    captures = endless(pool())
    async with AsyncClient(HttpSink(url, JsonCodec())) as client:
        for event, distinct_id, properties in take(captures, events):
            await client.capture(event, distinct_id=distinct_id, properties=properties)
        meanwhile = client.statistics().delivered
    after = client.statistics()
    shares = {"delivered_share": meanwhile / events, "dropped_share": after.dropped / events}
    return {"captured": after.delivered, **shares}


IN_TURNS: dict[str, Callable[..., AsyncIterator[Result]]] = {"cpu": cpu, "latency": latency}
AT_ONCE: dict[str, Callable[..., Coroutine[Any, Any, Result]]] = {  # Any: as Coroutine's own
    "memory": memory,
    "flush": flush,
    "starvation": starvation,
}


def main() -> None:
    arguments = json.loads(sys.argv[1])
    pin(arguments.pop("cpu"))
    asyncio.run(run(arguments.pop("scenario"), arguments))


async def run(scenario: str, arguments: dict[str, Any]) -> None:  # Any: JSON
    """Print the result, or one of each turn, a JSON object to the line."""
    if scenario in AT_ONCE:
        print(json.dumps(await AT_ONCE[scenario](**arguments)))
        return
    async for result in IN_TURNS[scenario](**arguments):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
