"""The example of a spool, run as its users run it: in processes, with the far end dead, killed, and again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.far_end import FarEnd

ROOT = Path(__file__).parents[2]
DEAD = "http://127.0.0.1:9/events"  # where nobody listens

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60)]


@contextmanager
def running(folder: Path, collector: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "examples.outage"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLLECTOR_URL": collector},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def sign_up(process: subprocess.Popen[str], *users: str) -> None:
    """Have users captured; back when all of them are on disk."""
    assert process.stdin is not None
    assert process.stdout is not None
    for user in users:
        process.stdin.write(f"{user}\n")
    process.stdin.flush()
    assert [process.stdout.readline().strip() for _ in users] == [*users]


def await_people(far_end: FarEnd, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(far_end.people) < count:
        assert time.monotonic() < deadline, far_end.people
        time.sleep(0.01)


def test_what_was_printed_arrives_whatever_ended_the_program(tmp_path: Path) -> None:
    """Killed with the collector down, ended in order with it down, then run with it there: each user once."""
    users = [f"user{number}" for number in range(20)]
    with running(tmp_path, DEAD) as killed:
        sign_up(killed, *users[:10])
        killed.kill()
        assert killed.wait(10) == -9
    with running(tmp_path, DEAD) as ended:
        sign_up(ended, *users[10:])
        _, told = ended.communicate(timeout=20)
        assert (ended.returncode, told.splitlines()[-1]) == (0, "0 delivered, 20 on disk, 0 dropped")
    with FarEnd() as collector, running(tmp_path, collector.url) as last:
        sign_up(last, "late")
        await_people(collector, 21)
        _, told = last.communicate(timeout=20)
        assert (last.returncode, told.splitlines()[-1]) == (0, "21 delivered, 0 on disk, 0 dropped")
        assert (len(collector.people), {*collector.people}) == (21, {*users, "late"})
    assert list((tmp_path / "events").iterdir()) == []
