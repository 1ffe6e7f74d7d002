"""Stores for pipelines, each of those that ship."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing.clock import LoopClock


@pytest.fixture
def clock() -> LoopClock:
    """The wall clock, which goes with the virtual loop."""
    return LoopClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, clock: LoopClock, tmp_path: Path) -> Store:
    """An engine that was not opened."""
    stores: dict[str, Callable[[], Store]] = {
        "memory": lambda: MemoryStore(clock=clock),
        "sqlite": lambda: SqliteStore(tmp_path / "events.db", durability="process", clock=clock),
    }
    return stores[request.param]()
