"""A service that attempts deliveries when they are due, in passes, and one pass for whoever asks."""

from __future__ import annotations

import asyncio
import math
import os
import random as randomlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from eventpipe.checked import shown
from eventpipe.core.deadline import Deadline
from eventpipe.core.group import STOP_TIMEOUT
from eventpipe.core.life import Life
from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.delivery.alarm import Alarm
from eventpipe.delivery.common import Common
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.pass_lock import PassLock
from eventpipe.delivery.passes import Pass
from eventpipe.delivery.reconciler_options import check_options
from eventpipe.delivery.reports import ReconcileReport, ReconcilerStatistics, Totals
from eventpipe.errors import ClosedError, LeaseHeldError, LeaseLostError, StoreError
from eventpipe.stores.delivery_values import DELIVERIES, EndpointState
from eventpipe.stores.names import check_name

# Seconds until a store that failed is asked again; twice as many after each further failure, up to the interval.
FIRST_PAUSE: Final = 0.5

# What a stop may take beyond its deadline, as that of a group: what is cut off ends, and its rows are given back.
_END_TIME: Final = 0.25
_PASS_GRACE: Final = 0.2  # of which the passes have this for themselves


_logger = contained_logger(__name__)


class Reconciler(Service):
    """Attempts what is due: wakes when something is published, when a row is due, and at the latest each interval.

    ::

        async with Reconciler(deliveries, workers=8):
            ...

    Any number of them, in any number of processes, can share a store: each row is claimed by one at a time. What a
    process that died had claimed is due again when ``claim_ttl`` is over.

    An endpoint that fails has one attempt at a time until it succeeds; where it fails again, its other due rows are
    left where they are until it is probed next, at the latest an interval later. Endpoints take turns, and none has all
    workers while others have something due; but workers that are busy already are not taken away from one.

    A stop waits for what is being attempted until its deadline, then cancels it and gives it back.

    Attributes:
        deliveries: Whose rows are attempted.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        *,
        workers: int | None = None,
        interval: float = 15.0,
        claim_ttl: float = 60.0,
        lock: str | None = None,
        timeout: float = 15.0,
        random: Callable[[], float] | None = None,
        name: str = "eventpipe-reconciler",
    ) -> None:
        """Check everything; nothing is claimed before it starts, or makes a pass.

        Args:
            deliveries: Whose rows are attempted; they run when this starts.
            workers: Attempts at once, at most, in all passes. ``None``: as many as this machine has processors.
            interval: Seconds from one pass to the next, where nothing calls for one before; also the longest that an
                endpoint which fails is left alone, and a store that does.
            claim_ttl: Seconds that a claim lasts of which nothing is heard, and ``lock``; at most an hour. Rows whose
                attempts may take longer are claimed for longer.
            lock: A name, so that of all reconcilers with this name one makes passes at a time; what they do is right
                without it. ``None``: all make passes.
            timeout: Seconds for one attempt, below ``claim_ttl``; an endpoint can have its own.
            random: A source of floats, uniform in ``[0, 1)``, for the delays. ``None``: this process's.
            name: What its task and its log lines are named after.

        Raises:
            ValueError: An option has no meaning; the message names it, its value, and the rule.
            TypeError: ``deliveries`` are none, or ``lock`` is no text.
        """
        if not isinstance(deliveries, Deliveries):
            raise TypeError(f"deliveries must be Deliveries, not {shown(deliveries)}")
        check_options(workers=workers, interval=interval, claim_ttl=claim_ttl, timeout=timeout)
        super().__init__(name)
        self.deliveries = deliveries
        holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"
        self._common = Common(
            deliveries,
            name=name,
            holder=holder,
            workers=workers or os.cpu_count() or 1,
            timeout=timeout,
            interval=interval,
            claim_ttl=claim_ttl,
            random=random or randomlib.random,
        )
        self._lock = PassLock(deliveries.store, None if lock is None else check_name("lock", lock), claim_ttl, holder)
        self._totals = Totals()
        self._opening = asyncio.Lock()  # who begins a pass; each loop has its own
        self._opening_loop: asyncio.AbstractEventLoop | None = None
        # Of one life:
        self._passes: dict[asyncio.Task[None], Pass | None] = {}
        self._cut_off: set[asyncio.Task[None]] = set()
        self._stragglers: list[str] = []
        self._alarm = Alarm(interval)
        self._cut_timer: asyncio.TimerHandle | None = None
        self._not_before = -math.inf  # loop clock: the store failed, and is left alone until then
        self._rests_until = -math.inf  # loop clock: without a call there is no pass until then
        self._store_failures = 0  # in a row
        self._failure: BaseException | None = None

    async def reconcile(self) -> ReconcileReport:
        """Make one pass: attempt everything that is due at this moment, each delivery once; it need not be started.

        What becomes due meanwhile is left to the next pass. It takes as long as the rates of the endpoints ask for.

        Returns:
            What became of the deliveries. Where ``lock`` is held elsewhere nothing was done, and ``lock_held`` is true.

        Raises:
            StoreError: The store could not list or claim; its notes say what the pass did until then. What was being
                attempted was brought to an end.
            LeaseLostError: ``lock`` was lost. Nothing was written since.
            ClosedError: The deliveries do not run.

        Cancellation:
            What is being attempted is cancelled, and given back like what was not begun with.
        """
        began = asyncio.get_running_loop().time()
        async with self._pass(is_asked=True) as one:
            if one is None:
                return ReconcileReport(lock_held=True, elapsed=asyncio.get_running_loop().time() - began)
            try:
                await self._run(one)
            finally:
                if one.stragglers:
                    _logger.warning("%s: ignored their cancellation: %s", self.name, ", ".join(one.stragglers))
            return one.tally.report(asyncio.get_running_loop().time() - began)

    def statistics(self) -> ReconcilerStatistics:
        """What it did in all passes that ended, and what it does now."""
        totals, pacing = self._totals, self._common.pacing
        return ReconcilerStatistics(
            totals.passes,
            totals.claimed,
            totals.succeeded,
            totals.failed,
            totals.retried,
            totals.skipped,
            totals.errors,
            totals.rescued,
            pacing.workers - pacing.free,
            self._common.books.unwritten,
        )

    async def stop(self, timeout: float | None = None) -> StopReport:
        """Claim nothing more, and wait for what is being attempted; at once when there is nothing to stop.

        Args:
            timeout: Seconds on the loop clock until what still runs is cancelled and given back; the earliest of
                several stops counts. ``None`` waits as long as attempts take.

        Returns:
            How its life ended, with the attempts that ignored their cancellation; it comes within 0.25 s of the
            deadline, whatever far ends do.

        Raises:
            TimeoutError: It is still stopping, because its store does not answer; ``stop()`` may come again.
            RuntimeError: Called by the reconciler's own main task.

        Cancellation:
            Safe. The stop goes on.
        """
        life = self._current()
        if life is None:
            return self._last_report()
        deadline = Deadline.after(timeout)
        try:
            async with Deadline.after(None if timeout is None else max(timeout, 0.0) + _END_TIME).scope():
                return await self._stop(life, deadline)
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not stop within {timeout} s") from None

    async def __aexit__(self, *_: object) -> None:
        await self.stop(STOP_TIMEOUT)

    # -- the service --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        _ = self.deliveries.kept  # raises, unless they run
        self._passes, self._cut_off, self._stragglers = {}, set(), []
        self._alarm = Alarm(self._common.interval)
        self._cut_timer = None
        self._not_before = self._rests_until = -math.inf
        self._store_failures = 0
        self._failure = None

    async def _serve(self) -> None:
        life = self._life
        assert life is not None  # noqa: S101  # this is a step of it
        loop = life.loop
        self._alarm.open()
        watching = loop.create_task(self._watch(), name=f"{self.name} watching", context=own_context())
        try:
            while not life.stop_requested.is_set() and self._failure is None:
                self._alarm.clear()
                if loop.time() < self._not_before:
                    self._alarm.last_at = self._not_before
                elif not self._lock.is_needed or loop.time() >= self._rests_until or await self._is_called():
                    self._alarm.last_at = self._rests_until = loop.time() + self._common.interval
                    await self._begin_pass(loop)
                else:
                    self._alarm.last_at = self._rests_until
                await self._alarm.wait()
            while self._passes and self._failure is None:
                await asyncio.wait(self._passes)
        finally:
            if not loop.is_closed():
                watching.cancel()
                await self._end(watching)
        if self._failure is not None:
            raise self._failure

    async def _is_called(self) -> bool:
        """Whether something is due, as far as a look can tell.

        To take the lock is a write, which wakes those who share the file: they would wake each other for ever.
        """
        try:
            found = await self.deliveries.kept.due()
        except (StoreError, OSError) as error:
            self._store_failed(error)
            return False
        now, senders = self.deliveries.clock.time(), self.deliveries.senders
        moments = [
            first_due_at
            for endpoint, first_due_at in found
            if endpoint.state is not EndpointState.PAUSED
            and (endpoint.state is not EndpointState.ACTIVE or senders.has(endpoint))
        ]
        if any(moment <= now for moment in moments):
            return True
        for moment in moments:
            self._due(moment)
        return False

    def _request_stop(self, deadline: Deadline) -> None:
        for one in self._passes.values():
            if one is not None:
                one.request_stop()
        self._alarm.ring()
        if self._cut_timer is not None:
            self._cut_timer.cancel()
        if deadline.when is not None:
            self._cut_timer = asyncio.get_running_loop().call_at(deadline.when, self._cut)

    def _report(self, life: Life) -> StopReport:
        stragglers, self._stragglers = self._stragglers, []
        return super()._report(life) + StopReport(stragglers=tuple(stragglers))

    async def _watch(self) -> None:
        """Wake the service whenever something is published, asked for or changed."""
        store = self.deliveries.store
        seen = store.version(DELIVERIES)
        while True:
            try:
                await store.wait(DELIVERIES, seen)
            except ClosedError as error:
                self._crash(error)
                return
            version = store.version(DELIVERIES)
            if version != seen:
                seen = version
                self._alarm.ring()

    async def _begin_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a pass, and let it go on by itself once it has seen what is due."""
        opened = asyncio.Event()
        task = loop.create_task(self._make_pass(opened), name=f"{self.name} pass", context=own_context())
        self._passes.setdefault(task, None)  # an eager one has begun already
        task.add_done_callback(lambda ended: self._passes.pop(ended, None))
        await opened.wait()

    async def _make_pass(self, opened: asyncio.Event) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine of a task
        try:
            async with self._pass(is_asked=False) as one:
                if one is None:
                    return
                self._passes[task] = one
                if self.state is ServiceState.STOPPING:  # since before there was a pass to tell
                    one.request_stop()
                opened.set()
                try:
                    await self._run(one)
                finally:
                    self._stragglers += one.stragglers
                if one.has_lanes:
                    await one.look()
            self._store_failures = 0
            self._common.episodes.store_is_well()
        except (StoreError, OSError) as error:
            self._store_failed(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, the service ends with it
            self._crash(error)
        finally:
            opened.set()

    def _store_failed(self, error: Exception) -> None:
        """Leave the store alone for a while."""
        if isinstance(error, LeaseLostError):
            _logger.warning("%s ended a pass: %s", self.name, error)
        else:
            self._common.episodes.store_failed(error)
        pause = min(self._common.interval, FIRST_PAUSE * 2.0 ** min(self._store_failures, 30))
        self._store_failures += 1
        self._not_before = asyncio.get_running_loop().time() + pause
        self._alarm.ring()

    def _crash(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._alarm.ring()

    def _cut(self) -> None:
        """Cancel each pass, once."""
        for task in self._passes:
            if task not in self._cut_off:
                self._cut_off.add(task)
                task.cancel()

    async def _end(self, watching: asyncio.Task[None]) -> None:
        self._alarm.close()
        if self._cut_timer is not None:
            self._cut_timer.cancel()
        self._cut()
        await asyncio.wait({watching, *self._passes}, timeout=_PASS_GRACE)
        self._stragglers += [task.get_name() for task in self._passes if not task.done()]

    # -- passes -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _pass(self, *, is_asked: bool) -> AsyncIterator[Pass | None]:
        """A pass that has seen what is due, and the lock around it; ``None``: somebody else has the lock."""
        loop = asyncio.get_running_loop()
        if self._opening_loop is not loop:
            self._opening, self._opening_loop = asyncio.Lock(), loop
            self._common.unwritten = 0  # what the other wrote, if that was closed under it, it writes no more
        async with AsyncExitStack() as stack:
            async with self._opening:
                try:
                    check = await stack.enter_async_context(self._lock.held())
                except LeaseHeldError:
                    one = None
                    self._totals.passes += 1
                else:
                    one = Pass(
                        self._common,
                        check,
                        is_asked=is_asked,
                        on_due=self._due,
                        on_probe=self._alarm.ring_at,
                        on_skipped=self._alarm.ring,
                    )
                    await one.open()
            yield one

    async def _run(self, one: Pass) -> None:
        try:
            await one.run()
        except (StoreError, OSError) as error:
            error.add_note(one.tally.summary())
            raise
        finally:
            self._totals.add(one.tally)

    def _due(self, moment: float) -> None:
        """See when a row is due, on the wall clock."""
        self._alarm.ring_at(asyncio.get_running_loop().time() + moment - self.deliveries.clock.time())
