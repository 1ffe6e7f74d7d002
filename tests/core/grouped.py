"""Members of groups: they write down what happens to them, and do what a test asks of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from eventpipe.core.channel import Channel, Producer
from eventpipe.core.deadline import Deadline
from eventpipe.core.reading import Reading
from eventpipe.core.service import Service


class Member(Service):
    """Opens, drains and closes in a second each; fails when told to."""

    def __init__(self, name: str, steps: list[str] | None = None, *, drain: float = 1) -> None:
        super().__init__(name)
        self.steps = [] if steps is None else steps
        self.drain = drain
        self.opens = 0
        self.open_error: Exception | None = None
        self.close_error: Exception | None = None
        self.deadlines: list[float | None] = []
        self._asked: asyncio.Future[None]
        self._end: asyncio.Future[None]

    def crash(self, error: Exception) -> None:
        self._end.set_exception(error)

    def finish(self) -> None:
        self._end.set_result(None)

    async def _open(self) -> None:
        self.opens += 1
        self._asked, self._end = (asyncio.get_running_loop().create_future() for _ in range(2))
        await asyncio.sleep(1)
        if self.open_error is not None:
            raise self.open_error
        self.steps.append(f"{self.name} opened")

    async def _serve(self) -> None:
        await asyncio.wait({self._asked, self._end}, return_when=asyncio.FIRST_COMPLETED)
        if self._end.done():
            self._end.result()
        else:
            await asyncio.sleep(self.drain)

    def _request_stop(self, deadline: Deadline) -> None:
        self.deadlines.append(deadline.when)
        if not self._asked.done():
            self._asked.set_result(None)

    async def _close(self) -> None:
        await asyncio.sleep(1)
        if self.close_error is not None:
            raise self.close_error
        self.steps.append(f"{self.name} closed")


class Deaf(Service):
    """Hears neither a stop nor a cancellation until it is let go."""

    def __init__(self, name: str = "deaf") -> None:
        super().__init__(name)
        self.released = asyncio.Event()

    async def _serve(self) -> None:
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue


class Hasty(Service):
    """Hears no stop, and ends when it is cancelled."""

    async def _serve(self) -> None:
        await asyncio.Event().wait()


class Numbers(Service):
    """Sends a number a second, and on a stop ten more; closes its end of the channel when it ends."""

    def __init__(self, channel: Channel[int], name: str = "numbers", *, pace: float = 1) -> None:
        super().__init__(name)
        self.pace = pace
        self.channel = channel
        self.sent: list[int] = []
        self.unread = 0  # of channels that were used up
        self._asked = asyncio.Event()
        self._producer: Producer[int]

    async def _open(self) -> None:
        if self.channel.is_closed:
            self.unread += unread(self.channel)
            self.channel.reopen()
        self._asked = asyncio.Event()
        self._producer = self.channel.producer(self.name)

    async def _serve(self) -> None:
        while not self._asked.is_set():
            await self._send(len(self.sent))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.pace):
                    await self._asked.wait()
        for _ in range(10):  # what it had in hand, and takes its time to hand over
            await asyncio.sleep(self.pace / 10)
            await self._send(len(self.sent))

    def _request_stop(self, deadline: Deadline) -> None:
        self._asked.set()

    async def _send(self, number: int) -> None:
        await self._producer.send([number])
        self.sent.append(number)

    async def _close(self) -> None:
        self._producer.close()


class Listener(Reading[int]):
    """Takes its time over each number."""

    def __init__(self, channel: Channel[int], name: str = "listener", *, pace: float = 0.2) -> None:
        super().__init__(channel, name)
        self.pace = pace
        self.heard: list[int] = []
        self.cut_off: list[int] = []
        self.unread = 0  # of channels that were used up
        self.error_at: int | None = None

    async def _open(self) -> None:
        before = unread(self.channel)
        if self.channel.is_closed:  # it crashed, and its writer ended before it was back: both begin anew
            self.channel.reopen()
        await super()._open()
        self.unread += before - unread(self.channel)

    async def _handle(self, items: Sequence[int]) -> None:
        try:
            await asyncio.sleep(self.pace)
            if self.error_at in items:
                self.error_at = None
                raise OSError("a number that it cannot bear")
        except BaseException:
            self.cut_off += items
            raise
        self.heard += items


def check_nothing_is_lost(*pairs: tuple[Numbers, Listener]) -> None:
    """Each number that was sent was heard, or is counted among those that somebody cut off."""
    for numbers, listener in pairs:
        assert sorted({*listener.heard, *listener.cut_off}) == sorted([*listener.heard, *listener.cut_off])
        assert set(listener.heard) <= set(numbers.sent)
        counted = len(listener.heard) + len(listener.cut_off)
        assert len(numbers.sent) == counted + numbers.unread + listener.unread + unread(numbers.channel)


def unread(channel: Channel[int]) -> int:
    """Numbers that were sent and not read, whether or not somebody may come to read them."""
    flow = channel._present()
    return flow.held + flow.let_go
