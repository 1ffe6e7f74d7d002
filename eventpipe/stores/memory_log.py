"""The events of one topic in memory: appended at the end, read anywhere, cut off at the front."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from eventpipe.events import UUID_AT, CapturedEvent

# Cutting off the front moves what is left of one segment, at most 8 KiB, which takes less than a microsecond.
SEGMENT: Final = 1024  # events
MAX_PAST_IDS: Final = 100_000  # as many as a topic holds events unless told otherwise; 30 MB


def size_of(event: CapturedEvent) -> int:
    """Encoded bytes of an event, without the two braces that none of them keeps."""
    return len(event.data) if event.extra is None else event.held


class _Segment:
    """Neighbouring events: ``SEGMENT`` of them, but for the first and the last segment of a topic."""

    __slots__ = ("events", "first", "newest_at", "room", "stamps")

    def __init__(self, first: int) -> None:
        self.first = first
        self.room = SEGMENT - first % SEGMENT  # events that it can take
        self.events: list[CapturedEvent] = []
        self.stamps = array("d")
        self.newest_at = 0.0  # the highest stamp: the wall clock may have been set back


class MemoryLog:
    """Events by offset, dense from 0 on, with the ids by which a repeated append is known.

    Events are kept in segments that are found by arithmetic, so that an append, a read at any offset and a cut cost the
    same however many there are.

    Attributes:
        first: The lowest offset that is kept; ``end`` when none is.
        end: The offset of the next event.
        bytes: Encoded bytes of what is kept.
    """

    def __init__(self, dedupe_window: float) -> None:
        self.first = 0
        self.end = 0
        self.bytes = 0
        self._window = dedupe_window
        self._last = _Segment(0)
        self._segments = {0: self._last}  # by offset // SEGMENT
        self._ids: dict[bytes, int] = {}
        self._past: deque[tuple[float, bytes, int]] = deque()  # ids of events that were cut off within the window

    def __len__(self) -> int:
        return self.end - self.first

    def enter(
        self, events: Sequence[CapturedEvent], now: float, is_replay: bool
    ) -> tuple[list[int], Sequence[CapturedEvent], int]:
        """Give events their offsets; they have to be added next, or left out.

        Returns:
            The offset of each, the events that are not there yet, in order, and their encoded bytes.
        """
        if self._past:
            self._forget(now)
        end, size = self.end, 0
        if is_replay:
            return list(range(end, end + len(events))), events, sum(map(size_of, events))
        place_of = self._ids.setdefault
        if len(events) == 1:  # as most appends: without the lists and the loop it takes a fifth less
            (event,) = events
            data = event.data
            offset = place_of(data[UUID_AT], end)
            size = len(data) if event.extra is None else event.held
            return [offset], events if offset == end else (), size
        offsets: list[int] = []
        fresh: list[CapturedEvent] = []
        for event in events:
            data = event.data
            offset = place_of(data[UUID_AT], end)
            offsets.append(offset)
            if offset == end:
                end += 1
                fresh.append(event)
                size += len(data) if event.extra is None else event.held  # size_of(), without the call
        return offsets, fresh, size

    def leave_out(self, events: Sequence[CapturedEvent]) -> None:
        """Forget what was entered and cannot be added."""
        for event in events:
            key = event.data[UUID_AT]
            if self._ids.get(key, -1) >= self.end:
                del self._ids[key]

    def add(self, events: Sequence[CapturedEvent], size: int, now: float) -> None:
        """Append what was entered, which is ``size`` bytes."""
        segment, count = self._last, len(events)
        if count > segment.room:
            self._add_across(events, now)
        else:
            segment.events += events
            segment.room -= count
            if count == 1:
                segment.stamps.append(now)
            else:
                segment.stamps.extend([now] * count)
            if segment.newest_at < now:
                segment.newest_at = now
            self.end += count
        self.bytes += size

    def _add_across(self, events: Sequence[CapturedEvent], now: float) -> None:
        at = 0
        while at < len(events):
            if not self._last.room:
                self._last = self._segments[self.end // SEGMENT] = _Segment(self.end)
            some = events[at : at + self._last.room]
            self.add(some, 0, now)
            at += len(some)

    def scan(self, start: int) -> Iterator[tuple[int, CapturedEvent, float]]:
        """Offset, event and stamp of what is kept from ``start`` on, ascending; nothing may change meanwhile."""
        offset = max(start, self.first)
        while offset < self.end:
            segment = self._segments[offset // SEGMENT]
            skipped = offset - segment.first
            events, stamps = segment.events, segment.stamps
            for index in range(skipped, len(events)):
                yield offset, events[index], stamps[index]
                offset += 1

    def at(self, offset: int) -> tuple[CapturedEvent, float]:
        """The event at an offset that is kept, and its stamp."""
        segment = self._segments[offset // SEGMENT]
        index = offset - segment.first
        return segment.events[index], segment.stamps[index]

    def offset_at(self, stamp: float) -> int:
        """The offset of the first event that was appended at ``stamp`` or later; ``end`` if none was."""
        if self.first < self.end:
            for number in range(self.first // SEGMENT, (self.end - 1) // SEGMENT + 1):
                segment = self._segments[number]
                if segment.newest_at >= stamp:
                    for index, appended_at in enumerate(segment.stamps):
                        if appended_at >= stamp:
                            return segment.first + index
        return self.end

    def cut(self, before: int, now: float) -> None:
        """Drop what is before an offset, which is at most ``end``; ids stay known for as long as they are young."""
        while self.first < before:
            number = self.first // SEGMENT
            segment = self._segments[number]
            count = min(before - self.first, len(segment.events))
            for index in range(count):
                event = segment.events[index]
                self.bytes -= size_of(event)
                self._release(event.data[UUID_AT], segment.first + index, segment.stamps[index], now)
            self.first += count
            if self.first % SEGMENT == 0:
                del self._segments[number]
            else:
                del segment.events[:count], segment.stamps[:count]
                segment.first = self.first

    def _release(self, key: bytes, offset: int, stamp: float, now: float) -> None:
        if self._ids.get(key) != offset:
            return  # a replay, whose id is somebody else's
        if now - stamp >= self._window:
            del self._ids[key]
            return
        self._past.append((stamp + self._window, key, offset))
        if len(self._past) > MAX_PAST_IDS:
            self._forget_first()

    def _forget(self, now: float) -> None:
        while self._past and self._past[0][0] <= now:
            self._forget_first()

    def _forget_first(self) -> None:
        _, key, offset = self._past.popleft()
        if self._ids.get(key) == offset:
            del self._ids[key]
