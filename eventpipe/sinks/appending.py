"""Adds lines to a file, all of them or none."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventpipe.errors import PermanentSinkError, TransientSinkError

try:
    import fcntl
except ImportError:  # Windows: a file there has one writer
    fcntl = None  # type: ignore[assignment]

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

# Between one look and the next whether another writer is done, in seconds: a batch takes it a millisecond or so. Five
# seconds in all are for a disk that stalls; who holds a file for longer does so for reasons of its own.
_PAUSES: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, *[0.05] * 99)

_BLOCK_BYTES: Final = 1024 * 1024  # of a file that is read through: once, after a crash


def append(path: Path, lines: bytes, *, header: bytes, mode: int, fsync: bool) -> int:
    """Add ``lines`` to the end of a file, made if it is missing.

    When it fails the file is as long as before, so that no line is torn. Writers in this and in other processes take
    turns. A last line that a crash left without its end gets one, so that ours do not continue it.

    Args:
        path: The file.
        lines: Whole lines.
        header: What the file begins with.
        mode: Permission bits of a new file, before the umask.
        fsync: Wait until the lines, and the name of a new file, are on the disk.

    Returns:
        The length of the file in bytes.

    Raises:
        OSError: The system refused.
        PermanentSinkError: It is no regular file, or it begins with another header.
        TransientSinkError: Another writer holds the file and does not let go for five seconds.
    """
    fd = os.open(path, _FLAGS, mode)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise PermanentSinkError(f"{path} is not a regular file", scope="sink")
        _wait_for_turn(fd, path)
        end = os.fstat(fd).st_size
        joint = _joint(fd, path, end, header)
        try:
            _write(fd, joint + lines)
            if fsync:
                os.fsync(fd)
        except BaseException:
            with suppress(OSError):  # the next writer finds the torn line and ends it
                os.ftruncate(fd, end)
            raise
    finally:
        os.close(fd)
    if fsync and end == 0:
        fsync_folder(path)
    return end + len(joint) + len(lines)


def create(path: Path, *, mode: int) -> bool:
    """Make an empty file; false when the name is taken.

    Raises:
        OSError: The system refused.
    """
    try:
        os.close(os.open(path, _FLAGS | os.O_EXCL, mode))
    except FileExistsError:
        return False
    return True


def fsync_folder(path: Path) -> None:
    """Wait until the name of a file is on the disk.

    Raises:
        OSError: The system refused.
    """
    if os.name == "nt":  # a folder cannot be opened there
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _joint(fd: int, path: Path, end: int, header: bytes) -> bytes:
    """What goes between the end of the file and the next line."""
    if end == 0:
        return header
    if header and (beginning := _read(fd, 0, len(header))) != header:
        if end < len(header) and header.startswith(beginning):
            return header[end:]  # torn by a crash itself
        raise PermanentSinkError(f"{path} has other columns; name them in columns=, or write elsewhere", scope="sink")
    if _read(fd, end - 1, 1) == b"\n":
        return b""
    # Only rows of CSV have a header: what tore one inside quotes would make ours a part of the value.
    return b'"\n' if header and _is_in_quotes(fd) else b"\n"


def _is_in_quotes(fd: int) -> bool:
    """Whether a quote is open at the end of the file: one inside a value is written twice, so all are counted."""
    os.lseek(fd, 0, os.SEEK_SET)
    quotes = 0
    while block := os.read(fd, _BLOCK_BYTES):
        quotes += block.count(b'"')
    return quotes % 2 == 1


def _read(fd: int, start: int, length: int) -> bytes:
    os.lseek(fd, start, os.SEEK_SET)  # writes go to the end all the same
    return os.read(fd, length)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _wait_for_turn(fd: int, path: Path) -> None:
    """Keep other writers out until ``fd`` is closed, so that no failure of ours cuts lines of theirs."""
    if fcntl is not None:
        for pause in _PAUSES:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(pause)
            except OSError:  # a file system without locks; a file there has one writer
                return
            else:
                return
        raise TransientSinkError(
            f"{path} is locked (flock) and was not released in time: by another writer that hangs, or by a backup, "
            f"a log shipper or a shell that holds it; lslocks names the process",
            reason="locked",
        )
