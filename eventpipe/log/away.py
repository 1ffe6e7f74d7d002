"""What a holder gave back and is handed again: when it is due, which of it for the last time, and what it holds up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from eventpipe.log.lines import Held, Line
from eventpipe.stores.values import ClaimedEvent

# What was given back is due by the store's clock. When an event did not come again so long after its time, although the
# store has nothing that is still to come, it is asked whether the consumer is paused; else the event is gone.
GRACE: Final = 1.0

# By the store's clock an event is due a little earlier than by ours, as we know of it once its commit is through, and a
# claim takes its time. What comes earlier than this is given back, and claimed again.
_EARLY: Final = 0.1


class _Return(NamedTuple):
    """One event that comes again.

    Attributes:
        due: When, on the loop clock.
        is_last: Whether it comes for the last time.
        line: The line that waits for it, where there is an order.
    """

    due: float
    is_last: bool
    line: Line


class Away:
    """Events that were given back, by offset, and the lines that wait for them."""

    def __init__(self) -> None:
        self._returns: dict[int, _Return] = {}

    def __len__(self) -> int:
        return len(self._returns)

    def __contains__(self, offset: int) -> bool:
        return offset in self._returns

    def give(self, held: Held, due: float, *, is_last: bool) -> None:
        """Wait for an event that was given back."""
        self._returns[held.offset] = _Return(due, is_last, held.line)

    def take(self, offset: int) -> Line | None:
        """Wait for an event no more; the line that did, if the event was away."""
        found = self._returns.pop(offset, None)
        if found is None:
            return None
        found.line.away.discard(offset)
        return found.line

    def due(self, now: float) -> tuple[int, bool]:
        """How many are due; and whether one is that comes for the last time, or will be in a moment."""
        due = sum(one.due <= now for one in self._returns.values())
        return due, any(one.is_last and one.due <= now + _EARLY for one in self._returns.values())

    def is_last(self, offset: int) -> bool:
        """Whether an event is away, and comes for the last time."""
        found = self._returns.get(offset)
        return found is not None and found.is_last

    def put_off(self, offsets: Iterable[int], due: float) -> None:
        """Say when events are due instead."""
        for offset in offsets:
            if offset in self._returns:
                self._returns[offset] = self._returns[offset]._replace(due=due)

    def late(self, asked: float, claimed: Sequence[ClaimedEvent]) -> list[int]:
        """Offsets of what was due when a claim was made, and did not come with it."""
        late = {offset for offset, one in self._returns.items() if one.due <= asked}
        return sorted(late.difference([event.offset for event in claimed])) if late else []

    def overdue(self, now: float) -> list[int]:
        """Offsets of what should have come some time ago."""
        return [offset for offset, one in self._returns.items() if one.due + GRACE <= now]

    def before(self, offset: int) -> list[int]:
        """Offsets below one."""
        return [away for away in self._returns if away < offset]

    def look_at(self, now: float) -> float | None:
        """When to look for the next of them; ``None``: there are none, or all are overdue."""
        moments = [one.due if one.due > now else one.due + GRACE for one in self._returns.values()]
        return min((moment for moment in moments if moment > now), default=None)
