"""Programs with a client and a spool, each forked from this one, and each with a journal that outlives it.

``python -m tests.processes.spooling`` reads what to fork from its input, as ``tests.processes.logged`` does.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import warnings
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from eventpipe import AsyncClient, RetryPolicy
from eventpipe.contracts import Sink
from eventpipe.errors import TransientSinkError
from eventpipe.events import Batch
from eventpipe.sinks import HttpSink
from tests.processes.logged import Arguments, Journal, main

SINK: Final = "far"
BATCH: Final = 10  # events
WORKERS: Final = 2
QUEUE: Final = 200  # events in memory, beyond which they are on disk alone
PRODUCERS: Final = 4  # tasks that capture at once


def properties(number: int) -> dict[str, Any]:
    """What the event with this number says: whoever makes it says the same."""
    return {"n": number, "text": random.Random(number).randbytes(number % 97).hex()}


def seal(said: Mapping[str, object]) -> int:
    """A checksum of what an event says."""
    return zlib.crc32(f"{said['n']} {said['text']}".encode())


class JournalSink:
    """A far end that notes what came; or is down, or never answers.

    Args:
        journal: Where it notes.
        kind: ``"up"``, ``"down"`` or ``"mute"``.
        work: Seconds that a batch takes.
    """

    name = SINK

    def __init__(self, journal: Journal, kind: str, work: float) -> None:
        self._journal = journal
        self._kind = kind
        self._work = work

    async def send(self, batch: Batch) -> None:
        """Take a batch, or not."""
        if self._kind == "down":
            raise TransientSinkError("down")
        if self._kind == "mute":
            await asyncio.Event().wait()
        await asyncio.sleep(self._work)
        self._journal.write(
            *(("sent", event.uuid, event.properties["n"], seal(event.properties)) for event in batch.events)
        )

    async def aclose(self) -> None:
        """Do nothing."""


def client_of(journal: Journal, arguments: Arguments) -> AsyncClient:
    sink: Sink
    if "url" in arguments:
        sink = HttpSink(arguments["url"], compression=None, name=SINK)
    else:
        sink = JournalSink(journal, arguments["far"], arguments.get("work", 0.0))
    return AsyncClient(
        sink,
        spool=arguments["path"],
        durability="process",
        max_batch_age=0.005,
        queue_events=QUEUE,
        batch_events=BATCH,
        workers=WORKERS,
        close_timeout=5,
        retry=RetryPolicy(max_attempts=1_000_000),
    )


async def capture(client: AsyncClient, journal: Journal, numbers: Iterable[int], pause: float = 0.0) -> None:
    """Capture events, one after the other; each is noted before, and once its receipt says that it is on disk."""
    for number in numbers:
        journal.write(("begun", number))
        receipt = await client.capture("e", properties=properties(number))
        journal.write(("acked" if receipt.durability == "process" else "weak", number, receipt.uuid))
        await asyncio.sleep(pause)


async def capture_all(client: AsyncClient, journal: Journal, arguments: Arguments) -> None:
    first, last = arguments["first"], arguments["last"]
    async with asyncio.TaskGroup() as group:
        for producer in range(PRODUCERS):
            numbers = range(first + producer, last, PRODUCERS)
            group.create_task(capture(client, journal, numbers, arguments.get("pause", 0.0)))


def note_start(client: AsyncClient, journal: Journal, began: float) -> None:
    journal.write(("opened", time.monotonic() - began, client.statistics().recovered))


async def drained(client: AsyncClient) -> None:
    """Wait until nothing is left, neither in memory nor on disk."""
    while (numbers := client.statistics()).pending or numbers.spooled:  # noqa: ASYNC110  # a thread brings it about
        await asyncio.sleep(0.005)


# -- roles ------------------------------------------------------------------------------------------------------------


async def produce(journal: Journal, arguments: Arguments) -> None:
    """Capture, and do not end."""
    began = time.monotonic()
    async with client_of(journal, arguments) as client:
        note_start(client, journal, began)
        await capture_all(client, journal, arguments)
        journal.write(("filled",))
        await asyncio.Event().wait()


async def drain(journal: Journal, arguments: Arguments) -> None:
    """Send what others left, with a fresh event at the beginning, until nothing is left."""
    began = time.monotonic()
    async with client_of(journal, arguments) as client:
        note_start(client, journal, began)
        if "fresh" in arguments:
            journal.write(("begun", arguments["fresh"]))
            receipt = await client.capture("e", properties=properties(arguments["fresh"]))
            journal.write(("acked", arguments["fresh"], receipt.uuid))
            outcome = await receipt.outcome(20)
            journal.write(("fresh", time.monotonic() - began, outcome.kind))
        await drained(client)
        journal.write(("drained",))
        if arguments.get("stays"):
            await asyncio.Event().wait()


async def follow(journal: Journal, arguments: Arguments) -> None:
    """Capture, and note when it takes over what others left."""
    async with client_of(journal, arguments) as client:
        await capture_all(client, journal, arguments)
        journal.write(("filled",))
        known = client.statistics().recovered
        while True:  # it is killed
            if (recovered := client.statistics().recovered) != known:
                known = recovered
                journal.write(("recovered", recovered))
            await asyncio.sleep(0.005)


async def fork(journal: Journal, arguments: Arguments) -> None:
    """Capture, and so does a forked child with the same client; each on its own then waits for its end."""
    first, last = arguments["first"], arguments["last"]
    async with client_of(journal, arguments) as client:
        await capture(client, journal, range(first, last))
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # the file has a thread
            pid = os.fork()
        if pid == 0:
            _live_as_child(client, Journal(arguments["childs"]), range(last, 2 * last - first))
        journal.write(("forked", pid))
        await capture(client, journal, range(2 * last - first, 3 * last - 2 * first))
        journal.write(("filled",))
        await asyncio.Event().wait()


def _live_as_child(client: AsyncClient, journal: Journal, numbers: Iterable[int]) -> None:
    async def live() -> None:
        async with client:
            await capture(client, journal, numbers)
            journal.write(("filled",))
            await asyncio.Event().wait()

    asyncio.events._set_running_loop(None)  # that of the parent, which does not run here
    try:
        asyncio.run(live())
    finally:
        os._exit(1)


def files(folder: Path) -> list[str]:
    """Names of the files of events in a folder."""
    return sorted(path.name for path in folder.glob("*.db"))


if __name__ == "__main__":
    HttpSink("http://127.0.0.1/")  # imports whatever sends, once for all children
    main({"produce": produce, "drain": drain, "follow": follow, "fork": fork})
