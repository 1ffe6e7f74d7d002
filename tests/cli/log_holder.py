"""A process that has logs open, told by the lines of its standard input what to do; it says ``ready`` to each."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from eventpipe.log.eventlog import EventLog
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import ConsumerKey

HELD = ConsumerKey("orders", "billing")


async def work() -> None:
    log: EventLog | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, _, path = line.strip().partition(" ")
        if verb in ("share", "keep"):
            log = EventLog(SqliteStore(Path(path), shared=verb == "share"))
            await log.start()
            if verb == "share":
                await log.store.acquire(HELD.lease, "the holder", 60.0)
        elif verb == "append" and log is not None:
            await log.append("orders", path)
        elif verb == "close" and log is not None:
            await log.stop()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
    if log is not None:
        await log.stop()


if __name__ == "__main__":
    asyncio.run(work())
