# ruff: noqa: ASYNC110  # a thread is waited for, and nothing else runs in the loop
"""Jobs of an SQLite file: one commit for many, and an answer of its own for each."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.clock import Clock
from eventpipe.errors import ClosedError, StoreError, StoreFullError
from eventpipe.retention import Retention
from eventpipe.stores import SqliteStore, sqlite_opening
from eventpipe.stores.sqlite_connection import SqliteConnection
from eventpipe.stores.sqlite_jobs import Job, Need, Transaction, Work
from eventpipe.stores.sqlite_port import Port
from eventpipe.testing import VirtualTimeLoop, make_event
from eventpipe.testing.store_rig import MUCH, ids_of
from tests.stores.places import quick_place

pytestmark = pytest.mark.asyncio


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, as nothing here depends on a disk."""
    with quick_place() as folder:
        yield folder


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db", durability="process")
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls each turn of the thread answered."""
    sizes: list[int] = []
    run = SqliteConnection.run

    def counted(self: SqliteConnection, jobs: Sequence[Job]) -> set[str]:
        sizes.append(sum(len(job.futures) for job in jobs))
        return run(self, jobs)

    monkeypatch.setattr(SqliteConnection, "run", counted)
    return sizes


def port_of(store: SqliteStore) -> Port:
    assert store._port is not None
    return store._port


async def asked(store: SqliteStore, work: Work, argument: object = None) -> object:
    """As the methods of a store ask: once the task runs."""
    return await port_of(store).submit(work, argument)


async def held(store: SqliteStore, topic: str = "orders") -> list[str]:
    return ids_of(await store.read(topic, 0, max_events=10_000, max_bytes=MUCH))


async def test_appends_of_many_producers_share_a_commit(store: SqliteStore, groups: list[int]) -> None:
    """A hundred at once: one transaction, and offsets in the order in which they were asked for."""
    events = [make_event(str(number)) for number in range(100)]

    offsets = await asyncio.gather(*(store.append("orders", [event]) for event in events))

    assert offsets == [[number] for number in range(100)]
    assert groups == [100]
    assert await held(store) == [event.uuid for event in events]


async def test_what_comes_while_a_commit_runs_shares_the_next(store: SqliteStore, groups: list[int]) -> None:
    """However many turns of the loop it comes in."""
    is_running, may_go_on = threading.Event(), threading.Event()

    def slow(transaction: Transaction, _: None) -> None:
        is_running.set()
        may_go_on.wait(10)

    first = port_of(store).submit(slow, need=Need.READ)
    while not is_running.is_set():
        await asyncio.sleep(0)
    later = []
    for _ in range(5):
        later.append(asyncio.ensure_future(store.append("orders", [make_event()])))
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # the last is handed in at the end of its turn
    may_go_on.set()

    assert await asyncio.gather(*later) == [[0], [1], [2], [3], [4]]
    await first
    assert groups == [1, 5]


async def test_job_that_fails_leaves_its_neighbours_alone(store: SqliteStore, groups: list[int]) -> None:
    """What it changed is undone, its error is its own, and what came before and after it is committed."""

    def failing(transaction: Transaction, argument: str) -> None:
        transaction.db.execute("DELETE FROM events")
        transaction.touched.add("orders")
        raise LookupError(argument)

    first, second = make_event(), make_event()
    answers = await asyncio.gather(
        store.append("orders", [first]),
        asked(store, failing, "a"),
        store.append("orders", [second]),
        asked(store, failing, "b"),
        return_exceptions=True,
    )

    assert [str(answer) for answer in answers] == ["[0]", "a", "[1]", "b"]
    assert groups == [4]
    assert await held(store) == [first.uuid, second.uuid]
    assert store.version("orders") == 1


async def test_job_that_raises_what_no_future_takes_is_answered(store: SqliteStore) -> None:
    """A ``StopIteration`` that escapes a job leaves neither its caller nor a neighbour without an answer."""

    def exhausted(transaction: Transaction, _: None) -> None:
        next(iter(()))

    answers = await asyncio.gather(asked(store, exhausted), store.topics(), return_exceptions=True)

    assert [type(answer) for answer in answers] == [RuntimeError, list]


async def test_job_that_ends_the_transaction_is_undone_and_its_neighbours_are_done(store: SqliteStore) -> None:
    """Some errors of SQLite undo everything that was done before in the transaction."""

    def ending(transaction: Transaction, _: None) -> None:
        transaction.db.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    first, second = make_event(), make_event()
    answers = await asyncio.gather(
        store.append("orders", [first]),
        asked(store, ending),
        store.append("orders", [second]),
        return_exceptions=True,
    )

    assert (answers[0], answers[2]) == ([0], [1])
    assert isinstance(answers[1], StoreError)
    assert await held(store) == [first.uuid, second.uuid]


async def test_appends_of_a_group_fail_one_by_one(store: SqliteStore) -> None:
    """One that is no event, and one that finds no room, cost their neighbours nothing."""
    await store.declare("small", Retention(max_events=2))
    many = [make_event() for _ in range(3)]
    nothing: Any = [None]

    answers = await asyncio.gather(
        store.append("orders", [make_event()]),
        store.append("orders", nothing),
        store.append("small", many),
        store.append("small", many[:2]),
        store.append("orders", [make_event()]),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers] == [list, AttributeError, StoreFullError, list, list]
    assert [answers[0], answers[3], answers[4]] == [[0], [0, 1], [1]]


async def test_group_leaves_a_bounded_topic_as_its_appends_one_by_one_would(store: SqliteStore) -> None:
    """What is dropped for all of them at once is the oldest, and each caller has its own answer, in any topic."""
    await store.declare("latest", Retention(max_events=5, on_full="drop_oldest"))
    latest = [make_event(str(number)) for number in range(12)]

    answers = await asyncio.gather(
        *(store.append(topic, [event]) for event in latest[:4] for topic in ("latest", "orders")),
    )
    assert answers == [[number] for number in range(4) for _ in range(2)]
    answers = await asyncio.gather(*(store.append("latest", [event]) for event in latest[4:8]))
    assert answers == [[number] for number in range(4, 8)]
    answers = await asyncio.gather(*(store.append("latest", [event]) for event in latest[2:]))

    assert answers == [[number] for number in range(2, 12)]
    assert await held(store, "latest") == [event.uuid for event in latest[7:]]


@pytest.mark.parametrize(("appends", "reads"), [(20, 0), (0, 20), (10, 10)], ids=["appends", "reads", "both"])
async def test_group_waits_once_for_whoever_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appends: int, reads: int
) -> None:
    """Not once for each of its jobs; all are told who has it, and the next group finds the file free."""
    monkeypatch.setattr(sqlite_opening, "SHARED_PATIENCE", 0.1)
    store = SqliteStore(tmp_path / "log.db", shared=True, durability="process")
    await store.open()
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    loop = asyncio.get_running_loop()
    began = loop.time()

    calls: list[Coroutine[Any, Any, object]] = [store.topics() for _ in range(reads)]  # Any: sent and yielded
    calls += [store.append("orders", [make_event()]) for _ in range(appends)]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert loop.time() - began < 1  # 20 times 0.1 s, if each waited
    assert all(isinstance(answer, StoreError) and "is locked by" in str(answer) for answer in answers)
    other.close()
    assert await store.append("orders", [make_event()]) == [0]
    await store.aclose()


async def test_repeated_event_in_a_group_has_one_offset(store: SqliteStore) -> None:
    """Two producers append the same event at once."""
    event, other = make_event(), make_event()

    appends = [store.append("orders", events) for events in ([event], [other, event], [event])]
    assert await asyncio.gather(*appends) == [[0], [1, 0], [0]]


@pytest.mark.parametrize("place", [0, 63, 64, 80, 98, 99])
async def test_known_event_among_many_has_its_offset_and_the_others_are_appended(
    store: SqliteStore, place: int
) -> None:
    """Rows go in by statements of several sizes: wherever the known one stands, none is there twice or missing."""
    known = make_event("known")
    await store.append("orders", [known])
    events = [make_event(str(number)) for number in range(100)]
    events[place] = known

    offsets = await store.append("orders", events)

    assert offsets == [*range(1, place + 1), 0, *range(place + 1, 100)]
    assert await held(store) == [known.uuid] + [event.uuid for event in events if event is not known]


async def test_cancelled_append_is_whole_or_never_was(store: SqliteStore) -> None:
    """Cancelled at any moment, of three events there are three or none; nobody else notices."""
    for turns in range(8):
        events = [make_event() for _ in range(3)]
        before = await held(store)
        cancelled = asyncio.create_task(store.append("orders", events))
        other = asyncio.create_task(store.append("orders", [make_event()]))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await other

        there = (await held(store))[len(before) :]
        ids = [event.uuid for event in events]
        assert [found for found in there if found in ids] in ([], ids)
        assert len(there) in (1, 4)


async def test_stores_of_two_loops_share_a_file_and_wake_each_other(store: SqliteStore, tmp_path: Path) -> None:
    """Each gets its own answers; an append in one loop wakes who waits in the other."""
    parked, woken = threading.Event(), []

    async def elsewhere() -> None:
        async with asyncio.timeout(10):
            other = SqliteStore(tmp_path / "log.db", durability="process")
            await other.open()
            seen = other.version("orders")
            asyncio.get_running_loop().call_soon(parked.set)
            await other.wait("orders", seen)
            woken.extend(await held(other))
            await other.aclose()

    def run() -> None:
        asyncio.run(elsewhere())

    running = asyncio.get_running_loop().run_in_executor(None, run)
    while not parked.is_set():
        await asyncio.sleep(0)
    event = make_event()
    await store.append("orders", [event])
    await running

    assert woken == [event.uuid]


async def test_idle_store_takes_no_step(store: SqliteStore) -> None:
    """Fifty who wait, for an hour: a handful of turns of the loop, and no job."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    waiting = [asyncio.create_task(store.wait("orders", store.version("orders"))) for _ in range(50)]
    await asyncio.sleep(1)  # the thread hands over what it opened
    before = loop.steps
    await asyncio.sleep(3600)

    assert loop.steps - before < 5
    assert not any(task.done() for task in waiting)
    await store.append("orders", [make_event()])
    await asyncio.gather(*waiting)


async def test_close_ends_what_waits_and_does_what_was_asked_before(tmp_path: Path) -> None:
    """An append that was asked for is committed; a waiter gets ``ClosedError``, and so does whoever comes after."""
    store = SqliteStore(tmp_path / "log.db", durability="process")
    await store.open()
    event = make_event()
    waiting = asyncio.create_task(store.wait("orders", store.version("orders")))
    appending = asyncio.create_task(store.append("orders", [event]))
    await asyncio.sleep(0)
    await store.aclose()

    assert await appending == [0]
    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        await store.append("orders", [event])
    await store.open()
    assert await held(store) == [event.uuid]
    await store.aclose()


@pytest.mark.parametrize("turns", range(6))
async def test_opening_and_closing_that_are_cancelled_leave_nothing(tmp_path: Path, turns: int) -> None:
    """No thread, no lock: the file can be opened by another store after it."""
    store = SqliteStore(tmp_path / "log.db", durability="process")
    for call in (store.open, store.aclose):
        task = asyncio.create_task(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    await store.aclose()
    other = SqliteStore(tmp_path / "log.db", durability="power")  # refused while it is open in another way
    async with asyncio.timeout(5):
        while True:
            try:
                await other.open()
                break
            except StoreError:
                await asyncio.sleep(0.001)
    await other.aclose()


class StepClock(Clock):
    now = 1e9

    def time(self) -> float:
        return self.now


async def test_long_trim_lets_others_in(tmp_path: Path, groups: list[int]) -> None:
    """Ten thousand events go in steps of some thousand, and an append gets its turn between them."""
    clock = StepClock()
    store = SqliteStore(tmp_path / "log.db", clock=clock, dedupe_window=0)
    await store.open()
    await store.declare("orders", Retention(max_age=10))
    await store.append("orders", [make_event()] + [make_event(str(number)) for number in range(9_999)])
    clock.now += 11
    del groups[:]
    trimming = asyncio.create_task(store.trim("orders"))
    await asyncio.sleep(0)
    assert await store.append("orders", [make_event()]) == [10_000]
    assert not trimming.done()
    assert await trimming == 10_000
    assert len(groups) == 3
    await store.aclose()
