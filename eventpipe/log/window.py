"""Which of the claimed events may be handed out now, by order, batch and pause: no task, no clock, no store.

Moments are on the loop clock and come in as arguments, but for ``appended_at``, which is compared with ``wall``.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from eventpipe.events import UUID_AT, CapturedEvent
from eventpipe.log.lines import Held, Line
from eventpipe.stores.values import ClaimedEvent

OrderedBy = Literal["topic", "key"]

# Events of keys that failed wait in hand for their turn while others go on. As a client's queue: 10 000 and 32 MiB.
MAX_HELD: Final = 10_000
MAX_HELD_BYTES: Final = 32 * 1024 * 1024

# An event that was given back is due by the store's wall clock. One that did not come back so long after that on the
# loop clock is not waited for any more: it was trimmed, or the consumer was moved.
GRACE: Final = 1.0

# From this attempt on, an event that nobody gave back may be what ended its process twice: it is claimed alone, so that
# it does not use up the attempts of those that were in hand with it.
SUSPICIOUS: Final = 3


class Rules(NamedTuple):
    """How events leave.

    Attributes:
        ordered_by: What is kept in order.
        batch_events: Events that leave at once, at most.
        batch_bytes: Their encoded bytes, at most, unless it is one event.
        max_batch_age: Seconds from the append that a batch waits for more events.
        delay: Seconds from the append before which no event leaves.
        target: Events to have in hand while there are more.
        target_bytes: Their encoded bytes.
        max_attempts: How often an event is handed out; ``None``: without end.
        lane_of: Names the lane of an event; ``None``: there are none. A batch has one lane.
    """

    ordered_by: OrderedBy | None
    batch_events: int
    batch_bytes: int
    max_batch_age: float
    delay: float
    target: int
    target_bytes: int
    max_attempts: int | None
    lane_of: Callable[[CapturedEvent], str | None] | None = None


class Window:
    """What one holder of a consumer has claimed and not settled, in lines of events that keep their order.

    With ``ordered_by="topic"`` there is one line, with ``"key"`` one for each key, else one for each event. Of a line
    that has an event out, or one that failed and was given back, nothing more leaves before that is over.

    Attributes:
        held: Events claimed and not settled.
        held_bytes: Their encoded bytes.
        out: Of these, handed out.
        is_flushing: Whether batches leave however small and young they are.
        is_careful: Whether events are claimed one by one, because one of them may end the process.
    """

    def __init__(self, rules: Rules) -> None:
        self.held = 0
        self.held_bytes = 0
        self.out = 0
        self.is_flushing = False
        self._rules = rules
        self._offsets: set[int] = set()  # of what is held
        self._lines: dict[object, Line] = {}
        self._heads: list[tuple[int, object]] = []  # offsets of the first events of lines that may go on, and keys
        self._eligible = 0
        self._eligible_bytes = 0
        self._later: deque[Held] = deque()  # too young to leave, in order
        self._away: dict[int, tuple[float, Line]] = {}  # given back, by offset: when it is due, and its line
        self._paused_until = 0.0
        self._is_probing = False
        self.is_careful = True

    # -- claiming -----------------------------------------------------------------------------------------------------

    def appetite(self, now: float) -> tuple[int, int]:
        """How many events to claim, and how many bytes; no events: none."""
        rules = self._rules
        if self.is_careful:
            return (0 if self.held else 1), rules.target_bytes
        # What is blocked by a failure does not count, so that others go on: in one line there are no others.
        at_hand = self.held if rules.ordered_by == "topic" else self._eligible + self.out
        lacking = min(rules.target - at_hand, MAX_HELD - self.held - len(self._away))
        if self._eligible and 2 * lacking < rules.target:
            lacking = 0  # as claims cost a call each, one at a time is too few
        lacking_bytes = rules.target_bytes - self._eligible_bytes
        if lacking_bytes <= 0 or self.held_bytes >= MAX_HELD_BYTES:
            lacking = 0
        # However much is held: what failed is handed out before all else, and its line waits for it.
        due = sum(due <= now for due, _ in self._away.values())
        return max(lacking, due), max(lacking_bytes, 1)

    def holds(self, offset: int) -> bool:
        """Whether an event is in hand already: claimed again, it shows that the consumer was moved."""
        return offset in self._offsets

    def is_away(self, offset: int) -> bool:
        """Whether an event was given back by this holder, and is waited for."""
        return offset in self._away

    def add(self, claimed: ClaimedEvent, now: float, wall: float, fault: str | None = None) -> Held:
        """Take in a claimed event.

        Args:
            claimed: The event, which is not held.
            now: The loop clock.
            wall: The wall clock.
            fault: Why it cannot be handed to anybody; ``None``: it can.
        """
        age = max(wall - claimed.appended_at, 0.0)
        event = claimed.event
        held = Held(claimed, self._key_of(claimed), len(claimed.raw) if event is None else event.held, fault)
        held.ready_at = now + max(self._rules.delay - age, 0.0)
        held.leaves_at = now + max(self._rules.delay + self._rules.max_batch_age - age, 0.0)
        away = self._away.pop(claimed.offset, None)
        if away is None:
            suspicious = max(2, min(SUSPICIOUS, self._rules.max_attempts or SUSPICIOUS))
            self.is_careful = claimed.attempt >= suspicious
        else:
            away[1].away.discard(claimed.offset)
        self.held += 1
        self.held_bytes += held.size
        self._offsets.add(claimed.offset)
        if held.ready_at > now or (self._later and self._later[-1].offset < held.offset):
            self._later.append(held)
        else:
            self._enlist(held)
        return held

    def expire(self, now: float) -> None:
        """Wait no more for what is overdue: it was trimmed, or the consumer was moved."""
        for offset, (due, line) in list(self._away.items()):
            if due + GRACE <= now:
                del self._away[offset]
                line.away.discard(offset)
                self._refresh(line)

    # -- handing out --------------------------------------------------------------------------------------------------

    def take(self, now: float) -> list[Held]:
        """Events to hand out now as one batch, by offset; empty when there are none.

        An event at a later attempt leaves with fewer others each time, and alone at the last one: a fault that a far
        end does not put down to one event ends with that event, and not with its neighbours.
        """
        self._ripen(now)
        if now < self._paused_until or (self._is_probing and self.out) or not self._is_due(now):
            return []
        rules = self._rules
        batch: list[Held] = []
        ids: set[bytes] = set()
        aside: list[Line] = []
        taken: dict[Line, int] = {}
        limit, room, lane = rules.batch_events, rules.batch_bytes, None
        while len(batch) < limit and (line := self._first_line()) is not None:
            held = line.events[0]
            limit_with_it = min(limit, self._limit(held))
            if batch and (held.fault is not None or len(batch) >= limit_with_it or held.size > room):
                break
            its_lane = None if held.fault is not None else self._lane(held)
            its_id = b"" if held.claimed.event is None else held.claimed.event.data[UUID_AT]
            heapq.heappop(self._heads)
            line.in_heads = None
            if batch and (its_lane != lane or its_id in ids):
                aside.append(line)
                if len(aside) >= limit:
                    break
                continue
            self._leave_line(line)
            batch.append(held)
            ids.add(its_id)
            taken[line] = taken.get(line, 0) + 1
            limit, room, lane = limit_with_it, room - held.size, its_lane
            if held.fault is not None:
                break
            self._put_first(line)
        for line, events in taken.items():
            line.out += events
            self._refresh(line)
        for line in aside:
            self._put_first(line)
        self.out += len(batch)
        return batch

    def put_back(self, events: Sequence[Held]) -> None:
        """Take back what was handed out and not begun with."""
        for held in reversed(events):
            line = held.line
            line.events.appendleft(held)
            line.size += held.size
            line.out -= 1
            self.out -= 1
            self._refresh(line)

    def handled(self, held: Held) -> None:
        """Let the line go on behind an event that was handled well, before that is settled."""
        self._end(held)

    # -- settling -----------------------------------------------------------------------------------------------------

    def settled(self, held: Held) -> None:
        """Forget an event that was handled well, now that it is settled."""
        self._forget(held)

    def died(self, held: Held) -> None:
        """Forget an event that is in the dead letters; its line goes on."""
        self._end(held)
        self._forget(held)

    def given_back(self, held: Held, due: float) -> None:
        """Wait for an event that was given back until ``due``; its line waits too, where there is an order."""
        line = held.line
        if self._rules.ordered_by is not None:
            line.away.add(held.offset)
        self._away[held.offset] = (due, line)
        self._end(held)
        self._forget(held)

    def pause(self, until: float, *, is_probing: bool = True) -> None:
        """Hand out nothing before ``until``, and then, with ``is_probing``, one batch at a time until one succeeds."""
        self._paused_until = max(self._paused_until, until)
        self._is_probing = self._is_probing or is_probing

    def is_paused(self, now: float) -> bool:
        """Whether nothing is handed out because somebody said so, or one batch at a time."""
        return self._is_probing or now < self._paused_until

    def succeeded(self) -> bool:
        """See that a batch arrived; whether that ended a probe."""
        was_probing, self._is_probing = self._is_probing, False
        return was_probing

    def due_at(self) -> float | None:
        """When ``take()`` may have more to give although nothing comes in; ``None``: never."""
        moments = [self._later[0].ready_at] if self._later else []
        line = self._first_line()
        if line is not None:
            moments.append(max(line.events[0].leaves_at, self._paused_until))
        return min(moments, default=None)

    def due_back_at(self, now: float) -> float | None:
        """When to look again for events that were given back; ``None``: there are none, or all are overdue."""
        moments = [due if due > now else due + GRACE for due, _ in self._away.values()]
        return min((moment for moment in moments if moment > now), default=None)

    def is_overdue(self, now: float) -> bool:
        """Whether an event that was given back should have come again."""
        return any(due + GRACE <= now for due, _ in self._away.values())

    # -- within -------------------------------------------------------------------------------------------------------

    def _key_of(self, claimed: ClaimedEvent) -> object:
        """Of which line an event is; one that has no key keeps no order with any other."""
        if self._rules.ordered_by == "topic":
            return ""
        key = claimed.event.key if self._rules.ordered_by == "key" and claimed.event is not None else None
        return claimed.offset if key is None else key

    def _limit(self, held: Held) -> int:
        attempt = held.claimed.attempt
        if attempt == 1:
            return self._rules.batch_events
        if attempt == self._rules.max_attempts:
            return 1
        return max(self._rules.batch_events >> (attempt - 1), 1)

    def _lane(self, held: Held) -> str | None:
        lane_of, event = self._rules.lane_of, held.claimed.event
        if lane_of is None or event is None:
            return None
        try:
            return lane_of(event)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # a codec's fault costs its event the lane alone
            return None

    def _is_due(self, now: float) -> bool:
        line = self._first_line()
        if line is None:
            return False
        if self.is_flushing or self._eligible >= self._rules.batch_events:
            return True
        first = line.events[0]
        return self._eligible_bytes >= self._rules.batch_bytes or first.leaves_at <= now or first.fault is not None

    def _ripen(self, now: float) -> None:
        while self._later and self._later[0].ready_at <= now:
            self._enlist(self._later.popleft())

    def _enlist(self, held: Held) -> None:
        line = self._lines.get(held.key)
        if line is None:
            line = self._lines[held.key] = Line(held.key)
        held.line = line
        goes_last = line.counted and line.events[-1].offset < held.offset
        line.insert(held)
        if not goes_last:
            self._refresh(line)
            return
        line.counted += 1  # its first event stays the same, and so does all else: nearly every event comes this way
        line.counted_bytes += held.size
        self._eligible += 1
        self._eligible_bytes += held.size

    def _first_line(self) -> Line | None:
        """The line whose first event is the next to leave."""
        while self._heads:
            offset, key = self._heads[0]
            line = self._lines.get(key)
            if line is not None and line.in_heads == offset and not line.is_blocked and line.events[0].offset == offset:
                return line
            heapq.heappop(self._heads)
            if line is not None and line.in_heads == offset:
                line.in_heads = None
        return None

    def _leave_line(self, line: Line) -> None:
        held = line.events.popleft()
        line.size -= held.size
        line.counted -= 1
        line.counted_bytes -= held.size
        self._eligible -= 1
        self._eligible_bytes -= held.size

    def _put_first(self, line: Line) -> None:
        if not line.is_blocked and line.in_heads != line.events[0].offset:
            line.in_heads = line.events[0].offset
            heapq.heappush(self._heads, (line.in_heads, line.key))

    def _refresh(self, line: Line) -> None:
        """Count a line as what may leave, or not, after something in it changed."""
        self._eligible -= line.counted
        self._eligible_bytes -= line.counted_bytes
        line.counted, line.counted_bytes = (0, 0) if line.is_blocked else (len(line.events), line.size)
        self._eligible += line.counted
        self._eligible_bytes += line.counted_bytes
        self._put_first(line)
        if line.is_over and self._lines.get(line.key) is line:
            del self._lines[line.key]

    def _end(self, held: Held) -> None:
        line = held.line
        line.out -= 1
        self.out -= 1
        if not line.out:  # else it stays blocked
            self._refresh(line)

    def _forget(self, held: Held) -> None:
        self.held -= 1
        self.held_bytes -= held.size
        self._offsets.discard(held.offset)
