"""``eventpipe dead-letters``: the events that consumers gave up, looked at, replayed, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import orjson
from cyclopts import Parameter
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.display import say
from eventpipe.cli.failures import FAILURE, UsageError
from eventpipe.cli.letters import list_letters, print_letters, show_letter
from eventpipe.cli.log_file import consumer_of, opened, opened_to_read, run, topic_of
from eventpipe.cli.text import count
from eventpipe.cli.whole import Whole
from eventpipe.log.eventlog import EventLog
from eventpipe.stores.values import DEAD_SUFFIX

Action = Literal["list", "show", "replay", "delete"]

USUAL_NUMBER = 50  # letters that fit on a screen or two


@dataclass(frozen=True, slots=True)
class DeadLettersOptions:
    """What ``eventpipe dead-letters`` was asked for, as the command line spells it.

    Attributes:
        all: Replay or delete every letter.
        consumer: Only the letters of this consumer.
        number: List so many letters, the oldest first; 50 unless given, and with --json all of them.
        json: Print JSON, an object for each letter that is listed, and one for anything else.
    """

    all: bool = False
    consumer: str | None = None
    number: Annotated[Whole | None, Parameter(alias="-n")] = None
    json: bool = False

    def check(self, action: Action, offsets: Sequence[int]) -> None:
        """See that the action, its offsets and these go together.

        Raises:
            UsageError: They do not.
        """
        if self.number is not None and self.number < 0:
            raise UsageError(f"--number: must be at least 0, not {self.number}")
        if action == "list" and (offsets or self.all):
            raise UsageError("list takes no offsets and no --all; show takes the offset of one letter")
        if action == "show" and (len(offsets) != 1 or self.all):
            raise UsageError("show needs the offset of one letter, as list shows it")
        if action in ("replay", "delete") and bool(offsets) is self.all:
            raise UsageError(f"{action} needs the offsets of letters, as list shows them, or --all")


def dead_letters(
    file: Path, topic: str, action: Action, offsets: Sequence[int], options: DeadLettersOptions, out: Console
) -> int:
    """Deal with the dead letters of a topic; return the exit code: 0 only if all was done that was asked for.

    Args:
        file: The log's file.
        topic: The topic in which they failed.
        action: What to do with them.
        offsets: The letters' own offsets.
        options: The rest of the command line.
        out: Gets the letters, or the report.

    Raises:
        CommandError: There is no such topic, consumer or letter, or the file cannot be used.
    """
    options.check(action, offsets)
    return run(_dead_letters(file, topic, action, offsets, options, out), out)


async def _dead_letters(
    file: Path, topic: str, action: Action, offsets: Sequence[int], options: DeadLettersOptions, out: Console
) -> int:
    is_changing = action in ("replay", "delete")
    async with opened(file) if is_changing else opened_to_read(file) as log:
        await topic_of(log, topic)
        if topic.endswith(DEAD_SUFFIX) and all(info.name != topic + DEAD_SUFFIX for info in await log.topics()):
            # No consumer of these letters has given one up: those that they are themselves are meant.
            raise UsageError(f"name the topic that they failed in: {topic.removesuffix(DEAD_SUFFIX)}")
        if is_changing:
            return await _settle(log, topic, action, offsets, options, out)
        if action == "show":
            await show_letter(log, topic, offsets[0], out, as_json=options.json)
        elif options.json:
            await print_letters(log, topic, options.consumer, options.number, out)
        else:
            number = USUAL_NUMBER if options.number is None else options.number
            await list_letters(log, topic, options.consumer, number, out)
        return 0


async def _settle(
    log: EventLog, topic: str, action: Action, offsets: Sequence[int], options: DeadLettersOptions, out: Console
) -> int:
    """Replay or delete letters, and say which of those that were named are none."""
    if action == "replay" and options.consumer is not None:
        await consumer_of(log, topic, options.consumer)
    settle = log.replay_dead_letters if action == "replay" else log.delete_dead_letters
    done = await settle(topic, None if options.all else offsets, consumer=options.consumer)
    missing = sorted(set(offsets) - {letter.offset for letter in done})
    verb = "replayed" if action == "replay" else "deleted"
    if options.json:
        said = {"ok": not missing, verb: [words.letter_json(letter) for letter in done], "missing": missing}
        say(out, orjson.dumps(said).decode())
    else:
        say(out, f"{count(len(done), 'dead letter')} of {topic!r} {verb}")
        for offset in missing:
            why = "nobody's letter, cannot be read, or its consumer is gone" if action == "replay" else "no letter"
            say(out, f"offset {offset} was left as it is: {why}")
    return FAILURE if missing else 0
