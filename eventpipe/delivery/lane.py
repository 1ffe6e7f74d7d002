"""The due rows of one endpoint in one pass: which of them were claimed, and which wait for a slot."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from eventpipe.stores.delivery_values import ClaimedRow, DeliveryRow, EndpointInfo, EndpointState, Place

if TYPE_CHECKING:
    from eventpipe.delivery.pacing import Pace

# Seconds that a claimed row waits for a slot, at most; then it is given back, so that others may have it.
LINE_TIME: Final = 1.0


class Lane:
    """What a pass knows of the due rows of one endpoint.

    Attributes:
        key: What the endpoint is known by: its name, and the moment at which it was made.
        endpoint: As it was looked at last.
        pace: What is known of it.
        trips: Those of its pace when the pass began.
        after: The last row that was claimed; ``None``: none was.
        line: What was claimed and waits for a slot, each with the moment of the loop clock at which it has waited for
            too long.
        is_claimed: Whether everything that was due is claimed.
    """

    def __init__(self, endpoint: EndpointInfo, pace: Pace) -> None:
        self.key: Final = (endpoint.name, endpoint.created_at)
        self.endpoint = endpoint
        self.pace = pace
        self.trips = pace.trips
        self.after: Place | None = None
        self.line: deque[tuple[ClaimedRow, float]] = deque()
        self.is_claimed = False
        self._mark = 0

    @property
    def is_sent_to(self) -> bool:
        """Whether its rows are attempted; those of an endpoint that is disabled or removed fail."""
        return self.endpoint.state not in (EndpointState.DISABLED, EndpointState.REMOVED)

    @property
    def is_paused(self) -> bool:
        """Whether its rows wait."""
        return self.endpoint.state is EndpointState.PAUSED

    @property
    def is_held_back(self) -> bool:
        """Whether none of its rows may be attempted."""
        return self.is_paused or not self.is_sent_to

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to claim, or to begin with."""
        return self.is_claimed and not self.line

    @property
    def is_short(self) -> bool:
        """Whether half of what waited has begun, so that more had better be claimed."""
        return len(self.line) <= self._mark

    def see(self, endpoint: EndpointInfo, now: float) -> None:
        """Go on with its endpoint as that is now; a no-op where that is another, or was seen as it is later."""
        if (endpoint.name, endpoint.created_at) == self.key and self.endpoint.version < endpoint.version:
            self.endpoint = endpoint
            self.pace.set_rate(endpoint.rate_limit, now)

    def may_go_on(self, now: float) -> bool:
        """Whether nothing has said since the pass began that its far end be left alone."""
        return self.pace.trips <= self.trips and now >= self.pace.asked_until

    @property
    def late_at(self) -> float:
        """When the first that waits has waited for too long; never, where none waits."""
        return self.line[0][1] if self.line else math.inf

    def is_late(self, now: float) -> bool:
        """Whether the first that waits has waited for too long."""
        return now >= self.late_at

    def add(self, rows: Sequence[ClaimedRow], late_at: float) -> None:
        """Have rows wait that were claimed."""
        self.line += [(row, late_at) for row in rows]
        self._mark = 0 if self.is_claimed else len(self.line) // 2

    def take(self, now: float) -> ClaimedRow | None:
        """The row that begins next; ``None``: none waits, or what waits must not begin."""
        if not self.line or self.is_late(now) or self.is_held_back or not self.may_go_on(now):
            return None
        return self.line.popleft()[0]

    def step_back(self) -> list[DeliveryRow]:
        """Let nothing wait any more: what did is to be given back, and claimed again."""
        rows = [claimed.row for claimed, _ in self.line]
        if rows:
            if rows[0].due_at is not None:
                self.after = Place(rows[0].due_at, rows[0].id - 1)
            if self.is_sent_to:
                self.pace.stalled()
            self.line.clear()
            self.is_claimed = False
        return rows
