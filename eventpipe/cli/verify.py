"""``eventpipe verify``: whether every event of a log is as it was appended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console, RenderableType

from eventpipe.cli.columns import show_columns
from eventpipe.cli.display import say, shown
from eventpipe.cli.failures import FAILURE
from eventpipe.cli.log_file import opened_to_read, run
from eventpipe.cli.progress import bar
from eventpipe.cli.text import count, readable
from eventpipe.stores.values import Damage


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What ``eventpipe verify`` was asked for, as the command line spells it.

    Attributes:
        json: Print the report as JSON, and no progress.
    """

    json: bool = False


@dataclass(slots=True)
class Checked:
    """How far it is.

    Attributes:
        topics: Topics checked.
        events: Events in them.
        total: Events in all topics.
        damaged: What did not pass.
    """

    topics: int = 0
    events: int = 0
    total: int = 0
    damaged: list[Damage] = field(default_factory=list)

    def frame(self) -> RenderableType:
        """The progress bar."""
        return bar("checking", self.events, self.total, f"{count(len(self.damaged))} damaged")


def verify(file: Path, options: VerifyOptions, out: Console, err: Console) -> int:
    """Check every event and list those that are damaged; return the exit code: 1 where there are any.

    Args:
        file: The log's file.
        options: The rest of the command line.
        out: Gets the report.
        err: Gets a progress bar, where it is a terminal.

    Raises:
        CommandError: The file cannot be read.
    """
    return run(_verify(file, options, out, err), out)


async def _verify(file: Path, options: VerifyOptions, out: Console, err: Console) -> int:
    checked = Checked()
    async with opened_to_read(file) as log:
        topics = await log.topics()
        checked.total = sum(topic.events for topic in topics)
        async with shown(err, checked.frame, lambda: None):
            for topic in topics:
                checked.damaged += await log.verify(topic.name)
                checked.topics += 1
                checked.events += topic.events
    damaged = checked.damaged
    if options.json:
        said = {
            "ok": not damaged,
            "topics": checked.topics,
            "events": checked.events,
            "damaged": [damage._asdict() for damage in damaged],
        }
        say(out, orjson.dumps(said).decode())
    else:
        if damaged:
            show_columns(out, ("<topic", "offset", "<damage"), [(d.topic, str(d.offset), d.fault) for d in damaged])
        what = f"{count(checked.events, 'event')} in {count(checked.topics, 'topic')} of {readable(str(file))}"
        found = f"{count(len(damaged))} damaged; they are set aside and handed to nobody" if damaged else "all intact"
        say(out, f"{what}: {found}")
    return FAILURE if damaged else 0
