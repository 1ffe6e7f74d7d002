"""``python -m benchmarks parts``: what each part of the way costs by itself, in under two minutes.

pyperf runs every step of ``steps.py`` in processes of its own, one after another on one core, and what a step is held
against right before it; importing the package is a part as well. What is found goes into the results file; ``report``
makes a table of it.
"""

from __future__ import annotations

import argparse
import functools
import logging
import operator
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from typing import Any

import pyperf

from benchmarks import imports
from benchmarks.results import Results, environment
from benchmarks.steps import BATCH, STEPS, Step

# With these, all of it takes less than two minutes: half of a step's time goes into starting its processes.
PROCESSES, VALUES, MIN_TIME = 4, 3, 0.04
IMPORT_RUNS = 7

# Rows by the names that ``imports`` has for them. pydantic imports most of itself when a first model is made, as nobody
# imports it for less; that is what the package is held against.
LIBRARIES = "import asyncio, orjson, pydantic; a model"
IMPORTS = {"libraries_and_model": (LIBRARIES, None), "eventpipe": ("import eventpipe", LIBRARIES)}

Found = dict[str, Any]  # Any: JSON

_made = functools.cache(operator.call)  # a step is prepared once in each process, and only where it runs


def main(arguments: Sequence[str] = ()) -> int:
    """Print each step as soon as it is known, and keep all; a process that pyperf started does its share instead."""
    if "--worker" in arguments:
        logging.disable()  # a client whose queue is full says so
        measure(arguments)
        return 0
    argparse.ArgumentParser(prog="python -m benchmarks parts", description=(__doc__ or "").split("\n\n")[1]).parse_args(
        arguments
    )
    results = Results.read()
    results.parts = [*measure(["--quiet", *pinned()]), *imported()]
    results.environment |= environment() | {"pyperf": version("pyperf")}
    results.write()
    return 0


def measure(arguments: Sequence[str]) -> list[Found]:
    """What pyperf finds, step by step; in a process that it started, nothing but a part of one step."""
    runner = pyperf.Runner(
        processes=PROCESSES, values=VALUES, min_time=MIN_TIME, program_args=("-m", "benchmarks.parts")
    )
    runner.parse_args(list(arguments))
    found: list[Found] = []
    for step in STEPS:
        with redirect_stdout(StringIO()):  # line() says it better
            benchmark = runner.bench_time_func(step.name, timed, step, inner_loops=BATCH)
        if benchmark is not None and not runner.args.worker:
            values = [value * 1e6 for value in benchmark.get_values()]
            found.append(described(step.name, values, step.baseline, found))
    return found


def imported() -> list[Found]:
    """The CPU that a new process spends on the package, and what that is of its libraries alone."""
    costs = imports.measure({name: imports.STEPS[name] for name in IMPORTS}, IMPORT_RUNS)
    found: list[Found] = []
    for statement, (name, beside) in IMPORTS.items():
        found.append(described(name, [ms * 1e3 for ms in costs[statement]], beside, found))
    return found


def timed(rounds: int, step: Step) -> float:
    """Seconds that so many rounds of a step take."""
    return float(_made(step.make)(rounds))


def described(name: str, values: Sequence[float], beside: str | None, before: Sequence[Found]) -> Found:
    """A step, printed and as it is kept: its median, how far its values lie apart, and what it is of its baseline.

    The ratio is that of the lowest values: they were not taken in the same second, and what else a machine does in one
    of them can only add.
    """
    lowest = min(values)
    baseline = next((other for other in before if other["name"] == beside), None)
    found: Found = {
        "name": name,
        "us": round(statistics.median(values), 4),
        "spread": [round(lowest, 4), round(max(values), 4)],
        "baseline": beside,
        "ratio": None if baseline is None else round(lowest / baseline["spread"][0], 3),
    }
    print(line(found), flush=True)
    return found


def line(found: Found) -> str:
    """A step as it is printed."""
    low, high = found["spread"]
    ratio = "" if found["ratio"] is None else f"{found['ratio']:.2f} times {found['baseline']}"
    return f"{found['name']:<44}{found['us']:>9.4g} µs  {f'{low:.4g}-{high:.4g}':<20}{ratio}".rstrip()


def pinned() -> list[str]:
    """The argument that keeps every process on one core, where the system can do that."""
    return [f"--affinity={min(os.sched_getaffinity(0))}"] if hasattr(os, "sched_getaffinity") else []


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
