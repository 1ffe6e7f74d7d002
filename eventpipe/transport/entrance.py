"""The way from a call of ``capture()`` to the queues: hook, encoding, routing, overflow, other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from eventpipe import scopes
from eventpipe.core.hook import HookError
from eventpipe.encoding import Encoder, dependable
from eventpipe.encoding.arguments import canonical
from eventpipe.encoding.foreign import contained
from eventpipe.encoding.repair import Repairs
from eventpipe.errors import ClosedError, InvalidEventError, QueueFullError
from eventpipe.events import CapturedEvent, Durability, Event, Overflow
from eventpipe.options import ClientOptions
from eventpipe.outcomes import DropReason, OutcomeKind, Settlement
from eventpipe.transport.calls import NOBODY, overflow_of
from eventpipe.transport.dispatcher import Dispatcher
from eventpipe.transport.hooks import Hooks
from eventpipe.transport.inbox import Entry, Inbox
from eventpipe.transport.intake import FanOut, Intake
from eventpipe.transport.keeping import Keeping
from eventpipe.transport.receipts import FanIn, ForeignReceipt, Home, KeptReceipt, Receipt, Unsettled
from eventpipe.transport.runtime import Runtime
from eventpipe.transport.traits import MAX_EVENT_BYTES, EventLimit
from eventpipe.unfolding import Unfit

_NOT_WANTED = Settlement(OutcomeKind.DROPPED, sink="", error="no sink wanted it")
_INBOX_FULL = Settlement(OutcomeKind.DROPPED, sink="", reason=DropReason.QUEUE_FULL)
_MAX_NAME = 200  # characters of a refused event's name that reports repeat


class RefusalError(Exception):
    """An event that gets no further, and why.

    Attributes:
        event: What is known of it.
        reason: Why.
        error: The fault in words; ``None`` where the reason says it all.
        cause: What strict mode raises; ``None`` where it raises nothing.
    """

    def __init__(
        self, event: CapturedEvent, reason: DropReason, error: str | None = None, cause: Exception | None = None
    ) -> None:
        super().__init__(reason)
        self.event = event
        self.reason = reason
        self.error = error
        self.cause = cause


Prepared = CapturedEvent | RefusalError | None
"""What became of an event before any queue; ``None``: nothing was done with it yet."""


class Entrance:
    """Everything about getting in that the plain path of ``AsyncClient.capture()`` leaves out.

    Attributes:
        is_closed: Every event is refused.
        filter_errors: Calls of a sink's ``where`` that raised; their events were not captured by that sink.
        max_event_bytes: The smallest bound on an event's size among the sinks.
    """

    def __init__(
        self,
        dispatchers: Sequence[Dispatcher],
        options: ClientOptions,
        encoder: Encoder,
        hooks: Hooks,
        inbox: Inbox,
        keeping: Keeping | None = None,
    ) -> None:
        self._dispatchers = dispatchers
        self._options = options
        self._encoder = encoder
        self._hooks = hooks
        self._inbox = inbox
        self._keeping = keeping
        self._late = threading.RLock()
        self._new_id = dependable(options.new_id)
        self.is_closed = False
        self.filter_errors = 0
        self._limits = {dispatcher: EventLimit(dispatcher.traits, options) for dispatcher in dispatchers}
        self.max_event_bytes = min((limit.smallest for limit in self._limits.values()), default=MAX_EVENT_BYTES)
        self._unsettled = [Unsettled(sinks) for sinks in range(len(dispatchers) + 1)]

    def plain_intake(self) -> Intake | FanOut | None:
        """Where events get in at once; ``None``: a sink has to be asked about each, or there is none."""
        if not self._dispatchers or any(dispatcher.traits.where is not None for dispatcher in self._dispatchers):
            return None
        intakes = [dispatcher.intake for dispatcher in self._dispatchers]
        return intakes[0] if len(intakes) == 1 else FanOut(intakes, self._unsettled[len(intakes)])

    async def capture(self, described: Event, prepared: Prepared, runtime: Runtime) -> Receipt:
        """Go the long way, with whatever is not plain; ``prepared`` is what was made of the event already."""
        if not self._options.enabled:
            return Receipt(NOBODY, accepted=False)
        overflow = overflow_of(described, self._options, has_spool=self._keeping is not None)
        if not self.is_closed:
            runtime.ensure()
        if runtime.is_elsewhere:
            if self._keeping is None or not self._keeping.waits_for(described):
                return self.leave_for_loop(described, overflow, prepared, runtime)
            return await runtime.run(self._take_in(described, overflow, prepared))
        return await self._take_in(described, overflow, prepared)

    async def _take_in(self, described: Event, overflow: Overflow, prepared: Prepared) -> Receipt:
        if self._keeping is not None:
            await self._keeping.ready(described)
        receipt, waiting = self.enter(described, overflow, prepared)
        if waiting:
            await self.wait_for_room(receipt, waiting)
        if self._keeping is not None:
            await self._wait_for_disk(receipt)
        elif any(dispatcher.intake.batch_arrived for dispatcher in self._dispatchers):
            for dispatcher in self._dispatchers:
                dispatcher.intake.batch_arrived = False
            await asyncio.sleep(0)
        return receipt

    async def _wait_for_disk(self, receipt: Receipt) -> None:
        """Wait until an event is as durable as it is to be, and while too many are on their way to the disk.

        Raises:
            StoreError: In strict mode, where it could not be written.
        """
        for dispatcher in self._dispatchers:
            spilling = dispatcher.exit.spilling
            if spilling is not None and spilling.is_behind:
                await spilling.written()
        if isinstance(receipt, KeptReceipt):
            await receipt.written()
            if self._options.strict:
                receipt.check()

    def enter(self, described: Event, overflow: Overflow, prepared: Prepared) -> tuple[Receipt, list[Dispatcher]]:
        """Take an event in, or count it as refused; ``prepared`` is what was made of it already.

        Returns and Raises are those of ``distribute()`` and ``refuse()``.
        """
        try:
            event = self._prepared(described, prepared)
        except RefusalError as refusal:
            return self.refuse(refusal), []
        return self.distribute(event, overflow, strict=self._options.strict, durability=described.durability)

    def prepare(self, described: Event) -> CapturedEvent:
        """Run ``before_send`` and encode.

        Raises:
            RefusalError: The event gets no further; nothing is counted yet.
        """
        self._check(described)
        described = scopes.filled(described)
        try:
            changed = self._hooks.before_send(described)
        except HookError as exc:
            raise self.hook_failed(described, exc) from None
        return self.encode_changed(described, changed)

    def encode_changed(self, described: Event, changed: Event | DropReason) -> CapturedEvent:
        """Encode what ``before_send`` made of ``described``.

        Raises:
            RefusalError: The event gets no further.
        """
        if isinstance(changed, DropReason):
            raise RefusalError(self._stub(described), changed)
        self._check(changed)  # the hook may have begun a close, in a task that begins at once
        try:
            return self._encoder.encode(
                changed.event,
                changed.distinct_id,
                changed.properties,
                changed.timestamp,
                changed.uuid,
                changed.headers,
                changed.key,
                changed.lane,
            )
        except InvalidEventError as exc:
            raise RefusalError(self._stub(changed), DropReason.INVALID, str(exc), exc) from None

    def hook_failed(self, described: Event, error: HookError) -> RefusalError:
        """Where an event ends whose ``before_send`` failed."""
        return RefusalError(self._stub(described), DropReason.BEFORE_SEND, str(error))

    def refuse(self, refusal: RefusalError) -> Receipt:
        """Count a refusal, once at every sink.

        Raises:
            ClosedError: In strict mode, after the close.
            InvalidEventError: In strict mode, when the event was to blame.
        """
        self._refuse_everywhere(refusal.event, refusal.reason, refusal.error)
        if self._options.strict and refusal.cause is not None:
            raise refusal.cause
        return Receipt(refusal.event, accepted=False, reason=refusal.reason)

    def check_may_wait(self) -> None:
        """Raise ``RuntimeError`` where waiting for an event to be sent could last for ever: it needs a free worker."""
        if self._is_inside_worker:
            raise RuntimeError(
                "deliver() inside send() waits for an attempt that may need this very worker; "
                "use capture_nowait() there, which waits for nothing"
            )

    def distribute(
        self, event: CapturedEvent, overflow: Overflow, *, strict: bool, durability: Durability | None = None
    ) -> tuple[Receipt, list[Dispatcher]]:
        """Offer an event to each sink that wants it, and have it written as durably as is wanted.

        Returns:
            The receipt, and the sinks whose room the caller has to wait for (``overflow="wait"``). A worker never has
            to: it would wait for room that perhaps only its own batch can make, so its event is dropped.

        Raises:
            QueueFullError: A queue was full and ``overflow`` is ``"raise"``; the other sinks have the event.
            InvalidEventError: In strict mode, when it is too large for a sink; the others have it.
        """
        wanted = [dispatcher for dispatcher in self._dispatchers if self._is_wanted(dispatcher, event)]
        if not wanted:
            event.settlement = _NOT_WANTED
            return Receipt(event, accepted=False), []
        self._expect(event, len(wanted))
        receipt = Receipt(event, accepted=False)
        waiting: list[Dispatcher] = []
        taken: list[Dispatcher] = []
        spilled: list[Dispatcher] = []
        failure: Exception | None = None
        for dispatcher in wanted:
            if event.size > self._limits[dispatcher].of(event):
                fault = self._too_large(dispatcher, event)
                dispatcher.exit.refuse(event, DropReason.TOO_LARGE, str(fault))
                receipt.reason = DropReason.TOO_LARGE
                failure = failure or (fault if strict else None)
            elif dispatcher.intake.offer(event, event.held) or (
                overflow == "drop_oldest" and dispatcher.push_out(event)
            ):
                receipt.accepted = True
                taken.append(dispatcher)
            elif overflow == "wait" and not self._is_inside_worker:
                waiting.append(dispatcher)
            elif overflow != "raise" and dispatcher.exit.spilling is not None:
                spilled.append(dispatcher)
            else:
                dispatcher.exit.refuse(event, DropReason.QUEUE_FULL)
                receipt.reason = DropReason.QUEUE_FULL
                if overflow == "raise":
                    failure = failure or QueueFullError(self._options.queue_events)
        if self._keeping is not None:
            receipt = self._keeping.keep(receipt, [*taken, *waiting, *spilled], durability)
        for dispatcher in spilled:  # once it is known how it is to be written
            if dispatcher.exit.spill(event):
                receipt.accepted = True
            else:
                receipt.reason = DropReason.QUEUE_FULL
        if failure is not None:
            raise failure
        if receipt.accepted:
            receipt.reason = None
        return receipt, waiting

    async def wait_for_room(self, receipt: Receipt, dispatchers: Sequence[Dispatcher]) -> None:
        """Wait until the receipt's event is in at each sink, or ``overflow_timeout`` is over.

        Cancellation:
            Where the event is not in yet, it is dropped as ``abandoned``.
        """
        waiters = [(dispatcher, dispatcher.join(receipt._event)) for dispatcher in dispatchers]
        reason = DropReason.ABANDONED
        try:
            async with asyncio.timeout(self._options.overflow_timeout):
                for _, waiter in waiters:
                    if not await waiter.future:
                        receipt.reason = DropReason.CLOSE_DEADLINE  # booked by whoever turned it away
        except TimeoutError:
            receipt.reason = reason = DropReason.QUEUE_FULL
        finally:
            for dispatcher, waiter in waiters:
                dispatcher.leave(waiter, reason)
            if any(waiter.is_admitted for _, waiter in waiters):
                receipt.accepted, receipt.reason = True, None

    def leave_for_loop(self, described: Event, overflow: Overflow, prepared: Prepared, home: Home) -> Receipt:
        """Encode here, on a thread that is not the loop's, and leave the rest to the loop.

        ``prepared`` is what was made of the event already.

        Raises:
            ClosedError: In strict mode, after the close.
            InvalidEventError: In strict mode, when the event is to blame.
        """
        try:
            event = self._prepared(described, prepared)
        except RefusalError as refusal:
            receipt = ForeignReceipt(refusal.event, home)
            receipt.accepted, receipt.reason = False, refusal.reason
            self._inbox.put(Entry(refusal.event, receipt, overflow, refusal.reason, refusal.error))
            if self.is_closed and not home.has_loop:
                with self._late:  # no loop will ever do it, and nothing else moves any more
                    self.drain()
            if self._options.strict and refusal.cause is not None:
                raise refusal.cause from None
            return receipt
        receipt = ForeignReceipt(event, home)
        if not self._inbox.put(Entry(event, receipt, overflow)):
            receipt.accepted, receipt.reason = False, DropReason.QUEUE_FULL
            event.settlement = _INBOX_FULL
        return receipt

    def drain(self) -> None:
        """Take over what other threads have left; on the loop only."""
        for entry in self._inbox.drain():
            event, receipt = entry.event, entry.receipt
            reason = DropReason.CLOSED if entry.reason is None and self.is_closed else entry.reason
            if reason is not None:
                self._refuse_everywhere(event, reason, entry.error)
                receipt.accepted, receipt.reason = False, reason
                continue
            # Nobody is here to wait or to be raised at.
            overflow: Overflow = "drop_oldest" if entry.overflow == "drop_oldest" else "drop_newest"
            here, _ = self.distribute(event, overflow, strict=False)
            receipt.accepted, receipt.reason = here.accepted, here.reason
        refused = self._inbox.take_refused() if self._inbox.refused else 0
        if refused:
            for dispatcher in self._dispatchers:
                dispatcher.exit.refuse_unseen(refused)

    def _prepared(self, described: Event, prepared: Prepared) -> CapturedEvent:
        """Do what is left of ``prepare()``: the hook sees an event once."""
        if prepared is None:
            return self.prepare(described)
        if isinstance(prepared, RefusalError):
            raise prepared
        if self.is_closed:
            raise _closed(prepared)
        return prepared

    def _check(self, described: Event) -> None:
        if self.is_closed:
            raise _closed(self._stub(described))
        if type(described.event) is Unfit:  # what a typed event came to
            error = described.event.error
            raise RefusalError(self._stub(described), DropReason.INVALID, str(error), error)

    def _refuse_everywhere(self, event: CapturedEvent, reason: DropReason, error: str | None) -> None:
        self._expect(event, len(self._dispatchers))
        for dispatcher in self._dispatchers:
            dispatcher.exit.refuse(event, reason, error)

    @property
    def _is_inside_worker(self) -> bool:
        return any(dispatcher.flushes.own_events for dispatcher in self._dispatchers)

    def _expect(self, event: CapturedEvent, sinks: int) -> None:
        """Have the event settled when so many sinks have answered."""
        if sinks > 1:
            waiting = event.settlement
            event.settlement = self._unsettled[sinks] if waiting is None else FanIn(sinks, waiting)

    def _is_wanted(self, dispatcher: Dispatcher, event: CapturedEvent) -> bool:
        where = dispatcher.traits.where
        try:
            return where is None or bool(where(event))
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # it may be there for privacy: unjudged, no pass
            self.filter_errors += 1
            return False

    def _too_large(self, dispatcher: Dispatcher, event: CapturedEvent) -> InvalidEventError:
        limit = self._limits[dispatcher].of(event)
        return InvalidEventError(
            f"the event has {event.size} bytes, and {dispatcher.traits.name} takes at most {limit}; "
            f"send less, or raise max_event_bytes if the far end allows it",
            limit=limit,
        )

    def _stub(self, described: Event) -> CapturedEvent:
        """As much of a refused event as reports need: an id and a name."""
        given: object = described.event
        text = str.__str__(given)[:_MAX_NAME] if issubclass(type(given), str) else ""
        clean = text.encode(errors="replace").decode()  # a lone surrogate would be refused again, in strict mode
        given_id = contained(canonical, described.uuid, Repairs()) if described.uuid is not None else None
        # Not left to the encoder: in strict mode it refuses an event for which new_id makes no UUID, this one too.
        uuid = given_id if type(given_id) is str else self._new_id()
        return self._encoder.encode(clean or "(no name)", None, None, None, uuid, None, None, None)


def _closed(event: CapturedEvent) -> RefusalError:
    return RefusalError(event, DropReason.CLOSED, cause=ClosedError("the client was closed"))
