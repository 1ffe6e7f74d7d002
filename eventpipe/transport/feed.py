"""The way of outcomes from the dispatchers to the subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from threading import get_ident
from typing import Final

from eventpipe.core.channel import Channel, Producer
from eventpipe.core.reading import Reading
from eventpipe.core.restarts import RESTART_AFTER
from eventpipe.core.service import ServiceState
from eventpipe.errors import ClosedError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions import BUFFER, Filter, Subscription, SubscriptionOverflow
from eventpipe.transport.subscribers import Subscribers

_ALIVE: Final = (ServiceState.STARTING, ServiceState.RUNNING)
_AT_REST: Final = (ServiceState.IDLE, ServiceState.STOPPED, ServiceState.FAILED)


class OutcomeFeed(Reading[Outcome]):
    """The one channel of a client's outcomes, and the task that reads it; each dispatcher has an ``Outlet`` into it.

    The task takes filters and wake-ups out of the accounting, and lets readers run between two lists. It is there once
    somebody subscribes. Where it cannot help, because the channel is full or nobody reads it here, an outlet publishes
    what the channel holds and then its own list by itself: nothing is lost on the way, and the order stays.

    Attributes:
        subscribers: Who gets the outcomes.
    """

    def __init__(self, name: str = "eventpipe-outcomes", *, largest_list: int = BUFFER // 2) -> None:
        """Make a feed that nobody subscribes to.

        Args:
            name: What its task is named after.
            largest_list: Outcomes that are told at once, at most: one for each event of a batch.
        """
        # Twice what a subscriber's buffer holds: where a step of the loop brings more than that, the task deals it out.
        super().__init__(Channel[Outcome](2 * max(BUFFER, 2 * largest_list), name), name)
        self.subscribers = Subscribers()
        self.on_end = self._life_ended
        self._largest_list = largest_list
        self._since_readers_ran = 0
        self._producer: Producer[Outcome] | None = None  # for the client's whole life, so that no other is the last
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None  # where what is sent will be read, as soon as the task is there
        self._is_finishing = False

    @property
    def is_ended(self) -> bool:
        """Whether no subscription can be made any more, and those that were are closed."""
        return self.subscribers.is_ended

    def subscribe(
        self,
        *kinds: OutcomeKind | str,
        buffer: int | None = None,
        buffer_bytes: int | None = None,
        overflow: SubscriptionOverflow = "drop_newest",
        filter: Filter | None = None,  # noqa: A002  # what users know it as
        name: str | None = None,
    ) -> Subscription:
        """Make a subscription to what is told from now on; the arguments are those of ``Subscription``.

        Any thread may call it. ``buffer=None`` means 1000, or twice the largest list if that is more.

        Raises:
            ClosedError: The feed has ended, or is about to.
            ValueError: An argument is wrong; the message names it.
            TypeError: A kind is no word, or the filter is no plain function.
        """
        if buffer is None:
            buffer = max(BUFFER, 2 * self._largest_list)
        subscription = Subscription(
            *kinds, buffer=buffer, buffer_bytes=buffer_bytes, overflow=overflow, filter=filter, name=name
        )
        if self._is_finishing:
            raise ClosedError("the client was closed by aclose(), and has no more outcomes to subscribe to")
        if self._thread == get_ident():
            self._publish_held()  # told before it was there, so not for it
        self.subscribers.add(subscription)
        if self._thread == get_ident():
            self._ensure_reader()
        elif self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the next open() sees to it
                self._loop.call_soon_threadsafe(self._ensure_reader)
        return subscription

    def observer(self, name: str) -> Outlet:
        """What tells of the outcomes of one dispatcher."""
        return Outlet(self, name)

    def open(self) -> None:
        """Take outcomes in on the running loop, from whatever loop it was before; a no-op once it has ended."""
        if self.is_ended or self._is_finishing:
            return
        self._publish_held()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._thread = None
            if self.state not in _AT_REST:
                return  # its task is parked in a loop that is neither running nor closed: it can only publish directly
            if self._producer is not None:
                self._producer.close()
        self._loop = loop
        if self.channel.is_closed:
            self.channel.reopen()
        if self._producer is None or self._producer.is_closed:
            self._producer = self.channel.producer(self.name)
        self._thread = get_ident()
        self._ensure_reader()

    def finish(self) -> None:
        """Let the subscriptions end once the outlets are closed and everything was read; at once where nobody reads."""
        self._is_finishing = True
        if self._producer is not None and self._thread == get_ident():
            self._producer.close()
        if self._thread != get_ident() or self.state in _AT_REST:
            self._life_ended()

    def end(self) -> None:
        """End in a forked child: what is buffered stays readable, and more will not come there."""
        self._is_finishing = True
        self._thread = None
        self.subscribers.disown()

    def tell(self, outcomes: Sequence[Outcome], producer: Producer[Outcome] | None) -> None:
        """Let everybody who wants one of these have it, by way of the channel where that leads somewhere."""
        wanted = self.subscribers.wanted
        told = [outcome for outcome in outcomes if outcome.kind in wanted]
        if not told:
            return
        if (
            producer is None
            or producer.is_closed
            or self._thread != get_ident()
            or self._state not in _ALIVE  # as it is while the loop of the producer is there
            or self.subscribers.is_filtering
            or not producer.send_nowait(told)
        ):
            self._publish_held()
            self.subscribers.publish(told)

    async def _open(self) -> None:
        """Leave the channel as it is, whoever has closed it meanwhile: ``open()`` alone makes it as new."""

    async def _handle(self, items: Sequence[Outcome]) -> None:
        self.subscribers.publish(items)
        self._since_readers_ran += len(items)
        if self._since_readers_ran >= self._largest_list:
            # A reader that reads whenever it is woken misses nothing: two lists, no more, have room in its buffer.
            self._since_readers_ran = 0
            await asyncio.sleep(0)

    def _ensure_reader(self) -> None:
        """Have a task, if there is anybody to read for."""
        if self.subscribers.wanted and self.state in _AT_REST and not self._is_finishing:
            self.launch()

    def _publish_held(self) -> None:
        while (held := self.channel.receive_nowait()) is not None:
            self.subscribers.publish(held, causes=frozenset())  # what a filter causes never comes this way

    def _life_ended(self) -> None:
        """Leave nothing in the channel, and nobody waiting for what will not come."""
        self._publish_held()
        if self._is_finishing:
            self.subscribers.end()
        elif self.state is ServiceState.FAILED:  # somebody cancelled its task, perhaps all there are: see RESTART_AFTER
            asyncio.get_running_loop().call_later(RESTART_AFTER, self._ensure_reader)


class Outlet:
    """What one dispatcher calls with its outcomes, when they are booked."""

    def __init__(self, feed: OutcomeFeed, name: str) -> None:
        self._feed = feed
        self._name = name
        self._producer: Producer[Outcome] | None = None

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        """Tell of these outcomes whoever subscribes to their kinds."""
        if self._feed.subscribers.wanted:
            self._feed.tell(outcomes, self._producer)

    def open(self) -> None:
        """Send by way of the channel from now on, on the running loop; before, and without one, it tells directly."""
        if self._producer is None or self._producer.is_closed:
            with contextlib.suppress(ClosedError, RuntimeError):  # it has ended, or is read in another loop
                self._producer = self._feed.channel.producer(self._name)

    def close(self) -> None:
        """Send no more, unless opened again; twice is a no-op."""
        if self._producer is not None:
            self._producer.close()
            self._producer = None
