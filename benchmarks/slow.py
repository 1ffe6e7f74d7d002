"""Loads that take their time: what a capture costs in a web service, what failure does, what is held and how idle."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import threading
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from pathlib import Path

from benchmarks.clocks import PERCENTILES, CountingLoop, clock_cost, percentile, ticker, timed
from benchmarks.fast import capture
from benchmarks.subject import Subject
from benchmarks.workload import POOL, Captured, Result, take

PACE = 0.005  # seconds between the ticks of paced captures
PATIENCE = 40.0  # seconds that a close may take: longer than any manager of processes waits
MAX_AGE = 1.5  # seconds; a timer for the age of a batch may ring once more after the last one
SETTLING = 0.2  # seconds in which what was captured reaches the workers, and what was sent comes to rest


async def paced(subject: Subject, events: Iterator[Captured], *, per_second: int, seconds: float) -> Result:
    """What a web service does: a few captures now and then, each timed, while another task looks how late the loop is.

    From each call the cost of reading the clock is taken off.
    """
    cost = clock_cost()
    taken = array("q")
    async with ticker() as late:
        total = await pace(per_second, seconds, lambda count: timed(subject, take(events, count), taken))
    await subject.drain()
    us = sorted((ns - cost) / 1e3 for ns in taken)
    late_ms = sorted(seconds * 1e3 for seconds in late)
    figures = {
        "p50_us": percentile(us, 50),
        "p99_us": percentile(us, 99),
        "p999_us": percentile(us, 99.9),
        "max_us": us[-1],
        "lag_p99_ms": percentile(late_ms, 99),
        "lag_max_ms": late_ms[-1],
    }
    curves = {"capture_us": [[at, percentile(us, at)] for at in PERCENTILES]}
    return {"captured": total, "figures": figures, "curves": curves}


async def pace(per_second: int, seconds: float, produce: Callable[[int], Awaitable[None]]) -> int:
    """Let ``produce`` make ``per_second`` events in small ticks; returns how many it made."""
    began = time.perf_counter()
    total, done = int(per_second * seconds), 0
    while done < total:
        due = min(total, int((time.perf_counter() - began) * per_second) + 1)
        await produce(due - done)
        done = due
        await asyncio.sleep(PACE)
    return total


async def steady(
    subject: Subject, events: Iterator[Captured], *, per_second: int, seconds: float, after: float = 0.0
) -> Result:
    """Paced captures while the far end misbehaves; ``after`` seconds later what is left is asked for.

    The moments let the far end's times be read: when the first event was captured, and when the last.
    """
    began = time.monotonic()
    total = await pace(per_second, seconds, lambda count: capture(subject, take(events, count)))
    moments = {"began": began, "ended": time.monotonic()}
    await asyncio.sleep(after)
    await subject.drain()
    return {"captured": total, "figures": {}, "moments": moments}


async def mute_close(subject: Subject, events: Iterator[Captured], *, total: int) -> Result:
    """The orderly end when nothing is ever answered; who waits for longer than our patience does not end at all."""
    await capture(subject, take(events, total))
    await asyncio.sleep(SETTLING)

    def give_up() -> None:
        print(json.dumps({**_closed(total, PATIENCE, in_time=False), "dropped": None}), flush=True)
        os._exit(0)

    end = threading.Timer(PATIENCE, give_up)  # a close may hold up the loop
    end.start()
    began = time.perf_counter()
    await subject.close()
    taken = time.perf_counter() - began
    end.cancel()
    return _closed(total, taken, in_time=True)


def _closed(captured: int, seconds: float, *, in_time: bool) -> Result:
    return {"captured": captured, "figures": {"close_seconds": seconds, "closed_percent": 100 * in_time}}


async def memory(subject: Subject, events: Iterator[Captured], *, warm: int, total: int) -> Result:
    """Resident memory that each of ``total`` queued events adds, once all workers are busy with ``warm`` others.

    Each event is made anew, as a program's are: who keeps the caller's objects keeps all of them.
    """
    events = (Captured(*json.loads(text)) for text in cycle([json.dumps(event) for event in take(events, POOL)]))
    await capture(subject, take(events, warm))
    await asyncio.sleep(SETTLING)
    gc.collect()
    before = resident()
    await capture(subject, take(events, total))
    await asyncio.sleep(SETTLING)
    gc.collect()
    captured = warm + total
    return {"captured": captured, "pending": captured, "figures": {"bytes_per_event": (resident() - before) / total}}


def resident() -> int:
    """Bytes of this process in memory now; where the system does not say, the most there ever were."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def idle(subject: Subject, events: Iterator[Captured], *, total: int, seconds: float) -> Result:
    """What is going on in a client that has worked, and has had nothing to do for longer than any batch may wait."""
    await capture(subject, take(events, total))
    await subject.drain()
    await asyncio.sleep(MAX_AGE)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    waits, switches, used = loop.waits, voluntary_switches(), time.process_time()
    await asyncio.sleep(seconds)
    waits, switches, used = loop.waits - waits, voluntary_switches() - switches, time.process_time() - used
    figures = {
        "wakeups_per_second": (waits - 1) / seconds,  # one is the end of the sleep
        "cpu_ms_per_second": used * 1e3 / seconds,
        "tasks": len(asyncio.all_tasks()) - 1,
        "threads": thread_count() - 1,
    }
    if voluntary_switches():  # a process that has waited has some, where the system counts them
        figures["switches_per_second"] = (switches - 1) / seconds  # one is the beginning of the sleep
    return {"captured": total, "figures": figures}


def thread_count() -> int:
    """Threads of this process; where the system does not say, those that Python knows."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()


def voluntary_switches() -> int:
    """How often a thread of this process has begun to wait."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
