"""Several processes that want one consumer: one works at a time, and another goes on when it ends, dies or stalls."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from eventpipe.log.eventlog import EventLog
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import ConsumerInfo
from tests.processes.logged import TOPIC, made
from tests.processes.nursery import Child, Nursery, nursery
from tests.stores.places import quick_folder

CONSUMER = "billing"
TTL, HEARTBEAT = 1.0, 0.2
WORK = 0.1  # seconds that a stalled holder is at work on each event
SLACK = 0.5  # seconds that a busy machine may add; with it, still before a second ttl is over
EVENTS = 40

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60)]

kinds = pytest.mark.parametrize("kind", ["receiver", "handler", "sink"])


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("journals")) as forked:
        yield forked


@pytest.fixture
def path() -> Iterator[Path]:
    """A shared file with events that nobody has consumed; in memory, if there is a place: it is not about disks."""
    with TemporaryDirectory(dir=quick_folder()) as folder:
        path = Path(folder, "log.db")
        asyncio.run(append(path, *range(EVENTS)))
        yield path


async def append(path: Path, *numbers: int) -> None:
    async with EventLog(SqliteStore(path, shared=True, durability="process")) as log:
        await log.append_many(TOPIC, [made(0, number) for number in numbers])


async def look(path: Path) -> ConsumerInfo:
    async with EventLog(SqliteStore(path, shared=True, durability="process")) as log:
        return await log.consumer(TOPIC, CONSUMER)


def follower(children: Nursery, path: Path, kind: str, **arguments: Any) -> Child:  # Any: JSON
    return children.fork(
        "follow",
        path=str(path),
        shared=True,
        kind=kind,
        consumer=CONSUMER,
        **{"work": 0.01, "mutex": f"{path}.mutex", "ttl": TTL, "heartbeat": HEARTBEAT, **arguments},
    )


def ids_of(*children: Child) -> list[str]:
    """Of the events that these were handed, in the order in which they were."""
    handed = sorted((entry.at, entry[2]) for child in children for entry in child.entries("handed"))
    return [uuid for _, uuid in handed]


@kinds
def test_two_processes_never_handle_at_once(children: Nursery, path: Path, kind: str) -> None:
    """Three followers, of which the busy one is ended, by turns; each event is handled, in order, by one at a time."""
    producer = children.fork(
        "produce", path=str(path), shared=True, producer=0, first=EVENTS, last=2 * EVENTS, seed=0, pause=0.2
    )
    followers = [follower(children, path, kind, work=0.02, ttl=0.8, heartbeat=0.15) for _ in range(3)]
    waiting = list(followers)
    for number in (signal.SIGTERM, signal.SIGKILL):
        busy = next_busy(waiting)
        waiting.remove(busy)
        busy.signal(number)
        assert busy.wait() == (0 if number == signal.SIGTERM else -number)
    assert producer.wait() == 0
    wait_until_settled(path)
    waiting[0].signal(signal.SIGTERM)
    assert waiting[0].wait() == 0

    assert [entry for child in followers for entry in child.entries("overlap")] == []
    assert list(dict.fromkeys(ids_of(*followers))) == [made(0, number).uuid for number in range(2 * EVENTS)]


@pytest.mark.parametrize("kind", ["receiver", "handler"])
def test_killed_holder_is_followed_when_its_lease_is_over(children: Nursery, path: Path, kind: str) -> None:
    """Within the ttl and one heartbeat, and not while it may still be alive."""
    holder, heir = holder_and_heir(children, path, kind)
    killed_at = holder.kill()
    took_over = heir.await_entry("handed").at - killed_at
    heir.kill()

    assert TTL - 2 * HEARTBEAT < took_over <= TTL + HEARTBEAT + SLACK


@kinds
def test_terminated_holder_is_followed_at_once(children: Nursery, path: Path, kind: str) -> None:
    """It gives the consumer back when it has stopped: nobody waits for the end of a lease of a minute."""
    holder, heir = holder_and_heir(children, path, kind, work=0.005, heir_works=0.005, ttl=60.0, heartbeat=3.0)
    holder.signal(signal.SIGTERM)
    assert holder.wait() == 0
    ended_at = time.monotonic()
    asyncio.run(append(path, EVENTS))  # a consumer makes a last pass, which may leave nothing else
    took_over = heir.await_entry("handed").at - ended_at
    heir.kill()

    assert took_over <= 5.0  # of a lease of 60
    assert heir.entries("overlap") == []


@kinds
def test_stalled_holder_cannot_settle_what_its_heir_was_handed(children: Nursery, path: Path, kind: str) -> None:
    """It wakes up in the middle of its work, when another has the consumer: the cursor stays, and it begins anew."""
    stalled, heir, woken_at = stall(children, path, kind)
    stalled.await_entry("lost", "logged", after=woken_at)
    position = asyncio.run(look(path)).position
    time.sleep(3 * WORK)  # as long as it would take it to finish what it had begun
    pending = asyncio.run(look(path))
    for child in (stalled, heir):
        child.kill()

    first = heir.entries("handed")[0]
    assert first[2] in ids_of(stalled)  # the heir was handed what the stalled one had in hand
    assert (pending.position, pending.pending) == (position, EVENTS - position)
    assert made(0, position).uuid == first[2]
    assert [entry for entry in stalled.entries("settled") if entry.at > woken_at] == []


@kinds
def test_stalled_holder_begins_with_nothing_more(children: Nursery, path: Path, kind: str) -> None:
    """It wakes up and finishes what it was at; the next event is its heir's, and no handler of its own is called."""
    stalled, heir, woken_at = stall(children, path, kind)
    stalled.await_entry("lost", "logged", after=woken_at)
    time.sleep(3 * WORK)
    for child in (stalled, heir):
        child.kill()

    assert [entry for entry in stalled.entries("handed") if entry.at > woken_at] == []


def stall(children: Nursery, path: Path, kind: str) -> tuple[Child, Child, float]:
    """One that was held up in the middle of its work and has just been woken, its heir that is at work, and when."""
    stalled, heir = holder_and_heir(children, path, kind, work=WORK, heir_works=30.0)
    stalled.signal(signal.SIGSTOP)
    heir.await_entry("handed")
    woken_at = time.monotonic()
    stalled.signal(signal.SIGCONT)
    return stalled, heir, woken_at


def holder_and_heir(
    children: Nursery, path: Path, kind: str, *, work: float = 0.05, heir_works: float = 0.05, **lease: float
) -> tuple[Child, Child]:
    """One that is at work, and one that waits."""
    holder = follower(children, path, kind, work=work, **lease)
    holder.await_entry("handed")
    heir = follower(children, path, kind, work=heir_works, **lease)
    heir.await_entry("waits")
    return holder, heir


def next_busy(waiting: list[Child]) -> Child:
    """The one of these that is handed events."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for child in waiting:
            if child.entries("handed"):
                return child
        time.sleep(0.002)
    raise AssertionError("nobody took over within 10 s")


def wait_until_settled(path: Path) -> None:
    deadline = time.monotonic() + 20
    while asyncio.run(look(path)).pending:
        assert time.monotonic() < deadline
        time.sleep(0.02)
