"""The end of a pipeline: from where events come in to where they are kept, by one deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from eventpipe.client import AsyncClient
from eventpipe.core.deadline import Deadline
from eventpipe.core.failures import where_raised
from eventpipe.core.group import ServiceGroup
from eventpipe.core.log import contained_logger
from eventpipe.core.service import ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.errors import EventPipeError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.reports import ConsumerError
from eventpipe.log.shift import CUT_GRACE
from eventpipe.outcomes import CloseReport
from eventpipe.stores.delivery_values import EndpointStats
from eventpipe.stores.values import ConsumerInfo, ConsumerKey

if TYPE_CHECKING:
    from eventpipe.delivery import Reconciler

# A client whose other sinks hang leaves its consumers half of the time; both wait for the same far ends as a rule.
_CLIENT_SHARE: Final = 0.5

# What consumers leave to the reconciler: an attempt at a far end that is well. Of a short deadline, a quarter.
_DELIVERY_TIME: Final = 5.0
_DELIVERY_SHARE: Final = 0.25

# What is kept for the log: a commit on a slow disk. Of a short deadline, a tenth.
_LOG_TIME: Final = 0.5
_LOG_SHARE: Final = 0.1

_logger = contained_logger(__name__)


class Draining:
    """Closes the client into the log, lets consumers hand out what the log has, delivers, and closes the log.

    Consumers go on while the client closes: where its events wait for room in a topic, that is what makes it. Then they
    stop, and make passes over what is pending: as many as there are consumers, because what one appends another may
    read. A consumer whose pass failed makes no other, and one that another process holds makes none. The reconciler
    goes on until then, makes a pass over what is due, and stops.

    Attributes:
        client_report: What became of the client's events; ``None`` before, and where there is no client.
        report: What became of consumers and log.
        infos: What the log knew of its consumers when they had stopped.
        delivery_stats: How deliveries stood when the reconciler had stopped; ``None``: the store could not say.
    """

    def __init__(
        self,
        client: AsyncClient | None,
        consumers: Sequence[Consumer],
        workers: ServiceGroup | None,
        reconciler: Reconciler | None,
        deliverer: ServiceGroup | None,
        log: EventLog,
        keeper: ServiceGroup,
        deadline: Deadline,
    ) -> None:
        """Stop nothing yet.

        Args:
            client: One that runs; ``None``: there is none.
            consumers: All of them.
            workers: What looks after them; ``None``: there are none.
            reconciler: What attempts deliveries; ``None``: nothing does.
            deliverer: What looks after it.
            log: The log.
            keeper: What looks after it, and the deliveries.
            deadline: By when all should have ended.
        """
        self.client_report: CloseReport | None = None
        self.report = StopReport()
        self.infos: Mapping[ConsumerKey, ConsumerInfo] = {}
        self.delivery_stats: Sequence[EndpointStats] | None = None
        self._client = client
        self._consumers = consumers
        self._workers = workers
        self._reconciler = reconciler
        self._deliverer = deliverer
        self._log = log
        self._keeper = keeper
        self._press: Callable[[], None] = lambda: None
        self._set(deadline)

    def bring_forward(self, deadline: Deadline) -> None:
        """Have all end earlier; a later deadline changes nothing."""
        if deadline.remaining() < self._deadline.remaining():
            self._set(deadline)
            self._press()

    async def run(self) -> None:
        """Drain.

        Cancellation:
            What it waits for is cut off, and the rest is ended all the same.
        """
        try:
            if self._client is not None:
                await self._end_client(self._client)
        finally:
            try:
                if self._workers is not None:
                    await self._end_consumers(self._workers)
            finally:
                try:
                    if self._reconciler is not None and self._deliverer is not None:
                        await self._end_deliveries(self._reconciler, self._deliverer)
                finally:
                    self._press = self._press_log
                    self.report += await self._keeper.stop(self._for_log())

    # -- the client ---------------------------------------------------------------------------------------------------

    async def _end_client(self, client: AsyncClient) -> None:
        hurrying: set[asyncio.Task[CloseReport]] = set()

        def press() -> None:  # who closes at the same time shares the close, and its earliest deadline
            hurrying.add(_task(client.aclose(self._for_client(client)), "pipeline hurries its client"))

        self._press = press
        try:
            self.client_report = await client.aclose(self._for_client(client))
        except Exception as error:  # noqa: BLE001  # whatever it is, consumers and log end all the same
            _logger.error("the client did not close: %s", where_raised(error))
            self.report += StopReport(failed=("client",))
        else:
            self.report += StopReport(stragglers=self.client_report.stragglers)
        finally:
            self._press = lambda: None
            await _end(hurrying)

    # -- consumers ----------------------------------------------------------------------------------------------------

    async def _end_consumers(self, workers: ServiceGroup) -> None:
        self._press = lambda: self._stop(workers)
        self._stop(workers)
        try:
            self.report += await workers.stop(self._for_consumers.remaining() + CUT_GRACE)
            await self._make_last_passes()
            await self._name_stragglers()
        finally:
            await self._look()

    def _stop(self, workers: ServiceGroup) -> None:
        # A consumer cuts off its handlers by itself, and then knows which of them do not end; were it cut off at the
        # same moment, nobody would hear of them.
        for consumer in self._consumers:
            consumer.request_stop(self._for_consumers)
        workers.request_stop(Deadline.after(self._for_consumers.remaining() + CUT_GRACE))

    async def _make_last_passes(self) -> None:
        clean = [consumer for consumer in self._consumers if consumer.state is ServiceState.STOPPED]
        if not clean:
            return
        with contextlib.suppress(TimeoutError):
            async with self._for_consumers.scope() as patience:
                self._press = lambda: _reschedule(patience, self._for_consumers)
                for _ in self._consumers:
                    await self._look()
                    due = [consumer for consumer in clean if self._is_due(consumer)]
                    if not due:
                        break
                    goes_on = await asyncio.gather(*(_make_pass(consumer) for consumer in due))
                    done = {consumer.key for consumer, goes in zip(due, goes_on, strict=True) if not goes}
                    clean = [consumer for consumer in clean if consumer.key not in done]
        self._press = lambda: None

    async def _name_stragglers(self) -> None:
        """A last pass may have left a handler that ignores its cancellation."""
        for consumer in self._consumers:
            if consumer.state in (ServiceState.STOPPED, ServiceState.FAILED):
                left = (await consumer.stop()).stragglers
                new = tuple(name for name in left if name not in self.report.stragglers)
                self.report += StopReport(stragglers=new)

    def _is_due(self, consumer: Consumer) -> bool:
        """Whether there is something for it to do, and nobody else does it."""
        info = self.infos.get(consumer.key)
        return info is not None and info.pending > 0 and not info.is_paused and info.holder is None

    async def _look(self) -> None:
        """See what the log knows of its consumers; nothing, where it cannot say."""
        self.infos = {}
        if self._log.state is not ServiceState.RUNNING:
            return
        try:
            async with asyncio.timeout(max(self._for_consumers.remaining(), _LOG_TIME)):
                self.infos = {info.key: info for info in await self._log.consumers()}
        except (EventPipeError, TimeoutError, OSError) as error:
            _logger.warning("what consumers leave is not known: %s", error)

    # -- deliveries ---------------------------------------------------------------------------------------------------

    async def _end_deliveries(self, reconciler: Reconciler, deliverer: ServiceGroup) -> None:
        def stop() -> None:
            # Likewise: it cuts off its attempts by itself.
            reconciler.request_stop(self._for_deliveries)
            deliverer.request_stop(Deadline.after(self._for_deliveries.remaining() + CUT_GRACE))

        try:
            if reconciler.state is ServiceState.RUNNING:
                await self._make_last_delivery_pass(reconciler)
            self._press = stop
            stop()
            self.report += await deliverer.stop(self._for_deliveries.remaining() + CUT_GRACE)
        finally:
            self._press = lambda: None
            await self._look_at_deliveries(reconciler)

    async def _make_last_delivery_pass(self, reconciler: Reconciler) -> None:
        """Attempt what consumers have published meanwhile; what the deadline leaves is given back."""
        try:
            async with self._for_deliveries.scope() as patience:
                self._press = lambda: _reschedule(patience, self._for_deliveries)
                await reconciler.reconcile()
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001  # whatever it is, the reconciler stops all the same
            _logger.warning("the last pass of %s failed: %s", reconciler.name, where_raised(error))

    async def _look_at_deliveries(self, reconciler: Reconciler) -> None:
        try:
            async with asyncio.timeout(max(self._for_deliveries.remaining(), _LOG_TIME)):
                self.delivery_stats = await reconciler.deliveries.stats()
        except (EventPipeError, TimeoutError, OSError) as error:
            _logger.warning("what deliveries are left is not known: %s", error)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _press_log(self) -> None:
        self._keeper.request_stop(Deadline.after(self._for_log()))

    def _set(self, deadline: Deadline) -> None:
        self._deadline = self._for_deliveries = self._for_consumers = deadline
        if deadline.when is None:
            return
        self._for_deliveries = _before(deadline.when, _LOG_TIME, deadline.remaining() * _LOG_SHARE)
        self._for_consumers = self._for_deliveries
        if self._reconciler is not None and self._for_deliveries.when is not None:
            share = self._for_deliveries.remaining() * _DELIVERY_SHARE
            self._for_consumers = _before(self._for_deliveries.when, _DELIVERY_TIME, share)

    def _for_client(self, client: AsyncClient) -> float:
        left = self._for_consumers.remaining()
        return min(left * _CLIENT_SHARE if self._workers is not None else left, client._options.close_timeout)

    def _for_log(self) -> float:
        return max(self._deadline.remaining(), _LOG_TIME)


async def _make_pass(consumer: Consumer) -> bool:
    """Make one pass; whether it did something and nothing failed, so that another one may have something to do."""
    try:
        report = await consumer.process()
    except ConsumerError as error:
        _logger.warning("%s", error)
        return False
    except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
        _logger.warning("the last pass of %s failed: %s", consumer.name, where_raised(error))
        return False
    return report.handed + report.skipped > 0


def _task(work: Coroutine[Any, Any, CloseReport], name: str) -> asyncio.Task[CloseReport]:  # Any: asyncio's
    return asyncio.get_running_loop().create_task(work, name=name)


async def _end(tasks: set[asyncio.Task[CloseReport]]) -> None:
    """End tasks that wait for what is over; what they raise was raised to us as well."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _before(when: float, seconds: float, at_most: float) -> Deadline:
    return Deadline(when - min(seconds, at_most))


def _reschedule(patience: asyncio.Timeout, deadline: Deadline) -> None:
    if not patience.expired():
        patience.reschedule(deadline.when)
