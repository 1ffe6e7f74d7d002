"""The parts of the way from ``capture()`` to a body, and what stands beside each: what ``parts`` times.

A step does what the client does with the same call, for a batch of the default size, and nothing around it. Its
baseline is the least that anybody would do for the same end, with the same events.
"""

from __future__ import annotations

import asyncio
import gzip
import heapq
import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

import orjson
from uuid_utils import uuid7

from benchmarks.workload import EVENT_BYTES, Captured, pool
from eventpipe import AsyncClient, Batch
from eventpipe.codecs import JsonCodec, NdjsonCodec, PostHogV0
from eventpipe.codecs.compression import compress, library
from eventpipe.contracts import Codec
from eventpipe.core.ledger import Ledger
from eventpipe.encoding import Encoder, make_id
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.transport.barrier import Barriers, Standing
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.batcher import Batcher
from eventpipe.transport.episodes import Episodes
from eventpipe.transport.meter import Meter
from eventpipe.transport.schedule import Schedule
from eventpipe.transport.settle import Settler
from eventpipe.transport.tallies import Shortlist

BATCH = 500  # events of a batch by default
WAITING = 64  # retries that wait when one is added: as many batches as a sink that is down leaves in a minute of them

ID = "01912d68-783e-7a03-8467-5661c1243ad4"
STAMP = "2026-01-01T00:00:00.000000Z"

T = TypeVar("T")

Timed = Callable[[int], float]
"""Does so many rounds; returns the seconds that these took, without what had to be prepared."""


class Step(NamedTuple):
    """One thing to time, ``BATCH`` times a round.

    Attributes:
        name: As the report has it.
        make: Prepares it, in the process that times it.
        baseline: The name of what its time is held against; ``None`` where it is a baseline itself.
    """

    name: str
    make: Callable[[], Timed]
    baseline: str | None = None


def each(work: Callable[[], object]) -> Timed:
    """Time ``work``."""
    return fresh(lambda: None, lambda _: work())


def fresh(prepare: Callable[[], T], work: Callable[[T], object]) -> Timed:
    """Time ``work`` with what ``prepare`` makes for each round, untimed."""

    def timed(rounds: int) -> float:
        elapsed = 0.0
        for _ in range(rounds):
            given = prepare()
            began = time.perf_counter()
            work(given)
            elapsed += time.perf_counter() - began
        return elapsed

    return timed


@cache
def captures() -> list[Captured]:
    """The events of a batch as they are captured."""
    return pool()[:BATCH]


@cache
def events() -> tuple[CapturedEvent, ...]:
    """The same, encoded."""
    encoder = Encoder()
    return tuple(encoder.encode(*given, None, None, None, None, None) for given in captures())


@cache
def body() -> bytes:
    """The same, as a request has them."""
    return JsonCodec().request(batch(), 1, 0.0).body


def batch() -> OutboundBatch:
    """The same, as the transport has them."""
    return OutboundBatch(id=ID, lane=None, events=events(), created_at=0.0, attempt=1, standing=Standing(0))


# -- baselines --------------------------------------------------------------------------------------------------------


def dumps() -> Timed:
    envelopes = [
        {"uuid": ID, "timestamp": STAMP, "distinct_id": who, "event": event, "properties": properties}
        for event, who, properties in captures()
    ]

    def work() -> None:
        for envelope in envelopes:
            orjson.dumps(envelope)

    return each(work)


def ids() -> Timed:
    def work() -> None:
        for _ in range(BATCH):
            str(uuid7())

    return each(work)


def queue() -> Timed:
    passed: asyncio.Queue[CapturedEvent] = asyncio.Queue()

    def work() -> None:
        for event in events():
            passed.put_nowait(event)
            passed.get_nowait()

    return each(work)


def by_hand() -> Timed:
    from benchmarks.floor import QUEUE_EVENTS, Floor  # here: it imports aiohttp, which no other step needs

    async def work(rounds: int) -> float:
        elapsed = 0.0
        for _ in range(rounds):
            floor = Floor("", batch_events=BATCH, gzip=False)
            began = time.perf_counter()
            for event, who, properties in captures():
                await floor.capture(event, distinct_id=who, properties=properties)
            elapsed += time.perf_counter() - began
        return elapsed

    assert QUEUE_EVENTS > BATCH
    return lambda rounds: asyncio.run(work(rounds))


def join() -> Timed:
    return each(lambda: b"},".join([event.data for event in events()]))


def heap() -> Timed:
    waiting = [(math.inf, number, batch()) for number in range(WAITING)]
    added = (0.0, WAITING, batch())

    def work() -> None:
        for _ in range(BATCH):
            heapq.heappush(waiting, added)
            heapq.heappop(waiting)

    return each(work)


def condition() -> Timed:
    def work() -> None:
        for _ in range(BATCH):
            asyncio.Condition()

    return each(work)


def gzipped() -> Timed:
    return each(lambda: gzip.compress(body(), 1, mtime=0))


# -- capture ----------------------------------------------------------------------------------------------------------


class Gate:
    """A sink in this process that accepts everything, at once or as soon as it is opened."""

    def __init__(self, *, is_open: bool) -> None:
        self.opened = asyncio.Event()
        if is_open:
            self.opened.set()

    async def send(self, batch: Batch) -> None:
        del batch
        await self.opened.wait()

    async def aclose(self) -> None:
        self.opened.set()


async def capture_all(client: AsyncClient) -> None:
    for event, who, properties in captures():
        await client.capture(event, distinct_id=who, properties=properties)


async def taken_in(rounds: int) -> float:
    """The calls alone: no batch is full before the last of them, so that nothing is sent meanwhile."""
    elapsed = 0.0
    async with AsyncClient(Gate(is_open=True), batch_events=BATCH + 1) as client:
        for _ in range(rounds):
            began = time.perf_counter()
            await capture_all(client)
            elapsed += time.perf_counter() - began
            await client.flush()
        assert client.statistics().delivered == rounds * BATCH
    return elapsed


async def settled(rounds: int) -> float:
    """The calls, and all that the client does for the events until its sink has answered."""
    async with AsyncClient(Gate(is_open=True)) as client:
        began = time.perf_counter()
        for _ in range(rounds):
            await capture_all(client)
            await client.flush()
        elapsed = time.perf_counter() - began
        assert client.statistics().delivered == rounds * BATCH
    return elapsed


async def refused(rounds: int) -> float:
    """The calls while the queue is full."""
    async with AsyncClient(Gate(is_open=False), queue_events=BATCH, close_timeout=0) as client:
        await capture_all(client)
        began = time.perf_counter()
        for _ in range(rounds):
            await capture_all(client)
        elapsed = time.perf_counter() - began
        assert client.statistics().dropped == rounds * BATCH
    return elapsed


def running(work: Callable[[int], Any]) -> Callable[[], Timed]:  # Any: a coroutine, of whatever kind asyncio.run takes
    return lambda: lambda rounds: float(asyncio.run(work(rounds)))


# -- encode -----------------------------------------------------------------------------------------------------------


def encode_plain() -> Timed:
    encode = Encoder().encode_plain

    def work() -> None:
        for event, who, properties in captures():
            encode(event, who, properties)

    return each(work)


def encode_with_care(fault: object = None) -> Timed:
    """With a time that the caller gives; ``fault`` is one more property."""
    encode = Encoder().encode
    given = [(event, who, {**properties, "fault": fault}) for event, who, properties in captures()]
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def work() -> None:
        for event, who, properties in given:
            encode(event, who, properties, moment, None, None, None, None)

    return each(work)


# -- transport --------------------------------------------------------------------------------------------------------


def ledger() -> Timed:
    book = Ledger()

    def work() -> None:
        accept = book.accept
        for _ in range(BATCH):
            accept(EVENT_BYTES)
        book.deliver(BATCH, BATCH * EVENT_BYTES)

    return each(work)


def batcher() -> Timed:
    batches = Batcher(
        batch_events=BATCH, batch_bytes=2**20, batch_age=1.0, lane_of=None, new_id=make_id, wall=time.time
    )

    def work(queued: deque[CapturedEvent]) -> None:
        batches.fill(queued, BATCH)
        batches.take(lambda _: True, 0.0)

    return fresh(lambda: deque(events()), work)


def barrier() -> Timed:
    barriers = Barriers()

    def work() -> None:
        for _ in range(BATCH):
            opened = barriers.open(pending=BATCH, captured=barriers.serial, attempts=0, until="settled", shared=True)
            barriers.place(opened.serial, opened.serial)
            barriers.pass_cut()
            barriers.settled(Standing(opened.serial - 1), BATCH, OutcomeKind.DELIVERED, None)
            barriers.take_reached()

    return each(work)


def shared_barrier() -> Timed:
    barriers = Barriers()
    share = partial(barriers.open, pending=BATCH, captured=BATCH, attempts=0, until="settled", shared=True)

    def work() -> None:
        for _ in range(BATCH):
            share()

    return each(work)


def schedule() -> Timed:
    waiting = Schedule(workers=16)
    for _ in range(WAITING):
        waiting.add(batch(), math.inf)
    added = batch()

    def work() -> None:
        for _ in range(BATCH):
            waiting.add(added, 0.0)
            waiting.take_due(0.0)

    return each(work)


def settle() -> Timed:
    book = Ledger()
    settler = Settler(
        book,
        Barriers(),
        Episodes("steps", time.monotonic),
        Meter(Shortlist(), time.time),
        [],
        now=time.monotonic,
    )
    standing = Standing(0)

    def prepare() -> tuple[Outcome]:
        for event in events():
            event.settlement = None
            book.accept(event.held)
        return (Outcome(OutcomeKind.DELIVERED, "steps", 1, captured=events()),)

    return fresh(prepare, lambda outcomes: settler.settle(outcomes, standing))


# -- codecs and compression -------------------------------------------------------------------------------------------


def codec(made: Codec) -> Timed:
    sent = batch()
    return each(lambda: made.request(sent, 1, 0.0))


def deflated() -> Timed:
    return each(lambda: compress(body(), "gzip"))


def squeezed(module: str) -> Timed:
    squeeze = import_module(module).compress
    return each(lambda: squeeze(body(), 1))


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package it would be in
        return False


# -- all of them ------------------------------------------------------------------------------------------------------

DUMPS, QUEUE, BY_HAND = "orjson.dumps()", "asyncio.Queue: put_nowait(), get_nowait()", "capture by hand"
JOIN, HEAP, CONDITION, GZIP = "bytes.join()", "heapq: push, pop", "asyncio.Condition()", "gzip.compress(), level 1"

# Each behind what it is held against, so that the machine is the same for both as far as it can be.
STEPS = [
    Step(BY_HAND, by_hand),
    Step("capture()", running(taken_in), BY_HAND),
    Step("capture(), until it is settled", running(settled), BY_HAND),
    Step("capture(), refused by a full queue", running(refused), BY_HAND),
    Step(DUMPS, dumps),
    Step("str(uuid7())", ids, DUMPS),
    Step("encode: plain values", encode_plain, DUMPS),
    Step("encode: with a timestamp", encode_with_care, DUMPS),
    Step("encode: with a value to repair", partial(encode_with_care, "\ud800"), DUMPS),
    Step(QUEUE, queue),
    Step("ledger: in and out", ledger, QUEUE),
    Step("batcher: fill and cut", batcher, QUEUE),
    Step("settle: a delivered batch", settle, QUEUE),
    Step(CONDITION, condition),
    Step("barrier: open to reached, per flush", barrier, CONDITION),
    Step("barrier: shared, per flush", shared_barrier, CONDITION),
    Step(HEAP, heap),
    Step("schedule: a retry in and out, per batch", schedule, HEAP),
    Step(JOIN, join),
    Step("JsonCodec.request()", lambda: codec(JsonCodec()), JOIN),
    Step("NdjsonCodec.request()", lambda: codec(NdjsonCodec()), JOIN),
    Step("PostHogV0.request()", lambda: codec(PostHogV0("key")), JOIN),
    Step(GZIP, gzipped),
    Step(f"compress: gzip, by {library().name}", deflated, GZIP),
    *(
        Step(f"{module}.compress(), level 1", partial(squeezed, module), GZIP)
        for module in ("isal.igzip", "compression.zstd", "backports.zstd")
        if is_installed(module)
    ),
]
