"""Scenarios of the store contract: what is trimmed, what is dropped, and what a full topic does."""

from __future__ import annotations

import itertools

import pytest

from eventpipe.errors import StoreFullError
from eventpipe.retention import Retention
from eventpipe.stores.values import DEAD_SUFFIX, Disposal
from eventpipe.testing.events import make_event
from eventpipe.testing.store_rig import TOPIC, StoreRig, offsets_of, some_events


class RetentionScenarios:
    """What trimming and bounds promise."""

    @pytest.mark.parametrize("order", list(itertools.permutations(("never", "half", "all"))), ids="-".join)
    async def test_trim_never_passes_the_slowest_consumer(self, rig: StoreRig, order: tuple[str, ...]) -> None:
        """In whichever order they were registered; one that has never settled anything counts like any other."""
        offsets = await rig.fill(10)
        hands = {name: await rig.hand(name) for name in order}
        claimed = {name: await hand.claimed() for name, hand in hands.items()}
        await hands["half"].settle(claimed["half"][:5])
        await hands["all"].settle(claimed["all"])
        await rig.advance(rig.dedupe_window + 1)

        assert await rig.store.trim(TOPIC) == 0
        await hands["never"].settle(claimed["never"])
        assert await rig.store.trim(TOPIC) == 5

        info = await rig.topic()
        assert (info.first, info.events, info.dropped) == (offsets[5], 5, 0)
        half = await hands["half"].successor()
        assert offsets_of(await half.claimed()) == offsets[5:]
        assert (await hands["never"].info()).dropped == 0

    async def test_what_is_settled_above_the_cursor_stays(self, rig: StoreRig) -> None:
        """The slowest consumer is where its first unsettled event is."""
        offsets = await rig.fill(4)
        hand = await rig.hand()
        events = await hand.claimed()
        await hand.settle([events[0], events[2], events[3]])
        await rig.advance(rig.dedupe_window + 1)

        assert await rig.store.trim(TOPIC) == 1
        assert (await rig.topic()).first == offsets[1]

    async def test_trim_leaves_what_a_repeated_append_must_find(self, rig: StoreRig) -> None:
        """Events younger than the window stay although all have settled them."""
        old, young = await rig.fill(2), some_events(2)
        hand = await rig.hand()
        await rig.advance(rig.dedupe_window - 10)
        young_offsets = await rig.store.append(TOPIC, young)
        await hand.settle(await hand.claimed())
        await rig.advance(20)

        assert await rig.store.trim(TOPIC) == len(old)
        assert await rig.store.append(TOPIC, young) == young_offsets
        await rig.advance(rig.dedupe_window)
        assert await rig.store.trim(TOPIC) == 2
        info = await rig.topic()
        assert (info.events, info.bytes, info.first) == (0, 0, info.end)

    async def test_trim_goes_no_further_than_it_is_told(self, rig: StoreRig) -> None:
        """What is at ``before`` or after it stays."""
        offsets = await rig.fill(5)
        hand = await rig.hand()
        await hand.settle(await hand.claimed())
        await rig.advance(rig.dedupe_window + 1)

        assert await rig.store.trim(TOPIC, before=offsets[2]) == 2
        assert (await rig.topic()).first == offsets[2]

    async def test_topic_without_consumers_is_not_trimmed(self, rig: StoreRig) -> None:
        """Nobody has settled it; and a topic that is unknown has nothing to trim."""
        await rig.fill(5)
        await rig.advance(rig.dedupe_window * 10)

        assert await rig.store.trim(TOPIC) == 0
        assert await rig.store.trim("unknown") == 0
        assert [info.name for info in await rig.store.topics()] == [TOPIC]

    async def test_offsets_go_on_after_everything_was_trimmed(self, rig: StoreRig) -> None:
        """An offset is never given twice."""
        offsets = await rig.fill(3)
        hand = await rig.hand()
        await hand.settle(await hand.claimed())
        await rig.advance(rig.dedupe_window + 1)
        assert await rig.store.trim(TOPIC) == 3
        if rig.reopen is not None:
            await rig.restart()
            hand = await rig.hand()

        (offset,) = await rig.fill(1)

        assert offset > offsets[-1]
        assert offsets_of(await hand.claimed()) == [offset]

    async def test_age_drops_what_nobody_has_settled(self, rig: StoreRig) -> None:
        """When trimmed; a consumer is told how many it missed, once, and goes on behind them."""
        await rig.store.declare(TOPIC, Retention(max_age=60.0))
        old = await rig.fill(4)
        hand, other = await rig.hand(), await rig.hand("other")
        (first, _, third, _) = await hand.claimed()
        await hand.settle([first, third])
        await rig.advance(50)
        young = await rig.fill(1)
        await rig.advance(20)

        assert await rig.store.trim(TOPIC) == 4

        info = await rig.topic()
        assert (info.first, info.events, info.dropped) == (young[0], 1, 4)
        assert [(await each.info()).dropped for each in (hand, other)] == [2, 4]
        for each, gap in ((hand, 2), (other, 4)):
            claims = await each.claim()
            assert (offsets_of(claims.events), claims.gap) == (young, gap)
            assert (await each.claim()).gap == 0
            assert old[-1] < (await each.info()).position <= young[0]

    async def test_full_topic_refuses(self, rig: StoreRig) -> None:
        """All events of the append, and the error names the topic; what is there stays."""
        await rig.store.declare(TOPIC, Retention(max_events=3))
        offsets = await rig.fill(2)
        await rig.hand()
        events = some_events(2)

        with pytest.raises(StoreFullError, match=TOPIC) as caught:
            await rig.store.append(TOPIC, events)

        assert caught.value.topic == TOPIC
        assert (await rig.topic()).events == 2
        assert (await rig.store.append(TOPIC, events[1:]))[0] > offsets[1]
        assert (await rig.topic()).events == 3

    async def test_refused_event_is_not_known(self, rig: StoreRig) -> None:
        """Appended again when there is room, it is there."""
        await rig.store.declare(TOPIC, Retention(max_events=1))
        await rig.fill(1)
        (event,) = some_events(1)
        with pytest.raises(StoreFullError):
            await rig.store.append(TOPIC, [event])

        await rig.store.declare(TOPIC, Retention(max_events=2))
        await rig.store.append(TOPIC, [event])

        assert (await rig.topic()).events == 2

    async def test_event_that_is_there_finds_room_in_a_full_topic(self, rig: StoreRig) -> None:
        """It needs none."""
        await rig.store.declare(TOPIC, Retention(max_events=2))
        events = some_events(2)
        offsets = await rig.store.append(TOPIC, events)

        assert await rig.store.append(TOPIC, events) == offsets

    async def test_full_topic_makes_room_of_what_is_settled(self, rig: StoreRig) -> None:
        """Without being trimmed, and however young it is; those who settled it miss nothing."""
        await rig.store.declare(TOPIC, Retention(max_events=3))
        await rig.fill(3)
        hand = await rig.hand()
        await hand.settle((await hand.claimed())[:2])

        await rig.fill(2)

        with pytest.raises(StoreFullError):
            await rig.fill(1)
        claims = await hand.claim()
        assert (len(claims.events), claims.gap) == (2, 0)
        assert ((await rig.topic()).dropped, (await hand.info()).dropped) == (0, 0)

    async def test_full_topic_is_bounded_in_bytes_too(self, rig: StoreRig) -> None:
        """Encoded ones, of all events together."""
        await rig.store.declare(TOPIC, Retention(max_bytes=4_096))
        events = [make_event(properties={"text": "x" * 1_500}) for _ in range(3)]
        await rig.store.append(TOPIC, events[:2])

        with pytest.raises(StoreFullError):
            await rig.store.append(TOPIC, events[2:])

        await rig.store.append(TOPIC, [make_event()])
        assert (await rig.topic()).bytes <= 4_096

    async def test_full_topic_drops_its_oldest_where_it_is_told_to(self, rig: StoreRig) -> None:
        """Each consumer is told of what it had not settled, once; its next event is the first that is kept."""
        await rig.store.declare(TOPIC, Retention(max_events=4, on_full="drop_oldest"))
        offsets = await rig.fill(4)
        quick, slow = await rig.hand("quick"), await rig.hand("slow")
        await quick.settle((await quick.claimed())[:2])

        offsets += await rig.fill(3)

        info = await rig.topic()
        assert (info.first, info.events, info.dropped) == (offsets[3], 4, 3)
        assert [(await hand.info()).dropped for hand in (quick, slow)] == [1, 3]
        assert [(await hand.claim()).gap for hand in (quick, slow)] == [1, 3]
        assert [(await hand.claim()).gap for hand in (quick, slow)] == [0, 0]
        assert offsets_of(await (await slow.successor()).claimed()) == offsets[3:]
        assert offsets_of(await (await quick.successor()).claimed()) == offsets[3:]

    async def test_dropped_event_is_settled_without_a_word(self, rig: StoreRig) -> None:
        """Who was handed it before it was dropped may say what became of it; nothing moves."""
        await rig.store.declare(TOPIC, Retention(max_events=2, on_full="drop_oldest"))
        offsets = await rig.fill(2)
        hand = await rig.hand()
        events = await hand.claimed()
        offsets += await rig.fill(1)

        await hand.settle(events[:1])
        assert (await hand.info()).pending == 2
        await hand.settle(events[1:])

        assert offsets[1] < (await hand.info()).position <= offsets[2]

    async def test_drop_without_consumers_is_nobodys_loss(self, rig: StoreRig) -> None:
        """It is not counted."""
        await rig.store.declare(TOPIC, Retention(max_events=2, on_full="drop_oldest"))
        await rig.fill(2)
        await rig.fill(1)

        info = await rig.topic()
        assert (info.events, info.dropped) == (2, 0)

    async def test_event_that_is_kept_makes_no_room_for_itself(self, rig: StoreRig) -> None:
        """Appended again to a full topic, also the oldest has its offset, and nothing is dropped."""
        await rig.store.declare(TOPIC, Retention(max_events=2, on_full="drop_oldest"))
        events = some_events(2)
        offsets = await rig.store.append(TOPIC, events)

        assert [await rig.store.append(TOPIC, [event]) for event in events] == [[offset] for offset in offsets]
        info = await rig.topic()
        assert (info.events, info.dropped) == (2, 0)

    @pytest.mark.parametrize("on_full", ["reject", "drop_oldest", "wait"])
    async def test_append_that_can_never_fit_is_refused(self, rig: StoreRig, on_full: str) -> None:
        """Dropping its own events would make no room; nothing else is dropped for it."""
        retention = Retention(max_events=2, max_bytes=4_096, on_full=on_full)  # type: ignore[arg-type]  # one of them
        await rig.store.declare(TOPIC, retention)
        await rig.fill(2)

        with pytest.raises(StoreFullError, match="can never hold 3 events"):
            await rig.fill(3)
        with pytest.raises(StoreFullError, match="can never hold 1 events"):
            await rig.store.append(TOPIC, [make_event(properties={"text": "x" * 5_000})])

        assert (await rig.topic()).events == 2

    async def test_gap_is_told_when_a_consumer_goes_on(self, rig: StoreRig) -> None:
        """One that is paused is told nothing until then."""
        await rig.store.declare(TOPIC, Retention(max_events=1, on_full="drop_oldest"))
        hand = await rig.hand()
        await rig.store.pause(hand.key, True)
        for _ in range(3):
            await rig.fill(1)

        assert (await hand.claim()).gap == 0
        await rig.store.pause(hand.key, False)
        assert (await hand.claim()).gap == 2

    async def test_letter_that_finds_no_room_changes_nothing(self, rig: StoreRig) -> None:
        """The event is not settled, nor are those that were settled with it."""
        await rig.store.declare(TOPIC + DEAD_SUFFIX, Retention(max_events=1))
        await rig.fill(1, TOPIC + DEAD_SUFFIX)
        await rig.fill(2)
        hand = await rig.hand()
        events = await hand.claimed()
        before = await hand.info()

        with pytest.raises(StoreFullError, match=TOPIC + DEAD_SUFFIX):
            await hand.settle(events, Disposal.DEAD)

        assert await hand.info() == before
        assert (await rig.topic(TOPIC + DEAD_SUFFIX)).events == 1
        await hand.settle(events)
