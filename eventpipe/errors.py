"""Errors raised by eventpipe.

EventPipeError
├── ClosedError              closed by this program
├── QueueFullError           capacity
├── InvalidEventError        also a ValueError; strict only: path, limit
├── DeliveryError            deliver() gave up; outcomes, attempts
├── SignatureError           also a ValueError; a webhook that is not to be believed; reason
├── SinkError                status
│   ├── TransientSinkError   worth another attempt; retry_after
│   └── PermanentSinkError   the same batch would fail again; scope
└── StoreError               a log's store cannot do it
    ├── StoreFullError       no room; topic, can_ever_fit
    ├── UnknownConsumerError also a LookupError; topic, consumer
    ├── CursorError          also a ValueError; offset, first, last
    ├── LeaseHeldError       somebody else has it; holder, remaining
    ├── LeaseLostError       the right to go on was lost; holder
    ├── EndpointExistsError  also a ValueError; endpoint
    ├── UnknownEndpointError also a LookupError; endpoint
    └── UnknownDeliveryError also a LookupError; a published event or a delivery that is not there; id

A class exists where a caller can act differently. Wrong arguments are ``ValueError`` or ``TypeError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eventpipe.checked import suggestion
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


class StoreError(EventPipeError):
    """A store could not do what it was asked; the message says why and what to do."""


class StoreFullError(StoreError):
    """There is no room, in a topic or on the disk. Nothing was appended, and it may be tried again.

    Attributes:
        topic: The topic.
        can_ever_fit: Whether it may be tried again as it is. Where not, the topic could not take as much at once if it
            were empty: append in parts.
    """

    def __init__(self, message: str, *, topic: str, can_ever_fit: bool = True) -> None:
        super().__init__(message)
        self.topic = topic
        self.can_ever_fit = can_ever_fit


class SpoolError(StoreError):
    """A spool cannot be used, or could not keep an event; the message says why and what to do."""


class UnknownConsumerError(StoreError, LookupError):
    """A topic has no such consumer: it was never added, or was removed.

    Attributes:
        topic: The topic.
        consumer: Its name.
    """

    def __init__(self, topic: str, consumer: str, known: Sequence[str] = ()) -> None:
        meant = suggestion(consumer, known) or "; add_consumer() registers one"
        super().__init__(f"topic {topic!r} has no consumer {consumer!r}{meant}")
        self.topic = topic
        self.consumer = consumer


class CursorError(StoreError, ValueError):
    """An offset is outside of what a topic keeps.

    Attributes:
        offset: The offset.
        first: The lowest that is kept.
        last: The highest that a consumer can be moved to: where the next event goes.
    """

    def __init__(self, topic: str, offset: int, *, first: int, last: int) -> None:
        kept = f"keeps {first} to {last - 1}, and {last} is" if last > first else f"keeps none, and {last} is"
        super().__init__(
            f"offset {offset} is not in topic {topic!r}, which {kept} where the next event goes; give one of these,"
            " 'earliest' or 'latest'"
        )
        self.offset = offset
        self.first = first
        self.last = last


class LeaseHeldError(StoreError):
    """Somebody else has the lease.

    Attributes:
        holder: Who, in their own words.
        remaining: Seconds until it ends unless it is renewed; ``None``: it lasts until it is released.
    """

    def __init__(self, name: str, *, holder: str, remaining: float | None) -> None:
        lasts = "until it is released" if remaining is None else f"for {remaining:.1f} s unless it is renewed"
        super().__init__(f"{name} is held by {holder}, {lasts}")
        self.holder = holder
        self.remaining = remaining


class LeaseLostError(StoreError):
    """The right to go on was lost: what was begun under it must end, and nothing of it counts.

    Attributes:
        holder: Who has it now; ``None``: nobody, or it is not known.
    """

    def __init__(self, message: str, *, holder: str | None = None) -> None:
        super().__init__(message)
        self.holder = holder


class EndpointExistsError(StoreError, ValueError):
    """There is an endpoint of this name already, and it was not to be replaced; nothing was changed.

    Attributes:
        endpoint: Its name.
    """

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"there is an endpoint {endpoint!r} already; replace=True changes it")
        self.endpoint = endpoint


class UnknownEndpointError(StoreError, LookupError):
    """There is no such endpoint: it was never added, or was removed.

    Attributes:
        endpoint: Its name.
    """

    def __init__(self, endpoint: str, known: Sequence[str] = ()) -> None:
        meant = suggestion(endpoint, known) or "; add_endpoint() makes one"
        super().__init__(f"there is no endpoint {endpoint!r}{meant}")
        self.endpoint = endpoint


class UnknownDeliveryError(StoreError, LookupError):
    """There is no such published event, or no such delivery: it never was, or was deleted by retention.

    Attributes:
        id: Of the event or the delivery, as it was asked for.
    """

    def __init__(self, what: str, id: str | int) -> None:  # noqa: A002  # the word of everybody who asks
        super().__init__(f"there is no {what} {id!r}; it was never published, or retention deleted it")
        self.id = id
