"""What went wrong with an SQLite file, in words that say what to do."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from eventpipe.errors import StoreError

_LOCKS: Final = Path("/proc/locks")


class NoRoomError(StoreError):
    """The disk is full. Nothing was changed, and it may be tried again."""


def code_of(error: BaseException | None) -> int | None:
    """The primary result code of SQLite; ``None`` for other errors."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_full(error: BaseException | None) -> bool:
    """Whether it failed for want of room."""
    return code_of(error) == sqlite3.SQLITE_FULL or isinstance(error, NoRoomError)


def is_busy(error: BaseException) -> bool:
    """Whether somebody else has the file locked."""
    return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_broken(error: BaseException | None) -> bool:
    """Whether a file is not to be relied on any more; of SQLite's errors, or of what callers are told of them.

    What is in it makes no sense, or has lost its tables; or the disk did not do what it was told: after an fsync that
    failed nobody knows what is there, and the next one may succeed all the same.
    """
    codes = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR)
    return error is not None and (code_of(error) in codes or is_broken(error.__cause__))


def is_failed_sync(error: BaseException | None) -> bool:
    """Whether it was an fsync that failed: the next one may succeed, and yet the disk lost what this one was for."""
    codes = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
    return getattr(error, "sqlite_errorcode", None) in codes


def failed_sync() -> sqlite3.OperationalError:
    """The error for a file an fsync of which failed before."""
    error = sqlite3.OperationalError("an fsync failed before this")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


def corrupt(what: str) -> sqlite3.DatabaseError:
    """The error for a table that makes no sense, though SQLite did not see it."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def translated(error: Exception, path: str) -> Exception:
    """What a caller is told: errors of SQLite as ours, others as they are."""
    if not isinstance(error, sqlite3.Error):
        return error
    told = (NoRoomError if is_full(error) else StoreError)(_words(error, path))
    told.__cause__ = error
    return told


def _words(error: sqlite3.Error, path: str) -> str:
    code = code_of(error)
    match code:
        case sqlite3.SQLITE_FULL:
            return f"there is no room left for {path}; free some on its disk, or let consumers go on"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"{path} is locked by {holder_of(path)}; stop it, or open the file with shared=True in every process"
                " that uses it"
            )
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is no SQLite database; name another file, or move this one away"
        case sqlite3.SQLITE_CORRUPT:
            return (
                f"{path} is damaged ({error}); restore a copy, or stop whoever uses it and take out what can be read"
                f" with: sqlite3 {path} .recover"
            )
        case sqlite3.SQLITE_READONLY:
            return f"{path} cannot be written; give this process the right to write the file and its folder"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"{path} cannot be opened; give this process the right to read and write the file and its folder"
        case sqlite3.SQLITE_IOERR if is_failed_sync(error):
            return (
                f"an fsync of {path} failed, so that nobody knows what its disk has of it, and nothing more is written"
                " there; look at the disk, then close the file and open it anew"
            )
        case sqlite3.SQLITE_IOERR:
            return f"{path} cannot be read or written ({error}); look at its disk"
        case _:
            return f"{path} cannot be used: {error}"


def holder_of(path: str) -> str:
    """Who has a file locked, as far as the system tells; no file is opened, which would cost this process its locks."""
    try:
        status = Path(path).stat()
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return "another process"
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        fields = line.split()
        if place in fields:
            pid = fields[fields.index(place) - 1]
            if pid == str(os.getpid()):
                return "another connection of this process"
            if pid.isdigit() and pid != "0":  # 0: of another container
                return f"process {pid}"
    return "another process"
