"""The way out of one sink: every event leaves it by one of these doors, and whatever its leaving makes possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from eventpipe.core.ledger import Ledger
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.transport.barrier import Barriers, Standing
from eventpipe.transport.episodes import Episodes
from eventpipe.transport.intake import Intake
from eventpipe.transport.meter import Meter
from eventpipe.transport.settle import Observer, Settler
from eventpipe.transport.spilling import Spilling

if TYPE_CHECKING:
    from eventpipe.spool.spool import Spool

# What the log says of events that were on disk only.
_UNSEEN: Final[Mapping[DropReason, str]] = {
    DropReason.DAMAGED: "they do not pass their checksum on disk",
    DropReason.EXPIRED: "they waited on disk for longer than spool_age",
    DropReason.QUEUE_FULL: "the oldest on disk, for want of room there",
}


class Exit:
    """Settles outcomes, then lets in who waits for the room that was made, and sees to flushes that are over.

    Attributes:
        spilling: Puts on disk what would be dropped. ``None``: there is no disk.
        on_room: Called whenever something has left, which may have made room. ``None``: nobody is told.
    """

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
        spool: Spool | None,
        max_spilling: int,
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
            spool: The disk. ``None``: what cannot be kept is dropped.
            max_spilling: Events that may be on their way there.
        """
        self.on_room: Callable[[], object] | None = None
        self._sink = sink
        self._ledger = ledger
        self._barriers = barriers
        self._intake = intake
        self._meter = meter
        self._now = now
        self._wake = wake
        self._episodes = Episodes(sink, now)
        self._settler = Settler(ledger, barriers, self._episodes, meter, observers, now=now)
        self.spilling = (
            None if spool is None else Spilling(sink, spool, ledger, max_events=max_spilling, confirm=self._confirm)
        )

    @property
    def on_way_to_disk(self) -> int:
        """Events that are counted as on disk, and are not known to be there."""
        return 0 if self.spilling is None else self.spilling.events

    def settle(
        self,
        outcomes: Sequence[Outcome],
        standing: Standing,
        keep: Callable[[Standing], None] | None = None,
    ) -> None:
        """Book what became of some events, and tell of it; the arguments are those of ``Settler.book()``."""
        self._settler.settle(self._diverted(outcomes, standing), standing, keep)
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

    def spill(self, event: CapturedEvent) -> bool:
        """Count an event in and put it on disk, for want of room elsewhere; whether it is kept, else it is refused."""
        self._ledger.accept(event.held)
        standing = Standing(self._barriers.serial)
        rest = self._diverted([self._dropped((event,), DropReason.QUEUE_FULL)], standing)
        self._settler.settle(rest, standing)
        return not rest

    def refuse_unseen(self, events: int) -> None:
        """Count events in and out that nobody kept: other threads captured them while their inbox was full."""
        self._ledger.accepted += events
        self._ledger.drop(events, 0, DropReason.QUEUE_FULL)
        self._meter.count_unseen(events, self._now())
        self._episodes.dropped(DropReason.QUEUE_FULL, events, "captured on other threads while the inbox was full")

    def lose_unseen(self, events: int, reason: DropReason) -> None:
        """Count events as dropped that were held only on disk, and are gone unread."""
        self._ledger.lose_spooled(events, reason)
        self._meter.count_unseen(events, self._now())
        self._episodes.dropped(reason, events, _UNSEEN[reason])

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
            ends = self._diverted([self._dropped(tuple(given_up), DropReason.CLOSE_DEADLINE)], standing)
            self._settler.book(ends, standing)
            outcomes += ends
        if outcomes:
            self._settler.tell(outcomes)
            self._after_settling()

    def close(self) -> None:
        """End the episodes of the log."""
        self._episodes.close()

    def _diverted(self, outcomes: Sequence[Outcome], standing: Standing) -> Sequence[Outcome]:
        """What is left of outcomes when what can go to disk is on its way there."""
        if self.spilling is None:
            return outcomes
        return [part for outcome in outcomes for part in self.spilling.divert(outcome, standing)]

    def _confirm(self, outcome: Outcome, standing: Standing) -> None:
        self._settler.confirm(outcome, standing)
        self._after_settling()

    def _dropped(self, events: tuple[CapturedEvent, ...], reason: DropReason, error: str | None = None) -> Outcome:
        return Outcome(OutcomeKind.DROPPED, self._sink, 0, reason, error=error, captured=events)

    def _after_settling(self) -> None:
        self._intake.admit_waiting()
        if self._episodes.is_queue_full and self._intake.has_room:
            self._episodes.has_room()
        if self._barriers.has_reached:
            self._wake()
        if self.on_room is not None:
            self.on_room()
