"""``eventpipe spool status``: whose the files of a spool are, and what they hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from rich.console import Console

from eventpipe.cli.columns import show_columns
from eventpipe.cli.display import say
from eventpipe.cli.failures import FAILURE
from eventpipe.cli.json_values import read_json
from eventpipe.cli.log_words import stamp
from eventpipe.cli.spool_files import names_in, opened, told
from eventpipe.cli.spool_options import LookOptions
from eventpipe.cli.text import count, readable, size
from eventpipe.errors import StoreError
from eventpipe.spool import folder, looking
from eventpipe.spool.folder import Owned
from eventpipe.spool.status import FORMAT, Status

State = Literal["owned", "orphaned", "unreadable"]

_HEADINGS = ("<file", "<state", "<owner", "waiting", "in memory", "bytes", "oldest", "damaged")


@dataclass(frozen=True, slots=True)
class FileState:
    """What is known of a file.

    Attributes:
        file: Its name.
        state: Whether a process has it, none has, or nobody can read it.
        pid: Of the process that has it, if any.
        host: Of that.
        waiting: Events that are on disk only, by sink.
        in_memory: Events that its owner is sending, by sink.
        bytes: In use.
        oldest_at: When the oldest event was captured; ``None``: there is none, or that is not known.
        damaged: Rows in quarantine; of a file that is in nobody's use also those that cannot be found.
        updated_at: When its owner said so.
        fault: Why it cannot be read.
    """

    file: str
    state: State
    pid: int | None = None
    host: str | None = None
    waiting: Mapping[str, int] = field(default_factory=dict)
    in_memory: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    oldest_at: str | None = None
    damaged: int = 0
    updated_at: str | None = None
    fault: str | None = None


def status(path: Path, options: LookOptions, out: Console) -> int:
    """Show the files of a spool, in use or not; return the exit code: 1 where one cannot be read.

    Raises:
        CommandError: There is no such folder, or it is none of a spool.
    """
    states = [state for name in names_in(path) if (state := _state_of(path, name)) is not None]
    is_ok = all(state.state != "unreadable" for state in states)
    if options.json:
        say(out, orjson.dumps({"ok": is_ok, "files": [asdict(state) for state in states]}).decode())
        return 0 if is_ok else FAILURE
    if states:
        show_columns(out, _HEADINGS, [_row(state) for state in states])
    for state in states:
        for sink in sorted({*state.waiting, *state.in_memory}):
            waiting, in_memory = state.waiting.get(sink, 0), state.in_memory.get(sink, 0)
            if waiting or in_memory:
                say(out, f"{state.file}: {sink!r} has {count(waiting)} waiting, {count(in_memory)} in memory")
        if state.fault is not None:
            say(out, f"{state.file}: {state.fault}")
    say(out, f"{count(len(states), 'file')} in {readable(str(path))}")
    return 0 if is_ok else FAILURE


def _state_of(path: Path, name: str) -> FileState | None:
    """What is known of a file; ``None``: it is gone, or holds nothing yet."""
    if folder.is_held(path, name):
        return _of_owner(path, name)
    if not (path / f"{name}.db").exists():
        return None
    try:
        owned = folder.take(path, name)
    except OSError as error:
        return FileState(name, "unreadable", fault=f"it cannot be locked: {error.strerror}")
    if owned is None:  # somebody took it this moment
        return _of_owner(path, name) if folder.is_held(path, name) else None
    try:
        return _of_nobody(owned)
    finally:
        owned.release()


def _of_owner(path: Path, name: str) -> FileState:
    """What its owner says; a file that an earlier one left says nothing."""
    holder = folder.holder_of(path, name)
    pid, host = holder or (None, None)
    try:
        said = read_json(Status, orjson.loads((path / f"{name}.json").read_bytes()))
    except (OSError, ValueError):
        return FileState(name, "owned", pid, host)
    if said.format != FORMAT or (said.pid, said.host) != holder:
        return FileState(name, "owned", pid, host)
    sinks = said.numbers.sinks
    return FileState(
        name,
        "owned" if said.numbers.fault is None else "unreadable",
        pid,
        host,
        {sink: numbers.waiting for sink, numbers in sinks.items()},
        {sink: numbers.in_memory for sink, numbers in sinks.items()},
        said.numbers.bytes,
        stamp(said.glance.oldest),
        said.glance.damaged,
        stamp(said.updated_at),
        said.numbers.fault,
    )


def _of_nobody(owned: Owned) -> FileState:
    """What is in it."""
    try:
        with opened(owned) as db:
            held = looking.holding(db, time.time())
    except StoreError as error:
        return FileState(owned.name, "unreadable", fault=told(error))
    return FileState(
        owned.name,
        "orphaned",
        waiting=held.events,
        bytes=held.bytes,
        oldest_at=stamp(held.oldest),
        damaged=held.damaged + held.missing,
    )


def _row(state: FileState) -> tuple[str, ...]:
    return (
        state.file,
        state.state,
        "" if state.pid is None else f"{state.pid} on {state.host}",
        count(sum(state.waiting.values())),
        count(sum(state.in_memory.values())),
        size(state.bytes),
        "" if state.oldest_at is None else state.oldest_at,
        count(state.damaged),
    )
