"""How often the dispatcher looks: once per batch while events flow, and never while there are none."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient, Batch
from eventpipe.sinks import CallbackSink
from eventpipe.testing import VirtualTimeLoop, check_ledger
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
