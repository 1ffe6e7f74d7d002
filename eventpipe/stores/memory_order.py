"""Keys in their order: one is added, removed or found in a time that hardly grows with their number."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", int, tuple[float, int], tuple[float, str])

# A block is split at twice this. Adding to one list costs 0.5 ms at a million keys; to a block of this, 2 µs.
_BLOCK: Final = 1024


class Ordered(Generic[Key]):
    """Keys, each once, ascending, in blocks that are short enough to be moved about.

    They must not change while somebody iterates.
    """

    __slots__ = ("_blocks", "_count", "_lasts")

    def __init__(self) -> None:
        self._blocks: list[list[Key]] = []  # none of them empty
        self._lasts: list[Key] = []  # of each block
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: Key) -> None:
        """Put in a key that is not there."""
        self._count += 1
        if not self._blocks:
            self._blocks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, key)
        if len(block) > 2 * _BLOCK:
            self._blocks[at : at + 1] = [block[:_BLOCK], block[_BLOCK:]]
            self._lasts.insert(at, block[_BLOCK - 1])
            at += 1
        self._lasts[at] = block[-1]

    def remove(self, key: Key) -> None:
        """Take out a key that is there."""
        self._count -= 1
        at = bisect_left(self._lasts, key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at]
            del self._lasts[at]

    def first(self) -> Key | None:
        """The lowest key, if there is one."""
        return self._blocks[0][0] if self._blocks else None

    def above(self, key: Key | None = None) -> Iterator[Key]:
        """Those above a key, which need not be there, ascending; ``None``: all."""
        at = start = 0
        if key is not None:
            at = bisect_right(self._lasts, key)
            start = bisect_right(self._blocks[at], key) if at < len(self._blocks) else 0
        for block in self._blocks[at:]:
            for place in range(start, len(block)):
                yield block[place]
            start = 0

    def below(self, key: Key | None = None) -> Iterator[Key]:
        """Those below a key, which need not be there, descending; ``None``: all."""
        at = len(self._blocks)
        if key is not None:
            at = bisect_left(self._lasts, key)
            if at < len(self._blocks):
                block = self._blocks[at]
                for place in range(bisect_left(block, key) - 1, -1, -1):
                    yield block[place]
        for before in range(at - 1, -1, -1):
            yield from reversed(self._blocks[before])
