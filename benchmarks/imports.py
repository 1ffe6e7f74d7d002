"""What a process pays before its first event: ``import eventpipe``, beside the libraries that it is made of."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 15
PROBE = "{before}\nimport time; begun = time.process_time()\n{statement}\nprint(time.process_time() - begun)"
# Coverage loads a dozen modules into every process, and without bytecode the compiler would be measured.
FOREIGN = ("COVERAGE_", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True, slots=True)
class Step:
    """A statement, and what the process did before it that does not count."""

    statement: str
    before: str = ""


LIBRARIES = "import asyncio, orjson; from pydantic import BaseModel"
STEPS: dict[str, Step] = {
    "libraries": Step(LIBRARIES),
    "libraries_and_model": Step(LIBRARIES + "\nclass Model(BaseModel): number: int = 0"),
    "eventpipe": Step("import eventpipe"),
    "sinks": Step("import eventpipe.sinks", "import eventpipe"),
    "first_client": Step(
        "eventpipe.AsyncClient(sink)",
        "import eventpipe\nfrom eventpipe.sinks import MemorySink\nsink = MemorySink()",
    ),
}


def environ(**more: str) -> dict[str, str]:
    """The environment of this process, less what would change the cost of an import."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)} | more


def cost_of(step: Step, bytecode: str) -> float:
    """CPU milliseconds that a new process spends on ``step``, with compiled files kept in ``bytecode``."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(before=step.before, statement=step.statement)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environ(PYTHONPYCACHEPREFIX=bytecode),
    )
    return float(run.stdout) * 1000


def rounds(steps: Mapping[str, Step]) -> Generator[dict[str, float]]:
    """CPU milliseconds of each step, in a process of its own: one round after the other, for as long as asked."""
    with tempfile.TemporaryDirectory() as bytecode:
        for step in steps.values():
            cost_of(step, bytecode)  # compiles
        while True:
            yield {name: cost_of(step, bytecode) for name, step in steps.items()}


def measure(steps: Mapping[str, Step] = STEPS, runs: int = RUNS) -> dict[str, list[float]]:
    """CPU milliseconds of each step in ``runs`` processes; the steps take turns."""
    with contextlib.closing(rounds(steps)) as endless:
        found = list(itertools.islice(endless, runs))
    return {name: [costs[name] for costs in found] for name in steps}


def summary(costs: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """The quickest run and the median of each step in milliseconds, and the quickest as a ratio to ``libraries``.

    What else a busy machine does can only add to a run, so that the quickest ones compare best.
    """
    least = min(costs["libraries"])
    return {
        name: {"min_ms": min(runs), "median_ms": statistics.median(runs), "ratio": min(runs) / least}
        for name, runs in costs.items()
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks imports", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="processes per step")
    found = summary(measure(runs=parser.parse_args(arguments).runs))
    print(f"{'CPU ms':20} {'quickest':>9} {'median':>9} {'ratio':>6}")
    for name, figures in found.items():
        print(f"{name:20} {figures['min_ms']:9.2f} {figures['median_ms']:9.2f} {figures['ratio']:6.2f}")
    return 0
