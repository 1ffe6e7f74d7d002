"""The status file beside each file of events: what it says, when it is replaced, and what it never costs."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from pathlib import Path
from typing import Any

import orjson
import pytest

from eventpipe.clock import Clock
from eventpipe.spool import folder
from eventpipe.spool.bounds import SpoolBounds
from eventpipe.spool.folder import Owned
from eventpipe.spool.status import Glance, Numbers, StatusFiles
from tests.spool.test_spool import Running, kept, running, take, until

__all__ = ["running"]

Json = dict[str, Any]  # Any: JSON


def told(place: Path) -> list[Json]:
    """All status files of a folder."""
    return [orjson.loads(path.read_bytes()) for path in sorted(place.glob("*.json"))]


@pytest.mark.asyncio
async def test_a_status_file_says_who_owns_a_file_and_what_it_holds(running: Running, tmp_path: Path) -> None:
    """Within a second of what happened, and from the start on."""
    async with running("sink", "other") as (spool, _, _):
        [status] = told(tmp_path / "spool")
        assert status["numbers"]["sinks"]["sink"] == {"waiting": 0, "in_memory": 0, "recovered": 0}
        await kept(spool, 1, 2, 3)
        await asyncio.sleep(1.5)
        await until(lambda: told(tmp_path / "spool")[0]["numbers"]["last"] == 3)
        [status] = told(tmp_path / "spool")
    assert (status["format"], status["pid"], status["host"]) == (1, os.getpid(), socket.gethostname())
    assert (status["max_bytes"], status["max_age"], status["overflow"]) == (2**30, None, "drop_newest")
    numbers, glance = status["numbers"], status["glance"]
    assert numbers["sinks"] == {
        "sink": {"waiting": 0, "in_memory": 3, "recovered": 0},
        "other": {"waiting": 0, "in_memory": 0, "recovered": 0},
    }
    assert (numbers["is_own"], numbers["foreign"], numbers["fault"]) == (True, 0, None)
    assert numbers["bytes"] > 0
    assert status["started_at"] <= glance["oldest"] <= status["updated_at"]
    assert glance["damaged"] == 0


@pytest.mark.asyncio
async def test_what_was_taken_over_is_told_as_recovered(running: Running, tmp_path: Path) -> None:
    """With what of it waits, and what is in memory."""
    async with running() as (spool, _, _):
        await kept(spool, *range(5))
    async with running() as (spool, _, _):
        assert len(await take(spool, events=2)) == 2
        await asyncio.sleep(1.5)
        await until(lambda: told(tmp_path / "spool")[0]["numbers"]["sinks"]["sink"]["in_memory"] == 2)
        [status] = told(tmp_path / "spool")
    assert status["numbers"]["sinks"] == {"sink": {"waiting": 3, "in_memory": 2, "recovered": 5}}


@pytest.mark.asyncio
async def test_a_status_file_is_replaced_once_a_second_at_most_and_only_when_numbers_changed(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many events come, and not at all while none does."""
    written: list[float] = []
    loop = asyncio.get_running_loop()
    tell = Owned.tell

    def counted(owned: Owned, status: bytes) -> None:
        written.append(loop.time())
        tell(owned, status)

    monkeypatch.setattr(Owned, "tell", counted)
    async with running() as (spool, _, _):
        for number in range(50):
            await kept(spool, number)
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        busy = len(written)
        await asyncio.sleep(60)
        assert len(written) == busy
    assert 5 <= busy <= 8
    assert all(after - before >= 0.99 for before, after in itertools.pairwise(written))


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_read_is_told_of_with_the_reason(running: Running, tmp_path: Path) -> None:
    """So that whoever looks need not find it in a log."""
    place = folder.check(tmp_path / "spool")
    (place / "20260131T090500-00000000.db").write_bytes(b"no database" * 500)
    async with running():
        status = told(place)[0]
    assert "is no SQLite database" in status["numbers"]["fault"]


def test_a_status_file_is_private_under_any_umask(tmp_path: Path) -> None:
    """And nothing is left beside it."""
    owned = folder.own_new(folder.check(tmp_path / "spool"))
    before = os.umask(0)
    try:
        owned.tell(b"{}")
    finally:
        os.umask(before)
    assert owned.status_path.stat().st_mode & 0o777 == 0o600
    owned.remove()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_status_file_that_cannot_be_written_costs_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is tried; it is written once that is possible again."""
    owned = folder.own_new(folder.check(tmp_path / "spool"))
    owned.status_path.mkdir()
    files = StatusFiles(SpoolBounds(1), Clock())
    with caplog.at_level(logging.WARNING, "eventpipe"):
        for last in range(3):
            assert files.is_news(owned, Numbers(last=last))
            files.write([(owned, Numbers(last=last), Glance())])
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        f"{owned.status_path} cannot be written"
    ]
    assert sorted(path.suffix for path in owned.path.parent.iterdir()) == [".json", ".lock"]

    owned.status_path.rmdir()
    files.write([(owned, Numbers(last=7), Glance())])

    assert orjson.loads(owned.status_path.read_bytes())["numbers"]["last"] == 7
    assert not files.is_news(owned, Numbers(last=7))
    owned.remove()


def test_a_status_file_does_not_outlive_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file is removed while a thread is writing it."""
    owned = folder.own_new(folder.check(tmp_path / "spool"))
    replace = Path.replace

    def remove_and_replace(path: Path, target: Path) -> Path:
        owned.remove()
        path.write_bytes(b"{}")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", remove_and_replace)
    owned.tell(b"{}")
    owned.tell(b"{}")
    assert list((tmp_path / "spool").iterdir()) == []
