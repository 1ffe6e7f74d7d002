"""``MemoryStore`` keeps the contract of deliveries, and stores that break it are found out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.stores import MemoryStore
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import Change, ClaimedRow, EndpointInfo, Publication, Published
from eventpipe.stores.memory_deliveries import MemoryDeliveries
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.delivery_contract import DeliveryStoreContract
from eventpipe.testing.delivery_rig import DeliveryRig


class TestMemoryDeliveries(DeliveryStoreContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[DeliveryRig]:
        clock = LoopClock()
        store = MemoryStore(clock=clock)

        async def reopen() -> DeliveringStore:
            await store.aclose()
            await store.open()
            return store

        await store.open()
        yield DeliveryRig(store, asyncio.sleep, clock, reopen)
        await store.aclose()


class Careless(MemoryDeliveries):
    """Changes a row whatever has become of it."""

    async def change(self, changes: Sequence[Change]) -> list[bool]:
        rows = [await self.row(change.id) for change in changes]
        return await super().change(
            [replace(change, version=row.version) for change, row in zip(changes, rows, strict=True) if row is not None]
        )


class Greedy(MemoryDeliveries):
    """Takes what somebody has."""

    async def claim(self, endpoint: EndpointInfo, **how: Any) -> list[ClaimedRow]:  # Any: handed through
        return await super().claim(endpoint, **{**how, "now": math.inf})


class Forgetful(MemoryDeliveries):
    """Knows events by their ids alone."""

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        return await super().publish([publication._replace(dedupe_key=None) for publication in publications])


class Wasteful(MemoryDeliveries):
    """Deletes what was settled just now."""

    async def purge(self, *, before: float, limit: int) -> int:
        return await super().purge(before=math.nextafter(before, math.inf), limit=limit)


class Broken(MemoryStore):
    """Keeps deliveries by one of the classes above."""

    kind: type[MemoryDeliveries]

    @property
    def deliveries(self) -> MemoryDeliveries:
        kept = super().deliveries
        kept.__class__ = self.kind
        return kept


@pytest.mark.asyncio
class TestTheContractItself:
    """Each of these breaks one sentence, and one scenario says so."""

    @pytest_asyncio.fixture
    async def rig(self, request: pytest.FixtureRequest) -> AsyncIterator[DeliveryRig]:
        clock = LoopClock()
        store = Broken(clock=clock)
        store.kind = request.param
        await store.open()
        yield DeliveryRig(store, asyncio.sleep, clock)
        await store.aclose()

    @pytest.mark.parametrize("rig", [Careless], indirect=True)
    async def test_finds_one_that_loses_what_another_changed(self, rig: DeliveryRig) -> None:
        with pytest.raises(AssertionError):
            await DeliveryStoreContract().test_change_that_was_decided_on_a_claim_ends_with_it(rig)

    @pytest.mark.parametrize("rig", [Greedy], indirect=True)
    async def test_finds_one_that_hands_a_row_to_two(self, rig: DeliveryRig) -> None:
        with pytest.raises(AssertionError):
            await DeliveryStoreContract().test_claims_at_once_share_nothing(rig)

    @pytest.mark.parametrize("rig", [Forgetful], indirect=True)
    async def test_finds_one_that_publishes_twice(self, rig: DeliveryRig) -> None:
        with pytest.raises(AssertionError):
            await DeliveryStoreContract().test_what_was_published_before_makes_nothing(rig, "key", at_once=False)

    @pytest.mark.parametrize("rig", [Wasteful], indirect=True)
    async def test_finds_one_that_deletes_too_early(self, rig: DeliveryRig) -> None:
        with pytest.raises(AssertionError):
            await DeliveryStoreContract().test_rows_that_were_settled_before_a_moment_are_deleted(rig)

    @pytest.mark.parametrize("rig", [MemoryDeliveries], indirect=True)
    async def test_has_nothing_against_one_that_keeps_it(self, rig: DeliveryRig) -> None:
        """So that those above are found by what they break."""
        await DeliveryStoreContract().test_claims_at_once_share_nothing(rig)
