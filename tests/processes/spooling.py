"""Programs that capture into one spool, each forked from this one, and each with a journal that outlives it.

The far end of each is its journal: an event has arrived when it is written there.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import Mapping
from typing import Any, Final

from eventpipe import AsyncClient, Batch, RetryPolicy, TransientSinkError
from eventpipe.contracts import Sink
from tests.processes.logged import Arguments, Journal, main

NAME: Final = "placed"
FAR_END: Final = "far end"
WORKERS: Final = 4
BATCH: Final = 10
QUEUE: Final = 200


def uuid_of(producer: int, number: int) -> str:
    return f"{producer:08x}-0000-7000-8000-{number:012x}"


def properties_of(uuid: str) -> dict[str, Any]:  # Any: JSON
    """What the event with this id says, whoever asks."""
    return {"number": int(uuid[-12:], 16), "text": random.Random(uuid).randbytes(int(uuid[-12:], 16) % 97).hex()}


def seal(properties: Mapping[str, object]) -> int:
    """A checksum of what an event says."""
    return zlib.crc32(json.dumps(properties, sort_keys=True).encode())


class Notebook(Sink):
    """A far end that writes down what arrives, or is down.

    Args:
        journal: Where.
        latency: Seconds that a batch takes.
        is_down: It takes nothing.
    """

    name = FAR_END

    def __init__(self, journal: Journal, latency: float, *, is_down: bool) -> None:
        self._journal = journal
        self._latency = latency
        self._is_down = is_down

    async def send(self, batch: Batch) -> None:
        await asyncio.sleep(self._latency)
        if self._is_down:
            raise TransientSinkError("down")
        self._journal.write(*(("sent", event.uuid, seal(event.properties)) for event in batch.events))

    async def aclose(self) -> None: ...


def client_of(journal: Journal, arguments: Arguments) -> AsyncClient:
    return AsyncClient(
        Notebook(journal, arguments.get("latency", 0.001), is_down=arguments.get("is_down", False)),
        spool=arguments["path"],
        durability="process",
        queue_events=QUEUE,
        batch_events=BATCH,
        max_batch_age=0.002,
        workers=WORKERS,
        close_timeout=arguments.get("close_timeout", 10.0),
        retry=RetryPolicy(max_attempts=3, initial=0.01, min_delay=0.01),
    )


async def capture(client: AsyncClient, journal: Journal, producer: int, first: int, last: int) -> None:
    """Capture events one by one, each once the one before is on disk."""
    for number in range(first, last):
        uuid = uuid_of(producer, number)
        journal.write(("begun", uuid))
        receipt = await client.capture(NAME, uuid=uuid, properties=properties_of(uuid))
        journal.write(("acked" if receipt.durability == "process" else "weak", uuid))


async def run(journal: Journal, arguments: Arguments) -> None:
    """Producers, until they are done or the program is ended; then, where it is the last, until nothing is left."""
    async with client_of(journal, arguments) as client:
        journal.write(("open", client.statistics().recovered))
        async with asyncio.TaskGroup() as group:
            for producer, first, last in arguments.get("producers", ()):
                group.create_task(capture(client, journal, producer, first, last))
        journal.write(("done",))
        if arguments.get("is_last"):
            while not client._spool.is_empty or client.statistics().pending:  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        elif not arguments.get("ends"):
            await asyncio.Event().wait()
    numbers = client.statistics()
    journal.write(("closed", numbers.captured, numbers.recovered, numbers.delivered, numbers.dropped, numbers.spooled))


if __name__ == "__main__":
    main({"run": run})
