"""What a meter is made of: a bounded tally of words, events by second, durations by bucket. Pure, none ever waits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from eventpipe.measures import BOUNDS, Histogram, Rate
from eventpipe.statistics import OTHERS

# A name that is made up for each event would fill the memory, and whatever reads the numbers. OpenTelemetry stops at
# 2 000 combinations; names times sinks times outcomes stay below that.
MAX_WORDS = 100
MAX_WORD = 200  # characters; what is longer is counted with the others, because its text would be kept for ever

WINDOWS = (1, 10, 60)  # seconds that a rate looks back
_SLOTS = WINDOWS[-1] + 1


class Shortlist:
    """The first hundred words that occurred; it never forgets one, so that what is counted by it only grows."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: set[str] = set()

    def place(self, word: str) -> str:
        """The word, if it is on the list, or gets on it because there is room; else what stands for all others."""
        words = self._words
        if word not in words:
            if len(words) == MAX_WORDS or len(word) > MAX_WORD or word == OTHERS:
                return OTHERS
            words.add(word)
        return word


class Tally:
    """A count by word, with all words that are not on a shortlist counted as one.

    Attributes:
        counts: Events by word.
    """

    __slots__ = ("_place", "counts")

    def __init__(self, shortlist: Shortlist) -> None:
        self._place = shortlist.place
        self.counts: dict[str, int] = {}

    def add(self, word: str, events: int) -> None:
        """Count ``events`` more."""
        counts = self.counts
        if word not in counts:
            word = self._place(word)
            if word not in counts:
                counts[word] = 0
        counts[word] += events


class Pace:
    """Events by whole second of the loop clock, for as long as rates look back."""

    __slots__ = ("_events", "_newest", "_seconds")

    def __init__(self) -> None:
        self._newest = -1
        self._seconds = [-1] * _SLOTS
        self._events = [0] * _SLOTS

    def add(self, events: int, now: float) -> None:
        """Count ``events`` at ``now``."""
        second = int(now)
        if second != self._newest:
            if second < self._newest:
                self._events = [0] * _SLOTS  # the clock of another loop: none goes back
            self._newest = second
            self._seconds[second % _SLOTS] = second
            self._events[second % _SLOTS] = 0
        self._events[second % _SLOTS] += events

    def rate(self, now: float) -> Rate:
        """The means over the whole seconds before that of ``now``."""
        end = int(now)
        by_second = list(zip(self._seconds, self._events, strict=True))
        sums = [sum(events for second, events in by_second if end - window <= second < end) for window in WINDOWS]
        return Rate(*(total / window for total, window in zip(sums, WINDOWS, strict=True)))


class Buckets:
    """A histogram that is being filled."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float, events: int) -> None:
        """Count ``events`` that took ``seconds`` each."""
        if seconds < 0.0:  # moments of two clocks
            seconds = 0.0
        self._counts[bisect_left(BOUNDS, seconds)] += events
        self._sum += seconds * events

    def add_since(self, moments: Sequence[float], total: float, end: float) -> None:
        """Count an event for each of ``moments``, ascending, of as many seconds as there are from it to ``end``.

        ``total`` is the sum of ``moments``, which callers need more than once.
        """
        events = len(moments)
        youngest = end - moments[-1]
        if youngest < 0.0:
            moments = [min(moment, end) for moment in moments]
            youngest, total = 0.0, sum(moments)
        bucket, oldest = bisect_left(BOUNDS, youngest), bisect_left(BOUNDS, end - moments[0])
        young = events
        while bucket < oldest:  # most batches lie in a few, so that few places are looked for, not one per event
            old = bisect_left(moments, -BOUNDS[bucket], hi=young, key=lambda moment: moment - end)
            self._counts[bucket] += young - old
            young = old
            bucket += 1
        self._counts[oldest] += young
        seconds = end * events - total
        if seconds > 0.0:  # below it by the last digit alone
            self._sum += seconds

    def histogram(self) -> Histogram:
        """What is in it now."""
        counts = tuple(self._counts)
        return Histogram(BOUNDS, counts, sum(counts), self._sum)
