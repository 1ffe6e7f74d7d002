"""A consumer that waits for its turn, while its store is in trouble."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.core.service import ServiceState
from eventpipe.errors import ClosedError, EventPipeError, LeaseLostError, StoreError, UnknownConsumerError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.sinks import MemorySink
from eventpipe.stores.base import Store

pytestmark = pytest.mark.asyncio

QUICK = RetryPolicy(initial=1.0, min_delay=0.0, max_delay=1.0, jitter=0.0)


class Trouble:
    """A call of a store that raises, while there is an error to raise."""

    def __init__(self, store: Store, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.times = 0
        self._call: Callable[..., Any] = getattr(store, call)  # Any: whatever the call takes and returns
        monkeypatch.setattr(store, call, self._asked)

    async def _asked(self, *args: Any) -> Any:  # Any: as above
        if self.error is not None:
            self.times += 1
            raise self.error
        return await self._call(*args)


def _consumer(log: EventLog, sink: MemorySink, retry: RetryPolicy = QUICK) -> Consumer:
    return Consumer(log, "orders", "audit", sink, max_batch_age=0.0, retry=retry)


@pytest.mark.parametrize(
    "error",
    [StoreError("the disk hiccups"), LeaseLostError("granted too late"), OSError("no disk"), TimeoutError("no answer")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("call", ["acquire", "consumers"])
async def test_one_that_stands_by_outlives_a_store_that_fails(
    log: EventLog, call: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks again after a backoff, counts each failure, has one line for all of them, and takes over."""
    sinks = [MemorySink(), MemorySink()]
    holder, standby = (_consumer(log, sink) for sink in sinks)
    trouble = Trouble(log.store, call, monkeypatch)
    await holder.start()
    await asyncio.sleep(1)
    with caplog.at_level(logging.INFO, "eventpipe.log.episodes"):
        trouble.error = error
        await standby.start()
        await asyncio.sleep(3.5)
        trouble.error = None
        await asyncio.sleep(1.5)
    assert trouble.times == standby.statistics().store_errors == pytest.approx(4, abs=1)
    await holder.stop()
    await log.append("orders", "paid")
    await asyncio.sleep(1)
    await standby.stop()

    assert (len(sinks[0].events), len(sinks[1].events), standby.error) == (0, 1, None)
    assert _lines(caplog) == [
        f"the store of consumer 'audit' of topic 'orders' fails, and is tried again: {error}",
        "the store of consumer 'audit' of topic 'orders' works again",
    ]


async def test_each_episode_of_a_failing_store_has_its_lines(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that can say who has the consumer works again, however long that one keeps it."""
    holder = _consumer(log, MemorySink())
    await holder.start()
    async with _consumer(log, MemorySink()) as standby:
        trouble = Trouble(log.store, "acquire", monkeypatch)
        with caplog.at_level(logging.INFO, "eventpipe.log.episodes"):
            for _ in range(2):
                trouble.error = StoreError("the disk hiccups")
                await holder.stop()
                await asyncio.sleep(0.5)
                trouble.error = None
                await holder.start()
                await asyncio.sleep(10)

        assert (holder.statistics().is_holder, standby.statistics().is_holder) == (True, False)
        assert standby.statistics().store_errors == 2
        assert [line.rpartition(" ")[2] for line in _lines(caplog)] == ["hiccups", "again"] * 2
        await holder.stop()


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of lasting conditions."""
    return [line.getMessage() for line in caplog.records if line.name == "eventpipe.log.episodes"]


async def test_one_that_lost_its_turn_outlives_a_store_that_fails(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that never had it: a store that is in trouble is when it is lost."""
    sink = MemorySink()
    trouble = Trouble(log.store, "acquire", monkeypatch)
    async with _consumer(log, sink) as consumer:
        await log.append("orders", "paid")
        await asyncio.sleep(1)
        trouble.error = StoreError("the disk hiccups")
        await log.seek("orders", "audit", "earliest")
        await asyncio.sleep(3.5)
        trouble.error = None
        await asyncio.sleep(1.5)

        assert (len(sink.events), consumer.state, consumer.statistics().takeovers) == (2, ServiceState.RUNNING, 1)
        assert consumer.statistics().store_errors == trouble.times


async def test_one_that_waits_for_a_store_that_fails_is_stopped_at_once(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the end of its backoff."""
    async with _consumer(log, MemorySink()) as holder:
        standby = _consumer(log, MemorySink(), RetryPolicy(initial=3600.0, max_delay=3600.0))
        trouble = Trouble(log.store, "consumers", monkeypatch)
        trouble.error = StoreError("the disk hiccups")
        await standby.start()
        await asyncio.sleep(1)

        report = await standby.stop()

        assert (bool(report), report.pending, standby.statistics().store_errors) == (True, None, 1)
        assert report.elapsed < 0.25
        trouble.error = None
        assert holder.state == ServiceState.RUNNING


@pytest.mark.parametrize("end", ["the consumer is removed", "the log stops"])
async def test_what_ends_a_consumer_ends_one_that_stands_by(log: EventLog, end: str) -> None:
    """There is nothing to wait for any more."""
    standby = _consumer(log, MemorySink())
    await log.store.acquire(standby.key.lease, "somebody", None)
    await standby.start()
    await asyncio.sleep(1)

    if end == "the log stops":
        await log.stop()
    else:
        await log.remove_consumer("orders", "audit")
    async with asyncio.timeout(5):
        await standby.stopped()

    expected: type[EventPipeError] = ClosedError if end == "the log stops" else UnknownConsumerError
    assert isinstance(standby.error, expected)
