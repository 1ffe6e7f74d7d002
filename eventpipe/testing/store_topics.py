"""Scenarios of the store contract: events by topic and offset."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.retention import Retention
from eventpipe.stores.values import ConsumerKey
from eventpipe.testing.events import make_event
from eventpipe.testing.store_rig import MUCH, TOPIC, StoreRig, ids_of, offsets_of, some_events


class TopicScenarios:
    """What appending and reading promise."""

    async def test_events_have_rising_offsets_in_the_order_given(self, rig: StoreRig) -> None:
        """One offset per event; reading hands them out in that order, with the time of their append."""
        events = some_events(7)
        first = await rig.store.append(TOPIC, events[:3])
        await rig.advance(5)
        offsets = first + await rig.store.append(TOPIC, events[3:])

        read = await rig.store.read(TOPIC, 0, max_events=100, max_bytes=MUCH)

        assert offsets == sorted(set(offsets))
        assert offsets_of(read) == offsets
        assert ids_of(read) == [event.uuid for event in events]
        assert read[3].appended_at - read[2].appended_at == pytest.approx(5)
        assert read[6].appended_at == pytest.approx(rig.clock.time())

    async def test_offsets_are_dense_from_zero(self, rig: StoreRig) -> None:
        """Each topic counts by itself."""
        rig.need("dense_offsets")

        assert await rig.fill(3) == [0, 1, 2]
        assert await rig.fill(2, "other") == [0, 1]
        assert await rig.fill(1) == [3]

    async def test_no_event_becomes_visible_before_one_that_was_read(self, rig: StoreRig) -> None:
        """Who reads on from the last event that it saw sees all of them, however many append at once."""
        lists = [some_events(5) for _ in range(20)]
        seen: list[str] = []

        async def read_on() -> None:
            start = 0
            while len(seen) < 100:
                version = rig.store.version(TOPIC)
                read = await rig.store.read(TOPIC, start, max_events=7, max_bytes=MUCH)
                if not read:
                    await rig.store.wait(TOPIC, version)
                    continue
                seen.extend(ids_of(read))
                start = read[-1].offset + 1

        async with asyncio.TaskGroup() as group:
            group.create_task(read_on())
            appends = [group.create_task(rig.store.append(TOPIC, events)) for events in lists]

        assert sorted(seen) == sorted(event.uuid for events in lists for event in events)
        places = {uuid: place for place, uuid in enumerate(seen)}
        for events, append in zip(lists, appends, strict=True):
            assert append.result() == sorted(append.result())
            assert [places[event.uuid] for event in events] == sorted(places[event.uuid] for event in events)

    async def test_event_is_read_as_it_was_captured(self, rig: StoreRig) -> None:
        """Whatever it consists of; only how it came here is not kept."""
        event = make_event(
            "näme\u2028😀",
            distinct_id=None,
            properties={"text": "x" * 20_000, "deep": [{"": None}]},
            headers={"traceparent": "00-é"},
            key="k",
            lane="historical",
            lifted={"$geoip": {"a": 1}},
        )
        await rig.store.append(TOPIC, [event])

        (read,) = await rig.store.read(TOPIC, 0, max_events=1, max_bytes=MUCH)

        assert read.event is not None
        assert (read.fault, read.raw) == (None, b"")
        assert (read.event.data, read.event.name, read.event.lane) == (event.data, event.name, event.lane)
        assert (read.event.json, read.event.key, read.event.size) == (event.json, "k", event.size)
        assert dict(read.event.headers) == {"traceparent": "00-é"}

    async def test_appending_an_event_again_finds_it(self, rig: StoreRig) -> None:
        """In the same call, in a later one, and among others that are new."""
        a, b, c = some_events(3)

        one, two, same = await rig.store.append(TOPIC, [a, b, a])
        assert same == one
        assert await rig.store.append(TOPIC, [b]) == [two]
        old, three, again = await rig.store.append(TOPIC, [a, c, c])

        assert (old, again) == (one, three)
        assert three > two
        assert (await rig.topic()).events == 3

    async def test_appending_at_once_what_is_the_same_appends_it_once(self, rig: StoreRig) -> None:
        """Every caller gets the offset that it has."""
        (event,) = some_events(1)

        async with asyncio.TaskGroup() as group:
            appends = [group.create_task(rig.store.append(TOPIC, [event])) for _ in range(10)]

        assert len({append.result()[0] for append in appends}) == 1
        assert (await rig.topic()).events == 1

    async def test_topics_know_their_own_events_only(self, rig: StoreRig) -> None:
        """The same event in two topics is there twice."""
        (event,) = some_events(1)
        await rig.store.append(TOPIC, [event])
        await rig.store.append("other", [event])

        assert (await rig.topic()).events == (await rig.topic("other")).events == 1

    async def test_event_that_was_trimmed_is_known_within_the_window(self, rig: StoreRig) -> None:
        """Appended again it has the offset that it had, and is not there anew."""
        await rig.store.declare(TOPIC, Retention(max_age=rig.dedupe_window / 4))
        events = some_events(2)
        offsets = await rig.store.append(TOPIC, events)
        await rig.advance(rig.dedupe_window / 2)
        assert await rig.store.trim(TOPIC) == 2

        assert await rig.store.append(TOPIC, events) == offsets
        assert (await rig.topic()).events == 0

    async def test_event_that_was_trimmed_is_new_after_the_window(self, rig: StoreRig) -> None:
        """What is remembered of it has an end."""
        await rig.store.declare(TOPIC, Retention(max_age=rig.dedupe_window / 4))
        events = some_events(2)
        offsets = await rig.store.append(TOPIC, events)
        await rig.advance(rig.dedupe_window / 2)
        await rig.store.trim(TOPIC)
        await rig.advance(rig.dedupe_window / 2 + 1)

        again = await rig.store.append(TOPIC, events)

        assert again[0] > offsets[1]
        assert (await rig.topic()).events == 2

    async def test_event_that_is_kept_is_known_however_old(self, rig: StoreRig) -> None:
        """The window begins to matter when the event is gone."""
        events = some_events(1)
        offsets = await rig.store.append(TOPIC, events)
        await rig.advance(rig.dedupe_window * 10)

        assert await rig.store.append(TOPIC, events) == offsets

    async def test_replay_is_appended_whatever_is_there(self, rig: StoreRig) -> None:
        """As often as it comes; a later append of the event finds the first that was none, and no replay."""
        a, b = some_events(2)
        (first,) = await rig.store.append(TOPIC, [a])

        replays = await rig.store.append(TOPIC, [a, a, b], is_replay=True)
        (own,) = await rig.store.append(TOPIC, [b])

        assert [first, *replays, own] == sorted({first, *replays, own})
        assert await rig.store.append(TOPIC, [a]) == [first]
        assert await rig.store.append(TOPIC, [b]) == [own]

    async def test_replay_that_is_trimmed_takes_no_id_along(self, rig: StoreRig) -> None:
        """It was none of its own; the event that came after it is known as before."""
        (event,) = some_events(1)
        await rig.store.declare(TOPIC, Retention(max_age=rig.dedupe_window))
        await rig.store.append(TOPIC, [event], is_replay=True)
        await rig.advance(rig.dedupe_window / 2)
        (offset,) = await rig.store.append(TOPIC, [event])
        await rig.advance(rig.dedupe_window / 2 + 1)
        assert await rig.store.trim(TOPIC) == 1

        assert await rig.store.append(TOPIC, [event]) == [offset]

    async def test_appending_nothing_changes_nothing(self, rig: StoreRig) -> None:
        """No offsets."""
        assert await rig.store.append(TOPIC, []) == []
        assert await rig.store.read(TOPIC, 0, max_events=1, max_bytes=1) == []

    async def test_read_keeps_its_bounds_and_hands_out_at_least_one(self, rig: StoreRig) -> None:
        """In events and in bytes, from the first at ``start`` or after it."""
        events = [make_event(properties={"text": "x" * 1_000}) for _ in range(5)]
        offsets = await rig.store.append(TOPIC, events)

        async def read(start: int, max_events: int, max_bytes: int) -> list[int]:
            return offsets_of(await rig.store.read(TOPIC, start, max_events=max_events, max_bytes=max_bytes))

        assert await read(0, 2, MUCH) == offsets[:2]
        assert await read(offsets[1], 2, MUCH) == offsets[1:3]
        assert await read(offsets[1], 100, 3_000) == offsets[1:3]
        assert await read(offsets[3], 100, 1) == offsets[3:4]
        assert await read(offsets[4] + 1, 100, MUCH) == []
        assert await rig.store.read("unknown", 0, max_events=1, max_bytes=1) == []

    async def test_offset_of_a_moment_is_that_of_the_first_event_since(self, rig: StoreRig) -> None:
        """Before all, at the moment, between two, and after all."""
        began = rig.clock.time()
        await rig.advance(10)
        first = await rig.fill(2)
        await rig.advance(10)
        second = await rig.fill(2)
        info = await rig.topic()
        assert info.oldest_at is not None
        assert info.newest_at is not None

        for stamp, offset in [
            (began, first[0]),
            (info.oldest_at, first[0]),
            (info.oldest_at + 5, second[0]),
            (info.newest_at, second[0]),
            (info.newest_at + 5, info.end),
        ]:
            assert await rig.store.offset_at(TOPIC, stamp) == offset

    async def test_topics_are_listed_with_what_they_keep(self, rig: StoreRig) -> None:
        """By name: the first offset, the end, how many events and bytes, and since when."""
        await rig.store.declare("zero", Retention(max_events=5, max_bytes=2_048))
        offsets = await rig.fill(2, "two")
        await rig.advance(7)
        offsets += await rig.fill(1, "two")

        two, zero = await rig.store.topics()
        assert await rig.store.topics(two.name) == [two]
        assert await rig.store.topics("no such topic") == []

        assert (two.name, two.first, two.events, two.dropped, two.damaged) == ("two", offsets[0], 3, 0, 0)
        assert two.end > offsets[-1]
        assert two.bytes >= 3 * 100
        assert two.oldest_at == pytest.approx(rig.clock.time() - 7)
        assert two.newest_at == pytest.approx(rig.clock.time())
        assert (zero.name, zero.events, zero.bytes, zero.first) == ("zero", 0, 0, zero.end)
        assert (zero.oldest_at, zero.newest_at) == (None, None)
        assert (zero.retention.max_events, zero.retention.max_bytes) == (5, 2_048)

    async def test_declaring_again_changes_what_is_kept_from_now_on(self, rig: StoreRig) -> None:
        """The events stay."""
        await rig.store.declare(TOPIC, Retention(max_events=5))
        await rig.fill(4)

        await rig.store.declare(TOPIC, Retention(max_events=3, max_age=60.0))

        info = await rig.topic()
        assert (info.retention.max_events, info.retention.max_age, info.events) == (3, 60.0, 4)

    @pytest.mark.parametrize("name", ["", "two words", "line\n", "bell\a", "x" * 201])
    async def test_name_that_is_none_is_refused(self, rig: StoreRig, name: str) -> None:
        """Of a topic and of a consumer; nothing is made."""
        with pytest.raises(ValueError, match="the name of a topic must"):
            await rig.store.append(name, some_events(1))
        with pytest.raises(ValueError, match="the name of a topic must"):
            await rig.store.declare(name, Retention())
        with pytest.raises(ValueError, match="the name of a topic must"):
            await rig.store.add_consumer(ConsumerKey(name, "c"), "earliest")
        with pytest.raises(ValueError, match="the name of a consumer must"):
            await rig.store.add_consumer(ConsumerKey(TOPIC, name), "earliest")

        assert (await rig.store.topics(), await rig.store.consumers()) == ([], [])

    async def test_what_is_sound_verifies(self, rig: StoreRig) -> None:
        """Nothing is listed, of one topic and of all."""
        await rig.fill(3)

        assert await rig.store.verify() == []
        assert await rig.store.verify(TOPIC) == []
