"""The leases of our stores keep their contract, and the contract finds those that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.lease_contract import LeaseContract
from eventpipe.testing.lease_rig import LeaseRig
from tests.core.granted import FakeGrantor


class TestMemoryLeases(LeaseContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[LeaseRig]:
        store = MemoryStore(clock=LoopClock())
        await store.open()
        yield LeaseRig(store, asyncio.sleep)
        await store.aclose()


class TestFakeGrantor(LeaseContract):
    """The store that the tests of ``Lease`` break is honest until it is broken."""

    @pytest.fixture(params=[True, False], ids=["shared", "exclusive"])
    def rig(self, request: pytest.FixtureRequest) -> LeaseRig:
        return LeaseRig(FakeGrantor(is_shared=request.param), asyncio.sleep)


class TestSlowFakeGrantor(LeaseContract):
    """The same, where each call takes its time and is done whether its caller still waits or not."""

    @pytest.fixture
    def rig(self) -> LeaseRig:
        store = FakeGrantor()
        store.delay = 0.02
        return LeaseRig(store, asyncio.sleep)


class Repeating(FakeGrantor):
    """Gives a token again that was released."""

    async def release(self, name: str, token: int) -> None:
        await super().release(name, token)
        self._leases[name].token -= 1


class Trusting(FakeGrantor):
    """Renews for whoever asks."""

    async def renew(self, name: str, token: int, ttl: float | None) -> None:
        self._leases[name].is_released = False
        await super().renew(name, self._leases[name].token, ttl)


class Careless(FakeGrantor):
    """Releases for whoever asks."""

    async def release(self, name: str, token: int) -> None:
        await super().release(name, self._leases[name].token)


class Silent(FakeGrantor):
    """Tells nobody of a release."""

    async def wait(self, subject: str, seen: int) -> None:
        await asyncio.Event().wait()


@pytest.mark.asyncio
class TestTheContractItself:
    """Stores that break it are found out."""

    async def test_finds_one_that_gives_a_token_twice(self) -> None:
        with pytest.raises(AssertionError):
            await LeaseContract().test_each_owner_gets_the_next_token(LeaseRig(Repeating(), asyncio.sleep))

    async def test_finds_one_that_renews_for_whoever_asks(self) -> None:
        contract, rig = LeaseContract(), LeaseRig(Trusting(), asyncio.sleep)
        for scenario in (
            contract.test_a_lease_whose_time_is_over_goes_to_the_next,
            contract.test_a_released_lease_cannot_be_renewed,
        ):
            with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
                await scenario(LeaseRig(Trusting(), rig.pass_time))

    async def test_finds_one_that_releases_for_whoever_asks(self) -> None:
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            await LeaseContract().test_an_old_token_releases_nothing(LeaseRig(Careless(), asyncio.sleep))

    async def test_finds_one_that_tells_nobody_of_a_release(self) -> None:
        with pytest.raises(TimeoutError):
            await LeaseContract().test_a_release_wakes_everybody_who_waits_for_it(LeaseRig(Silent(), asyncio.sleep))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
