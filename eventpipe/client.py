"""The client: captured in a handler, delivered in the background."""

from __future__ import annotations

import asyncio
import datetime
import os
import sys
import uuid as uuidlib
from collections.abc import Iterable, Mapping
from random import Random
from threading import get_ident
from typing import TYPE_CHECKING, NoReturn, Unpack

from eventpipe import scopes
from eventpipe.checked import shown
from eventpipe.clock import Clock
from eventpipe.contracts import Sink
from eventpipe.encoding import Encoder, PlainEvent, dependable
from eventpipe.events import AI, CLOSING, Capturable, DistinctId, Durability, Overflow, Properties
from eventpipe.options import ClientOptions, ClientOptionsDict, check_needs_no_spool, resolve
from eventpipe.settling import Settling
from eventpipe.transport.calls import NOBODY, CaptureDict, describe, in_lane, overflow_of
from eventpipe.transport.changing import Changing
from eventpipe.transport.closing import Closing
from eventpipe.transport.dispatcher import Dispatcher
from eventpipe.transport.entrance import Entrance, Prepared
from eventpipe.transport.feed import OutcomeFeed
from eventpipe.transport.hooks import BeforeSend, Hooks, OnOutcome
from eventpipe.transport.inbox import Inbox
from eventpipe.transport.keeping import Keeping, KeptIntake
from eventpipe.transport.misspelt import warn_of_misspelt
from eventpipe.transport.receipts import PlainKeptReceipt, Receipt, TakenReceipt
from eventpipe.transport.replay import Replay
from eventpipe.transport.runtime import Runtime
from eventpipe.transport.tallies import Shortlist
from eventpipe.transport.traits import Traits, named_apart

if TYPE_CHECKING:
    from eventpipe.spool.spool import Spool


class AsyncClient(Settling):
    """Takes events in without waiting and delivers them in the background.

    Use it as an async context manager in a lifespan, or call ``aclose()``. Making one starts nothing. Every event is
    accounted for: ``statistics()`` says where each is, the reports of ``flush()`` and ``aclose()`` what became of it.
    """

    def __init__(
        self,
        *sinks: Sink,
        options: ClientOptions | None = None,
        spool: str | os.PathLike[str] | None = None,
        before_send: BeforeSend | None = None,
        on_drop: OnOutcome | None = None,
        on_error: OnOutcome | None = None,
        **overrides: Unpack[ClientOptionsDict],
    ) -> None:
        """Check everything and start nothing.

        Args:
            sinks: Where events go; each event goes to all, encoded once. Bounds, retries and counters are per sink.
            options: Options shared with other clients; keywords win over it, it wins over ``EVENTPIPE_*``.
            spool: A folder for events that wait on disk, which several processes can share; it is made when the client
                starts. ``None``: there is none.
            before_send: Sees each event before it is encoded, and returns it, another one, or ``None`` to drop it.
            on_drop: Told of each outcome that lost events.
            on_error: Told of each attempt that failed, whether it is retried or not.
            overrides: Any option of ``ClientOptions``.

        Raises:
            ValueError: An option is wrong; the message names it.
            TypeError: A sink or a hook is not one.
        """
        self._options = resolve(options, overrides)
        warn_of_misspelt(ClientOptions, os.environ)
        if spool is not None and not isinstance(spool, str | os.PathLike):
            raise ValueError(f"spool must be a folder, such as 'var/events', or None, not {shown(spool)}")
        if spool is not None and sys.platform == "win32":
            raise ValueError(f"spool={spool!r} needs locks that Windows does not have; leave it out there")
        if spool is None:
            check_needs_no_spool(self._options)
        self._spool_path = spool
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
        self._feed = OutcomeFeed(largest_list=options.batch_events)
        random = options.random or Random()  # noqa: S311  # jitter
        new_id = dependable(options.new_id)
        names = Shortlist()
        spool = self._spool = self._make_spool(clock)
        self._dispatchers = [
            Dispatcher(
                sink,
                traits,
                options,
                names=names,
                callbacks=self._hooks.observe,
                outlet=self._feed.observer(traits.name),
                clock=clock,
                random=random,
                new_id=new_id,
                spool=spool,
            )
            for sink, traits in self._sinks
        ]
        self._beside = () if spool is None else (spool, *(Replay(one, spool, options) for one in self._dispatchers))
        self._encoder = Encoder(
            options.json_default,
            frozenset().union(*(traits.lifted for _, traits in self._sinks)),
            clock=clock,
            new_id=options.new_id,
            strict=options.strict,
        )
        keeping = None if spool is None else Keeping(spool, options.durability)
        inbox = Inbox(options.queue_events, lambda: self._runtime.request_drain(), max_bytes=options.queue_bytes)
        self._entrance = Entrance(self._dispatchers, options, self._encoder, self._hooks, inbox, keeping)
        self._entrance.is_closed = is_closed
        changing = Changing(self._entrance, self._encoder, self._hooks) if self._hooks.changes_events else None
        self._prepare = self._encoder.encode_plain if changing is None else changing.prepare
        self._prepare_scoped = scopes.plain(self._prepare)
        self._runtime = Runtime(
            self._dispatchers,
            self._feed,
            self._beside,
            begin=self._encoder.bind if changing is None else changing.bind,
            drain=self._entrance.drain,
            held=inbox.__len__,
            kept=lambda: 0 if spool is None else spool.held,
            is_closed=lambda: self._entrance.is_closed,
            after_fork=self._start_clean,
            last_attempt=None if options.exit_timeout is None else lambda: self.aclose(options.exit_timeout),
        )
        self._attach_instrument()
        self._closing: Closing | None = None
        self._checked_at: float | None = None
        self._intake, self._kept = self._entrance.plain_intake(), None
        if options.durability != "memory":
            if keeping is not None and self._intake is not None:
                self._kept = KeptIntake(self._intake, keeping, self._runtime, self._dispatchers, options.durability)
            self._intake = None
        # Of what is kept of a plain event; its two closing braces are not.
        self._max_plain_bytes = self._entrance.max_event_bytes - len(CLOSING) + 1

    def _make_spool(self, clock: Clock) -> Spool | None:
        if self._spool_path is None or not self._sinks:
            return None
        options = self._options
        from eventpipe.spool.bounds import SpoolBounds
        from eventpipe.spool.spool import Spool  # not above: it needs SQLite, and what Windows does not have

        return Spool(
            self._spool_path,
            [traits.name for _, traits in self._sinks],
            clock=clock,
            on_taken_over=lambda sink, events: self._dispatcher(sink).ledger.recover(events),
            on_lost=lambda sink, events, reason: self._dispatcher(sink).exit.lose_unseen(events, reason),
            on_set_aside=self._insure,
            bounds=SpoolBounds(options.spool_bytes, options.spool_age, options.spool_overflow),
        )

    def _insure(self) -> None:
        if self._options.durability != "memory":
            for dispatcher in self._dispatchers:
                dispatcher.insure()

    def _dispatcher(self, sink: str) -> Dispatcher:
        return next(one for one in self._dispatchers if one.traits.name == sink)

    def _start_clean(self) -> None:
        """Be as new in a forked child, but closed where it was."""
        self._hooks.start_clean()
        self._build(is_closed=self._entrance.is_closed)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AsyncClient cannot be pickled; make one in each process, or let a forked one inherit it")

    # -- capture --------------------------------------------------------------------------------------------------

    async def capture(
        self,
        event: Capturable,
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
            event: Its name; a typed event, or the class of one; or an ``Event``, which has all the other arguments.
            distinct_id: Whom it is about. ``None``: nobody in particular.
            properties: What is known of it; encoded before this returns, so it may be changed afterwards.
            timestamp: When it happened; naive means UTC. ``None`` means now.
            uuid: Its id. ``None`` means a new UUIDv7.
            headers: Values that travel beside the properties. ``None`` means none.
            key: Partition, shard and ordering key. ``None`` means ``distinct_id``.
            lane: A path with limits of its own, such as ``"historical"``. ``None`` means the usual one.
            overflow: What to do when the queue is full. ``None`` means the client's option. Inside a sink's ``send``,
                whose own batch may be what fills the queue, ``"wait"`` means ``"drop_newest"``.
            durability: What the event survives once this returns: nothing (``"memory"``), the end of this process
                (``"process"``), a loss of power (``"power"``); the last two need a spool. ``None`` means the client's
                option.

        Returns:
            A receipt, also for an event that was not taken in; ``receipt.reason`` says why.

        Raises:
            QueueFullError: The queue is full and ``overflow`` is ``"raise"``.
            InvalidEventError: The event cannot be sent, in strict mode.
            ClosedError: The client was closed, in strict mode.
            ValueError: ``overflow`` or ``durability`` is not one of the words.
            RuntimeError: The event is to be on disk, and the client's event loop, which is not this one, ended.

        Cancellation:
            Safe. The event is in, or (waiting for room) dropped as ``abandoned``.
        """
        prepared: Prepared = None
        intake = self._intake
        # The plain path, here and in capture_nowait(): a function of its own would cost 0.12 µs an event.
        if (
            timestamp is None and uuid is None and headers is None and key is None and lane is None
            and overflow is None and durability is None and get_ident() == self._runtime.thread
        ):  # fmt: skip
            # By itself: Python 3.11 is slow to call what an attribute holds, 0.03 µs.
            prepare = self._prepare_scoped if scopes.in_use else self._prepare
            prepared = prepare(event, distinct_id, properties)
            if intake is None:
                kept = self._kept
                if (
                    kept is not None and type(prepared) is PlainEvent
                    and (held := len(prepared.data)) < self._max_plain_bytes
                    and (writing := kept.offer(prepared, held)) is not None
                ):  # fmt: skip
                    await writing.waiter()
                    if writing.error is not None and self._options.strict:
                        raise writing.error
                    written = PlainKeptReceipt()
                    written._event = prepared
                    written._writing = writing
                    return written
            elif type(prepared) is PlainEvent:
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
        event: Capturable,
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
            prepare = self._prepare_scoped if scopes.in_use else self._prepare
            prepared = prepare(event, distinct_id, properties)
            if (
                type(prepared) is PlainEvent
                and (held := len(prepared.data)) < self._max_plain_bytes
                and intake.offer(prepared, held)
            ):
                if prepared.captured_at is not self._checked_at:  # as above
                    self._checked_at = prepared.captured_at
                    self._runtime.follow()
                receipt: Receipt = TakenReceipt()
                receipt._event = prepared
                return receipt
        described = describe(event, distinct_id, properties, timestamp, uuid, headers, key, lane, overflow, durability)
        if not self._options.enabled:
            return Receipt(NOBODY, accepted=False)
        mode = overflow_of(described, self._options, has_spool=self._spool is not None)
        if mode == "wait":
            mode = "drop_newest"
        if self._runtime.thread != get_ident():
            self._runtime.watch()  # before the inbox's lock is taken: a child forked meanwhile would inherit it taken
            return self._entrance.leave_for_loop(described, mode, prepared, self._runtime)
        self._runtime.follow()
        return self._entrance.enter(described, mode, prepared)[0]

    async def capture_ai(self, event: Capturable, **given: Unpack[CaptureDict]) -> Receipt:
        """Take in an event of a language model, as ``capture()`` does, in the lane ``"ai"``.

        A codec with such a lane sends it apart from all others, within limits of its own: PostHog takes 8 MiB an event
        there. For any other codec it is an event like others. ``capture_nowait(…, lane="ai")`` is the plain form.

        Args, Returns, Raises and Cancellation are those of ``capture()``; another ``lane`` is a ``ValueError``.
        """
        return await self._entrance.capture(in_lane(AI, event, given), None, self._runtime)

    async def capture_many(self, events: Iterable[Capturable]) -> list[Receipt]:
        """Take events in, in order; receipts come in that order.

        Raises and Cancellation are those of ``capture()``; events before the one that raised are in.
        """
        return [await self.capture(event) for event in events]
