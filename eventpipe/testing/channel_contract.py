"""The contract of a channel, as tests: derive a class and give it a fixture that makes channels.

```python
class TestBridge(ChannelContract):
    @pytest.fixture
    def make_channel(self):
        return Bridge  # called with a capacity
```

The tests are ``async`` and marked for pytest-asyncio. They run in virtual and in real time.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Final

import pytest

from eventpipe.core.channel import Producer
from eventpipe.core.deadline import Deadline
from eventpipe.errors import ClosedError
from eventpipe.testing.channel_producers import ProducerScenarios
from eventpipe.testing.channel_readers import ReaderScenarios
from eventpipe.testing.channel_rig import MakeChannel, read, stay, turn
from eventpipe.testing.leaks import no_leaks

PRODUCERS: Final = 20
LISTS: Final = 50  # of each producer


@pytest.mark.asyncio
class ChannelContract(ProducerScenarios, ReaderScenarios):
    """What a channel promises to its producers and to its reader; ``make_channel`` gives a fresh one of a capacity."""

    async def test_is_not_made_as_new_while_in_use(self, make_channel: MakeChannel) -> None:
        """Neither under an open handle nor under a reader."""
        channel = make_channel(2)
        producer = channel.producer("only")
        with pytest.raises(RuntimeError):
            channel.reopen()

        producer.close()
        channel.reopen()
        reader = asyncio.create_task(read(channel))
        await turn()
        with pytest.raises(RuntimeError):
            channel.reopen()

        channel.leave()
        assert await reader == []

    async def test_made_as_new_it_is_a_fresh_one(self, make_channel: MakeChannel) -> None:
        """It holds nothing, has not ended, and what was closed before stays closed."""
        channel = make_channel(2)
        for number in range(3):
            with channel.producer("again") as producer:
                producer.send_nowait([number])
                assert list(await channel.receive()) == [number]
                producer.send_nowait([number, number])
            channel.leave()

            assert channel.reopen() == 2
            assert (channel.held, channel.unread, channel.is_ended, channel.producers) == (0, 0, False, ())
            with pytest.raises(ClosedError):
                producer.send_nowait([0])

    async def test_a_closed_loop_takes_its_producers_and_its_reader_along(self, make_channel: MakeChannel) -> None:
        """In the next loop the channel can be made as new, and nothing of the first gets into it."""
        channel = make_channel(1)

        def use_and_close() -> Producer[int]:
            loop = asyncio.new_event_loop()
            producer = channel.producer("gone")
            producer.send_nowait([1])

            async def leave_unfinished() -> None:
                tasks = [loop.create_task(producer.send([2])), loop.create_task(channel.drain(stay, Deadline()))]
                await turn()
                for task in tasks:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop closed under its tasks

            loop.run_until_complete(leave_unfinished())
            loop.close()
            return producer

        gone = await asyncio.to_thread(use_and_close)
        assert channel.producers == ()
        with pytest.raises(ClosedError):
            gone.send_nowait([3])
        channel.reopen()
        with channel.producer("next") as producer:
            gone.close()
            assert producer.send_nowait([4])
            assert not producer.send_nowait([5])

        assert await read(channel) == [4]

    async def test_any_number_of_producers_lose_nothing(self, make_channel: MakeChannel) -> None:
        """In random order, waiting and not, some of them cancelled and some crashing: each list once, and in order."""
        seed = random.randrange(1_000_000)  # noqa: S311  # an order to repeat, not a secret
        print(f"seed {seed}")  # noqa: T201  # pytest shows it when the test fails
        chance = random.Random(seed)  # noqa: S311
        channel = make_channel(7)
        sent: defaultdict[int, list[int]] = defaultdict(list)
        received: defaultdict[int, list[int]] = defaultdict(list)

        async def produce(number: int) -> None:
            with channel.producer(str(number)) as producer:
                for serial in range(LISTS):
                    items = [number, *[serial] * chance.randrange(1, 9)]
                    if chance.random() < 0.5 or not producer.send_nowait(items):
                        await producer.send(items)
                    sent[number].append(serial)
                    if chance.random() < 0.3:
                        await turn()
                    if chance.random() < 0.01:
                        raise ZeroDivisionError

        with no_leaks(), channel.producer("first") as first:
            tasks = [asyncio.create_task(produce(number)) for number in range(PRODUCERS)]
            await turn()
            first.close()
            async for items in channel:
                number, *serials = items
                assert len(set(serials)) == 1
                received[number].append(serials[0])
                if chance.random() < 0.1:
                    chance.choice(tasks).cancel()
                if chance.random() < 0.3:
                    await turn()
            await asyncio.wait(tasks)

        for task in tasks:
            assert task.cancelled() or isinstance(task.exception(), ZeroDivisionError | None)
        assert received == sent
        assert channel.is_ended
