# ruff: noqa: ASYNC110, ASYNC220, ASYNC221, ASYNC240  # files are what this is about, and nothing else runs in the loop
"""Which files ``SqliteStore`` opens, how it makes them, and what it leaves alone."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventpipe.errors import ClosedError, StoreError
from eventpipe.stores import SqliteStore
from eventpipe.stores.sqlite_schema import APPLICATION_ID
from eventpipe.testing import make_event
from eventpipe.testing.store_rig import MUCH, ids_of

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def opened(path: Path, *, shared: bool = False) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, shared=shared, durability="process")
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


async def refusal(path: Path, *, shared: bool = False) -> str:
    """What opening says."""
    store = SqliteStore(path, shared=shared)
    with pytest.raises(StoreError) as caught:
        await store.open()
    await store.aclose()
    return str(caught.value)


async def held(store: SqliteStore) -> list[str]:
    return ids_of(await store.read("orders", 0, max_events=1_000, max_bytes=MUCH))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_files_are_for_their_user_alone_under_any_umask(tmp_path: Path, umask: int) -> None:
    """The database, its write-ahead log and the reserve."""
    before = os.umask(umask)
    try:
        async with opened(tmp_path / "log.db") as store:
            await store.append("orders", [make_event()])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)

    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-reserve": 0o600}


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
async def test_clean_close_leaves_the_database_and_its_reserve(tmp_path: Path, shared: bool) -> None:
    """No log, no journal, no thread; a store can be opened again and has what it had."""
    event = make_event()
    threads = threading.active_count()
    store = SqliteStore(tmp_path / "log.db", shared=shared)
    for expected in ([], [event.uuid]):
        await store.open()
        assert await held(store) == expected
        await store.append("orders", [event])
        await store.aclose()
        await store.aclose()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.db", "log.db-reserve"]
    while threading.active_count() > threads:
        await asyncio.sleep(0.001)


async def test_constructor_touches_nothing(tmp_path: Path) -> None:
    """No file, no thread; and a store that was never opened can be closed."""
    threads = threading.active_count()
    store = SqliteStore(tmp_path / "missing" / "log.db")
    assert (list(tmp_path.iterdir()), threading.active_count()) == ([], threads)
    await store.aclose()
    with pytest.raises(ClosedError, match="is not open"):
        await store.topics()


async def test_one_file_is_open_once_whatever_it_is_called(tmp_path: Path) -> None:
    """Over a symbolic link, a hard link and another way of writing the path: one connection, the same events."""
    path, link, hard = tmp_path / "log.db", tmp_path / "link.db", tmp_path / "hard.db"
    link.symlink_to(path)
    async with opened(link) as first:  # which makes the file that the link leads to
        os.link(path, hard)
        async with opened(path) as second, opened(hard) as third, opened(tmp_path / "." / "log.db") as fourth:
            event = make_event()
            await first.append("orders", [event])
            assert [await held(store) for store in (second, third, fourth)] == [[event.uuid]] * 3
        assert await held(first) == [event.uuid]


async def test_stores_of_one_file_have_the_same_options(tmp_path: Path) -> None:
    """Shared and not, and two durabilities, do not go together in a process; the first goes on."""
    async with opened(tmp_path / "log.db") as store:
        assert "is open in this process with shared=False" in await refusal(tmp_path / "log.db", shared=True)
        assert "durability='process'" in await refusal(tmp_path / "log.db")
        await store.append("orders", [make_event()])


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
@pytest.mark.parametrize("how", ["deleted", "replaced", "a folder"])
async def test_file_that_is_gone_is_noticed_and_back_again_goes_on(tmp_path: Path, how: str, shared: bool) -> None:
    """Nothing is acknowledged that nobody would find at the path, and nothing of what was there is lost."""
    path, aside = tmp_path / "log.db", tmp_path / "aside.db"
    before, after = make_event(), make_event()
    async with opened(path, shared=shared) as store:
        await store.append("orders", [before])
        path.rename(aside)
        if how == "replaced":
            path.write_bytes(b"")
        elif how == "a folder":
            path.mkdir()

        for refused in (store.append("orders", [after]), store.topics()):
            with pytest.raises(StoreError, match=rf"^{re.escape(str(path))} was (deleted|replaced).*put the file back"):
                await refused

        if how == "a folder":
            path.rmdir()
        aside.rename(path)
        await store.append("orders", [after])
        assert await held(store) == [before.uuid, after.uuid]
    async with opened(path, shared=shared) as store:
        assert await held(store) == [before.uuid, after.uuid]


async def test_open_twice_is_an_error(tmp_path: Path) -> None:
    """Two logs on one store object would close it under each other."""
    async with opened(tmp_path / "log.db") as store:
        with pytest.raises(RuntimeError, match="is open already"):
            await store.open()


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_text(path: Path) -> None:
    path.write_text("no database, but longer than a header of SQLite would be " * 20)


def make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()


def make_foreign_with_wal(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE theirs (x)")
    db.close()


def make_marked(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id=7")
    db.close()


def make_future(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute("PRAGMA user_version=99")
        db.execute("CREATE TABLE topics (x)")
    db.close()


def make_truncated(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute("PRAGMA user_version=1")
        db.execute("CREATE TABLE topics (x)")
        db.execute("INSERT INTO topics VALUES (zeroblob(100000))")
    db.close()
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_folder, "is a folder; name a file in it"),
        (make_pipe, "is no regular file; name one"),
        (make_text, "is no SQLite database; name another file"),
        (make_foreign, "is a database of another program, and no log of eventpipe; name another file"),
        (make_foreign_with_wal, "is a database of another program"),
        (make_marked, "is a database of another program"),
        (make_future, "of version 99, and this release knows versions up to 2; use the release that wrote it"),
        (make_truncated, "is damaged (database disk image is malformed); restore a copy"),
    ],
)
async def test_file_that_is_not_ours_is_named_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], why: str, shared: bool
) -> None:
    """The error says what it is and what to do; the file is the same to the byte, and nothing is beside it."""
    path = tmp_path / "log.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""

    assert why in await refusal(path, shared=shared)

    assert [other.name for other in tmp_path.iterdir()] == ["log.db"]
    assert (path.read_bytes() if path.is_file() else b"") == before


async def test_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    """The message says how to make it."""
    assert f"mkdir -m 700 {tmp_path / 'var'}" in await refusal(tmp_path / "var" / "log.db")
    assert list(tmp_path.iterdir()) == []


async def test_empty_file_becomes_a_log_unless_there_was_one(tmp_path: Path) -> None:
    """One that was made beforehand is taken; one that lost its content, as its reserve tells, is not."""
    path = tmp_path / "log.db"
    path.touch()
    async with opened(path):
        pass
    os.truncate(path, 0)

    assert "is empty, although" in await refusal(path)
    assert path.stat().st_size == 0


async def test_file_that_another_program_has_locked_is_left_to_it(tmp_path: Path) -> None:
    """The message says that it is locked, and what to do."""
    path = tmp_path / "log.db"
    async with opened(path):
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert "is locked by another connection of this process; stop it, or open the file with" in await refusal(path)
    finally:
        other.close()


HOLDER = """
import asyncio, sys
from eventpipe.stores import SqliteStore
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    print("open", flush=True)
    sys.stdin.read()
    await store.aclose()
asyncio.run(main())
"""


@pytest.mark.wallclock
@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
async def test_second_process_is_told_who_has_the_file(tmp_path: Path, shared: bool) -> None:
    """By its process id, and what to do; the first goes on."""
    path = tmp_path / "log.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        told = await refusal(path, shared=shared)
        holder.communicate()

    assert f"is locked by process {holder.pid}; stop it, or open the file with shared=True" in told
    assert holder.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who has no right")
@pytest.mark.wallclock
@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555), (0o000, 0o777)])
async def test_file_that_cannot_be_written_is_named(tmp_path: Path, file_mode: int, folder_mode: int) -> None:
    """A file or folder that is read-only, for somebody who is not root."""
    folder = tmp_path / "var"
    folder.mkdir()
    path = folder / "log.db"
    async with opened(path):
        pass
    before = path.read_bytes()
    path.chmod(file_mode)
    folder.chmod(folder_mode)
    for parent in list(folder.parents)[: len(folder.parents) - 2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    script = (
        "import asyncio, os, sys; from eventpipe.stores import SqliteStore; os.setuid(65534)\n"
        "asyncio.run(SqliteStore(sys.argv[1]).open())"
    )
    ran = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert "StoreError" in ran.stderr
    assert "give this process the right to" in ran.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"durability": "memory"}, "durability must be one of 'process', 'power', not 'memory'"),
        ({"dedupe_window": -1}, "dedupe_window must be a finite number of seconds, at least 0, not -1"),
        ({"dedupe_window": float("nan")}, "dedupe_window must be"),
        ({"poll": 10**400}, "poll must be"),
        ({"poll": 0}, "poll must be a finite number of seconds, above 0, not 0"),
    ],
)
async def test_wrong_option_is_refused_by_the_constructor(options: dict[str, object], why: str) -> None:
    """The message names the option, the value and the rule."""
    with pytest.raises(ValueError, match=why):
        SqliteStore("log.db", **options)  # type: ignore[arg-type]


async def test_importing_the_package_and_the_memory_store_loads_no_sqlite() -> None:
    """Who keeps nothing on disk pays nothing for it."""
    script = "import sys; from eventpipe.stores import MemoryStore; assert 'sqlite3' not in sys.modules"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # which has it
    subprocess.run([sys.executable, "-c", script], check=True, env=environ)
