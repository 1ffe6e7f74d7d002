"""One cell of either table, proved with real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.far_end import FarEnd
from tests.processes import exits, forks

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
# Of a program whose children were all late: a machine may be busy for as long as one program takes.
RETRIES = 4


def prove_exit(way: str, form: str, folder: Path, *, before: str = "") -> None:
    """Run the program of a cell; delivered: each once, and no line; reported: the number is in the log; lost: neither.

    Kept: nothing arrives from it, and each once from the next program that has the spool.

    Args:
        way: A row of the table.
        form: A column.
        folder: Where it runs.
        before: What the program does first.
    """
    with FarEnd() as far_end:
        process = subprocess.Popen(
            [sys.executable, "-c", before + exits.program(way, form), far_end.url],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if form == exits.INSIDE_A_HANDLER:
                assert process.stdout is not None
                _ask(int(process.stdout.readline()))
                process.terminate()  # where the handler has not ended it, as every server is ended
            _, told = process.communicate(timeout=40)
        finally:
            process.kill()
            process.wait()
        fate = exits.fate(way, form)
        if fate == "kept":
            assert far_end.names == []
            subprocess.run(
                [sys.executable, "-c", before + exits.NEXT, far_end.url],
                cwd=folder,
                env=ENVIRONMENT,
                timeout=40,
                check=True,
            )

    counted = [line for line in told.splitlines() if "not closed" in line]
    expected = [f"e{number}" for number in range(exits.EVENTS)]
    assert sorted(far_end.names) == (sorted(expected) if fate in ("delivered", "kept") else [])
    assert len(set(far_end.ids)) == len(far_end.ids)
    if fate == "kept":
        is_told = exits.fate(way, exits.NOT_CLOSED) == "reported"  # else nothing of the program runs any more
        assert [f"{exits.EVENTS} events were pending at exit and on disk" in line for line in counted] == [
            True
        ] * is_told
    elif fate == "reported":
        assert f"{exits.EVENTS} events were pending at exit" in counted[0]
    elif "exit_timeout" in form and fate == "delivered":
        assert f"{exits.EVENTS} events were delivered and 0 dropped" in counted[0]
    else:
        assert counted == []


def prove_fork(way: str, state: str, folder: Path, *, before: str = "") -> None:
    """Run the program of a cell: each event arrives once, and 10 ms after a fork the child has captured its first.

    Args:
        way: A row of the table.
        state: A column.
        folder: Where the program may be kept, for children that import it.
        before: What the program does first.
    """
    script = folder / "program.py"
    script.write_text(before + forks.program(way, state))
    soonest = _soonest_capture(script, way, state)
    for _ in range(RETRIES):
        if soonest > 0.010:
            soonest = min(soonest, _soonest_capture(script, way, state))
    assert soonest <= 0.010


def _soonest_capture(script: Path, way: str, state: str) -> float:
    """Seconds after which the quickest of the forked children had captured; zero where none was forked."""
    with FarEnd() as far_end:
        done = subprocess.run(
            [sys.executable, str(script), far_end.url],
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert sorted(far_end.names) == forks.arriving(way, state)
    assert len(set(far_end.ids)) == len(far_end.ids)
    _, _, is_forked = forks.WAYS[way]
    took = [float(word) for word in done.stdout.split()]
    assert len(took) == (forks.MEASURED + 1 if is_forked else 0)
    return min(took, default=0.0)


def _ask(port: int) -> None:
    """Make the request that ends the server, or does not; whatever it answers is right."""
    # The socket listens already: a request waits in it until the server is up.
    with contextlib.suppress(urllib.error.HTTPError, OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).close()
