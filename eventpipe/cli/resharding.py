"""``eventpipe reshard``: divide a consumer among another number of shards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.display import say
from eventpipe.cli.failures import UsageError
from eventpipe.cli.log_file import opened, run, topic_of
from eventpipe.cli.text import count
from eventpipe.log.shards import read_shard_name
from eventpipe.stores.values import ConsumerInfo, ConsumerKey


@dataclass(frozen=True, slots=True)
class ReshardOptions:
    """What ``eventpipe reshard`` was asked for, as the command line spells it.

    Attributes:
        json: Print JSON.
    """

    json: bool = False


def reshard(file: Path, key: ConsumerKey, shards: int, options: ReshardOptions, out: Console) -> int:
    """Divide a consumer among so many shards, and say what that means for it; return the exit code.

    Raises:
        CommandError: There is no such consumer, or one of its shards runs; or the file cannot be used.
    """
    if shards < 1:
        raise UsageError(f"COUNT: must be at least 1, not {shards}")
    return run(_reshard(file, key, shards, options, out), out)


async def _reshard(file: Path, key: ConsumerKey, shards: int, options: ReshardOptions, out: Console) -> int:
    async with opened(file) as log:
        await topic_of(log, key.topic)
        before = [info for info in await log.consumers(key.topic) if read_shard_name(info.name)[0] == key.name]
        try:
            after = await log.reshard(*key, shards)
        except ValueError as error:  # so many have names that are too long
            raise UsageError(str(error)) from error
    if options.json:
        now = time.time()
        said = {
            "topic": key.topic,
            "consumer": key.name,
            "shards": shards,
            "was": [words.consumer_json(info, now) for info in before],
            "is": [words.consumer_json(info, now) for info in after],
        }
        say(out, orjson.dumps(said).decode())
    else:
        say(out, f"{key.name!r} of {key.topic!r} {_said(before, after)}")
    return 0


def _said(before: list[ConsumerInfo], after: list[ConsumerInfo]) -> str:
    now = count(len(after), "shard")
    if {info.name for info in before} == {info.name for info in after}:
        return f"has {now} already; nothing changes"
    at = sorted(info.position for info in after)
    where = f"at {count(at[0])}" if at[0] == at[-1] else f"at {count(at[0])} to {count(at[-1])}"
    again = max(max(info.position for info in before) - at[0], 0)
    effect = f"up to {count(again, 'event')} may be handed out again" if again else "its shards were level"
    return f"had {count(len(before), 'shard')} and has {now}, which begin {where}; {effect}"
