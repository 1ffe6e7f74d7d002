"""``eventpipe spool status``, ``list``, ``export``, ``verify`` and ``purge``."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import orjson
import pytest

from eventpipe.client import AsyncClient
from eventpipe.spool import folder
from eventpipe.spool.status import Glance, Numbers, Status
from eventpipe.testing import GatedSink
from tests.cli.logs import Shell
from tests.cli.spools import STAMP, change, make_spool, rows
from tests.cli.terminal import terminal

MINUTE = "2026-01-31T09:06:00Z"  # of the 60th event, which it is not before


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_status_tells_what_a_running_client_holds_and_whose_it_is(shell: Shell, spool: Path) -> None:
    """From its status file, without taking anything from it."""

    async def look() -> None:
        async with AsyncClient(GatedSink(), spool=spool, durability="process", close_timeout=0.1) as client:
            for number in range(3):
                await client.capture("paid", properties={"n": number})
            async with asyncio.timeout(10):
                while True:
                    said = shell.json("spool", "status", spool)
                    if said["files"][0]["in_memory"].get("GatedSink") == 3:
                        break
                    await asyncio.sleep(0.01)
            [file] = said["files"]
            assert said["ok"]
            assert (file["state"], file["pid"], file["host"]) == ("owned", os.getpid(), socket.gethostname())
            assert (file["waiting"], file["damaged"], file["fault"]) == ({"GatedSink": 0}, 0, None)
            assert file["oldest_at"] is not None
            ended = shell.run("spool", "status", spool)
            assert (ended.code, ended.stderr) == (0, "")
            assert f"owned  {os.getpid()} on {socket.gethostname()}" in ended.stdout
            assert "'GatedSink' has 0 waiting, 3 in memory" in ended.stdout

    asyncio.run(look())


def test_status_tells_what_a_process_that_is_gone_left(shell: Shell, spool: Path) -> None:
    """By a look into its file, whatever a status file says."""
    name = make_spool(spool, 4)
    (spool / f"{name}.json").write_bytes(b"{")

    [file] = shell.json("spool", "status", spool)["files"]

    assert (file["file"], file["state"], file["pid"]) == (name, "orphaned", None)
    assert (file["waiting"], file["oldest_at"]) == ({"web": 4, "audit": 0}, "2026-01-31T09:05:00.000000Z")
    assert not folder.is_held(spool, name)


def test_status_of_an_owner_says_nothing_that_an_earlier_one_said(shell: Shell, spool: Path) -> None:
    """A status file of another process is not believed."""
    name = make_spool(spool, 4)
    owned = folder.take(spool, name)
    assert owned is not None
    said = Status(1, 1, "elsewhere", STAMP, STAMP, 1, None, "drop_newest", Numbers(bytes=7), Glance(STAMP, 7))
    (spool / f"{name}.json").write_bytes(orjson.dumps(said))
    [file] = shell.json("spool", "status", spool)["files"]
    owned.release()
    assert (file["state"], file["pid"], file["waiting"], file["updated_at"]) == ("owned", os.getpid(), {}, None)


def test_status_says_of_a_file_that_cannot_be_read_why(shell: Shell, spool: Path) -> None:
    """With an exit code of 1, and the others beside it."""
    make_spool(spool, 4)
    bad = make_spool(spool, 4)
    change(spool / f"{bad}.db", "PRAGMA user_version=9")

    ended = shell.run("spool", "status", spool, "--json")

    assert ended.code == 1
    states = {file["file"]: file for file in orjson.loads(ended.stdout)["files"]}
    assert sorted(file["state"] for file in states.values()) == ["orphaned", "unreadable"]
    assert "of version 9, and this release knows versions up to 1" in states[bad]["fault"]


def test_all_files_that_are_in_use_are_counted(shell: Shell, spool: Path) -> None:
    """Before any other is touched."""
    make_spool(spool, 1)
    owned = [folder.take(spool, make_spool(spool, 1)) for _ in range(3)]

    ended = shell.run("spool", "verify", spool)

    for one in owned:
        assert one is not None
        one.release()
    assert ended.code == 1
    assert ", and 2 others; stop it first, nothing was changed" in ended.stderr


COMMANDS = ["list", "verify", "export", "repair", "purge --all --yes", "drain --to http://127.0.0.1:1"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_spool_in_use_is_left_alone_and_its_owner_named(shell: Shell, spool: Path, command: str) -> None:
    """By process and host, and nothing is changed."""
    make_spool(spool, 2)
    name = make_spool(spool, 2)
    owned = folder.take(spool, name)
    assert owned is not None
    verb, *words = command.split()

    ended = shell.run("spool", verb, spool, *words)

    owned.release()
    assert (ended.code, ended.stdout) == (1, "")
    assert f"is in use: process {os.getpid()} on {socket.gethostname()} has {name}; stop it first" in ended.stderr
    assert [len(rows(path)) for path in spool.glob("*.db")] == [2, 2]


@pytest.mark.parametrize("command", ["status", *COMMANDS])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no such file or directory"),
        ("file", "is no folder"),
        ("link", "is a symbolic link, which is not followed"),
        ("other", "has no file of a spool in it"),
    ],
)
def test_what_is_no_spool_is_refused_and_not_made(
    shell: Shell, tmp_path: Path, command: str, kind: str, said: str
) -> None:
    """With a line that says what to name instead; nothing is left there."""
    path = tmp_path / "given"
    if kind == "file":
        path.touch()
    elif kind == "link":
        make_spool(tmp_path / "spool", 1)
        path.symlink_to(tmp_path / "spool")
    elif kind == "other":
        path.mkdir()
        (path / "log.db").write_bytes(b"a log of somebody")
    before = sorted(tmp_path.rglob("*"))
    verb, *words = command.split()

    ended = shell.run("spool", verb, path, *words)

    assert (ended.code, ended.stdout) == (1, "")
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "stdin"] == [
        path for path in before if path.name != "stdin"
    ]


@pytest.mark.parametrize("command", COMMANDS[:-1])
def test_a_file_that_is_not_ours_or_of_the_future_is_told_of_and_left_as_it_is(
    shell: Shell, spool: Path, command: str
) -> None:
    """Byte for byte, and the exit code is 1."""
    future, foreign = make_spool(spool, 1), make_spool(spool, 1)
    change(spool / f"{future}.db", "PRAGMA user_version=9")
    change(spool / f"{foreign}.db", "PRAGMA application_id=7")
    before = {name: (spool / f"{name}.db").read_bytes() for name in (future, foreign)}
    verb, *words = command.split()

    ended = shell.run("spool", verb, spool, *words)

    assert ended.code == 1
    assert {name: (spool / f"{name}.db").read_bytes() for name in (future, foreign)} == before
    assert not list(spool.glob("*.damaged"))


@pytest.mark.parametrize("command", ["list", "export", "purge --yes", "drain --to http://127.0.0.1:1"])
def test_a_sink_that_no_file_knows_is_refused_with_the_nearest(shell: Shell, spool: Path, command: str) -> None:
    """And nothing is changed: a typing error would say that there is nothing."""
    name = make_spool(spool, 2)
    verb, *words = command.split()

    ended = shell.run("spool", verb, spool, "--sink", "wed", *words)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("eventpipe: --sink: there is no sink 'wed'")
    assert "web" in ended.stderr
    assert len(rows(spool / f"{name}.db")) == 2


# -- list and export --------------------------------------------------------------------------------------------------


def test_list_shows_the_oldest_events_with_their_sinks(shell: Shell, spool: Path) -> None:
    """As many as are asked for."""
    name = make_spool(spool, 4, sinks=("web", "audit"))

    ended = shell.run("spool", "list", spool, "--limit", 2)

    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[1:] == [
        f'{name}       1  2026-01-31T09:05:00.000000Z  web, audit  paid u0 {{"n":0,"fill":""}}',
        f'{name}       2  2026-01-31T09:05:01.000000Z  web, audit  paid u1 {{"n":1,"fill":""}}',
    ]


def test_list_takes_out_sinks_and_names(shell: Shell, spool: Path) -> None:
    """Only what both ask for, from all files."""
    make_spool(spool, 2, sinks=("web",))
    make_spool(spool, 2, sinks=("audit",))
    make_spool(spool, 3, sinks=("audit",), name="left")

    found = shell.lines("spool", "list", spool, "--sink", "audit", "--name", "left", "--json")

    assert [(event["event"], event["properties"]["n"], event["sinks"]) for event in found] == [
        ("left", number, ["audit"]) for number in range(3)
    ]


def test_what_is_exported_stays_and_can_be_imported(shell: Shell, spool: Path, tmp_path: Path) -> None:
    """A line for each event, with its id."""
    name = make_spool(spool, 1200)

    exported = shell.run("spool", "export", spool)
    imported = shell.run("import", tmp_path / "log.db", "orders", stdin=exported.stdout.encode())

    assert (exported.code, imported.code) == (0, 0)
    assert exported.stderr == f"1,200 events of {spool} exported, and still there\n"
    assert [orjson.loads(line)["properties"]["n"] for line in exported.stdout.splitlines()] == list(range(1200))
    assert len(rows(spool / f"{name}.db")) == 1200
    assert shell.json("topics", tmp_path / "log.db")["topics"][0]["events"] == 1200


def test_an_export_to_a_file_is_private_and_writes_over_none(shell: Shell, spool: Path, tmp_path: Path) -> None:
    """Because what is there may be the only copy."""
    make_spool(spool, 3)
    target = tmp_path / "events.ndjson"

    first = shell.run("spool", "export", spool, "--output", target)
    again = shell.run("spool", "export", spool, "--output", target)

    assert (first.code, first.stdout, len(target.read_bytes().splitlines())) == (0, "", 3)
    assert target.stat().st_mode & 0o777 == 0o600
    assert (again.code, "exists already; name a new file" in again.stderr) == (1, True)
    assert len(target.read_bytes().splitlines()) == 3


def test_an_export_leaves_out_what_is_damaged_and_says_so(shell: Shell, spool: Path) -> None:
    """With an exit code of 1."""
    name = make_spool(spool, 3)
    change(spool / f"{name}.db", "UPDATE events SET captured_at = captured_at + 1 WHERE id = 2")

    ended = shell.run("spool", "export", spool)

    assert ended.code == 1
    assert [orjson.loads(line)["properties"]["n"] for line in ended.stdout.splitlines()] == [0, 2]
    assert f"event 2 of {name} is left out: the event does not pass its checksum" in ended.stderr


# -- verify -----------------------------------------------------------------------------------------------------------


def test_verify_passes_what_is_whole(shell: Shell, spool: Path) -> None:
    """And says how much it was."""
    make_spool(spool, 700)
    make_spool(spool, 2)
    ended = shell.run("spool", "verify", spool)
    assert (ended.code, ended.stdout.splitlines()[-1]) == (0, f"702 events in 2 files of {spool}: all intact")


def test_verify_lists_events_and_files_that_are_damaged(shell: Shell, spool: Path) -> None:
    """By their numbers; each is found, and nothing is changed."""
    name = make_spool(spool, 3)
    change(spool / f"{name}.db", "UPDATE events SET owed = owed + 1 WHERE id = 2")
    torn = make_spool(spool, 3000, fill="x" * 200)
    zero_page(spool / f"{torn}.db", 60)

    ended = shell.run("spool", "verify", spool, "--json")

    said = orjson.loads(ended.stdout)
    assert (ended.code, said["ok"], said["files"]) == (1, False, 2)
    found = {(damage["file"], damage["number"]): damage["fault"] for damage in said["damaged"]}
    assert found.keys() == {(name, 2), (torn, None)}
    assert "eventpipe spool repair takes out what can be read" in found[torn, None]
    assert rows(spool / f"{name}.db")[1][0] == 2


def test_events_that_a_damaged_page_does_not_show_are_counted_until_all_is_purged(shell: Shell, spool: Path) -> None:
    """By ``verify`` and by ``status``; their numbers nobody knows."""
    name = make_spool(spool, 3)
    change(spool / f"{name}.db", "DELETE FROM events WHERE id = 2")  # as none of ours does: nothing is counted out

    ended = shell.run("spool", "verify", spool, "--json")
    fault = "1 event more, which cannot be found"
    assert (ended.code, orjson.loads(ended.stdout)["damaged"]) == (1, [{"file": name, "number": None, "fault": fault}])
    (file,) = shell.json("spool", "status", spool)["files"]
    assert (file["waiting"], file["damaged"]) == ({"web": 2, "audit": 0}, 1)

    assert shell.json("spool", "purge", spool, "--sink", "web", "--yes")["deleted"] == 2
    assert (spool / f"{name}.db").exists()
    assert shell.json("spool", "purge", spool, "--all", "--yes") == {
        "ok": True,
        "deleted": 0,
        "damaged": 1,
        "faults": [],
    }
    assert not (spool / f"{name}.db").exists()


def zero_page(path: Path, page: int) -> None:
    """Have a page of a file be lost."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))


# -- purge ------------------------------------------------------------------------------------------------------------


def test_purge_deletes_what_is_older_and_nothing_else(shell: Shell, spool: Path) -> None:
    """To the second."""
    name = make_spool(spool, 100)
    said = shell.json("spool", "purge", spool, "--before", MINUTE, "--yes")
    assert said == {"ok": True, "deleted": 60, "damaged": 0, "faults": []}
    assert [number for number, _ in rows(spool / f"{name}.db")] == list(range(61, 101))


def test_purge_for_a_sink_keeps_what_others_are_owed(shell: Shell, spool: Path) -> None:
    """And deletes the file in which nothing is left."""
    both, alone = make_spool(spool, 3, sinks=("web", "audit")), make_spool(spool, 2, sinks=("web",))
    said = shell.json("spool", "purge", spool, "--sink", "web", "--yes")
    assert (said["ok"], said["deleted"]) == (True, 5)
    assert rows(spool / f"{both}.db") == [(number, 2) for number in (1, 2, 3)]
    assert not list(spool.glob(f"{alone}*"))


def test_purge_of_everything_leaves_an_empty_folder(shell: Shell, spool: Path) -> None:
    """What is damaged goes as well."""
    make_spool(spool, 3)
    name = make_spool(spool, 3)
    change(spool / f"{name}.db", "INSERT INTO quarantine VALUES (9, 0.0, x'', x'')")
    assert shell.json("spool", "purge", spool, "--all", "--yes") == {
        "ok": True,
        "deleted": 6,
        "damaged": 1,
        "faults": [],
    }
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "say what is to go: --sink, --before, or --all"),
        ("--all --sink web", "--all is everything: it goes with neither --sink nor --before"),
        ("--before soon --yes", "--before: 'soon' is neither now, a time"),
        ("--all", "2 events of {spool} would be deleted; say --yes to do so"),
    ],
)
def test_a_purge_that_nobody_means_deletes_nothing(shell: Shell, spool: Path, words: str, said: str) -> None:
    """A wrong command line, or one without anybody who can be asked."""
    name = make_spool(spool, 2)
    ended = shell.run("spool", "purge", spool, *words.split())
    assert (ended.code, said.format(spool=spool) in ended.stderr) == (2, True), ended.stderr
    assert len(rows(spool / f"{name}.db")) == 2


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 2, 2), ("", 2, 2)])
def test_a_purge_asks_somebody_at_a_terminal(spool: Path, answer: str, code: int, left: int) -> None:
    """How many there are is told first; whatever is not yes is no."""
    make_spool(spool, 2)

    async def ask() -> int:
        async with terminal("spool", "purge", str(spool), "--all") as screen:
            await screen.shows("would be deleted; go on? [y/N] ")
            screen.press(f"{answer}\n".encode())
            return await screen.end()

    assert asyncio.run(ask()) == code
    assert sum(len(rows(path)) for path in spool.glob("*.db")) == left
