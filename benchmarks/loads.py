"""What one process does for one run of a scenario: ``python -m benchmarks.loads '{"load": "throughput", …}'``.

The command names the load, its arguments, the subject and its setup. Each line on standard input is a turn, answered by
a line with a JSON object; between its turns a subject stands still. CPU is ``time.process_time()``: user and system
time of every thread of this process. Nothing but the standard library is imported beside the subject's driver, so that
every library runs this in an environment of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from benchmarks.process import pin
from benchmarks.subject import Accounting, Setup, Subject, load
from benchmarks.workload import EVENT_BYTES, Captured, Result, endless, pool, take

ROUND = 8_000  # below the bound of 10 000 that most queues have, and a whole number of batches of 100 and of 500

Load = Callable[..., Awaitable[Result]]


async def throughput(
    subject: Subject, events: Iterator[Captured], *, total: int, batch_events: int, round_events: int = ROUND
) -> Result:
    """Capture as fast as it goes, in rounds that the queue has room for, each waited for.

    The producer gives way after as many events as fill a batch: for a loop written by hand the best that can happen.
    """
    began, wall = time.process_time(), time.perf_counter()
    for done in range(0, total, round_events):
        size = min(round_events, total - done)
        for at in range(0, size, batch_events):
            await capture(subject, take(events, min(batch_events, size - at)))
            await asyncio.sleep(0)
        await subject.drain()
    return _speed(total, began, wall)


async def capture(subject: Subject, events: Iterator[Captured]) -> None:
    """Capture all of ``events`` in a row."""
    call = subject.capture
    if subject.is_async:
        for event, distinct_id, properties in events:
            await call(event, distinct_id=distinct_id, properties=properties)
    else:
        for event, distinct_id, properties in events:
            call(event, distinct_id=distinct_id, properties=properties)


def _speed(total: int, began: float, wall: float) -> Result:
    used, elapsed = time.process_time() - began, time.perf_counter() - wall
    return {"captured": total, "figures": {"cpu_us": used / total * 1e6, "per_second": total / elapsed}}


LOADS: dict[str, Load] = {"throughput": throughput}


async def run(command: dict[str, Any]) -> None:  # Any: JSON
    """Take a turn for each line on standard input, then close the subject."""
    subject = await load(command["subject"])(Setup(**command["setup"]))
    events = endless(pool(event_bytes=command.get("event_bytes", EVENT_BYTES)))
    for _ in sys.stdin:
        gc.collect()  # what was before is not this turn's
        result = await LOADS[command["load"]](subject, events, **command["arguments"])
        result["dropped"] = subject.dropped() if isinstance(subject, Accounting) else None
        print(json.dumps(result), flush=True)
    await subject.close()


def main() -> None:
    command = json.loads(sys.argv[1])
    pin(command["cpu"])
    asyncio.run(run(command))


if __name__ == "__main__":
    main()
