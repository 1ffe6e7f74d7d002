"""``python -m benchmarks core``: what the way from ``capture()`` to a delivered batch costs.

The floor and eventpipe take turns, each run in a fresh process on one core, the far end in another process on the other
core. A ratio is the median over the turns, so that a machine that gets slower slows both sides of it. Every run's
events are counted by the far end; a difference fails the whole measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.figures import HEADING, Figure, alone, compared, environment, line
from benchmarks.sink import Counts, SinkProcess
from benchmarks.workload import Result

RUN_TIMEOUT = 60.0  # seconds that one process may take; usual are one to three

# What eventpipe promises of itself, as printed beside each figure.
MAX_CPU_RATIO = 1.3
MAX_CAPTURE_RATIO = 1.5
MAX_QUEUED_BYTES = 650
MAX_FLUSH_US = 15.0
# A dispatcher that never got a turn in the loop would leave all of it; ten queues full pass in it.
MAX_LEFT_PERCENT = 50

SUBJECTS = ("floor", "tuned", "eventpipe")
TUNED = "  against the floor with a cached stamp"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        runs: Runs of each subject in each setting; figures without a floor take three.
        rounds: Rounds of 8 000 events in a run, after one that warms up.
        held: Events pending while memory is measured.
        flushers: Tasks that flush at once.
        herds: Times that they do.
        loop: Events of the loop that never gives way.
        seconds: After them no further turn is begun, but the first of a setting.
    """

    runs: int = 9
    rounds: int = 10
    held: int = 100_000
    flushers: int = 1_000
    herds: int = 15
    loop: int = 100_000
    seconds: float = 300.0


QUICK = Plan(runs=1, rounds=1, held=5_000, flushers=100, herds=1, loop=20_000, seconds=30.0)


class Bench:
    """Runs subjects against one far end, and checks that it counted what they captured."""

    def __init__(self, plan: Plan) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._core = cores[0] if cores else None
        self._sink = SinkProcess(cores[-1] if len(cores) > 1 else None)
        self.plan = plan
        self.sent = Counts()  # everything the far end counted, over all runs
        self._deadline = time.monotonic() + plan.seconds

    def close(self) -> None:
        """End the far end."""
        self._sink.__exit__()

    def run(self, scenario: str, **arguments: object) -> Result:
        """One measurement in a process of its own."""
        command = json.dumps({"scenario": scenario, "cpu": self._core, **arguments})
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.subjects", command],
            check=False,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT,
        )
        if done.returncode:
            raise SystemExit(f"{scenario} {arguments} failed:\n{done.stderr}")
        result: Result = json.loads(done.stdout)
        return result

    def send(self, scenario: str, verify: bool = False, **arguments: object) -> Result:
        """One measurement against the far end, which must have counted each captured event once."""
        self._sink.reset(verify=verify)
        result = self.run(scenario, url=self._sink.url, **arguments)
        counts = self._sink.counts()
        if counts.events != result["captured"] or (verify and counts.unique != counts.events):
            raise SystemExit(f"{scenario} {arguments}: captured {result['captured']}, the far end counted {counts}")
        self.sent.events += counts.events
        self.sent.requests += counts.requests
        self.sent.bytes += counts.bytes
        self.sent.cpu += counts.cpu
        return result

    def turns(self, scenario: str, **arguments: object) -> list[dict[str, Result]]:
        """What every subject needed, turn by turn; who comes first changes from turn to turn."""
        turns: list[dict[str, Result]] = []
        order = list(SUBJECTS)
        while len(turns) < self.plan.runs and (not turns or time.monotonic() < self._deadline):
            turns.append({name: self.send(scenario, False, subject=name, **arguments) for name in order})
            order.append(order.pop(0))
        return turns


def measure(bench: Bench, tell: Callable[[Figure], None]) -> None:
    """All figures, each told as soon as it is known."""
    plan = bench.plan
    for gzip in (False, True):
        for batch_events in (100, 500):
            turns = bench.turns("cpu", batch_events=batch_events, gzip=gzip, rounds=plan.rounds)
            name = f"CPU per event, {batch_events} a batch, {'gzip' if gzip else 'plain'}"
            tell(compared(name, MAX_CPU_RATIO, "cpu_us", turns))
            tell(compared(TUNED, None, "cpu_us", turns, "tuned"))
    turns = bench.turns("latency", batch_events=500, gzip=True, rounds=plan.rounds)
    tell(compared("await capture(), p50", MAX_CAPTURE_RATIO, "p50_us", turns))
    tell(compared(TUNED, None, "p50_us", turns, "tuned"))
    tell(compared("await capture(), p99", None, "p99_us", turns))

    few = range(min(plan.runs, 3))
    held = [bench.run("memory", events=plan.held)["bytes"] for _ in few]
    tell(alone(f"memory per event, {plan.held} queued", "B", MAX_QUEUED_BYTES, held))

    herds = [bench.run("flush", flushers=plan.flushers, repeats=plan.herds) for _ in few]
    tell(alone(f"flush, each of {plan.flushers} at once", "µs", MAX_FLUSH_US, [herd["us"] for herd in herds]))
    tell(alone("  the task around it", "µs", None, [herd["task_us"] for herd in herds]))

    loops = [bench.send("starvation", True, events=plan.loop) for _ in few]
    left = [100 * (1 - loop["delivered_share"]) for loop in loops]
    tell(alone(f"not delivered when a loop of {plan.loop} captures ends", "%", MAX_LEFT_PERCENT, left))
    tell(alone("  dropped in it, the queue being full", "%", None, [100 * loop["dropped_share"] for loop in loops]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 when every promise is kept, 1 when one is not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks core", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that it works, judges nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    where = environment()
    print(", ".join(f"{name} {value}" for name, value in where.items()), flush=True)
    print(HEADING, flush=True)

    figures: list[Figure] = []

    def tell(figure: Figure) -> None:
        figures.append(figure)
        print(line(figure, judge=not options.quick), flush=True)

    bench = Bench(plan)
    try:
        measure(bench, tell)
    finally:
        bench.close()
    sent = bench.sent
    print(f"the far end counted {sent.events} events in {sent.requests} requests, as captured")
    print(f"and used {sent.cpu / sent.events * 1e6:.2f} µs of its core for each")
    if options.json:
        found = [asdict(figure) | {"is_met": figure.is_met} for figure in figures]
        report = {"environment": where, "plan": asdict(plan), "sent": asdict(sent), "figures": found}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if options.quick or all(figure.is_met is not False for figure in figures) else 1
