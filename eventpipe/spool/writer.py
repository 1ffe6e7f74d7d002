"""What puts events on disk: all of a turn of the loop together, into the own file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from eventpipe.clock import Clock
from eventpipe.core.waking import running_loop
from eventpipe.errors import ClosedError, SpoolError, StoreError, StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.spool.file import SpoolFile
from eventpipe.spool.shelf import Shelf
from eventpipe.spool.values import Written
from eventpipe.spool.writing import Writing
from eventpipe.stores.sqlite_faults import NoRoomError


class Writer:
    """Writes events to the own file of a spool.

    Args:
        shelves: By sink: what it is owed.
        clock: What tells the time.
        check_room: Raises ``StoreError`` where there is no room.
        on_end: Called with what was written, and the bytes in use; or with why it was not.

    Attributes:
        file: The own file, and its number; ``None``: there is none yet, or it was closed.
    """

    def __init__(
        self,
        shelves: Mapping[str, Shelf],
        clock: Clock,
        *,
        check_room: Callable[[], object],
        on_end: Callable[[Writing, int | BaseException], object],
    ) -> None:
        self.file: tuple[int, SpoolFile] | None = None
        self._shelves = shelves
        self._clock = clock
        self._check_room = check_room
        self._on_end = on_end
        self._turn: Writing | None = None  # what this turn of the loop has to write
        self._under_way: list[Writing] = []  # and what is not committed yet of those before

    def open(self, number: int, file: SpoolFile) -> None:
        """Write to this file from now on; what was under way on a loop that is gone never ends."""
        self.file = number, file
        self._under_way = []

    def write(self, events: Iterable[CapturedEvent], sinks: Iterable[str], *, is_synced: bool) -> Writing:
        """Keep events that are in memory until these sinks have settled them; all of one turn of the loop in a commit.

        Returns:
            What is on its way: done when they are committed, with ``is_synced`` so that they outlive a loss of power.
            Where it fails they are in memory alone.

        Raises:
            ClosedError: There is no file.
            StoreError: There is no room, or this is a forked child.
        """
        writing = self._new(tuple(sinks), is_synced=is_synced)
        writing.events.extend(events)
        self._begin(writing)
        return writing

    def turn(self, sinks: tuple[str, ...], *, is_synced: bool) -> Writing:
        """What this turn of the loop writes for these sinks; whoever has an event to be written adds it at once.

        All of it is on its way when the turn is over, or when ``hand_in()`` is called.

        Raises:
            ClosedError: There is no file.
            StoreError: There is no room.
        """
        writing, loop = self._turn, asyncio.get_running_loop()
        if writing is None or writing.sinks != sinks or writing.is_synced != is_synced or writing.loop is not loop:
            self._own()
            self.hand_in()
            self._turn = writing = self._new(sinks, is_synced=is_synced)
            loop.call_soon(self.hand_in)
        return writing

    def hand_in(self) -> None:
        """Have written what this turn of the loop has to write; comes before a look at what is on disk."""
        writing, self._turn = self._turn, None
        if writing is not None and writing.loop is running_loop():  # else nobody is there any more who waits
            with contextlib.suppress(ClosedError, StoreError):  # whoever waits is told
                self._begin(writing)

    def under_way(self, event: CapturedEvent) -> Writing | None:
        """What an event is being written with; ``None``: it is on disk, or in memory alone."""
        return next((writing for writing in self._under_way if writing.has(event)), None)

    def _new(self, sinks: Sequence[str], *, is_synced: bool) -> Writing:
        return Writing(tuple(sinks), [self._shelves[sink] for sink in sinks], is_synced=is_synced)

    def _own(self) -> tuple[int, SpoolFile]:
        """The own file, where events can be written.

        Raises:
            ClosedError: There is none.
            StoreError: There is no room, or the file is broken.
        """
        if self.file is None:
            raise ClosedError("the spool is not open")
        _, file = self.file
        if file.fault is not None:
            raise SpoolError(f"{file.owned.path} is broken, and another file is being made: {file.fault}")
        self._check_room()
        return self.file

    def _begin(self, writing: Writing) -> None:
        """Write to the own file.

        Raises:
            ClosedError: There is none.
            StoreError: There is no room, or this is a forked child.
        """
        try:
            number, file = self._own()
            ids = file.next_ids(len(writing.events))
            owed = sum(file.bits[sink] for sink in writing.sinks)
            writing.begin(number, ids)
            written = file.write(Written(ids, writing.events, owed, self._clock.time()), is_synced=writing.is_synced)
        except (ClosedError, StoreError) as error:
            writing.end(error)
            raise
        self._under_way.append(writing)
        written.add_done_callback(partial(self._ended, writing, file.owned.path))

    def _ended(self, writing: Writing, path: Path, written: asyncio.Future[int]) -> None:
        error = asyncio.CancelledError() if written.cancelled() else written.exception()
        if isinstance(error, NoRoomError):
            error = StoreFullError(f"the disk of the spool is full; free some room there: {path}", topic="")
        if writing in self._under_way:
            self._under_way.remove(writing)
        writing.end(error)
        self._on_end(writing, written.result() if error is None else error)
