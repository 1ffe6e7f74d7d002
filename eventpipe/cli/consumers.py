"""``eventpipe consumers``: where each consumer of a log is, and what keeps it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.columns import Row, show_columns
from eventpipe.cli.display import say
from eventpipe.cli.failures import one_line
from eventpipe.cli.log_file import opened_to_read, run, topic_of
from eventpipe.cli.text import count, readable
from eventpipe.stores.values import ConsumerInfo

_HEADINGS = ("<topic", "<consumer", "cursor", "pending", "lag", "claimed", "waiting", "dead", "<state")


@dataclass(frozen=True, slots=True)
class ConsumersOptions:
    """What ``eventpipe consumers`` was asked for, as the command line spells it.

    Attributes:
        json: Print JSON.
    """

    json: bool = False


def consumers(file: Path, topic: str | None, options: ConsumersOptions, out: Console) -> int:
    """Show each consumer of a log; return the exit code.

    Args:
        file: The log's file.
        topic: The topic whose consumers are shown. ``None``: of all topics.
        options: The rest of the command line.
        out: Where to.

    Raises:
        CommandError: The file cannot be read, or has no such topic.
    """
    return run(_consumers(file, topic, options, out), out)


async def _consumers(file: Path, topic: str | None, options: ConsumersOptions, out: Console) -> int:
    async with opened_to_read(file) as log:
        if topic is not None:
            await topic_of(log, topic)
        found = await log.consumers(topic)
    now = time.time()
    if options.json:
        say(out, orjson.dumps({"consumers": [words.consumer_json(consumer, now) for consumer in found]}).decode())
    elif found:
        show_columns(out, _HEADINGS, [_row(consumer, now) for consumer in found])
        for line in _remarks(found):
            say(out, line)
    else:
        say(out, f"{readable(str(file)) if topic is None else f'topic {topic!r}'} has no consumers")
    return 0


def _row(consumer: ConsumerInfo, now: float) -> Row:
    return (
        consumer.topic,
        consumer.name,
        words.cursor(consumer),
        count(consumer.pending),
        words.age(words.lag(consumer, now)) if consumer.pending else "-",
        count(consumer.claimed),
        count(consumer.waiting),
        count(consumer.dead),
        words.state(consumer),
    )


def _remarks(consumers: list[ConsumerInfo]) -> Iterator[str]:
    """What does not fit into a column, a line for each consumer that there is something to say of."""
    for consumer in consumers:
        error = f"last error: {one_line(consumer.last_error)}" if consumer.last_error is not None else None
        dropped = f"{count(consumer.dropped)} dropped before it had settled them" if consumer.dropped else None
        said = [part for part in (words.holding(consumer), dropped, error) if part is not None]
        if said:
            yield f"{one_line(consumer.name)} of {one_line(consumer.topic)}: {'; '.join(said)}"
