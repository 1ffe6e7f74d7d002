"""How fast and how long: rates and histograms, which sum over sinks."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

# Of a histogram, the largest value of each bucket but the last, which has no end, in seconds. Below a millisecond
# the moment of capture is not known; beyond five minutes an event has waited for a far end that is down.
BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Summed:
    """A value of several fields, whose sum is the sum of each."""

    __slots__: tuple[str, ...] = ()

    def __add__(self, other: Self) -> Self:
        return self._combined(operator.add, other)

    def _combined(self, combine: Callable[[Any, Any], Any], other: Self) -> Self:  # Any: whatever the fields are
        return type(self)(*(combine(getattr(self, name), getattr(other, name)) for name in self.__slots__))


class Counted(Summed):
    """Fields that only grow, so that the difference to an earlier value is what happened in between."""

    __slots__ = ()

    def __sub__(self, earlier: Self) -> Self:
        return self._combined(operator.sub, earlier)


@dataclass(frozen=True, slots=True)
class Rate(Summed):
    """Events a second, as the mean over the last whole seconds of the loop clock, the running one left out.

    Attributes:
        last_1: Over the last one.
        last_10: Over the last ten.
        last_60: Over the last sixty; what was before the first event counts as silence.
    """

    last_1: float = 0.0
    last_10: float = 0.0
    last_60: float = 0.0


@dataclass(frozen=True, slots=True)
class Rates(Summed):
    """How fast events leave, each by its door.

    Attributes:
        delivered: Events the far end accepted.
        dropped: Events that left undelivered.
        retried: Events whose attempt failed and is made again.
    """

    delivered: Rate = Rate()
    dropped: Rate = Rate()
    retried: Rate = Rate()


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many events took how long.

    Attributes:
        bounds: The largest value of each bucket but the last, in seconds, ascending; the last one has no end.
        counts: Events per bucket, one more than there are bounds: above the bound before, up to its own.
        count: Events in all.
        sum: Seconds in all.
    """

    bounds: tuple[float, ...] = BOUNDS
    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    count: int = 0
    sum: float = 0.0

    def quantile(self, share: float) -> float:
        """The seconds that ``share`` of the events took at most, as a straight line through their bucket has it.

        Args:
            share: Above 0 and at most 1.

        Returns:
            0.0 without events; of the last bucket its lower bound, because it has no other.

        Raises:
            ValueError: ``share`` is out of its bounds.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {share!r}")
        rank, below = share * self.count, 0
        for bucket, events in enumerate(self.counts):
            if events and below + events >= rank:
                floor = self.bounds[bucket - 1] if bucket else 0.0
                width = self.bounds[bucket] - floor if bucket < len(self.bounds) else 0.0
                return floor + width * (rank - below) / events
            below += events
        return 0.0

    def __add__(self, other: Histogram) -> Histogram:
        return self._combined(operator.add, other)

    def __sub__(self, earlier: Histogram) -> Histogram:
        return self._combined(operator.sub, earlier)

    def _combined(self, combine: Callable[[Any, Any], Any], other: Histogram) -> Histogram:  # Any: numbers
        if self.bounds != other.bounds:
            raise ValueError(f"histograms must have the same bounds, not {self.bounds} and {other.bounds}")
        return Histogram(
            self.bounds,
            tuple(map(combine, self.counts, other.counts)),
            combine(self.count, other.count),
            combine(self.sum, other.sum),
        )


@dataclass(frozen=True, slots=True)
class Latencies(Counted):
    """How long delivered events took; each of them is in all three, with the attempt that delivered it.

    Attributes:
        queue: From its capture to the first attempt of its batch.
        send: The attempt that delivered it, alone.
        delivery: From its capture to its delivery, retries and the waits between them included.
    """

    queue: Histogram = Histogram()
    send: Histogram = Histogram()
    delivery: Histogram = Histogram()
