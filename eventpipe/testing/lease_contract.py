"""The contract of a store's leases, as tests: derive a class and give it a fixture ``rig``.

```python
class TestNatsLeases(LeaseContract):
    @pytest_asyncio.fixture
    async def rig(self):
        store, other = NatsStore(url), NatsStore(url)
        await store.open()
        await other.open()
        yield LeaseRig(store, asyncio.sleep, other=other, ttl=2.0)  # real seconds, so few of them
        await store.aclose()
        await other.aclose()
```

The tests are ``async`` and marked for pytest-asyncio. They run in virtual and in real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from eventpipe.core.granting import Grantor
from eventpipe.core.lease import Lease
from eventpipe.errors import LeaseHeldError, LeaseLostError
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.lease_rig import LeaseRig
from eventpipe.testing.sweep import Swept, cancellation_sweep

PATIENCE: Final = 10.0  # seconds until a scenario that does not go on is a failure, however slow the machine
RIVALS: Final = 10
NAMES: Final = ("reconciler", "consumer:orders.eu/billing[2/8]", "näme/\"'%_*>?;--", "n" * 410)


@pytest.mark.asyncio
class LeaseContract:
    """What the leases of every store promise to who holds one, and to who waits for one."""

    async def test_each_owner_gets_the_next_token(self, rig: LeaseRig) -> None:
        """Released or run out, by one holder or several: the token is one higher for each owner, without a gap."""
        one, other = rig.stores
        tokens = [await _take(one, "a", rig.ttl)]
        await one.release("a", tokens[-1])
        tokens.append(await _take(one, "a", rig.ttl))
        await one.release("a", tokens[-1])
        tokens.append(await _take(other, "a", rig.ttl, holder="somebody"))
        with pytest.raises(LeaseHeldError):
            await _take(one, "a", rig.ttl)
        await rig.pass_time(rig.ttl * 1.1)
        tokens.append(await _take(one, "a", rig.ttl))

        assert tokens == [tokens[0] + owner for owner in range(4)]

    async def test_a_lease_that_is_held_says_by_whom_and_for_how_long(self, rig: LeaseRig) -> None:
        """The remaining seconds are those of the holder's lease, not of the one that was asked for."""
        one, other = rig.stores
        await _take(one, "a", rig.ttl, holder="somebody")
        with pytest.raises(LeaseHeldError, match="somebody") as early:
            await _take(other, "a", rig.ttl * 5)
        await rig.pass_time(rig.ttl / 2)
        with pytest.raises(LeaseHeldError) as late:
            await _take(other, "a", rig.ttl * 5)

        assert (early.value.holder, late.value.holder) == ("somebody", "somebody")
        assert early.value.remaining is not None
        assert late.value.remaining is not None
        assert rig.ttl * 0.6 < early.value.remaining <= rig.ttl
        assert 0 < late.value.remaining <= rig.ttl * 0.5

    async def test_the_same_holder_twice_is_two_owners(self, rig: LeaseRig) -> None:
        """A name is for the eyes of people: who has it may be asked by another task of the same process."""
        await _take(rig.store, "a", rig.ttl, holder="me")

        with pytest.raises(LeaseHeldError) as held:
            await _take(rig.store, "a", rig.ttl, holder="me")

        assert held.value.holder == "me"

    async def test_a_lease_whose_time_is_over_goes_to_the_next(self, rig: LeaseRig) -> None:
        """The stalled holder cannot renew it, is told who has it, and cannot give it back either."""
        one, other = rig.stores
        stalled = await _take(one, "a", rig.ttl)
        await rig.pass_time(rig.ttl * 1.1)
        await _take(other, "a", rig.ttl, holder="next")

        with pytest.raises(LeaseLostError) as lost:
            await one.renew("a", stalled, rig.ttl)
        await one.release("a", stalled)

        assert lost.value.holder in ("next", None)
        assert await _holder(one, "a", rig.ttl) == "next"

    async def test_a_renewed_lease_lasts_from_then_on(self, rig: LeaseRig) -> None:
        """Its token stays, and it is held beyond its first time."""
        one, other = rig.stores
        token = await _take(one, "a", rig.ttl, holder="somebody")
        for _ in range(3):
            await rig.pass_time(rig.ttl / 2)
            await one.renew("a", token, rig.ttl)

        assert await _holder(other, "a", rig.ttl) == "somebody"
        await rig.pass_time(rig.ttl * 1.1)
        assert await _take(other, "a", rig.ttl) == token + 1

    async def test_a_lease_that_nobody_took_can_be_renewed_late(self, rig: LeaseRig) -> None:
        """Its time was over, and it goes on under the same token."""
        one, other = rig.stores
        token = await _take(one, "a", rig.ttl, holder="somebody")
        await rig.pass_time(rig.ttl * 1.1)

        await one.renew("a", token, rig.ttl)

        assert await _holder(other, "a", rig.ttl) == "somebody"

    async def test_a_released_lease_cannot_be_renewed(self, rig: LeaseRig) -> None:
        """Neither while nobody has it, nor afterwards; it stays free."""
        one, other = rig.stores
        token = await _take(one, "a", rig.ttl)
        await one.release("a", token)

        with pytest.raises(LeaseLostError):
            await one.renew("a", token, rig.ttl)
        assert await _take(other, "a", rig.ttl) == token + 1
        with pytest.raises(LeaseLostError):
            await one.renew("a", token, rig.ttl)

    async def test_a_lease_may_be_released_twice(self, rig: LeaseRig) -> None:
        """Also after its time is over: no error, and it costs no token."""
        token = await _take(rig.store, "a", rig.ttl)
        await rig.pass_time(rig.ttl * 1.1)
        for _ in range(2):
            await rig.store.release("a", token)

        assert await _take(rig.store, "a", rig.ttl) == token + 1

    async def test_an_old_token_releases_nothing(self, rig: LeaseRig) -> None:
        """Who was the owner before changes nothing for who is now, nor for a name that never had one."""
        one, other = rig.stores
        old = await _take(one, "a", rig.ttl)
        await one.release("a", old)
        new = await _take(other, "a", rig.ttl, holder="somebody")

        await one.release("a", old)
        await one.release("unknown", old)

        assert await _holder(one, "a", rig.ttl) == "somebody"
        await other.renew("a", new, rig.ttl)

    async def test_of_many_who_ask_at_once_one_gets_it(self, rig: LeaseRig) -> None:
        """The others are told by whom it is held; so it is each time that it is free, whether released or run out."""
        tokens: list[int] = []
        for has_run_out in (False, True, False):
            if tokens and has_run_out:
                await rig.pass_time(rig.ttl * 1.1)
            elif tokens:
                await rig.store.release("a", tokens[-1])
            asking = [_take(rig.stores[n % 2], "a", rig.ttl, holder=str(n)) for n in range(RIVALS)]
            answers = await asyncio.gather(*asking, return_exceptions=True)
            granted = [(str(n), answer) for n, answer in enumerate(answers) if isinstance(answer, int)]
            held = [answer.holder for answer in answers if isinstance(answer, LeaseHeldError)]

            assert len(granted) == 1
            assert held == [granted[0][0]] * (RIVALS - 1)
            tokens.append(granted[0][1])

        assert tokens == [tokens[0], tokens[0] + 1, tokens[0] + 2]

    async def test_names_are_independent(self, rig: LeaseRig) -> None:
        """Whatever characters they have: each has its holder and its tokens, and none is taken for another."""
        tokens = {name: await _take(rig.store, name, rig.ttl, holder=f"of {name[:9]}") for name in NAMES}
        await rig.store.release(NAMES[0], tokens[NAMES[0]])

        for name in NAMES[1:]:
            assert await _holder(rig.store, name, rig.ttl) == f"of {name[:9]}"
            await rig.store.renew(name, tokens[name], rig.ttl)
        assert await _take(rig.store, NAMES[0], rig.ttl) == tokens[NAMES[0]] + 1
        assert await _take(rig.store, NAMES[0].upper(), rig.ttl) > 0

    async def test_without_a_ttl_it_lasts_until_it_is_released(self, rig: LeaseRig) -> None:
        """However long that is; it says that there is no end to wait for, and renewing it changes nothing."""
        if rig.store.is_shared:
            pytest.skip("the rig has is_shared=True: its leases need a ttl")
        token = await _take(rig.store, "a", None, holder="somebody")
        await rig.pass_time(rig.ttl * 10_000)
        with pytest.raises(LeaseHeldError) as held:
            await _take(rig.store, "a", None)
        await rig.store.renew("a", token, None)
        await rig.store.release("a", token)

        assert (held.value.holder, held.value.remaining) == ("somebody", None)
        assert await _take(rig.store, "a", None) == token + 1

    async def test_a_release_wakes_everybody_who_waits_for_it(self, rig: LeaseRig) -> None:
        """Also one that came between the look and the wait, and whoever else was cancelled meanwhile."""
        one, other = rig.stores
        token = await _take(one, "a", rig.ttl)
        seen = [store.version("a") for store in rig.stores]
        waiting = [asyncio.create_task(_await_release(rig.stores[n % 2], "a", seen[n % 2])) for n in range(RIVALS)]
        await asyncio.sleep(0)
        cancelled = waiting.pop()
        cancelled.cancel()

        await one.release("a", token)

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*waiting)
            await _await_release(other, "a", seen[1])
            await asyncio.wait({cancelled})
        assert cancelled.cancelled()

    async def test_whoever_waits_to_acquire_gets_it_in_turn(self, rig: LeaseRig) -> None:
        """Ten who take it, work and give it back: never two at a time, none is forgotten, and nothing is left."""
        leases = [Lease(rig.stores[n % 2], "a", ttl=rig.ttl, heartbeat=rig.ttl / 20) for n in range(RIVALS)]
        owners: list[int] = []
        at_work = 0

        async def work(lease: Lease) -> None:
            nonlocal at_work
            owners.append(await lease.acquire())
            async with lease.guard():
                at_work += 1
                assert at_work == 1
                await asyncio.sleep(0)
                at_work -= 1
            await lease.release()

        with no_leaks():
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*map(work, leases))

        assert owners == [owners[0] + owner for owner in range(RIVALS)]

    async def test_an_acquirer_cancelled_anywhere_holds_nothing(self, rig: LeaseRig) -> None:
        """At every point of taking and giving back: the next one gets it without waiting for the ttl."""

        @asynccontextmanager
        async def acquiring() -> AsyncIterator[Swept]:
            lease = Lease(rig.stores[1], "a", ttl=rig.ttl, heartbeat=rig.ttl / 20)

            async def use() -> None:
                try:
                    await lease.acquire()
                    async with lease.guard():
                        await asyncio.sleep(0)
                finally:
                    await lease.release()

            with no_leaks():
                yield use()
                await lease.release()
            await rig.store.release("a", await _take(rig.store, "a", rig.ttl))

        assert await cancellation_sweep(acquiring) > 0


async def _take(store: Grantor, name: str, ttl: float | None, *, holder: str = "test") -> int:
    async with asyncio.timeout(PATIENCE):
        return await store.acquire(name, holder, ttl)


async def _holder(store: Grantor, name: str, ttl: float) -> str:
    with pytest.raises(LeaseHeldError) as held:
        await _take(store, name, ttl)
    return held.value.holder


async def _await_release(store: Grantor, name: str, seen: int) -> None:
    while store.version(name) == seen:  # a wait may return without a reason
        await store.wait(name, seen)
