"""``python -m benchmarks log``: what the log costs, in memory and in SQLite, beside bare loops over the same rows.

Every load runs in fresh processes, one after the other. In each it takes turns with what it is held against. A file is
kept where temporary ones are: set TMPDIR to a folder on the disk that matters.
"""

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
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.log_loads import PRODUCERS, Found, append_bounded, append_memory, append_sqlite, backlog, consume_sqlite
from benchmarks.log_parked import parked
from benchmarks.promises import LOG, PROMISES, Promise
from benchmarks.report import judged
from benchmarks.results import FILE, Measurement, Results, Spread, environment
from benchmarks.scenarios import line

RUNS = 3


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


LOADS = (
    Load("append_power", append_sqlite, ("power",), 8, 20_000),
    Load("append_process", append_sqlite, ("process",), 8, 20_000),
    Load("consume", consume_sqlite, (), 6, 50_000),
    Load("append_bounded", append_bounded, (), 8, 20_000),
    Load("append_memory", append_memory, (), 10, 100_000),
    Load("backlog_memory", backlog, ("memory",), 50, 5_000_000),
    Load("backlog_sqlite", backlog, ("sqlite",), 25, 1_000_000),
    Load("parked", parked, (), 4, 20_000),
)
QUICK_TURNS, QUICK_SHARE = 1, 100  # a hundredth of the events


def main(arguments: Sequence[str] = ()) -> int:
    """Print each measurement as soon as it is made, then every promise; 1 when one is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks log", description=(__doc__ or "").split("\n\n")[1])
    names = [load.name for load in LOADS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all unless given: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small, and once: shows that it works; judges nothing")
    parser.add_argument("--runs", type=int, default=RUNS, help="processes of each load (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"keeps what is found (default: {FILE.name})")
    given = parser.parse_args(arguments)
    for name in set(given.names) - set(names):
        parser.error(f"there is no {name!r}")
    file: Path | None = given.json or (None if given.quick else FILE)
    results = Results.read(file) if file else Results()
    # Beside what the other commands noted: the machine may have been busier, or less, when they ran.
    results.environment["log"] = {"load": environment()["load"], "sqlite": sqlite3.sqlite_version}
    fresh = Results()
    for load in LOADS:
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
    verdicts = [judge(promise, fresh) for promise in PROMISES if promise.command == LOG]
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
        {**first.parameters, "producers": PRODUCERS} if first.scenario == "log_append" else first.parameters,
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
