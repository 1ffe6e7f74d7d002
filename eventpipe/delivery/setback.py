"""Whether the wall clock was set back, by what it shows beside a clock that nobody sets; plain, no await."""

from __future__ import annotations

import math
from typing import Final

# Seconds that a clock may lose without a look at the rows: what is due within a second will be due in a second. A clock
# that is slewed as fast as NTP slews one, by 0.05 %, loses that much in half an hour.
TOLERANCE: Final = 1.0


class Setback:
    """Says when to look for rows that became due later by it, and for how long.

    At first it says so too: the clock was set, perhaps, while nobody looked.

    Args:
        lasts: Seconds for which to look. A row that somebody has at that moment is left alone, and may be given back.
    """

    def __init__(self, lasts: float) -> None:
        self._lasts = lasts
        self._ahead = math.inf  # of the loop's clock
        self._ends_at: float | None = None  # on the loop's clock; not before then is the last look

    def is_looked_for(self, wall: float, loop: float) -> bool:
        """Whether to look, at what the two clocks show now."""
        ahead = wall - loop
        if ahead < self._ahead - TOLERANCE:
            self._ends_at = loop + self._lasts
            self._ahead = ahead
        self._ahead = max(self._ahead, ahead)
        return self._ends_at is not None

    def looked(self, loop: float) -> None:
        """See a look that began at a moment on the loop's clock."""
        if self._ends_at is not None and loop >= self._ends_at:
            self._ends_at = None
