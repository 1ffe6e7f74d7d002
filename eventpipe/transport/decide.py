"""What to do with a batch that was not accepted. Decides, never waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from eventpipe.core.retry import backoff
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.options import RetryPolicy
from eventpipe.outcomes import DropReason
from eventpipe.transport.batch import Bisection, OutboundBatch


class Retry(NamedTuple):
    """Send ``batch`` again at ``due``; let nothing else into its lane before ``pause_until``, if that is set."""

    batch: OutboundBatch
    due: float
    pause_until: float | None = None


class Split(NamedTuple):
    """Send the parts now, as batches of their own; ``refused``: the bytes of the whole, if it was too large."""

    parts: tuple[OutboundBatch, ...]
    refused: int | None = None


class Drop(NamedTuple):
    """Give the events up; ``pause_until`` as in ``Retry``."""

    reason: str
    pause_until: float | None = None


Decision = Retry | Split | Drop


class Decider(NamedTuple):
    """The rules of one sink.

    Attributes:
        policy: Attempts and delays.
        random: Uniform in [0, 1).
        new_id: Makes ids for parts of batches.
        probe_after: Seconds without an attempt in a lane whose far end refused it for a wrong key or address, where
            its events are kept until that is mended. ``None``: they are not, and it goes on.
    """

    policy: RetryPolicy
    random: Callable[[], float]
    new_id: Callable[[], str]
    probe_after: float | None = None

    def decide(self, batch: OutboundBatch, error: SinkError, now: float, closing: float | None) -> Decision:
        """Say what becomes of a batch whose attempt ended with ``error``.

        Args:
            batch: The batch as it was attempted, reduced to the events that the error is about.
            error: Why.
            now: The loop clock.
            closing: The deadline of the close on the loop clock; ``None`` while the client is open.
        """
        if isinstance(error, PermanentSinkError):
            return self._permanent(batch, error, now)
        retry_after = error.retry_after if isinstance(error, TransientSinkError) else None
        if retry_after is not None and not retry_after > 0:  # NaN too: as a moment it would be before and after none
            retry_after = None
        return self._transient(batch, retry_after, now, closing)

    def _transient(
        self, batch: OutboundBatch, retry_after: float | None, now: float, closing: float | None
    ) -> Decision:
        due = now + backoff(self.policy, batch.attempt, self.random, retry_after)
        # The lane pauses for as long as it was asked to and no longer: with the random part of each delay on top, the
        # pause would end when the last of the batches is due, and all that were parked together would leave together.
        earliest = now if retry_after is None else now + min(retry_after, self.policy.max_retry_after)
        pause_until = None if retry_after is None else earliest
        if batch.attempt >= self.policy.max_attempts or batch.final:
            return Drop(DropReason.EXHAUSTED, pause_until)
        again = batch.next_attempt()
        if closing is None:
            return Retry(again, due, pause_until)
        if closing <= now or earliest > closing:
            return Drop(DropReason.CLOSE_DEADLINE, pause_until)
        return Retry(replace(again, final=True), due if due <= closing else earliest, pause_until)

    def _permanent(self, batch: OutboundBatch, error: PermanentSinkError, now: float) -> Decision:
        if error.scope == "sink" and self.probe_after is not None:
            return Drop(DropReason.listed(error.reason), now + self.probe_after)
        if len(batch.events) == 1 or error.scope not in ("size", "event"):
            return Drop(DropReason.listed(error.reason))
        if error.scope == "event":
            bisection = batch.bisection or Bisection.of(len(batch.events))
            if bisection.requests_left < 2:
                return Drop(DropReason.listed(error.reason))
            bisection.requests_left -= 2
            batch = replace(batch, bisection=bisection)
        middle = (len(batch.events) + 1) // 2
        halves = (batch.events[:middle], batch.events[middle:])
        parts = tuple(batch.part(self.new_id(), events) for events in halves)
        return Split(parts, batch.size if error.scope == "size" else None)
