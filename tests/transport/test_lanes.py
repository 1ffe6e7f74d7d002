"""A lane that is paused or stalled holds up no other lane of its sink."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient, RetryPolicy, TransientSinkError
from eventpipe.events import CapturedEvent
from eventpipe.testing.loop import VirtualTimeLoop
from eventpipe.testing.sinks import GatedSink

pytestmark = pytest.mark.asyncio


class LaneSink(GatedSink):
    """A gated sink that sends each event in the lane its caller named."""

    def lane(self, event: CapturedEvent) -> str | None:
        return event.lane

    @property
    def sent(self) -> list[tuple[str | None, list[str]]]:
        return [(batch.lane, [event.event for event in batch.events]) for batch in self.attempts]


async def pause(client: AsyncClient, sink: LaneSink) -> None:
    """Have lane ``x`` paused for 100 s, with one event that waits in it for company and another for its retry."""
    await client.capture("x1", lane="x")
    await sink.reached(1)
    sink.release(1, error=TransientSinkError(retry_after=100.0))
    await asyncio.sleep(0.001)
    await client.capture("x2", lane="x")
    await asyncio.sleep(5)
    assert client.statistics().buffered == 1
    assert client.statistics().waiting_retry == 1


async def test_an_event_of_an_open_lane_leaves_in_its_time_while_another_lane_is_paused() -> None:
    """It has waited for company as long as any, and not for the end of the pause."""
    sink = LaneSink()
    async with AsyncClient(sink, max_batch_age=1.0) as client:
        await pause(client, sink)
        began = asyncio.get_running_loop().time()

        await client.capture("y1", lane="y")
        await sink.reached(2)

        assert sink.sent == [("x", ["x1"]), ("y", ["y1"])]
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.0, abs=0.01)
        sink.release()


async def test_events_of_a_paused_lane_do_not_wake_the_dispatcher_one_by_one() -> None:
    """Two hundred over ten seconds take a look a second, and none when nothing comes."""
    sink = LaneSink()
    async with AsyncClient(sink, max_batch_age=1.0) as client:
        await pause(client, sink)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)

        busy = -loop.steps
        for _ in range(200):
            await client.capture("x", lane="x")
            await asyncio.sleep(0.05)
        busy += loop.steps
        await asyncio.sleep(2)
        idle = -loop.steps
        for _ in range(200):
            await asyncio.sleep(0.05)
        idle += loop.steps

        assert idle == 2 * 200  # two turns for each sleep of this test
        assert busy - idle <= 4 * 11
        sink.release()


async def test_lanes_without_anything_to_send_are_forgotten() -> None:
    """A lane per customer costs what waits in it, and nothing once that was sent or given up."""
    sink = LaneSink()
    sink.release()
    async with AsyncClient(sink, batch_events=10, retry=RetryPolicy(initial=0.1, max_attempts=2)) as client:
        for number in range(100):
            await client.capture("e", lane=f"customer {number}")
        await client.flush()
        backlog = client._dispatchers[0]._backlog

        assert (backlog.batcher._buffers.keys() - {None}, list(backlog.schedule.lanes())) == (set(), [])
