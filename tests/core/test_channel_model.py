"""A channel in any order of events is two plain lists: what is held, and who waits for room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipe.core.channel import Channel, Producer
from eventpipe.core.deadline import Deadline
from eventpipe.errors import ClosedError
from tests.scale import SCALE

pytestmark = pytest.mark.asyncio

CAPACITY = 5
TURNS = 6  # of the loop, in which everybody who can run has run


class Model:
    """What is held and who waits, as lists of (number, size); what was read, and what nobody reads."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.reopen()

    def reopen(self) -> None:
        self.held: list[tuple[int, int]] = []
        self.line: list[tuple[int, int, int]] = []  # with the producer
        self.open: set[int] = set()
        self.was_opened = False
        self.is_left = False
        self.is_read = False
        self.let_go = 0

    @property
    def is_closed(self) -> bool:
        return self.was_opened and not self.open and not self.line

    def fits(self, size: int) -> bool:
        held = sum(size for _, size in self.held)
        return not held or held + size <= CAPACITY

    def send_nowait(self, number: int, size: int) -> bool:
        if self.line or not self.fits(size):
            return False
        self.held.append((number, size))
        return True

    def send(self, number: int, size: int, producer: int) -> None:
        if not self.send_nowait(number, size):
            if self.is_left:
                self.let_go += size
            else:
                self.line.append((number, size, producer))

    def take(self) -> int | None:
        if not self.held:
            return None
        self.read.append(self.held.pop(0)[0])
        return self.read[-1]

    def leave(self) -> None:
        self.settle()
        self.is_left = True
        self.is_read = False
        self.let_go += sum(size for _, size, _ in self.line)
        self.line = []

    def settle(self) -> None:
        while self.line and self.fits(self.line[0][1]):
            self.held.append(self.line.pop(0)[:2])
        if self.is_read and (self.take() is not None or self.is_closed):
            self.is_read = False
            self.settle()


class Rig:
    """A channel, what is done to it, and the model that is done the same to."""

    def __init__(self) -> None:
        self.channel: Channel[int] = Channel(CAPACITY)
        self.model = Model()
        self.producers: list[Producer[int]] = []
        self.sends: dict[int, asyncio.Task[None]] = {}
        self.reader: asyncio.Task[None] | None = None
        self.read: list[int] = []

    def items(self, number: int, size: int) -> list[int]:
        return [number] * size

    async def receive(self) -> None:
        with contextlib.suppress(ClosedError):
            self.read.append((await self.channel.receive())[0])

    async def do(self, what: str, which: int, size: int, number: int) -> None:
        model, channel = self.model, self.channel
        producer = self.producers[which % len(self.producers)] if self.producers else None
        index = self.producers.index(producer) if producer is not None else -1
        if what == "take and cancel":
            await self.do("take", which, size, number)
            what = "cancel"
        if what == "open":
            if model.is_closed:
                with pytest.raises(ClosedError):
                    channel.producer("late")
            else:
                self.producers.append(channel.producer(str(number)))
                model.open.add(len(self.producers) - 1)
                model.was_opened = True
        elif what == "take":
            items = channel.receive_nowait()
            assert (items[0] if items else None) == model.take()
            self.read += items[:1] if items else ()
            return  # nobody ran yet: those who were let in may be cancelled now
        elif what == "read" and self.reader is None:
            self.reader = asyncio.create_task(self.receive())
            model.settle()
            model.is_read = True
            model.is_left = False
        elif what == "unread" and self.reader is not None:
            self.reader.cancel()
            model.is_read = False
        elif what == "drain" and self.reader is None and model.is_closed:
            while model.take() is not None:
                pass
            model.is_left = False
            assert await channel.drain(self.handle, Deadline()) == 0
        elif what == "leave":
            channel.leave()
            model.leave()
        elif what == "reopen":
            if self.reader is not None or model.open or model.line:
                with pytest.raises(RuntimeError):
                    channel.reopen()
            else:
                assert channel.reopen() == sum(size for _, size in model.held) + model.let_go
                model.reopen()
        elif what == "cancel" and model.line:
            entry = model.line.pop(which % len(model.line))
            self.sends[entry[0]].cancel()
        elif producer is not None and what == "close":
            producer.close()
            model.open.discard(index)
        elif producer is not None and what == "send_nowait":
            if producer.is_closed:
                with pytest.raises(ClosedError):
                    producer.send_nowait(self.items(number, size))
            else:
                assert producer.send_nowait(self.items(number, size)) is model.send_nowait(number, size)
        elif producer is not None and what == "send" and not producer.is_closed:
            self.sends[number] = asyncio.create_task(producer.send(self.items(number, size)))
            model.send(number, size, index)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        model.settle()
        self.check()

    async def handle(self, items: Sequence[int]) -> None:
        assert len(set(items)) == 1
        self.read.append(items[0])

    def check(self) -> None:
        model, channel = self.model, self.channel
        if self.reader is not None and self.reader.done():
            self.reader = None
        held = sum(size for _, size in model.held)
        assert self.read == model.read
        assert channel.held == held
        assert channel.unread == model.let_go + (held if model.is_left else 0)
        assert channel.is_closed is model.is_closed
        assert channel.is_ended is (model.is_closed and not held)
        assert (self.reader is not None) is model.is_read
        waiting = [number for number, task in self.sends.items() if not task.done()]
        assert waiting == [number for number, _, _ in model.line]

    async def finish(self) -> None:
        for producer in self.producers:
            producer.close()
        self.channel.leave()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert all(task.done() for task in self.sends.values())
        assert self.reader is None or self.reader.done()
        assert self.channel.producers == ()


SENDING = ("open", "close", "send", "send", "send", "send_nowait", "cancel")
READING = ("take", "take and cancel", "read", "unread", "drain", "leave", "reopen")
CONTENDED = (("open", 0, 1), ("send", 0, 2), ("send", 0, 2), ("send", 0, 4), ("send", 0, 1), ("send", 0, 3))
STEPS = st.lists(
    st.tuples(st.sampled_from((*SENDING, *READING)), st.integers(0, 7), st.integers(1, 7)),
    max_size=40,
)


@settings(max_examples=300 * SCALE, deadline=None)
@given(STEPS)
async def test_any_order_of_events_is_that_of_plain_lists(steps: list[tuple[str, int, int]]) -> None:
    """Who gets in, who waits, what is read, counted and refused follows from what is held and who waits alone."""
    rig = Rig()
    try:
        for number, (what, which, size) in enumerate([*CONTENDED, *steps]):
            await rig.do(what, which, size, number)
    finally:
        await rig.finish()
