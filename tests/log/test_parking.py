"""Whoever waits for events parks: nothing runs until something happens, and then at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from eventpipe.log.delivery import Delivery
from eventpipe.log.eventlog import EventLog
from eventpipe.log.receiver import Receiver
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import Claims, ConsumerKey
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.loop import VirtualTimeLoop
from tests.log.receiving import append, at, at_rest, cursor, offsets, take

pytestmark = pytest.mark.asyncio

# Turns of the loop from an append to the delivery: the waiter wakes in the first, and its claim is done in the same,
# or before Python 3.12, which cannot begin a task at once, three later.
TURNS = 1 if sys.version_info >= (3, 12) else 4


def steps() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop.steps


@asynccontextmanager
async def receivers(log: EventLog, count: int) -> AsyncIterator[list[Receiver]]:
    """Open receivers of as many consumers of one topic."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(log.receiver("orders", f"c{number}")) for number in range(count)]


def count_claims(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of the consumer of each claim from now on."""
    asked: list[str] = []
    claim = log.store.claim

    async def counted(key: ConsumerKey, token: int | None, **bounds: Any) -> Claims:
        asked.append(key.name)
        return await claim(key, token, **bounds)

    monkeypatch.setattr(log.store, "claim", counted)
    return asked


async def test_fifty_idle_receivers_cost_nothing_in_an_hour(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """No poll, no renewal, no timer; when something is appended all of them have it."""
    asked = count_claims(log, monkeypatch)
    async with receivers(log, 50) as opened:
        waiting = [asyncio.create_task(receiver.receive()) for receiver in opened]
        await at_rest()
        assert len(asked) == 50
        before = steps()
        await asyncio.sleep(3600)

        assert len(asked) == 50
        assert steps() - before <= (5 if isinstance(log.store, MemoryStore) else 50)
        await log.append("orders", "paid")
        assert offsets(await asyncio.gather(*waiting)) == [0] * 50


async def test_append_wakes_all_who_wait_in_one_turn(clock: LoopClock) -> None:
    """All of them are there in the same turn of the loop, and no time passes."""
    async with EventLog(MemoryStore(clock=clock), clock=clock) as log, receivers(log, 20) as opened:
        waiting = [asyncio.create_task(receiver.receive()) for receiver in opened]
        await at_rest()
        began = asyncio.get_running_loop().time()
        await log.append("orders", "paid")
        for _ in range(TURNS):
            await asyncio.sleep(0)

        assert all(task.done() for task in waiting)
        assert asyncio.get_running_loop().time() == began


async def test_append_to_another_topic_wakes_nobody(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does an ack of another consumer: nobody claims."""
    async with receivers(log, 5) as opened:
        await append(log, 10)
        for receiver in opened:
            for delivery in await take(receiver, 10):
                await delivery.ack()
        waiting = [asyncio.create_task(receiver.receive()) for receiver in opened]
        async with log.receiver("orders", "other") as other:
            deliveries = await take(other, 10)
            await at_rest()
            asked = count_claims(log, monkeypatch)
            await log.append("users", "paid")
            for delivery in deliveries:
                await delivery.ack()
            await asyncio.sleep(30)

            assert asked == []
        for task in waiting:
            task.cancel()


async def test_cancel_wakes_a_waiting_receive_in_one_turn(log: EventLog) -> None:
    """And leaves nothing that could be woken later."""
    async with log.receiver("orders", "billing") as receiver:
        waiting = asyncio.create_task(receiver.receive())
        await at_rest()
        waiting.cancel()
        await asyncio.sleep(0)

        assert waiting.cancelled()
        await log.append("orders", "paid")
        assert (await receiver.receive(0)).offset == 0


async def test_close_wakes_all_who_wait(log: EventLog) -> None:
    """Those who wait for their turn too, in no time."""
    async with log.receiver("orders", "billing") as receiver:
        waiting = [asyncio.create_task(anext(receiver, None)) for _ in range(10)]
        await at_rest()
        began = asyncio.get_running_loop().time()
    ended = await asyncio.gather(*waiting)

    assert ended == [None] * 10
    assert asyncio.get_running_loop().time() == at(log, began)


async def test_waiting_for_an_event_that_was_given_back_takes_one_timer(log: EventLog) -> None:
    """An hour of it is one jump of the loop, and the event comes at its moment exactly."""
    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        await (await receiver.receive()).nack(3600)
        before = steps()
        delivery = await receiver.receive()

        assert (delivery.attempt, asyncio.get_running_loop().time()) == (2, at(log, 3600))
        assert steps() - before < 50


async def test_receiver_has_no_task_of_its_own_while_it_waits(log: EventLog) -> None:
    """The one that waits is its caller's."""
    before = len(asyncio.all_tasks())
    async with log.receiver("orders", "billing") as receiver:
        waiting = asyncio.create_task(receiver.receive())
        await at_rest()

        assert len(asyncio.all_tasks()) == before + 1
        waiting.cancel()


async def test_fifty_receivers_see_five_thousand_events_each_once(make_store: Any, clock: LoopClock) -> None:
    """Each all of them, in order, whether they were there before or came while it waited."""
    store: Store = make_store()
    seen: list[list[int]] = [[] for _ in range(50)]

    async def work(receiver: Receiver, mine: list[int]) -> None:
        async for delivery in receiver:
            mine.append(delivery.offset)
            if len(mine) % 500 == 0:
                await delivery.ack()
            if len(mine) == 5000:
                return

    async with EventLog(store, clock=clock) as log, receivers(log, 50) as opened:
        tasks = [asyncio.create_task(work(receiver, mine)) for receiver, mine in zip(opened, seen, strict=True)]
        for _ in range(10):
            await append(log, 500)
            await asyncio.sleep(1)
        await asyncio.gather(*tasks)

    assert seen == [list(range(5000))] * 50


async def test_storm_of_cancellations_steals_no_wake_up(log: EventLog) -> None:
    """Of tasks that wait on one receiver, any are cancelled at any time; those that stay get every event once."""
    got: list[Delivery] = []

    async def one(receiver: Receiver) -> None:
        got.append(await receiver.receive())

    async with log.receiver("orders", "billing") as receiver:
        for round_ in range(60):
            tasks = [asyncio.create_task(one(receiver)) for _ in range(6)]
            for _ in range(round_ % 5):
                await asyncio.sleep(0)
            await append(log, 3)
            for _ in range(round_ // 5 % 4):
                await asyncio.sleep(0)
            for number in (0, 2, 5):
                tasks[(number + round_) % 6].cancel()
            await asyncio.wait(tasks, timeout=1)
            assert not [task for task in tasks if not task.done() and receiver._line]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        rest = []
        while True:
            try:
                rest.append(await receiver.receive(0))
            except TimeoutError:
                break

        assert sorted(offsets(got) + offsets(rest)) == list(range(180))
        assert {one.attempt for one in got + rest} == {1}
        for delivery in got + rest:
            await delivery.ack()
    assert await cursor(log) == 180
