"""What a holder has claimed, and neither settled nor given back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from eventpipe.stores.values import ClaimedEvent, ClaimedRun

_order_of = attrgetter("claim", "offset")


class InHand:
    """Claimed events, the very ones, as an offset may be claimed anew; of a run their offsets alone."""

    def __init__(self) -> None:
        self._events: set[ClaimedEvent] = set()
        self._runs: dict[int, set[int]] = {}  # offsets of events at their first attempt, by the number of the claim

    def __len__(self) -> int:
        return len(self._events) + sum(map(len, self._runs.values()))

    def add(self, events: Sequence[ClaimedEvent]) -> None:
        """Have these as well."""
        if isinstance(events, ClaimedRun):
            for number, offsets in events.by_claim():
                self._runs.setdefault(number, set()).update(offsets)
        else:
            self._events.update(events)

    def remove(self, events: Sequence[ClaimedEvent]) -> None:
        """Have these no more, as far as they are here."""
        if isinstance(events, ClaimedRun):
            for number, offsets in events.by_claim():
                self._remove(number, offsets)
            return
        self._events.difference_update(events)
        if self._runs:
            for claimed in events:
                self._remove(claimed.claim, (claimed.offset,))

    def all(self) -> list[ClaimedEvent]:
        """Each, by claim and offset, with what it takes to settle it; of a run without what is in it."""
        of_runs = [
            ClaimedEvent(offset, 0.0, None, None, b"", 1, number)
            for number, offsets in self._runs.items()
            for offset in offsets
        ]
        return sorted([*self._events, *of_runs], key=_order_of)

    def _remove(self, number: int, offsets: Iterable[int]) -> None:
        held = self._runs.get(number)
        if held is not None:
            held.difference_update(offsets)
            if not held:
                del self._runs[number]
