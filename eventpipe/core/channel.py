"""Lists of items from any number of producers to one reader, which learns when the last producer is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Self, TypeVar

from eventpipe.core.deadline import Deadline
from eventpipe.core.flow import Flow
from eventpipe.errors import ClosedError

T = TypeVar("T")


class Channel(Generic[T]):
    """A bounded channel that its producers own: it ends when the last of their handles closes, and only then.

    Lists travel whole, as they are and not copied: whoever sends one leaves it alone from then on. What one producer
    sends is read in the order in which it was sent. There is no task and no thread in it; a list costs the same
    however many items it has.

    It works on one event loop at a time. A loop that was closed takes its producers and its reader with it: they
    count as closed and gone, and what they left can be read in the next loop. The plain methods may be called outside
    a loop as well. Nothing here may be called from another thread.

    Args:
        capacity: Items held, summed over lists; a list with more goes in alone, when nothing else is held.
        name: What errors call it.
    """

    def __init__(self, capacity: int, name: str = "channel") -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self.capacity = capacity
        self.name = name
        self._flow: Flow[T] = Flow(name, capacity)

    @property
    def held(self) -> int:
        """Items sent and not yet read."""
        return self._flow.held

    @property
    def unread(self) -> int:
        """Items that nobody reads because the reader left: those let go since, and while it is away those held."""
        flow = self._present()
        return flow.let_go + (flow.held if flow.is_left else 0)

    @property
    def producers(self) -> tuple[str, ...]:
        """The names of the handles that are open, in the order in which they were opened."""
        return tuple(producer.name for producer in self._present().producers)

    @property
    def is_closed(self) -> bool:
        """Whether the last handle was closed: no more producers, no more lists."""
        return self._present().is_closed

    @property
    def is_ended(self) -> bool:
        """Whether it is closed and everything was read."""
        return self._present().is_ended

    @property
    def is_read(self) -> bool:
        """Whether a reader is inside: it waits, or drains."""
        return self._present().is_read

    def producer(self, name: str) -> Producer[T]:
        """Open a handle to send with; the channel goes on until it, and every other one, is closed.

        Raises:
            ClosedError: The last handle was closed before.
            RuntimeError: The channel is in use in another event loop.
        """
        flow = self._present()
        flow.bind()
        if flow.is_closed:
            raise ClosedError(f"channel {self.name} has ended; reopen() it before {name} can send")
        return Producer(name, flow)

    def receive_nowait(self) -> Sequence[T] | None:
        """The next list; ``None`` when there is none now, and after the end. Does not count as reading."""
        return self._present().take()

    async def receive(self) -> Sequence[T]:
        """Wait for the next list.

        Raises:
            ClosedError: The end: every handle was closed and everything was read; or the reader left meanwhile.
            RuntimeError: There is a reader already, or the channel is in use in another event loop.

        Cancellation:
            Safe. Nothing was taken.
        """
        items = await self._next()
        if items is None:
            channel = f"channel {self.name}"
            raise ClosedError(f"{channel} has ended" if self.is_ended else f"the reader of {channel} left")
        return items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[T]:
        items = await self._next()
        if items is None:
            raise StopAsyncIteration
        return items

    async def drain(self, handle: Callable[[Sequence[T]], Awaitable[None]], deadline: Deadline) -> int:
        """Hand each list to ``handle``, one after the other, until the end, the deadline, or ``leave()``.

        Args:
            handle: Cancelled at the deadline; an error of it ends the draining.
            deadline: When to give up. One that is due already hands on nothing.

        Returns:
            Items left: those held, and those of the list whose handling was cut off. Zero at the end.

        Raises:
            RuntimeError: There is a reader already, or the channel is in use in another event loop.

        Cancellation:
            Safe. What ``handle`` was not given stays in the channel.
        """
        flow = self._enter()
        in_hand = 0
        try:
            async with deadline.scope() as scope:
                while not deadline.expired and not flow.is_left and (items := await flow.next()) is not None:
                    in_hand = len(items)
                    await handle(items)
                    in_hand = 0
        except TimeoutError:
            if not scope.expired():
                raise  # an error of handle
        finally:
            flow.is_read = False
        return in_hand + flow.held

    def leave(self) -> None:
        """Say that the reader goes away: nobody waits for room any more.

        What is held stays for a reader that comes back, which it does by reading; what finds no room meanwhile is let
        go. Both are counted in ``unread``. A reader that waits at this moment is told the end, and one that drains ends
        with the list that it handles.
        """
        self._present().leave()

    def reopen(self) -> int:
        """Make it as new, for a restart: no handle was ever opened, nothing is held, nothing was unread.

        Returns:
            Items that were sent and not read, and will not be: those held, and those let go of before.

        Raises:
            RuntimeError: A handle is open, or a reader inside.
        """
        flow = self._present()
        if flow.producers:
            raise RuntimeError(f"channel {self.name} cannot be reopened: not closed by {', '.join(self.producers)}")
        if flow.is_read:
            raise RuntimeError(f"channel {self.name} cannot be reopened: it is being read")
        self._flow = Flow(self.name, self.capacity)
        return flow.held + flow.let_go

    def __repr__(self) -> str:
        flow = self._present()
        state = "ended" if flow.is_ended else "closed" if flow.is_closed else "open"
        producers = ", ".join(self.producers)
        return f"<Channel {self.name} {state}, {flow.held}/{self.capacity} held, producers: {producers or 'none'}>"

    def _present(self) -> Flow[T]:
        if self._flow.is_abandoned:
            self._flow = self._flow.succeed()
        return self._flow

    def _enter(self) -> Flow[T]:
        flow = self._present()
        flow.bind()
        if flow.is_read:
            raise RuntimeError(f"channel {self.name} has a reader already")
        flow.is_read = True
        flow.is_left = False
        return flow

    async def _next(self) -> Sequence[T] | None:
        flow = self._enter()
        try:
            return await flow.next()
        finally:
            flow.is_read = False


class Producer(Generic[T]):
    """A handle to send with; leaving its ``with`` block closes it, so that a producer that crashes closes too.

    Attributes:
        name: What errors call it.
    """

    def __init__(self, name: str, flow: Flow[T]) -> None:
        self.name = name
        self._flow = flow
        self._sending = 0  # sends that have not returned; the handle is let go of after the last
        self._is_closed = False
        flow.producers[self] = None

    @property
    def is_closed(self) -> bool:
        """Whether it sends no more: it was closed, or its event loop was."""
        return self._is_closed or self._flow.is_abandoned

    def send_nowait(self, items: Sequence[T]) -> bool:
        """Send a list if it has room now and nobody waits before it; an empty one never travels.

        Returns:
            Whether it was sent; if not, nothing of it was taken.

        Raises:
            ClosedError: The handle was closed.
        """
        if self.is_closed:
            raise ClosedError(f"producer {self.name} of channel {self._flow.name} was closed")
        return len(items) == 0 or self._flow.put(items)

    async def send(self, items: Sequence[T]) -> None:
        """Send a list once it has room, first come first served; at once where the reader has left.

        Raises:
            ClosedError: The handle was closed. A handle closed while this waits still sends it.

        Cancellation:
            Safe. Nothing of the list was sent, and who is next in line gets its room.
        """
        if self.send_nowait(items):
            return
        self._sending += 1
        try:
            await self._flow.put_later(items)
        finally:
            self._sending -= 1
            if self._is_closed:
                self._release()

    def close(self) -> None:
        """Send nothing more; the last one to close ends the channel. A second time does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._release()

    def _release(self) -> None:
        if not self._sending:
            self._flow.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Producer {self.name} of {self._flow.name}, {'closed' if self.is_closed else 'open'}>"
