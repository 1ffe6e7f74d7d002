"""``eventpipe spool list`` and ``export``: the events of a spool, which stay there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import orjson
from rich.console import Console, RenderableType

from eventpipe.cli.columns import show_columns
from eventpipe.cli.display import say, shown
from eventpipe.cli.event_lines import at_a_glance, full_line
from eventpipe.cli.failures import FAILURE, CommandError, UsageError, one_line, reason_of
from eventpipe.cli.interrupts import until
from eventpipe.cli.log_file import run
from eventpipe.cli.output import Output
from eventpipe.cli.progress import bar
from eventpipe.cli.signals import Stop, stop_signals
from eventpipe.cli.spool_files import check_sink, in_database, opened, taken, told
from eventpipe.cli.spool_options import ExportOptions, ListOptions
from eventpipe.cli.text import count, readable
from eventpipe.clock import format_stamp
from eventpipe.errors import StoreError
from eventpipe.spool import looking
from eventpipe.spool.folder import Owned
from eventpipe.spool.looking import Seen
from eventpipe.stores.values import StoredEvent

_HEADINGS = ("<file", "number", "<captured", "<sinks", "<event")


def list_events(path: Path, options: ListOptions, out: Console, err: Console) -> int:
    """Show the events that wait longest; return the exit code: 1 where a file cannot be read.

    Raises:
        CommandError: The spool is in use, there is none, or the command line is wrong.
    """
    if options.limit < 0:
        raise UsageError(f"--limit: must be at least 0, not {options.limit}")
    found: list[tuple[str, Seen]] = []
    faults: list[str] = []
    with taken(path) as files:
        check_sink(files, options.sink)
        for owned in files:
            try:
                with opened(owned) as db:
                    wanted = (one for one in looking.see_all(db, sink=options.sink) if _is_wanted(one, options))
                    found += [(owned.name, one) for one in islice(wanted, options.limit - len(found))]
            except StoreError as error:
                faults.append(told(error))
    if options.json:
        for name, one in found:
            say(out, _full(one, file=name, sinks=one.sinks).decode())
    elif found:
        show_columns(out, _HEADINGS, [_row(name, one) for name, one in found])
    else:
        say(out, f"{readable(str(path))} has no such events")
    for fault in faults:
        say(err, one_line(fault))
    return FAILURE if faults else 0


def _is_wanted(one: Seen, options: ListOptions) -> bool:
    return options.name is None or (one.event is not None and one.event.name == options.name)


def _row(name: str, one: Seen) -> tuple[str, ...]:
    said = f"({one.fault})" if one.event is None else at_a_glance(one.event)
    return name, str(one.id), format_stamp(one.captured_at), ", ".join(one.sinks), said


def _full(one: Seen, **more: object) -> bytes:
    line = full_line(StoredEvent(one.id, one.captured_at, one.event, one.fault))
    return line[:-1] + b"," + orjson.dumps(more)[1:] if more else line


# -- export -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Exporting:
    """One run over a spool.

    Attributes:
        total: Events to be written, as far as is known.
        written: Events written, or about to be.
        faults: What could not be.
        is_whole: Whether everything was looked at.
    """

    total: int = 0
    written: int = 0
    faults: list[str] = field(default_factory=list)
    is_whole: bool = False

    async def run(self, files: list[Owned], sink: str | None, output: Output, stop: Stop) -> None:
        """Write everything; asked to stop, nothing more than what was begun, so that no line is cut."""
        for owned in files:
            try:
                await self._file(owned, sink, output, stop)
            except StoreError as error:
                self.faults.append(told(error))
        await output.flush()
        self.is_whole = not stop.is_asked

    async def _file(self, owned: Owned, sink: str | None, output: Output, stop: Stop) -> None:
        with opened(owned) as db:
            held = await in_database(partial(looking.holding, db, 0.0))
            self.total += held.rows if sink is None else held.events.get(sink, 0)
            after = 0
            while not stop.is_asked and (page := await in_database(partial(looking.see, db, after=after, sink=sink))):
                after = page[-1].id
                for one in page:
                    if one.event is None:
                        self.faults.append(f"event {one.id} of {owned.name} is left out: {one.fault}")
                    else:
                        await output.add(_full(one))
                        self.written += 1

    def frame(self) -> RenderableType:
        """The progress bar."""
        return bar("exporting", self.written, self.total, count(self.written, "event"))


def export_events(path: Path, options: ExportOptions, out: Console, err: Console) -> int:
    """Print the events of a spool; return the exit code: 0 only if all of them were.

    Raises:
        CommandError: The spool is in use, there is none, or the file cannot be written.
    """
    with taken(path) as files:
        check_sink(files, options.sink)
        with _target(options.output, out) as target:
            return run(_export(path, files, options, target, err), target)


async def _export(path: Path, files: list[Owned], options: ExportOptions, target: Console, err: Console) -> int:
    exporting = Exporting()
    output = Output(target)
    with stop_signals() as stop:
        work = until(stop, exporting.run(files, options.sink, output, stop), times=2)
        if target.is_terminal:
            await work
        else:
            async with shown(err, exporting.frame, lambda: None):
                await work
    for fault in exporting.faults:
        say(err, one_line(fault))
    if not exporting.is_whole:
        say(err, "stopped: interrupted")
    say(err, f"{count(exporting.written, 'event')} of {readable(str(path))} exported, and still there")
    return 0 if exporting.is_whole and not exporting.faults else FAILURE


@contextmanager
def _target(file: Path | None, out: Console) -> Iterator[Console]:
    """Where to: standard output, or a new file that is on its disk when the block ends."""
    if file is None:
        yield out
        return
    name = readable(str(file))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise CommandError(f"--output: {name} exists already; name a new file") from error
    except OSError as error:
        raise CommandError(f"--output: cannot write {name}: {reason_of(error)}") from error
    with os.fdopen(descriptor, "w") as opened_file:
        yield Console(file=opened_file)
        os.fsync(descriptor)
