"""The way out of one sink: every event leaves it by one of these doors, and whatever its leaving makes possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from eventpipe.core.ledger import Ledger
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.transport.barrier import Barriers, Standing
from eventpipe.transport.episodes import Episodes
from eventpipe.transport.intake import Intake
from eventpipe.transport.meter import Meter
from eventpipe.transport.settle import Observer, Settler


class Exit:
    """Settles outcomes, then lets in who waits for the room that was made, and sees to flushes that are over."""

    def __init__(
        self,
        sink: str,
        *,
        ledger: Ledger,
        barriers: Barriers,
        intake: Intake,
        meter: Meter,
        observers: Sequence[Observer],
        now: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        """Make the doors of one sink.

        Args:
            sink: Its name.
            ledger: Counts what leaves.
            barriers: Which flush waits for what.
            intake: Where room is made.
            meter: Counts what became of events.
            observers: Told of outcomes when all is booked.
            now: Reads the loop clock.
            wake: Called when the dispatcher has a flush to announce.
        """
        self._sink = sink
        self._ledger = ledger
        self._barriers = barriers
        self._intake = intake
        self._meter = meter
        self._now = now
        self._wake = wake
        self._episodes = Episodes(sink, now)
        self._settler = Settler(ledger, barriers, self._episodes, meter, observers, now=now)

    def settle(
        self,
        outcomes: Sequence[Outcome],
        standing: Standing,
        keep: Callable[[Standing], None] | None = None,
    ) -> None:
        """Book what became of some events, and tell of it; the arguments are those of ``Settler.book()``."""
        self._settler.settle(outcomes, standing, keep)
        self._after_settling()

    def drop(
        self, events: tuple[CapturedEvent, ...], reason: DropReason, standing: Standing, error: str | None = None
    ) -> None:
        """Drop events that are counted in."""
        self.settle([self._dropped(events, reason, error)], standing)

    def refuse(self, event: CapturedEvent, reason: DropReason, error: str | None = None) -> None:
        """Count an event in and drop it at once: it makes no room, and no flush waits for it."""
        self._ledger.accept(event.held)
        self._settler.settle([self._dropped((event,), reason, error)], Standing(self._barriers.serial))

    def refuse_unseen(self, events: int) -> None:
        """Count events in and out that nobody kept: other threads captured them while their inbox was full."""
        self._ledger.accepted += events
        self._ledger.drop(events, 0, DropReason.QUEUE_FULL)
        self._meter.count_unseen(events, self._now())
        self._episodes.dropped(DropReason.QUEUE_FULL, events, "captured on other threads while the inbox was full")

    def give_up(
        self, events_by_place: Iterable[tuple[Sequence[CapturedEvent], Standing]], cut_off: Sequence[Outcome] = ()
    ) -> None:
        """Drop what a close has no time for: all of it is booked before anybody is told of a part.

        Args:
            events_by_place: What is dropped, with the barriers that count it.
            cut_off: What is told first: outcomes of attempts that were under way, whose events are among these.
        """
        by_standing: dict[Standing, list[CapturedEvent]] = {}
        for events, standing in events_by_place:
            by_standing.setdefault(standing, []).extend(events)
        outcomes = list(cut_off)
        self._settler.book(outcomes, Standing(self._barriers.serial))
        for standing, given_up in by_standing.items():
            outcomes.append(self._dropped(tuple(given_up), DropReason.CLOSE_DEADLINE))
            self._settler.book(outcomes[-1:], standing)
        if outcomes:
            self._settler.tell(outcomes)
            self._after_settling()

    def close(self) -> None:
        """End the episodes of the log."""
        self._episodes.close()

    def _dropped(self, events: tuple[CapturedEvent, ...], reason: DropReason, error: str | None = None) -> Outcome:
        return Outcome(OutcomeKind.DROPPED, self._sink, 0, reason, error=error, captured=events)

    def _after_settling(self) -> None:
        self._intake.admit_waiting()
        if self._episodes.is_queue_full and self._intake.has_room:
            self._episodes.has_room()
        if self._barriers.has_reached:
            self._wake()
