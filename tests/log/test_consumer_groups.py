"""Consumers in a group of services: whoever stops it hears of handlers that ignore their cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventpipe.core.group import ServiceGroup
from eventpipe.core.service import Service
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent

pytestmark = pytest.mark.asyncio

WORKER = "consumer 'deaf' of topic 'orders' worker 1"


@pytest_asyncio.fixture
async def deaf(log: EventLog) -> AsyncIterator[Consumer]:
    """A consumer whose handler swallows its cancellation, with one event in it and one pending."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def handle(consumed: ConsumedEvent) -> None:
        reached.set()
        while not left.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await left.wait()

    consumer = Consumer(log, "orders", "deaf", handle, timeout=3600.0)
    await log.append_many("orders", ["paid", "paid"])
    await consumer.start()
    await reached.wait()
    yield consumer
    left.set()
    await asyncio.sleep(1)


def grouped(service: Service, depth: int) -> ServiceGroup:
    group = ServiceGroup(service, Service("other"))
    for _ in range(depth):
        group = ServiceGroup(group)
    return group


@pytest.mark.parametrize("depth", [0, 1, 4])
async def test_a_group_names_a_handler_that_swallows_its_cancellation(
    deaf: Consumer, log: EventLog, depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a quarter of a second of the deadline, as a consumer does that is stopped alone; what it held is back."""
    group = grouped(deaf, depth)
    await group.start()

    with caplog.at_level(logging.WARNING, "eventpipe.core.group"):
        report = await group.stop(timeout=3)

    assert not report
    assert (report.stopped, report.cancelled, report.stragglers) == ((deaf.name, "other"), (), (WORKER,))
    assert 3 <= report.elapsed <= 3.25
    assert {line.rpartition(": ")[2] for line in caplog.messages} == {WORKER}
    assert ((await deaf.stop()).stragglers, (await deaf.lag()).events) == ((WORKER,), 2)
    assert (await log.consumer("orders", "deaf")).holder is None


@pytest.mark.parametrize("depth", [0, 1, 4])
async def test_a_group_that_is_cut_off_names_it_too(deaf: Consumer, depth: int) -> None:
    """Rather than the consumer, which has ended."""
    group = grouped(deaf, depth)
    await group.start()

    group.cancel()
    report = await group.stop()

    assert deaf.name in report.cancelled
    assert report.stragglers == (WORKER,)
    assert report.elapsed <= 0.25
