"""Where files of tests are kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def quick_folder() -> str | None:
    """A folder in memory where the system has one, for tests in which nothing depends on a disk; else its usual one."""
    memory = Path("/dev/shm")  # noqa: S108  # files get names of their own in it
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None


@contextmanager
def quick_place() -> Iterator[Path]:
    """A new folder in ``quick_folder()``, which is removed with what is in it."""
    with tempfile.TemporaryDirectory(prefix="eventpipe-", dir=quick_folder(), ignore_cleanup_errors=True) as name:
        yield Path(name)
