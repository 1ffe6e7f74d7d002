"""``SqliteStore`` keeps the contract, in a file of its own and in one that others may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventpipe.clock import Clock
from eventpipe.stores import SqliteStore
from eventpipe.stores.base import Store
from eventpipe.testing.events import STAMP
from eventpipe.testing.lease_contract import LeaseContract
from eventpipe.testing.lease_rig import LeaseRig
from eventpipe.testing.store_contract import StoreContract
from eventpipe.testing.store_rig import StoreRig
from tests.stores.places import quick_place


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, as nothing here depends on a disk."""
    with quick_place() as folder:
        yield folder


class StillClock(Clock):
    """Stands still but for ``advance()``: a loop that waits for a thread goes on by what that takes."""

    def __init__(self) -> None:
        self.now = STAMP

    def time(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(seconds)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def shared(self) -> bool:
        return False

    @pytest_asyncio.fixture
    async def rig(self, tmp_path: Path, shared: bool) -> AsyncIterator[StoreRig]:
        clock = StillClock()
        numbers = iter(range(100))

        def unopened() -> SqliteStore:
            path = tmp_path / f"{next(numbers)}.db"
            return SqliteStore(path, shared=shared, durability="process", clock=clock)

        store = unopened()

        async def reopen() -> Store:
            await store.aclose()
            await store.open()
            return store

        await store.open()
        yield StoreRig(store, clock.advance, clock, unopened, reopen)
        await store.aclose()


class TestSharedSqliteStore(TestSqliteStore):
    @pytest.fixture
    def shared(self) -> bool:
        return True


class TestSqliteLeases(LeaseContract):
    @pytest_asyncio.fixture(params=[False, True], ids=["exclusive", "shared"])
    async def rig(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LeaseRig]:
        clock = StillClock()
        path = tmp_path / "log.db"
        stores = [SqliteStore(path, shared=request.param, durability="process", clock=clock) for _ in range(2)]
        for store in stores:
            await store.open()
        yield LeaseRig(stores[0], clock.advance, other=stores[1])
        for store in stores:
            await store.aclose()
