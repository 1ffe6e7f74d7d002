"""The dead letters of a topic: listed, replayed to the one that gave them up, deleted; none is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from eventpipe.errors import ClosedError, StoreError, StoreFullError, UnknownConsumerError
from eventpipe.events import CapturedEvent
from eventpipe.log.dead_letters import DEAD_LETTERS
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import DeadLetter, addressee, dead_letter, letter_of
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ClaimedEvent, Claims, ConsumerKey, Disposal, Disposition
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import STAMP
from tests.log.consuming import bury, claim, consume, events_of

pytestmark = pytest.mark.asyncio


async def with_letters(log: EventLog, *names: str) -> list[str]:
    """Two consumers of ``orders``, of which ``billing`` has given up everything; the ids of the events."""
    await log.add_consumer("orders", "billing")
    await log.add_consumer("orders", "audit")
    await log.append_many("orders", names)
    ids = [event.uuid for event in await events_of(log, "orders")]
    await bury(log, "orders", "billing")
    await consume(log, "orders", "audit")
    return ids


def offsets(letters: list[DeadLetter]) -> list[int]:
    return [letter.offset for letter in letters]


async def has(log: EventLog) -> list[int]:
    return offsets(await log.dead_letters("orders"))


# -- listed -----------------------------------------------------------------------------------------------------------


async def test_letters_are_listed(log: EventLog) -> None:
    """With what is known of each, again and again: looking changes nothing."""
    ids = await with_letters(log, "a", "b")

    for _ in range(3):
        letters = await log.dead_letters("orders")
        assert [letter.event.uuid for letter in letters] == ids
        assert [(letter.consumer, letter.source_offset, letter.attempts) for letter in letters] == [
            ("billing", 0, 1),
            ("billing", 1, 1),
        ]
        assert {(letter.reason, letter.error) for letter in letters} == {("exhausted", "boom")}
        assert [letter.at for letter in letters] == [pytest.approx(STAMP, abs=1)] * 2


async def test_letters_of_the_topic_with_the_longest_name_can_be_dealt_with(log: EventLog) -> None:
    """Theirs is a longer one: they are listed, read, handed to consumers, and replayed as others are."""
    topic = "x" * 200
    await log.add_consumer(topic, "billing")
    await log.append_many(topic, ["a", "b"])
    await bury(log, topic, "billing")
    await log.add_consumer(topic + ".dead", "tickets")

    assert offsets(await log.dead_letters(topic)) == [0, 1]
    assert [event.name for event in await events_of(log, topic + ".dead")] == ["a", "b"]
    assert await bury(log, topic + ".dead", "tickets") == [0, 1]
    assert offsets(await log.dead_letters(topic + ".dead")) == [0, 1]
    assert offsets(await log.replay_dead_letters(topic, [0])) == [0]
    assert await consume(log, topic, "billing") == [2]


async def test_letters_of_one_consumer_are_listed(log: EventLog) -> None:
    """Those of the others are not."""
    await with_letters(log, "a", "b")
    await log.append("orders", "c")
    await bury(log, "orders", "audit")

    assert [letter.event.name for letter in await log.dead_letters("orders", "audit")] == ["c"]
    assert [letter.event.name for letter in await log.dead_letters("orders", "billing")] == ["a", "b"]


async def test_a_topic_where_nothing_died_has_no_letters(log: EventLog) -> None:
    """And looking makes no topic and no consumer."""
    await log.append("orders", "a")

    assert await log.dead_letters("orders") == []
    assert await log.replay_dead_letters("orders") == []
    assert await log.delete_dead_letters("orders") == []
    assert [topic.name for topic in await log.topics()] == ["orders"]
    assert await log.consumers() == []


async def test_many_letters_are_listed_while_others_come(log: EventLog) -> None:
    """More than a page, and more than one look at once: each has all of them."""
    await with_letters(log, *["a"] * 1200)

    lists = await asyncio.gather(*(log.dead_letters("orders") for _ in range(3)))

    assert [offsets(found) for found in lists] == [list(range(1200))] * 3


async def test_letters_stay_however_far_another_consumer_of_them_is(log: EventLog) -> None:
    """A consumer that tells of dead letters settles them for itself, not for whoever deals with them."""
    await log.add_consumer("orders.dead", "alerts")
    await with_letters(log, "a", "b")
    await consume(log, "orders.dead", "alerts")
    await asyncio.sleep(600)

    assert await has(log) == [0, 1]


async def test_what_is_no_letter_is_not_listed_and_stays(log: EventLog) -> None:
    """Somebody appended it by hand."""
    await with_letters(log, "a")
    await log.append("orders.dead", "no letter")

    assert await has(log) == [0]
    assert offsets(await log.delete_dead_letters("orders")) == [0]
    assert await has(log) == []
    assert (await log.consumer("orders.dead", DEAD_LETTERS)).pending == 1


# -- replayed ---------------------------------------------------------------------------------------------------------


async def test_a_replayed_letter_is_for_the_consumer_that_gave_it_up(log: EventLog) -> None:
    """The event has the id that it had, and is addressed to that one; its letter is gone."""
    ids = await with_letters(log, "a", "b")

    replayed = await log.replay_dead_letters("orders")

    assert offsets(replayed) == [0, 1]
    assert await has(log) == []
    again = await claim(log, "orders", "billing")
    events = [one.event for one in again if one.event is not None]
    assert [event.uuid for event in events] == ids
    assert [addressee(event) for event in events] == ["billing", "billing"]
    assert [one.attempt for one in again] == [1, 1]
    assert not [name for event in events for name in event.headers if name.startswith("eventpipe-dead-")]


async def test_letters_are_replayed_by_offset_in_any_order(log: EventLog) -> None:
    """The others stay, before and after it, and keep their offsets."""
    await with_letters(log, "a", "b", "c", "d")

    assert [letter.event.name for letter in await log.replay_dead_letters("orders", [2, 9])] == ["c"]
    assert await has(log) == [0, 1, 3]
    assert [letter.event.name for letter in await log.replay_dead_letters("orders", [0])] == ["a"]
    assert await has(log) == [1, 3]
    assert [letter.event.name for letter in await log.replay_dead_letters("orders", [2])] == []
    assert [event.name for event in await events_of(log, "orders")][-2:] == ["c", "a"]


async def test_letters_of_one_consumer_are_replayed(log: EventLog) -> None:
    """Those of the others stay."""
    await with_letters(log, "a")
    await log.append("orders", "b")
    await bury(log, "orders", "audit")

    replayed = await log.replay_dead_letters("orders", consumer="audit")

    assert [letter.event.name for letter in replayed] == ["b"]
    assert [letter.event.name for letter in await log.dead_letters("orders")] == ["a"]


async def test_letters_of_an_unknown_consumer_are_an_error(log: EventLog) -> None:
    """It names the one that is meant."""
    await with_letters(log, "a")

    with pytest.raises(UnknownConsumerError, match=r"has no consumer 'biling'; did you mean 'billing'\?$"):
        await log.replay_dead_letters("orders", consumer="biling")

    assert await has(log) == [0]


async def test_a_letter_whose_consumer_was_removed_stays(log: EventLog) -> None:
    """Nobody would be handed its event."""
    await with_letters(log, "a")
    await log.remove_consumer("orders", "billing")

    assert await log.replay_dead_letters("orders") == []
    assert await has(log) == [0]


async def test_a_letter_whose_event_cannot_be_decoded_stays(log: EventLog) -> None:
    """There is no event to replay; it can be deleted."""
    await with_letters(log)
    await log.append("orders", "a")
    key = ConsumerKey("orders", "billing")
    (one,) = await claim(log, "orders", "billing")
    undecodable = ClaimedEvent(one.offset, one.appended_at, None, "unknown format", b"\x00", one.attempt, one.claim)
    letter = letter_of(undecodable, key, "undecodable", None, log.clock.time())
    await log.store.settle(key, None, [Disposition(one, Disposal.DEAD, letter=letter)])

    assert await log.replay_dead_letters("orders") == []
    assert await has(log) == [0]
    assert offsets(await log.delete_dead_letters("orders")) == [0]


async def test_a_replayed_event_that_fails_again_is_a_letter_again(log: EventLog) -> None:
    """With an offset of its own; any number of times."""
    ids = await with_letters(log, "a")
    for round_ in range(1, 4):
        await log.replay_dead_letters("orders")
        await bury(log, "orders", "billing", reason=f"round {round_}")

        (letter,) = await log.dead_letters("orders")
        assert (letter.event.uuid, letter.reason, letter.consumer) == (ids[0], f"round {round_}", "billing")


class Failing(MemoryStore):
    """Fails at one step of a replay."""

    fails_at = ""

    async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
        if self.fails_at == "append" and is_replay:
            raise StoreError("no")
        return await super().append(topic, events, is_replay=is_replay)

    async def settle(self, key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        if self.fails_at == "settle" and key.name == DEAD_LETTERS:
            raise StoreError("no")
        await super().settle(key, token, dispositions)


@pytest.mark.parametrize(("step", "appended"), [("append", 0), ("settle", 1)])
async def test_a_letter_is_taken_out_after_its_event_is_appended(clock: LoopClock, step: str, appended: int) -> None:
    """A failure in between doubles the event; a failure before changes nothing; none loses it."""
    store = Failing(clock=clock)
    async with EventLog(store, clock=clock) as log:
        await with_letters(log, "a")
        store.fails_at = step

        with pytest.raises(StoreError, match=r"^no$"):
            await log.replay_dead_letters("orders")

        store.fails_at = ""
        assert len(await events_of(log, "orders")) == 1 + appended
        assert await has(log) == [0]
        assert offsets(await log.replay_dead_letters("orders")) == [0]


async def test_a_replay_into_a_full_topic_keeps_the_letters(make_store: Callable[[], Store], clock: LoopClock) -> None:
    """It is an error, and may be tried again."""
    topics = {"orders": Retention(max_events=2)}
    async with EventLog(make_store(), topics=topics, clock=clock) as log:
        await with_letters(log, "a", "b")
        await log.append_many("orders", ["c", "d"])

        with pytest.raises(StoreFullError):
            await log.replay_dead_letters("orders")

        assert await has(log) == [0, 1]
        await consume(log, "orders", "billing")
        await consume(log, "orders", "audit")
        assert offsets(await log.replay_dead_letters("orders")) == [0, 1]


async def test_more_letters_than_the_topic_can_hold_are_replayed_in_turn(
    make_store: Callable[[], Store], clock: LoopClock
) -> None:
    """Where it waits for room, as their consumer makes some; letters are taken out as their events are appended."""
    topics = {"orders": Retention(max_events=3, on_full="wait")}
    async with EventLog(make_store(), topics=topics, clock=clock) as log:
        await log.add_consumer("orders", "billing")
        for _ in range(4):
            await log.append_many("orders", ["a", "b", "c"])
            await bury(log, "orders", "billing")

        replaying = asyncio.create_task(log.replay_dead_letters("orders"))
        handled = 0
        while handled < 12:
            await asyncio.sleep(1)
            handled += len(await consume(log, "orders", "billing"))

        assert offsets(await replaying) == list(range(12))


async def test_two_replays_at_once_replay_each_letter_once(log: EventLog) -> None:
    """One of them waits for the other."""
    await with_letters(log, *["a"] * 700)

    replayed = await asyncio.gather(*(log.replay_dead_letters("orders") for _ in range(3)))

    assert sorted(letter.offset for letters in replayed for letter in letters) == list(range(700))
    assert len(await claim(log, "orders", "billing")) == 700


async def test_a_cancelled_replay_leaves_the_letters_to_the_next(clock: LoopClock) -> None:
    """At whatever step; each event is replayed once or, where nobody knows, twice."""

    class Slow(MemoryStore):
        async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
            found = await super().append(topic, events, is_replay=is_replay)
            await asyncio.sleep(is_replay)
            return found

        async def claim(self, *args: Any, **options: Any) -> Claims:
            await asyncio.sleep(1)
            return await super().claim(*args, **options)

    for seconds in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5):
        async with EventLog(Slow(clock=clock), clock=clock) as log:
            await with_letters(log, "a", "b")
            task = asyncio.create_task(log.replay_dead_letters("orders"))
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

            async with asyncio.timeout(10):
                await log.replay_dead_letters("orders")

            assert await has(log) == []
            assert len(await claim(log, "orders", "billing")) in (2, 4)


# -- deleted ----------------------------------------------------------------------------------------------------------


async def test_letters_are_deleted(log: EventLog) -> None:
    """By offset, by consumer, or all; nothing is handed out again."""
    await with_letters(log, "a", "b", "c")
    await log.append("orders", "d")
    await bury(log, "orders", "audit")

    assert offsets(await log.delete_dead_letters("orders", [1])) == [1]
    assert offsets(await log.delete_dead_letters("orders", consumer="audit")) == [3]
    assert await has(log) == [0, 2]
    assert offsets(await log.delete_dead_letters("orders")) == [0, 2]
    assert await has(log) == []
    assert await claim(log, "orders", "audit") == []


async def test_letters_that_were_dealt_with_are_trimmed(log: EventLog) -> None:
    """By themselves, as all that is settled."""
    await with_letters(log, "a", "b", "c")
    await log.delete_dead_letters("orders", [0, 1])

    await asyncio.sleep(600)

    assert (await log.topic("orders.dead")).events == 1
    assert await has(log) == [2]


async def test_letters_of_a_log_that_does_not_run_are_not_looked_at(log: EventLog) -> None:
    """Nor replayed, nor deleted."""
    await with_letters(log, "a")
    await log.stop()

    for call in (log.dead_letters, log.replay_dead_letters, log.delete_dead_letters):
        with pytest.raises(ClosedError):
            await call("orders")


async def test_what_died_in_the_topic_of_dead_letters_has_letters_too(log: EventLog) -> None:
    """Such as of a consumer that tells of dead letters, and fails: it is handed the letter again as it was."""
    await log.add_consumer("orders.dead", "alerts")
    await with_letters(log, "a")
    (first,) = await log.dead_letters("orders")
    await bury(log, "orders.dead", "alerts")
    (letter,) = await log.dead_letters("orders.dead")

    await log.replay_dead_letters("orders.dead")

    assert (letter.topic, letter.consumer) == ("orders.dead", "alerts")
    (again,) = await claim(log, "orders.dead", "alerts")
    assert (seen := dead_letter(again)) is not None
    assert (seen.topic, seen.consumer, seen.event.uuid) == ("orders", "billing", first.event.uuid)
    assert offsets(await log.dead_letters("orders")) == [first.offset]
