"""A reconciler whose file others change as well makes no pass for that, and misses nothing that they publish."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventpipe import Event
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import between

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that several processes use."""
    return tmp_path / "shared.db"


@pytest_asyncio.fixture
async def shared(path: Path) -> AsyncIterator[Deliveries]:
    """Deliveries in that file, with one endpoint."""
    async with Deliveries(SqliteStore(path, shared=True, durability="process", poll=0.01)) as running:
        await running.add_endpoint(Endpoint("acme", sink=RecordingSink()))
        yield running


def change_elsewhere(path: Path) -> None:
    """Commit something to the file as another process does, which does not say what it was."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS others (number)")
        db.execute("INSERT INTO others VALUES (1)")


@pytest.mark.parametrize("lock", [None, "passes"])
async def test_what_others_change_in_the_file_costs_no_write(
    shared: Deliveries, path: Path, monkeypatch: pytest.MonkeyPatch, lock: str | None
) -> None:
    """Not even of the lock, which would wake those who share the file, and they this one, for ever."""
    leases: list[str] = []
    acquire = shared.store.acquire

    async def counted(*args: object, **options: object) -> object:
        leases.append("acquired")
        return await acquire(*args, **options)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(shared.store, "acquire", counted)
    with between(shared, monkeypatch) as standing:
        async with Reconciler(shared, workers=1, lock=lock, interval=60):
            await asyncio.sleep(0.2)
            assert standing.calls.count("rescue") == 1
            assert len(leases) == (lock is not None)
            standing.calls.clear()
            for _ in range(10):
                change_elsewhere(path)
                await asyncio.sleep(0.05)
            calls, taken = [*standing.calls], len(leases)

    assert len(calls) >= 5
    assert set(calls) == {"due"}
    assert taken == (lock is not None)


@pytest.mark.parametrize("lock", [None, "passes"])
async def test_what_is_published_is_attempted_at_once_by_who_found_nothing_due(
    shared: Deliveries, path: Path, lock: str | None
) -> None:
    """However often it was woken for nothing before."""
    sink = RecordingSink()
    shared.senders.lend("acme", sink)
    async with Reconciler(shared, workers=1, lock=lock, interval=60):
        for number in range(3):
            change_elsewhere(path)
            await asyncio.sleep(0.1)
            await shared.publish(Event("paid", distinct_id="42"), endpoints=["acme"])
            async with asyncio.timeout(5):
                await sink.reached(number + 1)
