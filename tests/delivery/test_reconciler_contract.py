"""A reconciler keeps the contract of services, and loses nothing that was published, whatever is done to it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from eventpipe import Service
from eventpipe.core.deadline import Deadline
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.errors import ClosedError
from eventpipe.stores.delivery_values import DeliveryRow, DeliveryState
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing import ServiceContract
from eventpipe.testing.recording import RecordingSink
from eventpipe.testing.service_contract import MakeService


class TestReconciler(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return self._make

    def _make(self) -> Service:
        return _WithItsDeliveries()

    async def use(self, service: Service) -> None:
        assert isinstance(service, _WithItsDeliveries)
        with contextlib.suppress(ClosedError):
            service.published.append((await service.deliveries.publish("paid", endpoints=["acme"])).event_uuid)
            await asyncio.sleep(0.003)

    def check(self, service: Service) -> None:
        """What was published has arrived, or is due, and nobody has it."""
        assert isinstance(service, _WithItsDeliveries)
        done = {row.event_uuid for row in service.left if row.state is DeliveryState.SUCCESS}
        due = {row.event_uuid for row in service.left if row.due_at is not None}
        assert done <= set(service.sink.uuids)
        assert done | due == set(service.published)
        assert all(row.claimed_until is None for row in service.left)


class _Sink(RecordingSink):
    """Takes a moment; stays open, as it is lent to one life after the other."""

    async def _answer(self, batch: object) -> None:
        del batch
        await asyncio.sleep(0.001)

    async def aclose(self) -> None:
        """Stay open."""


class _WithItsDeliveries(Reconciler):
    """A reconciler that starts its deliveries before it, and stops them after it."""

    def __init__(self) -> None:
        self.sink = _Sink()
        self.published: list[str] = []
        self.left: list[DeliveryRow] = []
        super().__init__(Deliveries(MemoryStore()), workers=2)

    async def _open(self) -> None:
        await self.deliveries.start()
        if not await self.deliveries.endpoints():
            await self.deliveries.add_endpoint(Endpoint("acme", sink=self.sink))
        self.deliveries.senders.lend("acme", self.sink)
        await super()._open()

    async def _close(self) -> None:
        try:
            await super()._close()
            with contextlib.suppress(ClosedError):
                self.left = await self.deliveries.rows(limit=10_000)
        finally:
            self.deliveries.request_stop(Deadline.after(0))
            await self.deliveries.stop()
