"""A wall clock that goes with the loop."""

from __future__ import annotations

from typing import Final

from eventpipe.clock import Clock
from eventpipe.testing.events import STAMP


class LoopClock(Clock):
    """Tells the wall time as ``start`` and what the running loop's clock shows, so that an hour passes in no time.

    With ``VirtualTimeLoop``, ``await asyncio.sleep(3600)`` moves it by an hour, and nothing else does.

    Args:
        start: What it shows when the loop's clock shows 0: seconds since the epoch.
    """

    def __init__(self, start: float = STAMP) -> None:
        self.start: Final = start

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.start + self.monotonic()
