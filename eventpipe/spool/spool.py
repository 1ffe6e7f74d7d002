"""A service that keeps events of this process on disk, and takes over those of processes that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from eventpipe.clock import Clock
from eventpipe.core.deadline import Deadline
from eventpipe.core.log import contained_logger
from eventpipe.core.service import Service
from eventpipe.errors import ClosedError, SpoolError, StoreError, StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason
from eventpipe.spool import folder
from eventpipe.spool.bounds import SpoolBounds
from eventpipe.spool.file import SpoolFile, open_file
from eventpipe.spool.folder import Owned
from eventpipe.spool.shelf import Shelf
from eventpipe.spool.status import Glance, Numbers, StatusFiles
from eventpipe.spool.writer import Writer
from eventpipe.spool.writing import Writing

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Seconds between two looks for files of processes that are gone.
ADOPT_INTERVAL: Final = 1.0
# Files open at once beside the own one; the next follow as these are emptied.
MAX_ADOPTED: Final = 8

_logger = contained_logger(__name__)


class Spool(Service):
    """The files of one client in a folder that any number of processes share.

    New events go to one file of its own. Files whose owners are gone are taken over, read and, once they are empty,
    deleted; the first that is found at the start becomes the own file.

    Attributes:
        shelves: By sink: what it is owed.
        writer: Puts events on disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sinks: Sequence[str],
        *,
        clock: Clock,
        on_taken_over: Callable[[str, int], object],
        on_lost: Callable[[str, int, DropReason], object],
        on_set_aside: Callable[[], object],
        bounds: SpoolBounds,
    ) -> None:
        """Open nothing yet.

        Args:
            path: The folder; made when this starts.
            sinks: Names of the sinks.
            clock: What tells the time.
            on_taken_over: Called with a sink and the number of its events in a file that was taken over.
            on_lost: Called with a sink, the number of its events on disk that are lost, and why.
            on_set_aside: Called when a file is used no more: what is in memory is on disk no longer.
            bounds: How much is kept.
        """
        super().__init__("eventpipe-spool")
        self.shelves = {sink: Shelf(sink, partial(on_lost, sink)) for sink in sinks}
        self.writer = Writer(self.shelves, clock, check_room=self._check_room, on_end=self._wrote)
        self._path = path
        self._sinks = tuple(sinks)
        self._clock = clock
        self._on_taken_over = on_taken_over
        self._on_set_aside = on_set_aside
        self._bounds = bounds
        self._reading = asyncio.Lock()  # who takes rows out of a file, or lets them go unread
        self._stir = asyncio.Event()
        self._is_disk_full = False  # as far as is known
        self._is_ending = False
        self._folder = Path()
        self._files: dict[int, SpoolFile] = {}  # by number, which is never used again
        self._own = 0  # the number of the own file
        self._next = 1
        self._bytes: dict[int, int] = {}
        self._foreign: dict[int, int] = {}  # events of sinks that this client does not have
        self._orphans: list[Owned] = []  # of this process now, and not open yet
        self._unreadable: dict[Owned, str] = {}  # and why
        self._status = StatusFiles(bounds, clock)

    @property
    def bytes(self) -> int:
        """Bytes of all files that are in use, but for the logs of SQLite."""
        return sum(self._bytes.values())

    @property
    def waiting(self) -> int:
        """Events that are on disk only, at all sinks."""
        return sum(shelf.waiting for shelf in self.shelves.values())

    @property
    def held(self) -> int:
        """Events that are on disk and in memory, at all sinks."""
        return sum(shelf.held for shelf in self.shelves.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on disk that any sink is owed."""
        return not (self.waiting or self.held)

    def settle(self, sink: str, events: Collection[CapturedEvent]) -> list[asyncio.Future[int]]:
        """Let go of what a sink has settled; of events that are not on disk nothing is to be let go.

        Returns:
            Done when it is off the disk, or is known to stay there.
        """
        try:
            tickets = [event.ticket for event in events]
        except AttributeError:  # of this turn, or not to be on disk
            self.writer.hand_in()
            if not self.shelves[sink].held:
                return []
            tickets = [event.ticket for event in events if hasattr(event, "ticket")]
        deleting = self.shelves[sink].settle(tickets)
        for number, deleted in deleting:
            deleted.add_done_callback(partial(self._used, number))
        return [deleted for _, deleted in deleting]

    async def take(self, sink: str, max_events: int, max_bytes: int) -> list[CapturedEvent]:
        """Take out what waits longest for a sink; it is in memory, and on disk, from then on. One at a time.

        Raises:
            StoreError: A file cannot be read.
            ClosedError: It does not run.
        """
        async with self._reading:
            events, damaged = await self.shelves[sink].take(max_events, max_bytes)
        for number, bits in damaged:
            self._lost(number, bits, DropReason.DAMAGED)
        return events

    # -- the service --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._reading, self._stir = asyncio.Lock(), asyncio.Event()
        self._is_ending = False
        self._folder = await _in_thread(folder.check, self._path)
        for number in [*self._files]:
            await self._open_again(number)
        self._orphans = await _in_thread(folder.orphans, self._folder)
        if self._own not in self._files:
            own = await self._take_over_next()
            self._own = await self._make_own() if own is None else own
        self.writer.open(self._own, self._files[self._own])
        self._status = StatusFiles(self._bounds, self._clock)
        await self._tell()

    async def _serve(self) -> None:
        life, loop = self._life, asyncio.get_running_loop()
        assert life is not None  # noqa: S101  # this is a step of it
        looks_at = loop.time() + ADOPT_INTERVAL
        while not life.stop_requested.is_set():
            try:
                async with asyncio.timeout_at(looks_at):
                    await self._stir.wait()
                self._stir.clear()
            except TimeoutError:
                looks_at = loop.time() + ADOPT_INTERVAL
                await self._look()
            for number in [number for number, file in self._files.items() if file.fault is not None]:
                with contextlib.suppress(StoreError):  # no new file can be made: at the next look
                    await self._set_aside(number)
            await self._make_room()

    def _request_stop(self, deadline: Deadline) -> None:
        del deadline
        self._is_ending = True
        self._stir.set()

    async def _look(self) -> None:
        """Clear away what is empty, and take over what is nobody's."""
        await self._clear_away()
        with contextlib.suppress(SpoolError):  # a full table of files: at the next look
            self._orphans += await _in_thread(folder.orphans, self._folder)
        while len(self._files) <= MAX_ADOPTED and await self._take_over_next() is not None:
            pass
        await self._tell()

    async def _tell(self) -> None:
        """Say in the status files what has changed."""
        unreadable = [(owned, Numbers(fault=fault)) for owned, fault in self._unreadable.items()]
        news = [(owned, numbers, Glance()) for owned, numbers in unreadable if self._status.is_news(owned, numbers)]
        for number, file in [*self._files.items()]:
            sinks = {sink: shelf.numbers_of(number) for sink, shelf in self.shelves.items()}
            numbers = Numbers(number == self._own, sinks, self._foreign[number], self._bytes[number], file.last)
            if self._status.is_news(file.owned, numbers):
                glance = Glance()
                with contextlib.suppress(StoreError, ClosedError):  # who reads or writes it next is told
                    glance = await file.glance()
                news.append((file.owned, numbers, glance))
        if news:
            await _in_thread(self._status.write, news)

    async def _make_room(self) -> None:
        """Let go of what has waited for too long, and, where it is so wanted, of the oldest while there is no room."""
        before = self._bounds.expired_before(self._clock.time())
        if before > -math.inf:
            for number in [*self._files]:
                while await self._discard(number, before, math.inf, DropReason.EXPIRED):
                    pass
        for number in sorted(self._files, key=lambda number: number == self._own):  # those of others are older
            while excess := self._bounds.excess(self.bytes, is_disk_full=self._is_disk_full):
                if not await self._discard(number, math.inf, excess, DropReason.QUEUE_FULL):
                    break
                self._is_disk_full = False

    async def _discard(self, number: int, before: float, max_bytes: float, reason: DropReason) -> int:
        """Let go of events of a file that are in nobody's memory; how many."""
        file = self._files[number]
        async with self._reading:
            held = set().union(*(shelf.held_in(number) for shelf in self.shelves.values()))
            try:
                gone = await file.discard(before=before, held=held, max_bytes=max_bytes)
                self._bytes[number] = await file.used()
            except (StoreError, ClosedError) as error:
                _logger.warning("%s cannot be made smaller: %s", file.owned.path, error)
                return 0
        self._lost(number, [bits for _, bits in gone], reason)
        return len(gone)

    async def _close(self) -> None:
        self.writer.hand_in()
        self.writer.file = None
        for number, file in [*self._files.items()]:
            if self._is_ending:
                await self._close_file(number)
            else:  # a loop that ended, or somebody who cancels: what is in memory goes on beside it on the next
                await file.aclose()
        for owned in (*self._orphans, *self._unreadable):
            owned.release()
        self._orphans, self._unreadable = [], {}

    async def _take_over_next(self) -> int | None:
        """Open the oldest file that can be opened of those whose owners are gone: its number; ``None``: there is none.

        One that cannot be opened is left as it is, and kept, so that nobody tries again each second.
        """
        while self._orphans:
            owned = self._orphans.pop(0)
            try:
                return await self._opened(owned)
            except StoreError as error:
                _logger.warning("a file of the spool cannot be read, and is left as it is: %s", error)
                self._unreadable[owned] = str(error)
        return None

    async def _make_own(self) -> int:
        """Make a file; its number. Where that fails, as ``StoreError``, nothing is left of it."""
        owned = await _in_thread(folder.own_new, self._folder)
        try:
            return await self._opened(owned)
        except StoreError:
            await _in_thread(owned.remove)
            raise

    async def _opened(self, owned: Owned) -> int:
        """Open a file that is this process's; its number.

        Raises:
            StoreError: It cannot be opened, or is none of ours. It was left as it is.
        """
        try:
            file = await open_file(owned, self._sinks, self._clock)
        except StoreError:
            raise
        except BaseException:
            owned.release()
            raise
        if file.holding.damaged:
            _logger.warning(
                "%s keeps %d events that do not pass their checksum, and are not sent", owned.path, file.holding.damaged
            )
        if file.holding.missing:
            _logger.warning(
                "%d more events of %s cannot be found: a page of it is damaged; eventpipe spool verify says which",
                file.holding.missing,
                owned.path,
            )
        number, self._next = self._next, self._next + 1
        self._files[number] = file
        self._bytes[number] = file.holding.bytes
        for sink, shelf in self.shelves.items():
            events = shelf.add_file(number, file)
            if events:
                self._on_taken_over(sink, events)
        foreign = {sink: events for sink, events in file.holding.events.items() if events and sink not in self.shelves}
        for sink, events in foreign.items():
            _logger.warning(
                "%s holds %d events for sink %r, which this client does not have; they stay there: give it that sink,"
                " or send them with eventpipe spool drain",
                owned.path,
                events,
                sink,
            )
        self._foreign[number] = sum(foreign.values())
        return number

    async def _open_again(self, number: int) -> None:
        """Go on with a file of which it is known already what is in memory.

        Raises:
            StoreError: It cannot be opened.
        """
        file = self._files[number]
        self._files[number] = file = await open_file(file.owned, self._sinks, self._clock, after=file.last)
        self._bytes[number] = file.holding.bytes
        for shelf in self.shelves.values():
            shelf.go_on_with(number, file)

    async def _clear_away(self) -> None:
        """Delete files of others that are empty now."""
        for number in [*self._files]:
            is_settled = not self._foreign[number] and not any(shelf.owes(number) for shelf in self.shelves.values())
            if number != self._own and is_settled:
                await self._close_file(number)

    async def _set_aside(self, number: int) -> None:
        """Use a file no more that is damaged beyond its rows, and leave it as it is: what waited there is lost to us.

        Raises:
            StoreError: It was the own one, and no other can be made.
        """
        if number == self._own:
            self._own = await self._make_own()
            self.writer.open(self._own, self._files[self._own])
        file = self._files[number]
        async with self._reading:
            await file.aclose()  # first: what is on its way there has its answer then
            del self._files[number], self._bytes[number], self._foreign[number]
            lost = sum(shelf.give_up_file(number) for shelf in self.shelves.values())
        self._on_set_aside()
        self._unreadable[file.owned] = str(file.fault)
        _logger.error(
            "a file of the spool is set aside as it is, with %d events that waited there: %s", lost, file.fault
        )

    async def _close_file(self, number: int) -> None:
        """Close a file, and delete it when nothing is left in it."""
        file = self._files.pop(number)
        del self._bytes[number], self._foreign[number]
        self._status.forget(file.owned)
        for shelf in self.shelves.values():
            shelf.remove_file(number)
        is_empty = False
        try:
            is_empty = await file.is_empty()
        except StoreError as error:
            _logger.warning("%s cannot be read any more: %s", file.owned.path, error)
        finally:
            await file.aclose()
            (file.owned.remove if is_empty else file.owned.release)()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _lost(self, number: int, bits: Sequence[int], reason: DropReason) -> None:
        for shelf in self.shelves.values():
            shelf.lost(number, bits, reason)

    def _check_room(self) -> None:
        if self._bounds.refuses(self.bytes):
            raise StoreFullError(
                f"the spool {self._folder} has {self.bytes} bytes in use, and spool_bytes={self._bounds.max_bytes};"
                " raise that, or let the oldest give way: spool_overflow='drop_oldest'",
                topic="",
            )

    def _wrote(self, writing: Writing, used: int | BaseException) -> None:
        if isinstance(used, BaseException):
            self._stir.set()  # the file may be broken
            self._is_disk_full = isinstance(used, StoreFullError)
        elif writing.file in self._bytes:
            self._bytes[writing.file] = used
        if self._bounds.excess(self.bytes, is_disk_full=self._is_disk_full):
            self._stir.set()

    def _used(self, number: int, deleted: asyncio.Future[int]) -> None:
        if number in self._bytes and not deleted.cancelled() and deleted.exception() is None:
            self._bytes[number] = deleted.result()


async def _in_thread(call: Callable[[*Ts], T], *args: *Ts) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, call, *args)
