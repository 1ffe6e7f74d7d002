"""How often the dispatcher looks: once per batch while events flow, and never while there are none."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient, Batch
from eventpipe.sinks import CallbackSink
from eventpipe.testing import GatedSink, VirtualTimeLoop, check_ledger
from eventpipe.transport.parking import Parking

pytestmark = pytest.mark.asyncio

BATCH = 10
AGE = 1.0


class FarEnd:
    """Remembers when each batch came, and how large it was."""

    def __init__(self) -> None:
        self.came: list[tuple[float, int]] = []

    async def send(self, batch: Batch) -> None:
        self.came.append((asyncio.get_running_loop().time(), len(batch.events)))


def client_to(far_end: FarEnd) -> AsyncClient:
    return AsyncClient(CallbackSink(far_end.send), batch_events=BATCH, max_batch_age=AGE)


async def capture(client: AsyncClient, events: int) -> None:
    for _ in range(events):
        await client.capture("e")
    await asyncio.sleep(0)


@pytest.fixture
def parked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moments until which a dispatcher parked, in order: one for each of its looks."""
    moments: list[float] = []
    park = Parking.park

    async def counting(self: Parking, until: float) -> None:
        moments.append(until)
        await park(self, until)

    monkeypatch.setattr(Parking, "park", counting)
    return moments


@pytest.mark.parametrize("pause", [0.0, 0.3, 0.999, 1.0, 1.7])
async def test_an_event_behind_a_full_batch_leaves_when_it_is_old_enough(pause: float) -> None:
    """However long after the batch it comes: at the latest one batch age after its own capture."""
    far_end = FarEnd()
    async with client_to(far_end) as client:
        await capture(client, BATCH)
        await asyncio.sleep(pause)
        captured_at = asyncio.get_running_loop().time()
        await capture(client, 1)
        await asyncio.sleep(10 * AGE)

        assert [events for _, events in far_end.came] == [BATCH, 1]
        assert far_end.came[1][0] == pytest.approx(captured_at + AGE, abs=0.0011)
    check_ledger(client, drained=True)


async def test_a_flow_of_full_batches_costs_one_look_for_each(parked: list[float]) -> None:
    """The end of a worker, and the first event after a batch, wake nobody where nothing else waits."""
    batches = 50
    far_end = FarEnd()
    async with client_to(far_end) as client:
        await capture(client, BATCH)
        await asyncio.sleep(0.001)
        parked.clear()
        for _ in range(batches):
            await capture(client, BATCH)
            await asyncio.sleep(0.001)
        assert len(far_end.came) == batches + 1
        assert len(parked) == batches


async def test_full_batches_behind_busy_workers_wake_nobody(parked: list[float]) -> None:
    """With every worker busy there is nothing to decide, whatever comes; when one is free, everything leaves."""
    sink = GatedSink()
    async with AsyncClient(sink, workers=1, batch_events=BATCH, max_batch_age=AGE) as client:
        await capture(client, BATCH)
        await sink.reached(1)
        await asyncio.sleep(0.001)
        parked.clear()

        for _ in range(20):
            await capture(client, BATCH)
        await asyncio.sleep(10 * AGE)
        assert parked == []

        sink.release()
        await client.flush()
        assert [len(batch.events) for batch in sink.attempts] == [BATCH] * 21
    check_ledger(client, drained=True)


@pytest.mark.parametrize("freed_after", [0.2, 0.999, 1.5, -0.2])
async def test_an_event_that_met_busy_workers_leaves_when_it_is_old_enough(freed_after: float) -> None:
    """Whether the worker was free again before or after the event came, and before or after the event was old."""
    sink = GatedSink()
    loop = asyncio.get_running_loop()
    async with AsyncClient(sink, workers=1, batch_events=BATCH, max_batch_age=AGE) as client:
        await capture(client, BATCH)
        await sink.reached(1)
        await asyncio.sleep(5 * AGE)
        if freed_after < 0:
            sink.release(1)
            await asyncio.sleep(-freed_after)
        captured_at = loop.time()
        await capture(client, 1)
        if freed_after > 0:
            await asyncio.sleep(freed_after)
            sink.release(1)
        await sink.reached(2)

        assert loop.time() == pytest.approx(captured_at + max(AGE, freed_after), abs=0.0011)
        sink.release()
    check_ledger(client, drained=True)


async def test_a_client_without_events_looks_once_more_and_sleeps() -> None:
    """After the last batch one timer rings; then nothing does, for a day."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    far_end = FarEnd()
    async with client_to(far_end) as client:
        await capture(client, BATCH)
        await asyncio.sleep(2 * AGE)
        steps = loop.steps
        await asyncio.sleep(86_400)
        assert loop.steps - steps <= 2
