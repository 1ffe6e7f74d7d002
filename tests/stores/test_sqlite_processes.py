# ruff: noqa: ASYNC220, T201  # processes are what this is about, and nothing else runs in the loop
"""Processes on one file: killed at any moment they lose nothing that was acknowledged, and shared ones take turns."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eventpipe.errors import LeaseHeldError
from eventpipe.stores import SqliteStore, sqlite_opening
from eventpipe.stores.sqlite_reserve import Reserve
from eventpipe.stores.sqlite_schema import SCHEME
from eventpipe.stores.values import ConsumerKey, Disposal, Disposition
from eventpipe.testing import make_event
from eventpipe.testing.store_rig import MUCH, ids_of
from tests.scale import SCALE
from tests.stores.places import quick_place

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]
KEY = ConsumerKey("orders", "billing")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, as nothing here depends on a disk."""
    with quick_place() as folder:
        yield folder


# Says which ids it is about to append, and which were acknowledged; each line in one write, so that none is torn.
PRODUCER = """
import asyncio, os, sys
from eventpipe.stores import SqliteStore
from eventpipe.testing import make_event

async def produce(store):
    while True:
        events = [make_event() for _ in range(3)]
        ids = " ".join(event.uuid for event in events)
        os.write(1, f"try {ids}\\n".encode())
        await store.append("orders", events)
        os.write(1, f"ack {ids}\\n".encode())

async def main():
    store = SqliteStore(sys.argv[1], shared=sys.argv[2] == "shared", durability="process")
    await store.open()
    await asyncio.gather(*(produce(store) for _ in range(4)))

asyncio.run(main())
"""


def produced(path: Path, shared: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PRODUCER, path, shared], stdout=subprocess.PIPE)


@asynccontextmanager
async def opened(path: Path, *, shared: bool) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, shared=shared, durability="process", poll=0.005)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


@pytest.mark.seeds
@pytest.mark.parametrize(("shared", "processes"), [("exclusive", 1), ("shared", 2)])
async def test_killed_producers_lose_nothing_acknowledged(tmp_path: Path, shared: str, processes: int) -> None:
    """Rounds of producers that are killed at random: each acknowledged event is there once, and no other but tried."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    path = tmp_path / "log.db"
    tried: set[str] = set()
    acknowledged: set[str] = set()

    for _ in range(3 * SCALE):
        running = [produced(path, shared) for _ in range(processes)]
        outputs = []
        for process in running:
            assert process.stdout is not None
            outputs.append([process.stdout.readline()])  # it is at work
        await asyncio.sleep(chance.uniform(0, 0.2))
        for process in running:
            process.send_signal(signal.SIGKILL)
        for process, output in zip(running, outputs, strict=True):
            assert process.stdout is not None
            output += process.stdout.readlines()
            process.stdout.close()
            process.wait()
            for line in output:
                word, *ids = line.decode().split()
                (tried if word == "try" else acknowledged).update(ids)
        began = time.monotonic()
        async with opened(path, shared=shared == "shared") as store:
            assert time.monotonic() - began < 1
            held: list[str] = []
            while more := await store.read("orders", len(held), max_events=5_000, max_bytes=MUCH):
                held += ids_of(more)
            assert await store.verify() == []
        assert len(held) == len(set(held))
        assert acknowledged <= set(held) <= tried
    assert acknowledged


# A consumer in a process of its own: settles what it is handed, and says so.
CONSUMER = """
import asyncio, sys
from eventpipe.stores import SqliteStore, sqlite_opening
from eventpipe.stores.sqlite_reserve import Reserve
from eventpipe.stores.sqlite_schema import SCHEME
from eventpipe.stores.values import ConsumerKey, Disposal, Disposition

async def main():
    store = SqliteStore(sys.argv[1], shared=True, durability="process", poll=0.005)
    await store.open()
    key = ConsumerKey("orders", "billing")
    token = await store.acquire(key.lease, "the other process", 60)
    print("ready", flush=True)
    handed = []
    while len(handed) < 20:
        seen = store.version("orders")
        claims = await store.claim(key, token, max_events=100, max_bytes=1 << 30)
        await store.settle(key, token, [Disposition(event, Disposal.ACK) for event in claims.events])
        handed += [event.event.uuid for event in claims.events]
        if not claims.events:
            await store.wait("orders", seen)
    print(*handed, flush=True)
    sys.stdin.read()
    await store.aclose()

asyncio.run(main())
"""


async def test_shared_processes_wake_each_other_and_hold_leases_against_each_other(tmp_path: Path) -> None:
    """What one appends wakes the other; the lease of one is held to the other, until the first closes."""
    path = tmp_path / "log.db"
    async with opened(path, shared=True) as store:
        await store.add_consumer(KEY, "earliest")
        with subprocess.Popen(
            [sys.executable, "-c", CONSUMER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert await asyncio.to_thread(other.stdout.readline) == "ready\n"
            seen = store.version(KEY.lease)
            with pytest.raises(LeaseHeldError, match="the other process"):
                await store.acquire(KEY.lease, "this process", 60)
            events = [make_event() for _ in range(20)]
            for event in events:
                await store.append("orders", [event])
            handed = (await asyncio.to_thread(other.stdout.readline)).split()
            released = asyncio.create_task(store.wait(KEY.lease, seen))
            await asyncio.to_thread(other.communicate)
        async with asyncio.timeout(5):
            await released
            token = await store.acquire(KEY.lease, "this process", 60)
        (consumer,) = await store.consumers()

    assert handed == [event.uuid for event in events]
    assert (token, consumer.position, consumer.pending) == (2, 20, 0)


async def test_claims_of_a_killed_process_are_due_again_at_the_next_attempt(tmp_path: Path) -> None:
    """Its lease without an end is over with it; what it had settled stays settled."""
    path = tmp_path / "log.db"
    script = CONSUMER.replace("shared=True", "shared=False").replace(", 60)", ", None)").replace("< 20", "< 2")
    script = script.replace("in claims.events])\n        handed", "in claims.events[:1]])\n        handed")
    async with opened(path, shared=False) as store:
        await store.add_consumer(KEY, "earliest")
        await store.append("orders", [make_event() for _ in range(2)])
    with subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        other.stdout.readline()
        other.kill()

    async with opened(path, shared=False) as store:
        token = await store.acquire(KEY.lease, "the next", None)
        claims = await store.claim(KEY, token, max_events=9, max_bytes=MUCH)
        assert [(event.offset, event.attempt) for event in claims.events] == [(1, 2)]
        await store.settle(KEY, token, [Disposition(event, Disposal.ACK) for event in claims.events])


async def test_idle_shared_store_looks_only_while_somebody_waits(tmp_path: Path) -> None:
    """Each look is one question to the file, every ``poll`` seconds; two stores of a file look once."""
    looks = 0
    async with opened(tmp_path / "log.db", shared=True) as store, opened(tmp_path / "log.db", shared=True) as second:
        assert store._port is not None
        connection = store._port._file.connection
        look = connection.has_foreign_change

        def counted() -> bool:
            nonlocal looks
            looks += 1
            return look()

        connection.has_foreign_change = counted  # type: ignore[method-assign]
        await asyncio.sleep(0.05)
        assert looks == 0
        waiting = [asyncio.create_task(each.wait("orders", each.version("orders"))) for each in (store, second) * 5]
        await asyncio.sleep(0.2)
        assert 1 <= looks <= 41
        for task in waiting[::2]:  # those of the first store, which looked: the second one goes on
            task.cancel()
        await asyncio.sleep(0.05)
        before = looks
        await asyncio.sleep(0.1)
        assert before < looks <= before + 21
        await store.append("orders", [make_event()])
        await asyncio.gather(*waiting[1::2])
        await asyncio.sleep(0.05)
        before = looks
        await asyncio.sleep(0.05)
        assert looks == before


async def test_file_that_somebody_else_makes_meanwhile_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at what the file is: it is seen as it was, or as it is, and is nobody else's."""
    path = tmp_path / "log.db"
    path.touch(0o600)
    makers: list[threading.Thread] = []

    def make() -> None:
        opened_by = partial(sqlite_opening.connect, is_shared=True, durability="process", reserve=Reserve(str(path)))
        opened_by(str(path), SCHEME).close()

    class Interrupted(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:  # Any: as sqlite3 has it
            if statement == "PRAGMA user_version" and not makers:
                makers.append(threading.Thread(target=make))
                makers[0].start()
                makers[0].join(0.1)
            return super().execute(statement, *parameters)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupted))

    store = SqliteStore(path, shared=True)
    await store.open()
    makers[0].join()

    assert await store.append("orders", [make_event()]) == [0]
    await store.aclose()
