"""How a log stands as a whole."""

from __future__ import annotations

import dataclasses

import pytest

from eventpipe.errors import ClosedError
from eventpipe.log.eventlog import EventLog
from eventpipe.stores.base import Store
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import make_event

pytestmark = pytest.mark.asyncio


async def test_statistics_are_the_sums_of_what_each_topic_and_consumer_says(log: EventLog, clock: LoopClock) -> None:
    """Pending is what is left of each consumer's work; an event that two have to do counts twice."""
    begun_at = clock.time()
    for topic, count in (("orders", 5), ("mails", 2)):
        await log.append_many(topic, [make_event() for _ in range(count)])
    for topic, name in (("orders", "audit"), ("orders", "billing"), ("mails", "audit")):
        await log.add_consumer(topic, name)
    async with log.receiver("orders", "billing") as receiver:
        done, again, held = [await receiver.receive(timeout=1) for _ in range(3)]
        await done.ack()
        await again.nack(delay=60)

        found = await log.statistics()

        assert (found.topics, found.events, found.consumers) == (2, 7, 3)
        assert (found.pending, found.claimed, found.waiting) == (5 + 4 + 2, 1, 1)
        assert (found.skipped, found.dead, found.dropped, found.damaged) == (0, 0, 0, 0)
        assert found.oldest_at == pytest.approx(begun_at)
        assert found.bytes == sum(topic.bytes for topic in await log.topics())
        await held.ack()


async def test_statistics_of_an_empty_log_are_zero(log: EventLog) -> None:
    """Nothing is pending, and nothing is the oldest."""
    found = dataclasses.asdict(await log.statistics())

    assert found.pop("oldest_at") is None
    assert set(found.values()) == {0}


async def test_statistics_need_a_log_that_runs(store: Store) -> None:
    """There is nobody to ask."""
    with pytest.raises(ClosedError):
        await EventLog(store).statistics()
