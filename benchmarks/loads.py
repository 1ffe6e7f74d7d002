"""What one process does for one run of a scenario: ``python -m benchmarks.loads '{"load": "throughput", …}'``.

The command names the load, the subject and its setup. Each line on standard input is a turn: a JSON object with the
load's arguments, answered by one with what was found; between its turns a subject stands still. CPU is
``time.process_time()``: user and system time of every thread of this process. Nothing but the standard library is
imported beside the subject's driver, so that every library runs this in an environment of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import fast, slow
from benchmarks.clocks import CountingLoop
from benchmarks.process import pin
from benchmarks.subject import Accounting, Setup, load
from benchmarks.workload import Result, endless, pool

LOADS: dict[str, Callable[..., Awaitable[Result]]] = {
    "throughput": fast.throughput,
    "hurried": fast.hurried,
    "flood": fast.flood,
    "tight_loop": fast.tight_loop,
    "burst": fast.burst,
    "flush_storm": fast.flush_storm,
    "paced": slow.paced,
    "steady": slow.steady,
    "mute_close": slow.mute_close,
    "memory": slow.memory,
    "idle": slow.idle,
}
# After these nothing is left to be closed in peace: the far end never answers.
ENDING = ("mute_close", "memory")


async def run(command: dict[str, Any]) -> None:  # Any: JSON
    """Take a turn for each line on standard input, then close the subject."""
    subject = await load(command["subject"])(Setup(**command["setup"]))
    events = endless(pool(event_bytes=command["event_bytes"]))
    for line in sys.stdin:
        gc.collect()  # what was before is not this turn's
        result = await LOADS[command["load"]](subject, events, **json.loads(line))
        result["dropped"] = subject.dropped() if isinstance(subject, Accounting) else None
        print(json.dumps(result), flush=True)
    if command["load"] in ENDING:
        os._exit(0)
    await subject.close()


def main() -> None:
    command = json.loads(sys.argv[1])
    pin(command["cpu"])
    logging.disable()  # what a library says of a far end that fails would be printed, and cost as much as its events
    with asyncio.Runner(loop_factory=CountingLoop if command["load"] == "idle" else None) as runner:
        runner.run(run(command))


if __name__ == "__main__":
    main()
