"""A copy of a log whose file, or folder, this process may only read: SQLite needs to write beside a file it opens."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from eventpipe.stores.sqlite_faults import translated

# Source: "Database File Format", section 1.3.3, the file format versions to write and to read.
_JOURNAL: Final = 18
_HEADER: Final = 20
_WRITE_AHEAD: Final = b"\2\2"

PAGES: Final = 4096  # copied at once, 16 MiB: whoever writes to the file waits for so long

PATIENCE: Final = 1.0  # seconds: a commit takes milliseconds


def can_be_written(path: Path) -> bool:
    """Whether this process may write a file, and others beside it."""
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


def copy_database(path: Path, copy: Path) -> None:
    """Copy a database as it is now, for this user alone; blocks.

    Raises:
        StoreError: It cannot be read.
    """
    copy.touch(mode=0o600)
    source = f"file:{quote(str(path.resolve()))}?mode=ro"
    if _is_at_rest(path):
        source += "&immutable=1"
    try:
        _back_up(source, copy)
    except sqlite3.Error as error:
        raise translated(error, str(path)) from error


def _is_at_rest(path: Path) -> bool:
    """Whether it was closed by a process that had it for itself: SQLite would make files beside it to read it."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    return header[_JOURNAL:] == _WRITE_AHEAD and not Path(f"{path.resolve()}-wal").exists()


def _back_up(source: str, copy: Path) -> None:
    with (
        closing(sqlite3.connect(source, uri=True, timeout=PATIENCE)) as read,
        closing(sqlite3.connect(copy)) as written,
    ):
        read.execute("SELECT count(*) FROM sqlite_master")  # a backup waits for a lock without an end
        read.backup(written, pages=PAGES)
