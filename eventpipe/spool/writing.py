"""Events on their way to the disk, and those who wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count

from eventpipe.events import CapturedEvent, Durability
from eventpipe.spool.shelf import Shelf, ticket_of


class Writing:
    """Events that are written together, for the same sinks.

    Attributes:
        loop: The event loop, a turn of which it is of.
        sinks: Names of the sinks that are to have them.
        is_synced: Whether they are to outlive a loss of power.
        events: The events; none is added once it is begun.
        file: The number of the file, once it is begun.
        is_begun: Whether they have numbers, and are on their way.
        is_done: Whether they are committed, or known not to come there.
        error: Why they are not there. ``None``: they are, once it is done.
        on_end: Told when it is done. ``None``: nobody is.
    """

    __slots__ = (
        "_ids",
        "_shelves",
        "_waiting",
        "error",
        "events",
        "file",
        "is_begun",
        "is_done",
        "is_synced",
        "loop",
        "on_end",
        "sinks",
    )

    def __init__(self, sinks: tuple[str, ...], shelves: Sequence[Shelf], *, is_synced: bool) -> None:
        """Begin without events; ``shelves`` are those of the sinks."""
        self.loop = asyncio.get_running_loop()
        self.sinks = sinks
        self.is_synced = is_synced
        self.events: list[CapturedEvent] = []
        self.file = 0
        self.is_begun = False
        self.is_done = False
        self.error: BaseException | None = None
        self.on_end: Callable[[Writing], object] | None = None
        self._ids: Sequence[int] = ()
        self._shelves = shelves
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def durability(self) -> Durability:
        """What its events survive at this moment."""
        if not self.is_done or self.error is not None:
            return "memory"
        return "power" if self.is_synced else "process"

    def has(self, event: CapturedEvent) -> bool:
        """Whether an event is among them, once it is begun."""
        ticket: int = getattr(event, "ticket", 0)  # 0: of no file
        return bool(self._ids) and ticket_of(self.file, self._ids[0]) <= ticket <= ticket_of(self.file, self._ids[-1])

    def waiter(self) -> asyncio.Future[None]:
        """Done when they are on disk, or are known not to come there.

        It is one caller's alone, who may cancel it: they go on being written.
        """
        future = self.loop.create_future()
        if self.is_done:
            future.set_result(None)
        else:
            self._waiting.append(future)
        return future

    def begin(self, file: int, ids: range) -> None:
        """Give the events their numbers in a file; they are held from now on."""
        self.is_begun = True
        self.file = file
        self._ids = ids
        for event, ticket in zip(self.events, count(ticket_of(file, ids.start))):
            event.ticket = ticket
        for shelf in self._shelves:
            shelf.wrote(file, ids)

    def end(self, error: BaseException | None) -> None:
        """See that they are on disk, or why they are not; whoever waits goes on."""
        if error is not None and self.is_begun:
            for shelf in self._shelves:
                shelf.unwrote(self.file, self._ids)
            for event in self.events:
                del event.ticket
        self.is_begun = self.is_done = True
        self.error = error
        if self.on_end is not None:
            self.on_end(self)
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
