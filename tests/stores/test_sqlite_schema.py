"""Files of every released version of the schema can be opened, and hold what they held."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from eventpipe.stores import SqliteStore
from eventpipe.stores.sqlite_opening import Scheme, connect, find
from eventpipe.stores.sqlite_reserve import Reserve
from eventpipe.stores.sqlite_schema import APPLICATION_ID, MIGRATIONS, SCHEME
from eventpipe.stores.values import Disposal, Disposition
from eventpipe.testing.events import STAMP, make_event
from eventpipe.testing.store_rig import MUCH, attempts_of
from tests.stores.golden_log import BILLING, GOLDEN, UUID, GoldenClock, described


def test_every_version_has_a_golden_file() -> None:
    """Of this release and of all before it."""
    assert sorted(path.name for path in GOLDEN.glob("*.db")) == [f"v{n}.db" for n in range(1, len(MIGRATIONS) + 1)]


@pytest.mark.asyncio
@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_file_of_a_released_version_holds_what_it_held(tmp_path: Path, version: int, shared: bool) -> None:
    """Topics, events to the byte, consumers; and consumption goes on where it was."""
    path = tmp_path / "log.db"
    shutil.copy(GOLDEN / f"v{version}.db", path)
    clock = GoldenClock()
    clock.now = STAMP + 60
    store = SqliteStore(path, shared=shared, clock=clock)
    await store.open()

    expected = json.loads((GOLDEN / f"v{version}.json").read_text())
    assert json.loads(json.dumps(await described(store))) == expected
    assert await store.append("orders", [make_event(uuid=UUID.format(3)), make_event()]) == [3, 6]
    token = await store.acquire(BILLING.lease, "a test", 60)
    claims = await store.claim(BILLING, token, max_events=100, max_bytes=MUCH)
    assert attempts_of(claims.events) == [(1, 2), (3, 2), (4, 1), (5, 1), (6, 1)]
    await store.settle(BILLING, token, [Disposition(event, Disposal.ACK) for event in claims.events])
    assert await store.verify() == []
    await store.aclose()


def test_fresh_file_has_the_mark_the_version_and_the_tables_of_the_golden_one(tmp_path: Path) -> None:
    """What a released version means is never changed: a change is a version of its own."""
    place = find(tmp_path / "log.db")
    connect(place.path, SCHEME, is_shared=False, durability="process", reserve=Reserve(place.path)).close()

    def described(path: Path) -> list[object]:
        db = sqlite3.connect(path)
        told = [db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version", "auto_vacuum")]
        tables = db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
        db.close()
        return [*told, *tables]

    golden = tmp_path / "golden.db"
    shutil.copy(GOLDEN / f"v{len(MIGRATIONS)}.db", golden)
    assert described(tmp_path / "log.db") == described(golden)
    assert described(golden)[:3] == [(APPLICATION_ID,), (len(MIGRATIONS),), (2,)]


def test_migration_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """One that fails half-way leaves the file at the version that it had; the next release that can, does."""
    path = tmp_path / "log.db"
    shutil.copy(GOLDEN / "v1.db", path)
    reserve = Reserve(str(path))
    broken = SCHEME._replace(migrations=(*MIGRATIONS, "CREATE TABLE more (x);\nCREATE TABLE topics (x);"))
    with pytest.raises(Exception, match="topics already exists"):
        connect(str(path), broken, is_shared=False, durability="process", reserve=reserve)

    mended = SCHEME._replace(migrations=(*MIGRATIONS, "CREATE TABLE more (x);\nCREATE TABLE other (x);"))
    db = connect(str(path), mended, is_shared=False, durability="process", reserve=reserve)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('more', 'other')").fetchone() == (2,)
    db.close()


def test_scheme_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A file with another mark is another program's, whatever its version."""
    path = tmp_path / "log.db"
    shutil.copy(GOLDEN / "v1.db", path)
    other = Scheme("spool of eventpipe", APPLICATION_ID + 1, ("CREATE TABLE s (x);",), lambda *_: None)
    with pytest.raises(Exception, match="no spool of eventpipe; name another file"):
        connect(str(path), other, is_shared=False, durability="process", reserve=Reserve(str(path)))
