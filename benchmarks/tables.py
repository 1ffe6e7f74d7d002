"""Numbers, labels and tables as the report writes them: the same figures always make the same bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.results import Measurement, Spread

SUBJECTS = ("eventpipe", "floor", "reference", "nothing", *PEERS)  # in this order wherever they stand side by side
SETTINGS = ("default", "best")

LABELS = {
    "cpu_us": "CPU per event, µs",
    "per_second": "events per second",
    "p50_us": "p50, µs",
    "p99_us": "p99, µs",
    "p999_us": "p99.9, µs",
    "max_us": "max, µs",
    "lag_p99_ms": "lag of the loop p99, ms",
    "bytes_per_event": "memory per event, B",
    "read_within_1_s_percent": "read within 1 s, %",
    "wakeups_per_second": "wake-ups per second",
    "switches_per_second": "context switches per second",
    "cpu_ms_per_second": "CPU per second, ms",
    "added_cpu_us": "of it added, µs",
    "far_end_us": "CPU of the far end per event, µs",
}
UNITS = {"us": "µs", "ms": "ms", "seconds": "s", "bytes": "B", "mib": "MiB"}


def label(name: str) -> str:
    """A figure's heading: its name in words, and the unit that the name ends in."""
    if name in LABELS:
        return LABELS[name]
    words = name.split("_")
    unit = UNITS.get(words[-1]) if len(words) > 1 else None
    return f"{' '.join(words[:-1])}, {unit}" if unit else " ".join(words)


def number(value: float) -> str:
    """Three digits that count, thousands set apart: ``0.0312``, ``3.9``, ``412``, ``214 000``."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return grouped(rounded) if abs(rounded) >= 100 else f"{rounded:.{max(digits, 0)}f}".rstrip("0").rstrip(".")


def grouped(value: float) -> str:
    """A whole number, thousands set apart."""
    return f"{value:,.0f}".replace(",", " ")


def spread(found: Spread | None) -> str:
    """A median with the lowest and the highest run; nothing where nothing was found."""
    if found is None:
        return ""
    if found.runs == 1:
        return number(found.median)
    return f"{number(found.median)} ({number(found.lowest)}-{number(found.highest)})"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without the columns in which no row has anything."""
    rows = [list(row) for row in rows]
    kept = [at for at in range(len(heading)) if any(row[at] for row in rows)]
    lines = [[heading[at] for at in kept], ["---"] * len(kept), *([row[at] for at in kept] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ordered(measurements: Iterable[Measurement]) -> list[Measurement]:
    """By subject, the project's own first, then by settings and parameters."""
    return sorted(measurements, key=_order)


def parameters(measurement: Measurement, names: Iterable[str]) -> str:
    """Those of its parameters that are named, in words."""
    return ", ".join(said(name, measurement.parameters[name]) for name in names if name in measurement.parameters)


def said(name: str, value: Any) -> str:  # Any: JSON
    """A parameter in words: ``gzip``, ``no gzip``, ``batch events 100``."""
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {grouped(value) if isinstance(value, int) else value}"


def varying(measurements: Sequence[Measurement]) -> list[str]:
    """The parameters in which the measurements differ."""
    names = sorted({name for measurement in measurements for name in measurement.parameters})
    return [name for name in names if len({repr(found.parameters.get(name)) for found in measurements}) > 1]


def _order(measurement: Measurement) -> tuple[Any, ...]:  # Any: what is compared
    return (
        _rank(measurement.subject, SUBJECTS),
        _rank(measurement.settings, SETTINGS),
        [(name, *_comparable(value)) for name, value in sorted(measurement.parameters.items())],
    )


def _rank(word: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(word) if word in order else len(order), word)


def _comparable(value: Any) -> tuple[float, str]:  # Any: JSON
    return (value, "") if isinstance(value, int | float) else (math.inf, str(value))
