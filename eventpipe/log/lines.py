"""Claimed events in lines that keep their order."""

from __future__ import annotations

import heapq
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


class Lines:
    """Lines by their keys, and which of them goes on next: the one whose first event is the oldest.

    Attributes:
        events: How many may leave.
        size: Their encoded bytes.
        heads: Offsets of the first events of lines that may go on, and keys; those of before are in it too.
    """

    def __init__(self) -> None:
        self.events = 0
        self.size = 0
        self.heads: list[tuple[int, object]] = []
        self._lines: dict[object, Line] = {}

    def get(self, key: object) -> Line | None:
        """A line, if there is one: it has events that wait, are out, or come again."""
        return self._lines.get(key)

    def of(self, key: object) -> Line:
        """A line, made if there is none."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
        return line

    def all(self) -> list[Line]:
        """Every one, in no order."""
        return list(self._lines.values())

    def enlist(self, held: Held) -> None:
        """Put an event into its line."""
        line = held.line = self.of(held.key)
        goes_last = line.counted and line.events[-1].offset < held.offset
        line.insert(held)
        if not goes_last:
            self.refresh(line)
            return
        line.counted += 1  # its first event stays the same, and so does all else: nearly every event comes this way
        line.counted_bytes += held.size
        self.events += 1
        self.size += held.size

    def first(self) -> Line | None:
        """The line whose first event is the next to leave."""
        while self.heads:
            offset, key = self.heads[0]
            line = self._lines.get(key)
            if line is not None and line.in_heads == offset and not line.is_blocked and line.events[0].offset == offset:
                return line
            heapq.heappop(self.heads)
            if line is not None and line.in_heads == offset:
                line.in_heads = None
        return None

    def take_first(self) -> Line | None:
        """The same, which does not go on until it is put first again."""
        line = self.first()
        if line is not None:
            heapq.heappop(self.heads)
            line.in_heads = None
        return line

    def put_first(self, line: Line) -> None:
        """Have a line go on when it is its turn, unless it is blocked."""
        if not line.is_blocked and line.in_heads != line.events[0].offset:
            line.in_heads = line.events[0].offset
            heapq.heappush(self.heads, (line.in_heads, line.key))

    def refresh(self, line: Line) -> None:
        """Count a line as what may leave, or not, after something in it changed."""
        self.events -= line.counted
        self.size -= line.counted_bytes
        line.counted, line.counted_bytes = (0, 0) if line.is_blocked else (len(line.events), line.size)
        self.events += line.counted
        self.size += line.counted_bytes
        self.put_first(line)
        if line.is_over and self._lines.get(line.key) is line:
            del self._lines[line.key]
