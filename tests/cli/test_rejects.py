from __future__ import annotations

import errno
import stat
from pathlib import Path

import orjson
import pytest

from eventpipe.cli.failures import CommandError
from eventpipe.cli.origins import Origin, Origins
from eventpipe.cli.rejects import Rejects


def test_rejects_are_written_with_their_reason(tmp_path: Path) -> None:
    """One object per line, with the line as it was; an older file is replaced, and nobody else may read it."""
    path = tmp_path / "rejects.ndjson"
    path.write_text("old\n" * 100)
    path.chmod(0o600)
    rejects = Rejects(path)
    rejects.open()

    rejects.add("a.csv", 3, b"x,\xff", "malformed", "not UTF-8")
    rejects.add("b.ndjson", 7, b"{}", "rejected", None)
    rejects.close()
    rejects.close()

    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == [
        {"file": "a.csv", "line": 3, "reason": "malformed", "detail": "not UTF-8", "text": "x,\ufffd"},
        {"file": "b.ndjson", "line": 7, "reason": "rejected", "detail": None, "text": "{}"},
    ]
    assert rejects.count == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_path_rejects_are_counted() -> None:
    """Nobody has to keep a file."""
    rejects = Rejects(None)
    rejects.open()
    rejects.add("a", 1, b"", "rejected", None)
    rejects.close()

    assert rejects.count == 1


def test_file_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """The error says which file, and why."""
    with pytest.raises(CommandError) as raised:
        Rejects(tmp_path / "no" / "such").open()

    assert str(raised.value) == f"cannot write {tmp_path / 'no' / 'such'}: no such file or directory"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told() -> None:
    """Rejects that could not be written are an error, not a shorter file."""
    rejects = Rejects(Path("/dev/full"))
    rejects.open()
    rejects.add("a", 1, b"x", "rejected", None)

    with pytest.raises(CommandError, match=r"^cannot write /dev/full: ") as raised:
        rejects.close()

    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC


def test_origins_are_kept_while_pending() -> None:
    """A line is found once by its event's id, also where two lines have the same."""
    origins = Origins()
    first, second = Origin("a", 1, b"1"), Origin("a", 2, b"2")
    origins.add("x", first)
    origins.add("x", second)

    assert len(origins) == 2
    assert [origins.take("x"), origins.take("x"), origins.take("x"), origins.take("y")] == [first, second, None, None]
    assert len(origins) == 0
