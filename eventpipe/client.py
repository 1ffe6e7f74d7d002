"""The client: captured in a handler, delivered in the background."""

from __future__ import annotations

import asyncio
import datetime
import uuid as uuidlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random
from threading import get_ident
from types import TracebackType
from typing import Self, Unpack

from eventpipe.clock import Clock
from eventpipe.contracts import Sink
from eventpipe.core.deadline import Deadline
from eventpipe.encoding import Encoder, PlainEvent, dependable
from eventpipe.errors import ClosedError
from eventpipe.events import AI, CLOSING, DistinctId, Durability, Event, Overflow, Properties
from eventpipe.options import ClientOptions, ClientOptionsDict, resolve
from eventpipe.outcomes import CloseReport, FlushReport, Outcome, Statistics
from eventpipe.transport.barrier import UNTIL, Until
from eventpipe.transport.calls import NOBODY, CaptureDict, describe, in_lane, overflow_of
from eventpipe.transport.changing import Changing
from eventpipe.transport.closing import Closing
from eventpipe.transport.delivering import deliver
from eventpipe.transport.dispatcher import Dispatcher
from eventpipe.transport.entrance import Entrance, Prepared
from eventpipe.transport.flushing import flush
from eventpipe.transport.hooks import BeforeSend, Hooks, OnOutcome
from eventpipe.transport.inbox import Inbox
from eventpipe.transport.receipts import Receipt, TakenReceipt
from eventpipe.transport.runtime import HomeLostError, Runtime
from eventpipe.transport.traits import Traits, named_apart

CLOSE_GRACE = 0.25  # seconds that a close may take beyond its deadline, for sinks that do not end when they are asked


class AsyncClient:
    """Takes events in without waiting and delivers them in the background.

    Use it as an async context manager in a lifespan, or call ``aclose()``. Making one starts nothing. Every event is
    accounted for: ``statistics()`` says where each is, the reports of ``flush()`` and ``aclose()`` what became of it.
    """

    def __init__(
        self,
        *sinks: Sink,
        options: ClientOptions | None = None,
        spool: object = None,
        before_send: BeforeSend | None = None,
        on_drop: OnOutcome | None = None,
        on_error: OnOutcome | None = None,
        **overrides: Unpack[ClientOptionsDict],
    ) -> None:
        """Check everything and start nothing.

        Args:
            sinks: Where events go; each event goes to all, encoded once. Bounds, retries and counters are per sink.
            options: Options shared with other clients; keywords win over it, it wins over ``EVENTPIPE_*``.
            spool: A directory for events that wait on disk; not available in this version.
            before_send: Sees each event before it is encoded, and returns it, another one, or ``None`` to drop it.
            on_drop: Told of each outcome that lost events.
            on_error: Told of each attempt that failed, whether it is retried or not.
            overrides: Any option of ``ClientOptions``.

        Raises:
            ValueError: An option is wrong; the message names it.
            TypeError: A sink or a hook is not one.
        """
        self._options = resolve(options, overrides)
        if spool is not None:
            raise ValueError(f"spool is not available in this version, so it must be None, not {spool!r}")
        if not sinks and self._options.enabled:
            raise ValueError("at least one sink is needed, or enabled=False")
        if len({id(sink) for sink in sinks}) < len(sinks):
            raise ValueError("each sink must be given once; to send to one far end twice, make two sinks")
        traits = named_apart([Traits.of(sink) for sink in sinks])
        self._sinks = list(zip(sinks, traits, strict=True)) if self._options.enabled else []
        self._hooks = Hooks(before_send, on_drop, on_error)
        self._build()

    def _build(self, *, is_closed: bool = False) -> None:
        """Make all that holds events or counts them; a forked child does so again."""
        options = self._options
        clock = options.clock or Clock()
        random = options.random or Random()  # noqa: S311  # jitter
        new_id = dependable(options.new_id)
        self._dispatchers = [
            Dispatcher(
                sink, traits, options, observers=[self._hooks.observe], clock=clock, random=random, new_id=new_id
            )
            for sink, traits in self._sinks
        ]
        self._encoder = Encoder(
            options.json_default,
            frozenset().union(*(traits.lifted for _, traits in self._sinks)),
            clock=clock,
            new_id=options.new_id,
            strict=options.strict,
        )
        inbox = Inbox(options.queue_events, lambda: self._runtime.request_drain(), max_bytes=options.queue_bytes)
        self._entrance = Entrance(self._dispatchers, options, self._encoder, self._hooks, inbox)
        self._entrance.is_closed = is_closed
        changing = Changing(self._entrance, self._encoder, self._hooks) if self._hooks.changes_events else None
        self._prepare = self._encoder.encode_plain if changing is None else changing.prepare
        self._runtime = Runtime(
            self._dispatchers,
            begin=self._encoder.bind if changing is None else changing.bind,
            drain=self._entrance.drain,
            held=inbox.__len__,
            after_fork=lambda: self._build(is_closed=self._entrance.is_closed),
        )
        self._closing: Closing | None = None
        self._checked_at: float | None = None
        self._intake = self._entrance.plain_intake()
        # Of what is kept of a plain event; its two closing braces are not.
        self._max_plain_bytes = self._entrance.max_event_bytes - len(CLOSING) + 1

    # -- capture --------------------------------------------------------------------------------------------------

    async def capture(
        self,
        event: str | Event,
        *,
        distinct_id: DistinctId | None = None,
        properties: Properties | None = None,
        timestamp: datetime.datetime | None = None,
        uuid: str | uuidlib.UUID | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        lane: str | None = None,
        overflow: Overflow | None = None,
        durability: Durability | None = None,
    ) -> Receipt:
        """Take an event in, waiting for no sink unless ``overflow`` is ``"wait"``; it is sent in the background.

        Lets other tasks run at most once per full batch.

        Args:
            event: Its name, or an ``Event``, which has all the other arguments.
            distinct_id: Whom it is about. ``None``: nobody in particular.
            properties: What is known of it; encoded before this returns, so it may be changed afterwards.
            timestamp: When it happened; naive means UTC. ``None`` means now.
            uuid: Its id. ``None`` means a new UUIDv7.
            headers: Values that travel beside the properties. ``None`` means none.
            key: Partition, shard and ordering key. ``None`` means ``distinct_id``.
            lane: A path with limits of its own, such as ``"historical"``. ``None`` means the usual one.
            overflow: What to do when the queue is full. ``None`` means the client's option. Inside a sink's ``send``,
                whose own batch may be what fills the queue, ``"wait"`` means ``"drop_newest"``.
            durability: What the event must survive; this version has ``"memory"``. ``None`` means the client's option.

        Returns:
            A receipt, also for an event that was not taken in; ``receipt.reason`` says why.

        Raises:
            QueueFullError: The queue is full and ``overflow`` is ``"raise"``.
            InvalidEventError: The event cannot be sent, in strict mode.
            ClosedError: The client was closed, in strict mode.
            ValueError: ``overflow`` or ``durability`` is not one of the words.

        Cancellation:
            Safe. The event is in, or (waiting for room) dropped as ``abandoned``.
        """
        prepared: Prepared = None
        intake = self._intake
        # The plain path, here and in capture_nowait(): a function of its own would cost 0.12 µs an event.
        if (
            timestamp is None and uuid is None and headers is None and key is None and lane is None
            and overflow is None and durability is None and intake is not None and get_ident() == self._runtime.thread
        ):  # fmt: skip
            prepare = self._prepare  # by itself: Python 3.11 is slow to call what an attribute holds, 0.03 µs
            prepared = prepare(event, distinct_id, properties)
            if type(prepared) is PlainEvent:
                # By an earlier capture, and the dispatcher has not run since.
                yields = intake.batch_arrived and intake.is_behind
                if (held := len(prepared.data)) < self._max_plain_bytes and intake.offer(prepared, held):
                    if prepared.captured_at is not self._checked_at:
                        # A new stamp, at most once a millisecond: see whether the loop is still the one it was.
                        self._checked_at = prepared.captured_at
                        self._runtime.ensure()
                    if yields:
                        intake.batch_arrived = False
                        await asyncio.sleep(0)
                    receipt: Receipt = TakenReceipt()
                    receipt._event = prepared
                    return receipt
        given = (distinct_id, properties, timestamp, uuid, headers, key, lane, overflow, durability)
        return await self._entrance.capture(describe(event, *given), prepared, self._runtime)

    def capture_nowait(
        self,
        event: str | Event,
        *,
        distinct_id: DistinctId | None = None,
        properties: Properties | None = None,
        timestamp: datetime.datetime | None = None,
        uuid: str | uuidlib.UUID | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        lane: str | None = None,
        overflow: Overflow | None = None,
        durability: Durability | None = None,
    ) -> Receipt:
        """Take an event in, from any thread or loop, without ever waiting.

        Away from the client's loop the event is left in a bounded inbox, which the loop empties; until then
        ``receipt.accepted`` is ``None``, and no counter knows of it. ``"wait"`` means ``"drop_newest"`` here, and away
        from the loop ``"raise"`` does as well. A long loop of these calls on the client's own loop lets nothing be
        sent meanwhile; ``capture()`` does.

        Args, Returns and Raises are those of ``capture()``.
        """
        prepared: Prepared = None
        intake = self._intake
        if (
            timestamp is None and uuid is None and headers is None and key is None and lane is None
            and overflow is None and durability is None and intake is not None and get_ident() == self._runtime.thread
        ):  # fmt: skip
            prepare = self._prepare
            prepared = prepare(event, distinct_id, properties)
            if (
                type(prepared) is PlainEvent
                and (held := len(prepared.data)) < self._max_plain_bytes
                and intake.offer(prepared, held)
            ):
                receipt: Receipt = TakenReceipt()
                receipt._event = prepared
                return receipt
        described = describe(event, distinct_id, properties, timestamp, uuid, headers, key, lane, overflow, durability)
        if not self._options.enabled:
            return Receipt(NOBODY, accepted=False)
        mode = overflow_of(described, self._options)
        if mode == "wait":
            mode = "drop_newest"
        if self._runtime.thread != get_ident():
            self._runtime.watch()  # before the inbox's lock is taken: a child forked meanwhile would inherit it taken
            return self._entrance.leave_for_loop(described, mode, prepared, self._runtime)
        return self._entrance.enter(described, mode, prepared)[0]

    async def capture_ai(self, event: str | Event, **given: Unpack[CaptureDict]) -> Receipt:
        """Take in an event of a language model, as ``capture()`` does, in the lane ``"ai"``.

        A codec with such a lane sends it apart from all others, within limits of its own: PostHog takes 8 MiB an event
        there. For any other codec it is an event like others. ``capture_nowait(…, lane="ai")`` is the plain form.

        Args, Returns, Raises and Cancellation are those of ``capture()``; another ``lane`` is a ``ValueError``.
        """
        return await self._entrance.capture(in_lane(AI, event, given), None, self._runtime)

    async def capture_many(self, events: Iterable[str | Event]) -> list[Receipt]:
        """Take events in, in order; receipts come in that order.

        Raises and Cancellation are those of ``capture()``; events before the one that raised are in.
        """
        return [await self.capture(event) for event in events]

    # -- waiting --------------------------------------------------------------------------------------------------

    async def flush(self, timeout: float | None = None, *, until: Until = "settled") -> FlushReport:
        """Make everything captured before this call leave now, and wait until it is settled.

        Events captured meanwhile are not waited for, and two flushes at once each wait for their own events only.
        Backoffs are cut short, once per batch; a far end's Retry-After is respected.

        Args:
            timeout: Seconds on the loop clock. ``None`` means ``options.flush_timeout``.
            until: ``"settled"``: every event is delivered or dropped. ``"attempted"``: each has had one attempt that
                began after the call, or the one that was running has ended; what failed stays pending.

        Returns:
            What became of the events of this barrier; ``pending`` is above zero only when time ran out, with
            ``until="attempted"``, or inside ``send`` or a hook. Those events go on being sent.

        Raises:
            ClosedError: ``aclose()`` was called before.
            ValueError: ``until`` is not one of the words.

        Cancellation:
            Safe. No event is touched.
        """
        if until not in UNTIL:
            raise ValueError(f"until must be 'settled' or 'attempted', not {until!r}")
        self._check_open()
        timeout = self._options.flush_timeout if timeout is None else timeout
        if not self._sinks:
            return FlushReport()
        if self._runtime.ensure():
            self._entrance.drain()  # as _flush() does, which would be one more coroutine for every flush
            return await flush(self._dispatchers, Deadline.after(timeout).when, until, hurry=True)
        began = asyncio.get_running_loop().time()
        try:
            return await self._runtime.run(self._flush(timeout, until), timeout)
        except HomeLostError:  # what became of events is told on that loop alone
            return FlushReport(pending=self._runtime.pending, elapsed=asyncio.get_running_loop().time() - began)

    async def _flush(self, timeout: float, until: Until) -> FlushReport:
        self._entrance.drain()
        return await flush(self._dispatchers, Deadline.after(timeout).when, until, hurry=True)

    async def deliver(
        self, event_or_events: str | Event | Iterable[Event], *, timeout: float | None = None
    ) -> list[Outcome]:
        """Send now, with retries, and wait for the outcomes: one per event, in the order given, all delivered.

        Args:
            event_or_events: One event, or several.
            timeout: Seconds on the loop clock. ``None`` means without end: attempts are bounded.

        Raises:
            DeliveryError: At least one event was dropped; it has all outcomes.
            TimeoutError: At least one was still pending; it goes on being sent.
            ClosedError: The client was closed.
            RuntimeError: Called inside ``send`` of a sink of this client, whose worker it might wait for.

        Cancellation:
            Safe. The events go on being sent.
        """
        self._check_open()
        self._entrance.check_may_wait()
        events: list[str | Event] = (
            [event_or_events] if isinstance(event_or_events, str | Event) else list(event_or_events)
        )
        if not self._options.enabled:
            return [await Receipt(NOBODY, accepted=False).outcome() for _ in events]
        self._runtime.ensure()
        async with Deadline.after(timeout).scope():
            return await self._runtime.run(deliver(events, self._entrance, self._runtime, self._dispatchers))

    async def aclose(self, timeout: float | None = None) -> CloseReport:
        """Stop taking events in, send what is left, and stop.

        Each batch that fails gets one final attempt. When time is up, what is in flight is cancelled and the rest is
        dropped as ``close_deadline``. May come twice; calls at once share one close, and the earliest deadline counts.

        Args:
            timeout: Seconds on the loop clock; it returns at most 0.25 s later. ``None`` means
                ``options.close_timeout``.

        Returns:
            What became of every event of the client's life.

        Raises:
            RuntimeError: The client lives on another loop, which ended meanwhile or is held up.

        Cancellation:
            Other callers go on waiting. When the last one is cancelled, what is in flight is cancelled and everything
            pending is accounted for before the cancellation goes on.
        """
        if self._closing is not None and self._closing.report is not None:
            return self._closing.report
        timeout = self._options.close_timeout if timeout is None else timeout
        if self._closing is None or self._closing.is_cut_short:
            self._runtime.ensure()
        return await self._runtime.run(self._aclose(timeout), timeout + CLOSE_GRACE)

    async def _aclose(self, timeout: float) -> CloseReport:
        deadline = Deadline.after(timeout)
        while True:
            if self._closing is None or self._closing.is_cut_short:
                self._entrance.drain()
                self._entrance.is_closed = True
                self._closing = Closing(self._dispatchers, deadline)
            report = await self._closing.wait(deadline)
            if report is not None:
                return report

    async def __aenter__(self) -> Self:
        self._check_open()
        self._runtime.ensure()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- looking --------------------------------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """A snapshot of the counters, summed over the sinks."""
        return replace(
            sum((dispatcher.statistics() for dispatcher in self._dispatchers), Statistics()),
            repaired=self._encoder.repaired,
            hook_errors=self._hooks.errors + self._entrance.filter_errors,
            slowest_hook=self._hooks.slowest,
        )

    def __repr__(self) -> str:
        state = "closed" if self._entrance.is_closed else "open"
        names = ", ".join(traits.name for _, traits in self._sinks) or "nowhere"
        return f"<AsyncClient to {names}, {state}, {self._runtime.pending} pending>"

    def _check_open(self) -> None:
        if self._entrance.is_closed:
            raise ClosedError("the client was closed by aclose()")
