"""Ends, children and blocks of a process whose loops are uvloop's: as in the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.exits import FORMS, INSIDE_A_HANDLER
from tests.processes.forks import STATES
from tests.processes.proofs import prove_exit, prove_fork

pytestmark = pytest.mark.wallclock

# As uvloop.run() does, on every Python.
ON_UVLOOP = """
import asyncio, uvloop

def run(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert type(runner.get_loop()) is uvloop.Loop
        return runner.run(main)

asyncio.run = run
"""
OF_SCRIPTS = [form for form in FORMS if form != INSIDE_A_HANDLER]


@pytest.mark.parametrize("form", [pytest.param(form, id=form.replace("`", "")) for form in OF_SCRIPTS])
@pytest.mark.parametrize("way", ["return", "SIGTERM, handled", "SIGINT (Ctrl-C)"])
def test_what_is_pending_at_the_end_of_a_process(way: str, form: str, tmp_path: Path) -> None:
    """What the table says, with the loop that the script runs on, closed or not."""
    prove_exit(way, form, tmp_path, before=ON_UVLOOP)


@pytest.mark.parametrize("state", STATES)
def test_a_child_forked_inside_a_coroutine_sends_what_is_its_own(state: str, tmp_path: Path) -> None:
    """In a process whose loops, before and after the fork, are uvloop's."""
    prove_fork("`os.fork()` inside a coroutine", state, tmp_path, before=ON_UVLOOP)
