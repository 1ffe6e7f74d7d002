"""Claimed events of which there is nothing to say one by one, in hand as runs of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import NamedTuple, overload

from eventpipe.events import UUID_AT, CapturedEvent
from eventpipe.log.lines import Held, Line
from eventpipe.stores.values import ClaimedEvent, ClaimedRun


class _Moment(NamedTuple):
    """When some events were claimed.

    Attributes:
        last: The offset of the last of them.
        now: The loop clock then.
        shift: What made a moment on the loop clock of a stamp.
    """

    last: int
    now: float
    shift: float


class Run(Sequence[Held]):
    """Events that follow one another in one line, handed out at once, each of them a ``Held`` once somebody looks.

    Attributes:
        claimed: The events, by offset.
        captured: The same, as they were captured.
        ids: Theirs, one behind the other.
        size: Their encoded bytes.
        line: Their line, which counts them as out.
    """

    __slots__ = ("_held", "_moments", "captured", "claimed", "ids", "line", "size")

    def __init__(self, claimed: ClaimedRun, ids: bytes, size: int, line: Line, moments: Sequence[_Moment]) -> None:
        self.claimed = claimed
        self.captured = tuple(claimed.captured)
        self.ids = ids
        self.size = size
        self.line = line
        self._moments = moments
        self._held: list[Held] = []  # the same ones whoever looks

    def __len__(self) -> int:
        return len(self.claimed)

    @overload
    def __getitem__(self, at: int) -> Held: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Held]: ...

    def __getitem__(self, at: int | slice) -> Held | Sequence[Held]:
        if not self._held:
            self._held = _held_of(self.claimed, self._moments, self.line.key)
            for held in self._held:
                held.line = self.line
        return self._held[at]


def claimed_of(events: Sequence[Held]) -> Sequence[ClaimedEvent]:
    """What was claimed, of events in hand."""
    return events.claimed if isinstance(events, Run) else [held.claimed for held in events]


def captured_of(events: Sequence[Held]) -> tuple[CapturedEvent, ...]:
    """Events in hand as they were captured; what can be no event again is not among them."""
    if isinstance(events, Run):
        return events.captured
    return tuple([event for held in events if (event := held.claimed.event) is not None])


def ids_of(events: Sequence[Held]) -> bytes:
    """The ids of those, one behind the other."""
    if isinstance(events, Run):
        return events.ids
    return b"".join([event.data[UUID_AT] for held in events if (event := held.claimed.event) is not None])


def attempt_of(events: Sequence[Held]) -> int:
    """The highest attempt that one of them is at."""
    return 1 if isinstance(events, Run) else max([held.claimed.attempt for held in events])


class Fresh:
    """Events that wait in the order of their claims: all of one line, intact, and at their first attempt.

    Attributes:
        key: The key of the line.
        size: Their encoded bytes.
    """

    def __init__(self, key: object) -> None:
        self.key = key
        self.size = 0
        self._events = 0
        self._runs: deque[ClaimedRun] = deque()
        self._moments: deque[_Moment] = deque()

    def __len__(self) -> int:
        return self._events

    @property
    def first(self) -> Held:
        """The one that leaves first."""
        _, now, shift = self._moments[0]
        return Held(self._runs[0][0], self.key, None, now, shift)

    def goes_on_at(self, offset: int) -> bool:
        """Whether an event there would be the last one."""
        return not self._runs or self._runs[-1].end <= offset

    def add(self, run: ClaimedRun, now: float, shift: float) -> int:
        """Take in what was claimed at ``now``; how many bytes that is.

        Args:
            run: Behind all that are here.
            now: The loop clock.
            shift: What makes a moment on the loop clock of a stamp.
        """
        size = _size_of(run.captured)
        self._runs.append(run)
        self._moments.append(_Moment(run.end - 1, now, shift))
        self._events += len(run)
        self.size += size
        return size

    def take(self, most: int, room: int, line: Line) -> Run | None:
        """The first of them, at most so many; ``None``: it needs a look at each to say which go together."""
        taken = self._front(min(most, self._events))
        if taken is None:
            return None
        size = self.size if len(taken) == self._events else _size_of(taken.captured)
        if size > room:
            return None
        ids = [event.data[UUID_AT] for event in taken.captured]
        # No batch has an event twice, as a replay of one that is still here would be.
        if len(set(ids)) < len(ids):
            return None
        return Run(taken, b"".join(ids), size, line, self._forget(taken.end - 1, size))

    def take_each(self, most: int) -> list[Held]:
        """The first of them, at most so many, one by one."""
        taken = list(islice(chain.from_iterable(self._runs), max(most, 0)))
        if not taken:
            return []
        size = _size_of([event for claimed in taken if (event := claimed.event) is not None])
        return _held_of(taken, self._forget(taken[-1].offset, size), self.key)

    def _front(self, count: int) -> ClaimedRun | None:
        """The first so many, as one run; ``None``: there is a gap between them."""
        front = self._runs[0][:count]
        for run in islice(self._runs, 1, None):
            if len(front) >= count:
                break
            if run.first != front.end:
                return None
            front += run[: count - len(front)]
        return front

    def _forget(self, last: int, size: int) -> list[_Moment]:
        """Leave out what was taken, up to an offset; when that was claimed."""
        moments = [moment for moment in self._moments if moment.last <= last]
        for _ in moments:
            self._moments.popleft()
        if not moments or moments[-1].last < last:
            moments.append(self._moments[0])
        while self._runs and self._runs[0].first <= last:
            run = self._runs.popleft()
            if run.end - 1 > last:
                run, left = run[: last + 1 - run.first], run[last + 1 - run.first :]
                self._runs.appendleft(left)
            self._events -= len(run)
        self.size -= size
        return moments


def _held_of(events: Iterable[ClaimedEvent], moments: Iterable[_Moment], key: object) -> list[Held]:
    held = []
    following = iter(moments)
    last, now, shift = next(following, (-1, 0.0, 0.0))
    for claimed in events:
        if claimed.offset > last:
            last, now, shift = next(following)
        held.append(Held(claimed, key, None, now, shift))
    return held


def _size_of(events: Iterable[CapturedEvent]) -> int:
    return sum([len(event.data) if event.extra is None else event.held for event in events])
