"""The endpoints of a pass, in turn, while they have due rows that the pass has not claimed."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from eventpipe.delivery.common import Common
from eventpipe.delivery.lane import Lane
from eventpipe.stores.delivery_values import DELIVERIES, DeliveryRow, DueEndpoint, EndpointInfo, EndpointState

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
        self._common = common
        self._is_asked = is_asked
        self._on_due = on_due
        self._on_probe = on_probe
        self._on_skipped = on_skipped
        self._lanes: OrderedDict[Lane, None] = OrderedDict()  # whose turn it is, first
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
        now = asyncio.get_running_loop().time()
        for lane in self._lanes:
            lane.see(endpoint, now)

    def next(self) -> Lane | None:
        """The first endpoint, in turn, of which something can be done; it is the last in the next turn."""
        now, pacing = asyncio.get_running_loop().time(), self._common.pacing
        for _ in range(len(self._lanes)):
            lane = next(iter(self._lanes))
            if lane.is_paused:
                self.leave(lane)
                continue
            if lane.is_sent_to and not lane.may_go_on(now):
                self._on_probe(max(lane.pace.probe_at, lane.pace.asked_until))
                self.leave(lane)
                continue
            if lane.is_late(now) or not lane.is_sent_to:
                self.claim_again(lane.step_back())
            if lane.is_done:
                self.leave(lane)
                continue
            self._lanes.move_to_end(lane)
            if not lane.is_sent_to or pacing.room(lane.pace, now):
                return lane
            if not lane.is_claimed and 2 * len(lane.line) < pacing.ahead(lane.pace, now):
                return lane
        return None

    def ready_at(self, now: float) -> float | None:
        """When something can be done that cannot be done now, and that nothing else will tell of; ``None``: never."""
        moments = [lane.late_at for lane in self._lanes]
        if self._common.pacing.free:
            moments += [lane.pace.ready_at(now) for lane in self._lanes]
        return min((moment for moment in moments if now < moment < math.inf), default=None)

    def claim_again(self, rows: Sequence[DeliveryRow]) -> None:
        """Give rows back that the pass is going to claim once more."""
        self.given_up += rows
        self.again += len(rows)

    def leave(self, lane: Lane) -> None:
        """Be through with an endpoint; a no-op for one that was left before."""
        if lane not in self._lanes:
            return
        common = self._common
        del self._lanes[lane]
        self.given_up += lane.step_back()
        common.pacing.leave(lane.pace)
        common.freed()  # others may have more now
        if lane.pace in common.skipped and not lane.pace.lanes:
            common.skipped.discard(lane.pace)
            self._on_skipped()

    def leave_all(self) -> None:
        """Be through with what is left."""
        for lane in list(self._lanes):
            self.leave(lane)

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
        self._lanes[lane] = None
