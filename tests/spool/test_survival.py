# ruff: noqa: ASYNC110  # threads and processes bring about what is waited for
"""What survives what: a cell of the table in ``docs/spool.md`` is a row here, or names the test that shows it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger

ROOT = Path(__file__).parents[2]
LEVELS = ("memory", "process", "power")
EVENTS = 20
PROGRAM = """
import asyncio, signal, sys
from eventpipe import AsyncClient, TransientSinkError
from eventpipe.sinks import CallbackSink

def down(batch):
    raise TransientSinkError("down")

async def main(folder, level, ending):
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if ending == "SIGTERM, handled":
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncClient(CallbackSink(down, name="far"), spool=folder, durability=level, close_timeout=0.2) as client:
        for number in range(20):
            print((await client.capture("e", properties={"n": number})).uuid)
        print("ready", flush=True)
        if ending == "an exception":
            raise RuntimeError("the program has a fault")
        if ending == "sys.exit()":
            sys.exit(3)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""

# How a program ends, with what signal, and whether what is in memory alone survives that.
ENDINGS: dict[str, tuple[int | None, bool]] = {
    "an exception": (None, True),
    "sys.exit()": (None, True),
    "SIGTERM, handled": (signal.SIGTERM, True),
    "SIGTERM that nobody handles": (signal.SIGTERM, False),
    "kill -9": (signal.SIGKILL, False),
    "out of memory": (signal.SIGKILL, False),  # so the kernel ends a process then
}
OUTAGE = "tests/stress/test_spool_outage.py::test_outage_of_a_day_costs_disk_and_no_memory"
CUT = "tests/spool/test_power_cut.py::test_cut_of_power_loses_nothing_that_power_acknowledged_and_every_file_opens"
FULL = "tests/stress/test_spool_full_disk.py::test_full_disk_costs_what_is_new_and_is_used_again_once_it_is_drained"
FAILING = (
    "tests/spool/test_failing_disk.py::test_operation_of_the_disk_that_fails_costs_nothing_that_was_said_to_be_kept"
)
SENT = "tests/client/test_spool.py::test_event_that_cannot_be_written_is_sent_all_the_same"
DAMAGE = "tests/spool/test_damage.py::test_nothing_altered_is_sent_and_what_is_lost_has_its_number"
ELSEWHERE: dict[str, tuple[str, str, str]] = {  # at each level
    "far end down for a day": (OUTAGE, OUTAGE, OUTAGE),
    "power cut": ("tests/spool/test_survival.py::test_what_survives_how_a_program_ends", CUT, CUT),  # as a kill
    "disk full": (FULL, FAILING, FAILING),
    "write or fsync fails": (SENT, FAILING, FAILING),
    "bit flips": (DAMAGE, DAMAGE, DAMAGE),  # the rows are the same
}


@pytest.mark.wallclock
@pytest.mark.asyncio
@pytest.mark.parametrize(("ending", "level"), [*product(ENDINGS, LEVELS)])
async def test_what_survives_how_a_program_ends(tmp_path: Path, ending: str, level: str) -> None:
    """With its far end down: the next client has all of it, or where it was in memory alone nothing."""
    number, survives = ENDINGS[ending]
    folder = tmp_path / "spool"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(folder), level, ending, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert program.stdout is not None
    uuids = [(await program.stdout.readline()).decode().strip() for _ in range(EVENTS + 1)]
    assert uuids.pop() == "ready"
    if number is not None:
        program.send_signal(number)
    await program.wait()

    kept = set(uuids) if survives or level != "memory" else set()
    sink = MemorySink(name="far")
    async with AsyncClient(sink, spool=folder, max_batch_age=0.01) as client, asyncio.timeout(10):
        while len(sink.uuids) < len(kept) or check_ledger(client).spooled:
            await asyncio.sleep(0.005)
    assert sorted(sink.uuids) == sorted(kept)
    check_ledger(client, received=sink.uuids, drained=True)


def test_each_cell_of_the_table_is_shown_by_a_test() -> None:
    """Those that are not shown here by one that is there."""
    table = (ROOT / "docs" / "spool.md").read_text().split("| what happens |")[1].split("\n\n")[0]
    rows = [line.split("|")[1].strip(" `") for line in table.splitlines()[2:]]
    assert rows == [*ENDINGS, *ELSEWHERE]
    for cells in ELSEWHERE.values():
        for test in cells:
            path, name = test.split("::")
            assert re.search(rf"def {name}\(", (ROOT / path).read_text()), test
