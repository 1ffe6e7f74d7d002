"""``eventpipe spool repair``: what can be read of damaged files, in new ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console, RenderableType

from eventpipe.cli.display import say, shown
from eventpipe.cli.failures import FAILURE, CommandError, one_line, reason_of
from eventpipe.cli.log_file import run
from eventpipe.cli.progress import bar
from eventpipe.cli.spool_files import in_database, opened, taken
from eventpipe.cli.spool_options import LookOptions
from eventpipe.cli.text import count, readable
from eventpipe.errors import SpoolError, StoreError
from eventpipe.spool import folder, looking
from eventpipe.spool.folder import Owned
from eventpipe.spool.repairing import Repair

SHOWN = 20  # ranges of numbers that are told one by one


@dataclass(slots=True)
class Repairing:
    """One run over a spool.

    Attributes:
        intact: Files with nothing to repair.
        done: Of each file that was damaged its name, the new one's, and what was read.
        faults: Why others were left as they are.
        running: What is read now; ``None``: files are being looked at.
    """

    intact: int = 0
    done: list[tuple[str, str, Repair]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    running: Repair | None = None

    async def run(self, files: Sequence[Owned]) -> None:
        """Repair one file after the other."""
        for owned in files:
            if await in_database(partial(_is_intact, owned)):
                self.intact += 1
                continue
            new = folder.own_new(owned.path.parent)
            self.running = Repair()
            try:
                await in_database(partial(self.running.run, owned, new, time.time()))
            except BaseException as error:
                new.remove()
                if not isinstance(error, StoreError):
                    raise
                self.faults.append(str(error))
                continue
            _put_aside(owned)
            new.release()
            self.done.append((owned.name, new.name, self.running))

    def frame(self) -> RenderableType:
        """The progress bar, which only pulses: nobody knows how much can be read."""
        kept = 0 if self.running is None else self.running.kept
        return bar("repairing", 0, None, f"{count(kept, 'event')} read")


def repair_spool(path: Path, options: LookOptions, out: Console, err: Console) -> int:
    """Copy what can be read of damaged files to new ones; return the exit code: 1 where events are lost, or it failed.

    Raises:
        CommandError: The spool is in use, there is none, or the disk is full.
    """
    with taken(path) as files:
        return run(_repair(path, files, options, out, err), out)


async def _repair(path: Path, files: Sequence[Owned], options: LookOptions, out: Console, err: Console) -> int:
    repairing = Repairing()
    try:
        if options.json:
            await repairing.run(files)
        else:
            async with shown(err, repairing.frame, lambda: None):
                await repairing.run(files)
    except SpoolError:
        raise
    except OSError as error:
        raise CommandError(f"{readable(str(path))} cannot be repaired: {reason_of(error)}") from error
    is_ok = not repairing.faults and not any(repair.lost or repair.altered for _, _, repair in repairing.done)
    if options.json:
        done = [
            {"file": old, "new": new, "kept": repair.kept, "lost": repair.lost, "altered": repair.altered}
            for old, new, repair in repairing.done
        ]
        said = {"ok": is_ok, "intact": repairing.intact, "repaired": done, "faults": repairing.faults}
        say(out, orjson.dumps(said).decode())
        return 0 if is_ok else FAILURE
    for old, new, repair in repairing.done:
        say(out, f"{old}: {count(repair.kept, 'event')} read, now in {new}")
        for first, last in repair.lost[:SHOWN]:
            say(out, f"{old}: cannot be read: {_range(first, last)}; some may have been delivered before")
        if len(repair.lost) > SHOWN:
            say(out, f"{old}: and {count(len(repair.lost) - SHOWN, 'more range')}; --json has all of them")
        if repair.altered:
            numbers = ", ".join(map(str, repair.altered[:SHOWN])) + (", …" if len(repair.altered) > SHOWN else "")
            say(out, f"{old}: set aside, because they do not pass their checksums: {numbers}")
        say(out, f"{old}: the damaged file is kept as {old}.damaged; delete it when you need it no more")
    for fault in repairing.faults:
        say(out, f"left as it is: {one_line(fault)}")
    if repairing.intact or not repairing.done:
        say(out, f"{count(repairing.intact, 'file')} of {readable(str(path))} intact: nothing to repair")
    return 0 if is_ok else FAILURE


def _is_intact(owned: Owned) -> bool:
    """Whether every page of a file can be read, and it is as SQLite left it."""
    try:
        with opened(owned) as db:
            for _ in looking.see_all(db):
                pass
            looking.set_aside(db)
            with closing(db.execute("PRAGMA integrity_check(1)")) as found:
                return bool(found.fetchone() == ("ok",))
    except StoreError:
        return False


def _put_aside(owned: Owned) -> None:
    """Keep the damaged file under a name that nobody reads as a spool's."""
    aside = owned.path.with_suffix(".damaged")
    wal = Path(f"{owned.path}-wal")
    if wal.exists():
        wal.replace(f"{aside}-wal")
    owned.path.replace(aside)
    owned.remove()


def _range(first: int, last: int | None) -> str:
    if last is None:
        return f"{first} and what follows"
    return f"{first}" if first == last else f"{first} to {last}"
