"""How fast a counter moves."""

from __future__ import annotations

from collections import deque

WINDOW = 2.0  # seconds looked back: long enough to be calm, short enough to be about now


class Rate:
    """A counter's speed over the last two seconds, read a few times a second.

    Args:
        start: The moment, in seconds, at which the counter was 0.
    """

    def __init__(self, start: float) -> None:
        self._readings: deque[tuple[float, int]] = deque([(start, 0)])

    def of(self, number: int, now: float) -> float:
        """Read the counter; its speed per second.

        Args:
            number: The counter's value.
            now: A moment in seconds, later than that of the last reading.
        """
        self._readings.append((now, number))
        while len(self._readings) > 2 and self._readings[1][0] <= now - WINDOW:
            self._readings.popleft()
        since, before = self._readings[0]
        return (number - before) / (now - since) if now > since else 0.0
