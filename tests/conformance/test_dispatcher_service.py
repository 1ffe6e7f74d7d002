"""A dispatcher starts and stops as every service does, with events in it, and each of them stays accounted for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Final

import pytest

from eventpipe import Batch, ClientOptions, Clock, Gap, Outcome, OutcomeKind, RetryPolicy, TransientSinkError
from eventpipe.core.group import ServiceGroup
from eventpipe.core.service import Service, ServiceState
from eventpipe.options import resolve
from eventpipe.outcomes import DropReason
from eventpipe.sinks import CallbackSink
from eventpipe.testing import check_ledger, make_event
from eventpipe.testing.service_contract import MakeService, ServiceContract
from eventpipe.transport.dispatcher import Dispatcher
from eventpipe.transport.feed import OutcomeFeed
from eventpipe.transport.tallies import Shortlist
from eventpipe.transport.traits import Traits
from tests.client.test_accounting import places

FINAL: Final = (OutcomeKind.DELIVERED, OutcomeKind.DROPPED)
OPTIONS: Final = resolve(
    ClientOptions(
        batch_events=2,
        max_batch_age=0.001,
        workers=2,
        queue_events=100,
        retry=RetryPolicy(max_attempts=3, initial=0.002, min_delay=0.001),
    ),
    {},
)


class Courier(Dispatcher):
    """A dispatcher as a client makes it, over a far end that takes its time and fails by turns.

    Attributes:
        given: Ids of the events it was given.
        arrived: Ids of those that its far end took.
        told: What became of events, as its observers were told.
    """

    def __init__(self, name: str = "far") -> None:
        self.given: list[str] = []
        self.arrived: list[str] = []
        self.told: list[Outcome] = []
        self._received: list[Outcome | Gap] = []
        self._answers, ids = count(1), count(1)
        sink = CallbackSink(self._answer, name=name)
        traits = Traits.of(sink)
        self.feed = OutcomeFeed()
        self.handed_out = self.feed.subscribe(*OutcomeKind, buffer=10**6)
        super().__init__(
            sink,
            traits,
            OPTIONS,
            names=Shortlist(),
            callbacks=self.told.extend,
            outlet=self.feed.observer(traits.name),
            clock=Clock(),
            random=Random(0),  # jitter
            new_id=lambda: f"batch-{next(ids)}",
        )

    async def _answer(self, batch: Batch) -> None:
        await asyncio.sleep(0.001)
        if next(self._answers) % 3 == 0:
            raise TransientSinkError("down")
        self.arrived += [event.uuid for event in batch.events]

    def give(self) -> None:
        """Let an event in as a client's entrance does; each life lets events in anew, until it is asked to stop."""
        if self.state is ServiceState.RUNNING:
            self.intake.is_closed = False
            self.intake.set_gate()
        event = make_event(captured_at=asyncio.get_running_loop().time())
        self.given.append(event.uuid)
        if not self.intake.offer(event, event.held):
            self.exit.refuse(event, DropReason.CLOSED if self.intake.is_closed else DropReason.QUEUE_FULL)

    def check(self) -> None:
        """Each event is settled once, or in one place; what is told, counted and at the far end is the same."""
        statistics = check_ledger(self, received=self.arrived, captured=self.given, duplicates=True)
        waiting = {place: [event.uuid for event in events] for place, events in places(self).items()}
        settled = [uuid for outcome in self.told if outcome.kind in FINAL for uuid in outcome.uuids]
        assert Counter(settled + [uuid for uuids in waiting.values() for uuid in uuids]) == Counter(self.given)
        assert waiting["in_flight"] == []
        assert self._pool.free == self._pool.size
        delivered = [uuid for outcome in self.told if outcome.kind is OutcomeKind.DELIVERED for uuid in outcome.uuids]
        assert Counter(delivered) <= Counter(self.arrived)
        assert (len(settled), statistics.captured) == (statistics.delivered + statistics.dropped, len(self.given))
        while (item := self.handed_out.receive_nowait()) is not None:
            self._received.append(item)
        assert self._received == self.told


class TestDispatcher(ServiceContract):
    """What it was given is sent in this life or a later one, or dropped for a reason, whoever stops it and how."""

    @pytest.fixture
    def make_service(self) -> MakeService:
        return Courier

    async def use(self, service: Service) -> None:
        for courier in couriers(service):
            for _ in range(5):
                courier.give()
        await asyncio.sleep(0.001)

    def check(self, service: Service) -> None:
        for courier in couriers(service):
            courier.check()


class TestGroupOfDispatchers(TestDispatcher):
    """Several of them, side by side, as a client with several sinks has them."""

    @pytest.fixture
    def make_service(self) -> MakeService:
        return lambda: ServiceGroup(Courier("one"), ServiceGroup(Courier("two"), Courier("three")))


def couriers(service: Service) -> Iterator[Courier]:
    """Those somewhere in a group."""
    if isinstance(service, Courier):
        yield service
    elif isinstance(service, ServiceGroup):
        for member in service.services:
            yield from couriers(member)


@pytest.mark.asyncio
async def test_what_is_cut_off_is_handed_back_unharmed() -> None:
    """A stop in the middle of an attempt tells of it as interrupted, does not count it, and the next life sends it."""
    courier = Courier()
    async with courier:
        courier.give()
        await asyncio.sleep(0.0015)
        assert [len(events) for events in places(courier).values()] == [0, 0, 0, 1, 0]
        courier.cancel()
        await courier.stopped()
        assert [(told.kind, told.attempt) for told in courier.told] == [(OutcomeKind.INTERRUPTED, 1)]
        assert [len(events) for events in places(courier).values()] == [0, 0, 0, 0, 1]
        courier.check()

        async with courier:
            await asyncio.sleep(0.01)

    assert [(told.kind, told.attempt) for told in courier.told[1:]] == [(OutcomeKind.DELIVERED, 1)]
    assert courier.statistics().attempts == 2
    courier.check()
