"""The folder of a spool as commands open it: one that nobody has in use, and whatever goes wrong is one line."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from eventpipe.cli.failures import CommandError, UsageError, reason_of
from eventpipe.cli.inputs import in_thread
from eventpipe.cli.log_file import hint
from eventpipe.cli.text import count, readable
from eventpipe.errors import StoreError
from eventpipe.spool import folder, rows
from eventpipe.spool.folder import Owned
from eventpipe.stores.sqlite_connection import SqliteConnection
from eventpipe.stores.sqlite_faults import translated

T = TypeVar("T")

# As the spool names them: what else lies there is nobody's of ours, and not looked at.
_NAME: Final = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}", re.ASCII)
_WAY_OUT: Final = "name the folder that a client was given as spool="


def names_in(path: Path) -> list[str]:
    """Names of the files of a spool, the oldest first.

    Raises:
        CommandError: There is no such folder, or it is none of a spool.
    """
    shown = readable(str(path))
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise CommandError(f"{shown} is a symbolic link, which is not followed; name the folder itself")
        if not stat.S_ISDIR(status.st_mode):
            raise CommandError(f"{shown} is no folder; {_WAY_OUT}")
        found = [name for name in folder.names(path) if _NAME.fullmatch(name)]
        if not found and any(path.iterdir()):
            raise CommandError(f"{shown} has no file of a spool in it; {_WAY_OUT}")
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        why = reason_of(error) if isinstance(error, OSError) else str(error)
        raise CommandError(f"cannot open {shown}: {why}; {_WAY_OUT}") from error
    return found


@contextmanager
def taken(path: Path) -> Iterator[list[Owned]]:
    """All files of a spool, locked for the block; those that hold no events are left out.

    Raises:
        CommandError: One of them is in use, and nothing was changed; or as ``names_in()``.
    """
    owned: list[Owned] = []
    names = names_in(path)
    held = [name for name in names if folder.is_held(path, name)]
    try:
        for name in [] if held else names:
            if not (path / f"{name}.db").exists():
                continue  # its owner ended before it wrote any
            one = folder.take(path, name)
            if one is None:
                held.append(name)
                break
            owned.append(one)
        if held:
            raise CommandError(_in_use(path, held))
        yield owned
    except OSError as error:
        raise CommandError(f"cannot lock the files of {readable(str(path))}: {reason_of(error)}") from error
    finally:
        for one in owned:
            one.release()


@contextmanager
def opened(owned: Owned) -> Iterator[sqlite3.Connection]:
    """A file that this process has locked.

    Raises:
        StoreError: It cannot be opened, is none of ours, or, in the block, cannot be read or changed. One that cannot
            be opened was left as it is.
    """
    connection = SqliteConnection(str(owned.path), rows.SCHEME, is_shared=False, durability="power")
    try:
        yield connection.db
    except sqlite3.Error as error:
        raise StoreError(str(translated(error, str(owned.path)))) from error
    finally:
        connection.close()


def check_sink(files: Sequence[Owned], sink: str | None) -> None:
    """See that some file knows a sink that is named.

    Raises:
        UsageError: None does; the nearest name, or all there are, are told.
    """
    known: set[str] = set()
    for owned in files if sink is not None else ():
        with suppress(StoreError), opened(owned) as db:  # told of when it is its turn
            known.update(rows.sinks_in(db))
    if sink is not None and sink not in known:
        raise UsageError(f"--sink: there is no sink {sink!r}{hint(sink, sorted(known))}")


async def in_database(function: Callable[[], T]) -> T:
    """Run in a thread what uses a file that is open.

    Cancellation:
        Waits for the thread: nobody closes a file that is being used.
    """
    work = asyncio.ensure_future(in_thread(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


def told(fault: StoreError) -> str:
    """What is wrong with a file, and what may help."""
    return f"{fault}; eventpipe spool repair takes out what can be read" if "damaged" in str(fault) else str(fault)


def _in_use(path: Path, held: Sequence[str]) -> str:
    holder = folder.holder_of(path, held[0])
    who = "another process" if holder is None else f"process {holder[0]} on {holder[1]}"
    more = f", and {count(len(held) - 1, 'other')}" if len(held) > 1 else ""
    return (
        f"{readable(str(path))} is in use: {who} has {held[0]}{more}; stop it first, nothing was changed."
        " eventpipe spool status looks at a spool in use"
    )
