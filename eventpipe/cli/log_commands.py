"""The commands that look into a log and change what it holds: their words, read by cyclopts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter
from rich.console import Console

from eventpipe.cli.append import AppendOptions, ImportOptions, append, import_
from eventpipe.cli.consumers import ConsumersOptions, consumers
from eventpipe.cli.dead_letters import Action, DeadLettersOptions, dead_letters
from eventpipe.cli.export import ExportOptions, export
from eventpipe.cli.moving import ReplayOptions, SeekOptions, replay, seek
from eventpipe.cli.resharding import ReshardOptions, reshard
from eventpipe.cli.switching import SwitchOptions, switch
from eventpipe.cli.tail import TailOptions, tail
from eventpipe.cli.topics import TopicsOptions, topics
from eventpipe.cli.verify import VerifyOptions, verify
from eventpipe.cli.whole import Whole
from eventpipe.stores.values import ConsumerKey

_FLAT = Parameter(name="*", negative=())  # a field for each option, no --no-… forms
_GROUP = Group("Commands for the file of a log")

_APPEND = AppendOptions()
_CONSUMERS = ConsumersOptions()
_DEAD_LETTERS = DeadLettersOptions()
_EXPORT = ExportOptions()
_IMPORT = ImportOptions()
_RESHARD = ReshardOptions()
_SEEK = SeekOptions()
_SWITCH = SwitchOptions()
_TAIL = TailOptions()
_TOPICS = TopicsOptions()
_VERIFY = VerifyOptions()


def add_log_commands(app: App) -> None:
    """Add them to the application."""
    for name, command in (
        ("topics", _topics),
        ("consumers", _consumers),
        ("tail", _tail),
        ("append", _append),
        ("seek", _seek),
        ("replay", _replay),
        ("pause", _pause),
        ("resume", _resume),
        ("remove", _remove),
        ("reshard", _reshard),
        ("dead-letters", _dead_letters),
        ("verify", _verify),
        ("export", _export),
        ("import", _import),
    ):
        app.command(command, name=name, group=_GROUP)


def _topics(file: Path, /, *, options: Annotated[TopicsOptions, _FLAT] = _TOPICS) -> int:
    """Show the topics of a log: what each holds and keeps, how many consume it, what was lost.

    The file may be in use by processes that opened it as shared, or by nobody.

    Args:
        file: The SQLite file of the log.
        options: How it is shown.
    """
    return topics(file, options, Console())


def _consumers(
    file: Path, topic: str | None = None, /, *, options: Annotated[ConsumersOptions, _FLAT] = _CONSUMERS
) -> int:
    """Show the consumers of a log: where each is, what is pending and for how long, who holds it, its last error.

    A cursor is the lowest offset that is not settled; where there is never, the consumer has settled none.

    Args:
        file: The SQLite file of the log.
        topic: Only the consumers of this topic.
        options: How it is shown.
    """
    return consumers(file, topic, options, Console())


def _tail(file: Path, topic: str, /, *, options: Annotated[TailOptions, _FLAT] = _TAIL) -> int:
    """Show the last events of a topic, payload included, and those to come with --follow. Nothing is consumed.

    Args:
        file: The SQLite file of the log.
        topic: The topic.
        options: Which events, and how they are shown.
    """
    return tail(file, topic, options, Console())


def _append(
    file: Path, topic: str, event: str | None = None, /, *, options: Annotated[AppendOptions, _FLAT] = _APPEND
) -> int:
    """Append an event to a topic, or each line of standard input, which are JSON objects as eventpipe send reads them.

    The file and the topic are made if there is none. The exit code is 0 only if every line is in the topic. Ctrl-C
    reads no further, appends what was read, and says where it stopped.

    Args:
        file: The SQLite file of the log.
        topic: The topic.
        event: The event's name; without it standard input is read.
        options: What the event says.
    """
    return append(file, topic, event, options, Console(), Console(stderr=True))


def _seek(file: Path, topic: str, consumer: str, to: str, /, *, options: Annotated[SeekOptions, _FLAT] = _SEEK) -> int:
    """Move a consumer, running or not, and say how many events it is handed again, or passes over.

    Args:
        file: The SQLite file of the log.
        topic: The consumer's topic.
        consumer: Its name.
        to: earliest, latest, an offset, a time such as 2026-01-31T09:05:00Z, or 10m for ten minutes ago.
        options: Whether it is done.
    """
    return seek(file, ConsumerKey(topic, consumer), to, options, Console())


def _replay(file: Path, topic: str, consumer: str, /, *, options: Annotated[ReplayOptions, _FLAT]) -> int:
    """Hand a range of events to one consumer again, after all that it has still to do, without moving it.

    They are appended once more, with the same ids; the other consumers skip them.

    Args:
        file: The SQLite file of the log.
        topic: The consumer's topic.
        consumer: Its name.
        options: Which events.
    """
    return replay(file, ConsumerKey(topic, consumer), options, Console())


def _pause(file: Path, topic: str, consumer: str, /, *, options: Annotated[SwitchOptions, _FLAT] = _SWITCH) -> int:
    """Hand out nothing more to a consumer until it is resumed; what it has in hand can still be settled.

    Args:
        file: The SQLite file of the log.
        topic: The consumer's topic.
        consumer: Its name.
        options: How it is told.
    """
    return switch(file, ConsumerKey(topic, consumer), "pause", options, Console())


def _resume(file: Path, topic: str, consumer: str, /, *, options: Annotated[SwitchOptions, _FLAT] = _SWITCH) -> int:
    """Go on handing out events to a consumer that was paused.

    Args:
        file: The SQLite file of the log.
        topic: The consumer's topic.
        consumer: Its name.
        options: How it is told.
    """
    return switch(file, ConsumerKey(topic, consumer), "resume", options, Console())


def _remove(file: Path, topic: str, consumer: str, /, *, options: Annotated[SwitchOptions, _FLAT] = _SWITCH) -> int:
    """Forget a consumer and where it was: nothing is kept for it any more.

    Args:
        file: The SQLite file of the log.
        topic: The consumer's topic.
        consumer: Its name.
        options: How it is told.
    """
    return switch(file, ConsumerKey(topic, consumer), "remove", options, Console())


def _reshard(
    file: Path, topic: str, name: str, count: Whole, /, *, options: Annotated[ReshardOptions, _FLAT] = _RESHARD
) -> int:
    """Divide a consumer among another number of shards, while none of them runs; no event is lost.

    Some may be handed out again: none where the shards that there are have settled equally far, so let them finish
    before. What was interrupted is done by the same command again.

    Args:
        file: The SQLite file of the log.
        topic: The consumer's topic.
        name: Its name, without a shard.
        count: How many shards there are to be; 1 makes one consumer of them again.
        options: How it is told.
    """
    return reshard(file, ConsumerKey(topic, name), count, options, Console())


def _dead_letters(
    file: Path,
    topic: str,
    action: Action = "list",
    /,
    *offsets: Whole,
    options: Annotated[DeadLettersOptions, _FLAT] = _DEAD_LETTERS,
) -> int:
    """List the events that consumers of a topic gave up, show one, replay them to who gave them up, or delete them.

    The exit code is 1 where a letter that was named is none, or has to stay.

    Args:
        file: The SQLite file of the log.
        topic: The topic in which they failed.
        action: What to do.
        offsets: The letters' own offsets, as list shows them.
        options: Which of them.
    """
    return dead_letters(file, topic, action, offsets, options, Console())


def _verify(file: Path, /, *, options: Annotated[VerifyOptions, _FLAT] = _VERIFY) -> int:
    """Check every event of a log against its checksum, and list those that are damaged; the exit code is 1 then.

    Args:
        file: The SQLite file of the log.
        options: How it is told.
    """
    return verify(file, options, Console(), Console(stderr=True))


def _export(file: Path, topic: str, /, *, options: Annotated[ExportOptions, _FLAT] = _EXPORT) -> int:
    """Print the events of a topic, a JSON object a line, so that eventpipe import has them as they were.

    The exit code is 0 only if all of them were printed.

    Args:
        file: The SQLite file of the log.
        topic: The topic.
        options: Which of them.
    """
    return export(file, topic, options, Console(), Console(stderr=True))


def _import(file: Path, topic: str, /, *, options: Annotated[ImportOptions, _FLAT] = _IMPORT) -> int:
    """Append the lines of standard input that eventpipe export wrote: with their ids, times, keys, headers and lanes.

    An event that the topic has already is not appended again, so that an import can be repeated. The file and the
    topic are made if there is none. The exit code is 0 only if every line is in the topic.

    Args:
        file: The SQLite file of the log.
        topic: The topic.
        options: How it is told.
    """
    return import_(file, topic, options, Console(), Console(stderr=True))
