"""A service that hands the events of a topic to a handler or a sink, in order, until each is settled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Unpack

from eventpipe.contracts import Sink
from eventpipe.core.deadline import Deadline
from eventpipe.core.group import STOP_TIMEOUT
from eventpipe.core.life import Life
from eventpipe.core.log import contained_logger
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.errors import ClosedError, LeaseHeldError, LeaseLostError, StoreError
from eventpipe.log.claimant import Claimant
from eventpipe.log.consumer_options import ConsumerOptions, ConsumerOptionsDict
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import Handler
from eventpipe.log.outcomes import Outcomes, OutcomeTopic
from eventpipe.log.planning import check_outcomes_topic, key_of, plan_of, sink_of
from eventpipe.log.positions import Position, check_position
from eventpipe.log.reports import ConsumerError, ConsumerReport, ConsumerStatistics, Lag, PassReport, Tally
from eventpipe.log.shards import check_shards
from eventpipe.log.shift import Shift
from eventpipe.log.standby import Standby
from eventpipe.outcomes import OutcomeKind
from eventpipe.subscriptions import Filter, Subscription, SubscriptionOverflow

_logger = contained_logger(__name__)

_ALIVE: Final = (ServiceState.STARTING, ServiceState.RUNNING, ServiceState.STOPPING)

# What a stop may take beyond its deadline, as that of a group: what is cut off ends, and what it had is given back.
_END_TIME: Final = 0.25


class Consumer(Service):
    """Hands every event of a topic to a handler, one by one, or to a sink, in batches, at least once.

    ::

        async with Consumer(log, "orders", "audit", FileSink("audit.ndjson"), max_attempts=5):
            ...

    Where it is in the topic is kept in the log under its name. One holder of a name works at a time, in whatever
    process; others wait. An event that fails is tried again after a backoff, and given up to the dead letters after
    ``max_attempts``, or at once where the far end refuses it for good; its neighbours in a batch are delivered.

    A handler is ``async (event: ConsumedEvent)``. What it raises is a failed attempt, whatever it is; a
    ``PermanentSinkError`` gives the event up at once.

    A stop makes a last pass over what is pending, each event once, until its deadline; then it cancels what runs, gives
    the rest back unharmed, and says what stays pending. ``async with`` closes the sink at its end, and so does
    ``aclose()``; ``stop()`` leaves it open, so that the consumer can start again.

    Attributes:
        log: The log.
        key: Topic and name; the name of a shard has its number.
        options: As given.
    """

    def __init__(
        self,
        log: EventLog,
        topic: str,
        name: str,
        sink_or_handler: Sink | Handler,
        *,
        start: Position = "earliest",
        **options: Unpack[ConsumerOptionsDict],
    ) -> None:
        """Check everything; nothing is registered before it starts, or makes a pass.

        Args:
            log: The log, which runs when this starts.
            topic: The topic.
            name: The consumer's name, its own in that topic.
            sink_or_handler: A sink, or an async function of one ``ConsumedEvent``.
            start: Where it begins, if the log does not know it yet: ``"earliest"``, ``"latest"``, an offset or a time.
            **options: See ``ConsumerOptions``.

        Raises:
            ValueError: An option, a name or ``start`` has no meaning; the message names it, and the way out.
            TypeError: Neither a sink nor an async function was given, or the filter is no plain function.
        """
        self.options = ConsumerOptions(**options)
        self.key = key_of(topic, name, self.options.shard)
        super().__init__(f"consumer {self.key}")
        check_position("start", start)
        self.log = log
        self._name = name
        self._start = start
        self._sink = sink_of(sink_or_handler)
        self._plan = plan_of(self.key, self.options, sink_or_handler, log.clock)
        check_outcomes_topic(self.options.outcomes_topic, self.key)
        topic_of_outcomes = self.options.outcomes_topic
        self._outcomes = Outcomes(
            self.key,
            self.options.batch_events,
            None if topic_of_outcomes is None else OutcomeTopic(log, topic_of_outcomes, self.key),
        )
        self._tally = Tally()
        self._shift: Shift | None = None
        self._first: Claimant | None = None  # of a life that raises where somebody else has the consumer
        self._standby = Standby(log, self._plan, self.options, self._tally)
        self._is_last_pass = False
        self._passing = asyncio.Lock()  # who makes a pass; each loop has its own
        self._passing_loop: asyncio.AbstractEventLoop | None = None
        self._is_sink_closed = False
        self._stragglers: list[str] = []
        self._pending: int | None = None  # at the end of the last life

    async def process(self, timeout: float | None = None) -> PassReport:
        """Make one pass: hand out everything that is pending now, each event once, without being started.

        Events that are appended meanwhile are left to the next pass; where nothing is pending, nobody is called. Of
        what fails nothing is tried twice: the cursor stays at the first event that failed. Calls at once make one pass
        after the other, also in several processes.

        Args:
            timeout: Seconds after which what runs is cancelled and given back. ``None``: as long as it takes.

        Returns:
            What became of the events; ``pending`` says what is left.

        Raises:
            ConsumerError: Events failed, and stay pending; it has the report.
            RuntimeError: The consumer runs, and so does this by itself.
            LeaseHeldError: Another process has the consumer, and ``when_held`` is ``"raise"``.
            LeaseLostError: The consumer was taken over or moved meanwhile.
            UnknownConsumerError: It was removed meanwhile.
            StoreError: The store failed.
            ClosedError: The log does not run.
            TimeoutError: Another pass, or another process, had the consumer all the time.

        Cancellation:
            What runs is cancelled and given back; what was handled is settled.
        """
        if self.state in _ALIVE:
            raise RuntimeError(f"{self.name} is {self.state}: process() is for one that does not run by itself")
        self._refuse_closed_sink()
        deadline = Deadline.after(timeout)
        loop = asyncio.get_running_loop()
        if self._passing_loop is not loop:
            self._passing, self._passing_loop = asyncio.Lock(), loop
        tally = Tally()
        async with contextlib.AsyncExitStack() as stack:
            async with deadline.scope():
                await stack.enter_async_context(self._passing)
                await self._register()
                end = (await self.log.topic(self.key.topic)).end
                claimant = await self._standby.claimant(is_waiting=self.options.when_held == "wait")
            shift = self._shift = Shift(self.log, claimant, self._plan, self._outcomes, tally=tally, end=end)
            if deadline.when is not None:
                shift.limit(deadline)
            try:
                await self._work(shift)
            except LeaseLostError:
                await self.log.consumer(*self.key)  # which says so, if it was removed
                raise
            finally:
                self._tally.add(tally)
            pending = (await self.log.consumer(*self.key)).pending
        report = PassReport(
            tally.handed,
            tally.delivered,
            tally.retried,
            tally.dead,
            tally.skipped,
            pending,
            tally.gap,
            tuple(tally.errors),
        )
        if tally.retried or shift.blame:
            raise ConsumerError(str(self.key), report)
        return report

    async def lag(self) -> Lag:
        """How far it is behind, also while nobody consumes.

        Raises:
            UnknownConsumerError: It was never registered, or was removed.
            ClosedError: The log does not run.
        """
        info = await self.log.consumer(*self.key)
        seconds = 0.0 if info.oldest_at is None else max(self.log.clock.time() - info.oldest_at, 0.0)
        return Lag(info.pending, seconds)

    def statistics(self) -> ConsumerStatistics:
        """What it did in all its lives, and holds now."""
        tally, shift = self._tally, self._shift
        topic = self._outcomes.topic
        return ConsumerStatistics(
            **tally.counters(),
            filter_errors=self._plan.sieve.errors,
            outcomes_lost=0 if topic is None else topic.lost,
            held=0 if shift is None else shift.held,
            in_flight=0 if shift is None else shift.in_flight,
            is_holder=shift is not None,
            is_paused=shift is not None and shift.is_paused,
            last_error=tally.last_error,
        )

    def subscribe(
        self,
        *kinds: OutcomeKind | str,
        buffer: int | None = None,
        buffer_bytes: int | None = None,
        overflow: SubscriptionOverflow = "drop_newest",
        filter: Filter | None = None,  # noqa: A002  # what users know it as
        name: str | None = None,
    ) -> Subscription:
        """Make a subscription to outcomes: one per batch and verdict, told once it is settled.

        It ends when the consumer has stopped; one made before the start, or between two lives, is for the next. The
        arguments are those of ``Subscription``.

        Raises:
            ValueError: An argument is wrong; the message names it.
            TypeError: A kind is no word, or the filter is no plain function.
        """
        return self._outcomes.feed.subscribe(
            *kinds, buffer=buffer, buffer_bytes=buffer_bytes, overflow=overflow, filter=filter, name=name
        )

    async def stop(self, timeout: float | None = None) -> ConsumerReport:
        """Make a last pass, stop, and say what stays pending; at once when there is nothing to stop.

        Args:
            timeout: Seconds on the loop clock until what still runs is cut off and given back; the earliest of several
                stops counts. ``None`` waits as long as the last pass takes.

        Returns:
            How its life ended, and what it left; it comes within 0.25 s of the deadline, whatever sinks and handlers
            do.

        Raises:
            TimeoutError: It is still stopping, because its store does not answer; ``stop()`` may come again.
            RuntimeError: Called by the consumer's own main task.

        Cancellation:
            Safe. The stop goes on.
        """
        life = self._current()
        if life is None:
            report = self._last_report()
        else:
            deadline = Deadline.after(timeout)
            try:
                async with Deadline.after(None if timeout is None else max(timeout, 0.0) + _END_TIME).scope():
                    report = await self._stop(life, deadline)
            except TimeoutError:
                raise TimeoutError(f"{self.name} did not stop within {timeout} s") from None
        return ConsumerReport(
            report.stopped,
            report.cancelled,
            report.failed,
            report.stragglers + tuple(self._stragglers),
            report.elapsed,
            self._pending,
        )

    async def aclose(self, timeout: float | None = STOP_TIMEOUT) -> None:
        """Stop, and close the sink; this consumer is not started again. May come twice.

        Args:
            timeout: Seconds on the loop clock until what still runs is cut off. ``None``: as long as the last pass
                takes. Leaving ``async with`` takes 15 s at most, as a group of services does.

        Cancellation:
            The stop goes on; the sink is not closed.
        """
        self.request_stop(Deadline.after(timeout))
        await self.stop()
        if self._sink is not None:
            self._is_sink_closed = True
            await self._sink.aclose()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # -- the service --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._refuse_closed_sink()
        self._stragglers = []
        self._pending = None
        await self._register()
        if self.options.when_held == "raise":
            self._first = await self._standby.claimant(is_waiting=False)
        self._outcomes.open()

    async def _serve(self) -> None:
        losses = 0  # in a row, without anything settled in between
        while (claimant := await self._take_office(losses)) is not None:
            settled = self._tally.delivered
            self._shift = Shift(self.log, claimant, self._plan, self._outcomes, tally=self._tally)
            try:
                await self._work(self._shift)
                break
            except LeaseLostError as error:
                self._tally.takeovers += 1
                losses = losses + 1 if self._tally.delivered == settled else 0
                _logger.warning("%s forgets what it had in hand, and begins anew: %s", self.name, error)
        await self._make_last_pass()

    def _request_stop(self, deadline: Deadline) -> None:
        if self._shift is not None and self._is_last_pass:
            self._shift.limit(deadline)
        elif self._shift is not None:
            self._shift.request_stop(deadline)
        self._standby.leave()

    async def _close(self) -> None:
        first, self._first = self._first, None
        try:
            if first is not None:
                await first.close()
            with contextlib.suppress(StoreError, ClosedError, OSError):
                self._pending = (await self.log.consumer(*self.key)).pending
        finally:
            await self._outcomes.close()

    def _report(self, life: Life) -> StopReport:
        stragglers, self._stragglers = self._stragglers, []  # else stop() would name them once more
        return super()._report(life) + StopReport(stragglers=tuple(stragglers))

    async def _take_office(self, losses: int) -> Claimant | None:
        """Wait until nobody else has the consumer; ``None``: asked to stop."""
        life = self._life
        assert life is not None  # noqa: S101  # this is a step of it
        if life.stop_requested.is_set():
            return None
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._standby.wait(losses)

    async def _make_last_pass(self) -> None:
        """Hand out what is pending and was not claimed when the stop came, each event once, until the deadline."""
        life = self._life
        assert life is not None  # noqa: S101  # this is a step of it
        if not life.stop_requested.is_set() or life.deadline.expired:
            return
        self._is_last_pass = True
        try:
            end = (await self.log.topic(self.key.topic)).end
            async with life.deadline.scope():
                claimant = await self._standby.claimant(is_waiting=False)
            self._shift = Shift(self.log, claimant, self._plan, self._outcomes, tally=self._tally, end=end)
            self._shift.limit(life.deadline)
            await self._work(self._shift)
        except (LeaseHeldError, TimeoutError):
            pass  # whoever has it goes on; or the store does not answer in time
        except (StoreError, ClosedError, OSError) as error:
            _logger.warning("%s made no last pass: %s", self.name, error)
        finally:
            self._is_last_pass = False

    async def _work(self, shift: Shift) -> None:
        self.log.holders.add(shift)
        life = self._life
        if life is not None and life.stop_requested.is_set() and not life.over.is_set() and not self._is_last_pass:
            shift.request_stop(life.deadline)
        try:
            await shift.run()
        finally:
            self.log.holders.remove(shift)
            self._stragglers += shift.stragglers
            self._shift = None

    async def _register(self) -> None:
        shard = self.options.shard
        if shard is not None:
            consumers = await self.log.store.consumers(self.key.topic)  # of a topic that may not be there yet
            check_shards([info.name for info in consumers], self._name, shard.count)
        await self.log.add_consumer(*self.key, self._start)

    def _refuse_closed_sink(self) -> None:
        if self._is_sink_closed:
            raise ClosedError(f"the sink of {self.name} was closed with it; make a new consumer with a new sink")
