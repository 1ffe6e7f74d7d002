"""``eventpipe tail``: the events of a topic, and those to come."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from eventpipe.cli.event_lines import full_line, glanced_line
from eventpipe.cli.failures import UsageError
from eventpipe.cli.interrupts import until
from eventpipe.cli.log_file import opened, opened_to_read, run, topic_of
from eventpipe.cli.output import Output
from eventpipe.cli.positions import parse_position
from eventpipe.cli.signals import stop_signals
from eventpipe.cli.whole import Whole
from eventpipe.log.eventlog import EventLog
from eventpipe.log.positions import Position, offset_of
from eventpipe.stores.values import StoredEvent

USUAL_NUMBER = 10  # what tail shows everywhere


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What ``eventpipe tail`` was asked for, as the command line spells it.

    Attributes:
        from_: Begin there instead of near the end: earliest, latest, an offset, a time such as 2026-01-31T09:05:00Z, or
            10m for ten minutes ago.
        follow: Go on with events as they come, until Ctrl-C.
        number: The last so many events, 10 unless given; with --from the first so many from there.
        json: Print each event in full, a JSON object a line.
    """

    from_: str | None = None
    follow: bool = False
    number: Annotated[Whole | None, Parameter(alias="-n")] = None
    json: bool = False


def tail(file: Path, topic: str, options: TailOptions, out: Console) -> int:
    """Show events of a topic; return the exit code.

    Raises:
        CommandError: The file cannot be read, has no such topic, or the command line is wrong.
    """
    if options.number is not None and options.number < 0:
        raise UsageError(f"--number: must be at least 0, not {options.number}")
    now = datetime.datetime.now(datetime.UTC)
    start = None if options.from_ is None else parse_position("--from", options.from_, now)
    return run(_tail(file, topic, start, options, Output(out)), out)


async def _tail(file: Path, topic: str, start: Position | None, options: TailOptions, output: Output) -> int:
    async with (opened if options.follow else opened_to_read)(file) as log:  # a copy does not go on
        info = await topic_of(log, topic)
        if start is None:
            wanted = USUAL_NUMBER if options.number is None else options.number
            first, left = max(info.first, info.end - wanted), None
        else:
            first, left = await offset_of(log.store, info, start), options.number
        showing = Showing(output, left, is_full=options.json)
        with stop_signals() as stop:
            await until(stop, _show(log, topic, first, info.end, showing, follow=options.follow))
    return 0


class Showing:
    """Shows events until it has shown enough.

    Args:
        output: Where to.
        left: How many at most. ``None``: any number.
        is_full: Whether each is shown in full.
    """

    def __init__(self, output: Output, left: int | None, *, is_full: bool) -> None:
        self._output = output
        self._left = left
        self._is_full = is_full

    async def show(self, events: AsyncGenerator[StoredEvent], *, is_live: bool) -> None:
        """Show events; where they are live, each as it comes."""
        async with aclosing(events):
            while self._left is None or self._left > 0:
                stored = await anext(events, None)
                if stored is None:
                    break
                await self._output.add(full_line(stored) if self._is_full else glanced_line(stored).encode())
                if self._left is not None:
                    self._left -= 1
                if is_live:
                    await self._output.flush()
        await self._output.flush()


async def _show(log: EventLog, topic: str, first: int, end: int, showing: Showing, *, follow: bool) -> None:
    await showing.show(log.read(topic, first, end=end), is_live=False)
    if follow:
        await showing.show(log.follow(topic, end), is_live=True)
