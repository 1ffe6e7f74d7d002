"""The life of deliveries: their store is open while they run, and rows that were settled long ago are deleted."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from eventpipe.checked import is_number, shown
from eventpipe.clock import Clock
from eventpipe.codecs.webhook_secrets import Secrets
from eventpipe.contracts import Sink
from eventpipe.core.log import contained_logger
from eventpipe.core.service import Service, ServiceState
from eventpipe.delivery.endpoint import Private, listed
from eventpipe.delivery.policy import HOUR, DeliveryPolicy
from eventpipe.delivery.sending import Senders
from eventpipe.encoding import Encoder
from eventpipe.errors import ClosedError, StoreError
from eventpipe.stores.delivery_base import DeliveringStore, DeliveryStore
from eventpipe.stores.delivery_values import EndpointInfo
from eventpipe.stores.names import check_name
from eventpipe.transport.feed_lives import FeedLives

SecretsOf = Callable[[str], Secrets | Awaitable[Secrets | None] | None]
"""Gives the secrets of an endpoint, by its name; plain or async."""

RETENTION: Final = 30 * 24 * HOUR
_PURGE_INTERVAL: Final = HOUR
_PURGE_STEP: Final = 1000  # rows of one transaction, about 20 ms

_logger = contained_logger(__name__)


class RunningDeliveries(Service):
    """A service that opens a store, purges it now and then, and closes it.

    ``async with`` closes the sinks that it was given at its end, and so does ``aclose()``; ``stop()`` leaves them open,
    so that it can start again.

    Attributes:
        store: Where everything is kept.
        policy: Delays, deadlines and attempts.
        clock: What tells the time.
        senders: What makes attempts, with the sinks of this process.
        outcomes: Tells of outcomes whoever subscribes.
    """

    def __init__(
        self,
        store: DeliveringStore,
        *,
        policy: DeliveryPolicy | None = None,
        secrets: SecretsOf | None = None,
        sinks: Mapping[str, Sink] | None = None,
        retention: float | None = RETENTION,
        json_default: Callable[[Any], Any] | None = None,  # Any: what JSON cannot carry, and what it can
        clock: Clock | None = None,
        name: str = "eventpipe-deliveries",
    ) -> None:
        """Make deliveries; nothing is opened before they start.

        Args:
            store: Where everything is kept; theirs alone.
            policy: Delays, deadlines and attempts. ``None``: the defaults.
            secrets: Gives the secrets of an endpoint by its name, plain or async, so that none is in the store; asked
                when the endpoint is first delivered to, and when it has changed. ``None``: they are in the store, in a
                table of their own. The values of headers are in that table either way.
            sinks: What sends for endpoints that have a sink, by name. ``None``: there are none yet.
            retention: Seconds that rows are kept once they are settled, with their attempts and events; looked at once
                an hour, so that a process that does not live as long calls ``purge()``. ``None``: for ever.
            json_default: Asked for values of properties that JSON cannot carry; it raises ``TypeError`` for what it
                does not know. ``None``: the built-in answers alone.
            clock: What tells the time; ``None``: the clocks of this process.
            name: What its task and its log lines are named after.

        Raises:
            ValueError: An option has no meaning.
            TypeError: The store keeps no deliveries, or an option is of another type.
        """
        super().__init__(name)
        if not _keeps_deliveries(store):
            raise TypeError(f"store must be one that keeps deliveries, such as SqliteStore, not {shown(store)}")
        if policy is not None and not isinstance(policy, DeliveryPolicy):
            raise TypeError(f"policy must be a DeliveryPolicy or None, not {shown(policy)}")
        if secrets is not None and not callable(secrets):
            raise TypeError(f"secrets must be a function of an endpoint's name, or None, not {type(secrets).__name__}")
        if retention is not None and (not is_number(retention) or retention <= 0):
            raise ValueError(f"retention must be a finite number of seconds above 0, or None, not {shown(retention)}")
        self.store = store
        self.policy = policy or DeliveryPolicy()
        self.clock = clock or Clock()
        self.senders = Senders(self._private, clock=self.clock)
        for endpoint, sink in (sinks or {}).items():
            self.senders.lend(check_name("endpoint", endpoint), sink)
        self.outcomes = FeedLives(name)
        # Told of an endpoint that was changed here, before the call returns that changed it.
        self.endpoint_listeners: set[Callable[[EndpointInfo], object]] = set()
        self._secrets = secrets
        self._retention = retention
        self._encoder = Encoder(json_default, clock=self.clock)
        self._changing = asyncio.Lock()  # whoever reads, changes and writes an endpoint; each loop has its own

    @property
    def kept(self) -> DeliveryStore:
        """What keeps them.

        Raises:
            ClosedError: They are not running.
        """
        state = self.state
        if state is not ServiceState.RUNNING:
            if state in (ServiceState.IDLE, ServiceState.STARTING):
                raise ClosedError(f"{self.name} has not started; use `async with`, or await start()")
            raise ClosedError(f"{self.name} is {state}; await start() opens it again")
        return self.store.deliveries

    async def purge(self, *, before: float) -> int:
        """Delete rows that were settled before a moment (wall clock), with their attempts and events; how many rows.

        An event that had no endpoint counts as a row.

        Raises:
            ValueError: It is no moment.
            StoreError: The engine failed; what was deleted until then stays so.
            ClosedError: They are not running, or stopped meanwhile.

        Cancellation:
            What is deleted is deleted.
        """
        check_moment("before", before)
        total = 0
        while True:
            count = await self.kept.purge(before=before, limit=_PURGE_STEP)
            total += count
            if count < _PURGE_STEP:
                return total
            await asyncio.sleep(0)  # a store in memory would let nobody else run until all is deleted

    async def aclose(self) -> None:
        """Stop, and close the sinks that were given to endpoints. May come twice.

        Cancellation:
            The stop goes on; the sinks are not closed.
        """
        await self.stop()
        await self.senders.close_lent()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _private(self, endpoint: EndpointInfo) -> Private:
        """What nobody else is to see of an endpoint, from where it is kept.

        Raises:
            StoreError: The engine failed; or the endpoint leads elsewhere by now, where this belongs.
        """
        kept = Private.unpack(await self.kept.private(endpoint.name))
        if self._secrets is not None:
            given = self._secrets(endpoint.name)
            kept = Private(listed(await given if inspect.isawaitable(given) else given), kept.headers)
        # Looked at after that was read: where it was replaced before, new headers would go to the old url.
        found = await self.kept.endpoints(endpoint.name)
        if [(one.created_at, one.url) for one in found] != [(endpoint.created_at, endpoint.url)]:
            raise StoreError(f"endpoint {endpoint.name!r} was replaced or removed meanwhile")
        return kept

    async def _open(self) -> None:
        self._changing = asyncio.Lock()
        await self.store.open()
        self.outcomes.open()

    async def _serve(self) -> None:
        while not await self._wait_for_stop(None if self._retention is None else _PURGE_INTERVAL):
            assert self._retention is not None  # noqa: S101  # else it waits for a stop
            try:
                await self.purge(before=self.clock.time() - self._retention)
            except StoreError as error:
                _logger.warning("%s could not delete old deliveries, and tries again later: %s", self.name, error)
            except ClosedError:
                return  # a stop came meanwhile

    async def _close(self) -> None:
        try:
            await self.outcomes.close()
        finally:
            try:
                await self.senders.aclose()
            finally:
                await self.store.aclose()


def check_moment(option: str, value: object) -> None:
    """Refuse anything but finite numbers.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if not is_number(value):
        raise ValueError(f"{option} must be a moment, in seconds since 1970, not {shown(value)}")


def _keeps_deliveries(store: object) -> bool:
    try:
        return getattr(store, "deliveries", None) is not None
    except ClosedError:  # it does, and is not open
        return True
