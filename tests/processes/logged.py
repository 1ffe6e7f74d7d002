"""Programs that use one log, each forked from this one, and each with a journal that outlives it.

``python -m tests.processes.logged`` reads what to fork from its input, a JSON object a line; ``Nursery`` writes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from eventpipe.contracts import Sink
from eventpipe.errors import LeaseLostError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.receiver import Receiver
from eventpipe.sinks import CallbackSink
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing import make_event

TOPIC: Final = "orders"
BATCH: Final = 5  # events that a consumer has in hand at once
KEYS: Final = 3  # of each producer
NEVER: Final = 1_000_000  # attempts, before which every event is settled: a kill counts as one

Arguments = dict[str, Any]  # Any: JSON; each role reads its own


def made(producer: int, number: int) -> CapturedEvent:
    """The event with this number of this producer: whoever makes it makes the same bytes."""
    uuid = f"{producer:08x}-0000-7000-8000-{number:012x}"
    text = random.Random(uuid).randbytes(number % 97).hex()
    return make_event(
        "placed", uuid=uuid, key=f"{producer}/{number % KEYS}", properties={"number": number, "text": text}
    )


def seal(event: CapturedEvent) -> int:
    """A checksum of everything that an event says."""
    return zlib.crc32(f"{event.name}\n{event.key}\n{event.lane}\n{event.headers}\n".encode() + event.json)


class Journal:
    """What a program did, in a file: what was written is there, however the program ends."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *lines: Sequence[object]) -> None:
        """Add lines, each a word and what belongs to it; a moment comes before them."""
        now = f"{time.monotonic():.6f}"
        os.write(self._file, "".join(f"{now} {' '.join(map(str, line))}\n" for line in lines).encode())

    def handed(self, events: Iterable[tuple[int, CapturedEvent, int]]) -> None:
        """Note what a consumer was handed: offsets, events and attempts."""
        self.write(*(("handed", offset, event.uuid, seal(event), attempt) for offset, event, attempt in events))


Role = Callable[[Journal, Arguments], Coroutine[Any, Any, None]]  # Any: it says nothing
Roles = Mapping[str, Role]


class LoggedLines(logging.Handler):
    """Log lines are in the journal too."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.write(("logged", record.getMessage()))


def store_of(arguments: Arguments) -> SqliteStore:
    return SqliteStore(arguments["path"], shared=arguments["shared"], durability=arguments.get("durability", "process"))


# -- producers --------------------------------------------------------------------------------------------------------


async def append(log: EventLog, journal: Journal, arguments: Arguments) -> None:
    """Append events, in order, a few at a time, each batch once the one before is acknowledged."""
    producer, number, last = arguments["producer"], arguments["first"], arguments["last"]
    chance = random.Random(arguments["seed"])
    while number < last:
        end = min(number + chance.randint(1, 4), last)
        journal.write(("begun", producer, number, end))
        offsets = await log.append_many(TOPIC, [made(producer, one) for one in range(number, end)])
        journal.write(("acked", producer, number, *offsets))
        number = end
        await asyncio.sleep(chance.random() * arguments["pause"])


async def produce(journal: Journal, arguments: Arguments) -> None:
    async with EventLog(store_of(arguments)) as log:
        await append(log, journal, arguments)


# -- consumers --------------------------------------------------------------------------------------------------------


async def receive(log: EventLog, journal: Journal, arguments: Arguments) -> None:
    """A receiver; where it loses its consumer it begins anew."""
    while True:
        try:
            async with log.receiver(
                TOPIC,
                arguments["consumer"],
                prefetch_events=BATCH,
                max_attempts=NEVER,
                ttl=arguments["ttl"],
                heartbeat=arguments["heartbeat"],
            ) as receiver:
                pull = pull_batches if arguments["kind"] == "batches" else pull_one_by_one
                await pull(receiver, journal, arguments)
        except LeaseLostError:
            journal.write(("lost",))


async def pull_one_by_one(receiver: Receiver, journal: Journal, arguments: Arguments) -> None:
    async for delivery in receiver:
        async with delivery:
            with busy(journal, arguments):
                journal.handed([(delivery.offset, delivery.event, delivery.attempt)])
                await asyncio.sleep(arguments["work"])
        journal.write(("settled", delivery.event.uuid))


async def pull_batches(receiver: Receiver, journal: Journal, arguments: Arguments) -> None:
    while True:
        batch = await receiver.receive_batch(BATCH)
        with busy(journal, arguments):
            journal.handed((delivery.offset, delivery.event, delivery.attempt) for delivery in batch)
            await asyncio.sleep(arguments["work"])
        await asyncio.gather(*(delivery.ack() for delivery in batch))
        journal.write(("settled", *(delivery.event.uuid for delivery in batch)))


async def consume(log: EventLog, journal: Journal, arguments: Arguments) -> None:
    """A consumer with a handler or a sink, until this is cancelled."""

    async def handle(consumed: ConsumedEvent) -> None:
        with busy(journal, arguments):
            journal.handed([(consumed.offset, consumed.event, consumed.attempt)])
            await asyncio.sleep(arguments["work"])

    async def take(batch: Batch) -> None:
        with busy(journal, arguments):
            journal.handed((-1, event, batch.attempt) for event in batch.events)
            await asyncio.sleep(arguments["work"])

    far: Sink | Callable[[ConsumedEvent], Coroutine[Any, Any, None]]  # Any: it says nothing
    far = handle if arguments["kind"] == "handler" else CallbackSink(take)
    async with Consumer(
        log,
        TOPIC,
        arguments["consumer"],
        far,
        batch_events=BATCH,
        max_batch_age=0,
        max_attempts=None,
        ttl=arguments["ttl"],
        heartbeat=arguments["heartbeat"],
    ):
        await asyncio.Event().wait()


@contextlib.contextmanager
def busy(journal: Journal, arguments: Arguments) -> Iterator[None]:
    """See that no other handler of this consumer is at work anywhere; the system lets go of what dies."""
    path = arguments.get("mutex")
    if path is None:
        yield
        return
    with Path(path).open("ab") as mutex:
        try:
            fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            journal.write(("overlap",))
        yield


async def follow(journal: Journal, arguments: Arguments) -> None:
    async with EventLog(store_of(arguments)) as log, consuming(log, journal, arguments):
        await until_drained(log, arguments)


async def until_drained(log: EventLog, arguments: Arguments) -> None:
    """Wait until the consumer has settled everything, or, where that is not asked for, until the program is ended."""
    if not arguments.get("is_last"):
        await asyncio.Event().wait()
    while (await log.consumer(TOPIC, arguments["consumer"])).pending:  # noqa: ASYNC110  # others append, too
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def consuming(log: EventLog, journal: Journal, arguments: Arguments) -> AsyncIterator[None]:
    await log.add_consumer(TOPIC, arguments["consumer"])
    journal.write(("waits",))  # for its turn, if another has the consumer
    work = consume if arguments["kind"] in ("handler", "sink") else receive
    task = asyncio.create_task(work(log, journal, arguments))
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(ended(task))
            yield
            watch.cancel()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def ended(task: asyncio.Task[None]) -> None:
    """A consumer that ends by itself has failed, and so has its program."""
    await asyncio.wait({task})
    await task


async def both(journal: Journal, arguments: Arguments) -> None:
    """Producers and a consumer in one program."""
    async with EventLog(store_of(arguments)) as log, consuming(log, journal, arguments):
        async with asyncio.TaskGroup() as group:
            for producer in arguments["producers"]:
                group.create_task(append(log, journal, {**arguments, **producer}))
        await until_drained(log, arguments)


ROLES: Final[Roles] = {"produce": produce, "follow": follow, "both": both}


# -- the program ------------------------------------------------------------------------------------------------------


async def live(role: Role, arguments: Arguments) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    journal = Journal(arguments["journal"])
    logging.getLogger("eventpipe").addHandler(LoggedLines(journal))
    with contextlib.suppress(asyncio.CancelledError):
        await role(journal, arguments)


def fork(role: Role, arguments: Arguments) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        asyncio.run(live(role, arguments))
        status = 0
    except BaseException:  # noqa: BLE001  # nothing may go on in the child
        traceback.print_exc()
    finally:
        os._exit(status)


def main(roles: Roles) -> None:
    """Fork whatever is asked for, until the input ends."""
    gc.freeze()  # children do not touch what they share with this program
    say(0)
    for line in sys.stdin:
        wanted = json.loads(line)
        if "wait" in wanted:
            _, status = os.waitpid(wanted["wait"], 0)
            say(os.waitstatus_to_exitcode(status))
        else:
            say(fork(roles[wanted["role"]], wanted["arguments"]))


def say(answer: int) -> None:
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(ROLES)
