"""One sink's dispatcher: the task that decides what leaves when, and the workers that send."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from random import Random

from eventpipe.clock import Clock
from eventpipe.contracts import Sink
from eventpipe.core.deadline import Deadline
from eventpipe.core.ledger import Ledger
from eventpipe.core.pool import Pool
from eventpipe.core.room import Waiter
from eventpipe.core.service import Service
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import CapturedEvent
from eventpipe.options import ClientOptions
from eventpipe.outcomes import DropReason, Durations, Outcome, OutcomeKind, Statistics
from eventpipe.transport.answered import outcomes_of
from eventpipe.transport.attempt import Answer, attempt
from eventpipe.transport.backlog import Backlog
from eventpipe.transport.barrier import Barrier, Barriers, Standing, Until
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.batcher import Batcher
from eventpipe.transport.decide import Decider, Retry, Split
from eventpipe.transport.episodes import Episodes
from eventpipe.transport.intake import Intake
from eventpipe.transport.nobody import Nobody
from eventpipe.transport.parking import Parking
from eventpipe.transport.schedule import Schedule
from eventpipe.transport.settle import Observer, Settler
from eventpipe.transport.traits import Traits

# A cancelled send has this long to end: within the 0.25 s that a close may take beyond its deadline.
STRAGGLER_TIMEOUT = 0.1


class Dispatcher(Service):
    """Drains one sink's queue: batches, retries, barriers, workers, and the accounts of all of it.

    Everything here is synchronous but three things: the dispatcher task parks, a worker awaits ``Sink.send()``, and a
    flush awaits its barrier. All state is changed between awaits, on one loop; there are no locks.

    Attributes:
        sink: The far end.
        traits: What it says of itself.
        ledger: Counts what came in and left.
        intake: The way in.
        is_held: No attempt begins: a close has begun, and has yet to say how long it may take.
        stragglers: Names of workers that ignored their cancellation, once it has stopped.
    """

    def __init__(
        self,
        sink: Sink,
        traits: Traits,
        options: ClientOptions,
        *,
        observers: Sequence[Observer] = (),
        clock: Clock,
        random: Random,
        new_id: Callable[[], str],
    ) -> None:
        super().__init__(f"eventpipe-{traits.name}")
        self.sink = sink
        self.traits = traits
        self.ledger = Ledger()
        self._batch_events = min(options.batch_events, traits.max_batch_events)
        self.intake = Intake(
            self.ledger,
            max_events=options.queue_events,
            max_bytes=options.queue_bytes,
            batch_events=self._batch_events,
            wake=self._batch_came,
        )
        self._options = options
        self._clock, self._now = clock, clock.monotonic  # the latter from its start on as its loop reads it quickest
        self._barriers = Barriers()
        self._episodes = Episodes(traits.name, clock.monotonic)
        self._settler = Settler(self.ledger, self._barriers, self._episodes, observers)
        self._batch_bytes = min(options.max_batch_bytes, traits.max_batch_bytes)
        batcher = Batcher(
            batch_events=self._batch_events,
            batch_bytes=self._batch_bytes,
            batch_age=options.max_batch_age,
            lane_of=traits.lane,
            new_id=new_id,
            wall=clock.time,
            unique_ids=traits.unique_ids,
        )
        self._backlog = Backlog(self.intake, batcher, Schedule(options.workers), self._barriers)
        self._decider = Decider(options.retry, random.random, new_id)
        self._pool: Pool[OutboundBatch] = Pool(options.workers, self.name, on_lost=self._lost, on_free=self._slot_freed)
        self._parking = Parking()
        self._has_sent = False  # since the dispatcher task parked last
        self._waits_for_slot = self._is_serving = self.is_held = False  # the first: when it parked
        self._closing: float | None = None
        self.stragglers: list[str] = []

    # -- what goes in ---------------------------------------------------------------------------------------------

    def refuse(self, event: CapturedEvent, reason: DropReason, error: str | None = None) -> None:
        """Count an event in and drop it at once: it makes no room, and no flush waits for it."""
        self.ledger.accept(event.held)
        self._settler.settle([self._dropped((event,), reason, error)], Standing(self._barriers.serial))

    def refuse_unseen(self, events: int) -> None:
        """Count events in and out that nobody kept: other threads captured them while their inbox was full."""
        self.ledger.accepted += events
        self.ledger.drop(events, 0, DropReason.QUEUE_FULL)
        self._episodes.dropped(DropReason.QUEUE_FULL, events, "captured on other threads while the inbox was full")

    def push_out(self, event: CapturedEvent) -> bool:
        """Drop what waits longest until ``event`` has room; ``False`` when nothing is left to drop."""
        while not self.intake.offer(event, event.held):
            oldest = self._backlog.pop_oldest()
            if oldest is None:
                return False
            self._drop((oldest[0],), DropReason.QUEUE_FULL, oldest[1])
        return True

    def join(self, event: CapturedEvent) -> Waiter[CapturedEvent]:
        """Put ``event`` in line for room; whoever awaits ``waiter.future`` calls ``leave()`` in the end."""
        return self.intake.join(event, self._barriers.serial)

    def leave(self, waiter: Waiter[CapturedEvent], reason: DropReason) -> bool:
        """Drop the event if it is still in line; whether it was."""
        standing = self.intake.leave(waiter)
        if standing is None:
            return False
        self._drop((waiter.item,), reason, standing)
        return True

    # -- flush ----------------------------------------------------------------------------------------------------

    def open_barrier(self, until: Until, *, hurry: bool) -> tuple[Barrier, int]:
        """Make everything that waits leave now, and open a barrier behind it.

        Args:
            until: What the barrier waits for.
            hurry: Whether backoffs that wait are due at once as well.

        Returns:
            The barrier, which others may share, to be given back by ``leave_barrier()``; and the number of pending
            events that it leaves out, because the calling task itself sends them.
        """
        own = self._own_batch()
        left_out = len(own.events) if own else 0
        newest = self._barriers.serial
        barrier = self._barriers.open(
            pending=self._backlog.pending - left_out,
            captured=self.ledger.accepted + self.ledger.waiting,
            attempts=self._backlog.attempts,
            until=until,
            shared=own is None,
        )
        barrier.flushes += 1
        if barrier.is_reached:
            return barrier, left_out
        if barrier.serial > newest:
            if own is not None:
                own.standing = own.standing._replace(exempt=own.standing.exempt | {barrier.serial})
            self.intake.room.mark(lambda: self._barriers.place(barrier.serial, self.intake.position))
            self._parking.wake()
        if hurry and self._backlog.schedule.events:
            self._backlog.schedule.hurry(self._now())
            self._parking.wake()
        return barrier, left_out

    def leave_barrier(self, barrier: Barrier) -> None:
        """Give ``barrier`` back; it is forgotten when nobody else has it."""
        barrier.flushes -= 1
        if barrier.flushes == 0:
            self._barriers.forget(barrier)

    def forget_flushes(self) -> None:
        """Nobody waits for any flush begun so far: their loop was closed."""
        self._barriers.abandon()

    @property
    def own_events(self) -> int:
        """Events of the batch that the calling task itself sends; 0 elsewhere."""
        return len(own.events) if (own := self._own_batch()) else 0

    @property
    def pending(self) -> int:
        """Events accepted, or waiting for room, and not settled."""
        return self._backlog.pending

    def statistics(self) -> Statistics:
        """A snapshot of this sink's counters."""
        return self._backlog.statistics()

    # -- the dispatcher task --------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._now = self._clock.reader(asyncio.get_running_loop())
        self._is_serving = False  # still true where the loop of the life before was closed
        self._closing = None  # a close that was cut short has no deadline here; another one sets its own
        self._parking.leave()  # the timer of a loop that was closed without a word
        # What was in flight on a loop that is gone goes again; whether it arrived, nobody can know.
        for batch in list(self._backlog.in_flight):
            self._lost(batch)
        await self._pool.start()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._is_serving = True
        try:
            while not self._is_finished():
                self._parking.is_awake = False
                self._pump()
                if self._barriers.has_reached:
                    await self._announce()
                await self._park()
        finally:
            if not loop.is_closed():
                self._is_serving = False
                self._parking.leave()
                self.on_end()  # once now, so that nobody counts on it any longer, and once when it is over
                self._barriers.give_up()
                await self._announce()

    def _request_stop(self, deadline: Deadline) -> None:
        """Begin to close: nothing new comes in, everything leaves as soon as it may, final attempts are made."""
        self._closing = inf if deadline.when is None else deadline.when
        self.intake.close()
        self._backlog.schedule.close(self._now(), self._closing)
        self._parking.wake()

    async def _close(self) -> None:
        self.stragglers = await self._pool.stop(STRAGGLER_TIMEOUT)
        self._episodes.close()

    def abandon(self) -> None:
        """Drop everything that is pending, and cancel what is in flight."""
        self._give_up(self._backlog.take_everything())
        self._pool.cancel_all()

    def disown(self) -> None:
        """Hold nothing and know no sink any more: in a forked child, whose parent sends it."""
        self.sink = Nobody()
        deque(self._backlog.take_everything(), 0)  # cancelled, an attempt would close what the parent uses: it goes on

    def _give_up(self, events_by_place: Iterable[tuple[Sequence[CapturedEvent], Standing]]) -> None:
        """Drop what the close has no time for: all of it is booked before anybody is told of a part."""
        by_standing: dict[Standing, list[CapturedEvent]] = {}
        for events, standing in events_by_place:
            by_standing.setdefault(standing, []).extend(events)
        outcomes = []
        for standing, given_up in by_standing.items():
            outcomes.append(self._dropped(tuple(given_up), DropReason.CLOSE_DEADLINE))
            self._settler.book(outcomes[-1:], standing)
        if outcomes:
            self._settler.tell(outcomes)
            self._after_settling()

    def _is_finished(self) -> bool:
        if self._closing is None:
            return False
        while hopeless := list(self._backlog.take_hopeless(self._closing)):
            self._give_up((batch.events, batch.standing) for batch in hopeless)  # and lets in who waited for room
        if self._now() >= self._closing and self._backlog.pending:
            self.abandon()
        return self._backlog.pending == 0

    def _pump(self) -> None:
        """Start what may be sent now: a slot first, then the fullest batch there is."""
        self.intake.others_ran()
        while not (self.is_held or self._backlog.is_idle) and self._pool.try_acquire():
            now = self._now()
            batch = self._backlog.next_batch(now, closing=self._closing is not None)
            if batch is None:
                self._pool.release()
                return
            expired, fresh = batch.part_by_age(self._options.max_event_age, now)
            if fresh is not None:  # in flight before anybody is told of the others: each event is in one place
                self._backlog.begin(fresh, now)
            if expired:  # before the worker is spawned, whose task may be an eager one and settle its batch at once
                self._drop(expired, DropReason.EXPIRED, batch.standing)
            if fresh is not None:
                self._has_sent = True
                self._pool.spawn(self._send(fresh), fresh)
            else:
                self._pool.release()
                self._parking.wake()  # these may have been the last, and no attempt ends that would say so

    async def _announce(self) -> None:
        for barrier in self._barriers.take_reached():
            await barrier.announce()

    async def _park(self) -> None:
        """Wait until an event, an attempt's end, a flush, the close, or the next moment asks for a decision."""
        if self._parking.is_awake or self._barriers.has_reached:
            return
        now = self._now()
        moment = inf if self._closing is None else self._closing
        self._waits_for_slot = not self._pool.free
        if self._waits_for_slot:
            events = self._batch_events  # nothing to decide until a worker ends: see _batch_came()
        elif not self._backlog.is_idle:
            moment = min(moment, self._backlog.next_moment(now))
            events = self._backlog.events_until_full(now)
        elif self._has_sent:
            # Where a batch just left, more follow as a rule: a timer in time for the first of their events, serving
            # many batches, costs less than to wake at the first event after each.
            moment = min(moment, now + self._options.max_batch_age)
            events = self._batch_events
        else:
            events = 1
        self._has_sent = False
        self.intake.wake_after(events, self._batch_bytes)
        await self._parking.park(moment)

    # -- the workers ----------------------------------------------------------------------------------------------

    def _batch_came(self) -> None:
        """A full batch has come together: look, or, with every worker busy, only see that others get their turn."""
        if self._pool.free:
            self._parking.wake()
        else:
            asyncio.get_running_loop().call_soon(self.intake.others_ran)

    def _slot_freed(self) -> None:
        """A worker has ended: look again, unless there is nothing that could be sent."""
        if self._waits_for_slot or self._closing is not None or not self._backlog.is_idle:
            self._parking.wake()

    async def _send(self, batch: OutboundBatch) -> None:
        self._finish(batch, await attempt(self.sink, batch))

    def _finish(self, batch: OutboundBatch, answer: Answer) -> None:
        """Book the answer, and put what goes again where it waits."""
        is_answered = answer.error is None or isinstance(answer.error, PermanentSinkError)
        began = self._backlog.end(batch, succeeded=is_answered)
        if began is None:
            return  # the close gave it up, and counted it
        now = self._now()
        durations = Durations(max(began - batch.events[0].captured_at, 0.0), now - began)
        decision = None
        if answer.error is not None:
            rest = batch if len(answer.again) == len(batch.events) else replace(batch, events=answer.again)
            decision = self._decider.decide(rest, answer.error, now, self._closing)
            if not isinstance(decision, Split) and decision.pause_until is not None:
                self._backlog.schedule.pause(batch.lane, decision.pause_until)
        keep = partial(self._backlog.keep, decision, now) if isinstance(decision, Retry | Split) else None
        outcomes = outcomes_of(answer, decision, sink=self.traits.name, attempt=batch.attempt, durations=durations)
        self._settle(outcomes, batch.standing, keep)

    def _lost(self, batch: OutboundBatch) -> None:
        """A worker did not come back with an answer.

        When this dispatcher ends, its batch goes back unharmed, and the attempt does not count. Otherwise the attempt
        failed: a sink that cancels its own task would be called again without a pause and without an end.
        """
        if self._is_serving:
            error = TransientSinkError("send() cancelled its own task, or was cancelled by somebody else")
            self._finish(batch, Answer(again=batch.events, error=error))
            return
        if self._backlog.end(batch, succeeded=False) is None:
            return
        outcome = Outcome(OutcomeKind.INTERRUPTED, self.traits.name, batch.attempt, captured=batch.events)
        now = self._now()
        self._settle([outcome], batch.standing, lambda _: self._backlog.schedule.add(batch, now))

    # -- the doors ------------------------------------------------------------------------------------------------

    def _drop(
        self, events: tuple[CapturedEvent, ...], reason: DropReason, standing: Standing, error: str | None = None
    ) -> None:
        self._settle([self._dropped(events, reason, error)], standing)

    def _dropped(self, events: tuple[CapturedEvent, ...], reason: DropReason, error: str | None = None) -> Outcome:
        return Outcome(OutcomeKind.DROPPED, self.traits.name, 0, reason, error=error, captured=events)

    def _settle(
        self,
        outcomes: Sequence[Outcome],
        standing: Standing,
        keep: Callable[[Standing], None] | None = None,
    ) -> None:
        self._settler.settle(outcomes, standing, keep)
        self._after_settling()

    def _after_settling(self) -> None:
        """Let in who waits for the room that was made, and see to the flushes that are over."""
        self.intake.admit_waiting()
        if self._episodes.is_queue_full and self.intake.has_room:
            self._episodes.has_room()
        if self._barriers.has_reached:
            self._parking.wake()

    def _own_batch(self) -> OutboundBatch | None:
        item = self._pool.current_item()
        return item if item is not None and item in self._backlog.in_flight else None
