"""``DeliverySink`` keeps the contract, over deliveries in a store that can be full, closed or slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest_asyncio

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.errors import StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.sinks import DeliverySink
from eventpipe.stores.delivery_values import Published
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import Refusal, SinkRig


class DeliveryWire:
    """Deliveries, and the test's hand on what becomes of a publish: kept, refused, or waited for."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._refusal: Refusal | None = None
        self._hangs = False
        self._reached = asyncio.Event()
        self._open = 0
        self._changed = asyncio.Condition()
        self.received: list[str] = []

    def accept(self) -> None:
        self._refusal, self._hangs = None, False

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        self._refusal = kind

    def hang(self) -> None:
        self._hangs = True

    async def reached(self) -> None:
        await self._reached.wait()

    async def left(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._open == 0)

    async def publish_many(
        self, events: Sequence[CapturedEvent], *, endpoints: Iterable[str] | None = None
    ) -> list[Published]:
        self._open += 1
        try:
            if self._hangs:
                self._reached.set()
                await asyncio.get_running_loop().create_future()
            if self._refusal == "transient":
                raise StoreFullError("the disk is full", topic="deliveries")
            published = await self._deliveries.publish_many(events, endpoints=["gone"] if self._refusal else None)
            self.received += [one.event_uuid for one in published]
            return published
        finally:
            self._open -= 1
            async with self._changed:
                self._changed.notify_all()


class TestDeliverySink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        async with Deliveries(MemoryStore()) as deliveries:
            wire = DeliveryWire(deliveries)
            sink = DeliverySink(wire)
            yield SinkRig(sink, wire, retry_after=False, partial=False)
            await sink.aclose()
