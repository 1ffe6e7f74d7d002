"""One event, three destinations that fail by themselves: ``COLLECTOR_URL=… python -m examples.fan_out < users.txt``.

A line of input is a user who signed up. What the warehouse missed while it was down it gets from a later run, with or
without new input, in order; the others get nothing twice.
"""

import asyncio
import os
import sys
from collections.abc import Iterable

from eventpipe import AsyncClient, Consumer, EventLog
from eventpipe.sinks import FileSink, HttpSink, LogSink
from eventpipe.stores import SqliteStore

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")
WAREHOUSE = os.environ.get("WAREHOUSE_URL", "http://127.0.0.1:9/events")  # where nobody listens


async def main(users: Iterable[str]) -> int:
    async with EventLog(SqliteStore("signups.db")) as log:
        async with (
            Consumer(log, "signups", "audit", FileSink("audit.ndjson")),
            Consumer(log, "signups", "collector", HttpSink(COLLECTOR), max_attempts=None),  # however long it is down
            Consumer(log, "signups", "warehouse", HttpSink(WAREHOUSE), max_attempts=None),
            AsyncClient(LogSink(log, "signups"), overflow="wait") as client,
        ):
            for user in users:
                await client.capture("signed_up", distinct_id=user.strip())
        # The client has sent what it had to the log, and each consumer has made a last pass over what it found there.
        pending = {info.name: info.pending for info in await log.consumers("signups")}
    sys.stderr.write("".join(f"{name}: {events} pending\n" for name, events in pending.items()))
    return 1 if any(pending.values()) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.stdin)))
