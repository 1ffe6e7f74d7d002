"""A consumer that is paused: what it has not begun with goes back, and what runs is settled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.stores.values import Claims
from eventpipe.testing.events import make_event
from tests.log.receiving import append, attempts, take

pytestmark = pytest.mark.asyncio


async def _caught_up(consumer: Consumer) -> None:
    async with asyncio.timeout(3600):
        while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("ordered_by", ["topic", "key", None])
async def test_what_is_in_hand_when_a_consumer_is_paused_is_given_back(
    log: EventLog, ordered_by: Any
) -> None:  # Any: as given
    """The event at work is settled, no other is begun with; after ``resume()`` each has its first attempt, in order."""
    await append(log, 300)
    seen: list[tuple[int, int]] = []

    async def handle(event: ConsumedEvent) -> None:
        seen.append((event.offset, event.attempt))
        await asyncio.sleep(1)

    consumer = Consumer(log, "orders", "billing", handle, ordered_by=ordered_by)
    async with consumer:
        await asyncio.sleep(5.5)
        await log.pause("orders", "billing")
        begun = len(seen)
        await asyncio.sleep(600)
        info = await log.consumer("orders", "billing")
        assert (len(seen), info.position, info.claimed, consumer.statistics().held) == (begun, begun, 0, 0)

        await log.resume("orders", "billing")
        await _caught_up(consumer)

    assert seen == [(offset, 1) for offset in range(300)]


async def test_what_was_turned_away_before_a_pause_is_settled(log: EventLog) -> None:
    """It is not handed to anybody after the pause either, and is counted once."""
    await log.append_many("orders", [make_event(name) for name in ["wanted", "unwanted"] * 50])
    seen: list[int] = []

    async def handle(event: ConsumedEvent) -> None:
        seen.append(event.offset)
        await asyncio.sleep(1)

    consumer = Consumer(log, "orders", "billing", handle, filter=lambda event: event.name == "wanted")
    async with consumer:
        await asyncio.sleep(5.5)
        await log.pause("orders", "billing")
        await asyncio.sleep(60)
        await log.resume("orders", "billing")
        await _caught_up(consumer)

    assert (seen, consumer.statistics().skipped) == (list(range(0, 100, 2)), 50)


async def test_what_failed_before_a_pause_keeps_its_place(log: EventLog) -> None:
    """It is at its next attempt after ``resume()``, before all that was behind it in hand."""
    await append(log, 5)
    seen: list[tuple[int, int]] = []

    async def handle(event: ConsumedEvent) -> None:
        seen.append((event.offset, event.attempt))
        if event.attempt == 1:
            raise ValueError

    consumer = Consumer(log, "orders", "billing", handle, retry=RetryPolicy(initial=5.0, jitter=0.0))
    async with consumer:
        await asyncio.sleep(1)
        await log.pause("orders", "billing")
        await asyncio.sleep(60)
        await log.resume("orders", "billing")
        await _caught_up(consumer)

    assert seen == [(offset, attempt) for offset in range(5) for attempt in (1, 2)]


async def test_a_claim_that_is_under_way_when_a_consumer_is_paused_comes_to_nothing(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store had answered before the pause; what it handed out is given back, and handed to nobody."""
    claim, has_answered, may_answer = log.store.claim, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Claims:  # Any: handed through
        claims = await claim(*arguments, **options)
        if claims.events:
            has_answered.set()
            await may_answer.wait()
        return claims

    seen: list[tuple[int, int]] = []

    async def handle(event: ConsumedEvent) -> None:
        seen.append((event.offset, event.attempt))

    monkeypatch.setattr(log.store, "claim", slow)
    async with Consumer(log, "orders", "billing", handle) as consumer:
        await append(log, 3)
        await has_answered.wait()
        await log.pause("orders", "billing")
        may_answer.set()
        await asyncio.sleep(60)
        assert seen == []
        await log.resume("orders", "billing")
        await _caught_up(consumer)

    assert seen == [(0, 1), (1, 1), (2, 1)]


async def test_a_pass_ends_when_its_consumer_is_paused(log: EventLog) -> None:
    """It reports what it left."""
    await append(log, 10)

    async def handle(event: ConsumedEvent) -> None:
        if event.offset == 3:
            await log.pause("orders", "billing")

    report = await Consumer(log, "orders", "billing", handle).process()

    assert (report.handed, report.delivered, report.pending) == (4, 4, 6)


async def test_a_receiver_that_is_paused_hands_out_nothing_of_its_line(log: EventLog) -> None:
    """What was handed out before can be settled; after ``resume()`` the rest comes, unharmed and in order."""
    await append(log, 20)
    async with log.receiver("orders", "billing") as receiver:
        begun = await take(receiver, 5)
        await log.pause("orders", "billing")
        with pytest.raises(TimeoutError):
            await receiver.receive(60)
        for delivery in begun:
            await delivery.ack()
        await log.resume("orders", "billing")

        assert attempts(await take(receiver, 15)) == [(offset, 1) for offset in range(5, 20)]
    assert (await log.consumer("orders", "billing")).position == 5


async def test_other_consumers_go_on_beside_one_that_is_paused(log: EventLog) -> None:
    """Those of the same topic, and those of the same name."""
    await append(log, 10)
    await append(log, 10, "returns")
    async with (
        log.receiver("orders", "billing") as paused,
        log.receiver("orders", "audit") as other,
        log.receiver("returns", "billing") as namesake,
    ):
        for receiver in (paused, other, namesake):
            await take(receiver, 2)
        await log.pause("orders", "billing")

        for receiver in (other, namesake):
            assert attempts(await take(receiver, 8)) == [(offset, 1) for offset in range(2, 10)]
        with pytest.raises(TimeoutError):
            await paused.receive(1)
