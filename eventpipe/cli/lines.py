"""Lines of a file of any size, or of a pipe, in bounded memory. Blocks; meant for a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

BLOCK_BYTES = 64 * 1024  # a pipe holds no more, and a disk reads no faster in larger ones
MAX_LINE_BYTES = 9 * 1024 * 1024  # above every limit for an event, so that a longer line could not be sent anyway
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: Counted from 1.
        text: Without the line break; only its beginning where the line is too long.
        is_too_long: Whether it has more than 9 MiB.
    """

    number: int
    text: bytes
    is_too_long: bool = False


class Lines:
    """Iterates over lines, reading a block when it has none left.

    Args:
        read: Gives up to so many bytes, waits for at least one, and gives none at the end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._number = 0
        self._rest = b""  # the beginning of a line whose end has not been read
        self._is_too_long = False
        self._is_ended = False
        self._ready: deque[Line] = deque()
        self.bytes_read = 0

    @property
    def is_empty(self) -> bool:
        """Whether the next line has to be waited for."""
        return not self._ready

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Line:
        while not self._ready:
            if self._is_ended:
                raise StopIteration
            self._read_block()
        return self._ready.popleft()

    def _read_block(self) -> None:
        block = self._read(BLOCK_BYTES)
        if not block:
            self._is_ended = True
            if self._rest:
                self._add(b"")
            return
        if not self.bytes_read:
            while block != BOM and BOM.startswith(block) and (more := self._read(BLOCK_BYTES)):
                block += more  # a pipe may hand the mark over in parts
            self.bytes_read = len(block)
            block = block.removeprefix(BOM)
        else:
            self.bytes_read += len(block)
        *ends, rest = block.split(b"\n")
        for end in ends:
            self._add(end)
        if len(self._rest) + len(rest) > MAX_LINE_BYTES:
            self._is_too_long = True
        self._rest = (self._rest + rest)[:MAX_LINE_BYTES]

    def _add(self, end: bytes) -> None:
        text = (self._rest + end)[:MAX_LINE_BYTES]
        is_too_long = self._is_too_long or len(self._rest) + len(end) > MAX_LINE_BYTES
        self._number += 1
        self._ready.append(Line(self._number, text.removesuffix(b"\r"), is_too_long))
        self._rest = b""
        self._is_too_long = False
