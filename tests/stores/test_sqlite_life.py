# ruff: noqa: ASYNC110, ASYNC221, ASYNC222  # threads and processes are what this is about
"""How a file in use ends: closed by many at once, cancelled, forgotten, forked, or with the interpreter."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventpipe.errors import ClosedError, LeaseHeldError, StoreError
from eventpipe.stores import SqliteStore
from eventpipe.stores.sqlite_file import _files
from eventpipe.stores.sqlite_jobs import Need, Transaction
from eventpipe.testing import make_event
from eventpipe.testing.store_rig import MUCH, ids_of
from tests.scale import SCALE
from tests.stores.places import quick_place

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]
THREADS = "eventpipe-sqlite"


@asynccontextmanager
async def opened(path: Path, *, shared: bool = False, poll: float = 0.05) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, shared=shared, durability="process", poll=poll)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


async def held(store: SqliteStore) -> list[str]:
    return ids_of(await store.read("orders", 0, max_events=10_000, max_bytes=MUCH))


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]


def join_threads() -> None:
    """Wait until every thread of a file has ended."""
    for thread in threads():
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, as nothing here depends on a disk."""
    with quick_place() as folder:
        yield folder


@pytest.fixture(autouse=True)
def _nothing_is_open() -> Iterator[None]:
    yield
    join_threads()
    assert _files == {}


async def test_all_who_close_wait_for_the_same_end(tmp_path: Path) -> None:
    """Two at once, and one who comes after a close that was cancelled: the file is closed when they return."""
    for turns in range(4):
        store = SqliteStore(tmp_path / "log.db", durability="process")
        await store.open()
        await store.append("orders", [make_event()])
        closing = asyncio.create_task(store.aclose())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        for _ in range(2):
            await asyncio.gather(store.aclose(), store.aclose())
            assert not (tmp_path / "log.db-wal").exists()
            assert _files == {}


async def test_closed_store_refuses_while_it_ends_and_can_be_opened_again(tmp_path: Path) -> None:
    """Whoever asks during the close gets ``ClosedError``; opened anew meanwhile, it outlives the end of the close."""
    may_go_on = threading.Event()

    def slow(transaction: Transaction, _: None) -> None:
        may_go_on.wait(10)

    async with opened(tmp_path / "log.db") as store:
        assert store._port is not None
        job = store._port.submit(slow, need=Need.READ)
        event = make_event()
        appending = asyncio.create_task(store.append("orders", [event]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.aclose())
        await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await store.topics()
        await store.open()
        assert not closing.done()
        may_go_on.set()
        await closing
        assert await held(store) == [event.uuid]
        assert await appending == [0]
        await job


async def test_opening_that_is_cancelled_with_its_loop_leaves_nothing(tmp_path: Path) -> None:
    """The loop is closed before the thread has opened the file: it lets go again."""

    def interrupted() -> None:
        loop = asyncio.new_event_loop()
        opening = loop.create_task(SqliteStore(tmp_path / "log.db").open())
        loop.call_soon(opening.cancel)
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(opening)
        loop.close()

    await asyncio.to_thread(interrupted)
    join_threads()
    async with opened(tmp_path / "log.db"):  # refused while it is open with another durability
        pass


async def test_store_whose_loop_was_closed_does_not_hold_the_file(tmp_path: Path) -> None:
    """Forgotten in one loop, and closed in another or not at all: the file is closed with its last living user."""
    forgotten = SqliteStore(tmp_path / "log.db", durability="process")

    def forget() -> None:
        asyncio.run(forgotten.open())

    await asyncio.to_thread(forget)
    with pytest.raises(RuntimeError, match="closed"):
        await forgotten.append("orders", [make_event()])
    async with opened(tmp_path / "log.db") as store:
        assert await store.topics() == []
    assert _files == {}
    await forgotten.aclose()


async def test_collected_store_warns_and_lets_go(tmp_path: Path) -> None:
    """Without a close there is a warning; its leases are free and its thread ends."""
    store = SqliteStore(tmp_path / "log.db", durability="process")
    await store.open()
    await store.acquire("a lease", "a test", None)
    async with opened(tmp_path / "log.db") as other:
        with pytest.raises(LeaseHeldError):
            await other.acquire("a lease", "a test", None)
        seen = other.version("a lease")
        with pytest.warns(ResourceWarning, match=r"log.db'> was not closed; await its aclose\(\)"):
            del store  # nothing else keeps it
        async with asyncio.timeout(10):
            await other.wait("a lease", seen)
        await other.acquire("a lease", "a test", None)


EXITS = {
    "idle": "",
    "a job is under way": 'asyncio.ensure_future(store.append("orders", [make_event()])); await asyncio.sleep(0)',
    "an error": "raise SystemExit(3)",
}


@pytest.mark.parametrize("last", EXITS.values(), ids=EXITS)
async def test_interpreter_ends_with_an_open_store(tmp_path: Path, last: str) -> None:
    """Nobody has closed it, and nothing keeps the process; what was appended is there."""
    script = f"""
import asyncio, sys
from eventpipe.stores import SqliteStore
from eventpipe.testing import make_event
async def main():
    global store
    store = SqliteStore(sys.argv[1], durability="process")
    await store.open()
    await store.append("orders", [make_event()])
    {last}
asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", script, tmp_path / "log.db"], timeout=20, check=False)

    assert ran.returncode == (3 if "SystemExit" in last else 0)
    async with opened(tmp_path / "log.db") as store:
        assert len(await held(store)) >= 1


async def test_loop_of_another_thread_goes_on_when_the_main_thread_has_ended(tmp_path: Path) -> None:
    """The interpreter has ended all executors by then: appends, a wait and the close are answered nevertheless."""
    script = """
import asyncio, contextlib, sys, threading
from concurrent.futures import ThreadPoolExecutor
from eventpipe.stores import SqliteStore
from eventpipe.testing import make_event
opened = threading.Event()
async def main():
    store = SqliteStore(sys.argv[1], shared=True, durability="process", poll=0.001)
    await store.open()
    seen = store.version("orders")
    waiting = asyncio.create_task(store.wait("orders", seen))
    opened.set()
    executor = ThreadPoolExecutor(1)
    with contextlib.suppress(RuntimeError):  # once executors take no more
        while True:
            executor.submit(int).result()
            await asyncio.sleep(0)
    for number in range(5):
        assert await store.append("orders", [make_event()]) == [number]
    await waiting
    await store.aclose()
    print("closed", flush=True)
thread = threading.Thread(target=asyncio.run, args=(main(),))
thread.start()
opened.wait()
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "log.db"], timeout=20, check=False, capture_output=True, text=True
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "closed\n", "")
    async with opened(tmp_path / "log.db", shared=True) as store:
        assert len(await held(store)) == 5


async def wander(paths: list[Path], chance: random.Random) -> int:
    """Open and close stores at random, and ask them for this and that, some of it cancelled; how much was appended."""
    appended = 0
    for _ in range(12):
        store = SqliteStore(chance.choice(paths), shared=True, durability="process", poll=0.001)
        await store.open()
        asked: list[asyncio.Task[object]] = []
        for _ in range(chance.randrange(12)):
            kind = chance.randrange(5)
            if kind <= 1:
                asked.append(asyncio.create_task(store.append("orders", [make_event()])))
            elif kind == 2:
                asked.append(asyncio.create_task(store.topics()))
            elif kind == 3:
                asked.append(asyncio.create_task(store.wait("orders", store.version("orders"))))
            else:
                await asyncio.sleep(0)
            if asked and chance.random() < 0.2:
                chance.choice(asked).cancel()
        if chance.random() < 0.5:
            await store.append("orders", [make_event()])
            appended += 1
        if chance.random() < 0.2:
            closing = asyncio.create_task(store.aclose())
            await asyncio.sleep(0)
            closing.cancel()
        await store.aclose()
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert answer is None or isinstance(answer, list | ClosedError | asyncio.CancelledError), answer
            appended += isinstance(answer, list) and answer[:1] != [] and isinstance(answer[0], int)
    return appended


@pytest.mark.seeds
@pytest.mark.parametrize("seed", range(4 * SCALE))
async def test_no_answer_is_missed_whoever_opens_asks_cancels_and_closes(tmp_path: Path, seed: int) -> None:
    """Four loops on two files, in threads that race: everybody is answered, and nothing is open after it."""
    paths = [tmp_path / "a.db", tmp_path / "b.db"]

    def run(number: int) -> int:
        async def bounded() -> int:
            async with asyncio.timeout(30):
                return await wander(paths, random.Random(seed * 4 + number))

        return asyncio.run(bounded())

    with ThreadPoolExecutor(4) as pool:
        acknowledged = sum(await asyncio.gather(*(asyncio.to_thread(pool.submit(run, n).result) for n in range(4))))

    join_threads()
    assert _files == {}
    found = 0
    for path in paths:
        async with opened(path, shared=True) as store:
            found += len(await held(store))
    assert found >= acknowledged > 0


async def test_look_is_one_at_a_time_however_often_somebody_begins_to_wait(tmp_path: Path) -> None:
    """Waits that begin and end while the thread is busy do not each bring a look of their own."""
    may_go_on, looks = threading.Event(), 0

    def slow(transaction: Transaction, _: None) -> None:
        may_go_on.wait(10)

    async with opened(tmp_path / "log.db", shared=True, poll=0.001) as store:
        assert store._port is not None
        port, look = store._port, store._port._look

        def counted() -> None:
            nonlocal looks
            looks += 1
            look()

        port._look = counted  # type: ignore[method-assign]
        job = port.submit(slow, need=Need.READ)
        for _ in range(5):
            waiting = asyncio.create_task(store.wait("orders", store.version("orders")))
            while not looks:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.005)
            waiting.cancel()
            await asyncio.wait({waiting})

        assert looks == 1
        waiting = asyncio.create_task(store.wait("orders", store.version("orders")))
        await asyncio.sleep(0.005)
        may_go_on.set()
        await job
        while looks < 3:  # they go on for the one who waits
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.wait({waiting})


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_forked_child_leaves_the_parents_file_alone(tmp_path: Path) -> None:
    """Its store says so, a new one meets the lock, and the parent goes on; whatever the child's end collects."""
    path = tmp_path / "log.db"
    async with opened(path) as store:
        await store.append("orders", [make_event()])
        assert store._port is not None
        connection = store._port._file.connection
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            asyncio.events._set_running_loop(None)

            async def child() -> None:
                told = []
                for call in (store.append("orders", [make_event()]), SqliteStore(path, durability="process").open()):
                    try:
                        await call
                    except StoreError as error:
                        told.append(str(error))
                await store.aclose()
                os.write(writer, "\n".join(told).encode())

            try:
                asyncio.run(child())
                del connection.db
                gc.collect()  # as at the end of the interpreter: a connection and its statements are a cycle
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            told = (await asyncio.to_thread(pipe.read)).split("\n")
        os.waitpid(pid, 0)
        assert (tmp_path / "log.db-wal").exists()
        await store.append("orders", [make_event()])
        assert len(await held(store)) == 2

    assert "was opened before this process was forked" in told[0]
    assert f"is locked by process {os.getpid()}" in told[1]
    async with opened(path) as store:
        assert len(await held(store)) == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_fork_waits_until_no_thread_is_in_sqlite(tmp_path: Path) -> None:
    """Else the child inherits locks of SQLite that nobody would ever open, and hangs when it uses a file of its own."""
    is_running, order = threading.Event(), []

    def slow(transaction: Transaction, _: None) -> None:
        is_running.set()
        time.sleep(0.1)
        order.append("the job is done")

    def fork() -> int:
        is_running.wait(10)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        order.append("forked")
        return os.waitpid(pid, 0)[1]

    async with opened(tmp_path / "log.db") as store:
        assert store._port is not None
        job = store._port.submit(slow, need=Need.READ)
        assert await asyncio.to_thread(fork) == 0
        await job
        assert order == ["the job is done", "forked"]
        assert await store.append("orders", [make_event()]) == [0]
