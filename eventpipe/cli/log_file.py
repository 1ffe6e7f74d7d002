"""The file of a log as commands open it: whoever only looks makes none, and whatever goes wrong is one line."""

from __future__ import annotations

import asyncio
import stat
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from eventpipe.checked import suggestion
from eventpipe.cli.failures import FAILURE, CommandError, UsageError, reason_of
from eventpipe.cli.inputs import in_thread
from eventpipe.cli.snapshot import can_be_written, copy_database
from eventpipe.cli.text import readable
from eventpipe.errors import EventPipeError
from eventpipe.log.eventlog import EventLog
from eventpipe.stores.names import check_name
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import ConsumerInfo, TopicInfo

LOG: Final = "name the file of a log, or begin one with eventpipe append"

# Seconds. Whoever runs the log trims it, and knows for how long the ids of events are to be kept.
_NEVER = 1e9
_SHOWN_NAMES = 10  # names that fit into a line


def run(work: Coroutine[Any, Any, int], out: Console) -> int:  # Any: what coroutines wait for is asyncio's
    """Run the body of a command to its exit code.

    Raises:
        CommandError: It failed.
    """
    try:
        with told():
            return asyncio.run(work)
    except BrokenPipeError:
        out.on_broken_pipe()  # as everywhere else: quietly, with an exit code
        return FAILURE  # for a console that is none of a process


@contextmanager
def told() -> Iterator[None]:
    """Tell what goes wrong in a log in its own words."""
    try:
        yield
    except EventPipeError as error:
        raise CommandError(str(error)) from error


@asynccontextmanager
async def opened(path: Path, *, may_make: bool = False) -> AsyncIterator[EventLog]:
    """The log in a file, shared with whoever else has it open.

    Args:
        path: The file.
        may_make: Whether one that does not exist is made.

    Raises:
        CommandError: There is none.
        StoreError: It cannot be opened.
    """
    check_file(path, may_make=may_make)
    async with EventLog(SqliteStore(path, shared=True), trim_interval=_NEVER) as log:
        yield log


@asynccontextmanager
async def opened_to_read(path: Path) -> AsyncIterator[EventLog]:
    """The same to look at: a copy of it as it is now, where it may only be read.

    Raises:
        CommandError: There is no such file.
        StoreError: It cannot be opened.
    """
    async with place_to_read(path, LOG) as place, opened(place) as log:
        yield log


@asynccontextmanager
async def place_to_read(path: Path, way_out: str) -> AsyncIterator[Path]:
    """Where a file can be opened to look at it: there, or a copy of it as it is now, where it may only be read.

    Raises:
        CommandError: There is no such file.
        StoreError: It cannot be read.
    """
    check_file(path, may_make=False, way_out=way_out)
    if can_be_written(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="eventpipe-") as folder:
        copy = Path(folder, path.name)
        try:
            await in_thread(partial(copy_database, path, copy))
        except OSError as error:
            raise CommandError(f"cannot read {readable(str(path))}: {reason_of(error)}") from error
        yield copy


def check_file(path: Path, *, may_make: bool, way_out: str = LOG) -> None:
    """See that there is a file with something in it, where none may be made.

    Args:
        path: Where.
        may_make: Whether it may be absent, or empty.
        way_out: What to do where it is, for the error.

    Raises:
        CommandError: There is none, or it is empty: opening it would make a database of it.
    """
    name = readable(str(path))
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and not found.st_size and not may_make:
            raise CommandError(f"cannot open {name}: it is empty, and no database yet; {way_out}")
    except FileNotFoundError as error:
        if not may_make:
            raise CommandError(f"cannot open {name}: no such file or directory; {way_out}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        raise CommandError(
            f"cannot open {name}: {reason_of(error) if isinstance(error, OSError) else error}"
        ) from error


def checked_topic(name: str) -> str:
    """The name of a topic that may have to be made.

    Raises:
        UsageError: No topic can have it.
    """
    try:
        return check_name("topic", name)
    except ValueError as error:
        raise UsageError(str(error)) from error


async def topic_of(log: EventLog, name: str) -> TopicInfo:
    """A topic that has to be there.

    Raises:
        CommandError: It is not; the nearest name, or all there are, are told.
    """
    topics = {topic.name: topic for topic in await log.topics()}
    if name in topics:
        return topics[name]
    raise CommandError(f"there is no topic {name!r}{hint(name, list(topics))}")


async def consumer_of(log: EventLog, topic: str, name: str) -> ConsumerInfo:
    """A consumer that has to be there.

    Raises:
        CommandError: It is not, or the topic is not; the nearest name, or all there are, are told.
    """
    await topic_of(log, topic)
    consumers = {consumer.name: consumer for consumer in await log.consumers(topic)}
    if name in consumers:
        return consumers[name]
    raise CommandError(f"topic {topic!r} has no consumer {name!r}{hint(name, list(consumers))}")


def hint(name: str, known: Sequence[str]) -> str:
    """What is meant by a name that there is none of: the nearest one, or all there are."""
    near = suggestion(name, known)
    if near:
        return near
    more = f" and {len(known) - _SHOWN_NAMES} more" if len(known) > _SHOWN_NAMES else ""
    return f"; there are: {', '.join(sorted(known)[:_SHOWN_NAMES])}{more}" if known else "; there is none yet"
