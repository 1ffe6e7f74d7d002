from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from eventpipe.cli import log_file, snapshot
from eventpipe.cli.snapshot import can_be_written
from tests.cli.logs import Holder, Shell
from tests.cli.test_log_topics import steady

pytestmark = pytest.mark.wallclock

LOOKING = {
    "topics": ("topics", "--json"),
    "consumers": ("consumers", "--json"),
    "tail": ("tail", "orders"),
    "list": ("dead-letters", "orders"),
    "show": ("dead-letters", "orders", "show", "1"),
    "verify": ("verify", "--json"),
    "export": ("export", "orders"),
}


@pytest.fixture
def read_only(at_rest: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log that this process may only read, as far as it knows; root may write everything."""
    monkeypatch.setattr(log_file, "can_be_written", lambda _: False)
    os.utime(at_rest, (1, 1))
    return at_rest


@pytest.mark.parametrize("words", LOOKING.values(), ids=LOOKING.keys())
@pytest.mark.parametrize("left", ["shared", "for itself"])
def test_what_can_only_be_read_is_copied(
    words: tuple[str, ...], left: str, read_only: Path, holder: Holder, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that look say the same of it, and neither it nor its folder is touched."""
    if left == "for itself":
        holder.ask("keep", read_only)
        holder.ask("close")
        os.utime(read_only, (1, 1))
    files = sorted(path.name for path in read_only.parent.iterdir())
    said = shell.run(words[0], read_only, *words[1:])
    assert (read_only.stat().st_mtime, sorted(path.name for path in read_only.parent.iterdir())) == (
        1,
        sorted({*files, "stdin"}),
    )
    monkeypatch.undo()

    usual = shell.run(words[0], read_only, *words[1:])

    assert (said.code, said.stderr) == (usual.code, usual.stderr) == (0, usual.stderr)
    assert without_ages(said.stdout) == without_ages(usual.stdout)


def without_ages(text: str) -> object:
    return steady(orjson.loads(text)) if text.startswith("{") and text.count("\n") == 1 else text


def test_what_somebody_has_for_himself_is_not_copied(
    read_only: Path, holder: Holder, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has it is told, as for any other."""
    monkeypatch.setattr(snapshot, "PATIENCE", 0.05)
    holder.ask("keep", read_only)
    holder.ask("append", "theirs")
    try:
        ended = shell.run("topics", read_only)
    finally:
        holder.ask("close")

    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"eventpipe: {read_only} is locked by process {holder.pid}; stop it")


def test_what_is_no_database_is_not_copied(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a folder neither; each is one line."""
    monkeypatch.setattr(log_file, "can_be_written", lambda _: False)
    (tmp_path / "text").write_text("no database\n" * 100)

    text = shell.run("topics", tmp_path / "text")
    folder = shell.run("topics", tmp_path)

    assert text.stderr == (
        f"eventpipe: {tmp_path}/text is no SQLite database; name another file, or move this one away\n"
    )
    assert folder.stderr == f"eventpipe: cannot read {tmp_path}: is a directory\n"
    assert text.code == folder.code == 1


def test_whether_a_file_can_be_written_is_asked_of_its_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite keeps a journal beside a file."""
    file = tmp_path / "log.db"
    file.touch()
    assert can_be_written(file)
    for refused in (file, tmp_path):
        monkeypatch.setattr(os, "access", lambda path, _, refused=refused: Path(path) != refused)
        assert not can_be_written(file)
