"""How large a batch may be, by lane. Decides, never waits."""

from __future__ import annotations

# A far end that refused a batch as too large may be set to take more one day: the limit that was learned from it is
# forgotten after this many seconds, and learned anew at the price of a refused request or two.
LEARNED_FOR = 3600.0
MAX_LEARNED = 1000  # lanes of which a limit is kept: a sink may name one per customer


class BatchLimits:
    """How many bytes a batch may have: as many as was said at first, and where that was refused, half of what was."""

    __slots__ = ("_learned", "_usual")

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self._learned: dict[str | None, tuple[int, float]] = {}  # each until when

    def of(self, lane: str | None, now: float) -> int:
        """The limit for a batch that is begun now."""
        if not self._learned or lane not in self._learned:
            return self._usual
        limit, until = self._learned[lane]
        if until <= now:
            del self._learned[lane]
            return self._usual
        return limit

    def learn(self, lane: str | None, refused: int, now: float) -> None:
        """The far end refused a batch of so many bytes as too large."""
        limit = max(1, min(self.of(lane, now), refused // 2))
        self._learned.pop(lane, None)  # to the end: the first is the one that was learned longest ago
        if len(self._learned) >= MAX_LEARNED:
            del self._learned[next(iter(self._learned))]
        self._learned[lane] = (limit, now + LEARNED_FOR)
