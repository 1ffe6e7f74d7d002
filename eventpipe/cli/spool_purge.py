"""``eventpipe spool purge``: letting go of events that nobody is to have any more."""

from __future__ import annotations

import datetime
import math
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console

from eventpipe.cli.agreement import agree
from eventpipe.cli.display import say
from eventpipe.cli.failures import FAILURE, UsageError, one_line
from eventpipe.cli.log_file import run
from eventpipe.cli.positions import parse_moment
from eventpipe.cli.spool_files import check_sink, in_database, opened, taken, told
from eventpipe.cli.spool_options import PurgeOptions
from eventpipe.cli.text import count, readable
from eventpipe.errors import StoreError
from eventpipe.spool import looking
from eventpipe.spool.folder import Owned


def purge_spool(path: Path, options: PurgeOptions, out: Console, err: Console) -> int:
    """Delete events, once somebody has agreed; return the exit code: 1 where a file was left as it is.

    Raises:
        CommandError: The spool is in use, there is none, nobody agrees, or the command line is wrong.
    """
    before = parse_moment("--before", options.before, datetime.datetime.now(datetime.UTC))
    if options.all and (options.sink is not None or before is not None):
        raise UsageError("--all is everything: it goes with neither --sink nor --before")
    if not options.all and options.sink is None and before is None:
        raise UsageError("say what is to go: --sink, --before, or --all")
    with taken(path) as files:
        check_sink(files, options.sink)
        return run(_purge(path, files, math.inf if before is None else before, options, out, err), out)


async def _purge(
    path: Path, files: Sequence[Owned], before: float, options: PurgeOptions, out: Console, err: Console
) -> int:
    meant: list[tuple[Owned, list[int], int]] = []
    faults: list[str] = []
    for owned in files:
        try:
            with opened(owned) as db:
                meant.append((owned, *await in_database(partial(_meant, db, before, options))))
        except StoreError as error:
            faults.append(told(error))
    events, damaged = sum(len(ids) for _, ids, _ in meant), sum(aside for _, _, aside in meant)
    what = count(events, "event") + (f" and {count(damaged)} that are damaged" if damaged else "")
    if (events or damaged) and not options.yes:
        await agree(f"{what} of {readable(str(path))} would be deleted", "--yes to do so", out)
    for owned, ids, aside in meant:
        with opened(owned) as db:
            await in_database(partial(_let_go, db, ids, options.sink, is_all=bool(aside)))
            is_empty = looking.is_empty(db)
        if is_empty:
            owned.remove()
    if options.json:
        say(out, orjson.dumps({"ok": not faults, "deleted": events, "damaged": damaged, "faults": faults}).decode())
        return FAILURE if faults else 0
    say(out, f"{what} deleted")
    for fault in faults:
        say(err, f"left as it is: {one_line(fault)}")
    return FAILURE if faults else 0


def _meant(db: sqlite3.Connection, before: float, options: PurgeOptions) -> tuple[list[int], int]:
    """The numbers of the events that are meant, and how many are damaged and meant as well."""
    ids = [one.id for one in looking.see_all(db, sink=options.sink) if one.captured_at < before]
    return ids, len(looking.set_aside(db)) + looking.holding(db, 0.0).missing if options.all else 0


def _let_go(db: sqlite3.Connection, ids: Sequence[int], sink: str | None, *, is_all: bool) -> None:
    looking.let_go(db, ids, sink)
    if is_all:
        looking.clear_aside(db)
