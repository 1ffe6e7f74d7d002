"""The benchmark of the spool runs, and finds every event again; how fast it is is for it to say, not for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.spool import LOADS

ROOT = Path(__file__).parent.parent
TIMEOUT = 170  # seconds; usual are ten to twenty, beside other tests


@pytest.mark.wallclock
@pytest.mark.timeout(TIMEOUT + 5)
def test_every_load_finds_its_events_again() -> None:
    """Each runs in a process of its own, and loses nothing, with a spool, without one and by hand."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "spool", "--quick"],
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
