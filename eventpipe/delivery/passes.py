"""One pass: everything that is due when it begins is claimed, attempted and written, or left for a stated reason."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final

from eventpipe.delivery.attempting import Held
from eventpipe.delivery.common import LONGEST_CLAIM, Common
from eventpipe.delivery.lane import LINE_TIME, Lane
from eventpipe.delivery.lanes import Lanes
from eventpipe.delivery.reports import Tally
from eventpipe.delivery.setback import TOLERANCE
from eventpipe.delivery.workers import Workers
from eventpipe.delivery.writing import Writing
from eventpipe.errors import ClosedError, LeaseLostError, StoreError
from eventpipe.log.finishing import begin, finish
from eventpipe.stores.delivery_values import ClaimedRow, DeliveryRow, EndpointInfo, EndpointState, Place

# Rows that fail without an attempt in one transaction.
REFUSED_PAGE: Final = 200

# Seconds that what is cut off has to end, and then that its rows have to be given back.
CUT_GRACE: Final = 0.05
RELEASE_GRACE: Final = 0.1


class Pass:
    """Claims what is due, endpoint by endpoint in turn, for the slots that are free, or will be in a moment.

    Attributes:
        tally: What it did.
        has_lanes: Whether it found anything to claim.
    """

    def __init__(
        self,
        common: Common,
        check: Callable[[], object],
        *,
        is_asked: bool,
        on_due: Callable[[float], object],
        on_probe: Callable[[float], object],
        on_skipped: Callable[[], object],
    ) -> None:
        """Claim nothing yet.

        Args:
            common: What all passes share.
            check: Raises where nothing may be written any more.
            is_asked: Whether somebody asked for it, and so takes what other passes claim, and probes what fails.
            on_due: Called with moments of the wall clock at which rows are due that this pass leaves.
            on_probe: Called with moments of the loop clock at which an endpoint may be probed.
            on_skipped: Called when it is through with an endpoint whose rows a later pass left to it.
        """
        self.tally = Tally()
        self.has_lanes = False
        self._has_begun = False
        self._common = common
        self._check = check
        self._is_asked = is_asked
        self._on_due = on_due
        self._writing = Writing(common, self.tally, check, on_due)
        self._lanes = Lanes(common, is_asked=is_asked, on_due=on_due, on_probe=on_probe, on_skipped=on_skipped)
        self._cutoff = 0.0
        self._stir = asyncio.Event()
        self._workers = Workers(common, self.tally, self._writing, self._stir.set, self._give_back)
        self._claiming: asyncio.Task[list[ClaimedRow]] | None = None

    @property
    def stragglers(self) -> list[str]:
        """Names of workers that ignored their cancellation."""
        return self._workers.stragglers

    async def open(self) -> None:
        """See what is due, up to this moment.

        Raises:
            StoreError: The store failed.
            ClosedError: The deliveries do not run.
        """
        common, loop = self._common, asyncio.get_running_loop()
        self._cutoff = now = common.deliveries.clock.time()
        began = loop.time()
        self._check()
        if self._is_asked or began >= common.rescues_at:  # it writes, and clocks are set back seldom
            self.tally.rescued = await common.deliveries.kept.rescue(
                now=now,
                claimed_before=now + LONGEST_CLAIM,
                due_before=now + common.deliveries.policy.longest,
                unattempted_after=now + TOLERANCE if common.setback.is_looked_for(now, began) else math.inf,
            )
            common.setback.looked(began)
            common.rescues_at = loop.time() + common.interval / 2  # half, so that the pass of each interval looks
        await self._lanes.open(now)
        self.has_lanes = bool(self._lanes)

    async def run(self) -> None:
        """Claim and attempt; return when every worker has ended.

        Raises:
            StoreError: The store could not claim. What was claimed before was attempted and written.
            LeaseLostError: Nothing may be written any more.
            ClosedError: The deliveries do not run any more.

        Cancellation:
            What runs is cancelled, and what is not known to be sent is given back.
        """
        self._common.stirs.add(self._stir)
        listeners = self._common.deliveries.endpoint_listeners
        listeners.add(self._endpoint_changed)
        try:
            if self._lanes or self._common.books.left():
                self._has_begun = True
                await self._workers.start()
                self._workers.write_left()
                await self._claim_all()
            if self._workers.failure is not None:
                raise self._workers.failure
        finally:
            self._common.stirs.discard(self._stir)
            listeners.discard(self._endpoint_changed)
            self._lanes.leave_all()
            if self._has_begun:
                await finish(self._end())  # however often this is cancelled
            self._common.books.leave(self.tally)
            self._common.episodes.passed()

    def request_stop(self) -> None:
        """Claim nothing more."""
        self._workers.is_stopping = True
        self._stir.set()

    async def look(self) -> None:
        """See when rows are due next of the endpoints that this pass was through with.

        Raises:
            StoreError: The store failed.
            ClosedError: The deliveries do not run any more.
        """
        common = self._common
        for endpoint, first_due_at in await common.deliveries.kept.due():
            pace = common.pacing.pace(endpoint, asyncio.get_running_loop().time())
            if endpoint.state is EndpointState.PAUSED or not common.deliveries.senders.has(endpoint):
                continue
            # What was due before that is being attempted, here or elsewhere, or waits for a probe.
            if first_due_at > pace.listed:
                self._on_due(first_due_at)

    def _endpoint_changed(self, endpoint: EndpointInfo) -> None:
        self._lanes.see(endpoint)
        self._stir.set()

    # -- claiming -----------------------------------------------------------------------------------------------------

    async def _claim_all(self) -> None:
        try:
            await self._claim_in_turn()
            self._lanes.leave_all()
            await self._give_up()
        except (StoreError, OSError):
            await self._workers.idle()  # what is being attempted is written
            raise
        if self._workers.failure is None:
            await self._workers.idle()
            await self._give_up()

    async def _claim_in_turn(self) -> None:
        workers = self._workers
        while self._lanes and not workers.is_stopping and workers.failure is None:
            self._stir.clear()
            await self._lanes.look()
            lane = self._lanes.next() if workers.may_begin else None
            await self._give_up()
            if lane is None:
                if self._lanes:
                    await self._wait()
            elif not lane.is_sent_to:
                await self._refuse(lane)
            elif lane.line and self._common.pacing.room(lane.pace, asyncio.get_running_loop().time()):
                self._begin(lane)
            else:
                await self._claim(lane)

    async def _wait(self) -> None:
        """Park until a slot is free, or a rate lets an attempt begin."""
        loop = asyncio.get_running_loop()
        ready_at = self._lanes.ready_at(loop.time())
        timer = None if ready_at is None else loop.call_at(ready_at, self._stir.set)
        try:
            await self._stir.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _begin(self, lane: Lane) -> None:
        """Begin with what waits for slots, as far as there are any."""
        pacing, now = self._common.pacing, asyncio.get_running_loop().time()
        while pacing.room(lane.pace, now) and (claimed := lane.take(now)) is not None:
            pacing.take(lane.pace, 1, now)
            self._workers.begin(Held(claimed, lane))

    async def _claim(self, lane: Lane) -> None:
        common, loop = self._common, asyncio.get_running_loop()
        pacing, pace, asked_at = common.pacing, lane.pace, loop.time()
        slots, epoch = pacing.room(pace, asked_at), pace.epoch
        number = slots + max(0, pacing.ahead(pace, asked_at) - len(lane.line))
        pacing.take(pace, slots, asked_at)
        lasts, page = common.claim_lasts(lane.endpoint), []
        endpoint, after = lane.endpoint, lane.after
        try:
            page = await self._claimed(lane, number, lasts)
        finally:
            pacing.give_back(pace, max(0, slots - len(page)))
            common.freed()
        rows = [row for row, _ in page]
        lane.is_claimed = len(page) < number and not await self._has_changed(lane, endpoint, page)
        # An attempt that began later might outlive its claim.
        late_at = asked_at + lasts - common.longest(endpoint)
        if lane.endpoint is not endpoint:  # changed since it was asked for: what was paused is not sent to
            pacing.give_back(pace, min(slots, len(page)))
            self._lanes.claim_again(rows)
            lane.after, lane.is_claimed = after, False
        elif loop.time() > late_at or self._workers.is_stopping:
            pacing.give_back(pace, min(slots, len(page)))
            self._lanes.given_up += rows
        else:
            for claimed in page[:slots]:
                held = Held(claimed, lane)
                held.epoch = epoch
                self._workers.begin(held)
            lane.add(page[slots:], asked_at + LINE_TIME)
        if lane.is_done:
            self._lanes.leave(lane)

    async def _refuse(self, lane: Lane) -> None:
        endpoint = lane.endpoint
        page = await self._claimed(lane, REFUSED_PAGE, self._common.claim_ttl)
        if page:
            rows = [row for row, _ in page]
            self._lanes.given_up += rows  # if this is cut off
            await self._writing.refuse(lane, page)
            del self._lanes.given_up[-len(rows) :]
        if len(page) < REFUSED_PAGE and not await self._has_changed(lane, endpoint, page):
            self._lanes.leave(lane)

    async def _has_changed(self, lane: Lane, endpoint: EndpointInfo, page: Sequence[ClaimedRow]) -> bool:
        """Whether an endpoint is not any more as it was when a page of its rows was asked for."""
        if not page:  # so does a store answer that has it otherwise
            await self._lanes.look(at_once=True)
        return lane.endpoint is not endpoint

    async def _claimed(self, lane: Lane, limit: int, lasts: float) -> list[ClaimedRow]:
        """The next rows of an endpoint; what is granted to a pass that is cancelled meanwhile is given back."""
        deliveries = self._common.deliveries
        self._check()
        now = deliveries.clock.time()
        self._claiming = begin(
            deliveries.kept.claim(
                lane.endpoint,
                holder=self._common.holder,
                cutoff=self._cutoff,
                after=lane.after,
                now=now,
                until=now + lasts,
                limit=limit,
            )
        )
        await asyncio.wait({self._claiming})
        claiming, self._claiming = self._claiming, None
        page = claiming.result()
        self._common.episodes.store_is_well()
        self.tally.claimed += len(page)
        if page:
            last = page[-1].row
            lane.after = Place(self._cutoff if last.due_at is None else last.due_at, last.id)
        return page

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End what still runs, and give back what was claimed and not attempted."""
        workers = self._workers
        await workers.stop(CUT_GRACE)
        claiming, self._claiming = self._claiming, None
        if claiming is not None:
            await asyncio.wait({claiming}, timeout=RELEASE_GRACE)
            claiming.cancel()  # a no-op where it has ended
            await asyncio.wait({claiming}, timeout=CUT_GRACE)
            if claiming.done() and not claiming.cancelled() and claiming.exception() is None:
                workers.left += [row for row, _ in claiming.result()]
        with contextlib.suppress(LeaseLostError, ClosedError, TimeoutError):
            async with asyncio.timeout(RELEASE_GRACE):
                await self._release(workers.left + self._lanes.given_up)

    def _give_back(self, row: DeliveryRow) -> None:
        self._lanes.claim_again([row])
        self._stir.set()

    async def _give_up(self) -> None:
        """Give back what was claimed in vain."""
        lanes = self._lanes
        if lanes.given_up:
            await self._release(lanes.given_up)
            self.tally.claimed -= lanes.again  # else they would be counted twice
            self.tally.skipped += len(lanes.given_up) - lanes.again
            lanes.given_up, lanes.again = [], 0

    async def _release(self, rows: list[DeliveryRow]) -> None:
        """Give rows back; where the store fails, their claims end by themselves."""
        if rows:
            self._check()
            try:
                await self._common.deliveries.kept.release(rows)
            except LeaseLostError:
                raise
            except (StoreError, OSError) as error:
                self._common.episodes.store_failed(error)
