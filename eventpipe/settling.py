"""What a client does about events that are captured: wait for them, and end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from eventpipe.contracts import Sink
from eventpipe.core.deadline import Deadline
from eventpipe.core.service import Service
from eventpipe.events import Capturable
from eventpipe.observed import Observed
from eventpipe.options import ClientOptions
from eventpipe.outcomes import CloseReport, FlushReport, Outcome
from eventpipe.transport.barrier import UNTIL, Until
from eventpipe.transport.batch_scope import BatchScope
from eventpipe.transport.calls import NOBODY, listed
from eventpipe.transport.closing import Closing
from eventpipe.transport.delivering import deliver
from eventpipe.transport.flushing import flush
from eventpipe.transport.receipts import Receipt
from eventpipe.transport.runtime import HomeLostError
from eventpipe.transport.traits import Traits

CLOSE_GRACE = 0.25  # seconds that a close may take beyond its deadline, for sinks that do not end when they are asked


class Settling(Observed):
    """The part of a client that waits until events are settled."""

    _beside: Sequence[Service]
    _closing: Closing | None
    _options: ClientOptions
    _sinks: Sequence[tuple[Sink, Traits]]

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
        self, event_or_events: Capturable | Iterable[Capturable], *, timeout: float | None = None
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
        events = listed(event_or_events)
        if not self._options.enabled:
            return [await Receipt(NOBODY, accepted=False).outcome() for _ in events]
        self._runtime.ensure()
        async with Deadline.after(timeout).scope():
            return await self._runtime.run(deliver(events, self._entrance, self._runtime, self._dispatchers))

    def batch_scope(
        self,
        timeout: float | None = None,
        *,
        remaining: Callable[[], float] | None = None,
        margin: float = 0.5,
    ) -> BatchScope:
        """Flush at the end of a block, for platforms that freeze a process as soon as it has answered.

        ```python
        async def handler(event, context):
            async with client.batch_scope(remaining=lambda: context.get_remaining_time_in_millis() / 1000):
                ...
        ```

        The flush waits for every event captured before the end of the block, by whomever; the report of it is
        ``scope.report``. It comes too where the block raises, and never hides that error. Where the client lives on
        another loop, which rests, nothing can be flushed: a line in the log and the report have the number pending.

        Args:
            timeout: Seconds that the flush may take. ``None`` means ``options.flush_timeout``.
            remaining: A plain function that says, when the block ends, how many seconds the platform leaves. The flush
                ends ``margin`` before that. ``None``: nobody knows.
            margin: Seconds kept for the answer itself.

        Raises:
            ValueError: ``timeout`` or ``margin`` is negative or no number.
            TypeError: ``remaining`` is no plain function.
        """
        timeout = self._options.flush_timeout if timeout is None else timeout
        return BatchScope(self.flush, lambda: self._runtime.pending, timeout, remaining, margin)

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
                self._closing = Closing(self._dispatchers, self._feed, self._beside, deadline)
            report = await self._closing.wait(deadline)
            if report is not None:
                return report

    async def __aenter__(self) -> Self:
        self._check_open()
        self._runtime.ensure()
        await self._ready()
        return self

    async def _ready(self) -> None:
        """Wait until what the client needs is there; where it is not, close the client, and raise why."""
        try:
            for service in self._beside:
                await service.started()
        except BaseException:
            await self.aclose()  # nobody else will: what was entered in vain is not left
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
