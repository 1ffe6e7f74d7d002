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
        since: When it was appended, on the loop clock; no later than it was claimed, whatever the wall clock says.
        line: Its line, once it stands in one.
        behind: Events turned away that came right behind it; they are settled with it, so that the cursor need not be
            told of them one by one.
    """

    __slots__ = ("behind", "claimed", "fault", "key", "line", "since", "size")

    line: Line

    def __init__(self, claimed: ClaimedEvent, key: object, fault: str | None, now: float, shift: float) -> None:
        """Take in hand what was claimed at ``now``; ``shift`` makes a moment on the loop clock of a stamp."""
        self.claimed = claimed
        self.key = key
        event = claimed.event
        self.size = len(claimed.raw) if event is None else len(event.data) if event.extra is None else event.held
        self.fault = fault
        since = claimed.appended_at + shift
        self.since = since if since < now else now
        self.behind: list[ClaimedEvent] | tuple[()] = ()  # nearly always: no list for every event

    @property
    def offset(self) -> int:
        """Its place in the topic."""
        return self.claimed.offset

    def turn_away(self, claimed: ClaimedEvent) -> None:
        """Have an event settled with this one that came right behind it."""
        if not self.behind:
            self.behind = []
        self.behind.append(claimed)

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

    def goes_on_at(self, offset: int) -> bool:
        """Whether an event there would be the last one."""
        return not self.events or self.events[-1].offset < offset

    def insert(self, held: Held) -> None:
        """Put an event at its place, which is the last one unless it comes again."""
        self.size += held.size
        if self.goes_on_at(held.offset):
            self.events.append(held)
            return
        place = 0  # what comes again is before nearly all others
        while self.events[place].offset < held.offset:
            place += 1
        self.events.insert(place, held)
