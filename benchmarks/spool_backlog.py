"""What a process does that measures a backlog on disk: how fast it drains, and what opening a long one takes."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.log_loads import captured
from benchmarks.spool_loads import Counting
from benchmarks.turns import Found, Stopwatch
from benchmarks.workload import EVENT_BYTES
from eventpipe import AsyncClient, Batch, TransientSinkError
from eventpipe.clock import Clock
from eventpipe.spool import folder as folders
from eventpipe.spool.file import open_file
from eventpipe.spool.values import Written

ROWS_OF_A_GIB = 2**30 // EVENT_BYTES
FAR_AWAY = 0.05  # seconds that a request takes to another continent
WORKERS = 4

_GROUP = 20_000  # rows of a commit, where a backlog is made


class Distant(Counting):
    """A far end that takes its time for each batch."""

    async def send(self, batch: Batch) -> None:
        """Take it, some time later."""
        await asyncio.sleep(FAR_AWAY)
        await super().send(batch)


class Mute(Counting):
    """A far end that is not there."""

    async def send(self, batch: Batch) -> None:
        """Fail."""
        raise TransientSinkError("nobody is there")


async def drain(turns: int, events: int) -> list[Found]:
    """A backlog from the disk to a far end that takes its time, and as many events from memory to the same."""
    parameters = {"workers": WORKERS, "far_end_ms": int(FAR_AWAY * 1e3)}
    ours, memory = (Found("spool_drain", subject, parameters) for subject in ("eventpipe", "from memory"))
    for turn in range(turns + 1):
        far, near = Distant(), Distant()
        with tempfile.TemporaryDirectory() as folder:
            await fill(Path(folder, "spool"), events)
            watch = Stopwatch()
            async with AsyncClient(far, spool=Path(folder, "spool"), workers=WORKERS) as client:
                while far.events < events:  # noqa: ASYNC110  # a look, as often as the far end answers
                    await asyncio.sleep(FAR_AWAY)
                drained = watch.rates(events)
                ours.captured += client.statistics().recovered
        watch = Stopwatch()
        async with AsyncClient(near, workers=WORKERS, overflow="wait") as client:
            for event in captured(events):
                await client.capture(event.event, distinct_id=event.distinct_id, properties=event.properties)
            await client.flush()
            sent = watch.rates(events)
            memory.captured += client.statistics().captured
        ours.delivered += far.events
        memory.delivered += near.events
        if turn:
            ours.add(**drained)
            memory.add(**sent)
    ours.hold_against(memory)
    return [ours, memory]


async def opening(turns: int, events: int) -> list[Found]:
    """A long backlog, made by another process, that this one opens: until it can be worked with, and memory by then."""
    ours = Found("spool_opening", "eventpipe", {"events": events, "event_bytes": EVENT_BYTES})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spool")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, make, path, events)
        for _ in range(turns):
            client = AsyncClient(Mute(), spool=path)
            began = time.perf_counter()
            async with client:
                ours.add(opening_seconds=time.perf_counter() - began)
                await asyncio.sleep(1)  # the first batches are read
                ours.add(memory_mib=_most_memory())
                numbers = client.statistics()
                await client.aclose(1)
            ours.captured += events
            ours.delivered += numbers.recovered
    return [ours]


def make(path: Path, events: int) -> None:
    """``fill()``, in a process of its own."""
    asyncio.run(fill(path, events))


async def fill(path: Path, events: int) -> None:
    """Leave events in a folder, as a process does that is gone."""
    path = folders.check(path)
    owned = folders.own_new(path)
    file = await open_file(owned, [Counting.name], Clock())
    made = captured(min(events, _GROUP))
    for first in range(0, events, _GROUP):
        group = made[: events - first]
        written = Written(file.next_ids(len(group)), group, file.bits[Counting.name], time.time())
        await file.write(written, is_synced=False)
    await file.aclose()
    owned.release()


def _most_memory() -> float:
    """Resident memory of this process at its highest, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
