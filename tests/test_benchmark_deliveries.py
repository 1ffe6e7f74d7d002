"""The benchmark of deliveries runs, and finds each of them again; how fast it is is for it to say, not for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.deliveries import LOADS
from benchmarks.delivery_loads import LONG, SHORT
from benchmarks.promises import DELIVERIES, PROMISES
from benchmarks.results import Results
from benchmarks.turns import Found, together

ROOT = Path(__file__).parent.parent
TIMEOUT = 110  # seconds; usual are five to ten, beside other tests


@pytest.mark.wallclock
@pytest.mark.timeout(TIMEOUT + 5)
def test_every_load_finds_its_deliveries_again() -> None:
    """Each runs in a process of its own; what the far end accepted is known to be delivered, and nothing came twice."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "deliveries", "--quick"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(" took ")[0] for line in lines if " took " in line] == [load.name for load in LOADS]
    found = [line for line in lines if " took " not in line]
    assert len(found) >= len(LOADS)
    assert all("lost 0 and twice 0" in line for line in found)


def test_every_promise_finds_its_figure() -> None:
    """Under the names and the parameters that the loads give them."""
    long, few = (
        Found("deliveries", "eventpipe", {"store": "sqlite", "workers": 16, "waiting": count})
        for count in (LONG, SHORT)
    )
    floor = Found("deliveries", "floor", {"workers": 16})
    for one, per_second in ((long, 70.0), (few, 50.0), (floor, 100.0)):
        one.add(per_second=per_second, cpu_us=1.0)
    long.hold_against(floor)
    few.hold_against(floor)
    long.beside(f"{SHORT} waiting", "cpu_us", 1.1)
    many = Found("deliveries_endpoints", "eventpipe", {"store": "sqlite", "workers": 16, "endpoints": 100})
    many.add(cpu_us=3.0)
    many.beside("one endpoint", "cpu_us", 3.0)
    idle = Found("deliveries_idle", "eventpipe", {"store": "sqlite", "settled": LONG})
    idle.add(pass_ms=6.0)
    first = Found("deliveries_first", "eventpipe", {"store": "sqlite", "workers": 16, "per_second": 100})
    first.add(p99_ms=12.0)
    results = Results()
    for found in (long, few, floor, many, idle, first):
        results.add(together([found]))

    judged = [promise.is_met(results) for promise in PROMISES if promise.command == DELIVERIES]

    assert judged == [False, True, True, False, False, True]  # of few, of many, flat, endpoints, idle, first
