"""Room on the disk that is given up when there is no other, so that what is stored can still be taken out."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

# A WAL of some pages for each settlement, until a trim and a checkpoint have made room again.
RESERVE_BYTES: Final = 128 * 1024


class Reserve:
    """A file of ``RESERVE_BYTES`` beside another file, taking up room that nobody else can.

    Attributes:
        path: Where it is.
        is_spent: Whether it was given up and not made again.
    """

    def __init__(self, beside: str) -> None:
        self.path = Path(f"{beside}-reserve")
        self.is_spent = True

    @property
    def exists(self) -> bool:
        """Whether there is one, also of another process or an earlier one."""
        return self.path.exists()

    def restore(self) -> bool:
        """Make it, if there is room; whether there is one now."""
        try:
            if self.path.stat().st_size >= RESERVE_BYTES:
                self.is_spent = False
                return True
        except OSError:
            pass  # there is none: it is made below, or what keeps it from being made is met there
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        except OSError:
            return False
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask left of it
            _fill(descriptor)
        except OSError:
            self.path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)
        self.is_spent = False
        return True

    def release(self) -> bool:
        """Give it up; whether there was one."""
        self.is_spent = True
        with contextlib.suppress(OSError):
            self.path.unlink()
            return True
        return False


def _fill(descriptor: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        return
    left = RESERVE_BYTES
    while left:
        left -= os.write(descriptor, bytes(left))
