"""Errors raised by eventpipe.

EventPipeError
├── ClosedError              closed by this program
├── QueueFullError           capacity
├── InvalidEventError        also a ValueError; strict only: path, limit
├── DeliveryError            deliver() gave up; outcomes, attempts
├── SignatureError           also a ValueError; a webhook that is not to be believed; reason
└── SinkError                status
    ├── TransientSinkError   worth another attempt; retry_after
    └── PermanentSinkError   the same batch would fail again; scope

A class exists where a caller can act differently. Wrong arguments are ``ValueError`` or ``TypeError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eventpipe.outcomes import DropReason, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpipe.outcomes import Outcome

Scope = Literal["size", "event", "sink", "batch"]
Disbelief = Literal["missing", "malformed", "stale", "mismatch"]

_REASON_OF_SCOPE: dict[Scope, DropReason] = {
    "size": DropReason.TOO_LARGE,
    "event": DropReason.REJECTED,
    "batch": DropReason.REJECTED,
    "sink": DropReason.MISCONFIGURED,
}


class EventPipeError(Exception):
    """The root of every error that eventpipe defines."""


class ClosedError(EventPipeError):
    """The object was closed by this program and takes nothing more."""


class QueueFullError(EventPipeError):
    """The queue held ``capacity`` events, or its bytes, and overflow is ``"raise"``."""

    def __init__(self, capacity: int) -> None:
        super().__init__(f"queue is full at {capacity} events; raise queue_events or set overflow='wait'")
        self.capacity = capacity


class InvalidEventError(EventPipeError, ValueError):
    """An event cannot be sent as it is; raised in strict mode only, otherwise the event is a counted drop.

    Attributes:
        path: Where the fault is, as ``properties.cart[3].price``; ``""`` is the event itself.
        limit: The bound that was exceeded, in the unit the message names; ``None`` when no bound is meant.
    """

    def __init__(self, message: str, *, path: str = "", limit: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.limit = limit


class DeliveryError(EventPipeError):
    """``deliver()`` gave up on at least one event.

    Attributes:
        outcomes: One per event, in the order given.
        attempts: The highest attempt among them, counted from 1; 0 when none was made.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        failed = [outcome for outcome in outcomes if outcome.kind is not OutcomeKind.DELIVERED]
        reasons = ", ".join(sorted({str(outcome.reason) for outcome in failed}))
        super().__init__(f"{len(failed)} of {len(outcomes)} events were not delivered: {reasons}")
        self.outcomes = list(outcomes)
        self.attempts = max((outcome.attempt for outcome in outcomes), default=0)


class SignatureError(EventPipeError, ValueError):
    """A webhook is not to be believed: nothing proves who sent it, or that this is what was sent, or when.

    Attributes:
        reason: ``"missing"``: a header that would prove it is not there. ``"malformed"``: one cannot be read.
            ``"stale"``: it was signed too long ago, or in the future. ``"mismatch"``: no signature fits.
    """

    def __init__(self, message: str, *, reason: Disbelief) -> None:
        super().__init__(message)
        self.reason: Disbelief = reason


class SinkError(EventPipeError):
    """A batch was not accepted.

    Attributes:
        reason: A short word for counters, such as ``"timeout"`` or ``"status_503"``; for a permanent error the
            ``DropReason`` its events leave with.
        status: The far end's status code; ``None`` when there was none.
    """

    def __init__(self, message: str, *, reason: str, status: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class TransientSinkError(SinkError):
    """The same batch may succeed later.

    Attributes:
        retry_after: Seconds the far end asked us to wait, a floor for the next attempt; ``None`` when it did not say.
    """

    def __init__(
        self,
        message: str = "the far end failed",
        *,
        retry_after: float | None = None,
        reason: str = "sink_error",
        status: int | None = None,
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.retry_after = retry_after


class PermanentSinkError(SinkError):
    """The same batch would fail again.

    Attributes:
        scope: What is to blame. ``"size"``: the batch is too large and is halved. ``"event"``: one of the events;
            the batch is bisected. ``"sink"``: the configuration; every batch would fail. ``"batch"``: it is dropped.
    """

    def __init__(
        self,
        message: str = "the far end refused the batch",
        *,
        scope: Scope = "batch",
        reason: DropReason | None = None,
        status: int | None = None,
    ) -> None:
        if scope not in _REASON_OF_SCOPE:
            raise ValueError(f"scope must be one of {', '.join(map(repr, _REASON_OF_SCOPE))}, not {scope!r}")
        super().__init__(message, reason=reason or _REASON_OF_SCOPE[scope], status=status)
        self.scope: Scope = scope
