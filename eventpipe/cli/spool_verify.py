"""``eventpipe spool verify``: whether every event of a spool is as it was captured, and every file whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console, RenderableType

from eventpipe.cli.columns import show_columns
from eventpipe.cli.display import say, shown
from eventpipe.cli.failures import FAILURE
from eventpipe.cli.log_file import run
from eventpipe.cli.progress import bar
from eventpipe.cli.spool_files import in_database, opened, taken, told
from eventpipe.cli.spool_options import LookOptions
from eventpipe.cli.text import count, readable
from eventpipe.errors import StoreError
from eventpipe.spool import looking
from eventpipe.spool.folder import Owned

_MAX_WORDS = 100  # of what SQLite finds wrong with a file


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it was written.

    Attributes:
        file: The file's name.
        number: Of the event; ``None``: it is the file.
        fault: What is wrong.
    """

    file: str
    number: int | None
    fault: str


@dataclass(slots=True)
class Checked:
    """How far it is.

    Attributes:
        files: Files checked.
        events: Events in them.
        total: Events in all that were opened.
        damaged: What did not pass.
    """

    files: int = 0
    events: int = 0
    total: int = 0
    damaged: list[Damage] = field(default_factory=list)

    async def run(self, files: Sequence[Owned]) -> None:
        """Check one file after the other."""
        for owned in files:
            try:
                with opened(owned) as db:
                    await in_database(partial(self._file, owned.name, db))
            except StoreError as error:
                self.damaged.append(Damage(owned.name, None, told(error)))
            self.files += 1

    def frame(self) -> RenderableType:
        """The progress bar."""
        return bar("checking", self.events, self.total, f"{count(len(self.damaged))} damaged")

    def _file(self, name: str, db: sqlite3.Connection) -> None:
        holding = looking.holding(db, 0.0)
        self.total += holding.rows
        for one in looking.see_all(db):
            self.events += 1
            if one.fault is not None:
                self.damaged.append(Damage(name, one.id, one.fault))
        self.damaged += [Damage(name, number, f"set aside: {fault}") for number, fault in looking.set_aside(db)]
        if holding.missing:
            self.damaged.append(Damage(name, None, f"{count(holding.missing, 'event')} more, which cannot be found"))
        found = [str(words) for (words,) in db.execute(f"PRAGMA integrity_check({_MAX_WORDS})")]
        if found != ["ok"]:
            raise StoreError(f"the file is damaged ({found[0]})")


def verify_spool(path: Path, options: LookOptions, out: Console, err: Console) -> int:
    """Check every event and file, and list what is damaged; return the exit code: 1 where anything is.

    Raises:
        CommandError: The spool is in use, or there is none.
    """
    with taken(path) as files:
        return run(_verify(path, files, options, out, err), out)


async def _verify(path: Path, files: Sequence[Owned], options: LookOptions, out: Console, err: Console) -> int:
    checked = Checked()
    if options.json:
        await checked.run(files)
        said = {"ok": not checked.damaged, "files": checked.files, "events": checked.events}
        say(out, orjson.dumps({**said, "damaged": [asdict(damage) for damage in checked.damaged]}).decode())
        return FAILURE if checked.damaged else 0
    async with shown(err, checked.frame, lambda: None):
        await checked.run(files)
    damaged = checked.damaged
    if damaged:
        rows = [(d.file, "" if d.number is None else str(d.number), d.fault) for d in damaged]
        show_columns(out, ("<file", "number", "<damage"), rows)
    what = f"{count(checked.events, 'event')} in {count(checked.files, 'file')} of {readable(str(path))}"
    say(out, f"{what}: {f'{count(len(damaged))} damaged' if damaged else 'all intact'}")
    return FAILURE if damaged else 0
