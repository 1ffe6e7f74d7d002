"""Files in a row: when one is complete, what it is called, and that none is ever written over."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventpipe.sinks import appending, rotation
from eventpipe.sinks.appending import create
from eventpipe.sinks.rotation import FileRules, RotatingFiles
from eventpipe.sinks.template import PathTemplate

STAMP = 1_767_323_045.0  # 2026-01-02T03:04:05Z


def files(folder: Path, name: str = "{seq}.log", **rules: Any) -> RotatingFiles:
    options = {"header": b"", "rotate_bytes": None, "rotate_age": None, "fsync": False, "mode": 0o600} | rules
    return RotatingFiles(PathTemplate(folder / name), FileRules(**options))


def found(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_file_has_a_temporary_name_until_it_is_complete(tmp_path: Path) -> None:
    """A reader that looks for the final name never sees half a file."""
    rotating = files(tmp_path)

    rotating.write(b"1\n", 0.0, STAMP)
    assert found(tmp_path) == {"1.log.part": b"1\n"}
    rotating.write(b"2\n", 0.0, STAMP)
    assert found(tmp_path) == {"1.log.part": b"1\n2\n"}
    rotating.complete()
    assert found(tmp_path) == {"1.log": b"1\n2\n"}
    rotating.complete()
    rotating.write(b"3\n", 0.0, STAMP)
    assert found(tmp_path) == {"1.log": b"1\n2\n", "2.log.part": b"3\n"}


@pytest.mark.parametrize(
    ("rotate_bytes", "sizes", "expected"),
    [
        pytest.param(10, [4, 4], {"1.log.part": 8}, id="below"),
        pytest.param(10, [4, 6], {"1.log": 10}, id="exactly full"),
        pytest.param(10, [4, 7], {"1.log": 4, "2.log.part": 7}, id="one byte more"),
        pytest.param(10, [4, 10], {"1.log": 4, "2.log": 10}, id="the next one fills a file"),
        pytest.param(10, [11], {"1.log": 11}, id="one batch larger than a file"),
        pytest.param(10, [2, 30, 2], {"1.log": 2, "2.log": 30, "3.log.part": 2}, id="a large one between"),
        pytest.param(1, [2, 2], {"1.log": 2, "2.log": 2}, id="a file per batch"),
    ],
)
def test_rotates_by_size(tmp_path: Path, rotate_bytes: int, sizes: list[int], expected: dict[str, int]) -> None:
    """No file outgrows the limit, except for a single batch that does by itself; a full one is complete at once."""
    rotating = files(tmp_path, rotate_bytes=rotate_bytes)

    for size in sizes:
        rotating.write(b"x" * (size - 1) + b"\n", 0.0, STAMP)

    assert {name: len(data) for name, data in found(tmp_path).items()} == expected


def test_the_header_counts_and_comes_once_per_file(tmp_path: Path) -> None:
    """Each file begins with the header, whose bytes count like others."""
    rotating = files(tmp_path, header=b"h\n", rotate_bytes=6)

    for line in (b"1\n", b"2\n", b"3\n"):
        rotating.write(line, 0.0, STAMP)

    assert found(tmp_path) == {"1.log": b"h\n1\n2\n", "2.log.part": b"h\n3\n"}


def test_rotates_by_age(tmp_path: Path) -> None:
    """A batch that comes when the file is old enough begins the next one, whose age counts from there."""
    rotating = files(tmp_path, rotate_age=60)
    before = rotating.due_at

    rotating.write(b"1\n", 100.0, STAMP)
    first = rotating.due_at
    rotating.write(b"2\n", 159.9, STAMP)
    rotating.write(b"3\n", 160.0, STAMP)

    assert (before, first, rotating.due_at) == (None, 160.0, 220.0)
    assert found(tmp_path) == {"1.log": b"1\n2\n", "2.log.part": b"3\n"}


def test_names_that_are_taken_are_passed_over(tmp_path: Path) -> None:
    """Files of an earlier run, complete or left by a crash, stay as they are."""
    (tmp_path / "1.log").write_bytes(b"complete\n")
    (tmp_path / "2.log.part").write_bytes(b"left by a crash")
    rotating = files(tmp_path)

    rotating.write(b"new\n", 0.0, STAMP)
    rotating.complete()

    assert found(tmp_path) == {"1.log": b"complete\n", "2.log.part": b"left by a crash", "3.log": b"new\n"}


def test_a_link_to_nowhere_takes_a_name_too(tmp_path: Path) -> None:
    """Renaming a file to that name would put the file in the place of the link."""
    (tmp_path / "1.log").symlink_to("nowhere")
    rotating = files(tmp_path)
    rotating.write(b"ours\n", 0.0, STAMP)
    (tmp_path / "2.log").symlink_to("nowhere")
    rotating.complete()

    assert [(tmp_path / name).is_symlink() for name in ("1.log", "2.log")] == [True, True]
    assert (tmp_path / "3.log").read_bytes() == b"ours\n"


def test_a_name_that_is_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """A file that appears under the final name is not written over: ours gets the next name."""
    rotating = files(tmp_path)
    rotating.write(b"ours\n", 0.0, STAMP)
    (tmp_path / "1.log").write_bytes(b"theirs\n")

    rotating.complete()

    assert found(tmp_path) == {"1.log": b"theirs\n", "2.log": b"ours\n"}


def test_a_name_that_is_completed_between_two_looks_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that takes a ``.part`` name just as its owner gives the file its final name does not own that name."""

    def create_late(path: Path, *, mode: int) -> bool:
        if path.name == "1.log.part":
            (tmp_path / "1.log").write_bytes(b"theirs\n")  # the owner of 1.log.part renamed it a moment ago
        return create(path, mode=mode)

    monkeypatch.setattr(rotation, "create", create_late)
    rotating = files(tmp_path)
    rotating.write(b"ours\n", 0.0, STAMP)
    rotating.complete()

    assert found(tmp_path) == {"1.log": b"theirs\n", "2.log": b"ours\n"}


def test_a_new_name_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``fsync`` the folder is synced when a file is begun and when it gets its name, else never."""
    synced: list[str] = []
    monkeypatch.setattr(rotation, "fsync_folder", lambda path: synced.append(f"named {path.name}"))
    monkeypatch.setattr(appending, "fsync_folder", lambda path: synced.append(f"begun {path.name}"))

    for fsync in (True, False):
        rotating = files(tmp_path, fsync=fsync)
        rotating.write(b"1\n", 0.0, STAMP)
        rotating.complete()

    assert synced == ["begun 1.log.part", "named 1.log"]


def test_a_file_whose_first_batch_failed_serves_the_next(tmp_path: Path) -> None:
    """A file without a batch is never full, however large the next batch and however old the file."""
    rotating = files(tmp_path, rotate_bytes=2, rotate_age=60)
    with pytest.raises(TypeError):
        rotating.write("no bytes", 0.0, STAMP)  # type: ignore[arg-type]  # anything that fails after the file was begun

    rotating.write(b"large\n", 100.0, STAMP)

    assert found(tmp_path) == {"1.log": b"large\n"}


def test_a_file_that_is_taken_away_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A ``.part`` file that somebody removes costs what was in it and one line in the log; the next file is made."""
    rotating = files(tmp_path, rotate_bytes=5)
    rotating.write(b"1\n", 0.0, STAMP)
    (tmp_path / "1.log.part").unlink()

    with caplog.at_level(logging.WARNING, "eventpipe"):
        rotating.write(b"large\n", 0.0, STAMP)

    assert found(tmp_path) == {"2.log": b"large\n"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / '1.log.part'} was taken away before it was complete"
    ]


def test_a_file_without_a_batch_is_removed(tmp_path: Path) -> None:
    """A first batch that fails leaves no empty file behind at the end."""
    rotating = files(tmp_path)
    with pytest.raises(TypeError):
        rotating.write("no bytes", 0.0, STAMP)  # type: ignore[arg-type]  # anything that fails after the file was begun
    assert found(tmp_path) == {"1.log.part": b""}

    rotating.complete()
    assert found(tmp_path) == {}


def test_a_file_that_is_forgotten_stays(tmp_path: Path) -> None:
    """A file that belongs to another process is neither filled nor renamed."""
    rotating = files(tmp_path)
    rotating.write(b"parent\n", 0.0, STAMP)

    rotating.forget()
    rotating.write(b"child\n", 0.0, STAMP)
    rotating.complete()

    assert found(tmp_path) == {"1.log.part": b"parent\n", "2.log": b"child\n"}


def test_a_rename_that_fails_does_not_fail_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is in its file, so it must not be sent again; the file is renamed before the next one."""
    rotating = files(tmp_path, rotate_bytes=1)

    def fail(self: Path, target: Path) -> None:
        raise PermissionError(13, "no")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "eventpipe"):
        patched.setattr(Path, "rename", fail)
        rotating.write(b"1\n", 0.0, STAMP)
        with pytest.raises(PermissionError):
            rotating.write(b"2\n", 0.0, STAMP)
    rotating.write(b"2\n", 0.0, STAMP)

    assert found(tmp_path) == {"1.log": b"1\n", "2.log": b"2\n"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "1.log.part could not be renamed yet" in caplog.text


WRITER = """
import sys
from eventpipe.sinks import appending, rotation
from eventpipe.sinks.appending import create
from eventpipe.sinks.rotation import FileRules, RotatingFiles
from eventpipe.sinks.template import PathTemplate

rules = FileRules(header=b"", rotate_bytes=1, rotate_age=None, fsync=False, mode=0o600)
rotating = RotatingFiles(PathTemplate(sys.argv[1]), rules)
for number in range(200):
    rotating.write(f"{sys.argv[2]} {number}\\n".encode(), 0.0, 0.0)
"""


def test_processes_share_a_template_without_writing_over(tmp_path: Path) -> None:
    """Two processes that make files of the same names at the same time keep every line of both, a file each."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "{time}-{seq}.log")]

    processes = [subprocess.Popen([*command, str(writer)]) for writer in range(2)]
    exits = [process.wait(30) for process in processes]

    expected = sorted(f"{writer} {number}\n".encode() for writer in range(2) for number in range(200))
    assert exits == [0, 0]
    assert sorted(found(tmp_path).values()) == expected
    assert not list(tmp_path.glob("*.part"))
