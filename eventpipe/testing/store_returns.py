"""Scenarios of the store contract: what is given back, what dies, and what is moved, paused or removed."""

from __future__ import annotations

import pytest

from eventpipe.errors import CursorError, LeaseLostError, UnknownConsumerError
from eventpipe.stores.values import DEAD_SUFFIX, Disposal, Disposition
from eventpipe.testing.events import make_event
from eventpipe.testing.store_rig import MUCH, TOPIC, StoreRig, attempts_of, ids_of, offsets_of, some_events

DEAD = TOPIC + DEAD_SUFFIX


class ReturnScenarios:
    """What giving back, dead letters, seek, pause and removal promise."""

    async def test_event_given_back_is_due_at_its_next_attempt(self, rig: StoreRig) -> None:
        """At once, or after the delay and not before; ``due_in`` says when."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed()

        await hand.settle(events[:1], Disposal.NACK)
        assert attempts_of(await hand.claimed()) == [(offsets[0], 2)]
        await hand.settle(events[1:2], Disposal.NACK, delay=30)
        claims = await hand.claim()
        assert claims.events == []
        assert claims.due_in == pytest.approx(30, abs=1)
        await rig.advance(20)
        claims = await hand.claim()
        assert claims.events == []
        assert claims.due_in == pytest.approx(10, abs=1)
        await rig.advance(11)
        claims = await hand.claim()
        assert (attempts_of(claims.events), claims.due_in) == ([(offsets[1], 2)], None)

    async def test_released_event_is_as_if_it_had_not_been_handed_out(self, rig: StoreRig) -> None:
        """The attempt is taken back, the first one and a later one; the next holder sees the same."""
        offsets = await rig.fill(2)
        hand = await rig.hand()
        await hand.settle(await hand.claimed(), Disposal.RELEASE)
        first, second = await hand.claimed()
        assert attempts_of([first, second]) == [(offsets[0], 1), (offsets[1], 1)]

        await hand.settle([second], Disposal.NACK)
        (second,) = await hand.claimed()
        await hand.settle([first, second], Disposal.RELEASE, delay=10)
        assert await hand.claimed() == []
        await rig.advance(11)
        assert attempts_of(await hand.claimed()) == [(offsets[0], 1), (offsets[1], 2)]

    @pytest.mark.parametrize("disposal", list(Disposal))
    async def test_saying_the_same_again_changes_nothing(self, rig: StoreRig, disposal: Disposal) -> None:
        """Who cannot know whether a call was done makes it again."""
        await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed()
        await hand.settle(events[1:], disposal, delay=10, reason="why")
        before, topics = await hand.info(), await rig.store.topics()

        await hand.settle(events[1:], disposal, delay=10, reason="why")

        assert (await hand.info(), await rig.store.topics()) == (before, topics)
        await rig.advance(11)
        attempt = {Disposal.NACK: 2, Disposal.RELEASE: 1}.get(disposal)
        assert [event.attempt for event in await hand.claimed()] == ([attempt] * 2 if attempt else [])

    async def test_claim_of_an_event_that_was_handed_out_anew_counts_no_more(self, rig: StoreRig) -> None:
        """Given back and claimed again, it belongs to the later claim; nothing of the late call is done."""
        await rig.fill(2)
        hand = await rig.hand()
        first = await hand.claimed()
        await hand.settle(first, Disposal.RELEASE)
        second = await hand.claimed(max_events=1)
        before = await hand.info()

        for disposal in Disposal:
            with pytest.raises(LeaseLostError):
                await hand.settle([first[1], first[0]], disposal)

        assert await hand.info() == before
        await hand.settle(second)

    async def test_what_was_given_back_comes_before_what_is_new(self, rig: StoreRig) -> None:
        """When bounds allow for one of them only; an answer is by offset."""
        offsets = await rig.fill(6)
        hand = await rig.hand()
        events = await hand.claimed(max_events=4)
        await hand.settle([events[3], events[1]], Disposal.NACK)

        assert offsets_of(await hand.claimed(max_events=1)) == [offsets[1]]
        assert offsets_of(await hand.claimed(max_events=2)) == [offsets[3], offsets[4]]
        assert offsets_of(await hand.claimed()) == [offsets[5]]

    async def test_what_was_given_back_is_bounded_in_bytes(self, rig: StoreRig) -> None:
        """And what does not fit is due at once."""
        offsets = await rig.store.append(TOPIC, [make_event(properties={"text": "x" * 1_000}) for _ in range(4)])
        hand = await rig.hand()
        await hand.settle(await hand.claimed(), Disposal.NACK)

        claims = await hand.claim(max_bytes=3_000)
        assert (offsets_of(claims.events), claims.due_in) == (offsets[:2], 0.0)
        assert offsets_of((await hand.claim(max_bytes=1)).events) == offsets[2:3]

    async def test_nothing_new_comes_in_the_place_of_what_was_given_back(self, rig: StoreRig) -> None:
        """Where the next event that was given back is too large, one that is new and small does not pass it."""
        sizes = (1_000, 5_000, 10)
        events = [make_event(properties={"text": "x" * size}) for size in sizes]
        offsets = await rig.store.append(TOPIC, events)
        hand = await rig.hand()
        await hand.settle(await hand.claimed(max_events=2), Disposal.NACK)

        assert offsets_of((await hand.claim(max_bytes=3_000)).events) == offsets[:1]
        assert offsets_of((await hand.claim()).events) == offsets[1:]

    async def test_dead_event_is_settled_and_its_letter_appended(self, rig: StoreRig) -> None:
        """Whatever the topic of letters has; the event is handed out no more, counted, and its reason kept."""
        events = some_events(2)
        await rig.store.append(TOPIC, events)
        hand, other = await rig.hand(), await rig.hand("other")

        for each in (hand, other):
            claimed = await each.claimed()
            await each.settle(claimed[:1], Disposal.DEAD, reason=f"of {each.key.name}")

        letters = await rig.store.read(DEAD, 0, max_events=10, max_bytes=MUCH)
        assert ids_of(letters) == [events[0].uuid] * 2
        info = await hand.info()
        assert (info.dead, info.pending, info.last_error) == (1, 1, "of billing")
        assert info.cursor is not None
        assert await hand.claimed() == []

    async def test_letter_is_appended_once(self, rig: StoreRig) -> None:
        """Said again of an event that is settled, it leads to nothing."""
        await rig.fill(1)
        hand = await rig.hand()
        events = await hand.claimed()

        for _ in range(3):
            await hand.settle(events, Disposal.DEAD)

        assert ((await rig.topic(DEAD)).events, (await hand.info()).dead) == (1, 1)

    async def test_event_cannot_die_without_a_letter(self, rig: StoreRig) -> None:
        """It would be gone; nothing is changed."""
        await rig.fill(1)
        hand = await rig.hand()
        (event,) = await hand.claimed()

        with pytest.raises(ValueError, match="without a letter"):
            await rig.store.settle(hand.key, hand.token, [Disposition(event, Disposal.DEAD)])

        assert (await hand.info()).pending == 1

    async def test_skipped_event_is_settled_and_counted(self, rig: StoreRig) -> None:
        """The cursor moves over it."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed()

        await hand.settle(events[:2], Disposal.SKIP)

        info = await hand.info()
        assert (info.skipped, info.pending) == (2, 1)
        assert offsets[1] < info.position <= offsets[2]

    async def test_one_settlement_says_of_each_event_what_became_of_it(self, rig: StoreRig) -> None:
        """In any order; and the last reason is kept."""
        offsets = await rig.fill(5)
        hand = await rig.hand()
        a, b, c, d, e = await hand.claimed()

        await rig.store.settle(
            hand.key,
            hand.token,
            [
                Disposition(e, Disposal.ACK),
                Disposition(b, Disposal.NACK, reason="busy"),
                Disposition(d, Disposal.DEAD, reason="poison", letter=d.event),
                Disposition(a, Disposal.SKIP),
                Disposition(c, Disposal.RELEASE),
            ],
        )

        info = await hand.info()
        assert (info.pending, info.skipped, info.dead, info.last_error) == (2, 1, 1, "poison")
        assert offsets[0] < info.position <= offsets[1]
        assert attempts_of(await hand.claimed()) == [(offsets[1], 2), (offsets[2], 1)]

    async def test_seek_hands_out_from_there_on_as_if_for_the_first_time(self, rig: StoreRig) -> None:
        """Back and forward; what was claimed before can be settled no more."""
        offsets = await rig.fill(6)
        hand = await rig.hand()
        early = await hand.claimed(max_events=4)
        await hand.settle(early[:2])
        await hand.settle(early[2:3], Disposal.NACK)

        await rig.store.seek(hand.key, offsets[1])
        info = await hand.info()
        assert (info.cursor, info.position, info.pending, info.claimed) == (offsets[1], offsets[1], 5, 0)
        for event in early:
            with pytest.raises(LeaseLostError):
                await hand.settle([event])
        assert await hand.info() == info
        later = await hand.claimed()
        assert attempts_of(later) == [(offset, 1) for offset in offsets[1:]]

        await rig.store.seek(hand.key, offsets[4])
        assert (await hand.info()).pending == 2
        with pytest.raises(LeaseLostError):
            await hand.settle(later[:1])
        assert attempts_of(await hand.claimed()) == [(offset, 1) for offset in offsets[4:]]

    async def test_seek_to_the_end_waits_for_what_comes(self, rig: StoreRig) -> None:
        """Nothing is pending then."""
        await rig.fill(3)
        hand = await rig.hand()

        await rig.store.seek(hand.key, (await rig.topic()).end)

        assert ((await hand.info()).pending, await hand.claimed()) == (0, [])
        offsets = await rig.fill(1)
        assert attempts_of(await hand.claimed()) == [(offsets[0], 1)]

    async def test_seek_settles_nothing(self, rig: StoreRig) -> None:
        """A consumer that never settled anything has no cursor afterwards either."""
        offsets = await rig.fill(3)
        hand = await rig.hand()

        await rig.store.seek(hand.key, offsets[1])

        assert ((await hand.info()).cursor, (await hand.info()).position) == (None, offsets[1])

    async def test_seek_outside_of_the_topic_is_refused(self, rig: StoreRig) -> None:
        """The error has the offset and what the topic has; the consumer stays where it is."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed()
        end = (await rig.topic()).end

        for offset in (offsets[0] - 1, end + 1):
            with pytest.raises(CursorError) as caught:
                await rig.store.seek(hand.key, offset)
            assert (caught.value.offset, caught.value.first, caught.value.last) == (offset, offsets[0], end)

        await hand.settle(events)

    async def test_paused_consumer_is_handed_nothing(self, rig: StoreRig) -> None:
        """Neither what is new nor what was given back; what it has can be settled, and it goes on when resumed."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        events = await hand.claimed(max_events=2)

        await rig.store.pause(hand.key, True)
        await hand.settle(events[:1])
        await hand.settle(events[1:], Disposal.NACK)
        assert (await hand.info()).is_paused
        assert await hand.claimed() == []
        await rig.store.pause(hand.key, False)

        assert attempts_of(await hand.claimed()) == [(offsets[1], 2), (offsets[2], 1)]

    async def test_removed_consumer_is_forgotten(self, rig: StoreRig) -> None:
        """What it was handed can be settled no more, and it holds back no trim."""
        await rig.fill(2)
        hand, other = await rig.hand(), await rig.hand("other")
        events = await hand.claimed()
        await other.settle(await other.claimed())

        await rig.store.remove_consumer(hand.key)

        with pytest.raises(UnknownConsumerError):
            await hand.settle(events)
        with pytest.raises(UnknownConsumerError):
            await hand.claim()
        assert [info.name for info in await rig.store.consumers()] == ["other"]
        await rig.advance(rig.dedupe_window + 1)
        assert await rig.store.trim(TOPIC) == 2

    async def test_consumer_added_anew_has_nothing_of_the_one_before(self, rig: StoreRig) -> None:
        """Neither its cursor nor its attempts; and its holder can neither settle nor claim."""
        offsets = await rig.fill(2)
        hand = await rig.hand()
        await hand.settle(await hand.claimed(max_events=1))
        held = await hand.claimed()
        await rig.store.remove_consumer(hand.key)

        info = await rig.store.add_consumer(hand.key, "earliest")

        assert (info.cursor, info.position, info.pending, info.claimed) == (None, offsets[0], 2, 0)
        with pytest.raises(LeaseLostError):
            await hand.settle(held)
        with pytest.raises(LeaseLostError):
            await hand.claim()
        await hand.acquire()
        with pytest.raises(LeaseLostError):
            await hand.settle(held)
        assert attempts_of(await hand.claimed()) == [(offset, 1) for offset in offsets]
