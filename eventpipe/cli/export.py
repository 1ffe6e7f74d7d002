"""``eventpipe export``: the events of a topic as lines that ``eventpipe import`` reads."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType

from eventpipe.cli.display import say, shown
from eventpipe.cli.event_lines import full_line
from eventpipe.cli.failures import FAILURE, one_line
from eventpipe.cli.interrupts import until
from eventpipe.cli.log_file import opened_to_read, run, topic_of
from eventpipe.cli.output import Output
from eventpipe.cli.positions import parse_position
from eventpipe.cli.progress import bar
from eventpipe.cli.signals import Stop, stop_signals
from eventpipe.cli.text import count, readable
from eventpipe.log.eventlog import EventLog
from eventpipe.log.positions import Position, offset_of

SHOWN_FAULTS = 20  # events left out that are told one by one


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What ``eventpipe export`` was asked for, as the command line spells it.

    Attributes:
        from_: The first event: earliest, an offset, a time such as 2026-01-31T09:05:00Z, or 10m for ten minutes ago.
        to: The first event that is not exported any more, as --from.
    """

    from_: str = "earliest"
    to: str = "latest"


@dataclass(slots=True)
class Exporting:
    """One run over a range of a topic.

    Attributes:
        first: The first offset.
        last: The first that is not exported any more.
        next: The offset after the last one that was looked at.
        written: Events written, or about to be.
        left_out: Offsets in the range of which nothing was written.
        faults: Why, for those of which it is known, in words.
    """

    first: int
    last: int
    next: int = 0
    written: int = 0
    left_out: int = 0
    faults: list[str] = field(default_factory=list)

    async def run(self, log: EventLog, topic: str, output: Output, stop: Stop) -> None:
        """Write everything; asked to stop, nothing more than what was begun, so that no line is cut."""
        self.next = self.first
        async with aclosing(log.read(topic, self.first, end=self.last)) as events:
            async for stored in events:
                if stop.is_asked:
                    await output.flush()
                    return
                self.left_out += stored.offset - self.next
                self.next = stored.offset + 1
                if stored.event is None:
                    self.left_out += 1
                    if len(self.faults) < SHOWN_FAULTS:
                        self.faults.append(f"offset {stored.offset} is left out: {stored.fault}")
                    continue
                await output.add(full_line(stored))
                self.written += 1
        await output.flush()
        self.left_out += self.last - self.next
        self.next = self.last

    @property
    def is_ok(self) -> bool:
        """Whether everything was written."""
        return self.next == self.last and not self.left_out

    def frame(self) -> RenderableType:
        """The progress bar."""
        return bar("exporting", self.next - self.first, self.last - self.first, count(self.written, "event"))


def export(file: Path, topic: str, options: ExportOptions, out: Console, err: Console) -> int:
    """Print the events of a topic; return the exit code: 0 only if all of them were.

    Args:
        file: The log's file.
        topic: The topic.
        options: The rest of the command line.
        out: Gets the events.
        err: Gets a progress bar, where it is a terminal and ``out`` is none, and in the end how many there were.

    Raises:
        CommandError: The file cannot be read, has no such topic, or the command line is wrong.
    """
    now = datetime.datetime.now(datetime.UTC)
    start, end = parse_position("--from", options.from_, now), parse_position("--to", options.to, now)
    return run(_export(file, topic, start, end, out, err), out)


async def _export(file: Path, topic: str, start: Position, end: Position, out: Console, err: Console) -> int:
    output = Output(out)
    async with opened_to_read(file) as log:
        info = await topic_of(log, topic)
        first, last = await offset_of(log.store, info, start), await offset_of(log.store, info, end)
        exporting = Exporting(first, max(first, last))
        with stop_signals() as stop:
            work = until(stop, exporting.run(log, topic, output, stop), times=2)
            if out.is_terminal:
                is_whole = await work
            else:
                async with shown(err, exporting.frame, lambda: None):
                    is_whole = await work
    for line in _report(file, topic, exporting, is_whole=is_whole):
        say(err, one_line(line))
    return 0 if is_whole and exporting.is_ok else FAILURE


def _report(file: Path, topic: str, exporting: Exporting, *, is_whole: bool) -> Iterator[str]:
    """What there is to say in the end; ``is_whole``: no line was cut."""
    yield from exporting.faults
    if not is_whole:
        yield "stopped: interrupted while nobody read on; the last line may be cut"
        return
    yield f"{count(exporting.written, 'event')} of {topic!r} exported"
    if exporting.left_out:
        yield (
            f"{count(exporting.left_out)} left out, because they are damaged or were trimmed meanwhile;"
            f" eventpipe verify {readable(str(file))} lists what is damaged"
        )
    if exporting.next < exporting.last:
        yield f"stopped: interrupted; --from {exporting.next} goes on"
