"""Consumers on uvloop, whose handle of what is due at once does not say when that is."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from eventpipe.core.deadline import Deadline
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.stores import MemoryStore

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(20)]


@pytest.fixture(scope="module", autouse=True)
def _pipe_of_the_process() -> None:
    """Uvloop keeps one pipe for the life of the process, from its first loop on; no test leaks it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


def test_stop_after_its_deadline_can_be_asked_for_again() -> None:
    """What was cut off already has no other deadline, and the log ends with it."""

    async def handle(_: ConsumedEvent) -> None:
        begun.set()
        await asyncio.sleep(1e6)

    async def stopped_twice() -> list[float]:
        async with EventLog(MemoryStore()) as log:
            await log.append("orders", "paid")
            consumer = Consumer(log, "orders", "audit", handle, timeout=1e6)
            await consumer.start()
            await begun.wait()
            shift = consumer._shift
            assert shift is not None
            began = time.monotonic()
            shift.limit(Deadline.after(0))
            shift.limit(Deadline.after(5))
            await shift._over.wait()
            shift.limit(Deadline.after(0))
            await consumer.stop(1)
            return [time.monotonic() - began]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        begun = asyncio.Event()
        (took,) = runner.run(stopped_twice())

    assert took < 2
