"""``SqliteStore`` keeps the contract of deliveries, in a file of its own and in one that others may use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventpipe.clock import Clock
from eventpipe.stores import SqliteStore
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.testing.delivery_contract import DeliveryStoreContract
from eventpipe.testing.delivery_rig import DeliveryRig
from eventpipe.testing.events import STAMP
from tests.stores.places import quick_place


class StillClock(Clock):
    """Stands still but for ``advance()``: a loop that waits for a thread goes on by what that takes."""

    def __init__(self) -> None:
        self.now = STAMP

    def time(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += seconds


class TestSqliteDeliveries(DeliveryStoreContract):
    @pytest.fixture
    def shared(self) -> bool:
        return False

    @pytest_asyncio.fixture
    async def rig(self, shared: bool) -> AsyncIterator[DeliveryRig]:
        clock = StillClock()
        with quick_place() as folder:  # in memory, as nothing here depends on a disk
            store = SqliteStore(folder / "events.db", shared=shared, durability="process", clock=clock)

            async def reopen() -> DeliveringStore:
                await store.aclose()
                await store.open()
                return store

            await store.open()
            yield DeliveryRig(store, clock.advance, clock, reopen)
            await store.aclose()


class TestSharedSqliteDeliveries(TestSqliteDeliveries):
    @pytest.fixture
    def shared(self) -> bool:
        return True
