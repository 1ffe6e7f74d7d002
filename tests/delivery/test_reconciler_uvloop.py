"""A reconciler on uvloop, whose handle of what is due at once does not say when that is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import uvloop

from eventpipe.delivery import Deliveries, DeliveryPolicy, Endpoint, Reconciler
from eventpipe.delivery.alarm import Alarm
from eventpipe.errors import TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import Verdict
from eventpipe.stores import MemoryStore

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(20)]


@pytest.fixture(scope="module", autouse=True)
def _pipe_of_the_process() -> None:
    """Uvloop keeps one pipe for the life of the process, from its first loop on; no test leaks it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


class FailsTwice:
    """Accepts what is sent to it for the third time."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.has_accepted = asyncio.Event()

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        self.attempts.append(batch.attempt)
        if len(self.attempts) < 3:
            raise TransientSinkError("it is down")
        self.has_accepted.set()
        return None

    async def aclose(self) -> None:
        pass


def test_delivery_that_fails_is_attempted_when_it_is_due() -> None:
    """Again and again: each alarm that rang leaves the next one to come."""

    async def deliver() -> list[int]:
        sink = FailsTwice()
        policy = DeliveryPolicy(delays=[0.02])
        async with Deliveries(MemoryStore(), policy=policy) as deliveries:
            await deliveries.add_endpoint(Endpoint("acme", sink=sink))
            async with Reconciler(deliveries, interval=0.05, claim_ttl=20):
                for number in range(3):
                    sink.has_accepted.clear()
                    sink.attempts.clear()
                    await deliveries.publish("paid", endpoints=["acme"], dedupe_key=str(number))
                    await sink.has_accepted.wait()
            return sink.attempts

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(deliver()) == [1, 2, 3]


def test_alarm_that_is_due_at_once_rings_however_often_it_is_set() -> None:
    """Nor is one that is due later lost behind it."""

    async def rung() -> list[bool]:
        loop, alarm = asyncio.get_running_loop(), Alarm(10)
        alarm.open()
        alarm.last_at = loop.time()
        found = []
        for _ in range(2):
            alarm.ring_at(loop.time() - 1)
            waiting = loop.create_task(alarm.wait())
            await asyncio.sleep(0)
            alarm.ring_at(loop.time() - 1)
            alarm.ring_at(loop.time() + 0.005)
            async with asyncio.timeout(5):
                await waiting
            found.append(waiting.done())
            alarm.clear()
        alarm.close()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(rung()) == [True, True]
