"""``python -m benchmarks core``: what the way from ``capture()`` to a delivered batch costs.

The floor and eventpipe take turns on one core, a tenth of a second each, in processes of their own; the far end has the
other core. A ratio is the median over the faster half of the turns: a machine that gets slower slows both sides of it,
and turns that it disturbs do not count. Every run's events are counted by the far end; a difference fails the whole
measurement.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.figures import HEADING, Figure, alone, compared, environment, line
from benchmarks.process import Behaviour, Counts, SinkProcess, SubjectProcess
from benchmarks.workload import Result

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
        runs: Fresh processes of each subject in each setting, and of each figure without a floor.
        turns: Turns that the subjects take in a run, after one round that warms up.
        rounds: Rounds of 8 000 events in a turn, each waited for.
        held: Events pending while memory is measured.
        flushers: Tasks that flush at once.
        herds: Times that they do.
        loop: Events of the loop that never gives way.
    """

    runs: int = 8
    turns: int = 6
    rounds: int = 2
    held: int = 100_000
    flushers: int = 1_000
    herds: int = 15
    loop: int = 100_000


QUICK = Plan(runs=1, turns=1, rounds=1, held=5_000, flushers=100, herds=1, loop=20_000)


class Bench:
    """Runs subjects against one far end, and checks that it counted what they captured."""

    def __init__(self, plan: Plan) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._core = cores[0] if cores else None
        self._sink = SinkProcess(cores[-1] if len(cores) > 1 else None)
        self.plan = plan
        self.sent = Counts()  # everything the far end counted, over all runs

    def close(self) -> None:
        """End the far end."""
        self._sink.__exit__()

    def run(self, scenario: str, **arguments: object) -> Result:
        """One measurement in a process of its own."""
        with self._subject(scenario, **arguments) as subject:
            return subject.turn()

    def send(self, scenario: str, **arguments: object) -> Result:
        """One measurement against the far end, which must have read each captured event once, by its id."""
        self._sink.reset(Behaviour(verify=True))
        result = self.run(scenario, url=self._sink.url, **arguments)
        self._check(f"{scenario} {arguments}", result["captured"], by_id=True)
        return result

    def turns(
        self, scenario: str, *, subjects: Sequence[str] = SUBJECTS, **arguments: object
    ) -> list[dict[str, Result]]:
        """What every subject needed, turn by turn; who comes first changes from turn to turn."""
        turns: list[dict[str, Result]] = []
        for _ in range(self.plan.runs):
            self._sink.reset()
            with ExitStack() as stack:
                processes = {
                    name: stack.enter_context(self._subject(scenario, subject=name, url=self._sink.url, **arguments))
                    for name in subjects
                }
                for process in processes.values():
                    process.turn()  # warms up
                order = list(subjects)
                for _ in range(self.plan.turns):
                    turns.append({name: processes[name].turn() for name in order})
                    order.append(order.pop(0))
            captured = sum(result["captured"] for result in turns[-1].values())
            self._check(f"{scenario} {arguments}", captured)
        return turns

    def _subject(self, scenario: str, **arguments: object) -> SubjectProcess:
        return SubjectProcess({"scenario": scenario, "cpu": self._core, **arguments})

    def _check(self, what: str, captured: int, *, by_id: bool = False) -> None:
        """Compare with the far end's count, and add to the sum of all."""
        counts = self._sink.counts()
        if counts.events != captured or (by_id and counts.unique != counts.events):
            raise SystemExit(f"{what}: captured {captured}, the far end counted {counts}")
        self.sent.events += counts.events
        self.sent.requests += counts.requests
        self.sent.read += counts.read
        self.sent.bytes += counts.bytes
        self.sent.cpu += counts.cpu


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

    held = [bench.run("memory", events=plan.held)["bytes"] for _ in range(plan.runs)]
    tell(alone(f"memory per event, {plan.held} queued", "B", MAX_QUEUED_BYTES, held))

    herds = [bench.run("flush", flushers=plan.flushers, repeats=plan.herds) for _ in range(plan.runs)]
    name = f"flush, each of {plan.flushers} at once"
    tell(alone(name, "µs", MAX_FLUSH_US, [herd["us"] for herd in herds], is_time=True))
    tell(alone("  the task around it", "µs", None, [herd["task_us"] for herd in herds], is_time=True))

    loops = [bench.send("starvation", events=plan.loop) for _ in range(plan.runs)]
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
