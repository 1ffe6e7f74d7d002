"""The write-ahead log of an SQLite file: how long it is."""

from __future__ import annotations

import os
from typing import Final

# As https://www.sqlite.org/fileformat2.html#walformat has it: a header, then frames, each a header and a page. Both
# headers have the same salt, which changes whenever the log is begun anew at its start.
_HEADER: Final = 32
_HEADER_OF_FRAME: Final = 24
_FRAME: Final = _HEADER_OF_FRAME + 4096
_SALT: Final = slice(16, 24)
_SALT_OF_FRAME: Final = slice(8, 16)


class WriteAheadLog:
    """Looks at the log beside a file that is open: SQLite tells how long it is only where it copies it."""

    def __init__(self, beside: str) -> None:
        """Open it.

        Raises:
            OSError: There is none, or it cannot be read.
        """
        self._descriptor = os.open(f"{beside}-wal", os.O_RDONLY | os.O_CLOEXEC)

    def has(self, pages: int) -> bool:
        """Whether it has so many pages at least, of 4 KiB each, since it was begun anew.

        Raises:
            OSError: It cannot be read.
        """
        frame = os.pread(self._descriptor, _HEADER_OF_FRAME, _HEADER + (pages - 1) * _FRAME)
        if len(frame) < _HEADER_OF_FRAME:
            return False
        return frame[_SALT_OF_FRAME] == os.pread(self._descriptor, _HEADER, 0)[_SALT]

    def close(self) -> None:
        """Look no more."""
        os.close(self._descriptor)
