"""``python -m benchmarks scenarios``: how eventpipe, and others, behave under the loads that matter.

Every scenario is a few cases: a load, its parameters, and the subjects that bear it beside each other. What is found
goes into the results file, from which ``report`` makes tables and pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import cases
from benchmarks.environments import python_of, versions_of
from benchmarks.peers import PEERS
from benchmarks.process import RunError
from benchmarks.results import FILE, Measurement, Results, environment
from benchmarks.runner import Case, Runner

RUNS = 5

Cases = Callable[[str], Iterator[Case]]

# Each is given a subject, and makes the cases in which it runs beside the floor and the reference.
FOR_ALL: dict[str, Cases] = {
    "throughput": cases.throughput,
    "throughput_50ms": cases.throughput_50ms,
    "burst": cases.burst,
    "paced": cases.paced,
    "hanging": cases.hanging,
    "outage": cases.outage,
    "mute_close": cases.mute_close,
    "memory": cases.memory,
    "idle": cases.idle,
}
FOR_EVENTPIPE: dict[str, Cases] = {
    "capture": cases.capture,
    "tight_loop": cases.tight_loop,
    "fan_out": cases.fan_out,
    "hooks": cases.hooks,
    "codecs": cases.codecs,
    "onlookers": cases.onlookers,
    "flush_storm": cases.flush_storm,
    "producers": cases.producers,
    "batch_size": cases.batch_size,
    "workers": cases.workers,
    "event_size": cases.event_size,
    "growth": cases.growth,
}
SCENARIOS = FOR_ALL | FOR_EVENTPIPE


def main(arguments: Sequence[str] = ()) -> int:
    """Print each measurement as soon as it is made, and keep all; 1 when a library's run failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks scenarios", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which; all of them unless given: {', '.join(SCENARIOS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the first case of each, small and once: shows that it works"
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="processes of each subject (default: %(default)s)")
    parser.add_argument("--subjects", default="eventpipe", help=f"with commas between: eventpipe, {', '.join(PEERS)}")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help=f"keeps what is found (default: {FILE.name}; quick: none)"
    )
    options = parser.parse_args(arguments)
    subjects = options.subjects.split(",")
    for name in [*(set(options.names) - set(SCENARIOS)), *(set(subjects) - {"eventpipe", *PEERS})]:
        parser.error(f"there is no {name!r}")
    runner = Runner(1 if options.quick else options.runs, python_of)
    file = options.json or (None if options.quick else FILE)
    results = Results() if file is None else Results.read(file)
    results.environment |= environment()
    failures = []
    for subject in subjects:
        if subject in PEERS:
            results.environment |= versions_of(subject)
        known = FOR_ALL if subject in PEERS else SCENARIOS
        for name in [name for name in options.names or known if name in known]:
            began = time.monotonic()
            try:
                for case in cases.quick(SCENARIOS[name](subject)) if options.quick else SCENARIOS[name](subject):
                    for measurement in runner.measure(case):
                        if subject in PEERS and measurement.subject != subject:
                            continue  # it ran beside the library for the sake of the ratios
                        results.add(measurement)
                        print(line(measurement), flush=True)
                    if file is not None:
                        results.write(file)
            except RunError as error:
                if subject not in PEERS:
                    raise
                failures.append(str(error))
                print(error, flush=True)
            print(f"{name} of {subject} took {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failures else 0


def line(measurement: Measurement) -> str:
    """A measurement in a line."""
    parameters = "".join(f", {name} {value}" for name, value in measurement.parameters.items())
    figures = []
    for name, spread in measurement.figures.items():
        ratios = "".join(f", {ratio.median:.2f} x {other}" for other, ratio in measurement.ratios.get(name, {}).items())
        figures.append(f"{name} {spread.median:.4g} ({spread.lowest:.4g} to {spread.highest:.4g}{ratios})")
    counts = f"lost {measurement.lost} and twice {measurement.duplicated} of {measurement.captured}"
    who = f"{measurement.subject} {measurement.settings}{parameters}"
    return f"{measurement.scenario}: {who}: {'; '.join(figures)}; {counts}"
