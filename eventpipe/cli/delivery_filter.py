"""Which deliveries a command is about, as the command line spells it."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from eventpipe.cli.positions import parse_moment
from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryState, FailureReason

State = Literal["pending", "sending", "success", "failed", "resending"]
Reason = Literal[
    "rejected",
    "exhausted",
    "expired",
    "endpoint_gone",
    "endpoint_disabled",
    "endpoint_removed",
    "unreadable",
    "cancelled",
]


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """Which deliveries are meant, as the command line spells it.

    Attributes:
        state: Those in this state; may be given more than once. Where it is not, resend means those that failed, cancel
            those that are still to be attempted, and list all.
        endpoint: Those of this endpoint.
        event: Those of events with this name; * stands for any characters.
        reason: Those that failed for this reason.
        due_before: Those that are due before now, or a time such as 2026-01-31T09:05:00Z.
        published_after: Those published at a time or later, such as 2026-01-31T09:05:00Z, or 10m for ten minutes ago.
        published_before: Those published before a time, as --published-after.
    """

    state: tuple[State, ...] | None = None
    endpoint: str | None = None
    event: str | None = None
    reason: Reason | None = None
    due_before: str | None = None
    published_after: str | None = None
    published_before: str | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is asked."""
        return self == FilterOptions()

    def filter(self, usual: Collection[DeliveryState] = ()) -> DeliveryFilter:
        """What a store looks for.

        Args:
            usual: The states that are meant where none is named.

        Raises:
            UsageError: A time is none.
        """
        now = datetime.datetime.now(datetime.UTC)
        states = [DeliveryState(state) for state in self.state] if self.state else usual
        return DeliveryFilter(
            frozenset(states),
            self.endpoint,
            self.event,
            None,
            None if self.reason is None else FailureReason(self.reason),
            parse_moment("--due-before", self.due_before, now),
            parse_moment("--published-after", self.published_after, now),
            parse_moment("--published-before", self.published_before, now),
        )
