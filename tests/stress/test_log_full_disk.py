"""A log on a real disk of 1 MiB: what is accepted until it is full, what is said then, and how it goes on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from eventpipe import Batch
from eventpipe.errors import StoreFullError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.retention import OnFull, Retention
from eventpipe.sinks import CallbackSink
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing import make_event

TOPIC = "orders"
SAID_WITHIN = 0.05  # seconds after which who appends to a full disk knows of it

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60), pytest.mark.asyncio]

shared_or_not = pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])


class Far:
    """What a consumer was handed."""

    def __init__(self, log: EventLog) -> None:
        self.ids: list[str] = []
        self.consumer = Consumer(log, TOPIC, "billing", CallbackSink(self.take), max_batch_age=0)

    def take(self, batch: Batch) -> None:
        self.ids += [event.uuid for event in batch.events]


def log_on(disk: Path, *, shared: bool, on_full: OnFull = "reject") -> EventLog:
    store = SqliteStore(disk / "log.db", shared=shared)
    return EventLog(store, topics={TOPIC: Retention(max_events=1_000_000, on_full=on_full)})


async def fill(log: EventLog) -> tuple[list[str], float, StoreFullError]:
    """Append until there is no room; ids of what was accepted, how long the refusal took, and what it says."""
    accepted: list[str] = []
    while True:
        event = make_event(properties={"text": "x" * 400})
        began = time.perf_counter()
        try:
            await log.append(TOPIC, event)
        except StoreFullError as full:
            return accepted, time.perf_counter() - began, full
        accepted.append(event.uuid)


@shared_or_not
async def test_full_disk_refuses_at_once_and_drains_into_its_consumer(disk: Path, shared: bool) -> None:
    """Full three times over: each append is refused in no time, all that was accepted arrives, and there is room again.

    Also after a restart that meets the disk full.
    """
    expected: list[str] = []
    counts, refusals = [], []
    async with log_on(disk, shared=shared) as log:
        await log.add_consumer(TOPIC, "billing")
    for _ in range(3):
        async with log_on(disk, shared=shared) as log:
            accepted, first, full = await fill(log)
            _, second, _ = await fill(log)
        async with log_on(disk, shared=shared) as log:
            nothing, third, _ = await fill(log)
            refusals += [first, second, third]
            counts.append(len(accepted))
            expected += accepted + nothing
            far = Far(log)
            async with asyncio.timeout(20):
                report = await far.consumer.process()
            await far.consumer.aclose()
            assert (report.pending, report.dead, report.gap) == (0, 0, 0)
            assert far.ids == expected[-len(far.ids) :]
            assert len(far.ids) == len(accepted) + len(nothing)
            assert "room" in str(full)

    print(f"{counts} events accepted, the slowest refusal took {max(refusals):.4f} s")  # noqa: T201
    # All but one of the nine: another process may have had the processor meanwhile.
    assert sorted(refusals)[-2] <= SAID_WITHIN
    assert min(counts) > 100
    assert min(counts) > max(counts) / 2


@pytest.mark.parametrize("on_full", ["drop_oldest", "wait"])
async def test_full_disk_refuses_whatever_a_full_topic_would_do(disk: Path, on_full: OnFull) -> None:
    """A topic that drops its oldest, or waits, does so at its own bounds: nothing is dropped, and nobody hangs."""
    async with log_on(disk, shared=False, on_full=on_full) as log:
        await log.add_consumer(TOPIC, "billing")
        accepted, *_ = await fill(log)
        more, again, _ = zip(*[await fill(log) for _ in range(3)], strict=True)
        accepted += [uuid for ids in more for uuid in ids]
        far = Far(log)
        async with far.consumer, asyncio.timeout(20):
            while (await log.consumer(TOPIC, "billing")).pending:  # noqa: ASYNC110  # a sink is not told of settlements
                await asyncio.sleep(0.01)
        await log.append(TOPIC, "there is room again")

    assert min(again) <= SAID_WITHIN
    assert far.ids == accepted
