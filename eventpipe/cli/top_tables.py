"""The tables of ``eventpipe top``: where pending events are, how fast they go, how long they take, and each sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from eventpipe.cli import top_words as words
from eventpipe.cli.display import table
from eventpipe.cli.text import duration
from eventpipe.cli.top_history import History
from eventpipe.cli.top_picture import Picture
from eventpipe.measures import Histogram, Latencies
from eventpipe.statistics import EventCounts, Statistics

By = Literal["sink", "event"]

BAR_WIDTH = 40
SHOWN_ROWS = 10  # sinks or names of events, beside the rest on a terminal

_COLOURS = {"Q": "cyan", "B": "blue", "F": "green", "R": "yellow"}
_NONE = Statistics()


def pending(picture: Picture) -> Table:
    """How full the client is, and of what."""
    counted, pressure = picture.statistics, picture.health.pressure
    drawn = Text(f"{counted.pending:,}  [")
    for letter in words.bar(counted, pressure, BAR_WIDTH):
        drawn.append(letter, style=_COLOURS.get(letter, "dim"))
    drawn.append(f"] {words.percent(pressure)}")
    places = [f"{letter} {getattr(counted, place):,} {word}" for place, (letter, word) in words.PLACES.items()]
    grid = table([])
    grid.add_row(Text("pending"), drawn)
    places += [f"{counted.waiting_room:,} waiting for room"] if counted.waiting_room else []
    grid.add_row(Text(), Text(", ".join(places)))
    return grid


def speeds(history: History, picture: Picture) -> Table:
    """What went through, and how fast: as read here now, and as the client has it for longer."""
    counted, rows = picture.statistics, []
    for name in ("captured", "delivered", "dropped", "retried"):
        now = words.rate(history.rate(lambda picture, name=name: getattr(picture.statistics, name)))  # type: ignore[misc]
        told = getattr(counted.rates, name, None)
        over = [words.rate(told.last_1), words.rate(told.last_10), words.rate(told.last_60)] if told else ["-"] * 3
        rows.append([name, f"{getattr(counted, name):,}", now, *over])
    return _grid(["events", "in all", "now", "last 1 s", "10 s", "60 s"], rows)


def latencies(history: History) -> Table:
    """How long the events delivered of late took."""
    span = history.span
    rows = []
    for name in Latencies.__slots__:
        histogram = history.latency(_latency(name))
        quantiles = [words.quantile(histogram, share) for share in (0.5, 0.9, 0.99)]
        rows.append([name, f"{histogram.count:,}", *quantiles])
    over = f"last {duration(span)}" if span is not None else "since start"
    return _grid([over, "events", "p50", "p90", "p99"], rows)


def rows_by_sink(history: History, picture: Picture, now: float) -> Sequence[RenderableType]:
    """A line for each sink, and below them what troubles one.

    Args:
        history: Where the latencies of late are.
        picture: What is shown.
        now: Seconds since the epoch, by the clock of the far side.
    """
    sinks, rows, troubles = picture.health.sinks, [], []
    for name, sink in list(sinks.items())[:SHOWN_ROWS]:
        counted = picture.statistics.by_sink.get(name, _NONE)
        state = [words.sink_state(sink), words.percent(sink.pressure)]
        times = [words.quantiles(history.latency(_latency(part, name))) for part in ("send", "delivery")]
        rows.append([words.short(name), *state, words.ago(sink.last_success, now), *times])
        troubles.append((words.short(name), words.sink_troubles(sink, counted)))
    if len(sinks) > SHOWN_ROWS:
        troubles.append((f"{len(sinks) - SHOWN_ROWS} more", "not shown"))
    told = [(name, trouble) for name, trouble in troubles if trouble]
    grid = _grid(["sink", "state", "full", "last success", "send p50/p99", "delivery p50/p99"], rows)
    return [grid, table(told)] if told else [grid]


def rows_by_event(history: History, picture: Picture) -> Sequence[RenderableType]:
    """A line for each name of events, the most frequent first."""
    by_event = picture.statistics.by_event
    if not by_event:
        return [Text("no names of events: HealthEndpoint(client, event_names=True) tells them")]
    ordered = sorted(by_event.items(), key=lambda item: (-item[1].delivered - item[1].dropped, item[0]))
    rows = []
    for name, counted in ordered[:SHOWN_ROWS]:
        speed = history.rate(lambda picture, name=name: _delivered(picture, name))  # type: ignore[misc]
        rows.append(_event(words.short(name), words.rate(speed), counted))
    if len(ordered) > SHOWN_ROWS:
        rest = sum((counted for _, counted in ordered[SHOWN_ROWS:]), EventCounts())
        rows.append(_event(f"{len(ordered) - SHOWN_ROWS} more", "", rest))
    return [_grid(["event", "now", "delivered", "dropped", "retried"], rows)]


def _event(name: str, speed: str, counted: EventCounts) -> Sequence[str]:
    return [name, speed, f"{counted.delivered:,}", f"{counted.dropped:,}", f"{counted.retried:,}"]


def _delivered(picture: Picture, name: str) -> int:
    return picture.statistics.by_event.get(name, EventCounts()).delivered


def _latency(name: str, sink: str | None = None) -> Callable[[Picture], Histogram]:
    """Finds one of the histograms of a client, or of one of its sinks."""

    def find(picture: Picture) -> Histogram:
        counted = picture.statistics if sink is None else picture.statistics.by_sink.get(sink, _NONE)
        found: Histogram = getattr(counted.latency, name)
        return found

    return find


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Columns with a name each; the first is of words, the others are of numbers."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(min_width=12)
    for _ in header[1:]:
        grid.add_column(justify="right")
    grid.add_row(*(Text(name, style="dim") for name in header))
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid
