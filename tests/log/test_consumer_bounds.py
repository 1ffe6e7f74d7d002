"""What a consumer has in hand is bounded, whatever is turned away meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.shards import Shard
from eventpipe.log.window import MAX_HELD
from eventpipe.stores.values import Claims
from eventpipe.testing.events import make_event

pytestmark = pytest.mark.asyncio


def _watched(log: EventLog, monkeypatch: pytest.MonkeyPatch, consumer: Consumer) -> list[int]:
    """How many events the consumer had claimed, and neither settled nor given back, after each claim."""
    in_hand: list[int] = []
    claim = log.store.claim

    async def spy(*arguments: Any, **options: Any) -> Claims:  # Any: handed through
        claims = await claim(*arguments, **options)
        assert consumer._shift is not None
        in_hand.append(consumer._shift._claimant.holding + len(claims.events))
        return claims

    monkeypatch.setattr(log.store, "claim", spy)
    return in_hand


@pytest.mark.parametrize("ordered_by", ["topic", "key", None])
async def test_what_is_turned_away_behind_a_slow_event_is_bounded(
    log: EventLog,
    ordered_by: Any,  # Any: a word or None
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 50 000 events behind one at work never more than 10 000 are in memory; what no order forbids goes on."""
    names = ["wanted", *["unwanted"] * 50_000, "wanted"]
    await log.append_many("orders", [make_event(name, distinct_id=name) for name in names[:-1]])
    await log.append("orders", make_event("wanted", distinct_id="another"))
    handed: list[int] = []
    is_over = asyncio.Event()

    async def handle(event: ConsumedEvent) -> None:
        handed.append(event.offset)
        if event.offset == 0:
            await is_over.wait()

    consumer = Consumer(
        log,
        "orders",
        "billing",
        handle,
        filter=lambda event: event.name == "wanted",
        ordered_by=ordered_by,
        concurrency=1 if ordered_by == "topic" else 2,
        timeout=3600.0,
    )
    in_hand = _watched(log, monkeypatch, consumer)
    async with consumer:
        await asyncio.sleep(600)
        assert handed == ([0] if ordered_by == "topic" else [0, 50_001])
        assert max(in_hand) <= MAX_HELD
        is_over.set()
        async with asyncio.timeout(600):
            while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(1)

        assert (handed, consumer.statistics().skipped) == ([0, 50_001], 50_000)
        assert max(in_hand) <= MAX_HELD


async def test_what_a_shard_leaves_to_others_is_bounded(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 shards one has every 64th event or so; what is in between counts as in hand while it is."""
    await log.append_many("orders", [make_event("paid", distinct_id=str(number)) for number in range(30_000)])
    handed: list[int] = []

    async def handle(event: ConsumedEvent) -> None:
        handed.append(event.offset)
        await asyncio.sleep(10)

    consumer = Consumer(log, "orders", "billing", handle, shard=Shard(0, 64))
    in_hand = _watched(log, monkeypatch, consumer)
    await consumer.start()
    await asyncio.sleep(100.5)
    consumer.cancel()
    await consumer.stop()

    assert (len(handed), 5_000 < max(in_hand) <= MAX_HELD) == (11, True)


async def test_what_is_turned_away_while_the_store_refuses_to_settle_is_bounded(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that lasts, and then all of it is settled."""
    await log.append_many("orders", [make_event("unwanted") for _ in range(30_000)])
    settle, is_well = log.store.settle, asyncio.Event()

    async def failing(*arguments: Any) -> None:  # Any: handed through
        if not is_well.is_set():
            raise OSError("the disk is away")
        await settle(*arguments)

    monkeypatch.setattr(log.store, "settle", failing)

    async def handle(event: ConsumedEvent) -> None:
        """Never called."""

    consumer = Consumer(log, "orders", "billing", handle, filter=lambda _: False)
    in_hand = _watched(log, monkeypatch, consumer)
    async with consumer:
        await asyncio.sleep(600)
        assert max(in_hand) <= MAX_HELD
        is_well.set()
        async with asyncio.timeout(600):
            while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(1)

        assert (consumer.statistics().skipped, max(in_hand) <= MAX_HELD) == (30_000, True)


async def test_events_that_nobody_wants_are_claimed_many_at_a_time(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first that is wanted comes late."""
    await log.append_many("orders", [make_event("unwanted") for _ in range(5_000)])

    async def handle(event: ConsumedEvent) -> None:
        """Never called."""

    consumer = Consumer(log, "orders", "billing", handle, filter=lambda _: False)
    in_hand = _watched(log, monkeypatch, consumer)

    report = await consumer.process()

    assert (report.skipped, len(in_hand) <= 20) == (5_000, True)
