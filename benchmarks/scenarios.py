"""``python -m benchmarks scenarios``: how eventpipe and others behave under the loads that matter.

Every scenario is a few cases: a load, its parameters, and the subjects that bear it beside each other. What is found
goes into the results file, from which ``report`` makes the tables.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.environments import python_of
from benchmarks.figures import environment
from benchmarks.results import FILE, Measurement, Results
from benchmarks.runner import Case, Contender, Options, Runner

RUNS = 5
BESIDE = ("floor", "reference")  # run beside every subject


def throughput() -> Iterator[Case]:
    """CPU per event and events per second, with a far end that answers at once."""
    for batch_events in (100, 500):
        for gzip in (False, True):
            options = {"batch_events": batch_events, "gzip": gzip}
            yield Case(
                "throughput",
                "throughput",
                beside(options),
                arguments={"total": 32_000, "batch_events": batch_events},
                parameters=options,
            )


def beside(options: Options) -> list[Contender]:
    """The client beside the floor and the reference, all with the same options."""
    return [Contender(name, options=options) for name in (*BESIDE, "eventpipe")]


SCENARIOS: dict[str, Callable[[], Iterator[Case]]] = {"throughput": throughput}


def main(arguments: Sequence[str] = ()) -> int:
    """Print each measurement as soon as it is made, and keep all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks scenarios", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all of {', '.join(SCENARIOS)} unless given")
    parser.add_argument("--runs", type=int, default=RUNS, help="processes of each subject (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE", help="where to keep what is found")
    options = parser.parse_args(arguments)
    runner = Runner(options.runs, python_of)
    results = Results.read(options.json)
    results.environment |= environment()
    for name in options.names or SCENARIOS:
        began = time.monotonic()
        for case in SCENARIOS[name]():
            for measurement in runner.measure(case):
                results.add(measurement)
                print(line(measurement), flush=True)
            results.write(options.json)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return 0


def line(measurement: Measurement) -> str:
    """A measurement in a line."""
    parameters = " ".join(f"{name}={value}" for name, value in measurement.parameters.items())
    figures = []
    for name, spread in measurement.figures.items():
        ratios = "".join(f", {ratio.median:.2f} x {other}" for other, ratio in measurement.ratios.get(name, {}).items())
        figures.append(f"{name} {spread.median:.4g} ({spread.lowest:.4g}-{spread.highest:.4g}{ratios})")
    counts = f"lost {measurement.lost}, twice {measurement.duplicated} of {measurement.captured}"
    return f"{measurement.scenario} {measurement.subject} {parameters}: {'; '.join(figures)}; {counts}"
