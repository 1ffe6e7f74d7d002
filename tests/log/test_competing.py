"""Receivers that share a consumer: each event goes to one of them, which holds it by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from eventpipe.errors import LeaseLostError, UnknownConsumerError
from eventpipe.log.eventlog import EventLog
from eventpipe.log.receiver import Receiver
from eventpipe.stores.values import Claims
from tests.log.receiving import append, at, at_rest, attempts, cursor, offsets, take

pytestmark = pytest.mark.asyncio


async def test_receivers_share_the_events_and_each_goes_to_one(log: EventLog) -> None:
    """Slow ones get fewer, and together they get all of them once."""
    seen: dict[int, list[int]] = {number: [] for number in range(5)}

    async def work(number: int, receiver: Receiver) -> None:
        async for delivery in receiver:
            async with delivery:
                seen[number].append(delivery.offset)
                await asyncio.sleep(1 + number)

    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(log.receiver("orders", "billing", competing=True)) for _ in seen]
        tasks = [asyncio.create_task(work(number, receiver)) for number, receiver in enumerate(receivers)]
        await append(log, 137)
        await asyncio.sleep(60.5)
    await asyncio.gather(*tasks)

    assert sorted(offset for mine in seen.values() for offset in mine) == list(range(137))
    assert [len(mine) for mine in seen.values()] == [60, 30, 20, 15, 12]
    assert await cursor(log) == 137


async def test_event_that_nobody_settles_goes_to_another_when_its_time_is_over(log: EventLog) -> None:
    """To one that waits, at that moment, as the second attempt; the first may not settle it any more."""
    await append(log, 1)
    async with (
        log.receiver("orders", "billing", competing=True, ttl=20) as one,
        log.receiver("orders", "billing", competing=True, ttl=20) as other,
    ):
        held = await one.receive()
        again = await other.receive()

        assert (again.offset, again.attempt, asyncio.get_running_loop().time()) == (0, 2, at(log, 20))
        for call in (held.ack, held.nack, lambda: held.extend(5)):
            with pytest.raises(LeaseLostError):
                await call()
        assert await cursor(log) is None
        await again.ack()
    assert await cursor(log) == 1


async def test_extended_event_is_held(log: EventLog) -> None:
    """For as long as was said, from the last time it was."""
    await append(log, 1)
    async with (
        log.receiver("orders", "billing", competing=True, ttl=20) as one,
        log.receiver("orders", "billing", competing=True, ttl=20) as other,
    ):
        held = await one.receive()
        for _ in range(10):
            await asyncio.sleep(15)
            await held.extend(20)
        again = await other.receive()

        assert (again.offset, asyncio.get_running_loop().time()) == (0, at(log, 170))


async def test_settled_event_cannot_be_extended(log: EventLog) -> None:
    """Nobody holds it."""
    await append(log, 1)
    async with log.receiver("orders", "billing", competing=True) as receiver:
        delivery = await receiver.receive()
        await delivery.ack()
        with pytest.raises(LeaseLostError):
            await delivery.extend(20)


async def test_nothing_waits_in_line_unless_asked_for(log: EventLog) -> None:
    """A receiver claims one event at a time: the others are for whoever is free."""
    await append(log, 3)
    async with (
        log.receiver("orders", "billing", competing=True) as one,
        log.receiver("orders", "billing", competing=True) as other,
    ):
        assert offsets([await one.receive(0), await other.receive(0), await one.receive(0)]) == [0, 1, 2]


async def test_event_in_line_whose_time_is_over_is_not_handed_out(log: EventLog) -> None:
    """It may be another's; it is claimed anew, and where nobody else has it, at the same attempt."""
    await append(log, 8)
    async with (
        log.receiver("orders", "billing", competing=True, ttl=20, prefetch_events=8) as one,
        log.receiver("orders", "billing", competing=True, ttl=20) as other,
    ):
        first = await take(one, 4)  # of 1, 2, 4: three are in line
        for delivery in first:
            await delivery.ack()
        await asyncio.sleep(20)
        assert attempts(await take(other, 1)) == [(4, 2)]

        assert attempts(await take(one, 3)) == [(5, 1), (6, 1), (7, 1)]


class Held:
    """The answer of a store to its first claim, which is held up; later ones are not."""

    def __init__(self, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.claims = 0
        self.may_go = asyncio.Event()
        self._claim: Callable[..., Awaitable[Claims]] = log.store.claim
        monkeypatch.setattr(log.store, "claim", self._asked)

    async def _asked(self, *args: Any, **options: Any) -> Claims:  # Any: handed through as they come
        self.claims += 1
        is_first = self.claims == 1
        claims = await self._claim(*args, **options)
        if is_first:
            await self.may_go.wait()
        return claims


async def test_event_of_a_claim_that_nobody_waits_for_goes_to_another(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and at the same attempt: a receiver that was cancelled keeps nothing from the others."""
    await append(log, 1)
    held = Held(log, monkeypatch)
    async with (
        log.receiver("orders", "billing", competing=True, ttl=20) as one,
        log.receiver("orders", "billing", competing=True, ttl=20) as other,
    ):
        cancelled = asyncio.create_task(one.receive())
        waiting = asyncio.create_task(other.receive())
        await at_rest()
        cancelled.cancel()
        await asyncio.wait({cancelled})
        held.may_go.set()
        await at_rest()

        assert waiting.done()
        assert attempts([await waiting]) == [(0, 1)]
        with pytest.raises(TimeoutError):
            await one.receive(10)
        await (await waiting).ack()


async def test_answer_to_a_cancelled_claim_is_that_of_who_calls_meanwhile(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not given back, to be claimed again."""
    await append(log, 1)
    held = Held(log, monkeypatch)
    async with log.receiver("orders", "billing", competing=True, ttl=20) as receiver:
        cancelled = asyncio.create_task(receiver.receive())
        await at_rest()
        cancelled.cancel()
        await asyncio.wait({cancelled})
        waiting = asyncio.create_task(receiver.receive())
        await at_rest()
        held.may_go.set()

        assert (attempts([await waiting]), held.claims) == ([(0, 1)], 1)


async def test_time_of_an_event_runs_from_the_claim(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the call that has its answer: an event whose time is over is another's, and two would be at work."""
    await append(log, 1)
    held = Held(log, monkeypatch)
    async with (
        log.receiver("orders", "billing", competing=True, ttl=20) as one,
        log.receiver("orders", "billing", competing=True, ttl=20) as other,
    ):
        cancelled = asyncio.create_task(one.receive())
        await at_rest()
        cancelled.cancel()
        await asyncio.wait({cancelled})
        delivery = await other.receive()
        late = asyncio.create_task(one.receive(10))
        await at_rest()
        held.may_go.set()
        with pytest.raises(TimeoutError):
            await late

        assert attempts([delivery]) == [(0, 2)]
        await delivery.ack()
    assert await cursor(log) == 1


async def test_closing_gives_back_what_is_in_line_and_leaves_what_was_handed_out(log: EventLog) -> None:
    """Another that waits has the one at once, and the other when its time is over, unless it is acked late."""
    await append(log, 4)
    async with log.receiver("orders", "billing", competing=True, ttl=20) as other:
        async with log.receiver("orders", "billing", competing=True, ttl=20, prefetch_events=8) as one:
            held = await take(one, 2)  # of 1 and 2: one is in line
            assert offsets(await take(other, 1)) == [3]
            waiting = asyncio.create_task(other.receive())
            await at_rest()
            began = asyncio.get_running_loop().time()

        delivery = await waiting
        assert (delivery.offset, delivery.attempt, asyncio.get_running_loop().time()) == (2, 1, at(log, began))
        await held[1].ack()
        await delivery.ack()
        assert attempts([await other.receive()]) == [(0, 2)]


async def test_removed_consumer_ends_all_who_share_it(log: EventLog) -> None:
    """Whether they wait or not."""
    async with AsyncExitStack() as stack:
        receivers = [
            await stack.enter_async_context(log.receiver("orders", "billing", competing=True)) for _ in range(3)
        ]
        waiting = [asyncio.create_task(receiver.receive()) for receiver in receivers[:2]]
        await at_rest()
        await log.remove_consumer("orders", "billing")

        for task in waiting:
            with pytest.raises(UnknownConsumerError):
                await task
        with pytest.raises(UnknownConsumerError):
            await receivers[2].receive()


async def test_events_go_to_the_dead_letters_when_nobody_acks_them(log: EventLog) -> None:
    """Counted over all who share the consumer."""
    await append(log, 2)
    async with (
        log.receiver("orders", "billing", competing=True, ttl=20, max_attempts=2) as one,
        log.receiver("orders", "billing", competing=True, ttl=20, max_attempts=2) as other,
    ):
        await one.receive()
        await (await other.receive()).ack()
        assert attempts([await other.receive()]) == [(0, 2)]
        with pytest.raises(TimeoutError):
            await one.receive(30)

    assert [(one.source_offset, one.attempts) for one in await log.dead_letters("orders")] == [(0, 2)]
    assert await cursor(log) == 2
