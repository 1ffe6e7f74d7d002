"""Feeds the lines of files to a client, and keeps book of what became of each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import partial

from eventpipe.cli.failures import CommandError, reason_of
from eventpipe.cli.fields import Fields
from eventpipe.cli.inputs import Input, in_thread
from eventpipe.cli.origins import Origin, Origins
from eventpipe.cli.rejects import Rejects
from eventpipe.cli.rows import Row, Rows
from eventpipe.cli.signals import Stop
from eventpipe.cli.text import readable
from eventpipe.client import AsyncClient
from eventpipe.outcomes import DropReason, Outcome

FLUSH_TIMEOUT = 60.0  # seconds of one flush; they follow one another until nothing is pending
SHOWN_FAULTS = 20  # malformed lines that are told one by one; a wrong format makes one of every line

# Every later event would meet the same answer, so that reading on would only fill the file of rejects.
HOPELESS = frozenset({DropReason.UNAUTHORIZED, DropReason.MISCONFIGURED})
ERROR_NAME = re.compile(r"^\w+Error: ")  # for programmers; the text after it is for everybody


class Sending:
    """One run over some inputs.

    Attributes:
        lines: Lines read that were not blank; records, where they have several lines.
        malformed: Lines of which no event could be made.
        bytes_read: Bytes read of all inputs.
        position: The file and line of the last event that was handed to the client.
        is_all_read: Whether the end of the last input was reached.
        stopped: What ended it early; ``None`` when nothing did.
        origins: The lines of pending events.

    Args:
        inputs: What to read, in order.
        fields: How values become events.
        rejects: Takes the lines that are not delivered.
        warn: Shows one line about a malformed line.
        lane: The lane of all events; ``None``: that of each line.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        fields: Fields,
        rejects: Rejects,
        warn: Callable[[str], None],
        *,
        lane: str | None = None,
    ) -> None:
        self.lines = 0
        self.malformed = 0
        self.bytes_read = 0
        self.position: tuple[str, int] | None = None
        self.is_all_read = False
        self.stopped: str | None = None
        self.origins = Origins()
        self._inputs = inputs
        self._fields = fields
        self._rejects = rejects
        self._warn = warn
        self._lane = lane
        self._halted = asyncio.Event()

    def on_delivered(self, uuids: Sequence[str]) -> None:
        """Forget the lines of delivered events."""
        for uuid in uuids:
            self.origins.take(uuid)

    def on_drop(self, outcome: Outcome) -> None:
        """Put the lines of dropped events among the rejects; stop where going on is hopeless."""
        detail = ERROR_NAME.sub("", outcome.error) if outcome.error is not None else None
        try:
            for uuid in outcome.uuids:
                origin = self.origins.take(uuid)
                if origin is not None:
                    self._rejects.add(origin.file, origin.line, origin.text, str(outcome.reason), detail)
        except CommandError as error:
            self._halt(str(error))
        if outcome.reason in HOPELESS:
            self._halt(detail or str(outcome.reason))

    def close_rejects(self) -> None:
        """Close the file of rejects; what could not be written is told by ``stopped``."""
        try:
            self._rejects.close()
        except CommandError as error:
            self.stopped = self.stopped or str(error)

    async def run(self, client: AsyncClient, stop: Stop, *, drain: float, announce: Callable[[str], None]) -> None:
        """Read and send everything, then close the client.

        Asked to stop, it reads no further and sends what was read before ``drain`` is over; asked again, it gives up.

        Args:
            client: Takes the events; closed in the end.
            stop: The user's wish.
            drain: Seconds that sending the rest may take after a stop.
            announce: Shows one line to the user.

        Raises:
            CommandError: The first input cannot be read as what it should be.
        """
        work = asyncio.create_task(self._work(client), name="eventpipe send")
        ends = [asyncio.create_task(stop.wait()), asyncio.create_task(self._halted.wait())]
        try:
            await asyncio.wait({work, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and stop.is_asked:
                self.stopped = "interrupted"
                announce(f"stopping: sending what was read, for at most {drain:g} s; once more to give up at once")
        finally:
            await end(work, *ends)
            await close(client, stop, drain)
        if not work.cancelled():
            work.result()

    async def _work(self, client: AsyncClient) -> None:
        for item in self._inputs:
            try:
                await self._feed(client, item)
            except (OSError, CommandError) as error:
                problem = (
                    f"cannot read {readable(item.name)}: {reason_of(error)}"
                    if isinstance(error, OSError)
                    else str(error)
                )
                if not self.lines:
                    raise (error if isinstance(error, CommandError) else CommandError(problem)) from error
                self.stopped = problem
                break
        else:
            self.is_all_read = True
        while (await client.flush(FLUSH_TIMEOUT)).pending:
            pass

    async def _feed(self, client: AsyncClient, item: Input) -> None:
        rows = await in_thread(partial(item.open, self._fields))
        before = self.bytes_read
        try:
            while chunk := await in_thread(rows.next_chunk):
                self.bytes_read = before + rows.bytes_read
                for row in chunk:
                    await self._capture(client, rows, row)
            self.bytes_read = before + rows.bytes_read
        finally:
            rows.close()

    async def _capture(self, client: AsyncClient, rows: Rows, row: Row) -> None:
        self.lines += 1
        self.position = (rows.name, row.line)
        event = row.event
        if event is None:
            self._reject(rows.name, row)
            return
        self.origins.add(str(event.uuid), Origin(rows.name, row.line, row.text))
        # By name rather than as an Event: that form takes the client's longer way.
        await client.capture(
            event.event,
            distinct_id=event.distinct_id,
            properties=event.properties,
            timestamp=event.timestamp,
            uuid=event.uuid,
            headers=event.headers,
            key=event.key,
            lane=self._lane or event.lane,
        )

    def _reject(self, file: str, row: Row) -> None:
        self.malformed += 1
        self._rejects.add(file, row.line, row.text, "malformed", row.fault)
        if self.malformed <= SHOWN_FAULTS:
            self._warn(f"{file}:{row.line}: {row.fault}")
        if self.malformed == SHOWN_FAULTS + 1:
            self._warn("more malformed lines are counted, and no longer shown")

    def _halt(self, reason: str) -> None:
        self.stopped = self.stopped or reason
        self._halted.set()


async def close(client: AsyncClient, stop: Stop, drain: float) -> None:
    """Close a client within ``drain`` seconds, or until the user asks a second time."""
    closing = asyncio.create_task(client.aclose(drain), name="eventpipe send: close")
    again = asyncio.create_task(stop.wait(2))
    try:
        await asyncio.wait({closing, again}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(closing, again)


async def end(*tasks: asyncio.Task[object]) -> None:
    """Cancel tasks, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
