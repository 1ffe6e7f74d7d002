"""One delivery that was claimed: attempted, and what that came to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.delivery.machine import DeliveryOutcome, advance
from eventpipe.delivery.outcomes import interrupted
from eventpipe.stores.delivery_values import Change, ClaimedRow, FailureReason

if TYPE_CHECKING:
    from eventpipe.delivery.common import Common
    from eventpipe.delivery.lane import Lane
    from eventpipe.delivery.reports import Tally

_logger = contained_logger(__name__)


class Held:
    """A row in the hands of a worker.

    Attributes:
        claimed: The row, and its event.
        lane: Where it is from.
        epoch: That of the pace when its slot was taken.
        endpoint: As it was when the attempt began.
        began: When the attempt began, on the loop clock; ``None``: it has not.
        change: What the attempt came to; ``None``: that is not known, or there was no use in one.
        is_answered: Whether it is known what the attempt came to, which leads to no other one.
        is_settled: Whether it is counted.
        has_slot: Whether its slot is taken.
    """

    __slots__ = (
        "began", "change", "claimed", "endpoint", "epoch", "has_slot", "is_answered", "is_settled", "lane", "row"
    )  # fmt: skip

    def __init__(self, claimed: ClaimedRow, lane: Lane) -> None:
        self.claimed = claimed
        self.row = claimed.row
        self.lane = lane
        self.epoch = lane.pace.epoch
        self.endpoint = lane.endpoint
        self.began: float | None = None
        self.change: Change | None = None
        self.is_answered = False
        self.is_settled = False
        self.has_slot = True

    @property
    def has_ended_endpoint(self) -> bool:
        """Whether the far end said, at this very attempt, that the endpoint does not exist any more."""
        change = self.change
        return self.began is not None and change is not None and change.reason is FailureReason.ENDPOINT_GONE


class Attempting:
    """Finds out what becomes of claimed rows; an error of one is listed, and touches no other.

    Args:
        common: What all passes share.
        tally: Of the pass.
    """

    def __init__(self, common: Common, tally: Tally) -> None:
        self._common = common
        self._tally = tally

    async def attempt(self, held: Held) -> None:
        """Find out what becomes of a row, by an attempt where nothing else says it; it is to be written then.

        Cancellation:
            Whether the far end has the event is unknown.
        """
        try:
            held.change = self._common.books.known(held.row) or await self._attempted(held)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is listed
            held.is_settled = True
            _logger.error("delivery %d: %s", held.row.id, where_raised(error))
            self._tally.went_wrong(held.row.id, error)
            return
        held.is_answered = True
        if held.change is None:
            held.is_settled = True
            self._tally.skipped += 1  # it was final, which no store hands out

    def interrupted(self, held: Held) -> None:
        """Tell of an attempt that was cut off."""
        event = held.claimed.event.event
        if held.began is not None and not held.is_answered and event is not None:
            duration = asyncio.get_running_loop().time() - held.began
            self._common.deliveries.outcomes.tell([interrupted(held.row, event, duration)])

    async def _attempted(self, held: Held) -> Change | None:
        common, row, pace = self._common, held.row, held.lane.pace
        deliveries, loop = common.deliveries, asyncio.get_running_loop()
        event = held.claimed.event.event
        if event is None:
            now = deliveries.clock.time()
            return advance(row, DeliveryOutcome.UNREADABLE, now, deliveries.policy, random=common.random)
        held.endpoint = held.lane.endpoint
        held.began = loop.time()
        judgement, record = await deliveries.senders.attempt(
            held.endpoint, event, row.total_attempts + 1, timeout=common.timeout
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
            common.books.remember(row, change, self._tally)  # whatever happens now, it is not sent again
        if judgement.outcome is DeliveryOutcome.RETRY:
            pace.failed(held.epoch, loop.time(), common.interval, judgement.retry_after)
        elif judgement.outcome is not DeliveryOutcome.UNREADABLE:
            pace.succeeded(loop.time() - held.began)  # a refusal is an answer too
        return change
