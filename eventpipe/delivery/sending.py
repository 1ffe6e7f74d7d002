"""Attempts: what sends to an endpoint, made when it is first needed, and one event sent through it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from eventpipe.clock import Clock
from eventpipe.contracts import Sink
from eventpipe.core.failures import where_raised
from eventpipe.core.own import own_context
from eventpipe.delivery.endpoint import Private, webhook
from eventpipe.delivery.judging import Judgement
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.sender import ListeningCodec, Sender, closed
from eventpipe.events import CapturedEvent
from eventpipe.stores.delivery_values import AttemptRecord, EndpointInfo
from eventpipe.transport.traits import Traits

MAX_ERROR: Final = 300  # characters

# Each may hold connections. One that is in use is not closed for another.
MAX_SENDERS: Final = 256
# A sink's own timeout comes first, which knows whether the far end has decided.
GRACE: Final = 1.0


class Attempted(NamedTuple):
    """One attempt, and what it led to.

    Attributes:
        judgement: What it led to.
        record: As it is to be kept.
    """

    judgement: Judgement
    record: AttemptRecord


class Senders:
    """The sinks of endpoints: those of webhooks are made here, others are lent.

    A webhook's is made anew when its endpoint has changed, and closed when nobody uses it any more.

    Args:
        private: Gives what nobody else is to see of an endpoint.
        clock: What tells the time.
    """

    def __init__(self, private: Callable[[EndpointInfo], Awaitable[Private]], *, clock: Clock) -> None:
        self._private = private
        self._clock = clock
        self._lent: dict[str, Sender] = {}  # by endpoint
        # By endpoint and timeout, which a sink has for life; the one that was used last at the end.
        self._made: OrderedDict[tuple[str, float], Sender] = OrderedDict()
        # Who makes one, so that a crowd of first attempts asks for its secrets once; kept while somebody waits.
        self._making: WeakValueDictionary[tuple[str, float], asyncio.Lock] = WeakValueDictionary()
        self._closing: set[asyncio.Task[None]] = set()

    def lend(self, endpoint: str, sink: Sink) -> None:
        """Send by this sink to the endpoint of kind ``"sink"`` that has this name; it is closed with the others.

        One that was lent under that name before is closed as soon as nobody uses it.

        Raises:
            TypeError: It is no sink.
        """
        Traits.of(sink)
        before = self._lent.get(endpoint)
        if before is not None and before.sink is sink:
            return
        self._lent[endpoint] = Sender(sink, endpoint, "sink", Private())
        if before is not None and all(sender.sink is not before.sink for sender in self._lent.values()):
            self._retire(before)

    def forget(self, endpoint: str) -> None:
        """Close what sends to an endpoint that was removed, as soon as nobody uses it; again it is a no-op."""
        for key in [key for key in self._made if key[0] == endpoint]:
            self._retire(self._made.pop(key))
        lent = self._lent.pop(endpoint, None)
        if lent is not None and all(sender.sink is not lent.sink for sender in self._lent.values()):
            self._retire(lent)

    def has(self, endpoint: EndpointInfo) -> bool:
        """Whether this process can send to an endpoint."""
        return endpoint.kind == "webhook" or endpoint.name in self._lent

    async def attempt(self, endpoint: EndpointInfo, event: CapturedEvent, number: int, *, timeout: float) -> Attempted:
        """Send an event once; whatever comes of it is in what is returned.

        Args:
            endpoint: Where to.
            event: What.
            number: Of the attempt, counted from 1.
            timeout: Seconds, unless the endpoint has its own; to read its secrets is a part of them.

        Cancellation:
            Only that of this very task leaves. Whether the far end has the event is unknown then.
        """
        loop, seconds = asyncio.get_running_loop(), endpoint.timeout or timeout
        began_at, began = self._clock.time(), loop.time()
        sender = self._ready(endpoint, seconds)
        try:
            if sender is None:
                judgement, said = await self._sent_in_time(endpoint, seconds, event, number, began_at)
            else:
                judgement, said = await self._sent(sender, event, number, began_at)
        except _UnusableError as unusable:
            judgement, said = Judgement(DeliveryOutcome.RETRY, error=str(unusable)), None
        if judgement.error is not None and len(judgement.error) > MAX_ERROR:
            judgement = judgement._replace(error=judgement.error[:MAX_ERROR])
        duration = loop.time() - began
        record = AttemptRecord(number, began_at, duration, judgement.outcome, judgement.status, judgement.error, said)
        return Attempted(judgement, record)

    async def aclose(self) -> None:
        """Close the sinks that were made here; they are made again when they are needed."""
        made = [*self._made.values()]
        self._made.clear()
        for sender in made:
            self._close(sender.sink)
        await self._closed()

    async def close_lent(self) -> None:
        """Close the sinks that were lent; they are lent no more."""
        sinks = {id(sender.sink): sender.sink for sender in self._lent.values()}  # one can have several names
        self._lent.clear()
        for sink in sinks.values():
            self._close(sink)
        await self._closed()

    async def _sent_in_time(
        self, endpoint: EndpointInfo, seconds: float, event: CapturedEvent, number: int, now: float
    ) -> tuple[Judgement, str | None]:
        """Find what sends, and send by it, where nobody else sees to the time.

        Raises:
            _UnusableError: There is no sender, or it did not come to an end.
        """
        late = f"the secrets of the endpoint were not to be had within {seconds:g} s"
        try:
            async with asyncio.timeout(seconds + GRACE):
                sender = await self._current(endpoint, seconds)
                late = f"no answer within {seconds:g} s"
                return await self._sent(sender, event, number, now)
        except TimeoutError:
            raise _UnusableError(late) from None

    async def _sent(
        self, sender: Sender, event: CapturedEvent, number: int, now: float
    ) -> tuple[Judgement, str | None]:
        """As ``Sender.send()``, of a sender that is not closed meanwhile."""
        sender.users += 1
        try:
            return await sender.send(event, number, now)
        finally:
            sender.users -= 1
            if sender.is_retired:
                self._retire(sender)
            if len(self._made) > MAX_SENDERS:
                self._limit()

    def _ready(self, endpoint: EndpointInfo, seconds: float) -> Sender | None:
        """What sends to a webhook as that is, which ends in time by itself; ``None``: it is to be made."""
        key = (endpoint.name, seconds)
        sender = self._made.get(key)
        if sender is None or not sender.is_of(endpoint):
            return None
        self._made.move_to_end(key)
        return sender

    async def _current(self, endpoint: EndpointInfo, seconds: float) -> Sender:
        """What sends to an endpoint as that is.

        Raises:
            _UnusableError: There is none.
        """
        if endpoint.kind == "sink":
            lent = self._lent.get(endpoint.name)
            if lent is None:
                raise _UnusableError(f"this process has no sink for endpoint {endpoint.name!r}; give it one in sinks=")
            return lent
        key = (endpoint.name, seconds)
        async with self._making.setdefault(key, asyncio.Lock()):
            sender = self._ready(endpoint, seconds)
            if sender is None:  # nobody was quicker
                sender = await self._make(endpoint, seconds)
                self._keep(key, sender, endpoint)
            return sender

    def _keep(self, key: tuple[str, float], made: Sender, endpoint: EndpointInfo) -> None:
        """Have a sender take the place of those of its endpoint as that was before."""
        own = [(other, sender) for other, sender in self._made.items() if sender.name == endpoint.name]
        if any(sender.is_of_later(endpoint) for _, sender in own):
            made.is_retired = True  # a row that was claimed before the change is sent, and nothing after it
            return
        for other, sender in own:
            if not sender.is_of(endpoint):
                del self._made[other]
                self._retire(sender)
        self._made[key] = made

    async def _make(self, endpoint: EndpointInfo, seconds: float) -> Sender:
        """What sends to a webhook.

        Raises:
            _UnusableError: It cannot be made; the text says why, and shows no secret.
        """
        try:
            private = await self._private(endpoint)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _UnusableError("secrets= raised CancelledError") from None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise _UnusableError(f"the secrets of the endpoint cannot be read: {where_raised(error)}") from error
        codec = ListeningCodec()
        try:
            sink = webhook(endpoint, private, codec=codec, timeout=seconds, clock=self._clock)
        except ValueError as error:
            raise _UnusableError(f"the endpoint cannot be used: {error}") from error
        return Sender(sink, endpoint.name, "webhook", private, codec, endpoint)

    def _limit(self) -> None:
        unused = [key for key, sender in self._made.items() if not sender.users]
        for key in unused[: len(self._made) - MAX_SENDERS]:
            self._retire(self._made.pop(key))

    def _retire(self, sender: Sender) -> None:
        """Close it as soon as nobody uses it."""
        sender.is_retired = True
        if not sender.users:
            self._close(sender.sink)

    def _close(self, sink: Sink) -> None:
        """Close a sink in a task of its own, so that one which takes its time takes none of an attempt's."""
        task = asyncio.get_running_loop().create_task(closed(sink), context=own_context())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _closed(self) -> None:
        """Wait for what is being closed."""
        loop = asyncio.get_running_loop()
        self._closing = {task for task in self._closing if task.get_loop() is loop}  # others end with their loop
        if self._closing:
            await asyncio.wait(self._closing)


class _UnusableError(Exception):
    """Nothing can be sent to an endpoint now."""
