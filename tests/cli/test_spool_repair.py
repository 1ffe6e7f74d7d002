"""``eventpipe spool repair``: what can be read of a damaged file is kept, and what cannot is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from tests.cli.logs import Shell
from tests.cli.spools import change, make_spool, rows
from tests.cli.test_spool_looking import zero_page

EVENTS = 3000


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def name(spool: Path) -> str:
    return make_spool(spool, EVENTS, fill="x" * 200)


def truncate(path: Path, share: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def leaves_of(path: Path) -> list[int]:
    """The pages that hold events."""
    with closing(sqlite3.connect(path)) as db:
        (size,) = db.execute("PRAGMA page_count").fetchone()
    data = path.read_bytes()
    return [page for page in range(2, size + 1) if data[(page - 1) * 4096] == 0x0D and data[(page - 1) * 4096 + 4] > 2]


@pytest.mark.parametrize("which", [3, 20, -1], ids=["an early page", "a page amidst", "the last page"])
def test_all_but_the_events_of_a_lost_page_are_kept(shell: Shell, spool: Path, name: str, which: int) -> None:
    """The numbers of the others are listed, and none besides."""
    path = spool / f"{name}.db"
    before = path.read_bytes()
    zero_page(path, leaves_of(path)[which])
    damaged = path.read_bytes()
    assert damaged != before

    ended = shell.run("spool", "repair", spool, "--json")

    said = orjson.loads(ended.stdout)
    [repaired] = said["repaired"]
    kept = [number for number, _ in rows(spool / f"{repaired['new']}.db")]
    [[first, last]] = repaired["lost"]
    lost = list(range(first, (last or EVENTS) + 1))
    assert (ended.code, said["ok"], repaired["file"]) == (1, False, name)
    assert sorted(kept + lost) == list(range(1, EVENTS + 1))
    assert 0 < len(lost) < 40
    assert repaired["kept"] == len(kept)
    assert (spool / f"{name}.damaged").read_bytes() == damaged
    assert shell.run("spool", "verify", spool).code == 0
    assert [event["properties"]["n"] for event in shell.lines("spool", "export", spool)] == [n - 1 for n in kept]


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(shell: Shell, spool: Path, name: str, share: float) -> None:
    """Each number is kept, set aside, or told to be lost, without a guess at how much that is."""
    truncate(spool / f"{name}.db", share)

    ended = shell.run("spool", "repair", spool, "--json")

    [repaired] = orjson.loads(ended.stdout)["repaired"]
    assert ended.code == 1
    *gaps, [first, unknown] = repaired["lost"]  # gaps: in the page in which it is cut
    told = {number for start, end in gaps for number in range(start, end + 1)} | {*repaired["altered"]}
    kept = {number for number, _ in rows(spool / f"{repaired['new']}.db")}
    assert (kept | told, kept & told, unknown) == (set(range(1, first)), set(), None)
    assert EVENTS * (share - 0.1) < repaired["kept"] < EVENTS * share


def test_events_that_were_altered_are_set_aside_with_their_numbers(shell: Shell, spool: Path, name: str) -> None:
    """Beside those that cannot be read at all, and those that are missing next to them, which may have been lost."""
    path = spool / f"{name}.db"
    change(path, "DELETE FROM events WHERE id IN (2, 4, 7)")
    change(path, "UPDATE events SET captured_at = captured_at + 1 WHERE id IN (5, 6)")
    zero_page(path, leaves_of(path)[20])

    ended = shell.run("spool", "repair", spool)

    assert ended.code == 1
    assert f"{name}: set aside, because they do not pass their checksums: 5, 6" in ended.stdout
    assert ended.stdout.splitlines()[1:3] == [
        f"{name}: cannot be read: {number}; some may have been delivered before" for number in (4, 7)
    ]
    assert "; some may have been delivered before" in ended.stdout
    [state] = shell.json("spool", "status", spool)["files"]
    assert state["damaged"] == 2


def test_what_is_whole_is_left_as_it_is(shell: Shell, spool: Path, name: str) -> None:
    """Byte for byte."""
    before = (spool / f"{name}.db").read_bytes()
    ended = shell.run("spool", "repair", spool)
    assert (ended.code, ended.stdout) == (0, f"1 file of {spool} intact: nothing to repair\n")
    assert (spool / f"{name}.db").read_bytes() == before


def test_a_file_of_which_nothing_can_be_read_is_left_as_it_is(shell: Shell, spool: Path, name: str) -> None:
    """Its first page is what says where all others are."""
    path = spool / f"{name}.db"
    zero_page(path, 1)
    before = path.read_bytes()
    ended = shell.run("spool", "repair", spool)
    assert (ended.code, ended.stdout.startswith("left as it is: ")) == (1, True)
    assert path.read_bytes() == before
    assert len(list(spool.glob("*.db"))) == 1


def test_what_is_only_in_the_log_of_a_damaged_file_is_kept(shell: Shell, spool: Path) -> None:
    """A process that was killed leaves its last commits there."""
    name = make_spool(spool, EVENTS, fill="x" * 200)
    path = spool / f"{name}.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute("DELETE FROM events WHERE id = 1")
        copies = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}
    for suffix, data in copies.items():
        Path(f"{path}{suffix}").write_bytes(data)
    truncate(path, 0.9)

    ended = shell.run("spool", "repair", spool, "--json")

    [repaired] = orjson.loads(ended.stdout)["repaired"]
    assert rows(spool / f"{repaired['new']}.db")[0][0] == 2
