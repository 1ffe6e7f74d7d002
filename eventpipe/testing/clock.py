"""A wall clock that goes with the loop."""

from __future__ import annotations

from typing import Final

from eventpipe.clock import Clock
from eventpipe.testing.events import STAMP


class LoopClock(Clock):
    """Tells the wall time as ``start`` and what the running loop's clock shows, so that an hour passes in no time.

    With ``VirtualTimeLoop``, ``await asyncio.sleep(3600)`` moves it by an hour. Nothing else does, but ``jump()``.

    Args:
        start: What it shows when the loop's clock shows 0: seconds since the epoch.
    """

    def __init__(self, start: float = STAMP) -> None:
        self.start: Final = start
        self._ahead = 0.0

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.start + self._ahead + self.monotonic()

    def jump(self, by: float) -> None:
        """Set it so many seconds forward, or back where they are negative, while the loop's clock goes on as before."""
        self._ahead += by
