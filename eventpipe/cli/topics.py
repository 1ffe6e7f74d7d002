"""``eventpipe topics``: what a log holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.columns import Row, show_columns
from eventpipe.cli.display import say
from eventpipe.cli.failures import one_line
from eventpipe.cli.log_file import opened_to_read, run
from eventpipe.cli.text import count, readable, size
from eventpipe.log.dead_letters import DEAD_LETTERS
from eventpipe.retention import UNBOUNDED
from eventpipe.stores.values import DEAD_SUFFIX, ConsumerInfo, TopicInfo

_HEADINGS = ("<topic", "events", "bytes", "first", "end", "oldest", "consumers", "letters")


@dataclass(frozen=True, slots=True)
class TopicsOptions:
    """What ``eventpipe topics`` was asked for, as the command line spells it.

    Attributes:
        json: Print JSON.
    """

    json: bool = False


class Line(NamedTuple):
    """A topic, how many consumers it has, and how many dead letters of them nobody has dealt with."""

    topic: TopicInfo
    consumers: int
    dead_letters: int


def topics(file: Path, options: TopicsOptions, out: Console) -> int:
    """Show each topic of a log; return the exit code.

    Raises:
        CommandError: The file cannot be read.
    """
    return run(_topics(file, options, out), out)


async def _topics(file: Path, options: TopicsOptions, out: Console) -> int:
    async with opened_to_read(file) as log:
        lines = lines_of(await log.topics(), await log.consumers())
    now = time.time()
    if options.json:
        said = [words.topic_json(line.topic, line.consumers, line.dead_letters, now) for line in lines]
        say(out, orjson.dumps({"topics": said}).decode())
    elif lines:
        show_columns(out, _HEADINGS, [_row(line, now) for line in lines])
        for remark in _remarks(lines):
            say(out, remark)
    else:
        say(out, f"{readable(str(file))} has no topics yet; eventpipe append makes one")
    return 0


def lines_of(topics: Sequence[TopicInfo], consumers: Sequence[ConsumerInfo]) -> list[Line]:
    """What there is to say of each topic."""
    letters = {topic.name: topic.events for topic in topics}
    # Letters that were replayed or deleted are kept until the next trim; this consumer knows which those are.
    letters |= {consumer.topic: consumer.pending for consumer in consumers if consumer.name == DEAD_LETTERS}
    registered = [consumer.topic for consumer in consumers]
    return [Line(topic, registered.count(topic.name), letters.get(topic.name + DEAD_SUFFIX, 0)) for topic in topics]


def _row(line: Line, now: float) -> Row:
    topic = line.topic
    return (
        topic.name,
        count(topic.events),
        size(topic.bytes),
        str(topic.first),
        str(topic.end),
        "-" if topic.oldest_at is None else words.age(now - topic.oldest_at),
        count(line.consumers),
        count(line.dead_letters),
    )


def _remarks(lines: Sequence[Line]) -> Iterator[str]:
    """What most topics have nothing of, a line for each that does."""
    for topic, _, _ in lines:
        said = [
            f"keeps {words.retention(topic.retention)}" if topic.retention != UNBOUNDED else "",
            f"{count(topic.dropped)} dropped before a consumer had settled them" if topic.dropped else "",
            f"{count(topic.damaged)} damaged, which eventpipe verify lists" if topic.damaged else "",
        ]
        if any(said):
            yield f"{one_line(topic.name)}: {'; '.join(part for part in said if part)}"
