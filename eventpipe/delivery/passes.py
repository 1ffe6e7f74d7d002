"""One pass: everything that is due when it begins is claimed, attempted and written, or left for a stated reason."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from eventpipe.core.pool import Pool
from eventpipe.delivery.attempting import Attempting, Held
from eventpipe.delivery.common import LONGEST_CLAIM, Common
from eventpipe.delivery.lanes import Lane, Lanes
from eventpipe.delivery.reports import Tally
from eventpipe.errors import ClosedError, LeaseLostError, StoreError
from eventpipe.log.finishing import begin, finish
from eventpipe.stores.delivery_values import ClaimedRow, DeliveryRow, EndpointState, Place

# Rows that fail without an attempt in one transaction.
REFUSED_PAGE: Final = 200

# Seconds that what is cut off has to end, and then that its rows have to be given back.
CUT_GRACE: Final = 0.05
RELEASE_GRACE: Final = 0.1

# A slot is given back a moment before its task has ended.
_TASKS_PER_SLOT: Final = 2


class Pass:
    """Claims what is due, endpoint by endpoint in turn, and never more than there are free slots for.

    Attributes:
        tally: What it did.
        stragglers: Names of workers that ignored their cancellation.
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
        self.stragglers: list[str] = []
        self.has_lanes = False
        self._common = common
        self._check = check
        self._on_due = on_due
        self._attempting = Attempting(common, self.tally, check, on_due)
        self._lanes = Lanes(common, is_asked=is_asked, on_due=on_due, on_probe=on_probe, on_skipped=on_skipped)
        self._cutoff = 0.0
        self._stir = asyncio.Event()
        self._pool: Pool[Held] = Pool(
            _TASKS_PER_SLOT * common.pacing.workers,
            common.deliveries.name + " attempts",
            on_lost=self._lost,
            on_free=common.freed,
        )
        self._claiming: asyncio.Task[list[ClaimedRow]] | None = None
        self._left: list[DeliveryRow] = []  # claimed, and not attempted to an end
        self._is_stopping = self._is_ending = False
        self._failure: BaseException | None = None

    async def open(self) -> None:
        """See what is due, up to this moment.

        Raises:
            StoreError: The store failed.
            ClosedError: The deliveries do not run.
        """
        deliveries = self._common.deliveries
        self._cutoff = now = deliveries.clock.time()
        self._check()
        self.tally.rescued = await deliveries.kept.rescue(
            now=now, claimed_before=now + LONGEST_CLAIM, due_before=now + deliveries.policy.longest
        )
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
        try:
            if self._lanes:
                await self._pool.start()
                await self._claim_all()
            if self._failure is not None:
                raise self._failure
        finally:
            self._is_ending = True
            self._common.stirs.discard(self._stir)
            self._lanes.leave_all()
            if self.has_lanes:
                await finish(self._end())  # however often this is cancelled

    def request_stop(self) -> None:
        """Claim nothing more."""
        self._is_stopping = True
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

    # -- claiming -----------------------------------------------------------------------------------------------------

    async def _claim_all(self) -> None:
        try:
            await self._claim_in_turn()
        except (StoreError, OSError):
            await self._pool.idle()  # what is being attempted is written
            raise
        if self._failure is None:
            await self._pool.idle()

    async def _claim_in_turn(self) -> None:
        while self._lanes and not self._is_stopping and self._failure is None:
            self._stir.clear()
            await self._lanes.look()
            lane = self._lanes.next()
            if lane is None and self._lanes:
                await self._wait()
            elif lane is None:
                return
            elif lane.is_sent_to:
                await self._claim(lane)
            else:
                await self._refuse(lane)

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

    async def _claim(self, lane: Lane) -> None:
        common, loop = self._common, asyncio.get_running_loop()
        pace, asked_at = lane.pace, loop.time()
        number, epoch = common.pacing.room(pace, asked_at), pace.epoch
        common.pacing.take(pace, number, asked_at)
        lasts, page = common.claim_lasts(lane.endpoint.timeout), []
        try:
            page = await self._claimed(lane, number, lasts)
        finally:
            common.pacing.give_back(pace, number - len(page))
            common.freed()
        is_late = loop.time() + (lane.endpoint.timeout or common.timeout) > asked_at + lasts
        if is_late or self._is_stopping:
            # The claim might end before the attempt does.
            common.pacing.give_back(pace, len(page))
            self.tally.skipped += len(page)
            await self._release([row for row, _ in page])
        else:
            for claimed in page:
                held = Held(claimed, lane, epoch)
                self._pool.try_acquire()
                self._pool.spawn(self._work(held), held)
        if len(page) < number:
            self._lanes.leave(lane)

    async def _refuse(self, lane: Lane) -> None:
        page = await self._claimed(lane, REFUSED_PAGE, self._common.claim_ttl)
        if page:
            await self._attempting.refuse(lane, page)
        if len(page) < REFUSED_PAGE:
            self._lanes.leave(lane)

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

    # -- workers ------------------------------------------------------------------------------------------------------

    async def _work(self, held: Held) -> None:
        try:
            await self._attempting.settle(held)
        except (LeaseLostError, ClosedError) as error:
            self._failed(error)
        finally:
            self._give_slot_back(held)

    def _lost(self, held: Held) -> None:
        """Take back what a worker did not bring to an end, because it was cancelled."""
        self._give_slot_back(held)
        if not held.is_answered:
            self._attempting.interrupted(held)
            self._left.append(held.row)
        if not self._is_ending and not held.is_settled and self._failure is None:
            self.tally.errors.append((held.row.id, RuntimeError("somebody cancelled the task that attempted it")))

    def _give_slot_back(self, held: Held) -> None:
        if held.has_slot:
            held.has_slot = False
            self._common.pacing.ended(held.lane.pace)
            self._common.freed()

    def _failed(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._stir.set()

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End what still runs, and give back what was claimed and not attempted."""
        self.stragglers = await self._pool.stop(CUT_GRACE)
        claiming, self._claiming = self._claiming, None
        if claiming is not None:
            await asyncio.wait({claiming}, timeout=RELEASE_GRACE)
            claiming.cancel()  # a no-op where it has ended
            await asyncio.wait({claiming}, timeout=CUT_GRACE)
            if claiming.done() and not claiming.cancelled() and claiming.exception() is None:
                self._left += [row for row, _ in claiming.result()]
        with contextlib.suppress(LeaseLostError, ClosedError, TimeoutError):
            async with asyncio.timeout(RELEASE_GRACE):
                await self._release(self._left)

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
