"""How much a spool keeps, for how long, and what gives way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from eventpipe.events import SpoolOverflow

# What is made free at once when the oldest give way: so seldom that it costs nothing, so little that little is lost.
_SHARE: Final = 20


@dataclass(frozen=True, slots=True)
class SpoolBounds:
    """The bounds of a spool.

    Attributes:
        max_bytes: Bytes of its files that may be in use before more is refused, or the oldest give way. What is being
            committed at that moment comes on top.
        max_age: Seconds that an event may wait there. ``None``: any number.
        overflow: What gives way: what is new, or the oldest of what waits.
    """

    max_bytes: int
    max_age: float | None = None
    overflow: SpoolOverflow = "drop_newest"

    def refuses(self, used: int) -> bool:
        """Whether nothing more is written, with so many bytes in use."""
        return used >= self.max_bytes and self.overflow == "drop_newest"

    def excess(self, used: int, *, is_disk_full: bool) -> int:
        """Bytes of events to make free, with so many in use; 0: none."""
        if self.overflow == "drop_newest" or not (is_disk_full or used >= self.max_bytes):
            return 0
        return max(used - self.max_bytes, 0) + min(used, self.max_bytes) // _SHARE

    def expired_before(self, now: float) -> float:
        """What was captured before this moment of the wall clock has waited for too long."""
        return -math.inf if self.max_age is None else now - self.max_age
