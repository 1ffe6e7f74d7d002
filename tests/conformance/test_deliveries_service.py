"""Deliveries keep the contract of services, and lose nothing of what was published, whatever is done to them."""

from __future__ import annotations

import contextlib

import pytest

from eventpipe import Service
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.errors import ClosedError
from eventpipe.stores.delivery_values import DeliveryFilter
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing import RecordingSink, ServiceContract
from eventpipe.testing.service_contract import MakeService


class TestDeliveries(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return lambda: _Counting(MemoryStore())

    async def use(self, service: Service) -> None:
        assert isinstance(service, _Counting)
        with contextlib.suppress(ClosedError):
            if not await service.endpoints():
                await service.add_endpoint(Endpoint("acme", sink=RecordingSink()), replace=True)
            service.published.append((await service.publish("paid", endpoints=["acme"])).event_uuid)

    def check(self, service: Service) -> None:
        """What was published is kept."""
        assert isinstance(service, _Counting)
        assert service.published == service.left


class _Counting(Deliveries):
    """Deliveries that look, before they close, at what they keep."""

    published: list[str]
    left: list[str]

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.published, self.left = [], []

    async def _close(self) -> None:
        with contextlib.suppress(ClosedError):
            rows = await self.store.deliveries.rows(DeliveryFilter(), limit=10_000)
            self.left = [row.event_uuid for row in reversed(rows)]
        await super()._close()
