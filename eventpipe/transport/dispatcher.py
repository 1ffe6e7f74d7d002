"""One sink's dispatcher: the task that decides what leaves when, and the workers that send."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING

from eventpipe.clock import Clock
from eventpipe.contracts import Instrument, Sink
from eventpipe.core.deadline import Deadline
from eventpipe.core.failures import where_raised
from eventpipe.core.ledger import Ledger
from eventpipe.core.pool import Pool
from eventpipe.core.room import Waiter
from eventpipe.core.service import Service
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import CapturedEvent
from eventpipe.health import SinkHealth
from eventpipe.options import ClientOptions
from eventpipe.outcomes import DropReason
from eventpipe.statistics import Statistics
from eventpipe.transport.answered import interrupted, outcomes_of
from eventpipe.transport.attempt import Answer, attempt
from eventpipe.transport.backlog import Backlog
from eventpipe.transport.barrier import Barriers
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.batcher import Batcher
from eventpipe.transport.decide import Decider, Retry, Split
from eventpipe.transport.exit import Exit
from eventpipe.transport.feed import Outlet
from eventpipe.transport.flushes import Flushes
from eventpipe.transport.intake import Intake
from eventpipe.transport.journal import Journal
from eventpipe.transport.marks import Watch
from eventpipe.transport.meter import Meter
from eventpipe.transport.nobody import Nobody
from eventpipe.transport.parking import Parking
from eventpipe.transport.schedule import Schedule
from eventpipe.transport.settle import Observer
from eventpipe.transport.spilling import PROBE_INTERVAL
from eventpipe.transport.tallies import Shortlist
from eventpipe.transport.traits import Traits

if TYPE_CHECKING:
    from eventpipe.spool.spool import Spool

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
        exit: The ways out.
        flushes: Who waits for what is pending.
        instrument: Sees every attempt; ``None``: nobody does.
        is_held: No attempt begins: a close has begun, and has yet to say how long it may take.
        stragglers: Names of workers that ignored their cancellation, once it has stopped.
    """

    def __init__(
        self,
        sink: Sink,
        traits: Traits,
        options: ClientOptions,
        *,
        names: Shortlist,
        callbacks: Observer,
        outlet: Outlet,
        clock: Clock,
        random: Random,
        new_id: Callable[[], str],
        spool: Spool | None = None,
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
        self._meter = Meter(names, clock.time)
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
        self._backlog = Backlog(self.intake, batcher, Schedule(options.workers), self._barriers, self._meter)
        self._decider = Decider(options.retry, random.random, new_id, None if spool is None else PROBE_INTERVAL)
        self._pool: Pool[OutboundBatch] = Pool(options.workers, self.name, on_lost=self._lost, on_free=self._slot_freed)
        self._parking = Parking()
        self._outlet = outlet
        self.exit = Exit(
            traits.name,
            ledger=self.ledger,
            barriers=self._barriers,
            intake=self.intake,
            observers=(callbacks, outlet),
            meter=self._meter,
            now=lambda: self._now(),
            wake=self._parking.wake,
            spool=spool,
            max_spilling=options.queue_events,
        )
        self.flushes = Flushes(
            self._barriers,
            self._backlog,
            self.exit,
            own_batch=self._own_batch,
            now=lambda: self._now(),
            wake=self._parking.wake,
        )
        self._journal = Journal(traits.name)
        self._failing: str | None = None  # why the last attempt failed
        self.instrument: Instrument | None = None
        self._has_sent = False  # since the dispatcher task parked last
        self._waits_for_slot = self._is_serving = self.is_held = False  # the first: when it parked
        self._closing: float | None = None
        self.stragglers: list[str] = []

    # -- what goes in ---------------------------------------------------------------------------------------------

    def push_out(self, event: CapturedEvent) -> bool:
        """Drop what waits longest until ``event`` has room; ``False`` when nothing is left to drop."""
        while not self.intake.offer(event, event.held):
            oldest = self._backlog.pop_oldest()
            if oldest is None:
                return False
            self.exit.drop((oldest[0],), DropReason.QUEUE_FULL, oldest[1])
        return True

    def join(self, event: CapturedEvent) -> Waiter[CapturedEvent]:
        """Put ``event`` in line for room; whoever awaits ``waiter.future`` calls ``leave()`` in the end."""
        return self._backlog.join(event)

    def leave(self, waiter: Waiter[CapturedEvent], reason: DropReason) -> bool:
        """Drop the event if it is still in line; whether it was."""
        standing = self.intake.leave(waiter)
        if standing is None:
            return False
        self.exit.drop((waiter.item,), reason, standing)
        return True

    def take_back(self, events: Sequence[CapturedEvent], *, goes_first: bool) -> None:
        """Send what was on disk only; no flush that is under way waits for it."""
        self.intake.take_back(events, goes_first=goes_first and not self._barriers.has_open)
        self._parking.wake()

    # -- how it does ------------------------------------------------------------------------------------------

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._failing is not None

    @property
    def pending(self) -> int:
        """Events accepted, or waiting for room, and not settled."""
        return self._backlog.pending

    def statistics(self) -> Statistics:
        """A snapshot of this sink's counters."""
        return self._backlog.statistics(self._now())

    def watch(self) -> Watch:
        """A reader's own look at the highest levels."""
        return self._backlog.marks.watch()

    def health(self) -> SinkHealth:
        """How this sink does now."""
        return SinkHealth(
            state=self.state,
            pressure=self.intake.pressure,
            pending=self.pending,
            last_success=self._meter.last_success,
            failing=self._failing,
            paused=self._backlog.schedule.pauses(self._now()),
            error=None if self.error is None else where_raised(self.error),
        )

    # -- the dispatcher task --------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._now = self._clock.reader(asyncio.get_running_loop())
        self._is_serving = False  # still true where the loop of the life before was closed
        self._closing = None  # a close that was cut short has no deadline here; another one sets its own
        self._parking.leave()  # the timer of a loop that was closed without a word
        self._outlet.open()
        # What was in flight on a loop that is gone goes again; whether it arrived, nobody can know.
        for batch in list(self._backlog.in_flight):
            self._lost(batch)
        await self._pool.start()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._is_serving = True
        try:
            while not self._is_finished():
                self._parking.is_awake, accepted = False, self.ledger.accepted
                self._pump()
                if self._barriers.has_reached:
                    await self._announce()
                await self._park(accepted)
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
        self.exit.close()
        self._journal.close()
        self._outlet.close()

    def abandon(self) -> None:
        """Drop everything that is pending, and cancel what is in flight."""
        now, running = self._now(), self._backlog.in_flight.items()
        cut_off = [interrupted(batch, self.traits.name, began, now) for batch, began in running]
        self.exit.give_up(self._backlog.take_everything(), cut_off)
        self._pool.cancel_all()

    def insure(self) -> None:
        """Have everything that is pending on disk, where there is one."""
        if self.exit.spilling is not None:
            self.exit.spilling.insure(self._backlog.held())

    def disown(self) -> None:
        """Hold nothing and know no sink any more: in a forked child, whose parent sends it."""
        self.sink = Nobody()
        deque(self._backlog.take_everything(), 0)  # cancelled, an attempt would close what the parent uses: it goes on

    def _is_finished(self) -> bool:
        if self._closing is None:
            return False
        while hopeless := list(self._backlog.take_hopeless(self._closing)):
            self.exit.give_up((batch.events, batch.standing) for batch in hopeless)  # and lets in who waited for room
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
            expired, fresh = self._backlog.part_by_age(batch, self._options.max_event_age, now)
            if fresh is not None:  # in flight before anybody is told of the others: each event is in one place
                self._backlog.begin(fresh, now)
            if expired:  # before the worker is spawned, whose task may be an eager one and settle its batch at once
                self.exit.drop(expired, DropReason.EXPIRED, batch.standing)
            if fresh is not None:
                self._has_sent = True
                self._pool.spawn(self._send(fresh), fresh)
            else:
                self._journal.ended(batch.id, "expired")
                self._pool.release()
                self._parking.wake()  # these may have been the last, and no attempt ends that would say so

    async def _announce(self) -> None:
        for barrier in self._barriers.take_reached():
            await barrier.announce()

    async def _park(self, accepted: int) -> None:
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
            # More follow as a rule: a timer for many batches costs less than to wake at the first event after each.
            moment = min(moment, now + self._options.max_batch_age)
            events = self._batch_events
        else:
            events = 1
        self._has_sent = False
        self.intake.wake_after(events, self._batch_bytes)
        if self.ledger.accepted == accepted:  # else somebody captured since the last look, a signal handler perhaps
            await self._parking.park(moment)

    # -- the workers ----------------------------------------------------------------------------------------------

    def _batch_came(self) -> None:
        """A full batch has come together: look, or, with every worker busy, only see that others get their turn."""
        if self._pool.free:
            self._parking.rouse()
        else:
            asyncio.get_running_loop().call_soon(self.intake.others_ran)

    def _slot_freed(self) -> None:
        """A worker has ended: look again, unless there is nothing that could be sent."""
        if self._waits_for_slot or self._closing is not None or not self._backlog.is_idle:
            self._parking.wake()

    async def _send(self, batch: OutboundBatch) -> None:
        around = None if self.instrument is None else partial(self.instrument.around, self.traits.name)
        self._finish(batch, await attempt(self.sink, batch, around))
        if self.exit.spilling is not None:  # with the slot, so that never more than the workers have is sent again
            await self.exit.spilling.let_go()

    def _finish(self, batch: OutboundBatch, answer: Answer) -> None:
        """Book the answer, and put what goes again where it waits."""
        is_answered = answer.error is None or isinstance(answer.error, PermanentSinkError)
        began = self._backlog.end(batch, succeeded=is_answered)
        if began is None:
            return  # the close gave it up, and counted it
        now = self._now()
        durations = batch.durations(began, now)
        decision = None
        if answer.error is not None:
            rest = batch if len(answer.again) == len(batch.events) else replace(batch, events=answer.again)
            decision = self._decider.decide(rest, answer.error, now, self._closing)
            if not isinstance(decision, Split) and decision.pause_until is not None:
                self._backlog.schedule.pause(batch.lane, decision.pause_until)
        keep = partial(self._backlog.keep, decision, now) if isinstance(decision, Retry | Split) else None
        outcomes = outcomes_of(answer, decision, sink=self.traits.name, attempt=batch.attempt, durations=durations)
        self._failing = None if answer.error is None else answer.error.reason
        self.exit.settle(outcomes, batch.standing, keep)
        self._journal.attempted(batch, outcomes, decision)  # last: a log handler may look at the numbers

    def _lost(self, batch: OutboundBatch) -> None:
        """A worker did not come back with an answer.

        When this dispatcher ends, its batch goes back unharmed, and the attempt does not count. Otherwise the attempt
        failed: a sink that cancels its own task would be called again without a pause and without an end.
        """
        if self._is_serving:
            error = TransientSinkError("send() cancelled its own task, or was cancelled by somebody else")
            self._finish(batch, Answer(again=batch.events, error=error))
            return
        if (began := self._backlog.end(batch, succeeded=False)) is None:
            return
        now = self._now()
        outcome = interrupted(batch, self.traits.name, began, now)
        self.exit.settle([outcome], batch.standing, lambda _: self._backlog.schedule.add(batch, now))

    def _own_batch(self) -> OutboundBatch | None:
        item = self._pool.current_item()
        return item if item is not None and item in self._backlog.in_flight else None
