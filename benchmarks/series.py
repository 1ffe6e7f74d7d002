"""What the pictures show, as numbers and words: which lines, which axes, and the text for who cannot see them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from benchmarks.results import Measurement, Results
from benchmarks.subject import OWN
from benchmarks.tables import label, number, ordered

Scale = Literal["linear", "log", "percentile"]

# What grows in a scenario, and the axis it is shown on.
GROWING = {
    "producers": ("producers", "producer tasks"),
    "batch_size": ("batch_events", "events per batch"),
    "workers": ("workers", "workers"),
    "event_size": ("event_bytes", "bytes per event"),
    "growth": ("events", "events sent by one client"),
}
TOLD = ("eventpipe", "floor", "reference")  # the lines whose figures a picture's text has


@dataclass(frozen=True, slots=True)
class Line:
    """One subject's points, from left to right; a picture of single points has one in each."""

    subject: str
    settings: str
    variant: str
    points: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        """As a legend has it."""
        beside = [word for word in (self.settings if self.settings != "default" else "", self.variant) if word]
        return f"{self.subject} ({', '.join(beside)})" if beside else self.subject


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; the horizontal one is that of its picture."""

    y_label: str
    lines: tuple[Line, ...]
    y_scale: Scale = "log"


@dataclass(frozen=True, slots=True)
class Picture:
    """One file.

    Attributes:
        name: Of the file, without its suffix.
        title: What it shows.
        x_label: What the horizontal axis is.
        x_scale: How it is divided: ``"linear"`` from 0, or by ``"percentile"``: as far from 90 to 99 as to 99.9.
        panels: One below the other.
        is_scatter: Whether points stand alone.
    """

    name: str
    title: str
    x_label: str
    x_scale: Scale
    panels: tuple[Panel, ...]
    is_scatter: bool = False

    @property
    def alt(self) -> str:
        """The same in words."""
        shown = []
        for panel in self.panels:
            told = [f"{line.name} {self._told(line)}" for line in panel.lines if line.subject in TOLD]
            shown.append(f" {panel.y_label} over {self.x_label}: {'; '.join(told)}.")
        return f"{self.title}.{''.join(shown)}"

    def _told(self, line: Line) -> str:
        """A line's ends."""
        ends = dict.fromkeys((line.points[0], line.points[-1]))
        xs = [f"{x:g}" if self.x_scale == "percentile" else number(x) for x, _ in ends]
        return ", ".join(f"{number(y)} at {x}" for x, (_, y) in zip(xs, ends, strict=True))


def pictures(results: Results) -> list[Picture]:
    """Those for which there are figures."""
    found = [cost(results), latency(results), *(growing(results, scenario) for scenario in GROWING)]
    return [picture for picture in found if any(panel.lines for panel in picture.panels)]


def cost(results: Results) -> Picture:
    """Throughput against CPU: left and high is cheap and quick."""
    measured = uncompressed(of(results, "throughput", "cpu_us", "per_second"))
    lines = [_line(found, [(found.figures["cpu_us"].median, found.figures["per_second"].median)]) for found in measured]
    panel = Panel(label("per_second"), tuple(lines))
    return Picture("throughput", "Throughput against CPU", label("cpu_us"), "log", (panel,), is_scatter=True)


def latency(results: Results) -> Picture:
    """How long a capture takes, up to the rarest."""
    measured = [found for found in of(results, "paced") if "capture_us" in found.curves and found.settings == "default"]
    lines = [_line(found, [(at, us) for at, us in found.curves["capture_us"] if at < 100]) for found in measured]
    return Picture("paced", "How long a capture takes", "percentile", "percentile", (Panel("µs", tuple(lines)),))


def growing(results: Results, scenario: str) -> Picture:
    """What CPU and throughput become when one parameter grows."""
    parameter, x_label = GROWING[scenario]
    # Of a client that grows old the change is what counts, and is seen best from zero; all else spans powers of ten.
    scale: Scale = "linear" if scenario == "growth" else "log"
    panels = []
    for figure in ("cpu_us", "per_second"):
        alike: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for found in of(results, scenario, figure):
            points = alike.setdefault((found.subject, found.settings), [])
            points.append((found.parameters[parameter], found.figures[figure].median))
        lines = tuple(Line(*who, "", tuple(sorted(points))) for who, points in alike.items())
        panels.append(Panel(label(figure), lines, scale))
    shown = tuple(panel for panel in panels if panel.lines)
    return Picture(scenario, f"What an event costs with more {x_label}", x_label, scale, shown)


def uncompressed(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Those that most libraries can be held against."""
    return [found for found in measurements if not found.parameters.get("gzip")]


def of(results: Results, scenario: str, *figures: str) -> list[Measurement]:
    """The measurements of a scenario that have these figures, in the order of the tables."""
    found = (measured for measured in results.measurements if measured.scenario == scenario)
    return ordered(measured for measured in found if all(name in measured.figures for name in figures))


def batch_of(found: Measurement) -> str:
    """The events in a batch of one of the project's own subjects; other libraries choose for themselves."""
    return str(found.parameters.get("batch_events", "")) if found.subject in OWN else ""


def _line(found: Measurement, points: Iterable[tuple[float, float]]) -> Line:
    size = batch_of(found) if found.scenario == "throughput" else ""
    return Line(found.subject, found.settings, f"{size} a batch" if size else "", tuple(points))
