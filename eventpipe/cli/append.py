"""``eventpipe append`` and ``import``: events into a topic."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from rich.console import Console

from eventpipe.cli.appending import SOURCE, Appended, Appending
from eventpipe.cli.display import say, shown
from eventpipe.cli.event_input import EventInput, Reading, read_described
from eventpipe.cli.exported import read_exported
from eventpipe.cli.failures import FAILURE, CommandError, UsageError, one_line, reason_of
from eventpipe.cli.fields import Fields, MalformedError
from eventpipe.cli.log_file import checked_topic, opened, run
from eventpipe.cli.signals import stop_signals
from eventpipe.cli.targets import ImportTarget, Target
from eventpipe.cli.text import count, duration, size
from eventpipe.events import Event


@dataclass(frozen=True, slots=True)
class AppendOptions:
    """What ``eventpipe append`` was asked for, as the command line spells it.

    Attributes:
        properties: The event's properties, a JSON object.
        distinct_id: Whom the event is about.
        key: Its key for order and shards; the distinct id unless given.
        timestamp: When it happened: ISO 8601 or Unix time; now unless given.
        uuid: Its id, by which an event that the topic has already is not appended again; a new one unless given.
        json: Print the report as JSON, and no progress.
    """

    properties: str | None = field(default=None, repr=False)
    distinct_id: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    timestamp: str | None = None
    uuid: str | None = None
    json: bool = False

    def event(self, name: str) -> Event:
        """The event that these describe.

        Raises:
            UsageError: One of them cannot be.
        """
        try:
            properties = orjson.loads(self.properties) if self.properties is not None else {}
        except orjson.JSONDecodeError as error:
            raise UsageError(f"--properties: not JSON: {error}") from error
        if not isinstance(properties, dict):
            raise UsageError('--properties: not a JSON object such as {"plan": "pro"}')
        values = {"distinct_id": self.distinct_id, "timestamp": self.timestamp, "uuid": self.uuid, "key": self.key}
        given = {field: value for field, value in values.items() if value is not None}
        try:
            event = Fields().to_event({**given, "event": name, "properties": properties})
        except MalformedError as error:
            raise UsageError(str(error)) from error
        if self.uuid is not None and str(event.uuid) != self.uuid.lower():
            raise UsageError(f"--uuid: {self.uuid!r} is not a UUID")
        return event

    def has_event(self) -> bool:
        """Whether anything is said of one event."""
        said = (self.properties, self.distinct_id, self.key, self.timestamp, self.uuid)
        return any(value is not None for value in said)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What ``eventpipe import`` was asked for, as the command line spells it.

    Attributes:
        json: Print the report as JSON, and no progress.
    """

    json: bool = False


class Way(NamedTuple):
    """How lines become events, and what these are appended to."""

    read: Reading
    target: type[Target]


APPEND: Final = Way(read_described, Target)
IMPORT: Final = Way(read_exported, ImportTarget)


def append(file: Path, topic: str, event: str | None, options: AppendOptions, out: Console, err: Console) -> int:
    """Append one event, or the lines of standard input; return the exit code: 0 only if all of it is in the topic.

    Args:
        file: The log's file, which is made if there is none.
        topic: The topic, which is made if there is none.
        event: The event's name. ``None``: the events are read from standard input.
        options: The rest of the command line.
        out: Gets the report.
        err: Gets what is wrong with lines, and a progress bar where it is a terminal.

    Raises:
        CommandError: The file cannot be written, or the command line is wrong.
    """
    checked_topic(topic)
    if event is not None:
        return run(_append_one(file, topic, options.event(event), options, out), out)
    if options.has_event():
        raise UsageError("name the event that the options are about: eventpipe append FILE TOPIC EVENT")
    return run(_append_all(file, topic, APPEND, out, err, as_json=options.json), out)


def import_(file: Path, topic: str, options: ImportOptions, out: Console, err: Console) -> int:
    """Append the lines that ``eventpipe export`` wrote; return the exit code: 0 only if all of it is in the topic.

    Args:
        file: The log's file, which is made if there is none.
        topic: The topic, which is made if there is none.
        options: The rest of the command line.
        out: Gets the report.
        err: Gets what is wrong with lines, and a progress bar where it is a terminal.

    Raises:
        CommandError: The file cannot be written, or the command line is wrong.
    """
    checked_topic(topic)
    return run(_append_all(file, topic, IMPORT, out, err, as_json=options.json), out)


async def _append_one(file: Path, topic: str, event: Event, options: AppendOptions, out: Console) -> int:
    async with opened(file, may_make=True) as log:
        end = await Target(log, topic).end()
        offset = await log.append(topic, event)
    is_new = offset >= end
    if options.json:
        said = {"ok": True, "topic": topic, "offset": offset, "uuid": str(event.uuid), "appended": is_new}
        say(out, orjson.dumps(said).decode())
    else:
        what = "appended" if is_new else "was there already"
        say(out, f"{topic!r}: {event.uuid} {what}, at offset {offset}")
    return 0


async def _append_all(file: Path, topic: str, way: Way, out: Console, err: Console, *, as_json: bool) -> int:
    if sys.stdin is not None and sys.stdin.isatty():
        say(err, "reading a JSON object a line from the terminal; Ctrl-D ends it")
    started = time.monotonic()
    try:
        # Unbuffered, because a buffer would wait for more than a pipe has, and its lock would be held at exit.
        source = EventInput(FileIO(0, closefd=False), way.read)
    except OSError as error:
        raise CommandError(f"cannot read {SOURCE}: {reason_of(error)}") from error
    async with opened(file, may_make=True) as log:
        appending = Appending(way.target(log, topic), source, lambda line: say(err, one_line(line)))
        with stop_signals() as stop:
            if as_json:
                await appending.run(stop)
            else:
                async with shown(err, appending.frame, lambda: None):
                    await appending.run(stop)
    became, seconds = appending.so_far, time.monotonic() - started
    if as_json:
        say(out, orjson.dumps(_json(topic, became, source.bytes_read, seconds)).decode())
    else:
        for line in _text(topic, became, source.bytes_read, seconds):
            say(out, line)
    return 0 if became.is_ok else FAILURE


def _json(topic: str, became: Appended, bytes_read: int, seconds: float) -> dict[str, Any]:  # Any: JSON
    return {
        "ok": became.is_ok,
        "topic": topic,
        "lines": became.lines,
        "appended": became.appended,
        "already_there": became.already_there,
        "malformed": became.malformed,
        "bytes_read": bytes_read,
        "seconds": seconds,
        "stopped": became.stopped,
        "is_all_read": became.is_all_read,
        "stopped_at": None if became.is_all_read else became.line,
    }


def _text(topic: str, became: Appended, bytes_read: int, seconds: float) -> list[str]:
    speed = f"{became.appended / seconds:,.0f} events/s, " if seconds else ""
    said = [
        f"{count(became.appended)} of {count(became.lines, 'line')} appended to {topic!r} in {duration(seconds)}"
        f" ({speed}{size(bytes_read)})"
    ]
    if became.already_there:
        said.append(f"{count(became.already_there)} there already, by their ids")
    if became.malformed:
        said.append(f"{count(became.malformed)} malformed")
    if became.stopped is not None:
        said += [f"stopped: {one_line(became.stopped)}", f"left: everything after line {became.line}"]
    return said
