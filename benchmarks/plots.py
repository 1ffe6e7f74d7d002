"""The pictures, as SVG: readable in grey, and the same bytes for the same figures and the same matplotlib."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from benchmarks.series import Line, Picture, Scale
from benchmarks.tables import SUBJECTS, number

# Shape and dash tell the subjects apart, shade alone never does.
MARKERS = "osD^vPX<>ph*d8H"
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))  # Any: dash pattern
SHADES = ("0.0", "0.35", "0.2", "0.5")
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
STYLE = {
    "svg.hashsalt": "eventpipe",  # ids in the file come from it, not from chance
    "svg.fonttype": "none",  # text stays text
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "legend.fontsize": 8,
}


def draw_all(pictures: Iterable[Picture], folder: Path) -> None:
    """Write one file for each picture, and leave no other there."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for picture in pictures:
        draw(picture, folder / f"{picture.name}.svg")


def draw(picture: Picture, path: Path) -> None:
    """Write the file of one picture."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.2 + 3.2 * len(picture.panels)), layout="constrained")
        axes = figure.subplots(len(picture.panels), sharex=True, squeeze=False)[:, 0]
        for panel, axis in zip(picture.panels, axes, strict=True):
            for line in panel.lines:
                _plot(axis, picture, line)
            if panel.y_scale == "linear":
                axis.set_ylim(0, 1.2 * max(y for line in panel.lines for _, y in line.points))
            _divide(axis.yaxis, axis.set_yscale, panel.y_scale)
            axis.set_ylabel(panel.y_label)
        _divide(axes[-1].xaxis, axes[-1].set_xscale, picture.x_scale)
        axes[-1].set_xlabel(picture.x_label)
        handles = axes[0].get_lines()
        figure.legend(handles=handles, loc="outside right upper", handlelength=2 if picture.is_scatter else 4)
        figure.suptitle(picture.title)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _plot(axis: Any, picture: Picture, line: Line) -> None:  # Any: matplotlib's, which may not be installed
    at = SUBJECTS.index(line.subject) if line.subject in SUBJECTS else len(SUBJECTS)
    is_best = line.settings == "best"
    xs = [_position(picture.x_scale, x) for x, _ in line.points]
    ys = [y for _, y in line.points]
    shade = SHADES[at % len(SHADES)]
    look: dict[str, Any] = {
        "color": shade,
        "marker": MARKERS[at % len(MARKERS)],
        "markerfacecolor": "white" if is_best else shade,
    }
    if picture.is_scatter:
        axis.plot(xs, ys, linestyle="none", label=line.name, **look)
        # The legend has the names, which would lie over each other; two points with one mark are told apart in place.
        word = line.variant.partition(" ")[0]
        axis.annotate(word, (xs[0], ys[0]), xytext=(0, 6), textcoords="offset points", fontsize=7, ha="center")
        return
    every = max(1, len(xs) // 8)  # marks that touch each other hide the line
    axis.plot(xs, ys, markevery=every, linestyle=DASHES[at % len(DASHES)], label=line.name, **look)


def _divide(axis: Any, scale_by: Any, scale: Scale) -> None:  # Any: as above
    """Divide an axis by its scale, with plain numbers at its ticks."""
    if scale != "linear":
        scale_by("log")  # which sets other numbers
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    if scale == "percentile":
        axis.set_major_locator(FixedLocator([_position(scale, percentile) for percentile in PERCENTILES]))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 - 100 / x:g} %"))


def _position(scale: Scale, x: float) -> float:
    """Where a value stands on its axis: a percentile by how rare what is above it is."""
    return 100 / (100 - x) if scale == "percentile" else x
