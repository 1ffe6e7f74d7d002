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

HEADING = f"{'':<56}{'floor':>9}{'eventpipe':>12}{'ratio':>7}  {'lowest-highest':<16}{'runs':>4}{'bound':>7}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        unit: Its unit.
        floor: The floor's time; ``None`` where there is no floor.
        value: eventpipe's.
        judged: The number held against the bound: a ratio where there is a floor.
        lowest: The lowest ``judged`` of any turn that counts, or run.
        highest: The highest.
        bound: The highest ``judged`` that is promised; ``None`` where nothing is.
        runs: How many turns, or runs, count.
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


def compared(
    name: str, bound: float | None, key: str, turns: Sequence[dict[str, Result]], floor: str = "floor"
) -> Figure:
    """A figure out of turns: the median ratio of the half of them in which the machine was fastest.

    What else a machine does can only add, and adds more to the larger program, which loses more when it loses its
    caches. Which half that is, all subjects decide together, so that it favours none.
    """
    by_speed = sorted(turns, key=lambda turn: sum(result[key] for result in turn.values()))
    kept = by_speed[: (len(turns) + 1) // 2]
    floors, values = [turn[floor][key] for turn in kept], [turn["eventpipe"][key] for turn in kept]
    ratios = [value / below for value, below in zip(values, floors, strict=True)]
    middles = (statistics.median(floors), statistics.median(values), statistics.median(ratios))
    return Figure(name, "µs", *middles, min(ratios), max(ratios), bound, len(kept))


def alone(name: str, unit: str, bound: float | None, values: Sequence[float], *, is_time: bool = False) -> Figure:
    """A figure that has no floor: the median of the runs; of times the lowest, as nothing beside it was slowed too."""
    chosen = min(values) if is_time else statistics.median(values)
    return Figure(name, unit, None, chosen, chosen, min(values), max(values), bound, len(values))


def line(figure: Figure, *, judge: bool = True) -> str:
    """One line of the table; without ``judge`` it does not say whether the promise is kept."""
    floor = "" if figure.floor is None else f"{figure.floor:.2f} {figure.unit}"
    value = f"{figure.value:.2f} {figure.unit}"
    ratio = "" if figure.floor is None else f"{figure.judged:.2f}"
    spread = f"{figure.lowest:.2f}-{figure.highest:.2f}"
    bound = "" if figure.bound is None else f"≤ {figure.bound:g}"
    word = {True: "met", False: "NOT MET", None: ""}[figure.is_met] if judge else ""
    shown = f"{figure.name:<56}{floor:>9}{value:>12}{ratio:>7}  {spread:<16}{figure.runs:>4}{bound:>7}"
    return f"{shown}  {word}".rstrip()


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
