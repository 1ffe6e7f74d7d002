"""The highest that the levels of one sink have been, since the start and since each reader's last look."""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakSet

from eventpipe.statistics import HighWater

Levels = tuple[int, int, int, int, int]
"""The fields of ``HighWater``, in their order."""


class Marks:
    """Compares levels with the highest so far; the same work for any number of readers.

    A level is noted where it has risen, or is about to fall. It is written to one place alone, which a look of any
    reader empties into all of theirs.
    """

    __slots__ = (
        "_changing",
        "_held",
        "_held_bytes",
        "_in_flight",
        "_levels",
        "_start",
        "_waiting_retry",
        "_waiting_room",
        "_watches",
    )

    def __init__(self, levels: Callable[[], Levels]) -> None:
        """Begin now; ``levels`` reads them."""
        self._levels = levels
        self._held, self._held_bytes, self._in_flight, self._waiting_retry, self._waiting_room = levels()
        self._start = Watch(self, self._recent)
        self._watches = WeakSet([self._start])
        # Of readers in several threads; who notes needs none. Reentrant, for a finalizer that looks.
        self._changing = threading.RLock()

    def note_held(self, events: int, size: int) -> None:
        """So many events, and bytes, are held."""
        if events > self._held:
            self._held = events
        if size > self._held_bytes:
            self._held_bytes = size

    def note_in_flight(self, events: int) -> None:
        """So many events are being sent."""
        if events > self._in_flight:
            self._in_flight = events

    def note_waiting(self, retry: int, room: int) -> None:
        """So many events wait for a later attempt, and so many for room."""
        if retry > self._waiting_retry:
            self._waiting_retry = retry
        if room > self._waiting_room:
            self._waiting_room = room

    def highest(self) -> HighWater:
        """The highest since the start; changes nothing, so that any thread may look."""
        return HighWater(*map(max, self._start.highest, self._recent, self._levels()))

    def watch(self) -> Watch:
        """Look apart from all others, from now on."""
        with self._changing:
            watch = Watch(self, self.settle())
            self._watches.add(watch)
        return watch

    def settle(self) -> Levels:
        """Give every watch what was noted since this was called last; returns the levels as they are now."""
        with self._changing:
            levels = self._levels()
            recent, self._recent = self._recent, levels
            for watch in self._watches:
                watch.note(recent, levels)
        return levels

    def take(self, watch: Watch) -> tuple[int, ...]:
        """The highest that ``watch`` has seen; it begins anew."""
        with self._changing:
            levels = self.settle()
            highest, watch.highest = watch.highest, levels
        return highest

    @property
    def _recent(self) -> Levels:
        return self._held, self._held_bytes, self._in_flight, self._waiting_retry, self._waiting_room

    @_recent.setter
    def _recent(self, levels: Levels) -> None:
        self._held, self._held_bytes, self._in_flight, self._waiting_retry, self._waiting_room = levels


class Watch:
    """One reader's look at the highest levels; forgotten together with its reader.

    Attributes:
        highest: The highest since it was taken last, as of the last look of any reader.
    """

    def __init__(self, marks: Marks, levels: Levels) -> None:
        self._marks = marks
        self.highest: tuple[int, ...] = levels

    def note(self, recent: Levels, levels: Levels) -> None:
        """Compare with the highest since the last look of any reader, and with the levels of now."""
        self.highest = tuple(map(max, self.highest, recent, levels))

    def take(self) -> HighWater:
        """The highest since this was called last, the levels of both moments included."""
        return HighWater(*self._marks.take(self))
