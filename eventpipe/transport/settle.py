"""The one door for outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventpipe.core.ledger import Ledger
from eventpipe.events import Pending
from eventpipe.outcomes import Outcome, OutcomeKind, Settlement
from eventpipe.transport.barrier import Barriers, Standing
from eventpipe.transport.episodes import Episodes
from eventpipe.transport.meter import Meter

Observer = Callable[[Sequence[Outcome]], None]


class Settler:
    """Books outcomes: the events and who awaits them, the ledger, the barriers, the meter; then the log, the observers.

    Synchronous, once per batch. When the log is written and the observers are called everything is booked, so that
    nothing that they or a log handler do, capturing again included, can meet numbers that disagree.
    """

    def __init__(
        self,
        ledger: Ledger,
        barriers: Barriers,
        episodes: Episodes,
        meter: Meter,
        observers: Sequence[Observer],
        *,
        now: Callable[[], float],
    ) -> None:
        """Make the door; ``now`` reads the loop clock, once a batch."""
        self._ledger = ledger
        self._barriers = barriers
        self._episodes = episodes
        self._meter = meter
        self._observers = observers
        self._now = now

    def settle(
        self, outcomes: Sequence[Outcome], standing: Standing, keep: Callable[[Standing], None] | None = None
    ) -> None:
        """Book what became of some events, then tell the observers; the arguments are those of ``book()``."""
        self.book(outcomes, standing, keep)
        self.tell(outcomes)

    def book(
        self, outcomes: Sequence[Outcome], standing: Standing, keep: Callable[[Standing], None] | None = None
    ) -> None:
        """Book what became of some events; ``tell()`` follows when all that left its place is booked.

        Args:
            outcomes: One per verdict; each event in exactly one of them.
            standing: Which barriers count the events.
            keep: Puts the events that stay pending where they wait, given their standing from now on.
        """
        stays = standing
        now = self._now()
        for outcome in outcomes:
            events = len(outcome.captured)
            self._meter.count(outcome, now)
            if outcome.kind is OutcomeKind.DELIVERED:
                self._ledger.deliver(events, _mark(outcome))
                self._barriers.settled(standing, events, outcome.kind, None)
            elif outcome.kind is OutcomeKind.DROPPED:
                reason = str(outcome.reason)
                self._ledger.drop(events, _mark(outcome), reason)
                self._barriers.settled(standing, events, outcome.kind, reason)
            elif outcome.kind is OutcomeKind.SPOOLED:
                self._ledger.spool(events, _mark(outcome))
                self._barriers.settled(standing, events, outcome.kind, None)
            elif outcome.kind is OutcomeKind.RETRY:
                stays = self._barriers.attempted(standing, events)
        if keep is not None:
            keep(stays)

    def confirm(self, outcome: Outcome, standing: Standing) -> None:
        """Book that events which are counted as spooled are on disk, or that they never came there; and tell of it.

        Args:
            outcome: ``SPOOLED``, or ``DROPPED`` where they could not be written.
            standing: Which barriers count the events.
        """
        events = len(outcome.captured)
        if outcome.kind is OutcomeKind.DROPPED:
            self._ledger.lose_spooled(events, str(outcome.reason))
        _mark(outcome)
        self._meter.count(outcome, self._now())
        self._barriers.settled(standing, events, outcome.kind, outcome.reason)
        self.tell([outcome])

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Write to the log what booked outcomes give cause for, then hand them to the observers."""
        for outcome in outcomes:
            self._note(outcome)
        for observer in self._observers:
            observer(outcomes)

    def _note(self, outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.DELIVERED:
            self._episodes.delivered()
        elif outcome.kind is OutcomeKind.DROPPED:
            self._episodes.dropped(str(outcome.reason), len(outcome.captured), outcome.error)
        elif outcome.kind is OutcomeKind.RETRY:
            self._episodes.failed(outcome.reason or "retry", outcome.error)


def _mark(outcome: Outcome) -> int:
    """Tell each event what became of it; returns their size in bytes, as the ledger counts it."""
    settlement = Settlement(
        outcome.kind,
        outcome.sink,
        outcome.attempt,
        outcome.reason,
        outcome.status,
        outcome.durations,
        outcome.error,
    )
    size = 0
    shared: Pending | None = None
    after: Settlement | Pending | None = None  # what the answer made of ``shared``: asked once a batch, 0.1 µs an event
    for event in outcome.captured:
        size += len(event.data) if event.extra is None else event.held
        waiting = event.settlement
        if waiting is None:
            event.settlement = settlement
        elif waiting is shared:
            event.settlement = after
        elif isinstance(waiting, Pending):
            waiting.settle(event, settlement)
            if waiting.is_shared:
                shared, after = waiting, event.settlement
    return size
