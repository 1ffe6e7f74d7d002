"""What of one sink is on disk: which of it is in memory as well, and what is read next."""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Final

from eventpipe.core.log import contained_logger
from eventpipe.errors import ClosedError, StoreError
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason
from eventpipe.spool.file import SpoolFile
from eventpipe.spool.status import SinkNumbers

# Where an event is: its file's number above its own.
FILE_BITS: Final = 48
_ID_MASK: Final = (1 << FILE_BITS) - 1

_logger = contained_logger(__name__)


def ticket_of(file: int, number: int) -> int:
    """Where an event is, as one number."""
    return file << FILE_BITS | number


class _Part:
    """What of the sink is in one file.

    Attributes:
        file: The file.
        bit: By which its rows say that they are owed to the sink.
        owed: How many are.
        held: The numbers of those that are in memory, or on their way out of the file.
        settled: The numbers of those that are owed no more, and could not be deleted.
        after: What is read next is behind this number.
    """

    def __init__(self, file: SpoolFile, bit: int, owed: int) -> None:
        self.file = file
        self.bit = bit
        self.owed = owed
        self.held: set[int] = set()
        self.settled: set[int] = set()
        self.after = 0

    @property
    def waiting(self) -> int:
        return self.owed - len(self.held)


class Shelf:
    """The events that one sink is owed, in all files of a spool.

    Every event on disk is held as well, in memory, or waits. What is held is settled, or put back; what waits is taken
    out in the order in which it was written, file by file, the oldest file first.

    Args:
        sink: Its name.
        on_lost: Called with a number of events that waited and are gone, and why.

    Attributes:
        sink: The same.
        on_waiting: Called when there is more that waits. ``None``: nobody is told.
    """

    def __init__(self, sink: str, on_lost: Callable[[int, DropReason], object]) -> None:
        self.sink = sink
        self.on_waiting: Callable[[], object] | None = None
        self._on_lost = on_lost
        self._parts: dict[int, _Part] = {}  # by the number of the file, in the order in which they are read

    @property
    def waiting(self) -> int:
        """Events that are on disk only."""
        return sum(part.waiting for part in self._parts.values())

    @property
    def held(self) -> int:
        """Events that are on disk, and in memory, or on their way out."""
        return sum(len(part.held) for part in self._parts.values())

    def add_file(self, number: int, file: SpoolFile) -> int:
        """Have what is in a file; how much that is."""
        part = self._parts[number] = _Part(file, file.bits[self.sink], file.holding.events.get(self.sink, 0))
        self._tell()
        return part.owed

    def go_on_with(self, number: int, file: SpoolFile) -> None:
        """Have a file in which the same is as before, opened anew."""
        self._parts[number].file = file
        self._tell()

    def remove_file(self, number: int) -> None:
        """Forget a file in which nothing is left."""
        del self._parts[number]

    def give_up_file(self, number: int) -> int:
        """Forget a file that cannot be read; how many of its events waited there, and are lost."""
        waiting = self._parts.pop(number).waiting
        if waiting:
            self._on_lost(waiting, DropReason.DAMAGED)
        return waiting

    def wrote(self, number: int, ids: Sequence[int]) -> None:
        """See events that are held, and are being written to a file."""
        part = self._parts[number]
        part.owed += len(ids)
        part.held.update(ids)

    def unwrote(self, number: int, ids: Sequence[int]) -> None:
        """See that they could not be written; those that were put back meanwhile are lost."""
        part = self._parts.get(number)
        if part is None:
            return  # the file was closed meanwhile
        part.owed -= len(ids)
        lost = len(ids) - len(part.held.intersection(ids))
        part.held.difference_update(ids)
        if lost:
            self._on_lost(lost, DropReason.DAMAGED)

    def is_kept(self, event: CapturedEvent) -> bool:
        """Whether an event is held here: on disk, or being written at someone's request."""
        ticket: int = getattr(event, "ticket", 0)  # 0: of no file
        part = self._parts.get(ticket >> FILE_BITS)
        return part is not None and ticket & _ID_MASK in part.held

    def held_in(self, number: int) -> Set[int]:
        """The numbers of events of a file that are in memory, or on their way out."""
        return self._parts[number].held

    def numbers_of(self, number: int) -> SinkNumbers:
        """What a file holds for the sink."""
        part = self._parts[number]
        return SinkNumbers(part.waiting, len(part.held), part.file.holding.events.get(self.sink, 0))

    def owes(self, number: int) -> int:
        """How many events of a file the sink is owed."""
        return self._parts[number].owed

    def settle(self, tickets: Iterable[int]) -> list[tuple[int, asyncio.Future[int]]]:
        """Let go of events, those of them that are held; by the number of the file, what deletes them."""
        deleting = []
        for number, part, ids in self._held_of(tickets):
            try:
                deleted = part.file.settle(part.bit, ids)
            except (ClosedError, StoreError):
                continue  # a forked child, or the end of a process: its owner, or the next one, sends it again
            deleted.add_done_callback(lambda future, part=part, ids=ids: self._settled(part, ids, future))  # type: ignore[misc]
            deleting.append((number, deleted))
        return deleting

    def put_back(self, tickets: Iterable[int]) -> None:
        """Hold events no more, those of them that are held: they stay on disk and wait there."""
        for _, part, ids in self._held_of(tickets):
            part.held.difference_update(ids)
            part.after = min(part.after, *(number - 1 for number in ids))
        self._tell()

    def lost(self, number: int, bits: Iterable[int], reason: DropReason) -> None:
        """See rows of a file that are not there any more, each with the bits of the sinks that it was counted for."""
        part = self._parts[number]
        gone = sum(1 for owed in bits if owed & part.bit)
        if gone:
            part.owed -= gone
            self._on_lost(gone, reason)

    async def take(self, max_events: int, max_bytes: int) -> tuple[list[CapturedEvent], list[tuple[int, list[int]]]]:
        """Take out what waits longest, which is held from then on; one at a time.

        Args:
            max_events: At most so many.
            max_bytes: At most so many, or one event.

        Returns:
            The events, none where none waits; and the rows that were found damaged: the number of the file, and for
            each row the bits of the sinks that it was counted for.

        Raises:
            StoreError: A file cannot be read.
            ClosedError: It was closed.
        """
        damaged = []
        for number, part in [*self._parts.items()]:
            while (waiting := part.waiting) > 0:
                after, held = part.after, part.held | part.settled if part.settled else part.held
                # No more than were counted: a damaged file may show an event twice.
                most = min(max_events, waiting)
                page = await part.file.read(part.bit, after=after, held=held, max_events=most, max_bytes=max_bytes)
                if page.damaged:
                    damaged.append((number, page.damaged))
                events = dict(page.events)
                for one, event in events.items():
                    event.ticket = ticket_of(number, one)
                part.held.update(events)
                if events:
                    part.after = page.events[-1][0]
                    return [*events.values()], damaged
                if page.damaged:
                    break  # counted wrongly until the caller has seen to what was damaged
                if not after:  # a damaged page showed them when they were counted, and does so no more
                    missing = min(waiting, part.waiting)  # others may have been put back meanwhile
                    part.owed -= missing
                    self._on_lost(missing, DropReason.DAMAGED)
                    break
                part.after = 0  # what was put back is before that
        return [], damaged

    def _tell(self) -> None:
        if self.on_waiting is not None:
            self.on_waiting()

    def _held_of(self, tickets: Iterable[int]) -> Iterator[tuple[int, _Part, Sequence[int]]]:
        # An event that several sinks have may have the ticket of another sink's copy.
        left = sorted({*tickets})
        while left:
            number, first = divmod(left[0], 1 << FILE_BITS)
            count = bisect(left, ticket_of(number, _ID_MASK))
            ids: Sequence[int] = range(first, first + count)
            if left[count - 1] - left[0] != count - 1:  # not in a row, as those of a batch are
                ids = [ticket & _ID_MASK for ticket in left[:count]]
            left = left[count:]
            part = self._parts.get(number)
            if part is not None and not part.held.issuperset(ids):
                ids = sorted(part.held.intersection(ids))
            if part is not None and ids:
                yield number, part, ids

    def _settled(self, part: _Part, ids: Sequence[int], deleted: asyncio.Future[int]) -> None:
        part.held.difference_update(ids)
        part.owed -= len(ids)
        if deleted.cancelled() or (error := deleted.exception()) is not None:
            # They stay on disk, and the next life sends them a second time.
            part.settled.update(ids)
            if not deleted.cancelled():
                _logger.warning("events of sink %r that are settled stay in the spool: %s", self.sink, error)
