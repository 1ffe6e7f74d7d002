"""``eventpipe seek`` and ``replay``: have a consumer go through events again, or pass them over."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.display import say
from eventpipe.cli.failures import UsageError
from eventpipe.cli.log_file import consumer_of, opened, run
from eventpipe.cli.positions import parse_position
from eventpipe.cli.text import count
from eventpipe.log.positions import Position, offset_of
from eventpipe.stores.values import ConsumerInfo, ConsumerKey, TopicInfo


@dataclass(frozen=True, slots=True)
class SeekOptions:
    """What ``eventpipe seek`` was asked for, as the command line spells it.

    Attributes:
        dry_run: Say what would be, and change nothing.
        json: Print JSON.
    """

    dry_run: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What ``eventpipe replay`` was asked for, as the command line spells it.

    Attributes:
        from_: The first event that is handed out again: earliest, an offset, a time such as 2026-01-31T09:05:00Z, or
            10m for ten minutes ago.
        to: The first event that is not handed out again, as --from.
        dry_run: Say what would be, and change nothing.
        json: Print JSON.
    """

    from_: str
    to: str = "latest"
    dry_run: bool = False
    json: bool = False


class Effect(NamedTuple):
    """What moving a consumer does.

    Attributes:
        again: Events that it had settled and is handed again.
        passed_over: Events that it had not settled and is not handed any more.
        is_exact: Whether these numbers are so; else they are the most that it can be.
    """

    again: int
    passed_over: int
    is_exact: bool

    def __str__(self) -> str:
        upto = "" if self.is_exact else "up to "
        said = [
            f"{upto}{count(self.again, 'event')} will be handed out again" if self.again else "",
            f"{upto}{count(self.passed_over, 'event')} will be passed over" if self.passed_over else "",
        ]
        return " and ".join(part for part in said if part) or "nothing changes for any event"


def effect_of(consumer: ConsumerInfo, topic: TopicInfo, to: int) -> Effect:
    """What it does to move a consumer to an offset.

    What is settled above the position, out of order or because it is damaged, is known by its number alone.
    """
    position = max(consumer.position, topic.first)
    ahead = max(0, topic.end - position - consumer.pending)
    if to < position:
        return Effect(position - to + ahead, 0, is_exact=not (ahead or topic.damaged))
    return Effect(min(ahead, topic.end - to), min(to - position, consumer.pending), is_exact=not ahead)


def seek(file: Path, key: ConsumerKey, to: str, options: SeekOptions, out: Console) -> int:
    """Move a consumer, and say what that means for it; return the exit code.

    Args:
        file: The log's file.
        key: The consumer.
        to: Where to, as the command line spells it.
        options: The rest of the command line.
        out: Gets the report.

    Raises:
        CommandError: There is no such consumer, or no such place; or the file cannot be used.
    """
    return run(_seek(file, key, parse_position("TO", to, _now()), options, out), out)


async def _seek(file: Path, key: ConsumerKey, to: Position, options: SeekOptions, out: Console) -> int:
    async with opened(file) as log:
        before = await consumer_of(log, *key)
        topic = await log.topic(key.topic)
        offset = await offset_of(log.store, topic, to)
        effect = effect_of(before, topic, offset)
        if not options.dry_run:
            await log.seek(*key, offset)
        after = await log.consumer(*key)
    now = _now().timestamp()
    if options.json:
        said = {
            "topic": key.topic,
            "consumer": key.name,
            "to": offset,
            "again": effect.again,
            "passed_over": effect.passed_over,
            "is_exact": effect.is_exact,
            "dry_run": options.dry_run,
            "was": words.consumer_json(before, now),
            "is": words.consumer_json(after, now),
        }
        say(out, orjson.dumps(said).decode())
    else:
        verb = "would go" if options.dry_run else "goes"
        say(out, f"{key.name!r} of {key.topic!r} was at {before.position} and {verb} on at {offset}: {effect}")
    return 0


def replay(file: Path, key: ConsumerKey, options: ReplayOptions, out: Console) -> int:
    """Have one consumer handed a range of events again, after all that it has still to do; return the exit code.

    Raises:
        CommandError: There is no such consumer, or no such place; or the file cannot be used.
    """
    start, end = parse_position("--from", options.from_, _now()), parse_position("--to", options.to, _now())
    return run(_replay(file, key, start, end, options, out), out)


async def _replay(
    file: Path, key: ConsumerKey, start: Position, end: Position, options: ReplayOptions, out: Console
) -> int:
    async with opened(file) as log:
        before = await consumer_of(log, *key)
        topic = await log.topic(key.topic)
        first, last = await offset_of(log.store, topic, start), await offset_of(log.store, topic, end)
        if first > last and end != "latest":
            raise UsageError(f"--from must not come after --to: they are offsets {first} and {last}")
        number = max(0, last - first) if options.dry_run else await log.replay(*key, first, max(first, last))
        after = await log.consumer(*key)
    if options.json:
        said = {
            "topic": key.topic,
            "consumer": key.name,
            "from": first,
            "to": last,
            "replayed": number,
            "dry_run": options.dry_run,
            "was": words.consumer_json(before, _now().timestamp()),
            "is": words.consumer_json(after, _now().timestamp()),
        }
        say(out, orjson.dumps(said).decode())
    else:
        verb = "would be" if options.dry_run else "will be"
        most = "up to " if options.dry_run else ""
        say(
            out,
            f"{most}{count(number, 'event')} of {key.topic!r} from {first} to {last} {verb} handed to {key.name!r}"
            f" again, after the {count(before.pending)} that it has still to do; the other consumers skip them",
        )
    return 0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
