"""One pass: everything that is due when it begins is claimed, attempted and written, or left for a stated reason."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final

from eventpipe.delivery.attempting import Held
from eventpipe.delivery.claiming import CUT_GRACE, MAX_ASKS, RELEASE_GRACE, Ask, Claims
from eventpipe.delivery.common import LONGEST_CLAIM, Common
from eventpipe.delivery.lane import LINE_TIME, Lane
from eventpipe.delivery.lanes import Lanes
from eventpipe.delivery.reports import Tally
from eventpipe.delivery.setback import TOLERANCE
from eventpipe.delivery.workers import Workers
from eventpipe.delivery.writing import Writing
from eventpipe.errors import ClosedError, LeaseLostError, StoreError
from eventpipe.log.finishing import finish
from eventpipe.stores.delivery_values import DeliveryRow, EndpointInfo, EndpointState

# Rows that fail without an attempt in one transaction.
REFUSED_PAGE: Final = 200


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
        self._claims = Claims(common, self.tally, check)
        self._stir = asyncio.Event()
        self._workers = Workers(common, self.tally, self._writing, self._lanes, self._stir.set)

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
        self._claims.cutoff = now = common.deliveries.clock.time()
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
        self._common.stirs.append(self._stir)
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
            self._common.stirs.remove(self._stir)
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
            self._lanes.give_back_late()
            await self._give_up()  # before it is claimed again
            asks, refused = self._go_round()
            if asks:  # at once: they have slots
                await self._claim(asks)
            await self._give_up()
            if refused is not None:
                await self._refuse(refused)
            elif not asks and self._lanes:
                await self._wait()

    def _go_round(self) -> tuple[list[Ask], Lane | None]:
        """Begin with what waits, endpoint by endpoint; what is to be claimed, and whose rows are to fail.

        What is asked for has its slots.
        """
        lanes, asks = self._lanes, list[Ask]()
        spare = lanes.spare()
        for lane in lanes.in_turn():
            if not self._workers.may_begin or len(asks) == MAX_ASKS or not (spare > 0 or lanes.must_go_round):
                break
            if not lane.is_sent_to:
                lanes.had_turn(lane)
                return asks, lane
            while (held := lanes.take(lane)) is not None:
                self._workers.begin(held)
            if (ask := self._ask(lane, spare)) is not None:
                spare -= ask.number - ask.slots
                asks.append(ask)
        lanes.mark()
        return asks, None

    def _ask(self, lane: Lane, spare: int) -> Ask | None:
        """What is to be claimed of an endpoint now, if anything is.

        Args:
            lane: Whose.
            spare: How many rows may be claimed beside those that have slots.
        """
        now, pacing = asyncio.get_running_loop().time(), self._common.pacing
        waiting = len(lane.line)
        if lane.is_claimed:
            return None
        slots, ahead = pacing.room(lane.pace, now), min(pacing.ahead(lane.pace, now) - waiting, spare)
        if not slots and ahead <= waiting:  # else half of what may wait has begun
            return None
        if slots:
            self._lanes.had_turn(lane)
            pacing.take(lane.pace, slots, now)
        return Ask(lane, slots + max(0, ahead), self._common.claim_lasts(lane.endpoint), slots, now)

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

    async def _claim(self, asks: Sequence[Ask]) -> None:
        pacing = self._common.pacing
        try:
            await self._claims.make(asks)
        finally:
            for ask in asks:
                pacing.give_back(ask.lane.pace, max(0, ask.slots - len(ask.page)))
            self._common.freed()
        for ask in asks:
            if ask.page:
                self._begin(ask)
        for ask in asks:
            if ask.error is not None:
                raise ask.error
        if empty := [ask for ask in asks if not ask.page]:
            await self._leave(empty)

    def _begin(self, ask: Ask) -> None:
        """Begin with what was granted, and let wait what has no slots."""
        lane, slots, page, pacing = ask.lane, ask.slots, ask.page, self._common.pacing
        # An attempt that began later might outlive its claim.
        late_at = ask.asked_at + ask.lasts - self._common.longest(ask.endpoint)
        lane.is_claimed = len(page) < ask.number
        if lane.endpoint is not ask.endpoint:  # changed since it was asked for: what was paused is not sent to
            pacing.give_back(lane.pace, min(slots, len(page)))
            self._lanes.claim_again(ask.rows)
            lane.after, lane.is_claimed = ask.after, False
        elif asyncio.get_running_loop().time() > late_at or self._workers.is_stopping:
            pacing.give_back(lane.pace, min(slots, len(page)))
            self._lanes.given_up += ask.rows
        else:
            for claimed in page[:slots]:
                held = Held(claimed, lane)
                held.epoch = ask.epoch
                self._workers.begin(held)
            self._lanes.add(lane, page[slots:], ask.asked_at + LINE_TIME)
        if lane.is_done:
            self._lanes.leave(lane)

    async def _leave(self, asks: Sequence[Ask]) -> None:
        """Be through with endpoints that have nothing more, unless they are otherwise: then a store says so, too."""
        if await self._claims.have_changed(asks):
            await self._lanes.look(at_once=True)
        for ask in asks:
            lane = ask.lane
            lane.is_claimed = lane.endpoint is ask.endpoint
            if lane.is_done:
                self._lanes.leave(lane)

    async def _refuse(self, lane: Lane) -> None:
        ask = Ask(lane, REFUSED_PAGE, self._common.claim_ttl, 0, asyncio.get_running_loop().time())
        await self._claims.make([ask])
        if ask.error is not None:
            raise ask.error
        if ask.page:
            lanes, refused = self._lanes, {row.id for row in ask.rows}
            lanes.given_up += ask.rows  # if this is cut off
            await self._writing.refuse(lane, ask.page)
            lanes.given_up = [row for row in lanes.given_up if row.id not in refused]  # others may have come meanwhile
        if not ask.page:
            await self._leave([ask])
        elif len(ask.page) < ask.number and lane.endpoint is ask.endpoint:
            self._lanes.leave(lane)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End what still runs, and give back what was claimed and not attempted."""
        workers = self._workers
        await workers.stop(CUT_GRACE)
        workers.left += await self._claims.cut_off()
        with contextlib.suppress(LeaseLostError, ClosedError, TimeoutError):
            async with asyncio.timeout(RELEASE_GRACE):
                await self._release(workers.left + self._lanes.given_up)

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
