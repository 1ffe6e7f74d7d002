"""One holder's work on one consumer, from the first claim to the last settlement."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Final

from eventpipe.core.deadline import Deadline
from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context
from eventpipe.core.pool import Pool
from eventpipe.core.retry import backoff
from eventpipe.errors import LeaseLostError
from eventpipe.log.claimant import Claimant
from eventpipe.log.episodes import Episodes
from eventpipe.log.feeder import FedLog, Feeder
from eventpipe.log.finishing import finish
from eventpipe.log.handling import Handled, Work
from eventpipe.log.lines import Held
from eventpipe.log.planning import Plan
from eventpipe.log.reports import Tally
from eventpipe.log.settling import Settling, Teller
from eventpipe.log.window import Window
from eventpipe.outcomes import Durations, OutcomeKind

# Seconds that what is cut off has to end; with it a stop stays within a quarter of a second beyond its deadline.
CUT_GRACE: Final = 0.05

# A sink that says that it is misconfigured is tried again so often: somebody has to change something first.
PROBE_INTERVAL: Final = 60.0

_TURNS: Final = 16  # events that a handler that never waits is given before others on the loop have their turn

_logger = contained_logger(__name__)


class _Desk:
    """A worker's place, and what is on it."""

    def __init__(self, events: Sequence[Held]) -> None:
        self.work: Work | None = Work(events)


class Shift:
    """Claims, hands out and settles, until it is asked to stop, its pass is over, or the right to go on is lost.

    Three kinds of tasks: this one settles and employs workers; the feeder claims, and parks where nothing is due; the
    workers take one batch after the other. None of them waits for another while it holds something.

    Attributes:
        key: The consumer.
        tally: What it did.
        stragglers: Names of workers that ignored their cancellation.
        blame: What the sink said when it called itself misconfigured last; ``None``: it did not.
    """

    def __init__(
        self, log: FedLog, claimant: Claimant, plan: Plan, teller: Teller, *, tally: Tally, end: int | None = None
    ) -> None:
        """Hand out nothing yet.

        Args:
            log: The log.
            claimant: Open.
            plan: What to do.
            teller: Who is told of outcomes.
            tally: Where it counts.
            end: A pass: it ends once everything before this offset was attempted, or waits for something that does not
                happen in it. ``None``: it goes on.
        """
        self.key = plan.key
        self.tally = tally
        self.stragglers: list[str] = []
        self.blame: str | None = None
        self._claimant = claimant
        self._plan = plan
        self._end = end
        self._window = Window(plan.rules)
        self._stir = asyncio.Event()
        self._pool: Pool[_Desk] = Pool(
            plan.concurrency, f"consumer {plan.key}", on_lost=self._lost, on_free=self._stir.set
        )
        self._episodes = Episodes(plan.key)
        self._feeder = Feeder(
            log,
            claimant,
            self._window,
            plan.sieve,
            plan.clock,
            lifted=plan.lifted,
            tally=tally,
            end=end,
            on_claim=self._stir.set,
            on_error=self._store_failed,
        )
        self._settling = Settling(
            claimant,
            plan,
            self._window,
            self._feeder,
            self._episodes,
            teller,
            tally,
            is_pass=end is not None,
            on_error=self._store_failed,
        )
        self._over = asyncio.Event()
        self._feeding: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._is_ending = self._is_cut = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._cut_at = math.inf  # uvloop's handle of what is due at once does not say when
        self._task: asyncio.Task[None] | None = None  # in which it runs
        self._cancelling = 0  # cancellations that this one was told of before

    @property
    def held(self) -> int:
        """Events claimed and not settled."""
        return self._window.held

    @property
    def in_flight(self) -> int:
        """Events handed out."""
        return self._window.out

    @property
    def is_paused(self) -> bool:
        """Whether nothing is handed out because the far end said so."""
        return self._window.is_paused(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Work; then end what runs, give back what was not begun with, and release the consumer.

        Raises:
            LeaseLostError: The right to the consumer was lost, or it was moved. Nothing of what was in hand counts.
            UnknownConsumerError: The consumer was removed.
            ClosedError: The log does not run.
            StoreError: In a pass, the store failed.

        Cancellation:
            As at a deadline: what runs is cancelled, and what was not begun with is given back.
        """
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101  # a coroutine of a task
        self._cancelling = self._task.cancelling()
        try:
            lease = self._claimant.lease
            assert lease is not None  # noqa: S101  # a consumer has its events for itself
            async with lease.guard():
                await self._pool.start()
                loop = asyncio.get_running_loop()
                self._feeding = loop.create_task(self._feed(), name=f"feeder of {self.key}", context=own_context())
                await self._work_on()
        finally:
            await self._end_all()

    def request_stop(self, deadline: Deadline | None = None) -> None:
        """Hand out what is held and may leave, and then end; at the deadline, cut off what still runs."""
        self._feeder.is_done = True
        if self._feeding is not None:
            self._feeding.cancel()
        self.limit(deadline or Deadline())
        self._window.is_flushing = True
        self._stir.set()

    def limit(self, deadline: Deadline) -> None:
        """Cut off at ``deadline`` what still runs then. A later one changes nothing."""
        if deadline.when is not None and deadline.when < self._cut_at:
            if self._timer is not None:
                self._timer.cancel()
            self._cut_at = deadline.when
            self._timer = asyncio.get_running_loop().call_at(deadline.when, self._cut)

    def moved(self) -> None:
        """See that the consumer was moved or removed: what is in hand can be settled no more."""
        self._fail(LeaseLostError(f"consumer {self.key} was moved"))

    def paused(self) -> None:
        """See that the consumer was paused: give back what is not begun with."""
        self._feeder.paused()

    async def aclose(self) -> None:
        """Begin with nothing more, wait for what runs, and give back the rest: the log stops. May come twice."""
        self._is_ending = True
        self.request_stop()
        await self._over.wait()

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def _work_on(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._stir.clear()
            if loop.time() >= self._settling.not_before:
                await self._settling.settle()
            self._employ()
            if self._end is not None and not self._is_busy() and self._window.appetite(loop.time())[0] <= 0:
                # Its hands are full of what waits for others to leave with, and no other will come.
                self._window.is_flushing = True
                self._employ()
                if self._is_busy():
                    self._window.is_flushing = False  # there is room for others when this is settled
                else:
                    self._feeder.is_done = True
            self._feeder.room.set()
            if self._failure is not None:
                raise self._failure
            if self._is_cut or (self._feeder.is_done and not self._is_busy()):
                return
            await self._wait(loop)

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Park until something happens, or something is due."""
        now = loop.time()
        # A worker that is free takes what becomes due; where all are busy, each looks for itself when it is done.
        moments = [self._window.due_at()] if self._pool.free else []
        not_before = self._settling.not_before
        moments += [self._window.due_back_at(now), not_before if not_before > now else None]
        due = min((moment for moment in moments if moment is not None), default=None)
        timer = None if due is None else loop.call_at(max(due, now), self._stir.set)
        try:
            await self._stir.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _is_busy(self) -> bool:
        return bool(self._pool.running) or not self._settling.is_idle

    def _cut(self) -> None:
        self._is_cut = True
        self._stir.set()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._stir.set()

    async def _feed(self) -> None:
        try:
            await self._feeder.run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, it ends the shift, which raises it
            self._fail(error)
        self._window.is_flushing = True
        self._stir.set()

    # -- handing out --------------------------------------------------------------------------------------------------

    def _employ(self) -> None:
        """Give each free worker a batch, while there are any."""
        now = asyncio.get_running_loop().time()
        if self._settling.outbox and self._plan.handling.takes_batches:
            return  # what a kill repeats is one batch for each worker, also while the store fails
        while self._pool.free and self._may_begin() and (events := self._window.take(now)):
            if not self._pool.try_acquire():  # it is being stopped
                self._window.put_back(events)
                return
            desk = _Desk(events)
            self._pool.spawn(self._hand_out(desk), desk)

    async def _hand_out(self, desk: _Desk) -> None:
        """Hand out one batch, and to a handler one event after the other, while there are any."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine of a task
        turns = 0
        while (work := desk.work) is not None:
            try:
                self.tally.handed += len(work.events)
                await self._plan.handling.handle(work)
                if task.cancelling():
                    await asyncio.sleep(0)  # else the next event would meet it
                    raise asyncio.CancelledError
            except asyncio.CancelledError:
                if self._is_ending or self._is_being_cancelled():
                    raise
                self._plan.handling.cancelled(work)
                while task.uncancel():
                    pass
            except Exception as error:
                self._fail(error)  # a fault of ours: with the same event it would come again, without end
                raise
            finally:
                if not self._is_closed:  # else it was given back long ago
                    self._note(work)
                desk.work = None
            if self._plan.handling.takes_batches:
                return
            turns += 1
            if turns % _TURNS == 0:
                await asyncio.sleep(0)
            if not self._is_closed and self._may_begin() and (events := self._window.take(loop.time())):
                desk.work = Work(events)

    def _is_being_cancelled(self) -> bool:
        """Whether a cancellation of its workers is one of the shift, by somebody who cancels all tasks there are."""
        return self._task is not None and self._task.cancelling() > self._cancelling

    def _may_begin(self) -> bool:
        if not self._claimant.is_trusted:
            self._fail(LeaseLostError(f"consumer {self.key} was held for longer than its lease lasts"))
        return self._failure is None and not self._is_ending

    def _note(self, work: Work) -> None:
        """Keep what became of a batch, until it is settled."""
        now = asyncio.get_running_loop().time()
        self.tally.attempts += work.attempts
        for handled in work.handled:
            self._settling.outbox.append(handled)
            if handled.kind is OutcomeKind.DELIVERED:
                self._window.handled(handled.events)
                if self._window.succeeded():
                    self._episodes.well_configured()
            elif handled.retry_after is not None:
                self._window.pause(now + min(handled.retry_after, self._plan.policy.max_retry_after))
        left = work.untouched()
        if work.running:  # cancelled, as the shift ends: what became of it nobody can know
            self._interrupted(work, now)
            left = [*work.running, *left]
        self._window.put_back(left)
        if work.blame is not None:
            self.blame = f"{work.blame.reason}: {work.blame}"
            self.tally.failed(self.blame)
            self._episodes.misconfigured(self.blame, PROBE_INTERVAL)
            self._window.pause(now + PROBE_INTERVAL)
        self._stir.set()

    def _lost(self, desk: _Desk) -> None:
        """Take back what a worker was given that was cancelled before its first step."""
        if desk.work is not None and not self._is_closed:
            self._note(desk.work)

    def _interrupted(self, work: Work, now: float) -> None:
        durations = Durations(0.0, 0.0, now - work.began)
        self._settling.interrupted([Handled(work.running, OutcomeKind.INTERRUPTED, durations=durations)])

    def _store_failed(self, error: Exception, failures: int) -> float:
        """Count it; how long to leave the store alone.

        Raises:
            Exception: The error itself, in a pass.
        """
        if self._end is not None:
            raise error
        self.tally.store_errors += 1
        self._episodes.store_failed(error)
        return backoff(self._plan.policy, failures, self._plan.booking.random)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _end_all(self) -> None:
        """End what runs, settle what is known, give the rest back."""
        self._is_ending = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._feeding is not None:
                self._feeding.cancel()
                await asyncio.wait({self._feeding}, timeout=CUT_GRACE)
            self.stragglers = await self._pool.stop(CUT_GRACE)
        finally:
            now = asyncio.get_running_loop().time()
            for desk in self._pool.items():
                if desk.work is not None and desk.work.running:
                    self._interrupted(desk.work, now)
            self._is_closed = True
            try:
                if self._failure is None:
                    await finish(self._settling.settle_the_last())
                else:
                    self._settling.give_up()
            finally:
                await self._claimant.close()
                self._over.set()
