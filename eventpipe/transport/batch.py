"""A batch as the transport sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2

from eventpipe.events import Batch, CapturedEvent
from eventpipe.outcomes import Durations
from eventpipe.transport.barrier import Standing


class Bisection:
    """The extra requests left for finding the events that a far end refuses; shared by all parts of one batch."""

    __slots__ = ("requests_left",)

    def __init__(self, requests_left: int) -> None:
        self.requests_left = requests_left

    @classmethod
    def of(cls, events: int) -> Bisection:
        """At most 4·⌈log₂ n⌉ extra requests: two poison events among n are found, and the search has an end."""
        return cls(4 * ceil(log2(events)))


@dataclass(slots=True, eq=False, kw_only=True)
class OutboundBatch(Batch):
    """A batch with what its next decision needs; a sink sees it as a ``Batch``.

    A retry is a new object with the same id, so that whoever kept an earlier attempt sees it unchanged.

    Attributes:
        standing: Which barriers count it; inherited by retries and parts.
        begun_at: When its first attempt began, or that of the batch that it is a part of; ``None`` before.
        hurried: A flush has brought its retry forward; that happens once.
        final: Its next failure ends it, because the client is closing.
        bisection: What is left for bisecting it; ``None`` before the first bisection.
    """

    standing: Standing
    begun_at: float | None = None
    hurried: bool = False
    final: bool = False
    bisection: Bisection | None = None

    def next_attempt(self) -> OutboundBatch:
        """The same batch, one attempt later."""
        return replace(self, attempt=self.attempt + 1)

    def part(self, new_id: str, events: tuple[CapturedEvent, ...]) -> OutboundBatch:
        """A new batch of some of the events: a new id, attempt 1; it inherits the barriers."""
        return replace(self, id=new_id, events=events, attempt=1)

    def durations(self, began: float, ended: float) -> Durations:
        """What an attempt took that began and ended at these moments of the loop clock."""
        first = began if self.begun_at is None else self.begun_at
        return Durations(max(first - self.events[0].captured_at, 0.0), began - first, ended - began)

    def part_by_age(self, max_age: float | None, now: float) -> tuple[tuple[CapturedEvent, ...], OutboundBatch | None]:
        """The events that are older than ``max_age``, and a batch of the others, if any; ``None``: no bound."""
        if max_age is None:
            return (), self
        # All are looked at: an event of another thread, left while the loop was held up, is behind younger ones.
        expired = tuple(event for event in self.events if event.captured_at + max_age <= now)
        if not expired:
            return (), self
        fresh = tuple(event for event in self.events if event.captured_at + max_age > now)
        return expired, replace(self, events=fresh) if fresh else None
