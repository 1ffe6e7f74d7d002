"""What became of events: verdicts of a sink, outcomes of attempts, reasons for drops, reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventpipe.events import CapturedEvent


class OutcomeKind(StrEnum):
    """What an attempt, or a refusal without one, led to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DROPPED = "dropped"
    INTERRUPTED = "interrupted"
    SPOOLED = "spooled"  # on disk only from now on, for the reason that would have dropped it


class DropReason(StrEnum):
    """Why an event left undelivered. The list is closed; ``docs/accounting.md`` explains each."""

    QUEUE_FULL = "queue_full"
    CLOSED = "closed"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    BEFORE_SEND = "before_send"
    SAMPLED = "sampled"
    NOT_ALLOWED = "not_allowed"
    ABANDONED = "abandoned"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"
    REJECTED = "rejected"
    UNKNOWN_VERDICT = "unknown_verdict"
    UNANSWERED = "unanswered"
    UNAUTHORIZED = "unauthorized"
    MISCONFIGURED = "misconfigured"
    CLOSE_DEADLINE = "close_deadline"
    DAMAGED = "damaged"

    @classmethod
    def listed(cls, reason: str | None) -> DropReason:
        """``reason`` if it is in the list, else ``REJECTED``: a far end's own word for it stays in the detail."""
        return cls(reason) if reason in set(cls) else cls.REJECTED


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sink says of one event.

    Attributes:
        kind: ``DELIVERED``, ``DROPPED`` or ``RETRY``.
        reason: For a drop its ``DropReason``, ``REJECTED`` when ``None``; for a retry a short word for counters; for a
            delivery ``None``, or the far end's word for one that it had something to say about, such as ``"warning"``.
        retry_after: Seconds to wait at least before the next attempt; ``None`` when the far end did not say.
        detail: The far end's own words, bounded by the sink; ``None`` when it gave none.
    """

    kind: OutcomeKind
    reason: str | None = None
    retry_after: float | None = None
    detail: str | None = None


DELIVERED = Verdict(OutcomeKind.DELIVERED)


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the events of an outcome took, in seconds on the loop clock; 0.0 each where there was no attempt.

    Attributes:
        queue: From the capture of the oldest event to the first attempt of its batch.
        batch: From that to the start of this attempt: earlier attempts, and the waits between them.
        send: This attempt itself.
    """

    queue: float = 0.0
    batch: float = 0.0
    send: float = 0.0


NO_DURATIONS = Durations()


@dataclass(frozen=True, slots=True)
class Settlement:
    """The part of an outcome that every event of it shares; an event keeps this, never the outcome that lists it.

    Attributes:
        kind: What happened.
        sink: The sink's name.
        attempt: The attempt that led here, counted from 1; 0 when none was made.
        reason: For a drop a ``DropReason``, for a retry a short word such as ``"status_503"``, for a delivery that the
            far end had something to say about its word for that, such as ``"warning"``; else ``None``.
        status: The far end's status code, if there was one.
        durations: Seconds waited and spent.
        error: The error's text, without secrets and payloads, or what a far end said of an event that it took;
            ``None`` when there was nothing to say.
    """

    kind: OutcomeKind
    sink: str
    attempt: int = 0
    reason: str | None = None
    status: int | None = None
    durations: Durations = NO_DURATIONS
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Settlement):
    """What one attempt led to, for the events that share one verdict.

    Attributes:
        captured: The events, in capture order.
    """

    captured: tuple[CapturedEvent, ...] = ()

    @property
    def uuids(self) -> tuple[str, ...]:
        """The ids of the events, in capture order."""
        return tuple(event.uuid for event in self.captured)

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the events, in capture order."""
        return tuple(event.event for event in self.captured)

    @classmethod
    def of(cls, settlement: Settlement, captured: tuple[CapturedEvent, ...]) -> Outcome:
        """Join a settlement with the events that it settles."""
        return cls(
            settlement.kind,
            settlement.sink,
            settlement.attempt,
            settlement.reason,
            settlement.status,
            settlement.durations,
            settlement.error,
            captured,
        )


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What became of the events that were unsettled at the call; true when all were delivered or spooled.

    Attributes:
        delivered: Events the far ends accepted; with several sinks, summed over them (as every number here).
        dropped: Events that left undelivered.
        dropped_by_reason: The same, by ``DropReason``; reasons that did not occur are absent.
        spooled: Events held only on disk.
        pending: Events not settled when the call returned.
        stragglers: Names of tasks that ignored their cancellation and still run.
        elapsed: Seconds the call took, on the loop clock.
    """

    delivered: int = 0
    dropped: int = 0
    dropped_by_reason: Mapping[str, int] = field(default_factory=dict)
    spooled: int = 0
    pending: int = 0
    stragglers: tuple[str, ...] = ()
    elapsed: float = 0.0

    def __bool__(self) -> bool:
        return self.dropped == 0 and self.pending == 0


class CloseReport(FlushReport):
    """What became of every event of a client's life; true when nothing was dropped and nothing is pending."""

    __slots__ = ()
