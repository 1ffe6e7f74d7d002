"""Files of every version that was released: they are read as they were written, and none of them changes unseen."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventpipe.errors import SpoolError, StoreError
from eventpipe.spool.file import SpoolFile, open_file
from eventpipe.spool.folder import Owned, check, orphans
from eventpipe.spool.rows import SCHEME
from eventpipe.testing.events import STAMP
from tests.spool.golden_spool import GOLDEN, SINKS, GoldenClock, events, fill

NAME = "20260131T090500-00000000"


def described(path: Path) -> tuple[list[tuple[str, str]], int, int]:
    """The tables of a file, its mark and its version."""
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
        (mark,), (version,) = (db.execute(f"PRAGMA {what}").fetchone() for what in ("application_id", "user_version"))
    return tables, mark, version


def placed(folder: Path, version: int) -> Owned:
    """A golden file in a folder, locked for this process."""
    shutil.copy(GOLDEN / f"v{version}.db", check(folder) / f"{NAME}.db")
    (owned,) = orphans(folder)
    return owned


async def read(file: SpoolFile, sink: str) -> list[tuple[object, ...]]:
    page = await file.read(file.bits[sink], after=0, held=set(), max_events=100, max_bytes=1 << 20)
    return [said(event) for _, event in page.events]


def said(event: object) -> tuple[object, ...]:
    """Everything that an event says."""
    return tuple(getattr(event, name) for name in ("name", "data", "lane", "headers", "key", "lifted"))


def test_every_version_has_a_golden_file() -> None:
    """One that is released is never changed; the next one gets a file of its own."""
    assert sorted(path.name for path in GOLDEN.iterdir()) == [
        f"v{version}.db" for version in range(1, len(SCHEME.migrations) + 1)
    ]


@pytest.mark.parametrize("version", range(1, len(SCHEME.migrations) + 1))
@pytest.mark.asyncio
async def test_golden_file_is_read_as_it_was_written(tmp_path: Path, version: int) -> None:
    """Each sink is owed what it was, with everything that the events say."""
    owned = placed(tmp_path / "spool", version)
    file = await open_file(owned, SINKS, GoldenClock())
    try:
        assert file.holding._replace(bytes=0) == (dict.fromkeys(SINKS, 2), 3, 0, 3, STAMP, 0, 0)
        plain, rich, text = map(said, events())
        assert (await read(file, "web"), await read(file, "audit")) == ([plain, rich], [plain, text])
        assert file.next_ids(1) == range(4, 5)
    finally:
        await file.aclose()
        owned.release()


@pytest.mark.asyncio
async def test_fresh_file_has_the_tables_the_mark_and_the_version_of_the_golden_one(tmp_path: Path) -> None:
    """What is written today is what that release writes."""
    assert described(await fill(tmp_path / "spool")) == described(GOLDEN / f"v{len(SCHEME.migrations)}.db")


@pytest.mark.asyncio
async def test_file_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """By name, and with the way out."""
    owned = placed(tmp_path / "spool", len(SCHEME.migrations))
    with closing(sqlite3.connect(owned.path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = owned.path.read_bytes()
    with pytest.raises((SpoolError, StoreError), match="99"):
        await open_file(owned, SINKS, GoldenClock())
    owned.release()
    assert owned.path.read_bytes() == before
