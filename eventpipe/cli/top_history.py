"""What changed between the pictures of a process, and whether it is still the same one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from eventpipe.cli.top_picture import Picture
from eventpipe.measures import Histogram

RATE_WINDOW = 2.0  # seconds looked back: long enough to be calm, short enough to be about now
LATENCY_WINDOW = 10.0  # seconds: at one batch a second a percentile needs some of them
STEP = 0.5  # seconds between pictures that are kept, or a short interval would fill the memory
MAX_PROCESSES = 16  # remembered by their ids: an address in front of more is not looked at as one


class History:
    """The latest pictures of what answers, by process.

    Times are the uptimes that a process tells with its numbers: how long its answers took to come does not matter.

    Attributes:
        latest: The last picture; ``None`` before the first.
    """

    def __init__(self) -> None:
        self.latest: Picture | None = None
        self._kept: dict[int, deque[Picture]] = {}
        self._is_shared = False

    def take(self, picture: Picture) -> str | None:
        """Keep a picture.

        Returns:
            What is new about the process itself, in words; ``None`` when it is the one of before.
        """
        news = self._news(picture)
        uptime = picture.process.uptime
        kept = self._kept.setdefault(picture.process.pid, deque())
        if kept and (uptime == _uptime(kept[-1]) or (len(kept) > 1 and uptime < _uptime(kept[-2]) + STEP)):
            kept.pop()
        kept.append(picture)
        while len(kept) > 2 and _uptime(kept[1]) <= uptime - LATENCY_WINDOW:
            kept.popleft()
        self.latest = picture
        return news

    def rate(self, counter: Callable[[Picture], int]) -> float | None:
        """How fast a counter of the latest process moved of late, per second; ``None`` before its second picture."""
        before = self._before(RATE_WINDOW)
        if before is None or self.latest is None:
            return None
        return (counter(self.latest) - counter(before)) / (_uptime(self.latest) - _uptime(before))

    def latency(self, histogram: Callable[[Picture], Histogram]) -> Histogram:
        """A histogram of the latest process over ``span``."""
        before = self._before(LATENCY_WINDOW)
        if self.latest is None:
            return Histogram()
        now = histogram(self.latest)
        then = histogram(before) if before is not None else None
        return now - then if then is not None and then.bounds == now.bounds else now

    @property
    def span(self) -> float | None:
        """The seconds that ``latency()`` looks back; ``None``: to the start of the process."""
        before = self._before(LATENCY_WINDOW)
        return _uptime(self.latest) - _uptime(before) if before is not None and self.latest is not None else None

    def _before(self, window: float) -> Picture | None:
        """The oldest picture in a window, or the last but one; ``None`` when there is but one."""
        if self.latest is None:
            return None
        kept = self._kept[self.latest.process.pid]
        if len(kept) < 2:
            return None
        # A hair more than the window, or a picture of its very beginning would be out of it.
        since = _uptime(self.latest) - window * 1.05
        return next((picture for picture in list(kept)[:-1] if _uptime(picture) >= since), kept[-2])

    def _news(self, picture: Picture) -> str | None:
        before, pid = self.latest, picture.process.pid
        if before is None:
            return None
        kept = self._kept.get(pid)
        if kept is not None and _began_anew(kept[-1], picture):
            kept.clear()
            return f"began anew, and so do the counts: pid {pid}, up {_uptime(picture):.0f} s"
        if pid == before.process.pid or self._is_shared:
            return None
        if kept is not None:
            self._is_shared = True
            return "several processes answer here in turn: each picture is of one of them"
        if len(self._kept) >= MAX_PROCESSES:
            self._kept.clear()
        return f"another process answers, and the counts begin anew: pid {pid} in place of {before.process.pid}"


def _uptime(picture: Picture) -> float:
    return picture.process.uptime


def _began_anew(before: Picture, now: Picture) -> bool:
    """Whether a process of the same id is another one, as in containers, or has another client."""
    earlier, later = before.statistics, now.statistics
    return (
        _uptime(now) < _uptime(before)
        or min(later.captured - earlier.captured, later.delivered - earlier.delivered) < 0
        or min(later.dropped - earlier.dropped, later.retries - earlier.retries) < 0
    )
