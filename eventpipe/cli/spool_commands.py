"""The commands for the folder of a spool: their words, read by cyclopts."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter
from rich.console import Console

from eventpipe.cli.failures import CommandError
from eventpipe.cli.spool_options import DrainOptions, ExportOptions, ListOptions, LookOptions, PurgeOptions

_FLAT = Parameter(name="*", negative=())  # a field for each option, no --no-… forms
_GROUP = Group("Commands for the folder of a spool")

_LOOK = LookOptions()
_LIST = ListOptions()
_EXPORT = ExportOptions()
_PURGE = PurgeOptions()

spool = App(name="spool", help="Look at the events that a client keeps on disk, send them, mend files.", group=_GROUP)


def add_spool_commands(app: App) -> None:
    """Add them to the application."""
    app.command(spool)


def _named(module: str, name: str) -> Callable[..., int]:
    """A command's function; imported when it is called, because Windows lacks the locks that a spool needs.

    Raises:
        CommandError: It does.
    """
    try:
        command: Any = getattr(importlib.import_module(f"eventpipe.cli.{module}"), name)  # Any: a module's attribute
    except ModuleNotFoundError as error:
        if error.name != "fcntl":
            raise
        raise CommandError("eventpipe spool needs locks that Linux and macOS have, and Windows has not") from error
    return command  # type: ignore[no-any-return]


@spool.command(name="status")
def _status(folder: Path, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Show whose the files are, and what they hold; the processes that use them may run.

    What is told of a file in use is what its owner said a moment ago. The exit code is 1 where a file cannot be read.

    Args:
        folder: The spool.
        options: How it is told.
    """
    return _named("spool_status", "status")(folder, options, Console())


@spool.command(name="list")
def _list(folder: Path, /, *, options: Annotated[ListOptions, _FLAT] = _LIST) -> int:
    """Show events, the oldest first, with the sinks that they are owed to. Stop whoever uses the spool before.

    Args:
        folder: The spool.
        options: Which of them.
    """
    return _named("spool_events", "list_events")(folder, options, Console(), Console(stderr=True))


@spool.command(name="verify")
def _verify(folder: Path, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Check every event against its checksum, and every file; list what is damaged; the exit code is 1 then.

    Stop whoever uses the spool before.

    Args:
        folder: The spool.
        options: How it is told.
    """
    return _named("spool_verify", "verify_spool")(folder, options, Console(), Console(stderr=True))


@spool.command(name="drain")
def _drain(folder: Path, /, *, options: Annotated[DrainOptions, _FLAT]) -> int:
    """Send events to a far end, and delete those that it has. Stop whoever uses the spool before.

    Each keeps its id. Ctrl-C reads no further, and sends what was read; what was not delivered stays where it is, and
    so does what the far end does not want. The exit code is 0 only if everything was delivered.

    Args:
        folder: The spool.
        options: Where to, and which of them.
    """
    return _named("spool_drain", "drain_spool")(folder, options, Console(), Console(stderr=True))


@spool.command(name="export")
def _export(folder: Path, /, *, options: Annotated[ExportOptions, _FLAT] = _EXPORT) -> int:
    """Print events, a JSON object a line, as eventpipe import reads them; they stay.

    Stop whoever uses the spool before. The exit code is 0 only if all of them were printed.

    Args:
        folder: The spool.
        options: Which of them, and where to.
    """
    return _named("spool_events", "export_events")(folder, options, Console(), Console(stderr=True))


@spool.command(name="repair")
def _repair(folder: Path, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Copy what can be read of damaged files to new ones, and say which numbers are lost; the exit code is 1 then.

    A damaged file is kept under another name. Stop whoever uses the spool before.

    Args:
        folder: The spool.
        options: How it is told.
    """
    return _named("spool_repair", "repair_spool")(folder, options, Console(), Console(stderr=True))


@spool.command(name="purge")
def _purge(folder: Path, /, *, options: Annotated[PurgeOptions, _FLAT] = _PURGE) -> int:
    """Delete events, those of a sink, from before a time, or all; asks before. Stop whoever uses the spool before.

    Args:
        folder: The spool.
        options: Which of them.
    """
    return _named("spool_purge", "purge_spool")(folder, options, Console(), Console(stderr=True))
