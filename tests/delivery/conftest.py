"""Deliveries to test, over each store that ships, and what makes a store fail when a test says so."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.errors import StoreError
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import ClaimedRow
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing.clock import LoopClock


@pytest.fixture
def clock() -> LoopClock:
    """The wall clock of the store and of the deliveries, which goes with the virtual loop."""
    return LoopClock()


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, clock: LoopClock, tmp_path: Path) -> Callable[[], DeliveringStore]:
    """Makes engines, each with a place of its own."""
    numbers = itertools.count()

    def make() -> DeliveringStore:
        if request.param == "memory":
            return MemoryStore(clock=clock)
        # What survives a loss of power is the store's guarantee, and costs an fsync for each of a thousand commits.
        return SqliteStore(tmp_path / f"{next(numbers)}.db", durability="process", clock=clock)

    return make


@pytest.fixture
def store(make_store: Callable[[], DeliveringStore]) -> DeliveringStore:
    """An engine that was not opened."""
    return make_store()


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore, clock: LoopClock) -> AsyncIterator[Deliveries]:
    """Deliveries that run; without jitter, so that every moment is exact."""
    async with Deliveries(store, policy=DeliveryPolicy(jitter=0), clock=clock) as running:
        yield running


class Faults:
    """Stands before what keeps deliveries, and fails or waits where a test says so.

    Attributes:
        calls: The names of the calls that came, in order.
        kept: What it stands before.
    """

    def __init__(self, kept: Any) -> None:  # Any: each method is handed through as it is
        self.calls: list[str] = []
        self.kept = kept
        self._before: dict[str, Callable[[int], Awaitable[None]]] = {}
        self._faults: dict[str, Callable[[int, tuple[Any, ...]], BaseException | None]] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._rewritten: dict[str, Callable[[Any], Any]] = {}

    def rewrite(self, name: str, change: Callable[[Any], Any]) -> None:
        """Have calls of a name answer what ``change`` makes of the answer."""
        self._rewritten[name] = change

    def before(self, name: str, step: Callable[[int], Awaitable[None]]) -> None:
        """Have something done before each call of a name, given the number of the call, from 1."""
        self._before[name] = step

    def fail(self, name: str, fault: Callable[[int, tuple[Any, ...]], BaseException | None]) -> None:
        """Have calls of a name raise what ``fault`` says for the number of the call, from 1, and its arguments."""
        before = self.calls.count(name)
        self._faults[name] = lambda number, args: fault(number - before, args)

    def heal(self, name: str) -> None:
        """Have calls of a name work again."""
        del self._faults[name]

    def hold(self, name: str) -> asyncio.Event:
        """Have calls of a name wait for an event."""
        return self._gates.setdefault(name, asyncio.Event())

    def __getattr__(self, name: str) -> Any:  # Any: as above
        method = getattr(self.kept, name)

        async def call(*args: Any, **kwargs: Any) -> Any:  # Any: as above
            self.calls.append(name)
            if name in self._gates:
                await self._gates[name].wait()
            if name in self._faults and (error := self._faults[name](self.calls.count(name), args)) is not None:
                raise error
            if name in self._before:
                await self._before[name](self.calls.count(name))
            answer = await method(*args, **kwargs)
            return self._rewritten[name](answer) if name in self._rewritten else answer

        return call


@pytest.fixture
def faults(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """What stands before the store of ``deliveries``."""
    with between(deliveries, monkeypatch) as standing:
        yield standing


@contextmanager
def between(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Put faults between deliveries and their store."""
    standing = Faults(deliveries.kept)
    with monkeypatch.context() as patch:
        patch.setattr(type(deliveries), "kept", property(lambda self: standing))
        yield standing


def locked() -> StoreError:
    """What a store raises that is locked."""
    return StoreError("database is locked")


async def claimed_by_hand(
    deliveries: Deliveries, endpoint: str, *, lasts: float = 60.0, limit: int = 100
) -> list[ClaimedRow]:
    """What is due of an endpoint, taken by somebody who does nothing with it."""
    (info,) = await deliveries.kept.endpoints(endpoint)
    now = deliveries.clock.time()
    return await deliveries.kept.claim(
        info, holder="by hand", cutoff=now, after=None, now=now, until=now + lasts, limit=limit
    )
