"""``eventpipe verify``: whether every event of a log is as it was appended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console, RenderableType

from eventpipe.cli.columns import show_columns
from eventpipe.cli.display import say, shown
from eventpipe.cli.failures import FAILURE
from eventpipe.cli.log_file import opened_to_read, run
from eventpipe.cli.progress import bar
from eventpipe.cli.text import count, duration, readable
from eventpipe.log.eventlog import EventLog
from eventpipe.stores.values import Damage, TopicInfo


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
        topic: The one that is being checked, if any; a store checks it as a whole.
        since: When that began, on the monotonic clock.
    """

    topics: int = 0
    events: int = 0
    total: int = 0
    damaged: list[Damage] = field(default_factory=list)
    topic: TopicInfo | None = None
    since: float = 0.0

    async def run(self, log: EventLog, topics: Sequence[TopicInfo]) -> None:
        """Check one topic after the other."""
        for topic in topics:
            self.topic, self.since = topic, time.monotonic()
            self.damaged += await log.verify(topic.name)
            self.topics += 1
            self.events += topic.events
        self.topic = None

    def frame(self) -> RenderableType:
        """The progress bar, which stands still while a topic is checked, and words that do not."""
        words = f"{count(len(self.damaged))} damaged"
        if self.topic is not None:
            taken = duration(time.monotonic() - self.since)
            words += f"; {taken} for {count(self.topic.events, 'event')} of {self.topic.name!r}"
        return bar("checking", self.events, self.total, words)


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
            await checked.run(log, topics)
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
