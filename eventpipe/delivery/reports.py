"""What became of a pass, and of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from eventpipe.stores.delivery_values import Change, DeliveryState


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What a pass did; true when nothing went wrong in it.

    Each delivery that it took is in one of ``succeeded``, ``failed``, ``retried``, ``skipped`` and ``errors``.

    Attributes:
        claimed: Deliveries that it took.
        succeeded: Those that their far end accepted.
        failed: Those that failed for good.
        retried: Those that are attempted again later.
        skipped: Those that it took and did not change: somebody else had changed them meanwhile, or they were given
            back without an attempt.
        errors: Ids of deliveries, each with what went wrong beside the far end's answer: it could not be written down,
            or something unforeseen was raised. What was sent and not written is not sent again by this reconciler: it
            is written by one of its next passes.
        lock_held: Whether somebody else made a pass, so that this one did nothing.
        rescued: Deliveries that lay where a clock that was set back had left them.
        elapsed: Seconds.
    """

    claimed: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    skipped: int = 0
    errors: tuple[tuple[int, BaseException], ...] = ()
    lock_held: bool = False
    rescued: int = 0
    elapsed: float = 0.0

    def __bool__(self) -> bool:
        return not self.errors and not self.failed and not self.retried


@dataclass(frozen=True, slots=True)
class ReconcilerStatistics:
    """What a reconciler did in all its passes, and does now; counts as in ``ReconcileReport``.

    Attributes:
        passes: Passes that ended, those without the lock included.
        claimed: Deliveries that it took.
        succeeded: Those that their far end accepted.
        failed: Those that failed for good.
        retried: Those that are attempted again later.
        skipped: Those that it took and did not change.
        errors: Those that something else went wrong with.
        rescued: Those that a clock that was set back had left lying.
        in_flight: Slots that are taken now, by attempts and by claims for them.
        unwritten: Deliveries that were sent and are not written down yet.
    """

    passes: int
    claimed: int
    succeeded: int
    failed: int
    retried: int
    skipped: int
    errors: int
    rescued: int
    in_flight: int
    unwritten: int


@dataclass(slots=True)
class Tally:
    """The counts of one pass while it runs; each as in ``ReconcileReport``."""

    claimed: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    skipped: int = 0
    errors: list[tuple[int, BaseException]] = field(default_factory=list)
    rescued: int = 0

    def wrote(self, change: Change, was_done: bool) -> None:
        """Count what became of a delivery."""
        if not was_done:
            self.skipped += 1
        elif change.state is DeliveryState.SUCCESS:
            self.succeeded += 1
        elif change.state is DeliveryState.FAILED:
            self.failed += 1
        else:
            self.retried += 1

    def went_wrong(self, number: int, error: BaseException) -> None:
        """List an error of a delivery, without the frames it was raised in: they hold the event."""
        chain: list[BaseException | None] = [error]
        while chain:
            one = chain.pop()
            if one is not None and one.__traceback__ is not None:
                one.__traceback__ = None
                chain += [one.__cause__, one.__context__]
        self.errors.append((number, error))

    def report(self, elapsed: float) -> ReconcileReport:
        """The counts as they are."""
        return ReconcileReport(
            self.claimed,
            self.succeeded,
            self.failed,
            self.retried,
            self.skipped,
            tuple(self.errors),
            rescued=self.rescued,
            elapsed=elapsed,
        )

    def summary(self) -> str:
        """The counts in words, and the deliveries with errors: of these the type, as a text may quote an event."""
        counts = f"{self.claimed} claimed, {self.succeeded} succeeded, {self.failed} failed, {self.retried} retried"
        errors = "".join(f"; delivery {id_}: {type(error).__name__}" for id_, error in self.errors)
        return f"the pass until then: {counts}{errors}"


@dataclass(slots=True)
class Totals:
    """The counts of all passes of a reconciler that ended."""

    passes: int = 0
    claimed: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    skipped: int = 0
    errors: int = 0
    rescued: int = 0

    def add(self, tally: Tally) -> None:
        """Add those of a pass."""
        self.passes += 1
        self.claimed += tally.claimed
        self.succeeded += tally.succeeded
        self.failed += tally.failed
        self.retried += tally.retried
        self.skipped += tally.skipped
        self.errors += len(tally.errors)
        self.rescued += tally.rescued
