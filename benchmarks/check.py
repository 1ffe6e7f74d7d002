"""``python -m benchmarks check``: has the way of an event become slower than it was recorded to be?

In a minute eventpipe and what it is compared with, as a rule the floor, take turns on one core. What is held against
the record is the ratio of the two, so that another machine, or a slow minute of this one, is no news; one that is worse
by more than 15 % is.
``--record`` keeps today's ratios in ``benchmarks/recorded.json``, for a change that is worth its price.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import NamedTuple

from benchmarks.environments import python_of
from benchmarks.results import environment
from benchmarks.runner import Case, Contender, Options, Runner

RECORD = Path(__file__).parent / "recorded.json"
ALLOWED = 1.15  # times the recorded ratio
RUNS, TURNS = 4, 8
TURN_EVENTS = 16_000


class Check(NamedTuple):
    """A figure that is guarded: its name, the load, which of its figures it is, between whom, of what settings.

    ``most``: what it may not exceed, whatever was recorded.
    """

    name: str
    load: str
    figure: str
    options: Options
    base: Contender = Contender("floor")
    own: Contender = Contender("eventpipe")
    most: float = inf


# The capture by itself shows what would be lost in the sum.
CHECKS = (
    Check("CPU per event, 100 a batch", "throughput", "cpu_us", {"batch_events": 100, "gzip": False}),
    Check("CPU per event, 500 a batch", "throughput", "cpu_us", {"batch_events": 500, "gzip": False}),
    Check("CPU per event, 500 a batch, gzip", "throughput", "cpu_us", {"batch_events": 500, "gzip": True}),
    Check("await capture(), p50", "hurried", "p50_us", {"batch_events": 500, "gzip": False}),
    Check(
        "CPU per event, PostHog v1 to v0",
        "throughput",
        "cpu_us",
        {"batch_events": 500, "gzip": False},
        base=Contender("eventpipe", options={"codec": "posthog"}, name="v0"),
        own=Contender("eventpipe", options={"codec": "posthog-v1"}, name="v1"),
        most=1.1,
    ),
)


def ratios(*, is_quick: bool) -> dict[str, float]:
    """How many times that of its base each figure is."""
    runner = Runner(1 if is_quick else RUNS, python_of)
    turns = 1 if is_quick else TURNS
    found = {}
    for check in CHECKS:
        contenders = [replace(one, options={**check.options, **one.options}) for one in (check.base, check.own)]
        arguments = {"total": TURN_EVENTS, "batch_events": check.options["batch_events"]}
        base = check.base.name or check.base.subject
        case = Case("check", check.load, contenders, arguments, turns=turns, baselines=(base,))
        own = runner.measure(case)[-1]
        found[check.name] = own.ratios[check.figure][base].median
    return found


def limits(recorded: dict[str, float]) -> dict[str, float]:
    """The highest that each figure may be."""
    most = {check.name: check.most for check in CHECKS}
    return {name: min(ALLOWED * ratio, most.get(name, inf)) for name, ratio in recorded.items()}


def verdicts(found: dict[str, float], recorded: dict[str, float]) -> dict[str, bool]:
    """Whether each figure is within what is allowed.

    Raises:
        SystemExit: The record has other figures than were measured.
    """
    if found.keys() != recorded.keys():
        raise SystemExit(f"{RECORD.name} has other figures than are measured now; keep today's with --record")
    return {name: found[name] <= limit for name, limit in limits(recorded).items()}


def main(arguments: Sequence[str] = ()) -> int:
    """Print each ratio beside the recorded one; 0 when all are within what is allowed, 1 when one is not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks check", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--record", action="store_true", help=f"keep what is found in {RECORD.name}, and judge nothing")
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that it works, judges nothing")
    options = parser.parse_args(arguments)
    found = ratios(is_quick=options.quick)
    if options.record:
        kept = {"date": datetime.now(UTC).date().isoformat(), "environment": environment(), "ratios": found}
        RECORD.write_text(json.dumps(kept, indent=2) + "\n")
        return 0
    recorded: dict[str, float] = json.loads(RECORD.read_text())["ratios"]
    within, allowed = verdicts(found, recorded), limits(recorded)
    print(f"{'times the floor, or what is named':<40}{'now':>7}{'recorded':>10}{'allowed':>9}")
    for name, ratio in found.items():
        word = "" if options.quick else "ok" if within[name] else "SLOWER"
        print(f"{name:<40}{ratio:>7.2f}{recorded[name]:>10.2f}{allowed[name]:>9.2f}  {word}".rstrip())
    return 0 if options.quick or all(within.values()) else 1
