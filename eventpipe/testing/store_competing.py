"""Scenarios of the store contract: several who share the events of one consumer."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.errors import LeaseLostError
from eventpipe.stores.values import Disposal
from eventpipe.testing.store_rig import MUCH, StoreRig, attempts_of, offsets_of


class CompetingScenarios:
    """What claims without a token promise: each event is held by itself."""

    async def test_competing_claims_share_the_events(self, rig: StoreRig) -> None:
        """Each goes to one of them, however many claim at once; the cursor moves over all."""
        offsets = await rig.fill(200)
        rivals = [await rig.rival() for _ in range(8)]
        handed: list[int] = []

        async def work(number: int) -> None:
            rival = rivals[number]
            while events := await rival.claimed(max_events=7):
                handed.extend(offsets_of(events))
                await asyncio.sleep(0)
                await rival.settle(events)

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(work(number))

        assert sorted(handed) == offsets
        info = await rivals[0].info()
        assert (info.pending, info.claimed) == (0, 0)
        assert info.position > offsets[-1]

    async def test_event_whose_time_is_over_goes_to_another(self, rig: StoreRig) -> None:
        """At its next attempt, and not before; ``due_in`` says when."""
        offsets = await rig.fill(2)
        one, two = await rig.rival(ttl=60), await rig.rival(ttl=60)
        await one.claimed(max_events=1)
        await rig.advance(30)
        await one.claimed()

        claims = await two.claim()
        assert claims.events == []
        assert claims.due_in == pytest.approx(30, abs=1)
        await rig.advance(31)
        claims = await two.claim()
        assert attempts_of(claims.events) == [(offsets[0], 2)]
        assert claims.due_in == pytest.approx(29, abs=1)
        await rig.advance(30)
        assert attempts_of(await two.claimed()) == [(offsets[1], 2)]

    async def test_extended_event_is_held_for_longer(self, rig: StoreRig) -> None:
        """From the moment of the call on, also after its time was over and before another had it."""
        offsets = await rig.fill(1)
        one, two = await rig.rival(ttl=60), await rig.rival(ttl=60)
        events = await one.claimed()
        await rig.advance(50)

        await rig.store.extend(one.key, events, 60)
        await rig.advance(50)
        assert await two.claimed() == []
        await rig.advance(20)
        await rig.store.extend(one.key, events, 60)
        await rig.advance(50)
        assert await two.claimed() == []
        await rig.advance(20)
        assert attempts_of(await two.claimed()) == [(offsets[0], 2)]

    async def test_event_can_be_settled_until_another_has_it(self, rig: StoreRig) -> None:
        """Late is not too late while nobody was handed it."""
        await rig.fill(1)
        one, two = await rig.rival(ttl=60), await rig.rival(ttl=60)
        events = await one.claimed()
        await rig.advance(100)

        await one.settle(events)

        assert await two.claimed() == []
        assert (await one.info()).pending == 0

    async def test_event_that_another_has_is_lost(self, rig: StoreRig) -> None:
        """It can be neither settled, nor given back, nor extended; nor is any that comes in the same call."""
        await rig.fill(2)
        one, two = await rig.rival(ttl=60), await rig.rival(ttl=60)
        first = await one.claimed(max_events=1)
        await rig.advance(30)
        second = await one.claimed()
        await rig.advance(31)
        others = await two.claimed()
        before = await two.info()

        for disposal in Disposal:
            with pytest.raises(LeaseLostError):
                await one.settle([*second, *first], disposal)
        with pytest.raises(LeaseLostError):
            await rig.store.extend(one.key, [*second, *first], 1_000)

        assert await two.info() == before
        await rig.advance(30)
        assert offsets_of(await two.claimed()) == offsets_of(second)
        await two.settle(others)

    async def test_settled_or_given_back_event_cannot_be_extended(self, rig: StoreRig) -> None:
        """It is not held any more."""
        await rig.fill(2)
        rival = await rig.rival()
        settled, returned = await rival.claimed()
        await rival.settle([settled])
        await rival.settle([returned], Disposal.NACK, delay=10)

        for event in (settled, returned):
            with pytest.raises(LeaseLostError):
                await rig.store.extend(rival.key, [event], 60)

    async def test_event_of_the_holder_of_the_lease_cannot_be_extended(self, rig: StoreRig) -> None:
        """It is held for as long as the lease is, in its first attempt and in a later one; no time begins to run."""
        await rig.fill(1)
        hand = await rig.hand()
        for _ in range(2):
            events = await hand.claimed()
            with pytest.raises(LeaseLostError):
                await rig.store.extend(hand.key, events, 60)
            await rig.advance(100)
            assert await hand.claimed() == []
            hand = await hand.successor()

    async def test_event_given_back_goes_to_whoever_comes(self, rig: StoreRig) -> None:
        """A nack counts the attempt, a release does not."""
        offsets = await rig.fill(2)
        one, two = await rig.rival(), await rig.rival()
        nacked, released = await one.claimed()

        await one.settle([nacked], Disposal.NACK)
        await one.settle([released], Disposal.RELEASE)

        assert attempts_of(await two.claimed()) == [(offsets[0], 2), (offsets[1], 1)]

    async def test_claim_without_token_needs_its_time(self, rig: StoreRig) -> None:
        """Nothing else would ever end it."""
        await rig.fill(1)
        rival = await rig.rival()

        with pytest.raises(ValueError, match="needs ttl"):
            await rig.store.claim(rival.key, None, max_events=1, max_bytes=MUCH)

        assert len(await rival.claimed()) == 1

    async def test_holder_of_the_lease_takes_over_from_those_who_compete(self, rig: StoreRig) -> None:
        """What they were handed is due again at once, and they can settle it no more."""
        offsets = await rig.fill(3)
        rival = await rig.rival()
        events = await rival.claimed(max_events=2)
        await rival.settle(events[:1])
        hand = await rig.hand()

        assert attempts_of(await hand.claimed()) == [(offsets[1], 2), (offsets[2], 1)]
        with pytest.raises(LeaseLostError):
            await rival.settle(events[1:])

    async def test_claims_of_a_consumer_that_was_added_anew_are_its_own(self, rig: StoreRig) -> None:
        """Those of the one before cannot settle, though they are of the same events."""
        await rig.fill(2)
        rival = await rig.rival()
        old = await rival.claimed()
        await rig.store.remove_consumer(rival.key)
        rival = await rig.rival()
        await rival.claimed()

        with pytest.raises(LeaseLostError):
            await rival.settle(old)

        assert (await rival.info()).pending == 2
