"""``MemoryStore`` keeps the contract, and stores that break it are found out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest
import pytest_asyncio

from eventpipe.errors import LeaseLostError
from eventpipe.events import CapturedEvent
from eventpipe.stores import MemoryStore
from eventpipe.stores.base import Store
from eventpipe.stores.values import Claims, ConsumerKey, Disposition
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.store_contract import StoreContract
from eventpipe.testing.store_rig import StoreRig


class TestMemoryStore(StoreContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[StoreRig]:
        clock = LoopClock()
        store = MemoryStore(clock=clock)

        async def reopen() -> Store:
            await store.aclose()
            await store.open()
            return store

        await store.open()
        yield StoreRig(store, asyncio.sleep, clock, MemoryStore, reopen)
        await store.aclose()


class Forgetful(MemoryStore):
    """Does not know what it has."""

    async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
        return await super().append(topic, events, is_replay=True)


class Careless(MemoryStore):
    """Lets a holder that is gone settle, in silence."""

    async def settle(self, key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        with suppress(LeaseLostError):
            await super().settle(key, token, dispositions)


class Hasty(MemoryStore):
    """Takes who has settled nothing for somebody who wants nothing."""

    async def trim(self, topic: str, before: int | None = None) -> int:
        for consumer in list(self._topics[topic].consumers.values()):
            if not consumer.has_cursor:
                await self.seek(consumer.key, self._topics[topic].log.end)
        return await super().trim(topic, before)


class Quick(MemoryStore):
    """Counts an attempt when it fails, and not when it begins."""

    async def claim(
        self, key: ConsumerKey, token: int | None, *, max_events: int, max_bytes: int, ttl: float | None = None
    ) -> Claims:
        claims = await super().claim(key, token, max_events=max_events, max_bytes=max_bytes, ttl=ttl)
        for event in claims.events:
            event.attempt = 1
        return claims


class Mute(MemoryStore):
    """Says of nothing that it happened."""

    def version(self, subject: str) -> int:
        del subject
        return 0


@pytest.mark.asyncio
class TestTheContractItself:
    """Each of these breaks one sentence, and one scenario says so."""

    @pytest_asyncio.fixture
    async def rig(self, request: pytest.FixtureRequest) -> AsyncIterator[StoreRig]:
        clock = LoopClock()
        store: MemoryStore = request.param(clock=clock)
        await store.open()
        yield StoreRig(store, asyncio.sleep, clock, request.param)
        await store.aclose()

    @pytest.mark.parametrize("rig", [Forgetful], indirect=True)
    async def test_finds_one_that_appends_twice(self, rig: StoreRig) -> None:
        with pytest.raises(AssertionError):
            await StoreContract().test_appending_an_event_again_finds_it(rig)

    @pytest.mark.parametrize("rig", [Careless], indirect=True)
    async def test_finds_one_that_lets_anybody_settle(self, rig: StoreRig) -> None:
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            await StoreContract().test_token_that_is_not_the_newest_moves_nothing(rig)

    @pytest.mark.parametrize("rig", [Hasty], indirect=True)
    async def test_finds_one_that_trims_what_was_never_settled(self, rig: StoreRig) -> None:
        with pytest.raises(AssertionError):
            await StoreContract().test_trim_never_passes_the_slowest_consumer(rig, ("all", "half", "never"))

    @pytest.mark.parametrize("rig", [Quick], indirect=True)
    async def test_finds_one_that_forgets_the_attempts_of_who_is_gone(self, rig: StoreRig) -> None:
        with pytest.raises(AssertionError):
            await StoreContract().test_attempts_are_counted_for_each_consumer(rig)

    @pytest.mark.parametrize("rig", [Mute], indirect=True)
    async def test_finds_one_that_wakes_nobody(self, rig: StoreRig) -> None:
        with pytest.raises(AssertionError):
            await StoreContract().test_version_moves_and_wakes_all_who_wait(rig, "append")
