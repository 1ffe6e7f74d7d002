"""What ``eventpipe top`` says: each picture, what became of the process, and that it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from eventpipe.cli import top_words as words
from eventpipe.cli.display import table
from eventpipe.cli.failures import one_line
from eventpipe.cli.text import count, duration
from eventpipe.cli.top_history import History
from eventpipe.cli.top_picture import Picture
from eventpipe.cli.top_tables import By, latencies, pending, rows_by_event, rows_by_sink, speeds

NEWS_SECONDS = 60.0  # for which it is told that a process began anew
LATE = 2.0  # seconds beyond the interval after which it is told that an answer takes long
SHOWN_PAUSES = 3  # paused sinks that a line names


class TopView:
    """Puts what a health endpoint tells, and that it tells nothing, into words.

    Args:
        where: The endpoint, as it may be shown.
        by: What has a line each.
        interval: Seconds from one question to the next.
        clock: Seconds that only grow.
        wall: Seconds since the epoch, for endpoints that do not tell their own.
    """

    def __init__(
        self, where: str, by: By, interval: float, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._where = where
        self._by = by
        self._interval = interval
        self._clock = clock
        self._wall = wall
        self._history = History()
        self._taken = clock()
        self._far_then = 0.0
        self._news: tuple[float, str] | None = None
        self._silence: tuple[float, str] | None = None

    @property
    def latest(self) -> Picture | None:
        """The last picture; ``None`` before the first."""
        return self._history.latest

    @property
    def silence(self) -> str | None:
        """That there was no answer the last time, and why; ``None`` when there was, or nobody asked."""
        if self._silence is None:
            return None
        length = f" for {duration(self.silent_for)}" if self.silent_for >= 1 else ""
        return f"no answer{length}: {one_line(self._silence[1])}"

    @property
    def silent_for(self) -> float:
        """Seconds since the first question without an answer, after which none had one."""
        return self._clock() - self._silence[0] if self._silence is not None else 0.0

    def take(self, picture: Picture) -> Sequence[str]:
        """Show this picture from now on; the same in plain lines."""
        news = self._history.take(picture)
        told = picture.process.now
        # By its own clock where that is told: the two machines' may differ.
        self._taken, self._far_then = self._clock(), told if told is not None else self._wall()
        self._silence = None
        if news is None:
            return [self._line(picture)]
        self._news = (self._taken, news)
        return [news, self._line(picture)]

    def miss(self, reason: str, asked: float) -> Sequence[str]:
        """Show that there was no answer; the same in plain lines.

        Args:
            reason: Why not.
            asked: When, on the clock.
        """
        self._silence = (self._silence[0] if self._silence is not None else asked, reason)
        return [f"{self.silence}; trying again"]

    def frame(self) -> RenderableType:
        """The live picture."""
        picture, history = self._history.latest, self._history
        head = Text().append(self._where, style="bold")
        if picture is None:
            return Group(head, Text(f"{self.silence}; trying again" if self.silence else "waiting for an answer"))
        process = picture.process
        more = f"  pid {process.pid}, up {duration(process.uptime)}, eventpipe {words.short(process.version)}"
        rows = rows_by_event(history, picture) if self._by == "event" else rows_by_sink(history, picture, self._far_now)
        return Group(
            head.append(more, style="dim"),
            self._state(picture),
            pending(picture),
            table(self._facts(picture)),
            Text(),
            speeds(history, picture),
            Text(),
            latencies(history),
            Text(),
            *rows,
        )

    @property
    def _far_now(self) -> float:
        return self._far_then + self._clock() - self._taken

    def _state(self, picture: Picture) -> Text:
        age = self._clock() - self._taken
        if self._silence is not None:
            return Text(f"{self.silence}; trying again; what follows is {duration(age)} old", style="bold yellow")
        if age > self._interval + LATE:
            return Text(f"no answer yet; what follows is {duration(age)} old", style="bold yellow")
        return Text(words.readiness(picture), style="bold green" if picture.is_ready else "bold red")

    def _facts(self, picture: Picture) -> Sequence[tuple[str, str]]:
        counted, now = picture.statistics, self._clock()
        rows = [
            ("last success", words.ago(picture.health.last_success, self._far_now)),
            ("most at once", words.high_water(counted.high_water)),
            ("retries", f"{count(counted.retries)} of {count(counted.attempts, 'attempt')}"),
        ]
        if counted.dropped_by_reason:
            rows.append(("dropped", words.dropped(counted)))
        if counted.spooled or counted.recovered:
            rows.append(("on disk", f"{counted.spooled:,} spooled; {counted.recovered:,} recovered from earlier"))
        if counted.hook_errors:
            rows.append(("hooks", count(counted.hook_errors, "error")))
        if self._news is not None and now - self._news[0] < NEWS_SECONDS:
            rows.append(("note", f"{self._news[1]} ({duration(now - self._news[0])} ago)"))
        return rows

    def _line(self, picture: Picture) -> str:
        counted, health, history = picture.statistics, picture.health, self._history
        parts = [
            words.readiness(picture),
            f"{counted.captured:,} captured" + _in_brackets(history.rate(lambda picture: picture.statistics.captured)),
            f"{counted.delivered:,} delivered"
            + _in_brackets(history.rate(lambda picture: picture.statistics.delivered)),
            f"{counted.dropped:,} dropped" + (f" ({words.dropped(counted)})" if counted.dropped_by_reason else ""),
            f"{counted.pending:,} pending" + (f" ({words.places(counted)})" if counted.pending else ""),
            *([f"{counted.spooled:,} on disk"] if counted.spooled else []),
            f"{words.percent(health.pressure)} full",
            count(counted.retries, "retry", "retries"),
            f"last success {words.ago(health.last_success, self._far_now)}",
            f"send {words.quantiles(history.latency(lambda picture: picture.statistics.latency.send))}",
            f"delivery {words.quantiles(history.latency(lambda picture: picture.statistics.latency.delivery))}",
        ]
        pauses = [(name, sink.paused) for name, sink in health.sinks.items() if sink.paused]
        parts += [f"{words.short(name)} paused: {words.paused(lanes)}" for name, lanes in pauses[:SHOWN_PAUSES]]
        parts += [f"{len(pauses) - SHOWN_PAUSES} more paused"] if len(pauses) > SHOWN_PAUSES else []
        return ", ".join(parts)


def _in_brackets(rate: float | None) -> str:
    return f" ({words.rate(rate)})" if rate is not None else ""
