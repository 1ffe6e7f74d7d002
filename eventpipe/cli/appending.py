"""Appends the lines of standard input to a topic, and keeps book of what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rich.console import RenderableType

from eventpipe.cli.event_input import EventInput, Read
from eventpipe.cli.failures import CommandError, reason_of
from eventpipe.cli.inputs import in_thread
from eventpipe.cli.progress import bar
from eventpipe.cli.signals import Stop
from eventpipe.cli.targets import Target
from eventpipe.cli.text import count
from eventpipe.errors import StoreError, StoreFullError

SHOWN_FAULTS: Final = 20  # malformed lines that are told one by one; a wrong format makes one of every line
AHEAD: Final = 8  # chunks read while the last commit runs, which are appended together by the next one
SOURCE: Final = "standard input"


@dataclass(slots=True)
class Appended:
    """What became of lines.

    Attributes:
        lines: Lines read that were not blank.
        appended: Lines whose event is in the topic now.
        already_there: Lines whose event the topic had before, told by its id.
        malformed: Lines of which no event could be made.
        line: The last line that was dealt with.
        is_all_read: Whether the end was reached.
        stopped: What ended it early; ``None`` when nothing did.
    """

    lines: int = 0
    appended: int = 0
    already_there: int = 0
    malformed: int = 0
    line: int = 0
    is_all_read: bool = False
    stopped: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether every line is in the topic."""
        return self.is_all_read and not self.malformed


class Appending:
    """One run over standard input.

    Args:
        target: Takes the events.
        source: What is read.
        warn: Shows one line about a malformed line.

    Attributes:
        so_far: What became of the lines so far.
    """

    def __init__(self, target: Target, source: EventInput, warn: Callable[[str], None]) -> None:
        self.so_far = Appended()
        self._target = target
        self._source = source
        self._warn = warn
        self._end = 0  # the topic's, as far as it is known
        self._chunks: asyncio.Queue[Sequence[Read]] = asyncio.Queue(AHEAD)
        self._is_read = False  # whether all that is read stands in the queue
        self._failure: str | None = None  # why it ends early

    def frame(self) -> RenderableType:
        """The progress bar."""
        source, so_far = self._source, self.so_far
        words = f"{count(so_far.appended)} appended"
        words += f", {count(so_far.already_there)} there already" if so_far.already_there else ""
        words += f", {count(so_far.malformed)} malformed" if so_far.malformed else ""
        return bar("appending", source.bytes_read, source.size, words)

    async def run(self, stop: Stop) -> None:
        """Append everything.

        Asked to stop, it reads no further and appends what was read; asked again, it gives up.

        Raises:
            CommandError: The log could not take the first events, or nothing could be read.
        """
        self._end = await self._target.end()
        reading = asyncio.create_task(self._read(), name="eventpipe append: read")
        appending = asyncio.create_task(self._append(), name="eventpipe append")
        stops = [asyncio.create_task(stop.wait(times)) for times in (1, 2)]
        try:
            await asyncio.wait({appending, stops[0]}, return_when=asyncio.FIRST_COMPLETED)
            if not appending.done():
                self._failure = "interrupted"
                reading.cancel()
                await asyncio.wait({appending, stops[1]}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, appending, *stops):
                task.cancel()
            await asyncio.wait({reading, appending, *stops})
        if appending.cancelled():
            self.so_far.stopped = self._failure
        for task in (appending, reading):
            if not task.cancelled():
                task.result()

    async def _read(self) -> None:
        try:
            while chunk := await in_thread(self._source.next_chunk):
                await self._chunks.put(chunk)
        except OSError as error:
            self._failure = f"cannot read {SOURCE}: {reason_of(error)}"
        finally:
            self._is_read = True
            if not self._chunks.full():  # while it is, nobody waits for more
                self._chunks.put_nowait(())

    async def _append(self) -> None:
        so_far = self.so_far
        try:
            while not (self._is_read and self._chunks.empty()):
                chunks = [await self._chunks.get()]
                while not self._chunks.empty():
                    chunks.append(self._chunks.get_nowait())
                await self._append_reads([read for chunk in chunks for read in chunk])
        except StoreError as error:
            if not so_far.line:
                raise
            self._failure = str(error)
        so_far.stopped = self._failure
        if so_far.stopped is not None and not so_far.line:
            raise CommandError(so_far.stopped)
        so_far.is_all_read = so_far.stopped is None

    async def _append_reads(self, reads: Sequence[Read]) -> None:
        """Append in as few commits as the bounds of the topic allow."""
        pieces = [list(run) for _, run in groupby(reads, self._is_apart)][::-1]
        while pieces:
            piece = pieces.pop()
            events = [read.event for read in piece if read.event is not None]
            try:
                offsets = await self._target.append(events)
            except StoreFullError:
                if len(events) < 2:
                    raise
                middle = len(piece) // 2
                pieces += [piece[middle:], piece[:middle]]
                continue
            self._note(piece, offsets)

    def _is_apart(self, read: Read) -> bool:
        return read.event is not None and self._target.is_apart(read.event)

    def _note(self, reads: Sequence[Read], offsets: Sequence[int]) -> None:
        so_far = self.so_far
        for offset in offsets:
            if offset < self._end:
                so_far.already_there += 1
            else:
                so_far.appended += 1
                self._end = offset + 1
        for read in reads:
            so_far.lines += 1
            so_far.line = read.line
            if read.event is None:
                self._reject(read)

    def _reject(self, read: Read) -> None:
        self.so_far.malformed += 1
        if self.so_far.malformed <= SHOWN_FAULTS:
            self._warn(f"{SOURCE}:{read.line}: {read.fault}")
        if self.so_far.malformed == SHOWN_FAULTS + 1:
            self._warn("more malformed lines are counted, and no longer shown")
