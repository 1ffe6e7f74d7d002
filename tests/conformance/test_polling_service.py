"""The service that the documentation shows keeps the contract; a template for services that live elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from eventpipe import AsyncClient, RetryPolicy, Service, ServiceGroup
from eventpipe.sinks import MemorySink
from eventpipe.testing import ServiceContract
from eventpipe.testing.service_contract import MakeService
from examples.polling_service import Order, OrderPoller


class Orders:
    """The source: a table that grows, read page by page."""

    def __init__(self) -> None:
        self.placed: list[Order] = []
        self.error: Exception | None = None

    def place(self, total: float = 5.0) -> None:
        self.placed.append(Order(len(self.placed) + 1, "c1", total))

    async def fetch(self, last: int) -> Sequence[Order]:
        await asyncio.sleep(0.001)
        if self.error is not None:
            raise self.error
        return self.placed[last : last + 2]


class TestOrderPoller(ServiceContract):
    @pytest_asyncio.fixture
    async def make_service(self) -> AsyncIterator[MakeService]:
        self.orders, self.sink = Orders(), MemorySink()
        self.services: list[OrderPoller] = []

        def make() -> Service:
            self.services.append(OrderPoller(self.client, self.orders.fetch, interval=0.01))
            return self.services[-1]

        async with AsyncClient(self.sink) as self.client:
            self.client.capture_nowait("begun")
            yield make
        if len(self.services) == 1:
            self.check_captured(self.services[0])

    async def use(self, service: Service) -> None:
        self.orders.place()
        await asyncio.sleep(0.003)

    def check_captured(self, poller: OrderPoller) -> None:
        """Each order up to the last was captured, once, in order; this is checked once all of it has arrived."""
        captured = [event.properties["number"] for event in self.sink.events if event.event == "ordered"]
        assert captured == list(range(1, poller.last + 1))


@pytest.mark.asyncio
class TestStopping:
    @pytest_asyncio.fixture
    async def poller(self) -> AsyncIterator[OrderPoller]:
        self.orders, self.sink = Orders(), MemorySink()
        async with AsyncClient(self.sink) as client:
            yield OrderPoller(client, self.orders.fetch, interval=3600)

    async def test_a_stop_loses_nothing_that_was_there(self, poller: OrderPoller) -> None:
        """Between two looks an hour apart, it is over at once, and every order is captured."""
        async with ServiceGroup(poller) as group:
            for _ in range(5):
                self.orders.place()
            await asyncio.sleep(60)
            report = await group.stop()

        assert (poller.last, report.stopped) == (5, ("order-poller",))
        assert report.elapsed < 0.1

    async def test_a_source_out_of_reach_fails_the_start(self, poller: OrderPoller) -> None:
        """Whoever starts it is told."""
        self.orders.error = OSError("no route")
        with pytest.raises(OSError, match="no route"):
            await poller.start()

    async def test_a_crash_goes_on_where_it_was(self, poller: OrderPoller) -> None:
        """The source fails once: the group starts it again, behind the last order captured."""
        self.orders.place()
        async with ServiceGroup(poller, restart=RetryPolicy()) as group:
            await asyncio.sleep(3601)
            assert poller.last == 1
            self.orders.place()
            self.orders.error = OSError("no route")
            await asyncio.sleep(3601)
            assert [service.name for service in group.crashed] == ["order-poller"]
            self.orders.error = None
            await asyncio.sleep(60)
            assert not group.crashed

        assert poller.last == 2
