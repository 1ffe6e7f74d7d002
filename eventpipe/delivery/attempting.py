"""One delivery that was claimed: attempted, judged, written down and told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.delivery.bookkeeping import insist
from eventpipe.delivery.machine import DeliveryOutcome, advance
from eventpipe.delivery.outcomes import changed, interrupted
from eventpipe.errors import ClosedError, LeaseLostError, StoreError
from eventpipe.stores.delivery_values import Change, ClaimedRow, DeliveryRow, EndpointInfo, EndpointState, FailureReason

if TYPE_CHECKING:
    from eventpipe.delivery.common import Common
    from eventpipe.delivery.lanes import Lane
    from eventpipe.delivery.reports import Tally

GONE_REASON: Final = "the far end answered 410 Gone"

_logger = contained_logger(__name__)


class Held:
    """A row in the hands of a worker.

    Attributes:
        claimed: The row, and its event.
        lane: Where it is from.
        epoch: That of the pace when its slot was taken.
        began: When the attempt began, on the loop clock; ``None``: it has not.
        is_answered: Whether it is known what the attempt came to, which leads to no other one.
        is_settled: Whether it is counted.
        has_slot: Whether its slot is taken.
    """

    def __init__(self, claimed: ClaimedRow, lane: Lane, epoch: int) -> None:
        self.claimed = claimed
        self.lane = lane
        self.epoch = epoch
        self.began: float | None = None
        self.is_answered = False
        self.is_settled = False
        self.has_slot = True

    @property
    def row(self) -> DeliveryRow:
        """The row, as it was claimed."""
        return self.claimed.row


class Attempting:
    """Does what is to be done with a claimed row; its errors are listed, and touch no other row.

    Args:
        common: What all passes share.
        tally: Of the pass.
        check: Raises where nothing may be written any more.
        on_retry: Called with the wall clock's moment at which a row is due again.
    """

    def __init__(
        self,
        common: Common,
        tally: Tally,
        check: Callable[[], object],
        on_retry: Callable[[float], object],
    ) -> None:
        self._common = common
        self._tally = tally
        self._check = check
        self._on_retry = on_retry

    async def settle(self, held: Held) -> None:
        """Attempt a row and write what became of it.

        Raises:
            LeaseLostError: Nothing may be written any more. What the attempt came to is remembered.
            ClosedError: The deliveries do not run any more. As above.

        Cancellation:
            What the attempt came to is remembered, where that is known.
        """
        try:
            await self._settle(held)
        except (LeaseLostError, ClosedError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it is listed
            held.is_settled = True
            self._tally.errors.append((held.row.id, error))
            if isinstance(error, StoreError | OSError):
                self._common.episodes.store_failed(error)
            else:
                _logger.error("delivery %d: %s", held.row.id, where_raised(error))

    def interrupted(self, held: Held) -> None:
        """Tell of an attempt that was cut off."""
        event = held.claimed.event.event
        if held.began is not None and not held.is_answered and event is not None:
            duration = asyncio.get_running_loop().time() - held.began
            self._common.deliveries.outcomes.tell([interrupted(held.row, event, duration)])

    async def _settle(self, held: Held) -> None:
        change, endpoint = self._common.books.known(held.row), None
        if change is None:
            endpoint = held.lane.endpoint
            change = await self._attempted(held, endpoint)
        held.is_answered = True
        if change is None:
            self._tally.skipped += 1  # it was final, which no store hands out
        else:
            was_done = await self._common.books.write(held.row, change, self._check)
            if change.reason is FailureReason.ENDPOINT_GONE and endpoint is not None:
                await self._disable(held.lane, endpoint)
            self._wrote(held, change, was_done)
        held.is_settled = True

    async def _attempted(self, held: Held, endpoint: EndpointInfo) -> Change | None:
        common, row, pace = self._common, held.row, held.lane.pace
        deliveries, loop = common.deliveries, asyncio.get_running_loop()
        event = held.claimed.event.event
        if event is None:
            return self._advance(row, DeliveryOutcome.UNREADABLE)
        held.began = loop.time()
        judgement, record = await deliveries.senders.attempt(
            endpoint, event, row.total_attempts + 1, timeout=common.timeout
        )
        change = advance(
            row,
            judgement.outcome,
            deliveries.clock.time(),
            deliveries.policy,
            random=common.random,
            retry_after=judgement.retry_after,
            attempt=record,
        )
        if change is not None:
            common.books.remember(row, change)  # whatever happens now, it is not sent again
        if judgement.outcome is DeliveryOutcome.RETRY:
            pace.failed(held.epoch, loop.time(), common.interval, judgement.retry_after)
        elif judgement.outcome is not DeliveryOutcome.UNREADABLE:
            pace.succeeded()  # a refusal is an answer too
        return change

    def _advance(self, row: DeliveryRow, outcome: DeliveryOutcome) -> Change | None:
        deliveries = self._common.deliveries
        return advance(row, outcome, deliveries.clock.time(), deliveries.policy, random=self._common.random)

    def _wrote(self, held: Held, change: Change, was_done: bool) -> None:
        common = self._common
        self._tally.wrote(change, was_done)
        if was_done:
            common.episodes.wrote(held.row, change)
            if common.deliveries.outcomes.is_wanted:
                common.deliveries.outcomes.tell([changed(held.row, change, held.claimed.event.event)])
            if change.due_at is not None:
                self._on_retry(change.due_at)

    async def _disable(self, lane: Lane, endpoint: EndpointInfo) -> None:
        """Deliver no more to an endpoint that does not exist, unless it was changed since the attempt began."""
        kept = self._common.deliveries.kept
        found = await insist(lambda: kept.endpoints(endpoint.name), self._check)
        if [(now.created_at, now.version) for now in found] == [(endpoint.created_at, endpoint.version)]:
            lane.endpoint = await insist(
                lambda: kept.set_endpoint_state(endpoint.name, EndpointState.DISABLED, GONE_REASON), self._check
            )
            self._common.episodes.gone(endpoint)

    async def refuse(self, lane: Lane, page: Sequence[ClaimedRow]) -> None:
        """Fail the rows of an endpoint that is disabled or removed, without an attempt.

        Raises:
            LeaseLostError: Nothing may be written any more.
            ClosedError: The deliveries do not run any more.
        """
        common, kept = self._common, self._common.deliveries.kept
        is_removed = lane.endpoint.state is EndpointState.REMOVED
        outcome = DeliveryOutcome.REMOVED if is_removed else DeliveryOutcome.DISABLED
        # What was sent before, and could not be written, came to what it came to.
        changes = [common.books.known(row) or self._advance(row, outcome) for row, _ in page]
        decided = [(one, change) for one, change in zip(page, changes, strict=True) if change is not None]
        try:
            were_done = await insist(lambda: kept.change([change for _, change in decided]), self._check)
        except (LeaseLostError, ClosedError):
            raise
        except Exception as error:  # noqa: BLE001  # listed
            self._tally.errors += [(one.row.id, error) for one, _ in decided]
            common.episodes.store_failed(error)
            return
        told = []
        for (one, change), was_done in zip(decided, were_done, strict=True):
            common.books.forget(one.row)
            self._tally.wrote(change, was_done)
            if was_done:
                told.append(changed(one.row, change, one.event.event))
        common.episodes.refused(lane.endpoint, len(told))
        common.deliveries.outcomes.tell(told)
