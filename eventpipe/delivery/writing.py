"""What attempts came to, written down and told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.delivery.bookkeeping import insist
from eventpipe.delivery.machine import DeliveryOutcome, advance
from eventpipe.delivery.outcomes import changed
from eventpipe.errors import ClosedError, LeaseLostError, StoreError, UnknownEndpointError
from eventpipe.stores.delivery_values import Change, ClaimedRow, DeliveryRow, EndpointState

if TYPE_CHECKING:
    from eventpipe.delivery.attempting import Held
    from eventpipe.delivery.common import Common
    from eventpipe.delivery.lane import Lane
    from eventpipe.delivery.reports import Tally

# Rows that are written at the beginning of a pass, in one transaction.
LEFT_PAGE: Final = 1_000
GONE_REASON: Final = "the far end answered 410 Gone"

_logger = contained_logger(__name__)


class Writing:
    """Writes what became of rows; an error of one is listed, and touches no other.

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

    async def write_left(self) -> None:
        """Write what earlier attempts came to that could not be written then, and that nobody else writes.

        A row that is claimed still as it was when it was sent is written, and not sent again by whoever claims it next.
        Where the store fails, that is for another time.

        Raises:
            LeaseLostError: Nothing may be written any more.
            ClosedError: The deliveries do not run any more.
        """
        common = self._common
        left, kept = common.books.left()[:LEFT_PAGE], common.deliveries.kept
        if not left:
            return
        self._check()
        try:
            were_done = await self._written([change for _, change in left])
        except (LeaseLostError, ClosedError):
            raise
        except Exception:  # noqa: BLE001  # whatever it is, there is another pass
            return
        for (row, change), was_done in zip(left, were_done, strict=True):
            if not was_done:
                common.books.outdate(row)
                continue
            common.books.forget(row)
            self._tally.wrote(change, was_done=True)
            common.episodes.wrote(row, change)
            if change.due_at is not None:
                self._on_retry(change.due_at)
            if common.deliveries.outcomes.is_wanted:
                event = await kept.event(row.event_uuid)
                common.deliveries.outcomes.tell([changed(row, change, None if event is None else event.event)])

    async def write(self, page: Sequence[Held]) -> bool:
        """Write what became of rows, all at once; whether that was done: else each is to be written by itself.

        Raises:
            LeaseLostError: Nothing may be written any more. What attempts came to is remembered.
            ClosedError: The deliveries do not run any more. As above.

        Cancellation:
            What attempts came to is remembered; perhaps it was done.
        """
        self._check()
        decided = [(held, held.change) for held in page if held.change is not None]
        try:
            were_done = await self._common.deliveries.kept.change([change for _, change in decided])
        except (LeaseLostError, ClosedError):
            raise
        except Exception:  # noqa: BLE001  # whatever it is, and whoever is to blame: alone, nobody else is touched
            return False
        for (held, change), was_done in zip(decided, were_done, strict=True):
            self._common.books.forget(held.row)
            self._wrote(held, change, was_done)
        return True

    async def write_alone(self, held: Held) -> None:
        """Write what became of a row until the store has answered.

        Raises:
            LeaseLostError: As ``write()``.
            ClosedError: As ``write()``.

        Cancellation:
            As ``write()``.
        """
        change = held.change
        if change is None:
            return
        try:
            (was_done,) = await insist(lambda: self._written([change]), self._check)
            self._common.books.forget(held.row)
            self._wrote(held, change, was_done)
            if held.has_ended_endpoint:
                await self._disable(held)
        except (LeaseLostError, ClosedError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it is listed
            if isinstance(error, StoreError | OSError):
                self._common.episodes.store_failed(error)
            else:
                _logger.error("delivery %d: %s", held.row.id, where_raised(error))
            if not held.is_settled:
                held.is_settled = True
                self._tally.went_wrong(held.row.id, error)
                self._common.books.leave(self._tally, held.row)

    async def refuse(self, lane: Lane, page: Sequence[ClaimedRow]) -> None:
        """Fail the rows of an endpoint that is disabled or removed, without an attempt.

        Raises:
            LeaseLostError: Nothing may be written any more.
            ClosedError: The deliveries do not run any more.
        """
        common = self._common
        is_removed = lane.endpoint.state is EndpointState.REMOVED
        outcome = DeliveryOutcome.REMOVED if is_removed else DeliveryOutcome.DISABLED
        # What was sent before, and could not be written, came to what it came to.
        now, policy = common.deliveries.clock.time(), common.deliveries.policy
        changes = [
            common.books.known(row) or advance(row, outcome, now, policy, random=common.random) for row, _ in page
        ]
        decided = [(one, change) for one, change in zip(page, changes, strict=True) if change is not None]
        try:
            were_done = await insist(lambda: self._written([change for _, change in decided]), self._check)
        except (LeaseLostError, ClosedError):
            raise
        except Exception as error:  # noqa: BLE001  # listed
            for one, _ in decided:
                self._tally.went_wrong(one.row.id, error)
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

    def _wrote(self, held: Held, change: Change, was_done: bool) -> None:
        common = self._common
        self._tally.wrote(change, was_done)
        held.is_settled = True
        if was_done:
            common.episodes.wrote(held.row, change)
            if common.deliveries.outcomes.is_wanted:
                common.deliveries.outcomes.tell([changed(held.row, change, held.claimed.event.event)])
            if change.due_at is not None:
                self._on_retry(change.due_at)

    async def _written(self, changes: Sequence[Change]) -> list[bool]:
        """Change rows; of each whether it was changed, now or by an earlier try whose answer was lost."""
        kept = self._common.deliveries.kept
        were_done = await kept.change(changes)
        return [
            was_done or _is_made_by(change, await kept.row(change.id))
            for change, was_done in zip(changes, were_done, strict=True)
        ]

    async def _disable(self, held: Held) -> None:
        """Deliver no more to an endpoint that does not exist, unless it was changed since the attempt began."""
        kept, endpoint = self._common.deliveries.kept, held.endpoint
        found = await insist(lambda: kept.endpoints(endpoint.name), self._check)
        if [(now.created_at, now.version) for now in found] == [(endpoint.created_at, endpoint.version)]:
            with contextlib.suppress(UnknownEndpointError):  # removed at this moment
                held.lane.endpoint = await insist(
                    lambda: kept.set_endpoint_state(endpoint.name, EndpointState.DISABLED, GONE_REASON), self._check
                )
                self._common.episodes.gone(endpoint)


def _is_made_by(change: Change, row: DeliveryRow | None) -> bool:
    """Whether a row is what a change makes of the one that it was decided on."""
    return row is not None and (row.version, row.state, row.attempts, row.due_at, row.settled_at) == (
        change.version + 1,
        change.state,
        change.attempts,
        change.due_at,
        change.settled_at,
    )
