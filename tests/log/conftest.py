"""A log to test, over each store that ships."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from eventpipe.log.eventlog import EventLog
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing.clock import LoopClock


@pytest.fixture
def clock() -> LoopClock:
    """The wall clock of the store and of the log, which goes with the virtual loop."""
    return LoopClock()


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, clock: LoopClock, tmp_path: Path) -> Callable[[], Store]:
    """Makes engines, each with a place of its own."""
    numbers = itertools.count()

    def make() -> Store:
        if request.param == "memory":
            return MemoryStore(clock=clock)
        # What survives a loss of power is the store's guarantee, and costs an fsync for each of a thousand commits.
        return SqliteStore(tmp_path / f"{next(numbers)}.db", durability="process", clock=clock)

    return make


@pytest.fixture
def store(make_store: Callable[[], Store]) -> Store:
    """An engine that was not opened."""
    return make_store()


@pytest_asyncio.fixture
async def log(store: Store, clock: LoopClock) -> AsyncIterator[EventLog]:
    """A log that runs."""
    async with EventLog(store, clock=clock) as running:
        yield running
