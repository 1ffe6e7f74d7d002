"""What the client for plain code does about events that are captured: wait for them, look at them, and end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from eventpipe.checked import shown
from eventpipe.client import AsyncClient
from eventpipe.core.log import contained_logger
from eventpipe.core.loop_thread import LoopEndedError, LoopThread
from eventpipe.core.waking import running_loop
from eventpipe.events import Capturable
from eventpipe.health import Health
from eventpipe.outcomes import CloseReport, FlushReport, Outcome, OutcomeKind
from eventpipe.settling import CLOSE_GRACE
from eventpipe.statistics import Statistics
from eventpipe.subscriptions import Filter
from eventpipe.transport.barrier import UNTIL, Until
from eventpipe.transport.calls import listed
from eventpipe.transport.hooks import OnOutcome, OutcomeCallback
from eventpipe.transport.runtime import ANSWER_TIMEOUT

T = TypeVar("T")

logger = contained_logger("eventpipe")

# A loop that is well answers within its lag, milliseconds; who looks at numbers waits half a second, and no longer.
LOOK_TIMEOUT = 0.5


class Blocking:
    """The part of a ``SyncClient`` that waits, on the thread of its caller, for the client's own."""

    _client: AsyncClient
    _home: LoopThread
    _has_warned_of_loop = False

    def flush(self, timeout: float | None = None, *, until: Until = "settled") -> FlushReport:
        """Make everything captured before this call leave now, and wait until it is settled.

        Args:
            timeout: Seconds. ``None`` means ``options.flush_timeout``.
            until: As in ``AsyncClient.flush()``.

        Returns:
            What became of the events captured before, by whatever thread; ``pending`` is above zero when time ran out.

        Raises:
            ClosedError: ``close()`` was called before.
            ValueError: ``until`` is not one of the words.
            RuntimeError: Called inside a hook or a sink of this client, where it would wait for itself.

        An interrupt (Ctrl-C) of the wait touches no event. On a thread with a running event loop it holds that loop up,
        and logs a warning, once.
        """
        client = self._client
        if until not in UNTIL:
            raise ValueError(f"until must be 'settled' or 'attempted', not {until!r}")
        self._check_may_wait("flush")
        client._check_open()
        if not self._home.is_alive and not client._runtime.pending:
            return FlushReport()  # what was never started need not be
        timeout = client._options.flush_timeout if timeout is None else _seconds(timeout)
        began = time.monotonic()
        try:
            return self._home.run(client.flush(timeout, until=until), timeout + ANSWER_TIMEOUT)
        except (TimeoutError, LoopEndedError):  # what became of events is told on that loop alone
            return FlushReport(pending=client._runtime.pending, elapsed=time.monotonic() - began)

    def deliver(
        self, event_or_events: Capturable | Iterable[Capturable], *, timeout: float | None = None
    ) -> list[Outcome]:
        """Send now, with retries, and wait for the outcomes: one per event, in the order given, all delivered.

        Args:
            event_or_events: One event, or several.
            timeout: Seconds. ``None`` means without end: attempts are bounded.

        Raises:
            DeliveryError: At least one event was dropped; it has all outcomes.
            TimeoutError: At least one was still pending; it goes on being sent.
            ClosedError: The client was closed.
            RuntimeError: Called inside a hook or a sink of this client.

        An interrupt (Ctrl-C) of the wait leaves the events on their way.
        """
        client = self._client
        self._check_may_wait("deliver")
        client._check_open()
        # Listed here: a generator of the caller's is nothing for another thread.
        events = listed(event_or_events)
        if not client._options.enabled:
            return _drive(client.deliver(events))
        timeout = None if timeout is None else _seconds(timeout)
        work = client.deliver(events, timeout=timeout)
        return self._home.run(work, None if timeout is None else timeout + ANSWER_TIMEOUT)

    def close(self, timeout: float | None = None) -> CloseReport:
        """Stop taking events in, send what is left, and end the thread.

        Each batch that fails gets one final attempt. When time is up, what is in flight is cancelled and the rest is
        dropped as ``close_deadline``. May come twice; calls at once share one close, and the earliest deadline counts.

        Args:
            timeout: Seconds; it returns at most 0.25 s later. ``None`` means ``options.close_timeout``.

        Returns:
            What became of every event of the client's life. Where a hook or a sink holds the client's thread up beyond
            the deadline, what is known of it, with that thread among the stragglers; a later call has the rest.

        Raises:
            RuntimeError: Called inside a hook or a sink of this client, where it would wait for itself.

        An interrupt (Ctrl-C) of the wait cancels what is in flight and accounts for everything pending, unless others
        wait for the close as well; a later call has the report.
        """
        client = self._client
        timeout = client._options.close_timeout if timeout is None else _seconds(timeout)
        began = time.monotonic()
        report = self._report
        if report is None:
            self._check_may_wait("close")
            if not client._options.enabled:
                client._entrance.is_closed = True
                return CloseReport()
            try:
                report = self._home.run(client.aclose(timeout), timeout + CLOSE_GRACE)
            except TimeoutError:
                return self._unanswered(time.monotonic() - began)
            except LoopEndedError:  # another caller's close came to its end
                if (report := self._report) is None:
                    raise
        self._home.stop(timeout + CLOSE_GRACE - (time.monotonic() - began))
        return report

    def __enter__(self) -> Self:
        self._client._check_open()
        if self._client._options.enabled:
            self._home.start()
            try:
                self._home.run(self._client._ready(), None)
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> Statistics:
        """A snapshot of what was counted since the start, summed over the sinks, and by sink.

        Everything that was captured before is in it, unless a hook or a sink holds up the client's thread.
        """
        return self._look(self._client.statistics)

    def health(self) -> Health:
        """Whether the client takes events in, and how each of its sinks does; cheap enough for a probe a second."""
        return self._look(self._client.health)

    def on_outcome(
        self,
        function: OnOutcome,
        *kinds: OutcomeKind | str,
        filter: Filter | None = None,  # noqa: A002  # as AsyncClient.on_outcome()
        name: str | None = None,
    ) -> OutcomeCallback:
        """Have a plain function called with every outcome of some kinds, on the client's thread.

        Args, Returns and Raises are those of ``AsyncClient.on_outcome()``.
        """
        return self._client.on_outcome(function, *kinds, filter=filter, name=name)

    def __repr__(self) -> str:
        return "<" + type(self).__name__ + repr(self._client).removeprefix("<" + type(self._client).__name__)

    @property
    def _report(self) -> CloseReport | None:
        """What became of everything; ``None`` while the close is not over, and in a child that closed nothing."""
        closing = self._client._closing
        return None if closing is None else closing.report

    def _look(self, look: Callable[[], T]) -> T:
        """Look on the client's thread, which first takes what it was left; elsewhere, what it counts could be torn."""
        if self._home.is_alive and not self._home.is_here:
            try:
                return self._home.run(_called(look), LOOK_TIMEOUT)
            except (TimeoutError, LoopEndedError):
                pass
        return look()

    def _unanswered(self, elapsed: float) -> CloseReport:
        known = self._client.statistics()
        logger.warning("thread %s is held up by a hook or a sink, and did not end in time", self._home.name)
        return CloseReport(
            delivered=known.delivered,
            dropped=known.dropped,
            dropped_by_reason=known.dropped_by_reason,
            pending=self._client._runtime.pending,
            stragglers=(f"thread {self._home.name}",),
            elapsed=elapsed,
        )

    def _check_may_wait(self, what: str) -> None:
        changes = self._client._hooks.changes
        if self._home.is_here or (changes is not None and changes.is_running):
            raise RuntimeError(
                f"{what}() inside a hook or a sink of this client would wait for itself; "
                f"capture() is allowed there, and waits for nothing"
            )
        self._warn_on_a_loop(what)

    def _warn_on_a_loop(self, what: str) -> None:
        if not self._has_warned_of_loop and running_loop() is not None:
            self._has_warned_of_loop = True
            logger.warning(
                "%s() of a SyncClient holds up the event loop that runs on this thread; "
                "use AsyncClient there, or asyncio.to_thread(client.%s)",
                what,
                what,
            )


def _seconds(timeout: float) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"a timeout must be a number of seconds or None, not {shown(timeout)}")
    if math.isnan(timeout):
        raise ValueError(f"a timeout must be a number of seconds or None, not {timeout}")
    return max(0.0, timeout)


async def _called(look: Callable[[], T]) -> T:
    return look()


def _drive(work: Coroutine[Any, Any, T]) -> T:  # Any: as Coroutine's own
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as exc:
        result: T = exc.value
        return result
    raise AssertionError("it waited")
