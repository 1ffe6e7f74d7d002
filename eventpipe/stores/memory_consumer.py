"""The state of one consumer in memory: what it has settled, what it was handed, and what is due to it again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from eventpipe.errors import LeaseLostError
from eventpipe.events import CapturedEvent
from eventpipe.stores.memory_log import MemoryLog, size_of
from eventpipe.stores.values import (
    Acks,
    ClaimedEvent,
    ClaimedRun,
    Claims,
    ConsumerInfo,
    ConsumerKey,
    Disposal,
    Disposition,
)

_SLACK: Final = 64  # entries of a heap that are not worth clearing away


class _Row(NamedTuple):
    """An event that is not simply the next one: another state of it is another row, so that old heap entries are known.

    Attributes:
        attempts: How many times it was handed out.
        claim: The claim that handed it out last.
        moment: When it is due, wall clock.
        is_held: Whether it was handed out and not given back.
    """

    attempts: int
    claim: int
    moment: float
    is_held: bool


_Heap = list[tuple[float, int, int, _Row]]
"""Rows by what they are to be found by, with serial numbers, which keep rows from being compared, and offsets."""


@dataclass(eq=False)
class MemoryConsumer:
    """What one consumer of a topic has settled, and what it is handed; takes the time, and never waits.

    Events below ``_next`` were handed out, or are settled; the consumption goes on there. A row stands only for what
    deviates: what was given back, what is held by a claim of its own, and what was handed out a second time. An event
    between ``position`` and ``_next`` without one is in its first attempt, or in ``_settled``. After a takeover
    ``_next`` is back at ``position``, and what was handed out before, which is all below ``_handed``, is found on the
    way.

    Attributes:
        key: Which consumer this is.
        position: The lowest offset that it has not settled, or where it begins.
        fence: Claims up to this one can settle nothing: it was moved, or taken over, or added anew.
        has_cursor: Whether it has ever settled an event.
        is_paused: Whether it is handed nothing.
        dropped: Events that retention dropped before it had settled them.
    """

    key: ConsumerKey
    position: int
    fence: int
    has_cursor: bool = False
    is_paused: bool = False
    dropped: int = 0

    def __post_init__(self) -> None:
        self._next = self._handed = self.position
        self._token: int | None = None
        self._gap = 0
        self._settled: set[int] = set()  # at or above position
        self._rows: dict[int, _Row] = {}
        self._serial = 0
        self._later: _Heap = []  # by moment
        self._ready: _Heap = []  # by offset: what is due again
        self._skipped = self._dead = 0
        self._last_error: str | None = None

    def claim(
        self,
        log: MemoryLog,
        token: int | None,
        number: int,
        now: float,
        *,
        max_events: int,
        max_bytes: int,
        ttl: float | None,
    ) -> Claims:
        """Hand out what is due, under claim ``number``; ``ttl`` is that of competing claims."""
        if token != self._token:
            self._take_over(token, number - 1)
        if self.is_paused:
            return Claims([])
        self._find_ready(now)
        held_until = math.inf if ttl is None else now + ttl
        gap, self._gap = self._gap, 0
        if not (self._ready or self._next < self._handed or ttl is not None):
            return Claims(self._claim_run(log, number, max_events, max_bytes), gap, (), self._due_in(now))
        events: list[ClaimedEvent] = []
        room = self._claim_again(log, events, number, held_until, max_events, max_bytes)
        if room >= 0:
            self._claim_next(log, events, number, held_until, max_events, room)
        return Claims(events, gap, (), self._due_in(now))

    def go_on(self, dispositions: Sequence[Disposition]) -> bool:
        """Settle what is acked, where it is a run behind the position and nothing more is known; whether it was."""
        run = dispositions.events if isinstance(dispositions, Acks) else None
        if not isinstance(run, ClaimedRun) or run.first != self.position or run.end > self._next:
            return False
        if self._rows or self._settled or any(number <= self.fence for number, _ in run.claims):
            return False
        self.position = run.end
        self.has_cursor = True
        return True

    def check(self, dispositions: Iterable[Disposition]) -> list[CapturedEvent]:
        """See that every event can be settled under its claim; the letters of those that die.

        Raises:
            LeaseLostError: One cannot.
            ValueError: One dies without a letter.
        """
        letters: dict[int, CapturedEvent] = {}
        for claimed, disposal, _, _, letter in dispositions:
            offset = claimed.offset
            if claimed.claim <= self.fence:
                raise self._lost(offset, "the consumer was taken over, moved or added anew since it was claimed")
            if self.has_settled(offset):
                continue
            row = self._rows.get(offset)
            if offset >= self._next or (row is not None and row.claim != claimed.claim):
                raise self._lost(offset, "it was handed out anew since it was claimed")
            if disposal is Disposal.DEAD:
                if letter is None:
                    raise ValueError(f"the event at offset {offset} cannot die without a letter")
                letters[offset] = letter
        return list(letters.values())

    def settle(self, dispositions: Sequence[Disposition], now: float) -> bool:
        """Do what was checked; whether something was given back."""
        settled, rows = self._settled, self._rows
        has_returned = False
        for claimed, disposal, delay, reason, _ in dispositions:
            offset = claimed.offset
            if offset < self.position or offset in settled:
                continue
            if disposal is Disposal.NACK or disposal is Disposal.RELEASE:
                attempts = claimed.attempt - (disposal is Disposal.RELEASE)
                self._put(offset, _Row(attempts, claimed.claim, now + delay, is_held=False))
                has_returned = True
            else:
                if rows:
                    rows.pop(offset, None)
                settled.add(offset)
                self.has_cursor = True
                self._skipped += disposal is Disposal.SKIP
                self._dead += disposal is Disposal.DEAD
            if reason is not None:
                self._last_error = reason
        self._advance()
        return has_returned

    def extend(self, claimed: Sequence[ClaimedEvent], until: float) -> None:
        """Hold events of competing claims until a moment.

        Raises:
            LeaseLostError: One of them is not held under its claim. Nothing was changed.
        """
        for event in claimed:
            row = self._rows.get(event.offset)
            is_held = row is not None and row.is_held and row.moment < math.inf and row.claim == event.claim
            if not is_held or event.claim <= self.fence:
                raise self._lost(event.offset, "it is not held under its claim any more")
        for event in claimed:
            self._put(event.offset, self._rows[event.offset]._replace(moment=until))

    def seek(self, offset: int, fence: int) -> None:
        """Go on at an offset, as if nothing after it had ever been handed out."""
        self.position = self._next = self._handed = offset
        self.fence = fence
        self._settled.clear()
        self._rows.clear()
        self._later.clear()
        self._ready.clear()

    def unsettled(self, start: int, before: int) -> int:
        """How many offsets from ``start`` to ``before`` it has not settled."""
        start = max(start, self.position)
        if start >= before:
            return 0
        if not self._settled:
            return before - start
        return sum(offset not in self._settled for offset in range(start, before))

    def has_settled(self, offset: int) -> bool:
        """Whether it has settled an offset, or began after it."""
        return offset < self.position or offset in self._settled

    def pass_over(self, first: int) -> None:
        """Go on at ``first``, before which everything was dropped; what it had not settled is its gap."""
        if first <= self.position:
            return
        lost = self.unsettled(self.position, first)
        self.dropped += lost
        self._gap += lost
        if self._rows or self._settled:
            for offset in range(self.position, first):
                self._rows.pop(offset, None)
                self._settled.discard(offset)
        self.position = first
        self._handed = max(self._handed, first)
        self._advance()

    def info(self, log: MemoryLog, now: float, holder: str | None, expires_in: float | None) -> ConsumerInfo:
        """How it stands."""
        returned = [row.moment for row in self._rows.values() if not row.is_held]
        return ConsumerInfo(
            self.key.topic,
            self.key.name,
            cursor=self.position if self.has_cursor else None,
            position=self.position,
            pending=log.end - self.position - len(self._settled),
            claimed=self._handed - self.position - len(self._settled) - len(returned),
            waiting=sum(moment > now for moment in returned),
            oldest_at=log.at(self.position)[1] if self.position < log.end else None,
            skipped=self._skipped,
            dead=self._dead,
            dropped=self.dropped,
            is_paused=self.is_paused,
            holder=holder,
            expires_in=expires_in,
            last_error=self._last_error,
        )

    def _lost(self, offset: int, why: str) -> LeaseLostError:
        return LeaseLostError(f"the event at offset {offset} cannot be settled by consumer {self.key}: {why}")

    def _take_over(self, token: int | None, fence: int) -> None:
        """Everything that was handed out and is not settled is due again, and no claim from before counts."""
        self._token = token
        self.fence = fence
        self._next = self.position
        self._later.clear()
        self._ready.clear()
        for offset, row in self._rows.items():
            if row.moment > 0:
                self._rows[offset] = row._replace(moment=0.0)

    def _find_ready(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, serial, offset, row = heapq.heappop(self._later)
            if self._rows.get(offset) is row:
                heapq.heappush(self._ready, (offset, serial, offset, row))

    def _claim_again(
        self, log: MemoryLog, events: list[ClaimedEvent], number: int, until: float, max_events: int, room: int
    ) -> int:
        """Claim what was given back or ran out of time; how many bytes are left, -1 when some of it is left."""
        ready = self._ready
        while self._prune(ready):
            _, _, offset, row = ready[0]
            event, stamp = log.at(offset)
            size = size_of(event)
            if len(events) >= max_events or (events and size > room):
                return -1
            heapq.heappop(ready)
            room = max(room - size, 0)
            self._put(offset, _Row(row.attempts + 1, number, until, is_held=True))
            events.append(ClaimedEvent(offset, stamp, event, None, b"", row.attempts + 1, number))
        return room

    def _claim_next(
        self, log: MemoryLog, events: list[ClaimedEvent], number: int, until: float, max_events: int, room: int
    ) -> None:
        """Claim what comes next: what was handed out before a takeover, with a row each; then what never was."""
        for offset, event, stamp in log.scan(self._next):
            attempt = 1
            if offset < self._handed:
                if offset in self._settled:
                    self._next = offset + 1
                    continue
                row = self._rows.get(offset)
                attempt = 2 if row is None else row.attempts + 1
            size = len(event.data) if event.extra is None else event.held
            if len(events) >= max_events or (events and size > room):
                break
            room -= size
            if until < math.inf or offset < self._handed:
                self._put(offset, _Row(attempt, number, until, is_held=True))
            events.append(ClaimedEvent(offset, stamp, event, None, b"", attempt, number))
            self._next = offset + 1
        self._handed = max(self._handed, self._next)

    def _claim_run(self, log: MemoryLog, number: int, max_events: int, room: int) -> Sequence[ClaimedEvent]:
        """Claim what was never handed out, up to a gap."""
        first = self._next
        captured: list[CapturedEvent] = []
        moments: list[float] = []
        for offset, event, stamp in log.scan(first):
            if not captured:
                first = offset
            size = len(event.data) if event.extra is None else event.held
            if offset != first + len(captured) or len(captured) >= max_events or (captured and size > room):
                break
            room -= size
            captured.append(event)
            moments.append(stamp)
            self._next = offset + 1
        self._handed = max(self._handed, self._next)
        return ClaimedRun(first, captured, moments, [(number, self._next)]) if captured else []

    def _put(self, offset: int, row: _Row) -> None:
        self._rows[offset] = row
        if row.moment < math.inf:
            self._serial += 1
            heapq.heappush(self._later, (row.moment, self._serial, offset, row))
            if len(self._later) > 2 * len(self._rows) + _SLACK:
                self._later = [entry for entry in self._later if self._rows.get(entry[2]) is entry[3]]
                heapq.heapify(self._later)

    def _due_in(self, now: float) -> float | None:
        if self._prune(self._ready):
            return 0.0
        return max(self._later[0][0] - now, 0.0) if self._prune(self._later) else None

    def _prune(self, heap: _Heap) -> bool:
        """Whether anything is in a heap, after those at its top were taken out whose row is another by now."""
        while heap and self._rows.get(heap[0][2]) is not heap[0][3]:
            heapq.heappop(heap)
        return bool(heap)

    def _advance(self) -> None:
        """Move over what is settled without a gap."""
        settled = self._settled
        while self.position in settled:
            settled.remove(self.position)
            self.position += 1
        if self._next < self.position:
            self._next = self.position
