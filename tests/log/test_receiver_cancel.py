"""Cancelled at any step, a receiver loses no event, steals no wake-up and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventpipe.log.delivery import Delivery
from eventpipe.log.eventlog import EventLog
from eventpipe.log.receiver import Receiver
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.sweep import Swept, cancellation_sweep
from tests.log.receiving import SlowStore, append, attempts, cursor, offsets, take

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("kind", [MemoryStore, SlowStore])]

Kind = type[MemoryStore]


@asynccontextmanager
async def a_log(kind: Kind) -> AsyncIterator[EventLog]:
    clock = LoopClock()
    async with EventLog(kind(clock=clock), clock=clock) as log:
        yield log


async def rest_of(receiver: Receiver) -> list[Delivery]:
    """Everything that it still hands out."""
    rest = []
    while True:
        try:
            rest.append(await receiver.receive(1))
        except TimeoutError:
            return rest


@pytest.mark.parametrize("competing", [False, True], ids=["exclusive", "competing"])
async def test_cancelled_iteration_loses_no_event(kind: Kind, competing: bool) -> None:
    """What it was about to hand out is handed out next, at its first attempt, also what came while it waited."""

    @asynccontextmanager
    async def iterating() -> AsyncIterator[Swept]:
        got: list[Delivery] = []

        async def iterate() -> None:
            async for delivery in receiver:
                got.append(delivery)
                if len(got) == 9:
                    return

        async with a_log(kind) as log, log.receiver("orders", "billing", competing=competing) as receiver:
            await append(log, 5)
            later = asyncio.create_task(append_later(log))
            yield iterate()
            await later
            assert attempts(sorted(got + await rest_of(receiver), key=lambda one: one.offset)) == [
                (offset, 1) for offset in range(9)
            ]

    async def append_later(log: EventLog) -> None:
        await asyncio.sleep(1)
        await append(log, 4)

    assert await cancellation_sweep(iterating) > 3


async def test_event_for_which_a_cancelled_receive_was_woken_goes_to_the_next(kind: Kind) -> None:
    """Of two that wait, whichever is cancelled when and however: the other gets it in no time."""

    @asynccontextmanager
    async def waiting() -> AsyncIterator[Swept]:
        got: list[tuple[int, float]] = []

        async def one() -> None:
            delivery = await receiver.receive()
            got.append((delivery.offset, asyncio.get_running_loop().time() - began))

        async with a_log(kind) as log, log.receiver("orders", "billing") as receiver:
            began = asyncio.get_running_loop().time()
            appending = asyncio.create_task(append_twice(log))
            other = asyncio.create_task(one())
            yield one()
            await asyncio.wait({other, appending})
            assert got in ([(0, 1.0)], [(0, 1.0), (1, 2.0)])
            assert offsets(await rest_of(receiver)) == [0, 1][len(got) :]

    async def append_twice(log: EventLog) -> None:
        for _ in range(2):
            await asyncio.sleep(1)
            await append(log, 1)

    assert await cancellation_sweep(waiting) > 2


async def test_cancelled_batch_loses_no_event(kind: Kind) -> None:
    """As one."""

    @asynccontextmanager
    async def receiving() -> AsyncIterator[Swept]:
        got: list[Delivery] = []

        async def receive() -> None:
            for _ in range(3):
                got.extend(await receiver.receive_batch(4))

        async with a_log(kind) as log, log.receiver("orders", "billing") as receiver:
            await append(log, 10)
            yield receive()
            assert attempts(got + await rest_of(receiver)) == [(offset, 1) for offset in range(10)]

    assert await cancellation_sweep(receiving) > 2


async def test_cancelled_opening_or_closing_leaves_the_consumer_free(kind: Kind) -> None:
    """And everything that was in line unharmed; what was handed out counts."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Swept]:
        got: list[Delivery] = []

        async def work() -> None:
            async with log.receiver("orders", "billing") as receiver:
                got.append(await receiver.receive())
                got.append(await receiver.receive())

        async with a_log(kind) as log:
            await append(log, 6)
            yield work()
            async with asyncio.timeout(5), log.receiver("orders", "billing") as receiver:
                again = attempts(await rest_of(receiver))
            assert again == [(offset, 2 if offset < len(got) else 1) for offset in range(6)]

    assert await cancellation_sweep(opening) > 4


async def test_opening_that_is_cancelled_while_it_waits_holds_nothing(kind: Kind) -> None:
    """Nor when the consumer became free in the same step."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Swept]:
        async def work() -> None:
            async with log.receiver("orders", "billing"):
                pass

        async with a_log(kind) as log:
            first = await log.receiver("orders", "billing").__aenter__()
            closing = asyncio.create_task(close_later(first))
            yield work()
            await closing
            async with asyncio.timeout(5), log.receiver("orders", "billing"):
                pass

    async def close_later(receiver: Receiver) -> None:
        await asyncio.sleep(1)
        await receiver.aclose()

    assert await cancellation_sweep(opening) > 2


async def test_cancelled_close_is_done_when_it_returns(kind: Kind) -> None:
    """For its caller, and for another that closes at the same time."""

    @asynccontextmanager
    async def closing() -> AsyncIterator[Swept]:
        async with a_log(kind) as log:
            receiver = await log.receiver("orders", "billing").__aenter__()
            await append(log, 6)
            await take(receiver, 2)
            waiting = asyncio.create_task(anext(receiver, None))
            other = asyncio.create_task(receiver.aclose())
            yield receiver.aclose()
            async with log.receiver("orders", "billing", when_held="raise") as again:
                given_back = attempts(await rest_of(again))
            await asyncio.wait({other, waiting})
            handed = 2 + (waiting.result() is not None)
            assert given_back == [(offset, 2 if offset < handed else 1) for offset in range(6)]

    assert await cancellation_sweep(closing) > 0


async def test_cancelled_ack_is_done_when_it_returns(kind: Kind) -> None:
    """The event is settled, and its second ack a no-op."""

    @asynccontextmanager
    async def acking() -> AsyncIterator[Swept]:
        async with a_log(kind) as log, log.receiver("orders", "billing") as receiver:
            await append(log, 2)
            delivery = await receiver.receive()
            yield delivery.ack()
            assert await cursor(log) == 1
            await delivery.ack()
            assert offsets(await rest_of(receiver)) == [1]

    assert (await cancellation_sweep(acking) > 0) is (kind is SlowStore)


async def test_cancelled_nack_is_done_when_it_returns(kind: Kind) -> None:
    """The event comes again once; at the last attempt there is one letter."""

    @asynccontextmanager
    async def nacking() -> AsyncIterator[Swept]:
        async def work() -> None:
            await (await receiver.receive()).nack(5)
            await (await receiver.receive()).nack()

        async with a_log(kind) as log, log.receiver("orders", "billing", max_attempts=2) as receiver:
            await append(log, 1)
            yield work()
            await asyncio.sleep(5)
            while deliveries := await rest_of(receiver):
                for delivery in deliveries:
                    await delivery.nack()
            assert [letter.attempts for letter in await log.dead_letters("orders")] == [2]
            assert (await log.consumer("orders", "billing")).pending == 0

    assert await cancellation_sweep(nacking) > 0


async def test_cancelled_block_acks_or_gives_back_unharmed(kind: Kind) -> None:
    """Cancelled in the block the event comes again at the same attempt; cancelled at its end it is settled."""

    @asynccontextmanager
    async def working() -> AsyncIterator[Swept]:
        ends: list[bool] = []

        async def work() -> None:
            async with await receiver.receive():
                await asyncio.sleep(1)
                await asyncio.sleep(1)
                ends.append(True)

        async with a_log(kind) as log, log.receiver("orders", "billing", max_attempts=1) as receiver:
            await append(log, 1)
            yield work()
            assert attempts(await rest_of(receiver)) == ([] if ends else [(0, 1)])
            assert (await cursor(log) == 1) is bool(ends)

    assert await cancellation_sweep(working) > 2


async def test_cancelled_while_a_moved_consumer_is_looked_at_loses_no_event(kind: Kind) -> None:
    """What was in line is given back, and claimed anew, however often that is cancelled."""

    @asynccontextmanager
    async def receiving() -> AsyncIterator[Swept]:
        got: list[Delivery] = []

        async def receive() -> None:
            got.append(await receiver.receive())
            got.append(await receiver.receive())
            got.append(await receiver.receive())

        async with a_log(kind) as log, log.receiver("orders", "billing") as receiver:
            await append(log, 8)
            await take(receiver, 2)  # of 1 and 2: one is in line
            await log.seek("orders", "billing", 1)
            yield receive()
            assert attempts(got + await rest_of(receiver)) == [(offset, 1) for offset in range(1, 8)]

    assert await cancellation_sweep(receiving) > 0


async def test_cancelled_while_an_event_is_given_up_writes_one_letter(kind: Kind) -> None:
    """However often, and the events behind it are handed out once."""

    @asynccontextmanager
    async def receiving() -> AsyncIterator[Swept]:
        got: list[Delivery] = []

        async def receive() -> None:
            got.append(await receiver.receive())

        async with a_log(kind) as log:
            await append(log, 3)
            async with log.receiver("orders", "billing", max_attempts=1) as receiver:
                await take(receiver, 2)
            async with log.receiver("orders", "billing", max_attempts=1) as receiver:
                yield receive()
                assert attempts(got + await rest_of(receiver)) == [(2, 1)]
            assert [letter.source_offset for letter in await log.dead_letters("orders")] == [0, 1]

    assert await cancellation_sweep(receiving) > 0
