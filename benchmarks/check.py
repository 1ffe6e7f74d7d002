"""``python -m benchmarks check``: has the way of an event become slower than it was recorded to be?

In under a minute eventpipe and the floor take turns, as in ``core``. What is held against the record is the ratio
between the two, so that another machine, or a slow minute of this one, is no news; one that is worse by more than 15 %
is. ``--record`` keeps today's ratios in ``benchmarks/recorded.json``, for a change that is worth its price.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.core import Bench, Plan
from benchmarks.figures import compared, environment
from benchmarks.workload import Result

RECORD = Path(__file__).parent / "recorded.json"
ALLOWED = 1.15  # times the recorded ratio
PLAN = Plan(runs=4, turns=8, rounds=2)
QUICK = Plan(runs=1, turns=1, rounds=1)

# Name, scenario, what is compared, and the setting. The capture by itself shows what is lost in the sum.
CHECKS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("CPU per event, 100 a batch, plain", "cpu", "cpu_us", {"batch_events": 100, "gzip": False}),
    ("CPU per event, 500 a batch, plain", "cpu", "cpu_us", {"batch_events": 500, "gzip": False}),
    ("CPU per event, 500 a batch, gzip", "cpu", "cpu_us", {"batch_events": 500, "gzip": True}),
    ("await capture(), p50", "latency", "p50_us", {"batch_events": 500, "gzip": False}),
)


def ratios(bench: Bench) -> dict[str, float]:
    """How many times the floor's each figure is."""
    found: dict[str, float] = {}
    for name, scenario, key, setting in CHECKS:
        turns: list[dict[str, Result]] = bench.turns(
            scenario, subjects=("tuned", "eventpipe"), rounds=bench.plan.rounds, **setting
        )
        found[name] = compared(name, None, key, turns, "tuned").judged
    return found


def verdicts(found: dict[str, float], recorded: dict[str, float]) -> dict[str, bool]:
    """Whether each figure is within what is allowed.

    Raises:
        SystemExit: The record has other figures than were measured.
    """
    if found.keys() != recorded.keys():
        raise SystemExit(f"{RECORD.name} has other figures than are measured now; record them anew with --record")
    return {name: ratio <= ALLOWED * recorded[name] for name, ratio in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each ratio beside the recorded one; 0 when all are within what is allowed, 1 when one is not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks check", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--record", action="store_true", help=f"keep what is found in {RECORD.name}, and judge nothing")
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that it works, judges nothing")
    options = parser.parse_args(arguments)
    bench = Bench(QUICK if options.quick else PLAN)
    try:
        found = ratios(bench)
    finally:
        bench.close()
    if options.record:
        kept = {"date": datetime.now(UTC).date().isoformat(), "environment": environment(), "ratios": found}
        RECORD.write_text(json.dumps(kept, indent=2) + "\n")
        return 0
    recorded: dict[str, float] = json.loads(RECORD.read_text())["ratios"]
    within = verdicts(found, recorded)
    print(f"{'times the floor':<40}{'now':>7}{'recorded':>10}{'allowed':>9}")
    for name, ratio in found.items():
        word = "" if options.quick else "ok" if within[name] else "SLOWER"
        print(f"{name:<40}{ratio:>7.2f}{recorded[name]:>10.2f}{ALLOWED * recorded[name]:>9.2f}  {word}".rstrip())
    return 0 if options.quick or all(within.values()) else 1
