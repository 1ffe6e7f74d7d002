"""A benchmark of loads that run in fresh processes, one after the other, by turns with what they are held against."""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sqlite3
import statistics
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.promises import PROMISES, Promise
from benchmarks.report import judged
from benchmarks.results import FILE, Measurement, Results, Spread, environment
from benchmarks.scenarios import line

RUNS = 3
QUICK_TURNS, QUICK_SHARE = 1, 100  # a hundredth of the events


@dataclass
class Found:
    """What one subject of a load came to; values by turn.

    Attributes:
        scenario: Which measurement it belongs to.
        subject: ``eventpipe`` or ``floor``.
        parameters: What tells it from the others of the scenario.
        figures: By name; the name ends in its unit.
        ratios: Of a figure to that of what ran beside it.
        captured: Events that went in.
        delivered: Events that were found to be there.
    """

    scenario: str
    subject: str
    parameters: dict[str, Any]  # Any: JSON
    figures: dict[str, list[float]] = field(default_factory=dict)
    ratios: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    captured: int = 0
    delivered: int = 0

    def add(self, **figures: float) -> None:
        """Add a turn's figures."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def beside(self, other: str, name: str, value: float) -> None:
        """Add a turn's ratio."""
        self.ratios.setdefault(name, {}).setdefault(other, []).append(value)

    def hold_against(self, floor: Found) -> None:
        """Add the ratios to a floor that took the same turns."""
        for name in floor.figures:
            for ours, theirs in zip(self.figures[name], floor.figures[name], strict=True):
                self.beside(floor.subject, name, ours / theirs)


class Stopwatch:
    """Seconds on the wall and of CPU, of all threads, since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._worked = time.process_time()

    def rates(self, events: int) -> dict[str, float]:
        """Events per second and CPU per event."""
        worked, took = time.process_time() - self._worked, time.perf_counter() - self._began
        return {"per_second": events / took, "cpu_us": worked / events * 1e6}


class Load(NamedTuple):
    """One load.

    Attributes:
        name: To ask for it by.
        work: Takes turns, so many, of so many events each; a backlog has so many in all.
        arguments: What it is given beside that.
        turns: How many.
        events: How many.
    """

    name: str
    work: Callable[..., Coroutine[Any, Any, list[Found]]]  # Any: the third argument is each load's own
    arguments: tuple[str, ...]
    turns: int
    events: int


def command(name: str, loads: Sequence[Load], description: str, arguments: Sequence[str]) -> int:
    """Print each measurement as soon as it is made, then every promise; 1 when one is not kept.

    Args:
        name: Of the command.
        loads: In the order in which they run.
        description: For its help.
        arguments: As they were given.
    """
    promised = f"python -m benchmarks {name}"
    parser = argparse.ArgumentParser(prog=promised, description=description)
    names = [load.name for load in loads]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all unless given: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small, and once: shows that it works; judges nothing")
    parser.add_argument("--runs", type=int, default=RUNS, help="processes of each load (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"keeps what is found (default: {FILE.name})")
    given = parser.parse_args(arguments)
    for unknown in set(given.names) - set(names):
        parser.error(f"there is no {unknown!r}")
    file: Path | None = given.json or (None if given.quick else FILE)
    results = Results.read(file) if file else Results()
    # Beside what the other commands noted: the machine may have been busier, or less, when they ran.
    results.environment[name] = {"load": environment()["load"], "sqlite": sqlite3.sqlite_version}
    fresh = Results()
    for load in loads:
        if given.names and load.name not in given.names:
            continue
        began = time.monotonic()
        for measurement in measure(load, 1 if given.quick else given.runs, is_quick=given.quick):
            results.add(measurement)
            fresh.add(measurement)
            print(line(measurement), flush=True)
        if file:
            results.write(file)
        print(f"{load.name} took {time.monotonic() - began:.0f} s", flush=True)
    if given.quick:
        return 0
    verdicts = [judge(promise, fresh) for promise in PROMISES if promise.command == promised]
    return 0 if all(verdicts) else 1


def judge(promise: Promise, results: Results) -> bool:
    """Print what was measured for a promise, and its bound; whether it is kept, as far as it was measured."""
    is_met = promise.is_met(results)
    if is_met is not None:
        measured, bound = judged(promise, results)
        print(f"{promise.what:<84} {measured:>14} {bound:>15}  {'met' if is_met else 'NOT MET'}", flush=True)
    return is_met is not False


def measure(load: Load, runs: int, *, is_quick: bool = False) -> list[Measurement]:
    """Run a load in so many processes, one after the other."""
    turns, events = (QUICK_TURNS, load.events // QUICK_SHARE) if is_quick else (load.turns, load.events)
    # A process of its own each time: what one left in memory is none of the next one's.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        found = [pool.submit(run, load, turns, events).result() for _ in range(runs)]
    return [together(alike) for alike in zip(*found, strict=True)]


def run(load: Load, turns: int, events: int) -> list[Found]:
    """Take the turns; in a process of its own."""
    return asyncio.run(load.work(turns, events, *load.arguments))


def together(runs: Sequence[Found]) -> Measurement:
    """The runs of one subject as a measurement: of each the median of its turns."""
    first = runs[0]
    assert len({json.dumps(one.parameters) for one in runs}) == 1
    return Measurement(
        first.scenario,
        first.subject,
        "default",
        first.parameters,
        {name: _spread(one.figures[name] for one in runs) for name in first.figures},
        {
            name: {other: _spread(one.ratios[name][other] for one in runs) for other in others}
            for name, others in first.ratios.items()
        },
        captured=sum(one.captured for one in runs),
        delivered=sum(one.delivered for one in runs),
        duplicated=0,
    )


def _spread(turns: Iterable[Sequence[float]]) -> Spread:
    return Spread.of(statistics.median(values) for values in turns)
