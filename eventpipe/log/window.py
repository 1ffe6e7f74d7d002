"""Which of the claimed events may be handed out now, by order, batch and pause: no task, no clock, no store.

Moments are on the loop clock and come in as arguments, but for ``appended_at``, which is compared with ``wall``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from eventpipe.log.away import Away
from eventpipe.log.claimed import alone_from
from eventpipe.log.filling import Filling, Rules
from eventpipe.log.fresh import Fresh, Run, claimed_of
from eventpipe.log.lines import Held, Line, Lines
from eventpipe.stores.values import ClaimedEvent, ClaimedRun, offsets_of

# Events of keys that failed wait in hand for their turn while others go on. As a client's queue: 10 000 and 32 MiB.
MAX_HELD: Final = 10_000
MAX_HELD_BYTES: Final = 32 * 1024 * 1024

# So many events that were turned away wait in hand for those before them, to be settled with them; more are settled by
# themselves, which the store has to keep one by one. Half of the window leaves room for what is wanted.
MAX_BEHIND: Final = MAX_HELD // 2

_TOPIC: Final = ""  # the key of the one line that there is where all of a topic is in order


class Window:
    """What one holder of a consumer has claimed and not settled, in lines of events that keep their order.

    With ``ordered_by="topic"`` there is one line, with ``"key"`` one for each key, else one for each event. Of a line
    that has an event out, or one that failed and was given back, nothing more leaves before that is over.

    Attributes:
        held: Events claimed and not settled.
        held_bytes: Their encoded bytes.
        out: Of these, handed out.
        turned_away: Events that nobody is handed, claimed and not settled; they take up room as those that are held.
        is_flushing: Whether batches leave however small and young they are.
        is_careful: Whether events are claimed one by one, because one of them may end the process.
    """

    def __init__(self, rules: Rules) -> None:
        self.held = 0
        self.held_bytes = 0
        self.out = 0
        self.turned_away = 0
        self.is_flushing = False
        self._rules = rules
        self._offsets: set[int] = set()  # of what is held
        self._lines = Lines()
        # Of one line, where a batch needs no look at each event: behind all that is in the line itself.
        self._fresh = Fresh(_TOPIC)
        self._are_runs = rules.ordered_by == "topic" and rules.batch_events > 1 and rules.lane_of is None
        self._later: deque[Held] = deque()  # too young to leave, in order
        self._away = Away()
        self._alone_from = max(2, alone_from(rules.max_attempts))
        self._paused_until = 0.0
        self._is_probing = False
        self.is_careful = True

    # -- claiming -----------------------------------------------------------------------------------------------------

    def appetite(self, now: float) -> tuple[int, int]:
        """How many events to claim, and how many bytes; no events: none."""
        rules = self._rules
        if self.is_careful:
            return (0 if self.held else 1), rules.target_bytes
        # However much is held: what failed is handed out before all else, and its line waits for it.
        due, is_last = self._away.due(now)
        if is_last:
            # Claimed when somebody can begin with it: it would die of a kill although nobody was handed it.
            return int(self._can_begin), rules.target_bytes
        # What is blocked by a failure does not count, so that others go on: in one line there are no others.
        eligible, eligible_bytes = self._eligible()
        at_hand = self.held if rules.ordered_by == "topic" else eligible + self.out
        lacking = min(rules.target - at_hand, MAX_HELD - self.held - len(self._away) - self.turned_away)
        if eligible and 2 * lacking < rules.target:
            lacking = 0  # as claims cost a call each, one at a time is too few
        lacking_bytes = rules.target_bytes - eligible_bytes
        if lacking_bytes <= 0 or self.held_bytes >= MAX_HELD_BYTES:
            lacking = 0
        return max(lacking, due), max(lacking_bytes, 1)

    def held_of(self, offsets: Iterable[int]) -> set[int]:
        """Which of these are in hand already: claimed again, they show that the consumer was moved."""
        return self._offsets.intersection(offsets)

    def is_suspicious(self, claimed: ClaimedEvent) -> bool:
        """Whether it is to be claimed alone, as nobody gave it back."""
        return claimed.attempt >= self._alone_from and claimed.offset not in self._away

    def together(self, events: Sequence[ClaimedEvent], now: float) -> int:
        """How many of these, from the first on, may be in hand together; the rest is to be claimed again.

        Args:
            events: What one claim brought, by offset.
            now: The loop clock.
        """
        for number, claimed in enumerate(events):
            if self._away.is_last(claimed.offset):  # by the store's clock it was due before
                self._away.put_off([later.offset for later in events[number:]], now)
                return number or int(self._can_begin)
            if self.is_suspicious(claimed):
                return max(number, 1)
        return len(events)

    def add(self, claimed: ClaimedEvent, now: float, wall: float, fault: str | None = None) -> Held:
        """Take in a claimed event.

        Args:
            claimed: The event, which is not held.
            now: The loop clock.
            wall: The wall clock.
            fault: Why it cannot be handed to anybody; ``None``: it can.
        """
        held = Held(claimed, self._key_of(claimed), fault, now, now - wall)
        if self._are_runs and self._fresh and self._fresh.first.offset < held.offset:
            self._spread()
        if self._away.take(claimed.offset) is None:
            self.is_careful = claimed.attempt >= self._alone_from
        self.held += 1
        self.held_bytes += held.size
        self._offsets.add(claimed.offset)
        if self._ready_at(held) > now or (self._later and self._later[-1].offset < held.offset):
            self._later.append(held)
        else:
            self._lines.enlist(held)
        return held

    def add_fresh(self, events: Sequence[ClaimedEvent], now: float, wall: float) -> None:
        """As ``add()`` for each of them. In one line, where nothing is amiss, all of them at once.

        Args:
            events: By offset, at least one; intact, at their first attempt, and none of them held.
            now: The loop clock.
            wall: The wall clock.
        """
        run = ClaimedRun.of(events) if self._are_runs and not (self._away or self._rules.delay) else None
        line = self._lines.get(_TOPIC)
        if run is None or not (self._fresh.goes_on_at(run.first) and (line is None or line.goes_on_at(run.first))):
            for claimed in events:
                self.add(claimed, now, wall)
            return
        self.is_careful = False
        self.held += len(run)
        self.held_bytes += self._fresh.add(run, now, now - wall)
        self._offsets.update(offsets_of(run))

    def turn_away(self, claimed: ClaimedEvent) -> None:
        """See that a claimed event is handed to nobody."""
        self.turned_away += 1
        claimed.event = None  # which may be large
        self.is_careful = claimed.attempt >= self._alone_from

    def expect(self, asked: float, due: float | None, claimed: Sequence[ClaimedEvent]) -> None:
        """See when what was given back, and should have come, is due by the store's clock, which somebody may have set.

        Args:
            asked: When the store was asked, on the loop clock.
            due: When the next is due, on the loop clock. ``None``: none is to come; so it was dropped, or the consumer
                was moved.
            claimed: What came.
        """
        late = self._away.late(asked, claimed)
        if due is None:
            self._wait_no_more(late)
        else:
            self._away.put_off(late, due)

    def expire(self, now: float) -> None:
        """Wait no more for what is overdue."""
        self._wait_no_more(self._away.overdue(now))

    def dropped(self, before: int) -> None:
        """Wait no more for what lies before an offset, because it was dropped, or the consumer was moved."""
        self._wait_no_more(self._away.before(before))

    # -- handing out --------------------------------------------------------------------------------------------------

    def take(self, now: float) -> Sequence[Held]:
        """Events to hand out now as one batch, by offset; empty when there are none."""
        self._ripen(now)
        if now < self._paused_until or (self._is_probing and self.out) or not self._is_due(now):
            return []
        if self._are_runs and self._fresh:
            line = self._lines.get(_TOPIC)
            run = self._take_run() if line is None else None
            if run is not None:
                return run
            self._spread(self._rules.batch_events - (0 if line is None else len(line.events)))
        filling = Filling(self._rules)
        aside: list[Line] = []
        taken: dict[Line, int] = {}
        while not filling.is_full and len(aside) < filling.most and (line := self._lines.take_first()) is not None:
            events, size = len(filling.batch), filling.size
            other = self._lines.heads[0][0] if self._lines.heads else math.inf
            goes_on = filling.fill(line.events, min(other, min(line.away, default=math.inf)))
            if len(filling.batch) > events:
                taken[line] = taken.get(line, 0) + len(filling.batch) - events
                line.size -= filling.size - size
            if goes_on:
                self._lines.put_first(line)
            else:
                aside.append(line)
        for line, events in taken.items():
            line.out += events
            self._lines.refresh(line)
        for line in aside:
            self._lines.put_first(line)
        self.out += len(filling.batch)
        return filling.batch

    def put_back(self, events: Sequence[Held]) -> None:
        """Take back what was handed out and not begun with."""
        for held in reversed(events):
            line = held.line
            line.events.appendleft(held)
            line.size += held.size
            line.out -= 1
            self.out -= 1
            self._lines.refresh(line)

    def let_go(self) -> list[Held]:
        """Give up all that is not handed out; in no order."""
        self._spread()
        events = list(self._later)
        self._later.clear()
        for line in self._lines.all():
            events += line.events
            line.events.clear()
            line.size = 0
            self._lines.refresh(line)
        self._forget(events)
        return events

    def handled(self, events: Sequence[Held]) -> None:
        """Let lines go on behind events that were handled well, before those are settled."""
        self._end(events)

    # -- settling -----------------------------------------------------------------------------------------------------

    def settled(self, events: Sequence[Held]) -> None:
        """Forget events that were handled well, now that they are settled."""
        self._forget(events)

    def died(self, events: Sequence[Held]) -> None:
        """Forget events that are in the dead letters; their lines go on."""
        self._end(events)
        self._forget(events)

    def given_back(self, events: Sequence[Held], due: float) -> None:
        """Wait for events that were given back until ``due``; their lines wait too, where there is an order.

        Those that are never due take up no room: they are not waited for, and their lines go on no more.
        """
        for held in events:
            if self._rules.ordered_by is not None:
                held.line.away.add(held.offset)
            if due == math.inf:
                continue
            self._away.give(held, due, is_last=held.claimed.attempt + 1 == self._rules.max_attempts)
        self._end(events)
        self._forget(events)

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
        moments = [self._ready_at(self._later[0])] if self._later else []
        first = self._first()
        if first is not None:
            moments.append(max(self._leaves_at(first), self._paused_until))
        return min(moments, default=None)

    def due_back_at(self, now: float) -> float | None:
        """When to look again for events that were given back; ``None``: there are none, or all are overdue."""
        return self._away.look_at(now)

    def is_overdue(self, now: float) -> bool:
        """Whether an event that was given back should have come again."""
        return bool(self._away.overdue(now))

    # -- within -------------------------------------------------------------------------------------------------------

    @property
    def _can_begin(self) -> bool:
        """Whether what is claimed now is handed out at once."""
        return not self._eligible()[0] and self.out < self._rules.concurrency

    def _key_of(self, claimed: ClaimedEvent) -> object:
        """Of which line an event is; one that has no key keeps no order with any other."""
        if self._rules.ordered_by == "topic":
            return _TOPIC
        key = claimed.event.key if self._rules.ordered_by == "key" and claimed.event is not None else None
        return claimed.offset if key is None else key

    def _is_due(self, now: float) -> bool:
        first = self._first()
        if first is None:
            return False
        events, size = self._eligible()
        if self.is_flushing or events >= self._rules.batch_events or size >= self._rules.batch_bytes:
            return True
        return self._leaves_at(first) <= now or first.fault is not None

    def _ripen(self, now: float) -> None:
        while self._later and self._ready_at(self._later[0]) <= now:
            self._lines.enlist(self._later.popleft())

    def _ready_at(self, held: Held) -> float:
        """Before this moment it does not leave."""
        return held.since + self._rules.delay

    def _leaves_at(self, held: Held) -> float:
        """From this moment on it waits for no others."""
        return held.since + self._rules.delay + self._rules.max_batch_age

    def _is_fresh_next(self) -> bool:
        """Whether what is fresh may leave: its line is not blocked."""
        if not (self._are_runs and self._fresh):
            return False
        line = self._lines.get(_TOPIC)
        return line is None or not line.is_blocked

    def _eligible(self) -> tuple[int, int]:
        """How many events may leave, and their encoded bytes."""
        if not self._is_fresh_next():
            return self._lines.events, self._lines.size
        return self._lines.events + len(self._fresh), self._lines.size + self._fresh.size

    def _first(self) -> Held | None:
        """The next event to leave."""
        line = self._lines.first()
        if line is not None:
            return line.events[0]
        if not self._is_fresh_next():
            return None
        return self._fresh.first

    def _take_run(self) -> Run | None:
        line = self._lines.of(_TOPIC)
        run = self._fresh.take(self._rules.batch_events, self._rules.batch_bytes, line)
        if run is not None:
            line.out += len(run)
            self.out += len(run)
        return run

    def _spread(self, most: int = MAX_HELD) -> None:
        """Have what is fresh stand in its line, each event by itself; no more of it than is looked at now."""
        for held in self._fresh.take_each(most):
            self._lines.enlist(held)

    def _end(self, events: Sequence[Held]) -> None:
        self.out -= len(events)
        if isinstance(events, Run):
            events.line.out -= len(events)
            self._lines.refresh(events.line)
            return
        for held in events:
            line = held.line
            line.out -= 1
            if not line.out:  # else it stays blocked
                self._lines.refresh(line)

    def _wait_no_more(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            if (line := self._away.take(offset)) is not None:
                self._lines.refresh(line)

    def _forget(self, events: Sequence[Held]) -> None:
        self.held -= len(events)
        self.held_bytes -= events.size if isinstance(events, Run) else sum([held.size for held in events])
        self._offsets.difference_update(offsets_of(claimed_of(events)))
