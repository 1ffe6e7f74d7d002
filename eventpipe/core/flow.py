"""A channel between two times that it was made as new."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from eventpipe.core.room import Room
from eventpipe.core.waking import resolve

T = TypeVar("T")


class Named(Protocol):
    """A handle, of which no more is known here."""

    name: str


class Flow(Generic[T]):
    """A channel between two times that it was made as new; what ends late finds the state of its own time here.

    Attributes:
        lists: What was sent and not read, with the number of items that each list had when it was sent.
        held: The items in them.
        granted: Items of senders that were given room and did not run since. Each puts its list in itself, so that
            one that is cancelled in between has sent nothing.
        let_go: Items that found no room while the reader was away.
        producers: The open handles, in order; a closed one stays while a send of it waits.
        room: The senders that wait.
        loop: The event loop that it is used in, once there is one.
        is_read: Whether a reader is inside.
        is_left: Whether the reader went away.
    """

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self.lists: deque[tuple[Sequence[T], int]] = deque()
        self.held = 0
        self.granted = 0
        self.let_go = 0
        self.producers: dict[Named, None] = {}
        self.room: Room[int] = Room(self._fits, self._grant)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_read = False
        self.is_left = False
        self.is_closed = False
        self._arrival: asyncio.Future[None] | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self.is_closed and not self.lists

    @property
    def is_abandoned(self) -> bool:
        """Whether its loop was closed; then so it stays."""
        return self.loop is not None and self.loop.is_closed()

    def succeed(self) -> Flow[T]:
        """What the next loop finds: the lists, but neither the handles nor the reader."""
        flow: Flow[T] = Flow(self.name, self.capacity)
        flow.lists, flow.held, flow.let_go = self.lists, self.held, self.let_go
        flow.is_left, flow.is_closed = self.is_left, self.is_closed or bool(self.producers)
        return flow

    def bind(self) -> None:
        """Belong to the running loop, if any; one that is in use elsewhere is refused."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self.loop not in (loop, None) and (self.producers or self.is_read):
            raise RuntimeError(f"channel {self.name} is in use in another event loop")
        self.loop = loop

    def put(self, items: Sequence[T]) -> bool:
        """Take a list in, unless it has no room or others wait for theirs."""
        size = len(items)
        if self.granted or self.room.waiting or not self._fits(size):
            return False
        self._append(items, size)
        return True

    async def put_later(self, items: Sequence[T]) -> None:
        """Take a list in once it has room; let it go once the reader has left."""
        size = len(items)
        if self.is_left:
            self.let_go += size
            return
        self.bind()
        waiter = self.room.join(size, size, epoch=0)
        try:
            if await waiter.future:
                self.granted -= size
                self._append(items, size)
            else:
                self.let_go += size
        except BaseException:
            if not self.room.leave(waiter) and waiter.is_admitted:
                self.granted -= size
            raise
        finally:
            self.room.grant()

    def take(self) -> Sequence[T] | None:
        """The next list, if there is one; those who wait get its room."""
        if not self.lists:
            return None
        items, size = self.lists.popleft()
        self.held -= size
        self.room.grant()
        return items

    async def next(self) -> Sequence[T] | None:
        """The next list, or ``None``: there will be none, or the reader left."""
        while not self._has_news():
            self._arrival = asyncio.get_running_loop().create_future()
            if not self._has_news():  # still: a signal handler may have put something in
                await self._arrival
        return self.take()

    def leave(self) -> None:
        """Let everybody go who waits for room."""
        self.is_left = True
        self.room.turn_away()
        self._wake()

    def release(self, producer: Named) -> None:
        """Let go of a handle; the last one ends the channel."""
        del self.producers[producer]
        if not self.producers:
            self.is_closed = True
            self._wake()

    def _has_news(self) -> bool:
        return bool(self.lists or self.is_closed or self.is_left)

    def _fits(self, size: int) -> bool:
        taken = self.held + self.granted
        return not taken or taken + size <= self.capacity

    def _grant(self, size: int) -> None:
        self.granted += size

    def _append(self, items: Sequence[T], size: int) -> None:
        self.lists.append((items, size))
        self.held += size
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None:
            resolve(self._arrival)
