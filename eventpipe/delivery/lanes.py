"""The endpoints of a pass, in turn, while they have due rows that the pass has not claimed."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from eventpipe.delivery.attempting import Held
from eventpipe.delivery.common import Common
from eventpipe.delivery.lane import Lane
from eventpipe.stores.delivery_values import (
    DELIVERIES,
    ClaimedRow,
    DeliveryRow,
    DueEndpoint,
    EndpointInfo,
    EndpointState,
)

# Seconds between two looks at the states of endpoints, so that a pause is seen in a pass of hours.
LOOK_INTERVAL: Final = 0.25


class Lanes:
    """The lanes of one pass.

    Args:
        common: What all passes share.
        is_asked: Whether somebody asked for the pass, and so takes what other passes claim, and probes what fails.
        on_due: Called with moments of the wall clock at which rows are due that the pass leaves.
        on_probe: Called with moments of the loop clock at which an endpoint may be probed.
        on_skipped: Called when the pass is through with an endpoint whose rows a later one left to it.

    Attributes:
        given_up: Rows that were claimed and are not attempted.
        again: How many of them the pass claims once more.
        waiting: How many rows were claimed and wait for slots.
    """

    def __init__(
        self,
        common: Common,
        *,
        is_asked: bool,
        on_due: Callable[[float], object],
        on_probe: Callable[[float], object],
        on_skipped: Callable[[], object],
    ) -> None:
        self.given_up: list[DeliveryRow] = []
        self.again = 0
        self.waiting = 0
        self._common = common
        self._is_asked = is_asked
        self._on_due = on_due
        self._on_probe = on_probe
        self._on_skipped = on_skipped
        # By name and the moment at which they were made; whose turn it is, first.
        self._lanes: OrderedDict[tuple[str, float], Lane] = OrderedDict()
        self._mark = -1  # so few are short
        self._late_at = math.inf  # before that, nothing has waited for too long
        self._seen = 0  # the version of the endpoints
        self._looked_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._lanes)

    async def open(self, cutoff: float) -> None:
        """See which endpoints have rows that are due at a moment of the wall clock or before.

        Raises:
            StoreError: The store failed.
            ClosedError: The deliveries do not run.
        """
        deliveries, now = self._common.deliveries, asyncio.get_running_loop().time()
        self._seen, self._looked_at = deliveries.store.version(DELIVERIES), now
        self._common.pacing.tidy(now)
        unsendable: list[str] = []
        for due in await deliveries.kept.due():
            if due.endpoint.state is EndpointState.ACTIVE and not deliveries.senders.has(due.endpoint):
                unsendable.append(due.endpoint.name)
            elif due.endpoint.state is not EndpointState.PAUSED:
                self._see(due, cutoff)
        self._common.episodes.unsendable(unsendable)

    async def look(self, *, at_once: bool = False) -> None:
        """Go on with endpoints as they are now, which is looked at now and then, or at once.

        Raises:
            StoreError: The store failed.
            ClosedError: The deliveries do not run.
        """
        deliveries, now = self._common.deliveries, asyncio.get_running_loop().time()
        version = deliveries.store.version(DELIVERIES)
        if not at_once and (version == self._seen or now < self._looked_at + LOOK_INTERVAL):
            return
        self._seen, self._looked_at = version, now
        for endpoint, _ in await deliveries.kept.due():  # also those that were removed
            self.see(endpoint)

    def see(self, endpoint: EndpointInfo) -> None:
        """Go on with an endpoint as it is now."""
        lane = self._lanes.get((endpoint.name, endpoint.created_at))
        if lane is not None:
            lane.see(endpoint, asyncio.get_running_loop().time())

    def give_back_late(self) -> None:
        """Let nothing wait that has waited for too long."""
        now = asyncio.get_running_loop().time()
        if now < self._late_at:
            return
        for lane in self._lanes.values():
            if lane.is_late(now):
                self._common.pacing.stalled()
                self.claim_again(self._step_back(lane))
        self._late_at = min((lane.late_at for lane in self._lanes.values()), default=math.inf)

    def in_turn(self) -> Iterator[Lane]:
        """Each endpoint of which something may be left to do, in turn; those that are to be left alone are left."""
        now = asyncio.get_running_loop().time()
        for lane in [*self._lanes.values()]:
            if lane.is_paused:
                self.leave(lane)
                continue
            if lane.is_sent_to and not lane.may_go_on(now):
                self._on_probe(max(lane.pace.probe_at, lane.pace.asked_until))
                self.leave(lane)
                continue
            if not lane.is_sent_to:
                self.claim_again(self._step_back(lane))
            if lane.is_done:
                self.leave(lane)
                continue
            yield lane

    @property
    def must_go_round(self) -> bool:
        """Whether each endpoint is to be looked at: not, where they take turns at slots that none has left."""
        pacing = self._common.pacing
        return bool(pacing.free) or not pacing.is_crowded

    def had_turn(self, lane: Lane) -> None:
        """See that it is the turn of all others first."""
        self._lanes.move_to_end(lane.key)

    def spare(self) -> int:
        """How many rows may be claimed now, in all, for slots that will be free soon."""
        pacing = self._common.pacing
        most = pacing.most_ahead
        return 0 if pacing.is_crowded and 2 * self.waiting > most else most - self.waiting

    def mark(self) -> None:
        """Have it said when half of what waits now has begun, if more can be claimed then."""
        self._mark = self.waiting // 2 if any(not lane.is_claimed for lane in self._lanes.values()) else -1

    @property
    def are_short(self) -> bool:
        """Whether it has, where endpoints take turns at single slots."""
        return self.waiting <= self._mark and self._common.pacing.is_crowded

    def add(self, lane: Lane, rows: Sequence[ClaimedRow], late_at: float) -> None:
        """Have rows of an endpoint wait that were claimed."""
        lane.add(rows, late_at)
        self.waiting += len(rows)
        self._late_at = min(self._late_at, lane.late_at)

    def take(self, lane: Lane) -> Held | None:
        """The next row of an endpoint that waits, in a slot; ``None``: none waits, or may begin now."""
        now, pacing = asyncio.get_running_loop().time(), self._common.pacing
        if not lane.line or not pacing.room(lane.pace, now) or (claimed := lane.take(now)) is None:
            return None
        self.waiting -= 1
        pacing.take(lane.pace, 1, now)
        self.had_turn(lane)
        if lane.is_done:
            self.leave(lane)
        return Held(claimed, lane)

    def following(self, lane: Lane) -> Held | None:
        """The row that begins in the slot that one of an endpoint has left: ``None``: whoever's turn it is has it.

        It is of the same endpoint, or where endpoints take turns at single slots, of the one whose turn it is.
        """
        if not self._common.pacing.is_crowded:
            return self.take(lane)
        if not self.waiting or len(self._common.stirs) > 1:  # it may be the turn of another pass
            return None
        for other in self._lanes.values():
            if other.line and (held := self.take(other)) is not None:
                return held
        return None

    def ready_at(self, now: float) -> float | None:
        """When something can be done that nothing else will tell of, now at the soonest; ``None``: never."""
        moments = [self._late_at]
        if self._late_at <= now:  # it came to be so since they were looked at
            return now
        if self._common.pacing.free:
            moments += [lane.pace.ready_at(now) for lane in self._lanes.values()]
        return min((moment for moment in moments if now < moment < math.inf), default=None)

    def claim_again(self, rows: Sequence[DeliveryRow]) -> None:
        """Give rows back that the pass is going to claim once more."""
        self.given_up += rows
        self.again += len(rows)

    def leave(self, lane: Lane) -> None:
        """Be through with an endpoint; a no-op for one that was left before."""
        if self._lanes.get(lane.key) is not lane:
            return
        common = self._common
        del self._lanes[lane.key]
        self.given_up += self._step_back(lane)
        common.pacing.leave(lane.pace)
        if not (self._lanes and common.pacing.is_crowded):
            common.freed()  # others may have more now
        if lane.pace in common.skipped and not lane.pace.lanes:
            common.skipped.discard(lane.pace)
            self._on_skipped()

    def leave_all(self) -> None:
        """Be through with what is left."""
        for lane in [*self._lanes.values()]:
            self.leave(lane)

    def _step_back(self, lane: Lane) -> list[DeliveryRow]:
        rows = lane.step_back()
        self.waiting -= len(rows)
        return rows

    def _see(self, due: DueEndpoint, cutoff: float) -> None:
        now, pacing = asyncio.get_running_loop().time(), self._common.pacing
        if due.first_due_at > cutoff:
            self._on_due(due.first_due_at)
            return
        pace = pacing.pace(due.endpoint, now)
        lane = Lane(due.endpoint, pace)
        pace.listed = cutoff  # also where it is left alone: what calls for it then is no row that is due
        if lane.is_sent_to and not self._is_asked:
            if pace.probe_at > now:
                self._on_probe(pace.probe_at)
                return
            if pace.lanes:
                self._common.skipped.add(pace)
                return
        pacing.enter(pace)
        self._lanes[lane.key] = lane
