"""Events that outlive an outage and their process: ``COLLECTOR_URL=… python -m examples.outage < users.txt``.

A line of input is a user who signed up, and is on disk before it is printed. Whatever ends this program, and however
long the collector is down: what was printed arrives, from this run or from a later one that uses the same folder.
"""

import asyncio
import os
import sys

from eventpipe import AsyncClient
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")


async def main() -> None:
    # Named, because by its name the next run knows for which sink an event waits.
    collector = HttpSink(COLLECTOR, name="collector")
    async with AsyncClient(collector, spool="events", durability="process", close_timeout=5) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            await client.capture("signed_up", distinct_id=line.strip())
            sys.stdout.write(line)
            sys.stdout.flush()
        report = await client.aclose()
    sys.stderr.write(f"{report.delivered} delivered, {report.spooled} on disk, {report.dropped} dropped\n")


if __name__ == "__main__":
    asyncio.run(main())
