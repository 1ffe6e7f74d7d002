"""A pipeline starts and stops as every service does, and every event that the log took is handed out."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count

import pytest

from eventpipe import ClosedError, RetryPolicy
from eventpipe.core.service import Service
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent, Handler
from eventpipe.pipeline import Pipeline, PipelineReport
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.service_contract import MakeService, ServiceContract


class Line(Pipeline):
    """A pipeline of two consumers.

    Attributes:
        appended: Names of the events that the log took, in order.
        handed: Those that each consumer was handed.
    """

    def __init__(self, store: Store, clock: LoopClock) -> None:
        self.appended: list[str] = []
        self.handed: dict[str, list[str]] = {"audit": [], "hooks": []}
        self._names = count()
        log = EventLog(store, clock=clock)
        consumers = [Consumer(log, "orders", name, self._take_for(name)) for name in self.handed]
        super().__init__(log=log, consumers=consumers, restart=RetryPolicy(initial=0.01, min_delay=0.01))

    @property
    def report(self) -> PipelineReport | None:
        """How the last life ended; ``None``: it was never started."""
        life = self._life
        return None if life is None or not isinstance(life.report, PipelineReport) else life.report

    def _take_for(self, name: str) -> Handler:
        async def take(consumed: ConsumedEvent) -> None:
            await asyncio.sleep(0)
            self.handed[name].append(consumed.event.event)

        return take

    async def append(self) -> None:
        name = f"event {next(self._names)}"
        with contextlib.suppress(ClosedError):
            await self.log.append("orders", name)
            self.appended.append(name)


class TestPipeline(ServiceContract):
    """What was appended is handed to every consumer, in order and without a gap, in this life or a later one."""

    @pytest.fixture
    def make_service(self, clock: LoopClock) -> MakeService:
        return lambda: Line(MemoryStore(clock=clock), clock)

    async def use(self, service: Service) -> None:
        assert isinstance(service, Line)
        await service.append()

    def check(self, service: Service) -> None:
        assert isinstance(service, Line)
        for handed in service.handed.values():
            known = [name for name in dict.fromkeys(handed) if name in service.appended]
            assert known == service.appended[: len(known)]
            if (report := service.report) is not None and report:
                assert known == service.appended
