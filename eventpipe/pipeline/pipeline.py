"""A client, a log and its consumers as one service, which drains from the one end to the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from eventpipe.checked import shown
from eventpipe.client import AsyncClient
from eventpipe.clock import Clock
from eventpipe.core.deadline import Deadline
from eventpipe.core.failures import where_raised
from eventpipe.core.group import STOP_TIMEOUT, ServiceGroup
from eventpipe.core.life import Life
from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context
from eventpipe.core.service import Service
from eventpipe.core.stopping import StopReport
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.reports import ConsumerStatistics
from eventpipe.options import RetryPolicy
from eventpipe.pipeline.draining import Draining
from eventpipe.pipeline.reports import ConsumerSummary, DeliverySummary, PipelineReport
from eventpipe.stores.values import ConsumerKey

if TYPE_CHECKING:
    from eventpipe.delivery import Deliveries, Endpoint, Reconciler, ReconcilerStatistics, Rule
    from eventpipe.pipeline.delivering import Delivering

# A sink that has nothing to send closes in milliseconds; five seconds is for a file system that stalls. Where the
# deadline has passed it has a moment, as whatever is cut off.
_MAX_SINK_CLOSE: Final = 5.0
_SINK_GRACE: Final = 0.1

_logger = contained_logger(__name__)


class Pipeline(Service):
    """A client that feeds a log, the log, the consumers that hand out what is in it, and deliveries.

    ::

        log = EventLog(SqliteStore("var/events.db"))
        client = AsyncClient(LogSink(log, "orders"))
        audit = Consumer(log, "orders", "audit", FileSink("audit.ndjson"))
        async with Pipeline(client=client, log=log, consumers=[audit]) as pipeline:
            await pipeline.client.capture("paid", distinct_id="42")

    It starts the log and the deliveries, then the reconciler, the consumers in order and the client; an error while
    starting stops what was started. It stops from the other end, by one deadline: the client takes nothing more in and
    sends what it has; consumers hand out what is pending, each event once more; the reconciler attempts what is due,
    once more; deliveries and log close. What a far end has not taken by then stays where it is kept, and the next start
    goes on with it.

    A consumer, or the log, that crashes costs no other. With ``restart`` it starts again after a backoff. One that does
    not start again ends the pipeline, which drains what is left and has failed.

    ``async with`` closes the sinks of consumers and endpoints at its end, and so does ``aclose()``; ``stop()`` leaves
    them open. A pipeline without a client and with its sinks open can start again; a client that was closed stays
    closed.

    Args:
        client: Feeds the log, and perhaps other sinks; closed with the pipeline. ``None``: there is none.
        log: The log; the pipeline starts and stops it.
        consumers: Consumers of that log; the pipeline starts and stops them.
        deliveries: Deliveries, with a store of their own; the pipeline starts and stops them. ``None``: there are none.
        reconciler: Attempts those deliveries; likewise. ``None``: other processes do.
        endpoints: Added to the deliveries at each start, in place of those of their names unless they are the same;
            others stay. One that was paused or disabled stays so.
        rules: Likewise.
        name: What its task and its log lines are named after.
        stop_timeout: Seconds that a stop takes at most unless told otherwise.
        restart: How often and how long apart a part that crashed starts again, as ``ServiceGroup`` has it. ``None``:
            never, and the first crash ends the pipeline.

    Raises:
        ValueError: A consumer, endpoint or rule is there twice, or a part belongs to others than these;
            ``stop_timeout`` is not above 0.
        TypeError: Something is no client, log, consumer, policy, or part of deliveries.

    Attributes:
        log: As given.
        consumers: As given.
        stop_timeout: As given.
    """

    def __init__(
        self,
        *,
        client: AsyncClient | None = None,
        log: EventLog,
        consumers: Iterable[Consumer] = (),
        deliveries: Deliveries | None = None,
        reconciler: Reconciler | None = None,
        endpoints: Iterable[Endpoint] = (),
        rules: Iterable[Rule] = (),
        name: str = "eventpipe-pipeline",
        stop_timeout: float = STOP_TIMEOUT,
        restart: RetryPolicy | None = None,
    ) -> None:
        super().__init__(name)
        if not isinstance(log, EventLog):
            raise TypeError(f"log must be an EventLog, not {shown(log)}")
        if client is not None and not isinstance(client, AsyncClient):
            raise TypeError(f"client must be an AsyncClient, not {shown(client)}")
        self.log = log
        self.consumers = tuple(consumers)
        _check_consumers(self.consumers, log)
        self.stop_timeout = stop_timeout
        self._client = client
        self._delivering = _delivering(deliveries, reconciler, endpoints, rules)

        def group(what: str, *services: Service) -> ServiceGroup:
            # What cannot start again ends its own group, and tells the outer one so.
            guarded = [ServiceGroup(service, name=service.name, restart=restart) for service in services]
            return ServiceGroup(*guarded, name=f"{what} of {name}", stop_timeout=stop_timeout, on_crash=self._lose)

        self._keeper = group("log", log) if deliveries is None else group("stores", log, deliveries)
        self._deliverer = None if reconciler is None else group("deliveries", reconciler)
        self._workers = group("consumers", *self.consumers) if self.consumers else None
        self._is_client_running = False
        self._is_final = False
        self._closing_sinks: asyncio.Task[tuple[str, ...]] | None = None
        self._draining: Draining | None = None
        self._made = PipelineReport()
        self._before: dict[ConsumerKey, ConsumerStatistics] = {}
        self._delivered_before: ReconcilerStatistics | None = None

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None, clock: Clock | None = None
    ) -> Self:
        """Make a pipeline that a TOML file describes; nothing is opened before it starts.

        Modules with handlers are imported. Paths are relative to the folder of the file.

        Args:
            path: The file.
            environ: What ``${VARIABLE}`` in a string of the file stands for. ``None`` means this process's.
            clock: What tells the time; ``None``: the clocks of this process.

        Raises:
            ValueError: It cannot be read, or something in it is unknown, missing, of another type or contradictory; one
                line each, which name the file, the table and the key.
        """
        from eventpipe.pipeline.file import read  # where there is a file: TOML and far ends take time to import

        parts = read(path, os.environ if environ is None else environ, clock)
        return cls(client=parts.client, log=parts.log, consumers=parts.consumers, **parts.options)

    @property
    def client(self) -> AsyncClient:
        """The client.

        Raises:
            RuntimeError: There is none.
        """
        if self._client is None:
            raise RuntimeError(
                f"pipeline {self.name} has no client; give it one, or put a table [client] into its file"
            )
        return self._client

    @property
    def has_client(self) -> bool:
        """Whether there is a client."""
        return self._client is not None

    @property
    def deliveries(self) -> Deliveries | None:
        """The deliveries; ``None``: there are none."""
        return None if self._delivering is None else self._delivering.deliveries

    @property
    def reconciler(self) -> Reconciler | None:
        """What attempts the deliveries; ``None``: nothing does, in this process."""
        return None if self._delivering is None else self._delivering.reconciler

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints that are added at each start."""
        return () if self._delivering is None else self._delivering.endpoints

    async def stop(self, timeout: float | None = None) -> PipelineReport:
        """Drain from the client to the log, and stop; at once when there is nothing to stop.

        Args:
            timeout: Seconds on the loop clock until what has not ended is cut off; the earliest of several stops
                counts. The client has half of it at most. ``None`` means ``stop_timeout``.

        Returns:
            What became of each part, and what is left; it comes within 0.25 s of its deadline, whatever far ends
            and handlers do.

        Raises:
            RuntimeError: Called by a main task that the stop would wait for: use ``request_stop()``.

        Cancellation:
            Safe. The stop goes on, and so do others who wait for it.
        """
        life = self._current()
        if life is None:
            report = self._last_report()
        else:
            report = await self._stop(life, Deadline.after(self.stop_timeout if timeout is None else timeout))
        return report if isinstance(report, PipelineReport) else PipelineReport(stragglers=report.stragglers)

    async def aclose(self, timeout: float | None = None) -> PipelineReport:
        """Stop, and close all sinks; it does not start again, unless there are none. May come twice.

        The arguments, what is returned and raised are those of ``stop()``.

        Cancellation:
            Safe. It goes on.
        """
        self._is_final = True
        report = await self.stop(timeout)
        await self._close_sinks(Deadline.after(self.stop_timeout if timeout is None else timeout))
        return report

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def request_stop(self, deadline: Deadline | None = None) -> None:
        """Begin to drain and stop, without waiting; does nothing when there is nothing to stop.

        Args:
            deadline: By when it should have stopped; ``None``: ``stop_timeout`` from now. A later request can only
                bring it forward.
        """
        life = self._current()
        if life is not None:
            super().request_stop(deadline or Deadline.after(self.stop_timeout))
            if self._draining is not None:
                self._draining.bring_forward(life.deadline)

    def cancel(self) -> None:
        """Cut off all parts where they are, in order; what consumers had in hand is given back to the log."""
        life = self._current()
        if life is None or life.was_cut_off:
            return
        life.was_cut_off = True
        self.request_stop(Deadline.after(0))

    # -- the service --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._ending = asyncio.Event()
        self._lost: BaseException | None = None
        self._draining = None
        self._is_client_running = self._is_final = False
        self._before = {consumer.key: consumer.statistics() for consumer in self.consumers}
        if self._client is not None:
            self._client._check_open()  # before anything is started for it
        self._delivered_before = None if self.reconciler is None else self.reconciler.statistics()
        await self._keeper.start()
        if self._delivering is not None:
            await self._delivering.declare()
        if self._deliverer is not None:
            await self._deliverer.start()
        if self._workers is not None:
            await self._workers.start()
        if self._client is not None:
            await self._client.__aenter__()
            self._is_client_running = True

    async def _serve(self) -> None:
        await self._ending.wait()
        if self._lost is None:
            return
        if isinstance(self._lost, asyncio.CancelledError):  # to raise it would say that this task is cancelled
            raise RuntimeError(f"a part of pipeline {self.name} was cancelled by somebody else") from self._lost
        raise self._lost

    def _request_stop(self, deadline: Deadline) -> None:
        self._ending.set()

    def _lose(self, part: Service, error: BaseException) -> None:
        """See that a part has crashed and does not start again."""
        _logger.error("pipeline %s ends, because %s does not go on", self.name, part.name)
        if self._lost is None:
            self._lost = error
        self._ending.set()

    async def _close(self) -> None:
        life = self._life
        assert life is not None  # noqa: S101  # this is a step of it
        deadline = life.deadline if life.stop_requested.is_set() else Deadline.after(self.stop_timeout)
        client = self._client if self._is_client_running else None
        draining = Draining(
            client, self.consumers, self._workers, self.reconciler, self._deliverer, self.log, self._keeper, deadline
        )
        self._draining = draining
        began = life.loop.time()
        try:
            await draining.run()
        finally:
            self._made = self._report_of(draining, life.loop.time() - began)
            if self._is_final:
                stragglers = await self._close_sinks(life.deadline)
                self._made = replace(self._made, stragglers=self._made.stragglers + stragglers)

    def _report_of(self, draining: Draining, elapsed: float) -> PipelineReport:
        report = draining.report
        summaries = tuple(
            ConsumerSummary.of(
                consumer.key, self._before[consumer.key], consumer.statistics(), draining.infos.get(consumer.key)
            )
            for consumer in self.consumers
            if consumer.key in self._before
        )
        return PipelineReport(
            report.stopped,
            report.cancelled,
            report.failed,
            report.stragglers,
            elapsed,
            client=draining.client_report,
            consumers=summaries,
            deliveries=self._delivery_summary(draining),
        )

    def _delivery_summary(self, draining: Draining) -> DeliverySummary | None:
        reconciler, before = self.reconciler, self._delivered_before
        if reconciler is None or before is None:
            return None
        now = reconciler.deliveries.clock.time()
        return DeliverySummary.of(before, reconciler.statistics(), draining.delivery_stats, now)

    def _report(self, life: Life) -> StopReport:
        report, self._made = self._made, PipelineReport()
        if life.error is not None and not report.failed:
            report = replace(report, failed=(self.name,))
        return report

    async def _close_sinks(self, deadline: Deadline) -> tuple[str, ...]:
        """Close the sinks of consumers and endpoints, once, however many ask for it; the names of those that hang."""
        if self._closing_sinks is None or self._closing_sinks.get_loop().is_closed():
            self._closing_sinks = asyncio.get_running_loop().create_task(
                self._end_sinks(deadline), name=f"sinks of {self.name}", context=own_context()
            )
        return await asyncio.shield(self._closing_sinks)

    async def _end_sinks(self, deadline: Deadline) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        closing = {loop.create_task(consumer.aclose(), name=f"sink of {consumer.name}") for consumer in self.consumers}
        if (deliveries := self.deliveries) is not None:
            closing.add(loop.create_task(deliveries.aclose(), name=f"sinks of {deliveries.name}"))
        if not closing:
            return ()
        await asyncio.wait(closing, timeout=max(_SINK_GRACE, min(deadline.remaining(), _MAX_SINK_CLOSE)))
        for task in closing:
            task.cancel()
        await asyncio.wait(closing, timeout=_SINK_GRACE)
        for task in closing:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                _logger.warning("%s did not close: %s", task.get_name(), where_raised(error))
        return tuple(task.get_name() for task in closing if not task.done())


def _delivering(
    deliveries: Deliveries | None, reconciler: Reconciler | None, endpoints: Iterable[Endpoint], rules: Iterable[Rule]
) -> Delivering | None:
    declared = tuple(endpoints), tuple(rules)
    if deliveries is None:
        if reconciler is not None or any(declared):
            raise ValueError("deliveries must be given with a reconciler, endpoints or rules, which are theirs")
        return None
    from eventpipe.pipeline.delivering import Delivering  # where there are deliveries: they take time to import

    return Delivering(deliveries, reconciler, *declared)


def _check_consumers(consumers: tuple[Consumer, ...], log: EventLog) -> None:
    for consumer in consumers:
        if not isinstance(consumer, Consumer):
            raise TypeError(f"consumers must be Consumers, and {shown(consumer)} is none")
        if consumer.log is not log:
            raise ValueError(f"{consumer.name} is one of log {consumer.log.name}, not of the log of the pipeline")
    keys = [consumer.key for consumer in consumers]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"consumer {key} is there twice; each needs a name of its own in its topic")
