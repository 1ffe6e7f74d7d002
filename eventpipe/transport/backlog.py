"""Where the pending events of one sink are, and which batch leaves next. Decides, never waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from sys import maxsize

from eventpipe.core.room import Waiter
from eventpipe.events import CapturedEvent
from eventpipe.statistics import Statistics
from eventpipe.transport.barrier import Barriers, Standing
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.batcher import Batcher, IsOpen
from eventpipe.transport.decide import Retry, Split
from eventpipe.transport.intake import Intake
from eventpipe.transport.marks import Levels, Marks
from eventpipe.transport.meter import Meter
from eventpipe.transport.schedule import Schedule


class Backlog:
    """The places of pending events, in the order in which an event passes them.

    Attributes:
        intake: Producers in line, and the queue.
        batcher: Events that were taken from the queue and have not left.
        in_flight: Batches that workers send, each with the moment its attempt began.
        in_flight_events: Their events.
        attempts: Attempts that ever began.
        retries: Those that were not the first of their batch.
        schedule: Batches that wait for a later attempt, and what each lane may do.
        marks: The highest that its levels have been.
    """

    def __init__(self, intake: Intake, batcher: Batcher, schedule: Schedule, barriers: Barriers, meter: Meter) -> None:
        self.intake = intake
        self.batcher = batcher
        self.in_flight: dict[OutboundBatch, float] = {}
        self.in_flight_events = 0
        self.attempts = 0
        self.retries = 0
        self.schedule = schedule
        self.marks = Marks(self._levels)
        self._barriers = barriers
        self._meter = meter

    @property
    def pending(self) -> int:
        """Events accepted, or waiting for room, and not settled: the sum over the places."""
        return (
            self.intake.room.waiting
            + len(self.intake.queue.events)
            + self.batcher.events
            + self.in_flight_events
            + self.schedule.events
        )

    @property
    def is_idle(self) -> bool:
        """Whether no event waits to be sent, now or later, but for those of producers in line."""
        return not (self.intake.queue.events or self.batcher.events or self.schedule.events)

    def statistics(self, now: float) -> Statistics:
        """A snapshot of what came in, what left, and where the rest is; ``now``: the loop clock, for the rates."""
        ledger = self.intake.ledger
        return replace(
            self._meter.statistics(now),
            captured=ledger.captured,
            recovered=ledger.recovered,
            delivered=ledger.delivered,
            dropped=ledger.dropped.total(),
            dropped_by_reason=dict(ledger.dropped),
            spooled=ledger.spooled,
            pending=self.pending,
            waiting_room=self.intake.room.waiting,
            queued=len(self.intake.queue.events),
            buffered=self.batcher.events,
            in_flight=self.in_flight_events,
            waiting_retry=self.schedule.events,
            attempts=self.attempts,
            retries=self.retries,
            queue_bytes=ledger.held_bytes,
            high_water=self.marks.highest(),
        )

    def join(self, event: CapturedEvent) -> Waiter[CapturedEvent]:
        """Put ``event`` in line for room."""
        waiter = self.intake.join(event, self._barriers.serial)
        self._note_waiting()
        return waiter

    def next_batch(self, now: float, *, closing: bool) -> OutboundBatch | None:
        """What leaves now: a due retry, else the batch that waits longest, filled up first; ``None``: nothing may.

        Args:
            now: The loop clock.
            closing: Whether nothing more will come, so that nothing waits for company.
        """
        is_open = partial(self.schedule.is_open, now=now)
        if self.schedule.events:
            self._note_waiting()
            retry = self.schedule.take_due(now)
            if retry is not None:
                return retry
        while not self.batcher.has_ready(is_open) and self._fill(is_open):
            pass
        if closing and not self.intake.queue.events:
            self.batcher.close()
        return self.batcher.take(is_open, now)

    def next_moment(self, now: float) -> float:
        """When a batch may leave that may not leave now; infinity when only an event or an attempt's end can tell."""
        moments = (self.schedule.due_at(self._lanes_with_fresh(), now), self._batcher_due_at(now))
        return min((moment for moment in moments if moment is not None), default=inf)

    def events_until_full(self, now: float) -> int:
        """How many more events can make a batch leave, or at least arm its timer; at least 1."""
        is_seen_in_time = (
            self.intake.queue.events
            or self.batcher.has_ready(partial(self.schedule.is_open, now=now))
            or self._batcher_due_at(now) is not None
        )
        return self.batcher.missing() if is_seen_in_time else 1

    def part_by_age(
        self, batch: OutboundBatch, max_age: float | None, now: float
    ) -> tuple[tuple[CapturedEvent, ...], OutboundBatch | None]:
        """As the batch does it; those that are too old leave next."""
        parts = batch.part_by_age(max_age, now)
        if parts[0]:
            self._note_held()
        return parts

    def begin(self, batch: OutboundBatch, now: float) -> None:
        """A worker starts to send ``batch``."""
        self.in_flight[batch] = now
        if batch.begun_at is None:
            batch.begun_at = now
        self.in_flight_events += len(batch.events)
        self.schedule.begin(batch)
        self.attempts += 1
        self.retries += batch.attempt > 1
        self.marks.note_in_flight(self.in_flight_events)

    def end(self, batch: OutboundBatch, *, succeeded: bool) -> float | None:
        """A worker is done with ``batch``; returns when it began, ``None`` if the batch was taken away meanwhile."""
        self._note_held()  # what was accepted leaves next
        began = self.in_flight.pop(batch, None)
        if began is not None:
            self.in_flight_events -= len(batch.events)
            self.schedule.end(batch, succeeded=succeeded)
        return began

    def keep(self, decision: Retry | Split, now: float, standing: Standing) -> None:
        """Let a batch that was not accepted, or its parts, wait for what was decided; with its standing from now on."""
        if isinstance(decision, Split):
            if decision.refused is not None:
                self.batcher.learn(decision.parts[0].lane, decision.refused)
            for part in decision.parts:
                self.schedule.add(replace(part, standing=standing), now)
        else:
            self.schedule.add(replace(decision.batch, standing=standing), decision.due)
        self._note_waiting()

    def pop_oldest(self) -> tuple[CapturedEvent, Standing] | None:
        """Give up the event that waits longest for its first attempt; ``None`` when there is none."""
        self._note_held()
        self._pass_cuts()
        oldest = self.batcher.pop_oldest()
        if oldest is not None:
            return oldest
        event = self.intake.pop_oldest()
        return None if event is None else (event, Standing(self.batcher.epoch))

    def held(self) -> list[CapturedEvent]:
        """Every pending event but those of producers in line."""
        in_flight = [event for batch in self.in_flight for event in batch.events]
        return [*in_flight, *self.schedule.held(), *self.batcher.held(), *self.intake.queue.events]

    def take_hopeless(self, deadline: float) -> Iterator[OutboundBatch]:
        """Give up what waits in lanes whose pause outlasts ``deadline``."""
        self._note_held()
        lanes = [lane for lane in self.schedule.lanes() if self.schedule.paused_until(lane) > deadline]
        if lanes:
            while self._fill(lambda lane: True):
                pass
        for lane in lanes:
            yield from self.schedule.take_all(lane)
            yield from self.batcher.take_all(lane)

    def take_everything(self) -> Iterator[tuple[Sequence[CapturedEvent], Standing]]:
        """Give up all that is pending, what is in flight included."""
        self._note_held()
        self._note_waiting()
        for batch in list(self.in_flight):
            self.end(batch, succeeded=False)
            yield batch.events, batch.standing
        for lane in {*self.schedule.lanes(), *self.batcher.lanes()}:
            for batch in (*self.schedule.take_all(lane), *self.batcher.take_all(lane)):
                yield batch.events, batch.standing
        while (oldest := self.pop_oldest()) is not None:
            yield (oldest[0],), oldest[1]
        for event, standing in self.intake.turn_away():
            yield (event,), standing

    def _levels(self) -> Levels:
        ledger = self.intake.ledger
        return (
            ledger.held,
            ledger.held_bytes,
            self.in_flight_events,
            self.schedule.events,
            self.intake.room.waiting,
        )

    def _note_held(self) -> None:
        """Events are about to leave, so that what is held is highest now."""
        ledger = self.intake.ledger
        self.marks.note_held(ledger.accepted - ledger.left, ledger.accepted_bytes - ledger.left_bytes)

    def _note_waiting(self) -> None:
        self.marks.note_waiting(self.schedule.events, self.intake.room.waiting)

    def _fill(self, is_open: IsOpen) -> bool:
        """Move events from the queue into batches, up to the next full batch or barrier; whether any moved."""
        if not self.intake.queue.events:
            self._pass_cuts()
            return False
        if not self.batcher.has_lanes and not is_open(None):
            return False  # they may as well stay in the queue, where drop_oldest finds them in order
        self._pass_cuts()
        cut = self._barriers.next_cut()
        if cut is None:
            return self.intake.take(self.batcher, maxsize) > 0
        taken = self.intake.take(self.batcher, cut - self.intake.taken)
        self._pass_cuts()
        return taken > 0

    def _pass_cuts(self) -> None:
        """What was captured before a barrier leaves now, and never in one batch with what came after it."""
        while self._barriers.next_cut() == self.intake.taken:
            self.batcher.close()
            self.batcher.epoch = self._barriers.pass_cut()

    def _batcher_due_at(self, now: float) -> float | None:
        """When the batcher asks to be looked at, whatever else comes.

        While it holds events of closed lanes only, events of open lanes may follow them into the queue unseen: until
        none has come for a while, it asks again and again, as seldom as keeps each of them in time.
        """
        due_at = self.batcher.due_at(partial(self.schedule.is_open, now=now))
        if due_at is None and self.batcher.has_lanes and self.batcher.quiet_at() > now:
            return self.batcher.quiet_at()
        return due_at

    def _lanes_with_fresh(self) -> list[str | None]:
        waits_in_queue = bool(self.intake.queue.events) and not self.batcher.has_lanes
        return [*self.batcher.lanes(), None] if waits_in_queue else self.batcher.lanes()
