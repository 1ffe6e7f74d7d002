"""What tells the world of deliveries: subscriptions to their outcomes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from eventpipe.core.service import ServiceState
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import NO_DURATIONS, DropReason, Durations, Outcome, OutcomeKind
from eventpipe.stores.delivery_values import AttemptRecord, Change, DeliveryRow, DeliveryState, FailureReason
from eventpipe.transport.feed import OutcomeFeed, Outlet

DROP_REASONS: Final[Mapping[FailureReason, DropReason]] = {
    FailureReason.REJECTED: DropReason.REJECTED,
    FailureReason.EXHAUSTED: DropReason.EXHAUSTED,
    FailureReason.EXPIRED: DropReason.EXPIRED,
    FailureReason.ENDPOINT_GONE: DropReason.MISCONFIGURED,
    FailureReason.ENDPOINT_DISABLED: DropReason.MISCONFIGURED,
    FailureReason.ENDPOINT_REMOVED: DropReason.MISCONFIGURED,
    FailureReason.UNREADABLE: DropReason.INVALID,
    FailureReason.CANCELLED: DropReason.ABANDONED,
}
"""What a delivery that failed is told as."""

_GRACE: Final = 1.0  # seconds that the last outcomes may take at a stop


class DeliveryOutcomes:
    """Whoever is told of the outcomes of deliveries, in the life that they are in or, before they start, the next.

    Subscriptions end with a life, after all that happened in it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()

    @property
    def feed(self) -> OutcomeFeed:
        """What is subscribed to."""
        return self._feed

    @property
    def is_wanted(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._feed.subscribers.wanted)

    def open(self) -> None:
        """Tell by way of a task from now on, where somebody subscribes; before, subscriptions are told directly."""
        self._feed.open()
        self._outlet.open()

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Tell everybody."""
        self._outlet(outcomes)

    async def close(self) -> None:
        """End this life's subscriptions, once they have what there is.

        Cancellation:
            They end all the same.
        """
        feed = self._feed
        self._outlet.close()
        feed.finish()
        self._begin()
        if feed.state in (ServiceState.STARTING, ServiceState.RUNNING):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await feed.stopped()

    def _begin(self) -> None:
        self._feed = OutcomeFeed(f"outcomes of {self._name}")
        self._outlet: Outlet = self._feed.observer(self._name)


def changed(row: DeliveryRow, change: Change, event: CapturedEvent | None) -> Outcome:
    """What a change of a row is told as.

    Args:
        row: As it was before.
        change: What it came to.
        event: The event; ``None``: it cannot be read.
    """
    attempt = change.attempt
    number = row.total_attempts if attempt is None else attempt.number
    status, error = (None, None) if attempt is None else (attempt.status, attempt.error)
    if change.state is DeliveryState.SUCCESS:
        kind, reason = OutcomeKind.DELIVERED, None
    elif change.reason is not None:
        kind, reason = OutcomeKind.DROPPED, str(DROP_REASONS[change.reason])
        error = error or str(change.reason)
    else:
        kind, reason = OutcomeKind.RETRY, "sink_error" if status is None else f"status_{status}"
    return Outcome(
        kind, row.endpoint, number, reason, status, _durations(row, attempt), error, () if event is None else (event,)
    )


def interrupted(row: DeliveryRow, event: CapturedEvent, duration: float) -> Outcome:
    """What is told of an attempt that was cut off, so that nobody knows what became of it."""
    return Outcome(
        OutcomeKind.INTERRUPTED,
        row.endpoint,
        row.total_attempts + 1,
        durations=Durations(send=duration),
        captured=(event,),
    )


def cancelled(row: DeliveryRow, event: CapturedEvent | None) -> Outcome:
    """What is told of a row that somebody cancelled."""
    reason = FailureReason.CANCELLED
    return Outcome(
        OutcomeKind.DROPPED,
        row.endpoint,
        row.total_attempts,
        str(DROP_REASONS[reason]),
        error=str(reason),
        captured=() if event is None else (event,),
    )


def _durations(row: DeliveryRow, attempt: AttemptRecord | None) -> Durations:
    if attempt is None:
        return NO_DURATIONS
    waited = max(0.0, attempt.began_at - row.created_at)
    return Durations(waited, 0.0, attempt.duration) if attempt.number == 1 else Durations(0.0, waited, attempt.duration)
