"""The benchmarks run, and count exactly; how fast they are is for them to say, not for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.wallclock
def test_the_core_benchmark_delivers_each_event_once(tmp_path: Path) -> None:
    """Every event that a subject captured is counted by the far end, in another process, once."""
    report = tmp_path / "core.json"

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "core", "--quick", "--json", str(report)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=55,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    plan = found["plan"]
    # Three subjects, in four settings and once more for the latency; each warms up for a round. Then the loop, of which
    # what found no room was never sent.
    loop = found["sent"]["events"] - 3 * 5 * 8_000 * plan["runs"] * (plan["turns"] * plan["rounds"] + 1)
    dropped = next(figure["value"] for figure in found["figures"] if "dropped" in figure["name"])
    assert loop == plan["loop"] - round(plan["loop"] * dropped / 100)
    assert "as captured" in done.stdout
