"""Scenarios of the store contract: consumers, what they are handed, and where that takes them."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.errors import CursorError, LeaseLostError, UnknownConsumerError
from eventpipe.stores.values import ConsumerKey, Disposal
from eventpipe.testing.events import make_event
from eventpipe.testing.store_rig import MUCH, TOPIC, StoreRig, attempts_of, ids_of, offsets_of, some_events


class ConsumerScenarios:
    """What registering, claiming and settling promise to the one holder of a consumer."""

    async def test_consumer_begins_where_it_was_registered(self, rig: StoreRig) -> None:
        """At the first event that is kept, at an offset, or after the last one; and no further than it asked for."""
        offsets = await rig.fill(4)
        earliest = await rig.hand("earliest")
        third = await rig.hand("third", start=offsets[2])
        latest = await rig.hand("latest", start="latest")
        offsets += await rig.fill(2)

        assert offsets_of(await earliest.claimed()) == offsets
        assert offsets_of(await third.claimed()) == offsets[2:]
        assert offsets_of(await latest.claimed()) == offsets[4:]

    async def test_latest_is_resolved_when_it_is_registered(self, rig: StoreRig) -> None:
        """Of a topic that does not exist yet, too; what is appended before the first claim is handed out."""
        hand = await rig.hand(start="latest")
        offsets = await rig.fill(2)

        assert offsets_of(await hand.claimed()) == offsets

    async def test_registering_again_moves_nothing(self, rig: StoreRig) -> None:
        """Whatever start is named, and whether anything was settled or not."""
        await rig.fill(4)
        hand = await rig.hand()
        fresh = await hand.info()
        assert await rig.store.add_consumer(hand.key, "latest") == fresh
        await hand.settle((await hand.claimed())[:2])
        moved = await hand.info()

        for start in ("earliest", "latest", (await rig.topic()).end):
            assert await rig.store.add_consumer(hand.key, start) == moved

    async def test_start_outside_of_the_topic_is_refused(self, rig: StoreRig) -> None:
        """The error has the offset and what the topic has; nothing is registered."""
        offsets = await rig.fill(3)
        info = await rig.topic()

        for offset in (offsets[0] - 1, info.end + 1):
            with pytest.raises(CursorError) as caught:
                await rig.store.add_consumer(ConsumerKey(TOPIC, "c"), offset)
            assert (caught.value.offset, caught.value.first, caught.value.last) == (offset, offsets[0], info.end)

        assert await rig.store.consumers() == []

    async def test_no_cursor_is_not_a_cursor_at_the_start(self, rig: StoreRig) -> None:
        """It is a state of its own until something was settled."""
        offsets = await rig.fill(2)
        hand = await rig.hand()
        events = await hand.claimed()
        assert ((await hand.info()).cursor, (await hand.info()).position) == (None, offsets[0])

        await hand.settle(events[1:])
        assert ((await hand.info()).cursor, (await hand.info()).position) == (offsets[0], offsets[0])

    async def test_consumers_are_independent(self, rig: StoreRig) -> None:
        """What one settles, another is handed all the same, also under the same name on another topic."""
        offsets = await rig.fill(3)
        elsewhere = await rig.fill(2, "other")
        hand, other, same_name = await rig.hand(), await rig.hand("audit"), await rig.hand(topic="other")

        await hand.settle(await hand.claimed())

        assert offsets_of(await other.claimed()) == offsets
        assert offsets_of(await same_name.claimed()) == elsewhere
        assert [(info.topic, info.name, info.pending) for info in await rig.store.consumers()] == [
            ("orders", "audit", 3),
            ("orders", "billing", 0),
            ("other", "billing", 2),
        ]
        assert [info.name for info in await rig.store.consumers("other")] == ["billing"]
        assert await rig.store.consumers("unknown") == []

    async def test_each_event_is_handed_out_once(self, rig: StoreRig) -> None:
        """In order, at its first attempt, whole, and not again while it is held."""
        events = some_events(5)
        offsets = await rig.store.append(TOPIC, events)
        hand = await rig.hand()

        claims = await hand.claim()

        assert attempts_of(claims.events) == [(offset, 1) for offset in offsets]
        assert ids_of(claims.events) == [event.uuid for event in events]
        assert {event.appended_at for event in claims.events} == {(await rig.topic()).oldest_at}
        assert (claims.gap, list(claims.damaged), claims.due_in) == (0, [], None)
        assert await hand.claimed() == []

    async def test_claims_keep_their_bounds_and_hand_out_at_least_one(self, rig: StoreRig) -> None:
        """In events and in bytes; the next one goes on where the last one ended."""
        events = [make_event(properties={"text": "x" * 1_000}) for _ in range(7)]
        offsets = await rig.store.append(TOPIC, events)
        hand = await rig.hand()

        assert offsets_of((await hand.claim(max_events=2)).events) == offsets[:2]
        assert offsets_of((await hand.claim(max_bytes=3_000)).events) == offsets[2:4]
        assert offsets_of((await hand.claim(max_bytes=1)).events) == offsets[4:5]
        assert offsets_of((await hand.claim()).events) == offsets[5:]

    async def test_claims_at_once_hand_out_each_event_once(self, rig: StoreRig) -> None:
        """However many there are, and while appends go on."""
        hand = await rig.hand()
        handed: list[int] = []

        async def claim() -> None:
            for _ in range(10):
                handed.extend(offsets_of(await hand.claimed(max_events=7)))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            fills = [group.create_task(rig.fill(10)) for _ in range(10)]
            for _ in range(8):
                group.create_task(claim())
        handed += offsets_of(await hand.claimed())

        assert sorted(handed) == sorted(offset for fill in fills for offset in fill.result())

    async def test_cursor_moves_over_what_is_settled_without_a_gap(self, rig: StoreRig) -> None:
        """Settled out of order it waits for the first, and then passes all of them."""
        offsets = await rig.fill(5)
        hand = await rig.hand()
        events = await hand.claimed()

        await hand.settle([events[3], events[1], events[2]])
        info = await hand.info()
        assert (info.cursor, info.pending, info.claimed) == (offsets[0], 2, 2)

        await hand.settle(events[:1])
        info = await hand.info()
        assert offsets[3] < info.position <= offsets[4]
        assert (info.cursor, info.pending, info.claimed) == (info.position, 1, 1)

    async def test_cursor_moves_to_the_end_of_what_was_handled(self, rig: StoreRig) -> None:
        """And not to the end of the topic, which has grown meanwhile."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed()
        offsets += await rig.fill(3)

        await hand.settle(events)

        assert offsets[2] < (await hand.info()).position <= offsets[3]
        assert offsets_of(await hand.claimed()) == offsets[3:]

    async def test_settled_event_stays_settled(self, rig: StoreRig) -> None:
        """Acked twice, late, or given back after it was acked: nothing moves, and it is not handed out again."""
        await rig.fill(4)
        hand = await rig.hand()
        events = await hand.claimed()
        await hand.settle(events[:2])
        await hand.settle(events[3:])
        before = await hand.info()

        for disposal in Disposal:
            await hand.settle([events[0], events[3]], disposal, reason="late")

        assert await hand.info() == before
        assert await hand.claimed() == []
        assert [info.name for info in await rig.store.topics()] == [TOPIC]

    async def test_events_of_a_holder_that_is_gone_are_due_again(self, rig: StoreRig) -> None:
        """At once, in order and at the next attempt, but for what it had settled; then comes what is new."""
        offsets = await rig.fill(6)
        hand = await rig.hand()
        events = await hand.claimed(max_events=4)
        await hand.settle([events[0], events[2]])

        second = await hand.successor()
        assert attempts_of(await second.claimed(max_events=2)) == [(offsets[1], 2), (offsets[3], 2)]
        third = await second.successor()
        events = await third.claimed()

        assert attempts_of(events) == [(offsets[1], 3), (offsets[3], 3), (offsets[4], 1), (offsets[5], 1)]
        await third.settle(events)
        assert ((await third.info()).pending, await third.claimed()) == (0, [])

    async def test_given_back_event_is_due_at_once_to_the_next_holder(self, rig: StoreRig) -> None:
        """A delay was for the holder that asked for it; the attempt is the one after those there were."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed()
        await hand.settle(events[:1], Disposal.NACK, delay=1_000)
        await hand.settle(events[1:2], Disposal.RELEASE, delay=1_000)

        second = await hand.successor()

        assert attempts_of(await second.claimed(max_events=1)) == [(offsets[0], 2)]
        assert (await second.info()).waiting == 0
        assert attempts_of(await second.claimed()) == [(offsets[1], 1), (offsets[2], 2)]

    async def test_attempts_are_counted_for_each_consumer(self, rig: StoreRig) -> None:
        """What one consumer was handed often comes to another for the first time."""
        offsets = await rig.fill(1)
        hand, other = await rig.hand(), await rig.hand("other")
        for _ in range(3):
            await hand.claimed()
            hand = await hand.successor()

        assert attempts_of(await other.claimed()) == [(offsets[0], 1)]
        assert attempts_of(await hand.claimed()) == [(offsets[0], 4)]

    async def test_token_that_is_not_the_newest_moves_nothing(self, rig: StoreRig) -> None:
        """Neither claims nor settles, as soon as somebody else has taken the lease; nor does one that never was."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed()
        second = await hand.successor()
        before = await second.info()

        for disposal in Disposal:
            with pytest.raises(LeaseLostError):
                await hand.settle(events, disposal)
        with pytest.raises(LeaseLostError):
            await hand.claim()
        hand.token = (second.token or 0) + 1
        with pytest.raises(LeaseLostError):
            await hand.claim()

        assert await second.info() == before
        assert attempts_of(await second.claimed()) == [(offset, 2) for offset in offsets]

    async def test_released_lease_still_settles(self, rig: StoreRig) -> None:
        """Until there is a newer owner, whose token is the newest then."""
        await rig.fill(2)
        hand = await rig.hand()
        events = await hand.claimed()
        assert hand.token is not None

        await rig.store.release(hand.key.lease, hand.token)
        await hand.settle(events)

        assert (await hand.info()).pending == 0

    async def test_consumer_says_how_far_behind_it_is(self, rig: StoreRig) -> None:
        """Pending, claimed, waiting, since when, and who has it."""
        hand = await rig.hand()
        info = await hand.info()
        assert (info.pending, info.claimed, info.waiting, info.oldest_at) == (0, 0, 0, None)
        assert (info.is_paused, info.last_error, info.holder) == (False, None, "a test")
        await rig.fill(2)
        await rig.advance(10)
        await rig.fill(4)
        events = await hand.claimed(max_events=4)

        await hand.settle(events[:2])
        await hand.settle(events[2:3], Disposal.NACK, delay=60)

        info = await hand.info()
        assert (info.pending, info.claimed, info.waiting) == (4, 1, 1)
        assert info.oldest_at == pytest.approx(rig.clock.time())
        await rig.advance(61)
        info = await hand.info()
        assert (info.pending, info.claimed, info.waiting) == (4, 1, 0)
        await rig.store.release(hand.key.lease, hand.token or 0)
        info = await hand.info()
        assert (info.holder, info.expires_in) == (None, None)

    async def test_everything_but_leases_outlives_a_restart(self, rig: StoreRig) -> None:
        """Events, ids, bounds, cursors, what was settled out of order, attempts, figures; what was held is due."""
        rig.need("reopen")
        known = some_events(6)
        offsets = await rig.store.append(TOPIC, known)
        hand, paused, fresh = await rig.hand(), await rig.hand("paused"), await rig.hand("fresh")
        await rig.store.pause(paused.key, True)
        events = await hand.claimed(max_events=5)
        await hand.settle([events[0], events[2]])
        await hand.settle(events[3:4], Disposal.DEAD, reason="poison")
        await hand.settle(events[4:5], Disposal.SKIP)
        before, topics = await hand.info(), await rig.store.topics()

        await rig.restart()

        assert await rig.store.topics() == topics
        assert await rig.store.append(TOPIC, known) == offsets
        info = await hand.info()
        assert (info.cursor, info.pending, info.dead, info.skipped) == (before.cursor, 2, 1, 1)
        assert info.last_error == "poison"
        assert ((await paused.info()).is_paused, (await fresh.info()).cursor) == (True, None)
        token = hand.token or 0
        hand = await rig.hand()
        assert (hand.token or 0) > token
        assert attempts_of(await hand.claimed()) == [(offsets[1], 2), (offsets[5], 1)]

    async def test_unknown_consumer_is_an_error(self, rig: StoreRig) -> None:
        """Of a topic that exists, and of one that does not; the error names both."""
        await rig.fill(1)
        hand = await rig.hand()
        events = await hand.claimed()
        for topic in (TOPIC, "unknown"):
            key = ConsumerKey(topic, "nobody")
            calls = (
                rig.store.claim(key, None, max_events=1, max_bytes=MUCH, ttl=60),
                rig.store.settle(key, None, []),
                rig.store.extend(key, events, 60),
                rig.store.seek(key, 0),
                rig.store.pause(key, True),
                rig.store.remove_consumer(key),
            )
            for call in calls:
                with pytest.raises(UnknownConsumerError) as caught:
                    await call
                assert (caught.value.topic, caught.value.consumer) == (topic, "nobody")
