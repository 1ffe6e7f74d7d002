"""Channels keep their contract, new and used; the service that reads one keeps that of services."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence

import pytest

from eventpipe.core.channel import Channel, Producer
from eventpipe.core.reading import Reading
from eventpipe.core.service import Service
from eventpipe.testing.channel_contract import ChannelContract
from eventpipe.testing.channel_rig import MakeChannel
from eventpipe.testing.service_contract import MakeService, ServiceContract


class TestChannel(ChannelContract):
    @pytest.fixture
    def make_channel(self) -> MakeChannel:
        return Channel


@pytest.mark.wallclock
class TestChannelInRealTime(ChannelContract):
    @pytest.fixture
    def make_channel(self) -> MakeChannel:
        return Channel


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
class TestChannelWithEagerTasks(ChannelContract):
    @pytest.fixture
    def make_channel(self) -> MakeChannel:
        def make(capacity: int) -> Channel[int]:
            if sys.version_info >= (3, 12):
                asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            return Channel(capacity)

        return make


class TestChannelMadeAsNew(ChannelContract):
    @pytest.fixture
    def make_channel(self) -> MakeChannel:
        def make(capacity: int) -> Channel[int]:
            channel: Channel[int] = Channel(capacity)
            with channel.producer("before") as producer:
                producer.send_nowait([1])
            channel.leave()
            channel.reopen()
            return channel

        return make


class Keeping(Reading[int]):
    """Keeps what it reads, and knows what it was sent."""

    def __init__(self) -> None:
        super().__init__(Channel(2), "keeping")
        self.sent: list[int] = []
        self.kept: list[int] = []

    async def _handle(self, items: Sequence[int]) -> None:
        await asyncio.sleep(0)
        self.kept += items


class TestReading(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return Keeping

    async def use(self, service: Service) -> None:
        assert isinstance(service, Keeping)
        while service.channel.is_closed:  # after a crash it reads the input of before to its end, and is finished
            await service.stopped()
            await service.start()
        with service.channel.producer("user") as producer:
            for item in range(3):
                await producer.send([item, item])
                service.sent += [item, item]
                await asyncio.sleep(0)

    def check(self, service: Service) -> None:
        assert isinstance(service, Keeping)
        assert not Counter(service.kept) - Counter(service.sent)
        assert len(service.kept) + service.left == len(service.sent)


class Hasty(Channel[int]):
    """Ends when any producer closes."""

    def producer(self, name: str) -> Producer[int]:
        producer = super().producer(name)
        close = producer.close

        def close_all() -> None:
            for other in list(self._flow.producers):
                assert isinstance(other, Producer)
                Producer.close(other)
            close()

        producer.close = close_all  # type: ignore[method-assign]
        return producer


class Forgetful(Channel[int]):
    """Takes a list before it waits, and loses it when it is cancelled."""

    async def __anext__(self) -> Sequence[int]:
        items = await super().__anext__()
        await asyncio.sleep(0)
        return items


class Splitting(Channel[int]):
    """Hands on the items one by one."""

    async def __anext__(self) -> Sequence[int]:
        items = list(await super().__anext__())
        if len(items) > 1:
            self._flow.lists.appendleft((items[1:], 0))
        return items[:1]


class Roomy(Channel[int]):
    """Has room for whatever comes."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity + 1)


@pytest.mark.asyncio
class TestTheContractItself:
    """Channels that break it are found out."""

    async def test_finds_one_that_ends_with_the_first_close(self) -> None:
        with pytest.raises(AssertionError, match=r"^assert not True\n.* of _asyncio.Task"):
            await ChannelContract().test_the_last_close_ends_it(Hasty)

    async def test_finds_one_that_loses_what_a_cancelled_receiver_took(self) -> None:
        with pytest.raises(AssertionError, match=r"^assert \[1, 2\] == \[0, 1, 2\]"):
            await ChannelContract().test_a_receiver_cancelled_anywhere_took_nothing(Forgetful)

    async def test_finds_one_that_takes_lists_apart(self) -> None:
        with pytest.raises(AssertionError, match=r"^assert \[\[1\], \[2\], \[3\], \[4\], \[5\], \[6\]\] == "):
            await ChannelContract().test_lists_travel_whole_and_in_order(Splitting)

    async def test_finds_one_that_holds_more_than_its_capacity(self) -> None:
        with pytest.raises(AssertionError, match=r"^assert not True\n.* = send_nowait\(\[4, 5\]\)"):
            await ChannelContract().test_holds_what_it_has_room_for(Roomy)
