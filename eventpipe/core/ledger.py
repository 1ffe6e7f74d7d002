"""The one place that counts the events of one sink."""

from __future__ import annotations

from collections import Counter


class Ledger:
    """Plain counters, changed by synchronous code only.

    An event that found room is *accepted*; one that left is in ``delivered``, ``dropped`` or ``spooled``. What is
    pending is not kept here: ``Backlog.pending`` adds up the places where events are, so that a wrong count
    cannot hide itself.

    Attributes:
        accepted: Events that entered the queue, refused ones included: a refusal enters and leaves in one step.
        accepted_bytes: Their encoded size.
        left: Accepted events that were settled since.
        left_bytes: Their encoded size.
        waiting: Events captured whose callers wait for room; they count as accepted once they have it.
        recovered: The part of ``accepted`` that came from a spool.
        delivered: Events that the far end accepted.
        dropped: Events that left undelivered, by reason.
        spooled: Events held only on disk, or on their way there.
        returned: Times that an event which was held only on disk came back.
    """

    __slots__ = (
        "accepted",
        "accepted_bytes",
        "delivered",
        "dropped",
        "left",
        "left_bytes",
        "recovered",
        "returned",
        "spooled",
        "waiting",
    )

    def __init__(self) -> None:
        self.accepted = 0
        self.accepted_bytes = 0
        self.left = 0
        self.left_bytes = 0
        self.waiting = 0
        self.recovered = 0
        self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.spooled = 0
        self.returned = 0

    @property
    def captured(self) -> int:
        """Calls that gave an event to this sink: accepted, refused, or waiting for room."""
        return self.accepted - self.recovered + self.waiting

    @property
    def held(self) -> int:
        """Events that count against ``queue_events``."""
        return self.accepted - self.left

    @property
    def held_bytes(self) -> int:
        """Bytes that count against ``queue_bytes``."""
        return self.accepted_bytes - self.left_bytes

    def accept(self, size: int) -> None:
        """Count one event of ``size`` bytes in."""
        self.accepted += 1
        self.accepted_bytes += size

    def deliver(self, events: int, size: int) -> None:
        """Count ``events`` out by the good door."""
        self._leave(events, size)
        self.delivered += events

    def drop(self, events: int, size: int, reason: str) -> None:
        """Count ``events`` out by the drop door."""
        self._leave(events, size)
        self.dropped[reason] += events

    def spool(self, events: int, size: int) -> None:
        """Count ``events`` out by the door to the disk."""
        self._leave(events, size)
        self.spooled += events

    def unspool(self, events: int, size: int) -> None:
        """Count ``events`` in again that were held only on disk."""
        self._take_from_disk(events)
        self.left -= events
        self.left_bytes -= size
        self.returned += events

    def lose_spooled(self, events: int, reason: str) -> None:
        """Count ``events`` as dropped that were held only on disk, or never came there."""
        self._take_from_disk(events)
        self.dropped[reason] += events

    def recover(self, events: int) -> None:
        """Count ``events`` in that an earlier life, or another process, left on disk."""
        self.accepted += events
        self.left += events
        self.recovered += events
        self.spooled += events

    def _take_from_disk(self, events: int) -> None:
        if events > self.spooled:
            raise AssertionError(f"{events} events leave the disk, only {self.spooled} are there: one counted twice")
        self.spooled -= events

    def _leave(self, events: int, size: int) -> None:
        if self.left + events > self.accepted:
            raise AssertionError(f"{events} events leave, only {self.held} are held: an event was counted twice")
        self.left += events
        self.left_bytes += size
