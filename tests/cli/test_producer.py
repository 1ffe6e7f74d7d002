from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.cli.demo import DemoOptions
from eventpipe.cli.histogram import BUCKETS, SHORTEST, STEP, Histogram
from eventpipe.cli.producer import LAG_INTERVAL, Producer
from eventpipe.client import AsyncClient
from eventpipe.sinks import MemorySink


@pytest.mark.asyncio
async def test_handlers_run_at_the_rate() -> None:
    """So many seconds at so many a second give exactly so many events, each known by its id."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        producer = Producer(client, 500)
        started = asyncio.get_running_loop().time()
        await producer.run(3.0)
        elapsed = asyncio.get_running_loop().time() - started

    assert len(producer.ids) == producer.captures.total == 1500
    assert {event.uuid for event in sink.events} == producer.ids
    assert 3.0 <= elapsed < 3.02


@pytest.mark.asyncio
async def test_stopped_it_knows_every_event() -> None:
    """Ending early loses sight of no event that was captured."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        producer = Producer(client, 1000)
        running = asyncio.create_task(producer.run(60.0))
        await asyncio.sleep(1.0)
        producer.stop()
        await running

    assert {event.uuid for event in sink.events} == producer.ids
    assert 990 <= len(producer.ids) <= 1010


@pytest.mark.asyncio
async def test_lag_is_measured() -> None:
    """A loop that is held up shows how long it was held up."""
    async with AsyncClient(MemorySink()) as client:
        producer = Producer(client, 1)
        watching = asyncio.create_task(producer.watch_lag())
        await asyncio.sleep(0.1)
        idle = producer.recent_lag
        producer._note_lag(0.25)
        watching.cancel()
        await asyncio.wait({watching})

    assert idle < LAG_INTERVAL
    assert producer.recent_lag == 0.25
    assert producer.lags.quantile(1.0) == pytest.approx(0.25, rel=0.03)


@given(st.lists(st.floats(SHORTEST, 300.0), min_size=1), st.floats(0.01, 1.0))
def test_quantiles_are_right_within_a_bucket(durations: list[float], share: float) -> None:
    """A quantile is off by at most half a bucket from that of the sorted durations."""
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)

    rank = -int(-share * len(durations) // 1)
    exact = sorted(durations)[max(rank, 1) - 1]

    assert histogram.quantile(share) == pytest.approx(exact, rel=STEP - 1)


def test_durations_outside_the_buckets_are_counted() -> None:
    """Zero, less than zero and more than five minutes fall into the first and the last bucket."""
    histogram = Histogram()
    for duration in (0.0, -1.0, 1e9):
        histogram.add(duration)

    assert histogram.total == 3
    assert histogram.quantile(0.5) == pytest.approx(SHORTEST, rel=0.03)
    assert histogram.quantile(1.0) == pytest.approx(SHORTEST * STEP ** (BUCKETS - 0.5))
    assert Histogram().quantile(0.5) == 0.0


def test_a_higher_rate_gets_a_longer_queue() -> None:
    """The default rate runs on the client's defaults; a higher one gets room for as many seconds."""
    assert DemoOptions().client_options() == {}
    assert DemoOptions(rate=5000).client_options() == {"queue_events": 25_000, "queue_bytes": 25_000 * 4096}
