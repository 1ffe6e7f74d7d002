"""Claimed events in lines that keep their order."""

from __future__ import annotations

from collections import deque

from eventpipe.stores.values import ClaimedEvent


class Held:
    """A claimed event in hand.

    Attributes:
        claimed: The event.
        key: Of which line it is.
        size: Its encoded bytes.
        fault: Why it cannot be handed to anybody; ``None``: it can.
        ready_at: Before this moment on the loop clock it does not leave.
        leaves_at: From this moment on it waits for no others.
        line: Its line, once it stands in one.
        behind: Events turned away that came right behind it; they are settled with it, so that the cursor need not be
            told of them one by one.
    """

    __slots__ = ("behind", "claimed", "fault", "key", "leaves_at", "line", "ready_at", "size")

    line: Line

    def __init__(self, claimed: ClaimedEvent, key: object, size: int, fault: str | None) -> None:
        self.claimed = claimed
        self.key = key
        self.size = size
        self.fault = fault
        self.ready_at = self.leaves_at = 0.0
        self.behind: list[ClaimedEvent] = []

    @property
    def offset(self) -> int:
        """Its place in the topic."""
        return self.claimed.offset

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.offset}>"  # payloads stay out of logs


class Line:
    """Events that leave in the order of their offsets.

    Attributes:
        key: What they have in common.
        events: Those that wait, by offset.
        size: Their encoded bytes.
        out: How many are handed out, or failed and are not given back yet.
        away: Offsets of those that were given back, and come again.
        counted: How many count as what may leave.
        counted_bytes: Their bytes.
        in_heads: The offset under which the line stands in the heap of lines; ``None``: it does not.
    """

    __slots__ = ("away", "counted", "counted_bytes", "events", "in_heads", "key", "out", "size")

    def __init__(self, key: object) -> None:
        self.key = key
        self.events: deque[Held] = deque()
        self.size = 0
        self.out = 0
        self.away: set[int] = set()
        self.counted = 0
        self.counted_bytes = 0
        self.in_heads: int | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether nothing of it may leave now."""
        if self.out or not self.events:
            return True
        return bool(self.away) and min(self.away) < self.events[0].offset

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it."""
        return not (self.events or self.out or self.away)

    def insert(self, held: Held) -> None:
        """Put an event at its place, which is the last one unless it comes again."""
        self.size += held.size
        if not self.events or self.events[-1].offset < held.offset:
            self.events.append(held)
            return
        place = 0  # what comes again is before nearly all others
        while self.events[place].offset < held.offset:
            place += 1
        self.events.insert(place, held)
