"""The benchmark of the log runs, and finds every event again; how fast it is is for it to say, not for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.log import LOADS
from benchmarks.promises import LOG, PROMISES
from benchmarks.results import Results
from benchmarks.turns import Found, judge, together

ROOT = Path(__file__).parent.parent
TIMEOUT = 170  # seconds; usual are ten to twenty, beside other tests


@pytest.mark.wallclock
@pytest.mark.timeout(TIMEOUT + 5)
def test_every_load_finds_its_events_again() -> None:
    """Each runs in a process of its own, and loses nothing, whoever does the work."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "log", "--quick"],
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


def test_run_is_the_median_of_its_turns() -> None:
    """A measurement has the spread of its runs, and of a ratio that of the turns, not of the figures."""
    runs = [_found([1.0, 4.0, 3.0], [10.0, 10.0, 10.0]), _found([9.0, 9.0, 9.0], [10.0, 30.0, 10.0])]

    measurement = together(runs)

    assert (measurement.captured, measurement.delivered) == (4, 4)
    cost, to_floor = measurement.figures["cpu_us"], measurement.ratios["cpu_us"]["floor"]
    assert (cost.median, cost.lowest, cost.highest, cost.runs) == (6.0, 3.0, 9.0, 2)
    assert [to_floor.lowest, to_floor.highest] == pytest.approx([0.3, 0.9])


def test_promise_that_is_not_kept_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """With both numbers; what was not measured is not judged."""
    promise = next(promise for promise in PROMISES if promise.command == LOG and "a consumer's" in promise.what)
    ours, floor = (Found("log_consume", subject, {"store": "sqlite"}) for subject in ("eventpipe", "floor"))
    ours.add(per_second=59.0)
    floor.add(per_second=100.0)
    ours.hold_against(floor)
    results = Results()
    assert judge(promise, results)
    results.add(together([ours]))

    assert not judge(promise, results)
    assert capsys.readouterr().out.split()[-4:] == ["≥", "0.6", "NOT", "MET"]


def _found(ours: list[float], beside: list[float]) -> Found:
    found, floor = (
        Found("log_append", subject, {"store": "sqlite"}, captured=2, delivered=2) for subject in ("eventpipe", "floor")
    )
    for cost, other in zip(ours, beside, strict=True):
        found.add(cpu_us=cost)
        floor.add(cpu_us=other)
    found.hold_against(floor)
    return found
