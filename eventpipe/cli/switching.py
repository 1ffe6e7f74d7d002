"""``eventpipe pause``, ``resume`` and ``remove``: whether a consumer is handed events."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.display import say
from eventpipe.cli.log_file import consumer_of, opened, run
from eventpipe.cli.text import count
from eventpipe.stores.values import ConsumerInfo, ConsumerKey

Switch = Literal["pause", "resume", "remove"]


@dataclass(frozen=True, slots=True)
class SwitchOptions:
    """What ``eventpipe pause``, ``resume`` and ``remove`` were asked for, as the command line spells it.

    Attributes:
        json: Print JSON.
    """

    json: bool = False


def switch(file: Path, key: ConsumerKey, to: Switch, options: SwitchOptions, out: Console) -> int:
    """Pause, resume or remove a consumer, and say what it was; return the exit code.

    Raises:
        CommandError: There is no such consumer, or the file cannot be used.
    """
    return run(_switch(file, key, to, options, out), out)


async def _switch(file: Path, key: ConsumerKey, to: Switch, options: SwitchOptions, out: Console) -> int:
    async with opened(file) as log:
        before = await consumer_of(log, *key)
        after: ConsumerInfo | None = None
        if to == "remove":
            await log.remove_consumer(*key)
        else:
            await (log.pause if to == "pause" else log.resume)(*key)
            after = await log.consumer(*key)
    if options.json:
        now = time.time()
        said = {
            "was": words.consumer_json(before, now),
            "is": None if after is None else words.consumer_json(after, now),
        }
        say(out, orjson.dumps(said).decode())
    else:
        say(out, f"{key.name!r} of {key.topic!r} {_said(before, after)}")
    return 0


def _said(before: ConsumerInfo, after: ConsumerInfo | None) -> str:
    pending = f"{count(before.pending, 'event')} pending"
    if after is None:
        where = "no cursor yet" if before.cursor is None else f"its cursor at {before.cursor}"
        return f"was {words.state(before)}, had {where} and {pending}, and is forgotten"
    now = "is paused" if after.is_paused else "goes on"
    if before.is_paused == after.is_paused:
        return f"{now} as before, with {pending}"
    return f"was {words.state(before)} and {now}, with {pending}"
