"""What is replayed is for one consumer, and is handed out as it was: for whom it is never leaves the log."""

from __future__ import annotations

import pytest

from eventpipe.errors import PermanentSinkError
from eventpipe.events import Batch, CapturedEvent, Event
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.letters import ADDRESSEE
from eventpipe.log.reports import PassReport
from eventpipe.sinks import LogSink, MemorySink
from tests.log.consuming import events_of

pytestmark = pytest.mark.asyncio

HEADERS = {"trace": "t1"}


class Route(LogSink):
    """Appends to another topic, but for a time when the far end refuses everything."""

    is_down = False

    async def send(self, batch: Batch) -> None:
        if self.is_down:
            raise PermanentSinkError("no")
        await super().send(batch)


async def append(log: EventLog, events: int = 3) -> None:
    await log.append_many("a", [Event("e", distinct_id=str(number), headers=HEADERS) for number in range(events)])
    await log.append("a", "plain")


def as_appended(events: list[CapturedEvent]) -> list[tuple[str, object]]:
    return [(event.name, dict(event.headers)) for event in events]


EXPECTED = [*[("e", HEADERS)] * 3, ("plain", {})]


async def test_dead_letters_that_travel_on_reach_every_consumer(log: EventLog) -> None:
    """Through a sink that appends to another topic: nobody there is told for whom they were replayed."""
    await append(log)
    await log.add_consumer("b", "warehouse")
    route = Route(log, "b")
    route.is_down = True
    await Consumer(log, "a", "route", route).process()
    route.is_down = False
    far = MemorySink()

    await log.replay_dead_letters("a")
    await Consumer(log, "a", "route", route).process()
    report = await Consumer(log, "b", "warehouse", far).process()

    assert (report.delivered, report.skipped, report.pending) == (4, 0, 0)
    assert as_appended(far.events) == as_appended(await events_of(log, "b")) == EXPECTED


async def test_a_replay_that_travels_on_reaches_every_consumer(log: EventLog) -> None:
    """Also a range that was replayed on purpose."""
    await append(log)
    await log.add_consumer("a", "route")
    await log.replay("a", "route", 0, 4)
    far = MemorySink()

    report = await Consumer(log, "a", "route", far).process()

    assert report.delivered == 8
    assert as_appended(far.events) == EXPECTED * 2
    assert len({event.uuid for event in far.events}) == 4


async def test_a_handler_and_a_receiver_are_handed_the_event_as_it_was(log: EventLog) -> None:
    """In the log it stays addressed, however often it is handed out."""
    seen: list[CapturedEvent] = []

    async def handle(consumed: ConsumedEvent) -> None:
        seen.append(consumed.event)

    await append(log)
    await log.add_consumer("a", "pushed", start="latest")
    await log.add_consumer("a", "pulled", start="latest")
    await log.replay("a", "pushed", 0, 4)
    await log.replay("a", "pulled", 0, 4)

    await Consumer(log, "a", "pushed", handle).process()
    pulled: list[CapturedEvent] = []
    async with log.receiver("a", "pulled") as receiver:
        while len(pulled) < 8:
            delivery = await receiver.receive()
            pulled.append(delivery.event)
            await (delivery.nack() if delivery.attempt == 1 else delivery.ack())

    assert as_appended(seen) == EXPECTED
    assert sorted(as_appended(pulled), key=str) == sorted(EXPECTED * 2, key=str)
    kept = [event.headers.get(ADDRESSEE) for event in await events_of(log, "a")]
    assert kept == [None] * 4 + ["pushed"] * 4 + ["pulled"] * 4


async def test_what_is_for_others_is_counted(log: EventLog) -> None:
    """As skipped, in the report, the statistics and the store; so that the sums are those of the topic."""
    await append(log)
    await log.add_consumer("a", "one")
    await log.replay("a", "one", 0, 3)
    await append(log)
    two = Consumer(log, "a", "two", MemorySink())

    report = await two.process()

    assert report == PassReport(handed=8, delivered=8, skipped=3)
    assert (two.statistics().skipped, (await log.consumer("a", "two")).skipped) == (3, 3)
    assert await two.process() == PassReport()


async def test_a_topic_of_others_events_alone_is_counted(log: EventLog) -> None:
    """Also where nothing else is there to be handed out, and while the consumer runs."""
    await append(log)
    await log.add_consumer("a", "one")
    await log.add_consumer("a", "two", start="latest")
    await log.replay("a", "one", 0, 4)

    report = await Consumer(log, "a", "two", MemorySink()).process()

    assert report == PassReport(skipped=4)


async def test_an_event_that_fails_again_is_replayed_again(log: EventLog) -> None:
    """To the same consumer, which is handed it as it was each time, and to nobody else."""

    async def refuse(consumed: ConsumedEvent) -> None:
        assert consumed.event.headers == HEADERS
        raise PermanentSinkError("no")

    await log.append("a", "e", headers=HEADERS)
    await log.add_consumer("a", "other", start="latest")
    for _ in range(3):
        report = await Consumer(log, "a", "one", refuse).process()
        assert (report.handed, report.dead) == (1, 1)
        [letter] = await log.replay_dead_letters("a")
        assert (letter.consumer, letter.reason) == ("one", "rejected")

    assert await Consumer(log, "a", "other", refuse).process() == PassReport(skipped=3)
