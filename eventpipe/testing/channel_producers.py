"""Scenarios of the channel contract: those who send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventpipe.core.channel import Producer
from eventpipe.errors import ClosedError
from eventpipe.testing.channel_rig import MakeChannel, read, turn
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.sweep import Swept, cancellation_sweep


@pytest.mark.asyncio
class ProducerScenarios:
    """What a channel promises to its producers."""

    async def test_lists_travel_whole_and_in_order(self, make_channel: MakeChannel) -> None:
        """The reader gets each list as it was sent, and after the last one the end."""
        channel = make_channel(10)
        with channel.producer("only") as producer:
            assert producer.send_nowait([1, 2, 3])
            await producer.send((4,))
            await producer.send([5, 6])

        assert [list(items) async for items in channel] == [[1, 2, 3], [4], [5, 6]]

    async def test_the_last_close_ends_it(self, make_channel: MakeChannel) -> None:
        """While one handle is open the reader waits; with the last it learns of the end, and so does who asks later."""
        channel = make_channel(10)
        first, second = channel.producer("first"), channel.producer("second")
        with no_leaks():
            reader = asyncio.create_task(read(channel))
            await turn()
            first.close()
            await turn()
            assert not reader.done()
            second.send_nowait([1])
            second.close()

            assert await reader == [1]
        assert await read(channel) == []
        assert channel.receive_nowait() is None
        with pytest.raises(ClosedError):
            await channel.receive()
        with pytest.raises(ClosedError):
            channel.producer("late")

    async def test_one_that_nobody_opened_has_not_ended(self, make_channel: MakeChannel) -> None:
        """A reader may come before the first producer."""
        channel = make_channel(10)
        reader = asyncio.create_task(read(channel))
        await turn()
        assert not reader.done()

        with channel.producer("first") as producer:
            producer.send_nowait([1])

        assert await reader == [1]

    async def test_a_producer_that_crashes_closes(self, make_channel: MakeChannel) -> None:
        """What it had sent is read, and the channel does not wait for it."""
        channel = make_channel(10)

        async def crash() -> None:
            with channel.producer("crashes") as producer:
                await producer.send([1])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await crash()

        assert channel.producers == ()
        assert await read(channel) == [1]

    async def test_closing_twice_is_closing_once(self, make_channel: MakeChannel) -> None:
        """A second close takes no other handle with it."""
        channel = make_channel(10)
        first, second = channel.producer("first"), channel.producer("second")
        first.close()
        first.close()

        assert second.send_nowait([1])
        second.close()

        assert await read(channel) == [1]

    async def test_sending_after_close_is_an_error(self, make_channel: MakeChannel) -> None:
        """Both forms say so, and nothing is sent."""
        channel = make_channel(10)
        producer, other = channel.producer("closed"), channel.producer("other")
        producer.close()

        with pytest.raises(ClosedError):
            producer.send_nowait([1])
        with pytest.raises(ClosedError):
            await producer.send([1])

        other.close()
        assert await read(channel) == []

    async def test_holds_what_it_has_room_for(self, make_channel: MakeChannel) -> None:
        """What does not fit is refused as a whole, and fits once there is room."""
        channel = make_channel(4)
        with channel.producer("only") as producer:
            assert producer.send_nowait([1, 2, 3])
            assert not producer.send_nowait([4, 5])
            assert channel.held == 3
            assert producer.send_nowait([6])
            assert channel.held == 4
            assert list(await channel.receive()) == [1, 2, 3]
            assert producer.send_nowait([4, 5])

        assert await read(channel) == [6, 4, 5]

    async def test_a_list_above_the_capacity_goes_in_alone(self, make_channel: MakeChannel) -> None:
        """It waits until nothing else is held, and then it holds up everything else."""
        channel = make_channel(2)
        large = [1, 2, 3, 4, 5]
        with channel.producer("only") as producer:
            producer.send_nowait([0])
            assert not producer.send_nowait(large)
            await channel.receive()
            assert producer.send_nowait(large)
            assert not producer.send_nowait([6])

        assert await read(channel) == large

    async def test_an_empty_list_does_not_travel(self, make_channel: MakeChannel) -> None:
        """It is sent at once, full or not, and the reader is not woken for it."""
        channel = make_channel(1)
        with channel.producer("only") as producer:
            assert producer.send_nowait([])
            producer.send_nowait([1])
            assert producer.send_nowait([])
            await producer.send([])

        assert [list(items) async for items in channel] == [[1]]

    async def test_who_waits_for_room_gets_it_in_turn(self, make_channel: MakeChannel) -> None:
        """First come first served; what came later and would fit does not overtake."""
        channel = make_channel(3)
        with channel.producer("only") as producer:
            producer.send_nowait([0, 0])
            async with asyncio.TaskGroup() as group:
                for items in ([1, 1, 1], [2], [3]):
                    group.create_task(producer.send(items))
                    await turn()
                assert not producer.send_nowait([4])

                assert [list(await channel.receive()) for _ in range(4)] == [[0, 0], [1, 1, 1], [2], [3]]

    async def test_a_send_that_waits_outlives_the_close(self, make_channel: MakeChannel) -> None:
        """The handle takes nothing new; what it was sending comes before the end."""
        channel = make_channel(1)
        producer = channel.producer("only")
        producer.send_nowait([1])
        with no_leaks():
            sender = asyncio.create_task(producer.send([2]))
            await turn()
            producer.close()
            with pytest.raises(ClosedError):
                producer.send_nowait([3])

            assert await read(channel) == [1, 2]
            await sender

    async def test_a_sender_cancelled_anywhere_sent_nothing(self, make_channel: MakeChannel) -> None:
        """One that returned has sent its list once; the one behind it gets the room."""

        @asynccontextmanager
        async def sending() -> AsyncIterator[Swept]:
            channel = make_channel(1)
            sent = []

            async def send(producer: Producer[int]) -> None:
                with producer:
                    await turn()
                    for item in (1, 2):
                        await producer.send([item])
                        sent.append(item)

            with channel.producer("behind") as behind, no_leaks():
                behind.send_nowait([0])
                reader = asyncio.create_task(read(channel, pause=True))
                yield send(channel.producer("cancelled"))
                await behind.send([3])
                behind.close()
                assert await reader == [0, *sent, 3]

        assert await cancellation_sweep(sending) > 0
