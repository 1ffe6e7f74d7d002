"""What was measured, and the file that keeps it for the report, the plots and the guard."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from benchmarks.workload import EVENT_BYTES

FILE = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs: its median, and how far the runs lie apart."""

    median: float
    lowest: float
    highest: float
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The spread of one value a run."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found), len(found))


@dataclass
class Measurement:
    """One subject in one scenario with one set of parameters.

    Attributes:
        scenario: Its name, as in ``scenarios.py``.
        subject: ``eventpipe``, ``floor``, ``reference``, or a library's name.
        settings: ``default`` or ``best``.
        parameters: What the load and the subject were told, by name.
        figures: What was found, by name; the name ends in its unit.
        ratios: Of a figure to that of another subject, which ran in the same minute: figure, then the other's name.
        captured: Events captured, over all runs.
        delivered: Different events among those that the far end read and accepted.
        duplicated: Events that it accepted once more.
        dropped: Events that the subject itself counted as given up; ``None`` where it does not count.
        curves: Points for a plot, by name: percentile and microseconds, events so far and CPU.
    """

    scenario: str
    subject: str
    settings: str
    parameters: dict[str, Any]  # Any: JSON
    figures: dict[str, Spread]
    ratios: dict[str, dict[str, Spread]]
    captured: int
    delivered: int
    duplicated: int
    dropped: int | None = None
    curves: dict[str, list[list[float]]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Events that were captured and never arrived."""
        return self.captured - self.delivered

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from every other measurement in a file."""
        return (self.scenario, self.subject, self.settings, json.dumps(self.parameters, sort_keys=True))

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Self:  # Any: JSON
        """A measurement as it was written."""
        made = cls(**found)
        made.figures = {name: Spread(**spread) for name, spread in found["figures"].items()}
        made.ratios = {
            name: {other: Spread(**spread) for other, spread in others.items()}
            for name, others in found["ratios"].items()
        }
        return made


@dataclass
class Results:
    """Everything in the file.

    Attributes:
        date: The UTC day of the last measurement.
        environment: Machine, Python and the versions of every library that was measured.
        measurements: One for each subject, scenario and set of parameters.
        parts: What ``parts.py`` found, as it wrote it.
    """

    date: str = ""
    environment: dict[str, Any] = field(default_factory=dict)  # Any: JSON
    measurements: list[Measurement] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)  # Any: JSON

    def add(self, measurement: Measurement) -> None:
        """Put a measurement in the place of the same one of an earlier day."""
        self.measurements = [*(kept for kept in self.measurements if kept.key != measurement.key), measurement]

    def write(self, path: Path = FILE) -> None:
        """Date it today and keep it."""
        self.date = datetime.now(UTC).date().isoformat()
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path = FILE) -> Self:
        """What was kept; nothing at all where there is no file."""
        if not path.exists():
            return cls()
        found = json.loads(path.read_text())
        found["measurements"] = [Measurement.of_json(kept) for kept in found["measurements"]]
        return cls(**found)


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
