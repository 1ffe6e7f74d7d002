"""What becomes of deliveries, as subscriptions to outcomes are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventpipe.events import CapturedEvent
from eventpipe.outcomes import NO_DURATIONS, DropReason, Durations, Outcome, OutcomeKind
from eventpipe.stores.delivery_values import AttemptRecord, Change, DeliveryRow, DeliveryState, FailureReason

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
