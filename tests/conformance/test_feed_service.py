"""The task that reads outcomes starts and stops as every service does, and loses none on the way to who subscribes."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.core.deadline import Deadline
from eventpipe.core.service import Service, ServiceState
from eventpipe.outcomes import Outcome
from eventpipe.subscriptions import Gap
from eventpipe.testing.service_contract import MakeService, ServiceContract
from eventpipe.transport.feed import OutcomeFeed
from tests.subscriptions.values import DELIVERED, DROPPED, outcome


class Fed(OutcomeFeed):
    """A feed with what a client does for it: opened before its task is launched, its producers closed at a stop.

    Attributes:
        told: The outcomes that its outlets were called with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Outcome] = []
        self._received: list[Outcome | Gap] = []
        self._outlets = [self.observer(name) for name in "ab"]
        self._subscription = self.subscribe(DELIVERED, buffer=10**6, filter=lambda one: one.attempt % 7 != 0)
        self._is_opening = False

    def launch(self) -> None:
        if not self._is_opening and self.state in (ServiceState.IDLE, ServiceState.STOPPED, ServiceState.FAILED):
            self._is_opening = True
            try:
                self.open()
            finally:
                self._is_opening = False
            for outlet in self._outlets:
                outlet.open()
        super().launch()

    def _request_stop(self, deadline: Deadline) -> None:
        super()._request_stop(deadline)
        for outlet in self._outlets:
            outlet.close()
        assert self._producer is not None
        self._producer.close()

    def give(self) -> None:
        """Have each outlet tell of outcomes: a list, one that nobody wants, and one that the filter turns away."""
        for outlet in self._outlets:
            number = len(self.told)
            made = [outcome(number), outcome(number + 1, DROPPED), outcome(number + 2)]
            self.told += made
            outlet(made)

    def check(self) -> None:
        """All that was told, and is wanted, was handed out, in the order in which it was told."""
        while (item := self._subscription.receive_nowait()) is not None:
            self._received.append(item)
        assert self._received == [one for one in self.told if one.kind is DELIVERED and one.attempt % 7 != 0]
        assert self.channel.held == 0


class TestOutcomeFeed(ServiceContract):
    """Whatever is told, in whatever moment of its life, reaches who subscribes, once and in order."""

    @pytest.fixture
    def make_service(self) -> MakeService:
        return Fed

    async def use(self, service: Service) -> None:
        assert isinstance(service, Fed)
        for _ in range(3):
            service.give()
            await asyncio.sleep(0)

    def check(self, service: Service) -> None:
        assert isinstance(service, Fed)
        service.check()
