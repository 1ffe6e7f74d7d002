"""What a process does that measures captures with a spool: a load on it, and what it is held against, by turns.

Each load is given how many turns to take, and how many events there are in one; see ``log_loads.py``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path

from benchmarks.clocks import percentile
from benchmarks.log_floor import Row, bare
from benchmarks.log_loads import PRODUCERS, captured, each
from benchmarks.turns import Found, Stopwatch
from benchmarks.workload import Captured, pool
from eventpipe import AsyncClient, Batch
from eventpipe.events import CapturedEvent
from eventpipe.spool.rows import SCHEME
from eventpipe.stores.sqlite_opening import SqliteDurability

PER_SECOND = 5_000  # captures of a paced load
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

_PAGE = bytes(4096)
_PAUSE = 0.001  # seconds between two: as often as the paced load has commits
_SHORT_TURNS = 10  # of which the fastest counts: what else the machine does makes none faster


class Counting:
    """A far end that takes everything, and counts.

    Attributes:
        name: The sink's.
        events: How many it has.
    """

    name = "far end"

    def __init__(self) -> None:
        self.events = 0

    async def send(self, batch: Batch) -> None:
        """Take it."""
        self.events += len(batch.events)

    async def aclose(self) -> None:
        """There is nothing to close."""


def rows_of(events: Sequence[CapturedEvent], first: int) -> list[Row]:
    """Events as rows of a spool's file, from a number on: ready-made, and without checksums."""
    return [
        (number, 1, 0.0, len(event.data), 0, event.name.encode(), None, event.data)
        for number, event in enumerate(events, first)
    ]


async def capture(turns: int, events: int, durability: SqliteDurability) -> list[Found]:
    """Producers that wait for each capture, with a spool and without one; and for rows that a bare loop commits.

    With a spool each event is sent as well, and deleted from the disk then.
    """
    parameters = {"durability": durability, "producers": PRODUCERS}
    ours, without, floor = (
        Found("spool_capture", subject, parameters) for subject in ("eventpipe", "no spool", "awaited floor")
    )
    far, near = Counting(), Counting()
    with tempfile.TemporaryDirectory() as folder, bare(Path(folder, "bare.db"), durability, SCHEME, INSERT) as file:
        async with (
            AsyncClient(far, spool=Path(folder, "spool"), durability=durability) as spooled,
            AsyncClient(near, overflow="wait") as plain,
        ):
            for turn in range(turns + 1):
                taken = array("d")
                rates = await each(events, partial(_timed, spooled, taken, count()))
                await spooled.flush()
                beside = await each(events, partial(_capture, plain))
                await plain.flush()
                rows = rows_of(captured(events), turn * events)
                watch = Stopwatch()
                await file.write_awaited(rows, PRODUCERS)
                written = watch.rates(events)
                if turn:
                    ours.add(**rates, **_late(taken))
                    without.add(**beside)
                    floor.add(**written)
        (floor.delivered,) = file.db.execute("SELECT count(*) FROM events").fetchone()
    ours.captured = without.captured = floor.captured = events * (turns + 1)
    ours.delivered, without.delivered = far.events, near.events
    ours.hold_against(without)
    ours.hold_against(floor)
    return [ours, without, floor]


async def paced(turns: int, events: int, durability: SqliteDurability) -> list[Found]:
    """As many producers, which together capture 5 000 times a second; and the disk's own fsync, right after."""
    ours = Found("spool_paced", "eventpipe", {"durability": durability, "per_second": PER_SECOND})
    disk = Found("spool_paced", "fsync", {"durability": durability, "per_second": PER_SECOND})
    far = Counting()
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncClient(far, spool=Path(folder, "spool"), durability=durability) as client:
            for turn in range(turns + 1):
                taken = array("d")
                began = time.perf_counter()
                # One after the other, so that all of them together are evenly spread.
                starts = (began + number / PER_SECOND for number in range(PRODUCERS))
                await each(events, partial(_paced, client, taken, starts))
                seconds = time.perf_counter() - began
                await client.flush()
                synced = await asyncio.to_thread(_synced, Path(folder, "page"), seconds)
                if turn:
                    ours.add(**_late(taken))
                    disk.add(**_late(synced))
    ours.captured, ours.delivered = events * (turns + 1), far.events
    ours.hold_against(disk)
    return [ours, disk]


async def unused(turns: int, events: int) -> list[Found]:
    """A client whose events need no disk, with a spool and without one: CPU of the loop's thread, by capture."""
    ours, without = (Found("spool_unused", subject, {}) for subject in ("eventpipe", "no spool"))
    far, near = Counting(), Counting()
    given = list(islice(cycle(pool()), events))
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncClient(far, spool=Path(folder, "spool")) as spooled, AsyncClient(near) as plain:
            for turn in range(turns + 1):
                took: tuple[list[float], list[float]] = [], []
                for short in range(_SHORT_TURNS):
                    both = list(zip((spooled, plain), took, strict=True))
                    for client, seconds in both if short % 2 else reversed(both):
                        gc.collect()
                        began = time.thread_time()
                        await _capture(client, given)
                        await client.flush()
                        seconds.append(time.thread_time() - began)
                if turn:
                    for found, seconds in zip((ours, without), took, strict=True):
                        found.add(loop_us=min(seconds) / events * 1e6)
    ours.captured = without.captured = events * _SHORT_TURNS * (turns + 1)
    ours.delivered, without.delivered = far.events, near.events
    ours.hold_against(without)
    return [ours, without]


# -- inside -----------------------------------------------------------------------------------------------------------


async def _capture(client: AsyncClient, share: Sequence[Captured]) -> None:
    for event, who, properties in share:
        await client.capture(event, distinct_id=who, properties=properties)


async def _timed(client: AsyncClient, taken: array[float], phases: Iterator[int], share: Sequence[Captured]) -> None:
    """As above, with a look at the clock before and after every tenth: at each it would be a hundredth of the load.

    Each producer begins with another one, because all of them keep step.
    """
    clock = time.perf_counter
    for number, (event, who, properties) in enumerate(share, next(phases)):
        if number % 10:
            await client.capture(event, distinct_id=who, properties=properties)
            continue
        began = clock()
        await client.capture(event, distinct_id=who, properties=properties)
        taken.append(clock() - began)


async def _paced(client: AsyncClient, taken: array[float], starts: Iterator[float], share: Sequence[Captured]) -> None:
    """Capture each event when it is due, as late as the one before it may have been."""
    clock, start = time.perf_counter, next(starts)
    for number, (event, who, properties) in enumerate(share):
        await asyncio.sleep(max(0.0, start + number * PRODUCERS / PER_SECOND - clock()))
        began = clock()
        await client.capture(event, distinct_id=who, properties=properties)
        taken.append(clock() - began)


def _synced(path: Path, seconds: float) -> array[float]:
    """How long an fsync takes, of a page more at the end of a file, time and again for so long."""
    clock, taken = time.perf_counter, array("d")
    end = clock() + seconds
    with path.open("wb", buffering=0) as file:
        while clock() < end:
            file.write(_PAGE)
            began = clock()
            os.fsync(file.fileno())
            taken.append(clock() - began)
            time.sleep(_PAUSE)
    return taken


def _late(taken: array[float]) -> dict[str, float]:
    late = sorted(taken)
    return {"p50_ms": percentile(late, 50) * 1e3, "p99_ms": percentile(late, 99) * 1e3}
