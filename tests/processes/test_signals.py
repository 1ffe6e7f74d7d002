"""The page's way to end a program by SIGTERM, in a program that is never at rest."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.far_end import FarEnd

pytestmark = pytest.mark.wallclock

PAGE = Path(__file__).parents[2] / "docs" / "processes.md"
BUSY = """
    from eventpipe import AsyncClient
    from eventpipe.sinks import HttpSink
    number = 0
    try:
        async with AsyncClient(HttpSink(sys.argv[1], compression=None), batch_events=7) as client:
            print("captures", flush=True)
            while True:
                await client.capture(f"e{number}")
                number += 1
                if number % 50 == 0:
                    await asyncio.sleep(0)
    finally:
        counted = client.statistics()
        print(number, counted.captured, counted.delivered, counted.dropped, counted.pending)
"""


@pytest.mark.parametrize("run", range(4))
def test_a_busy_program_that_sigterm_cancels_delivers_everything(run: int) -> None:
    """Whatever it is at when the signal comes: each event arrives once, and the program ends with its status."""
    recipe = re.search(
        r"^```python\n(import asyncio\nimport signal.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert recipe is not None
    program = recipe[1].replace("    ...  # async with AsyncClient(...) as client:\n", BUSY) + "\nrun()\n"
    with FarEnd() as far_end:
        process = subprocess.Popen(
            [sys.executable, "-c", program, far_end.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "captures\n"
            process.send_signal(signal.SIGTERM)
            said, told = process.communicate(timeout=40)
        finally:
            process.kill()
            process.wait()

    assert (process.returncode, told) == (128 + signal.SIGTERM, "")
    number, captured, delivered, dropped, pending = map(int, said.split())
    assert captured in (number, number + 1)  # cancelled at the end of a capture, the last one is not in the number
    assert (delivered, dropped, pending) == (captured, 0, 0)
    assert sorted(far_end.names) == sorted(f"e{one}" for one in range(captured))
