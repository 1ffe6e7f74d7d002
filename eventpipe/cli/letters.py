"""The dead letters of a topic, listed and shown; nothing is changed by that."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.columns import Row, show_columns
from eventpipe.cli.display import say, table
from eventpipe.cli.failures import CommandError
from eventpipe.cli.output import Output
from eventpipe.cli.text import count
from eventpipe.codecs.base import whole
from eventpipe.log.dead_letters import DEAD_LETTERS
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import DeadLetter, dead_letter
from eventpipe.stores.values import DEAD_SUFFIX

_HEADINGS = ("offset", "<consumer", "source", "attempts", "age", "<reason", "<event", "<error")


async def letters_of(log: EventLog, topic: str, consumer: str | None) -> AsyncGenerator[DeadLetter]:
    """The letters of a topic that nobody has dealt with, by offset; those of one consumer, or of all.

    Nothing is registered or claimed for it, unless letters were dealt with out of order: which ones is told only to
    who claims the others.
    """
    dead = topic + DEAD_SUFFIX
    info = next((known for known in await log.topics() if known.name == dead), None)
    if info is None:
        return
    keeper = next((known for known in await log.consumers(dead) if known.name == DEAD_LETTERS), None)
    first = info.first if keeper is None else max(info.first, keeper.position)
    if keeper is not None and keeper.pending != info.end - first:
        for letter in await log.dead_letters(topic, consumer):
            yield letter
        return
    async with aclosing(log.read(dead, first, end=info.end)) as events:
        async for stored in events:
            found = dead_letter(stored)
            if found is not None and consumer in (None, found.consumer):
                yield found


async def print_letters(log: EventLog, topic: str, consumer: str | None, number: int | None, out: Console) -> None:
    """Print each letter as JSON, one a line.

    Args:
        log: The log.
        topic: The topic in which they failed.
        consumer: Those of one consumer. ``None``: of all.
        number: At most so many. ``None``: all of them.
        out: Where to.
    """
    output = Output(out)
    async with aclosing(letters_of(log, topic, consumer)) as letters:
        while number is None or (number := number - 1) >= 0:
            letter = await anext(letters, None)
            if letter is None:
                break
            await output.add(orjson.dumps(words.letter_json(letter)))
    await output.flush()


async def list_letters(log: EventLog, topic: str, consumer: str | None, number: int, out: Console) -> None:
    """Show a table of the first letters, and say how many more there are."""
    now = time.time()
    rows: list[Row] = []
    more = 0
    async with aclosing(letters_of(log, topic, consumer)) as letters:
        async for letter in letters:
            if len(rows) < number:
                rows.append(_row(letter, now))
            else:
                more += 1
    if rows:
        show_columns(out, _HEADINGS, rows)
    if more:
        say(out, f"{count(more, 'more letter')}; --number shows more of them")
    if not rows and not more:
        of = "" if consumer is None else f" of {consumer!r}"
        say(out, f"topic {topic!r} has no dead letters{of}")


async def show_letter(log: EventLog, topic: str, offset: int, out: Console, *, as_json: bool) -> None:
    """Show one letter, and the event that it is.

    Raises:
        CommandError: There is no such letter.
    """
    async with aclosing(letters_of(log, topic, None)) as letters:
        async for letter in letters:
            if letter.offset == offset:
                break
        else:
            raise CommandError(f"topic {topic!r} has no dead letter at offset {offset}; list shows those it has")
    said = words.letter_json(letter)
    if as_json:
        # "letter" is what became of the event, "event" what it was.
        say(out, orjson.dumps({"letter": said, "event": orjson.Fragment(whole(letter.event))}).decode())
        return
    rows = [(name.replace("_", " "), "-" if value is None else str(value)) for name, value in said.items()]
    out.print(table(rows))
    say(out, orjson.dumps(orjson.loads(whole(letter.event)), option=orjson.OPT_INDENT_2).decode())


def _row(letter: DeadLetter, now: float) -> Row:
    return (
        str(letter.offset),
        letter.consumer,
        str(letter.source_offset),
        count(letter.attempts),
        words.age(now - letter.at),
        letter.reason,
        letter.event.name,
        letter.error or "-",
    )
