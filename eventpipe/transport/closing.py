"""The one close of a client, which all who close it share."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Sequence

from eventpipe.contracts import Sink
from eventpipe.core.deadline import Deadline
from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context
from eventpipe.core.service import Service, ServiceState
from eventpipe.outcomes import CloseReport
from eventpipe.statistics import Statistics
from eventpipe.transport.attempt import describe
from eventpipe.transport.dispatcher import STRAGGLER_TIMEOUT, Dispatcher
from eventpipe.transport.feed import OutcomeFeed
from eventpipe.transport.flushing import flush

logger = contained_logger("eventpipe")

# A sink that has nothing to send closes its connections in milliseconds; five seconds is for a file system that stalls.
MAX_SINK_CLOSE = 5.0
# A close that has not ended by then writes what is pending to the spool, where there is one: whatever ends the process,
# or the deadline, it is there.
INSURE_AFTER = 0.2
# A dispatcher ends within STRAGGLER_TIMEOUT of its deadline; one that has not by then never will.
BROKEN_TIMEOUT = 1.0


class Closing:
    """Drains the dispatchers, then ends the sinks, by one deadline that a later caller can only bring forward.

    Attributes:
        report: What became of every event; ``None`` until the close is over.
    """

    def __init__(
        self, dispatchers: Sequence[Dispatcher], feed: OutcomeFeed, beside: Sequence[Service], deadline: Deadline
    ) -> None:
        """Begin to close, on the running loop; what runs beside the dispatchers ends after them, the last one first."""
        self._dispatchers = dispatchers
        self._beside = beside
        self._feed = feed
        self._began = asyncio.get_running_loop().time()
        self._callers = 0
        self.report: CloseReport | None = None
        self._deadline = deadline
        self._is_draining = False
        self._patience: asyncio.Timeout | None = None  # with what is being ended now
        self._may_take = self._dispatcher_may_take
        for dispatcher in dispatchers:
            dispatcher.intake.close()
            dispatcher.is_held = True
        self._task = asyncio.get_running_loop().create_task(self._run(), name="eventpipe-close", context=own_context())
        self._task.add_done_callback(lambda _: self._let_go())  # also if it was cancelled before its first step

    @property
    def is_cut_short(self) -> bool:
        """Whether it will never be over: its loop was closed under it, or somebody cancelled its task."""
        return self.report is None and (self._task.done() or self._task.get_loop().is_closed())

    async def wait(self, deadline: Deadline) -> CloseReport | None:
        """Wait for the end of the close, at the latest a little after ``deadline``.

        Inside a sink's own ``send`` it cannot be waited for: there, everything but that batch is.

        Returns:
            What became of every event; ``None`` when somebody cancelled the close and not this caller.

        Cancellation:
            Others who wait go on waiting. When the last is cancelled, what is in flight is cancelled, and what is
            pending is accounted for at once.
        """
        if deadline.when is not None and (self._deadline.when is None or deadline.when < self._deadline.when):
            self._deadline = deadline
            if self._is_draining:
                self._request_stop()
            if self._patience is not None and not self._patience.expired():
                self._patience.reschedule(asyncio.get_running_loop().time() + self._may_take())
        if any(dispatcher.flushes.own_events for dispatcher in self._dispatchers):
            await flush(self._dispatchers, deadline.when, "settled", hurry=False)
            return self._make_report(())
        self._callers += 1
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            if self._callers == 1:
                for dispatcher in self._dispatchers:
                    dispatcher.abandon()
            raise
        finally:
            self._callers -= 1
        return None if self._task.cancelled() else self._task.result()

    def _request_stop(self) -> None:
        self._is_draining = True
        for dispatcher in self._dispatchers:
            dispatcher.request_stop(self._deadline)
        self._let_go()

    def _let_go(self) -> None:
        for dispatcher in self._dispatchers:
            dispatcher.is_held = False

    async def _run(self) -> CloseReport:
        for dispatcher in self._dispatchers:
            with contextlib.suppress(Exception):  # one that cannot run drains nothing; what it holds is dropped below
                await dispatcher.start()
        self._request_stop()
        insuring = asyncio.get_running_loop().call_later(INSURE_AFTER, self._insure)
        stragglers = [name for dispatcher in self._dispatchers for name in await self._end_dispatcher(dispatcher)]
        insuring.cancel()
        stragglers += await self._end_beside()
        stragglers += await self._end_feed()
        if self._dispatchers:  # a disabled client has none
            stragglers += await self._end_sinks()
        self.report = self._make_report(stragglers)
        return self.report

    def _insure(self) -> None:
        for dispatcher in self._dispatchers:
            dispatcher.insure()

    async def _end_dispatcher(self, dispatcher: Dispatcher) -> list[str]:
        """Wait until one has drained; what it holds then, it never will.

        It keeps the deadline by itself, but where an exit that a signal handler raised broke into the middle of it.
        """
        self._may_take = self._dispatcher_may_take
        stragglers = [dispatcher.name]
        with contextlib.suppress(TimeoutError):
            # Without a deadline, for as long as it takes.
            async with asyncio.timeout(None if self._deadline.when is None else self._may_take()) as self._patience:
                await dispatcher.stopped()
                stragglers = dispatcher.stragglers
        if dispatcher.pending:
            dispatcher.abandon()
        return stragglers

    async def _end_beside(self) -> list[str]:
        """Let what is on its way to disk come there."""
        stragglers = []
        for service in reversed(self._beside):
            try:
                async with asyncio.timeout(max(STRAGGLER_TIMEOUT, self._deadline.remaining())):
                    await service.stop()
            except TimeoutError:
                stragglers.append(service.name)
        for dispatcher in self._dispatchers:
            if dispatcher.exit.spilling is not None:
                dispatcher.exit.spilling.give_up()
        return stragglers

    async def _end_feed(self) -> list[str]:
        """Let every outcome reach its subscribers: the input of their feed ends now that all is accounted for."""
        self._feed.finish()
        if self._feed.state in (ServiceState.STARTING, ServiceState.RUNNING):  # somebody subscribed
            try:
                async with asyncio.timeout(STRAGGLER_TIMEOUT):
                    await self._feed.stopped()
            except TimeoutError:
                return [self._feed.name]
        return []

    async def _end_sinks(self) -> list[str]:
        """Close the sinks side by side; one that hangs or raises is named, and keeps nobody."""
        tasks = {
            asyncio.get_running_loop().create_task(_end(dispatcher.sink), name=f"{dispatcher.name} aclose")
            for dispatcher in self._dispatchers
        }
        self._may_take = self._sinks_may_take
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._may_take()) as self._patience:
                await asyncio.wait(tasks)
        hanging = {task for task in tasks if not task.done()}
        if hanging:
            for task in hanging:
                logger.warning("%s did not end in time, and was cancelled", task.get_name())
                task.cancel()
            await asyncio.wait(hanging, timeout=STRAGGLER_TIMEOUT / 2)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                logger.warning("%s failed: %s", task.get_name(), describe(error))
        return [task.get_name() for task in tasks if not task.done()]

    def _dispatcher_may_take(self) -> float:
        return self._deadline.remaining() + BROKEN_TIMEOUT

    def _sinks_may_take(self) -> float:
        return max(STRAGGLER_TIMEOUT, min(self._deadline.remaining(), MAX_SINK_CLOSE))

    def _make_report(self, stragglers: Sequence[str]) -> CloseReport:
        total = sum((dispatcher.statistics() for dispatcher in self._dispatchers), Statistics())
        return CloseReport(
            delivered=total.delivered,
            dropped=total.dropped,
            dropped_by_reason=total.dropped_by_reason,
            spooled=total.spooled,
            pending=total.pending,
            stragglers=tuple(stragglers),
            elapsed=asyncio.get_running_loop().time() - self._began,
        )


async def _end(sink: Sink) -> None:
    """Close one sink, in whatever way its ``aclose()`` fails: also by raising, or by returning, at the call."""
    ending: object = sink.aclose()
    if inspect.isawaitable(ending):
        await ending
