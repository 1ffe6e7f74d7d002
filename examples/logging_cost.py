"""What a log record costs, by where it goes: ``python examples/logging_cost.py``."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import time
from collections.abc import Callable

from eventpipe import AsyncClient
from eventpipe.integrations.logging import EventHandler
from eventpipe.sinks import CallbackSink

RECORDS = 1_000

log = logging.getLogger("cost")


class Late(logging.Filter):
    """Makes records look as if they had waited in a queue."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.created -= 1
        return True


def write() -> None:
    for number in range(RECORDS):
        log.info("paid %d", number)


async def best(work: Callable[[], None], client: AsyncClient, rounds: int) -> float:
    """Microseconds of CPU a record, in the best of so many rounds; what is sent in between is not counted."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
        await client.flush()
    return min(found) / RECORDS * 1e6


async def main(rounds: int = 30) -> None:
    log.setLevel(logging.INFO)
    log.propagate = False
    async with AsyncClient(CallbackSink(lambda batch: None)) as client:
        late = EventHandler(client)
        late.addFilter(Late())
        rows = {
            "a handler that does nothing": logging.NullHandler(),
            "a StreamHandler into memory": logging.StreamHandler(io.StringIO()),
            "an EventHandler": EventHandler(client),
            "one with extra=True": EventHandler(client, extra=True),
            "one that gets records late": late,
        }
        for name, handler in rows.items():
            log.addHandler(handler)
            print(f"{name:<30}{await best(write, client, rounds):5.1f} µs")  # noqa: T201  # what it is for
            log.removeHandler(handler)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
