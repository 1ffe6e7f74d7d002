"""A consumer keeps the contract of services, and hands out everything that was appended, whatever is done to it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from eventpipe import RetryPolicy, Service
from eventpipe.errors import ClosedError, StoreError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing import ServiceContract
from eventpipe.testing.service_contract import MakeService


class TestConsumer(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return self._make

    def _make(self) -> Service:
        return _WithItsLog(EventLog(MemoryStore()))

    async def use(self, service: Service) -> None:
        assert isinstance(service, _WithItsLog)
        with contextlib.suppress(ClosedError):
            service.appended.append(await service.log.append("orders", "paid"))
            await asyncio.sleep(0.003)

    def check(self, service: Service) -> None:
        """What was appended is handled, once at least, or pending."""
        assert isinstance(service, _WithItsLog)
        if service.left is not None:
            assert len(set(service.appended) - set(service.handled)) <= service.left


class _WithItsLog(Consumer):
    """A consumer that opens its log before it starts, and closes it after its end."""

    def __init__(self, log: EventLog) -> None:
        self.appended: list[int] = []
        self.handled: list[int] = []
        self.left: int | None = None

        async def handle(event: ConsumedEvent) -> None:
            await asyncio.sleep(0.001)
            self.handled.append(event.offset)

        super().__init__(log, "orders", "audit", handle, retry=RetryPolicy(initial=0.01, min_delay=0.0))

    async def _open(self) -> None:
        await self.log.start()
        await super()._open()

    async def _close(self) -> None:
        try:
            await super()._close()
            self.left = (await self.lag()).events
        except (ClosedError, StoreError):  # it was stopped before it was registered
            self.left = None
        finally:
            await self.log.stop()
