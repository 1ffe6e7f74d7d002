"""What a consumer says of itself: one pass, its counters, how far it is behind."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from eventpipe.core.stopping import StopReport
from eventpipe.errors import EventPipeError

MAX_ERRORS: Final = 10  # different errors that a pass keeps: what fails a million times fails in few ways


@dataclass(frozen=True, slots=True)
class PassReport:
    """What became of the events that were pending when a pass began; true when all of them were delivered or skipped.

    Attributes:
        handed: Events that were handed to the handler or sink, each counted once for each time.
        delivered: Events that it took.
        retried: Events that failed and were given back, for a later pass.
        dead: Events that went to the dead letters.
        skipped: Events that the filter or the shard turned away, or that are addressed to other consumers.
        pending: Events of the topic that the consumer has not settled, at the end of the pass.
        gap: Events that retention dropped before the consumer had settled them; those in hand then are counted too,
            although they may be delivered.
        errors: Why events failed, each way once, the first ten.
    """

    handed: int = 0
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    skipped: int = 0
    pending: int = 0
    gap: int = 0
    errors: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not (self.retried or self.dead or self.pending or self.gap or self.errors)


class ConsumerError(EventPipeError):
    """A pass could not deliver every event; those that failed, and what waits behind them, stay pending.

    Attributes:
        report: What became of the events.
    """

    def __init__(self, consumer: str, report: PassReport) -> None:
        why = "; ".join(report.errors) or "see the log"
        super().__init__(f"consumer {consumer}: {report.retried} events failed and stay pending: {why}")
        self.report = report


@dataclass(frozen=True, slots=True)
class ConsumerReport(StopReport):
    """How a consumer stopped; true when it stopped by itself, whatever is pending.

    Attributes:
        pending: Events of the topic that it has not settled; ``None``: the store could not say.
    """

    pending: int | None = None

    def __bool__(self) -> bool:
        return not (self.cancelled or self.failed or self.stragglers)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is behind.

    Attributes:
        events: Events that it has not settled.
        seconds: Since the oldest of them was appended; 0 when there is none.
    """

    events: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ConsumerStatistics:
    """A snapshot of what one ``Consumer`` did in all its lives, and of what it holds now.

    Attributes:
        handed: Events that were handed to the handler or sink, each counted once for each time.
        delivered: Events that it took, and that are settled.
        retried: Times that an event failed and was given back.
        dead: Events that went to the dead letters.
        skipped: Events that the filter or the shard turned away, or that are addressed to other consumers.
        interrupted: Times that an event was in an attempt that was cut off, and does not count.
        gap: Events that retention dropped before they were settled; those in hand then are counted too, although they
            may be delivered.
        damaged: Events that did not pass their checksum.
        attempts: Calls of the handler, or of ``send``.
        filter_errors: Calls of the filter that raised.
        store_errors: Calls of the store that failed and were made again.
        takeovers: Times that the lease was lost, or the consumer was moved, and what was in hand forgotten.
        outcomes_lost: Outcomes that the outcomes topic did not take.
        held: Events claimed and not settled, now.
        in_flight: Of these, handed out.
        is_holder: Whether it holds the consumer's lease.
        is_paused: Whether it waits because the far end said that it is misconfigured or asked to wait.
        last_error: Why an event failed last; ``None``: none did.
    """

    handed: int = 0
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    skipped: int = 0
    interrupted: int = 0
    gap: int = 0
    damaged: int = 0
    attempts: int = 0
    filter_errors: int = 0
    store_errors: int = 0
    takeovers: int = 0
    outcomes_lost: int = 0
    held: int = 0
    in_flight: int = 0
    is_holder: bool = False
    is_paused: bool = False
    last_error: str | None = None


@dataclass(slots=True)
class Tally:
    """The counters of a consumer, while they grow; ``ConsumerStatistics`` says what each means."""

    handed: int = 0
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    skipped: int = 0
    interrupted: int = 0
    gap: int = 0
    damaged: int = 0
    attempts: int = 0
    store_errors: int = 0
    takeovers: int = 0
    last_error: str | None = None
    errors: dict[str, None] = field(default_factory=dict)

    def failed(self, error: str) -> None:
        """Keep why an event failed."""
        self.last_error = error
        if len(self.errors) < MAX_ERRORS:
            self.errors[error] = None

    def counters(self) -> dict[str, int]:
        """Every counter, by name."""
        return {name: getattr(self, name) for name in _COUNTERS}

    def add(self, other: Tally) -> None:
        """Count what another has counted."""
        for name in _COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.last_error = other.last_error or self.last_error


_COUNTERS: Final = tuple(item.name for item in fields(Tally) if item.name not in ("last_error", "errors"))
