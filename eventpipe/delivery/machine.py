"""What becomes of a delivery: its state, what happens to it, and when it is due next.

Plain functions of their arguments: no clock and no source of chance of their own. ``docs/deliveries.md`` has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from eventpipe.stores.delivery_values import OPEN, AttemptRecord, Change, DeliveryRow, DeliveryState, FailureReason

if TYPE_CHECKING:
    from eventpipe.delivery.policy import DeliveryPolicy


class DeliveryOutcome(StrEnum):
    """What happened to a delivery: what an attempt led to, what is wrong with its endpoint, or what somebody asked."""

    DELIVERED = "delivered"
    RETRY = "retry"  # it failed, and may succeed later
    REJECTED = "rejected"  # it failed, and would again
    GONE = "gone"  # the far end says that the endpoint does not exist any more
    DISABLED = "disabled"  # the endpoint is disabled; there was no attempt
    REMOVED = "removed"  # the endpoint was removed; there was no attempt
    UNREADABLE = "unreadable"  # what is kept of the event cannot be sent; there was no attempt
    RESEND = "resend"
    CANCEL = "cancel"


_PENDING, _SENDING, _SUCCESS, _FAILED, _RESENDING = DeliveryState

FAILURES: Final[Mapping[DeliveryOutcome, FailureReason]] = {
    DeliveryOutcome.REJECTED: FailureReason.REJECTED,
    DeliveryOutcome.GONE: FailureReason.ENDPOINT_GONE,
    DeliveryOutcome.DISABLED: FailureReason.ENDPOINT_DISABLED,
    DeliveryOutcome.REMOVED: FailureReason.ENDPOINT_REMOVED,
    DeliveryOutcome.UNREADABLE: FailureReason.UNREADABLE,
    DeliveryOutcome.CANCEL: FailureReason.CANCELLED,
}
"""What fails a delivery that is open, whatever its state, and the reason that it then has."""

TRANSITIONS: Final[Mapping[tuple[DeliveryState, DeliveryOutcome], DeliveryState | None]] = {
    **{(state, DeliveryOutcome.DELIVERED): _SUCCESS for state in OPEN},
    **{(state, outcome): _FAILED for state in OPEN for outcome in FAILURES},
    # Unless no attempt is left, or the deadline is over: then it has failed, as EXHAUSTED or EXPIRED.
    (_PENDING, DeliveryOutcome.RETRY): _SENDING,
    (_SENDING, DeliveryOutcome.RETRY): _SENDING,
    (_RESENDING, DeliveryOutcome.RETRY): _RESENDING,
    # What was never attempted is only due at once; all else has had its attempts, and gets as many again.
    (_PENDING, DeliveryOutcome.RESEND): _PENDING,
    **{(state, DeliveryOutcome.RESEND): _RESENDING for state in DeliveryState if state is not _PENDING},
    # Final is final, whatever comes late.
    **{
        (state, outcome): None
        for state in (_SUCCESS, _FAILED)
        for outcome in DeliveryOutcome
        if outcome is not DeliveryOutcome.RESEND
    },
}
"""For every state and everything that can happen the next state; ``None``: nothing changes."""


def advance(
    row: DeliveryRow,
    outcome: DeliveryOutcome,
    now: float,
    policy: DeliveryPolicy,
    *,
    random: Callable[[], float],
    retry_after: float | None = None,
    attempt: AttemptRecord | None = None,
) -> Change | None:
    """Say what becomes of a row.

    Args:
        row: As it was when this was decided; the change holds for that version of it alone.
        outcome: What happened.
        now: Wall clock.
        policy: Delays, deadlines and attempts.
        random: A source of floats, uniform in ``[0, 1)``.
        retry_after: Seconds that the far end asked for, with ``RETRY``; ``None``: it did not say.
        attempt: What is kept of the attempt; ``None``: there was none.

    Returns:
        The change; ``None``: nothing changes, because it is final.
    """
    state = TRANSITIONS[row.state, outcome]
    if state is None:
        return None
    if outcome is DeliveryOutcome.RESEND:
        # Everything begins anew, so that a resend of what failed by its deadline does not fail by the same deadline.
        return Change(row.id, row.version, state, None, 0, now, now + policy.pending, None, is_resend=True)
    attempts = row.attempts + (attempt is not None)
    reason = FAILURES.get(outcome)
    if outcome is DeliveryOutcome.RETRY:
        deadline_at = row.deadline_at if row.attempts else now + policy.sending
        if attempts >= policy.attempts:
            reason = FailureReason.EXHAUSTED
        elif now >= row.deadline_at:
            reason = FailureReason.EXPIRED
        else:
            delay = policy.delay(attempts, random, retry_after)
            # Not beyond the deadline: then the last attempt comes with it, instead of none.
            due_at = min(now + delay, deadline_at)
            return Change(row.id, row.version, state, None, attempts, due_at, deadline_at, None, attempt=attempt)
        state = _FAILED
    return Change(row.id, row.version, state, reason, attempts, None, row.deadline_at, now, attempt=attempt)
