"""What a client counted against what its far end saw, by event id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Self

from eventpipe.statistics import Statistics

NAMED_IDS = 10  # ids that a report names, of those that differ


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Where the two agree and where they do not.

    Attributes:
        captured: Events handed to the client, by their ids.
        delivered: Events the client counted as delivered.
        dropped: Events the client counted as dropped.
        dropped_by_reason: The same, by ``DropReason``, from the ids that ``on_drop`` named.
        pending: Events the client had not settled.
        arrived: Events of these that the far end saw, each counted once.
        lost: Events that were not dropped, and never arrived.
        lost_ids: Ten of their ids.
        dropped_but_arrived: Events counted as dropped that arrived all the same, as when an answer came too late.
        duplicated: Events that arrived more than once, which at-least-once delivery allows.
        copies: How often they came beyond the first time.
        unknown: Ids the far end saw that nobody captured.
    """

    captured: int
    delivered: int
    dropped: int
    dropped_by_reason: Mapping[str, int]
    pending: int
    arrived: int
    lost: int
    lost_ids: tuple[str, ...]
    dropped_but_arrived: int
    duplicated: int
    copies: int
    unknown: int

    @classmethod
    def of(
        cls, captured: Set[str], dropped: Mapping[str, str], statistics: Statistics, seen: Mapping[str, int]
    ) -> Self:
        """Compare.

        Args:
            captured: The ids of all events that were handed to the client.
            dropped: The reason by id, for events that were dropped.
            statistics: What the client counted.
            seen: How often each id came to the far end.
        """
        lost = captured - dropped.keys() - seen.keys()
        again = [times for times in seen.values() if times > 1]
        return cls(
            captured=len(captured),
            delivered=statistics.delivered,
            dropped=statistics.dropped,
            dropped_by_reason=dict(Counter(dropped.values())),
            pending=statistics.pending,
            arrived=len(captured & seen.keys()),
            lost=len(lost),
            lost_ids=tuple(sorted(lost)[:NAMED_IDS]),
            dropped_but_arrived=len(dropped.keys() & seen.keys()),
            duplicated=len(again),
            copies=sum(again) - len(again),
            unknown=len(seen.keys() - captured),
        )

    @property
    def agrees(self) -> bool:
        """Whether the numbers and the ids tell the same story."""
        return (
            self.captured == self.delivered + self.dropped + self.pending
            and self.dropped == sum(self.dropped_by_reason.values())
            and self.arrived - self.dropped_but_arrived == self.delivered
            and self.lost == self.pending
            and self.unknown == 0
        )

    @property
    def is_ok(self) -> bool:
        """Whether they agree and every event arrived."""
        return self.agrees and self.dropped == 0 and self.pending == 0 and self.lost == 0
