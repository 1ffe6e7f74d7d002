"""Figures, the promises they are held against, and the table they make."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from benchmarks.workload import EVENT_BYTES, Result

HEADING = f"{'':<60}{'floor':>10}{'eventpipe':>12}{'ratio':>8}  {'lowest-highest':<16}{'bound':>7}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        unit: Its unit.
        floor: The floor's median; ``None`` where there is no floor.
        value: eventpipe's median.
        judged: The number held against the bound: a ratio where there is a floor.
        lowest: The lowest ``judged`` of any run.
        highest: The highest.
        bound: The highest ``judged`` that is promised; ``None`` where nothing is.
        runs: How many runs it is the median of.
    """

    name: str
    unit: str
    floor: float | None
    value: float
    judged: float
    lowest: float
    highest: float
    bound: float | None
    runs: int

    @property
    def is_met(self) -> bool | None:
        """Whether the promise is kept; ``None`` where nothing is promised."""
        return None if self.bound is None else self.judged <= self.bound


def compared(name: str, bound: float | None, key: str, pairs: Sequence[tuple[Result, Result]]) -> Figure:
    """A figure out of neighbouring runs: the median of their ratios."""
    floors, values = [floor[key] for floor, _ in pairs], [mine[key] for _, mine in pairs]
    ratios = [mine / floor for floor, mine in zip(floors, values, strict=True)]
    median = statistics.median
    return Figure(
        name, "µs", median(floors), median(values), median(ratios), min(ratios), max(ratios), bound, len(pairs)
    )


def alone(name: str, unit: str, bound: float | None, values: Sequence[float]) -> Figure:
    """A figure that has no floor."""
    middle = statistics.median(values)
    return Figure(name, unit, None, middle, middle, min(values), max(values), bound, len(values))


def line(figure: Figure, *, judge: bool = True) -> str:
    """One line of the table; without ``judge`` it does not say whether the promise is kept."""
    floor = "" if figure.floor is None else f"{figure.floor:.2f} {figure.unit}"
    value = f"{figure.value:.2f} {figure.unit}"
    ratio = "" if figure.floor is None else f"{figure.judged:.2f}"
    spread = f"{figure.lowest:.2f}-{figure.highest:.2f}"
    bound = "" if figure.bound is None else f"≤ {figure.bound:g}"
    word = {True: "met", False: "NOT MET", None: ""}[figure.is_met] if judge else ""
    return f"{figure.name:<60}{floor:>10}{value:>12}{ratio:>8}  {spread:<16}{bound:>7}  {word}".rstrip()


def environment() -> dict[str, Any]:  # Any: JSON
    """Where the figures were taken."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 2),
        "aiohttp": version("aiohttp"),
        "orjson": version("orjson"),
        "event_bytes": EVENT_BYTES,
    }
