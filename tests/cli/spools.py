"""Spools in folders as commands meet them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from eventpipe.clock import Clock
from eventpipe.encoding import Encoder
from eventpipe.spool import folder
from eventpipe.spool.file import open_file
from eventpipe.spool.values import Written

STAMP = 1_769_850_300.0  # 2026-01-31T09:05:00Z, when the first was captured, and a second later the next


def make_spool(path: Path, events: int, *, sinks: Sequence[str] = ("web",), name: str = "paid", fill: str = "") -> str:
    """Leave a file in a folder, with events that these sinks are owed; its name."""

    async def make() -> str:
        owned = folder.own_new(folder.check(path))
        file = await open_file(owned, ["web", "audit"], Clock())
        owed = sum(file.bits[sink] for sink in sinks)
        encoder = Encoder()
        for number in range(events):
            event = encoder.encode(name, f"u{number}", {"n": number, "fill": fill}, None, None, None, None, None)
            await file.write(Written(file.next_ids(1), [event], owed, STAMP + number), is_synced=True)
        await file.aclose()
        owned.release()
        return owned.name

    return asyncio.run(make())


def change(path: Path, sql: str) -> None:
    """Change a file behind everybody's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(sql)


def rows(path: Path) -> list[tuple[int, int]]:
    """Numbers of the events of a file, and the bits of the sinks that they are owed to."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT id, owed & 0x7fffffff FROM events ORDER BY id").fetchall()
