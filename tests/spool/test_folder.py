"""The folder of a spool: who may use it, and whose file is whose."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventpipe.errors import SpoolError
from eventpipe.spool import folder

OWNER = """
import sys, time
from pathlib import Path
from eventpipe.spool import folder

owned = folder.own_new(Path(sys.argv[1]))
owned.path.touch()
print(owned.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return folder.check(tmp_path / "spool")


@pytest.fixture
def owner(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns a file."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def name_of(owner: subprocess.Popen[str]) -> str:
    assert owner.stdout is not None
    return owner.stdout.readline().strip()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# -- the folder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_folder_and_files_are_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    """0700 and 0600, and parents are made."""
    before = os.umask(umask)
    try:
        place = folder.check(tmp_path / "spool")
        owned = folder.own_new(place)
    finally:
        os.umask(before)
    assert mode_of(place) == 0o700
    assert mode_of(place / f"{owned.name}.lock") == 0o600
    owned.remove()
    assert list(place.iterdir()) == []


def test_missing_parents_are_made(tmp_path: Path) -> None:
    """As many as are missing."""
    assert folder.check(tmp_path / "var" / "events").is_dir()


def test_folder_that_was_made_outlives_a_loss_of_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder that has a new one in it is synced; where none was made nothing is."""
    synced: list[Path] = []
    monkeypatch.setattr(folder, "sync", synced.append)
    folder.check(tmp_path / "var" / "events")
    assert sorted(synced) == [tmp_path, tmp_path / "var"]
    folder.check(tmp_path / "var" / "events")
    assert len(synced) == 2


def test_link_is_not_followed(tmp_path: Path) -> None:
    """Neither for the folder nor for a file in it."""
    real = folder.check(tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(SpoolError, match=r"symbolic link, which is not followed; name the folder itself"):
        folder.check(tmp_path / "link")

    (tmp_path / "victim").write_text("precious")
    (real / "20260101T000000-00000000.lock").symlink_to(tmp_path / "victim")
    assert folder.orphans(real) == []
    assert (tmp_path / "victim").read_text() == "precious"


def test_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """And left as it is."""
    (tmp_path / "spool").write_text("mine")
    with pytest.raises(SpoolError, match=r"is no folder; name a folder, or one to be made"):
        folder.check(tmp_path / "spool")
    assert (tmp_path / "spool").read_text() == "mine"


def test_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """With the command that makes it private."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o755)
    with pytest.raises(SpoolError, match=r"mode 755\); make it private: chmod 700 "):
        folder.check(tmp_path / "spool")


def test_folder_of_somebody_else_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says whose it is, and as whom this process runs."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(SpoolError, match=r"belongs to user \d+, and this process runs as user 12345; give"):
        folder.check(place)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "give this process the right to read and write it"),
        (errno.EROFS, "name a folder on a disk that can be written"),
        (errno.EMFILE, "let this process open more files"),
        (errno.EIO, "look at its disk"),
    ],
)
def test_folder_that_cannot_be_written_is_refused_with_the_way_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """Whatever the system says of it."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(SpoolError, match=words):
        folder.check(place)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_not_refused(place: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What is on it can still be sent."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    assert folder.check(place) == place


def test_network_file_system_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the mount that the folder is on, which is the one with the longest path."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\nhost:/x {tmp_path}/my\\040nfs nfs4 rw 0 0\n")
    monkeypatch.setattr(folder, "_MOUNTS", mounts)
    folder.check(tmp_path / "local")
    assert caplog.messages == []
    folder.check(tmp_path / "my nfs" / "spool")
    assert len(caplog.messages) == 1
    assert "is on a network file system (nfs4): put it on a local disk" in caplog.messages[0]


# -- owners -----------------------------------------------------------------------------------------------------------


@pytest.mark.wallclock
def test_file_of_a_living_process_is_nobody_elses(place: Path, owner: subprocess.Popen[str]) -> None:
    """However often others look."""
    name = name_of(owner)
    assert folder.names(place) == [name]
    assert folder.orphans(place) == folder.orphans(place) == []
    assert folder.is_held(place, name)


@pytest.mark.wallclock
def test_file_of_a_killed_process_is_adopted_by_one(place: Path, owner: subprocess.Popen[str]) -> None:
    """The lock ends with its owner, however it ends."""
    name = name_of(owner)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert not folder.is_held(place, name)
    [adopted] = folder.orphans(place)
    assert adopted.name == name
    assert folder.orphans(place) == []
    assert folder.is_held(place, name)
    adopted.release()
    [again] = folder.orphans(place)
    again.remove()
    assert list(place.iterdir()) == []


@pytest.mark.wallclock
def test_forked_child_does_not_keep_its_parents_file(place: Path) -> None:
    """The lock is the parent's alone: it is free when the parent lets go, although the child lives."""
    owned = folder.own_new(place)
    owned.path.touch()
    reading, writing = os.pipe()
    lives, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.write(tells, b".")
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        os.read(lives, 1)
        owned.release()
        [adopted] = folder.orphans(place)
        adopted.release()
    finally:
        for descriptor in (writing, lives, tells):
            os.close(descriptor)
        assert os.waitpid(child, 0)[1] == 0


def test_lock_without_events_is_cleared_away(place: Path) -> None:
    """Its owner ended before it made the file, or while it removed it."""
    folder.own_new(place).release()
    assert folder.orphans(place) == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("call", ["unlink", "stat"])
def test_leftover_that_cannot_be_seen_to_costs_no_other(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    """It is told of, and left for the next look."""
    for name in ("20260101T000000-00000000", "20260102T000000-00000000"):
        (place / f"{name}.lock").touch()
    (place / "20260102T000000-00000000.db").touch()

    def fail(path: object, *_: object, **__: object) -> object:
        if "20260101" in str(path) and "lock" not in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, *_, **__)

    real = getattr(os, call)
    monkeypatch.setattr(os, call, fail)
    (owned,) = folder.orphans(place)
    assert owned.name == "20260102T000000-00000000"
    assert "20260101T000000-00000000 of the spool" in caplog.text
    monkeypatch.undo()
    owned.release()
    assert [each.name for each in folder._all_owned() if each.is_ours] == []


def test_events_without_a_lock_are_adopted(place: Path) -> None:
    """Somebody deleted it."""
    owned = folder.own_new(place)
    owned.path.touch()
    owned.release()
    (place / f"{owned.name}.lock").unlink()
    [adopted] = folder.orphans(place)
    assert adopted.path == owned.path
    adopted.release()


def test_lock_that_was_removed_meanwhile_is_not_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two would own one file: the one who has the lock that was, and the one who makes it anew."""
    owned = folder.own_new(place)
    owned.path.touch()
    owned.release()
    flock = fcntl.flock

    def removed_first(descriptor: int, operation: int) -> None:
        (place / f"{owned.name}.lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    assert folder.orphans(place) == []
