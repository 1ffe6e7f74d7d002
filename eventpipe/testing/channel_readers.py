"""Scenarios of the channel contract: the one who reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from eventpipe.core.deadline import Deadline
from eventpipe.testing.channel_rig import MakeChannel, ignore, read, turn
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.sweep import Swept, cancellation_sweep

PATIENCE: Final = 0.01  # seconds until a drain is cut off


@pytest.mark.asyncio
class ReaderScenarios:
    """What a channel promises to its reader, and what of it when it goes away."""

    async def test_a_receiver_cancelled_anywhere_took_nothing(self, make_channel: MakeChannel) -> None:
        """What it was woken for goes to the next, once."""

        @asynccontextmanager
        async def receiving() -> AsyncIterator[Swept]:
            channel = make_channel(1)
            received: list[int] = []

            async def receive() -> None:
                async for items in channel:
                    received.extend(items)
                    await turn()

            async def send() -> None:
                with channel.producer("only") as producer:
                    for item in range(3):
                        await producer.send([item])
                        await turn()

            with no_leaks():
                sender = asyncio.create_task(send())
                yield receive()
                received += await read(channel)
                await sender
            assert received == [0, 1, 2]

        assert await cancellation_sweep(receiving) > 0

    async def test_has_one_reader_at_a_time(self, make_channel: MakeChannel) -> None:
        """A second one would break the order; it is refused, and the first goes on."""
        channel = make_channel(10)
        reader = asyncio.create_task(read(channel))
        await turn()

        with pytest.raises(RuntimeError):
            await channel.receive()
        with pytest.raises(RuntimeError):
            await channel.drain(ignore, Deadline())

        with channel.producer("only") as producer:
            producer.send_nowait([1])
        assert await reader == [1]

    async def test_drains_to_the_end(self, make_channel: MakeChannel) -> None:
        """Every list is handed on, one at a time, and none is left."""
        channel = make_channel(1)
        handled: list[int] = []

        async def handle(items: Sequence[int]) -> None:
            await turn()
            handled.extend(items)

        async def send() -> None:
            with channel.producer("only") as producer:
                for item in range(5):
                    await producer.send([item])

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            assert await channel.drain(handle, Deadline()) == 0

        assert handled == [0, 1, 2, 3, 4]

    async def test_drain_ends_at_the_deadline_and_counts_what_is_left(self, make_channel: MakeChannel) -> None:
        """What is held, and the list in whose handling the deadline fell; a producer that stays away is not left."""
        channel = make_channel(10)
        stuck = asyncio.Event()

        async def handle(items: Sequence[int]) -> None:
            if len(items) > 1:
                await stuck.wait()

        with channel.producer("only") as producer:
            producer.send_nowait([1])
            assert await channel.drain(handle, Deadline.after(PATIENCE)) == 0
            for items in ([1], [2, 2], [3, 3, 3]):
                producer.send_nowait(items)
            assert await channel.drain(handle, Deadline.after(PATIENCE)) == 2 + 3
            assert await channel.drain(handle, Deadline.after(0)) == 3
            assert channel.held == 3

    async def test_a_reader_that_left_holds_up_nobody(self, make_channel: MakeChannel) -> None:
        """Who waits for room is let go, so is who sends later, and all that nobody reads is counted."""
        channel = make_channel(2)
        with channel.producer("only") as producer, no_leaks():
            producer.send_nowait([1, 2])
            sender = asyncio.create_task(producer.send([3]))
            await turn()
            assert channel.unread == 0

            channel.leave()
            channel.leave()
            await sender
            await producer.send([4, 5])

            assert channel.unread == 2 + 1 + 2

    async def test_a_reader_that_waits_when_it_is_left_is_told(self, make_channel: MakeChannel) -> None:
        """It does not wait for producers that need not come."""
        channel = make_channel(2)
        with channel.producer("only"), no_leaks():
            reader = asyncio.create_task(read(channel))
            await turn()

            channel.leave()

            assert await reader == []

    async def test_a_reader_that_comes_back_finds_what_was_held(self, make_channel: MakeChannel) -> None:
        """What was let go meanwhile stays counted, and senders wait for room again."""
        channel = make_channel(2)
        with channel.producer("only") as producer, no_leaks():
            producer.send_nowait([1, 2])
            channel.leave()
            await producer.send([3])

            assert list(await channel.receive()) == [1, 2]
            assert channel.unread == 1
            producer.send_nowait([4, 5])
            sender = asyncio.create_task(producer.send([6]))
            await turn()
            assert not sender.done()
            assert [list(await channel.receive()) for _ in range(2)] == [[4, 5], [6]]
            await sender
