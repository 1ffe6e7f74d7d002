"""What a client lets others see: its counters, its health, every outcome, and every attempt for an instrument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eventpipe.checked import shown
from eventpipe.contracts import Instrument
from eventpipe.core.service import ServiceState
from eventpipe.encoding import Encoder
from eventpipe.errors import ClosedError
from eventpipe.health import Health
from eventpipe.outcomes import OutcomeKind
from eventpipe.statistics import Statistics
from eventpipe.subscriptions import Filter, Subscription, SubscriptionOverflow
from eventpipe.transport.dispatcher import Dispatcher
from eventpipe.transport.entrance import Entrance
from eventpipe.transport.feed import OutcomeFeed
from eventpipe.transport.hooks import Hooks, OnOutcome, OutcomeCallback
from eventpipe.transport.reader import StatisticsReader
from eventpipe.transport.runtime import Runtime

_ALIVE = frozenset({ServiceState.STARTING, ServiceState.RUNNING, ServiceState.STOPPING})


class Observed:
    """The part of a client that shows what it does, and changes nothing of what becomes of events."""

    _dispatchers: Sequence[Dispatcher]
    _encoder: Encoder
    _entrance: Entrance
    _feed: OutcomeFeed
    _hooks: Hooks
    _runtime: Runtime
    _instrument: Instrument | None = None

    def statistics(self) -> Statistics:
        """A snapshot of what was counted since the start, summed over the sinks, and by sink."""
        by_sink = {dispatcher.traits.name: dispatcher.statistics() for dispatcher in self._dispatchers}
        return replace(
            sum(by_sink.values(), Statistics()),
            by_sink=by_sink,
            repaired=self._encoder.repaired,
            hook_errors=self._hooks.errors + self._entrance.filter_errors,
            slowest_hook=self._hooks.slowest,
        )

    def statistics_reader(self) -> StatisticsReader:
        """Make a reader of what happens from now on: each ``read()`` tells what did since its last one."""
        return StatisticsReader(self.statistics, lambda: self._dispatchers)

    def health(self) -> Health:
        """Whether the client takes events in, and how each of its sinks does; cheap enough for a probe a second."""
        sinks = {dispatcher.traits.name: dispatcher.health() for dispatcher in self._dispatchers}
        services = [*self._dispatchers, *([self._feed] if self._feed.subscribers.wanted else [])]
        return Health(
            is_open=not self._entrance.is_closed,
            pressure=max((sink.pressure for sink in sinks.values()), default=0.0),
            last_success=max((sink.last_success for sink in sinks.values() if sink.last_success), default=None),
            paused=tuple(name for name, sink in sinks.items() if sink.paused),
            crashed=tuple(service.name for service in services if service.state is ServiceState.FAILED),
            sinks=sinks,
        )

    def subscribe(
        self,
        *kinds: OutcomeKind | str,
        buffer: int | None = None,
        buffer_bytes: int | None = None,
        overflow: SubscriptionOverflow = "drop_newest",
        filter: Filter | None = None,  # noqa: A002  # what it is called everywhere
        name: str | None = None,
    ) -> Subscription:
        """Be handed every outcome of some kinds from now on, in the order in which they came about.

        ```python
        async with client.subscribe(OutcomeKind.DROPPED) as drops:
            async for outcome in drops: ...
        ```

        Works before the client has started. A subscriber that is slow misses outcomes of its own and is told how many
        by a ``Gap`` in their place; nobody else notices. When the client has closed, and all outcomes have been read,
        iteration ends.

        Args:
            kinds: Which outcomes, at least one kind, or its word.
            buffer: Outcomes that wait for this subscriber at most. ``None``: 1000, or twice as many as a batch may have
                events, if that is more.
            buffer_bytes: Encoded bytes that their events may have. ``None``: 32 MiB.
            overflow: What it misses when its buffer is full: ``"drop_newest"``, ``"drop_oldest"``, or everything from
                there on, ``"disconnect"``.
            filter: A plain function of an outcome; what it turns away is not for this subscriber. ``None``: all.
            name: What log lines and ``repr`` call it. ``None``: ``"subscription"``.

        Raises:
            ClosedError: The client was closed.
            ValueError: An argument is wrong; the message names it.
            TypeError: A kind is no word, or the filter is no plain function.
        """
        self._check_open()
        return self._feed.subscribe(
            *kinds, buffer=buffer, buffer_bytes=buffer_bytes, overflow=overflow, filter=filter, name=name
        )

    def on_outcome(
        self,
        function: OnOutcome,
        *kinds: OutcomeKind | str,
        filter: Filter | None = None,  # noqa: A002  # as above
        name: str | None = None,
    ) -> OutcomeCallback:
        """Have a plain function called with every outcome of some kinds, as ``on_drop`` and ``on_error`` are.

        It is called when the outcome has been booked, so before a flush that waits for these events returns; on the
        loop, which it must not hold up. What it raises is counted. It hears of refusals after the close as well.

        Args:
            function: Takes the outcome.
            kinds: Which outcomes, at least one kind, or its word.
            filter: As in ``subscribe()``.
            name: What log lines call it. ``None``: ``"on_outcome"``.

        Returns:
            What ends it: ``close()``.

        Raises:
            ValueError: There is no kind, or an unknown one.
            TypeError: A kind is no word, or a function is no plain function; to ``await`` something, subscribe instead.
        """
        return self._hooks.add(function, *kinds, filter=filter, name=name or "on_outcome")

    def instrument(self, instrument: Instrument | None) -> None:
        """Let ``instrument`` see where events come from and every attempt; ``None`` takes it away.

        Raises:
            ValueError: Another one is there.
            TypeError: It lacks a method of ``Instrument``.
        """
        if instrument is not None:
            if not all(callable(getattr(instrument, method, None)) for method in ("origin", "around")):
                raise TypeError(f"an instrument has the methods origin() and around(), unlike {shown(instrument)}")
            if self._instrument is not None:
                raise ValueError("the client has an instrument; take that away first, with instrument(None)")
        self._instrument = instrument
        self._attach_instrument()

    def _attach_instrument(self) -> None:
        instrument = self._instrument
        self._encoder.origin = None if instrument is None else instrument.origin
        for dispatcher in self._dispatchers:
            dispatcher.instrument = instrument

    def __repr__(self) -> str:
        health = self.health()
        states = {sink.state for sink in health.sinks.values()}
        state = "open" if health.is_open else "closing" if states & _ALIVE else "closed"
        dropped = sum(dispatcher.ledger.dropped.total() for dispatcher in self._dispatchers)
        told = [state, f"{self._runtime.pending} pending"]
        told += [f"{dropped} dropped"] if dropped else []
        if state != "closed":
            told += [f"{sink} paused" for sink in health.paused] + [f"{service} crashed" for service in health.crashed]
        return f"<{type(self).__name__} to {', '.join(health.sinks) or 'nowhere'}: {', '.join(told)}>"

    def _check_open(self) -> None:
        if self._entrance.is_closed:
            raise ClosedError("the client was closed by aclose()")
