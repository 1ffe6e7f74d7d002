"""Lines are added to a file whole or not at all, whoever else writes to it."""

from __future__ import annotations

import csv
import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventpipe.errors import PermanentSinkError
from eventpipe.sinks.appending import append, create


def add(path: Path, lines: bytes, *, header: bytes = b"", mode: int = 0o600, fsync: bool = False) -> int:
    return append(path, lines, header=header, mode=mode, fsync=fsync)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the system refuse to write beyond ``size`` bytes of any file, after it wrote up to there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_adds_to_the_end(tmp_path: Path) -> None:
    """The length of the file is returned, and the header is written once."""
    path = tmp_path / "f"

    assert add(path, b"1\n", header=b"h\n") == 4
    assert add(path, b"2\n3\n", header=b"h\n") == 8
    assert path.read_bytes() == b"h\n1\n2\n3\n"


def test_a_write_that_the_system_cuts_short_leaves_no_torn_line(tmp_path: Path) -> None:
    """What was written of a batch before the error is taken back; the next batch follows the last whole one."""
    path = tmp_path / "f"
    add(path, b"one\n")

    with file_size_limit(8), pytest.raises(OSError, match="large") as caught:
        add(path, b"two, which is too long\n")

    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"one\n"
    add(path, b"three\n")
    assert path.read_bytes() == b"one\nthree\n"


def test_a_failed_header_is_taken_back_too(tmp_path: Path) -> None:
    """A new file whose first write fails is empty, and its next write begins with the header."""
    path = tmp_path / "f"

    with file_size_limit(3), pytest.raises(OSError, match="large"):
        add(path, b"1\n", header=b"header\n")

    assert path.read_bytes() == b""
    add(path, b"1\n", header=b"header\n")
    assert path.read_bytes() == b"header\n1\n"


def test_a_failed_sync_takes_the_lines_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that may not have reached the disk are sent again, so they are not left in the file."""
    path = tmp_path / "f"
    add(path, b"one\n")

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken"):
        add(path, b"two\n", fsync=True)

    assert path.read_bytes() == b"one\n"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time gets them all."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))

    add(tmp_path / "f", b"a long line\n")

    assert (tmp_path / "f").read_bytes() == b"a long line\n"


def test_a_line_torn_by_a_crash_is_ended(tmp_path: Path) -> None:
    """New lines do not continue half a line that another run left."""
    path = tmp_path / "f"
    path.write_bytes(b'{"a":1}\n{"b":')

    assert add(path, b'{"c":3}\n') == 22
    assert path.read_bytes() == b'{"a":1}\n{"b":\n{"c":3}\n'


def test_a_row_torn_inside_quotes_does_not_swallow_the_next(tmp_path: Path) -> None:
    """The quote is closed as well, so that a reader finds all rows but the torn one."""
    path = tmp_path / "f"
    torn = ['4,"half', '4,"two ""words""', '4,"', "4,whole", '4,"whole"', "4,"]
    for row in torn:
        path.write_text("a,b\r\n1,2\r\n" + row, newline="")

        add(path, b'5,"say ""x"""\r\n', header=b"a,b\r\n")

        rows = list(csv.reader(path.read_text().splitlines(keepends=True)))
        assert (len(rows), rows[:2], rows[3]) == (4, [["a", "b"], ["1", "2"]], ["5", 'say "x"'])


def test_a_header_torn_by_a_crash_is_completed(tmp_path: Path) -> None:
    """A file that has a part of the header and nothing else is ours, and is gone on with."""
    path = tmp_path / "f"
    for length in range(1, 5):
        path.write_bytes(b"a,b\r\n"[:length])

        assert add(path, b"1,2\r\n", header=b"a,b\r\n") == 10
        assert path.read_bytes() == b"a,b\r\n1,2\r\n"


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    """Rows are not put under a header that names other columns."""
    path = tmp_path / "f"
    path.write_bytes(b"a,b\r\n1,2\r\n")

    with pytest.raises(PermanentSinkError, match="has other columns; name them in columns=") as caught:
        add(path, b"3\r\n", header=b"a\r\n")

    assert caught.value.scope == "sink"
    assert path.read_bytes() == b"a,b\r\n1,2\r\n"


def test_what_is_no_file_is_refused() -> None:
    """A device is not written to: nothing could be taken back from it."""
    with pytest.raises(PermanentSinkError, match=r"^/dev/null is not a regular file$") as caught:
        add(Path(os.devnull), b"1\n")

    assert caught.value.scope == "sink"


@pytest.mark.parametrize(("mode", "umask", "bits"), [(0o600, 0o022, 0o600), (0o666, 0o022, 0o644), (0o660, 0, 0o660)])
def test_new_files_have_the_mode_less_the_umask(tmp_path: Path, mode: int, umask: int, bits: int) -> None:
    """The permission bits are those asked for, and the umask of the process holds."""
    before = os.umask(umask)
    try:
        add(tmp_path / "f", b"1\n", mode=mode)
        create(tmp_path / "g", mode=mode)
    finally:
        os.umask(before)

    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "fg"] == [bits, bits]


def test_syncs_lines_and_the_name_of_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``fsync`` each batch is synced, and the folder once for a new file; without it nothing is."""
    synced: list[str] = []
    fsync = os.fsync

    def spy(fd: int) -> None:
        synced.append("folder" if os.fstat(fd).st_mode & 0o040000 else f"file of {os.fstat(fd).st_size}")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", spy)

    add(tmp_path / "f", b"1\n", fsync=True)
    add(tmp_path / "f", b"2\n", fsync=True)
    add(tmp_path / "g", b"1\n")

    assert synced == ["file of 2", "folder", "file of 4"]


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    """``create`` says whether it made the file."""
    assert create(tmp_path / "f", mode=0o600)
    assert not create(tmp_path / "f", mode=0o600)


def test_a_writer_waits_for_its_turn(tmp_path: Path) -> None:
    """While another writer has its turn nothing is added, so that going back to a length cuts nobody's lines."""
    path = tmp_path / "f"
    path.touch()
    writer = threading.Thread(target=add, args=(path, b"1\n"))

    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer.start()
        writer.join(0.01)
        waiting = (writer.is_alive(), path.read_bytes())
    writer.join(5)

    assert waiting == (True, b"")
    assert path.read_bytes() == b"1\n"


WRITER = """
import sys
import threading
from pathlib import Path
from eventpipe.sinks.appending import append

path, writer = Path(sys.argv[1]), sys.argv[2]
for number in range(100):
    append(path, f"{writer} {number}\\n".encode() * 20, header=b"", mode=0o600, fsync=False)
"""


def test_writers_in_other_processes_take_turns(tmp_path: Path) -> None:
    """Batches of several processes are in one file, each in one piece."""
    path = tmp_path / "f"

    processes = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(writer)]) for writer in range(2)]
    exits = [process.wait(30) for process in processes]

    lines = path.read_text().splitlines()
    batches = [lines[start : start + 20] for start in range(0, len(lines), 20)]
    assert exits == [0, 0]
    assert all(len(set(batch)) == 1 for batch in batches)
    assert sorted(batch[0] for batch in batches) == sorted(f"{w} {n}" for w in range(2) for n in range(100))
