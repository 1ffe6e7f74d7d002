"""What a process does that measures the log: a load on it, and a bare loop for the same job, by turns.

Each load is given how many turns to take, and how many events there are in one, and returns what it found, one value
a turn. Turns are of a fraction of a second, so that both sides of a ratio had the same machine. The first, which warms,
is not counted.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

from benchmarks.clocks import percentile
from benchmarks.log_floor import bare, rows_of
from benchmarks.turns import Found, Stopwatch
from benchmarks.workload import Captured, pool
from eventpipe import Batch
from eventpipe.encoding import Encoder
from eventpipe.events import CapturedEvent
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.sqlite_opening import SqliteDurability
from eventpipe.stores.values import ConsumerKey, Disposal, Disposition

PRODUCERS = 100
BATCH = 500  # events that are claimed, or appended, at once: a consumer's default
SHORT = 10_000  # events of a backlog that is nothing special
TOPIC = "orders"

Kept = Literal["memory", "sqlite"]


def captured(count: int) -> list[CapturedEvent]:
    """So many events, encoded; each has an id of its own."""
    encode = Encoder().encode_plain
    made = (encode(event, who, properties) for event, who, properties in islice(cycle(_pooled()), count))
    return [event for event in made if event is not None]


_pooled = cache(pool)


async def each(events: int, work: Callable[[Sequence[Captured]], Awaitable[None]]) -> dict[str, float]:
    """Have all producers work at once, each on its share of the events; what that took."""
    given = list(islice(cycle(_pooled()), events))
    shares = [given[number::PRODUCERS] for number in range(PRODUCERS)]
    gc.collect()
    watch = Stopwatch()
    await asyncio.gather(*map(work, shares))
    return watch.rates(events)


# -- append -----------------------------------------------------------------------------------------------------------


async def append_sqlite(turns: int, events: int, durability: SqliteDurability) -> list[Found]:
    """Producers that wait for each append, and ready-made rows in groups of the size that the log's commits had.

    The bare loop over the rows waits for nobody. Beside it, as many producers as the log's wait each for its row.
    """
    parameters = {"store": "sqlite", "durability": durability, "call": "append", "producers": PRODUCERS}
    ours, floor, awaited = (
        Found("log_append", subject, parameters) for subject in ("eventpipe", "floor", "awaited floor")
    )
    with tempfile.TemporaryDirectory() as folder, bare(Path(folder, "floor.db"), durability) as file:
        store = SqliteStore(Path(folder, "log.db"), durability=durability)
        async with EventLog(store) as log:
            for turn in range(turns + 1):
                taken = array("d")
                commits = store.version(TOPIC)
                rates = await each(events, partial(_append_timed, log, taken))
                group = round(events / (store.version(TOPIC) - commits))
                rows = rows_of(captured(events), 2 * turn * events)
                watch = Stopwatch()
                file.write(rows, group)
                written = watch.rates(events)
                rows = rows_of(captured(events), (2 * turn + 1) * events)
                watch = Stopwatch()
                await file.write_awaited(rows, PRODUCERS)
                if turn:
                    awaited.add(**watch.rates(events))
                    floor.add(**written)
                    late = sorted(taken)
                    ours.add(**rates, p50_ms=percentile(late, 50) * 1e3, p99_ms=percentile(late, 99) * 1e3)
                    ours.add(events_per_commit=group)
            ours.captured = floor.captured = awaited.captured = events * (turns + 1)
            ours.delivered = (await log.topic(TOPIC)).events
        (rows_there,) = file.db.execute("SELECT count(*) FROM events").fetchone()
        floor.delivered = awaited.delivered = rows_there // 2
    ours.hold_against(floor)
    ours.hold_against(awaited)
    return [ours, floor, awaited]


async def append_bounded(turns: int, events: int) -> list[Found]:
    """A topic that is full and drops its oldest events, and one without bounds, in one file."""
    full, free = (
        Found("log_bounded", "eventpipe", {"store": "sqlite", "durability": "process", "topic": topic})
        for topic in ("full, drop_oldest", "no bounds")
    )
    bounds = {"full": Retention(max_events=SHORT, on_full="drop_oldest")}
    with tempfile.TemporaryDirectory() as folder:
        async with EventLog(SqliteStore(Path(folder, "log.db"), durability="process"), topics=bounds) as log:
            await log.append_many("full", captured(SHORT))
            for turn in range(turns + 1):
                rates = {}
                for topic, found in (("full", full), ("free", free)):
                    before = (await log.topic(topic)).end if topic == "full" or turn else 0
                    rates[topic] = await each(events, partial(_append_share, log, topic))
                    found.delivered += (await log.topic(topic)).end - before
                    found.captured += events
                if turn:
                    for topic, found in (("full", full), ("free", free)):
                        found.add(**rates[topic])
                    full.beside("no bounds", "cpu_us", rates["full"]["cpu_us"] / rates["free"]["cpu_us"])
    return [full, free]


async def _append_share(log: EventLog, topic: str, share: Sequence[Captured]) -> None:
    for event, who, properties in share:
        await log.append(topic, event, distinct_id=who, properties=properties)


async def _append_timed(log: EventLog, taken: array[float], share: Sequence[Captured]) -> None:
    """As above, with a look at the clock before and after every tenth: at each it would be a hundredth of the load."""
    clock = time.perf_counter
    for number, (event, who, properties) in enumerate(share):
        if number % 10:
            await log.append(TOPIC, event, distinct_id=who, properties=properties)
            continue
        began = clock()
        await log.append(TOPIC, event, distinct_id=who, properties=properties)
        taken.append(clock() - began)


async def append_memory(turns: int, events: int) -> list[Found]:
    """Events as they are captured, one by one; and encoded ones, a batch at a time. Beside each, a list of them."""
    one, many, floor = (
        Found("log_append", subject, {"store": "memory", "call": call, "producers": PRODUCERS})
        for subject, call in (("eventpipe", "append"), ("eventpipe", "append_many"), ("floor", "list.append"))
    )
    for turn in range(turns + 1):
        made = captured(events)
        rates = {}
        for found, append in ((one, _append_all), (many, _append_many)):
            async with EventLog(memory()) as log:
                rates[found.parameters["call"]] = await append(log, made)
                found.captured += events
                found.delivered += (await log.topic(TOPIC)).events
        listed: list[CapturedEvent] = []
        watch = Stopwatch()
        for event in made:
            listed.append(event)  # noqa: PERF402  # as an append is: one by one
        rates["list.append"] = watch.rates(events)
        floor.captured += events
        floor.delivered += len(listed)
        if turn:
            for found in (one, many, floor):
                found.add(**rates[found.parameters["call"]])
    one.hold_against(floor)
    many.hold_against(floor)
    return [one, many, floor]


async def _append_all(log: EventLog, made: Sequence[CapturedEvent]) -> dict[str, float]:
    return await each(len(made), partial(_append_share, log, TOPIC))


async def _append_many(log: EventLog, made: Sequence[CapturedEvent]) -> dict[str, float]:
    batches = [made[first : first + BATCH] for first in range(0, len(made), BATCH)]

    async def produce(share: Sequence[Sequence[CapturedEvent]]) -> None:
        for batch in share:
            await log.append_many(TOPIC, batch)

    gc.collect()
    watch = Stopwatch()
    await asyncio.gather(*(produce(batches[number::PRODUCERS]) for number in range(PRODUCERS)))
    return watch.rates(len(made))


def memory() -> MemoryStore:
    """A store without bounds."""
    return MemoryStore(max_events=None, max_bytes=None)


# -- consume ----------------------------------------------------------------------------------------------------------


class Nothing:
    """A sink that accepts everything and keeps nothing."""

    async def send(self, batch: Batch) -> None:
        """Accept it."""

    async def aclose(self) -> None:
        """There is nothing to close."""


async def consume_sqlite(turns: int, events: int) -> list[Found]:
    """A consumer with a sink, from the first event to the last, and the same read by hand in the same batches.

    By hand as rows, and beside that as events that were compared with their checksums, also by a loop that waits.
    """
    parameters = {"store": "sqlite", "durability": "power", "batch_events": BATCH}
    ours, floor, checked, awaited = (
        Found("log_consume", subject, parameters)
        for subject in ("eventpipe", "floor", "checked reads", "awaited reads")
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.db")
        await _fill(EventLog(SqliteStore(path)), events)
        for turn in range(turns + 1):
            async with EventLog(SqliteStore(path)) as log:
                consumer = Consumer(log, TOPIC, f"consumer-{turn}", Nothing(), batch_events=BATCH)
                watch = Stopwatch()
                report = await consumer.process()
                rates = watch.rates(events)
                ours.delivered += report.delivered
                await log.remove_consumer(TOPIC, f"consumer-{turn}")
            with bare(path, "power") as file:
                watch = Stopwatch()
                floor.delivered += file.read(events, BATCH)
                as_rows = watch.rates(events)
                watch = Stopwatch()
                checked.delivered += file.read(events, BATCH, checked=True)
                as_events = watch.rates(events)
                watch = Stopwatch()
                awaited.delivered += await file.read_awaited(events, BATCH)
                if turn:
                    awaited.add(**watch.rates(events))
                    checked.add(**as_events)
                    floor.add(**as_rows)
                    ours.add(**rates)
        ours.captured = floor.captured = checked.captured = awaited.captured = events * (turns + 1)
    for other in (floor, checked, awaited):
        ours.hold_against(other)
    return [ours, floor, checked, awaited]


async def _fill(log: EventLog, events: int) -> None:
    async with log:
        for batch in _batches(events):
            await log.append_many(TOPIC, batch)


def _batches(events: int) -> list[list[CapturedEvent]]:
    return [captured(min(SHORT, events - first)) for first in range(0, events, SHORT)]


# -- backlog ----------------------------------------------------------------------------------------------------------


async def backlog(turns: int, events: int, store: Kept) -> list[Found]:
    """A long backlog, drained in as many parts as there are turns, after each of which a short one is drained."""
    long, short = (
        Found("log_backlog", "eventpipe", {"store": store, "events": count, "batch_events": BATCH})
        for count in (events, SHORT)
    )
    with tempfile.TemporaryDirectory() as folder:
        kept: Store = memory() if store == "memory" else SqliteStore(Path(folder, "log.db"))
        async with EventLog(kept) as log:
            # In turns too: so that both are as far from the processor's caches when they are read.
            part = events // turns
            for turn in range(turns):
                for first in range(0, part, SHORT):
                    await log.append_many(TOPIC, captured(min(SHORT, part - first)))
                await log.append_many(f"{TOPIC}-{turn}", captured(SHORT))
            token = await _take(kept, ConsumerKey(TOPIC, "all"))
            for turn in range(turns):
                key = ConsumerKey(f"{TOPIC}-{turn}", "all")
                other = await _take(kept, key)
                rates = await _drain(kept, ConsumerKey(TOPIC, "all"), token, part)
                beside = await _drain(kept, key, other, SHORT)
                long.add(**rates)
                short.add(**beside)
                long.beside(f"{SHORT} events", "cpu_us", rates["cpu_us"] / beside["cpu_us"])
            long.captured = long.delivered = part * turns
            short.captured = short.delivered = SHORT * turns
            (left,) = (info.pending for info in await log.consumers(TOPIC))
            assert left == 0, left
    return [long, short]


async def _take(store: Store, key: ConsumerKey) -> int:
    await store.add_consumer(key, "earliest")
    return await store.acquire(key.lease, "benchmark", None)


async def _drain(store: Store, key: ConsumerKey, token: int, events: int) -> dict[str, float]:
    """Claim and settle so many, a batch at a time."""
    watch = Stopwatch()
    left = events
    while left:
        claims = await store.claim(key, token, max_events=min(BATCH, left), max_bytes=2**30)
        await store.settle(key, token, [Disposition(claimed, Disposal.ACK) for claimed in claims.events])
        left -= len(claims.events)
    return watch.rates(events)
