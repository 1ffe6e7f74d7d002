"""A topic that is full: an error, the drop of the oldest, or a wait that loses and starves nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.errors import ClosedError, StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.log.appending import Appending
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import letter_of
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ConsumerKey, Disposal, Disposition, TopicInfo
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import make_event
from eventpipe.testing.loop import VirtualTimeLoop
from tests.log.consuming import bury, claim, consume, events_of

pytestmark = pytest.mark.asyncio

TOPICS = {
    "rejects": Retention(max_events=3),
    "drops": Retention(max_events=3, on_full="drop_oldest"),
    "waits": Retention(max_events=3, on_full="wait"),
    "large": Retention(max_bytes=2048, on_full="wait"),
}


@pytest_asyncio.fixture
async def log(make_store: Callable[[], Store], clock: LoopClock) -> AsyncIterator[EventLog]:
    """A log of topics that are full soon; ``billing`` consumes the one that waits."""
    async with EventLog(make_store(), topics=TOPICS, clock=clock) as running:
        await running.add_consumer("waits", "billing")
        yield running


async def fill(log: EventLog, topic: str) -> None:
    await log.append_many(topic, ["a", "b", "c"])


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


def about(seconds: float) -> Any:
    """A store on disk takes a moment for each call."""
    return pytest.approx(seconds, abs=0.9)


def names(events: Sequence[CapturedEvent]) -> list[str]:
    return [event.name for event in events]


# -- an error ---------------------------------------------------------------------------------------------------------


async def test_a_full_topic_refuses(log: EventLog) -> None:
    """At once, and nothing is appended; it is appended to again once there is room."""
    await log.add_consumer("rejects", "billing")
    await fill(log, "rejects")

    with pytest.raises(StoreFullError) as caught:
        await log.append("rejects", "d", timeout=3600)

    assert caught.value.topic == "rejects"
    assert loop().time() == about(0)
    assert names(await events_of(log, "rejects")) == ["a", "b", "c"]
    await consume(log, "rejects", "billing", 1)
    await log.append("rejects", "d")


async def test_many_are_refused_whole(log: EventLog) -> None:
    """What would fit of them is not appended."""
    await log.append("rejects", "a")

    with pytest.raises(StoreFullError):
        await log.append_many("rejects", ["b", "c", "d"])

    assert names(await events_of(log, "rejects")) == ["a"]


async def test_an_event_that_is_there_finds_room_in_a_full_topic(log: EventLog) -> None:
    """It is not appended again."""
    event = make_event("a")
    offset = await log.append("rejects", event)
    await log.append_many("rejects", ["b", "c"])

    assert await log.append("rejects", event) == offset


async def test_a_full_topic_is_full_for_nobody_else(log: EventLog) -> None:
    """Neither the topics beside it, nor those who wait at another."""
    await fill(log, "waits")
    waiting = asyncio.create_task(log.append("waits", "d"))
    await asyncio.sleep(1)

    await log.append("other", "a")
    await log.append("drops", "a")

    waiting.cancel()


# -- the drop of the oldest -------------------------------------------------------------------------------------------


async def test_a_full_topic_drops_its_oldest(log: EventLog) -> None:
    """Each consumer that had not settled them is told how many."""
    await log.add_consumer("drops", "slow")
    await log.append_many("drops", ["a", "b", "c"])

    await log.append_many("drops", ["d", "e"])

    assert names(await events_of(log, "drops")) == ["c", "d", "e"]
    assert (await log.consumer("drops", "slow")).dropped == 2
    assert (await log.topic("drops")).dropped == 2


async def test_a_replay_drops_nothing_that_a_consumer_has_not_settled(log: EventLog) -> None:
    """It is refused, and says why and what to do; appends go on as retention says."""
    await fill(log, "drops")
    await log.add_consumer("drops", "fast")
    await log.add_consumer("drops", "slow")
    await consume(log, "drops", "fast")

    with pytest.raises(
        StoreFullError, match=r"^topic 'drops' is full, and a replay drops nothing .*; let its consumers"
    ):
        await log.replay("drops", "fast", "earliest")

    assert names(await events_of(log, "drops")) == ["a", "b", "c"]
    assert ((await log.consumer("drops", "slow")).pending, (await log.topic("drops")).dropped) == (3, 0)
    await log.append("drops", "d")
    assert names(await events_of(log, "drops")) == ["b", "c", "d"]


async def test_a_replay_takes_the_room_of_what_all_have_settled(log: EventLog) -> None:
    """Also where the topic is full."""
    await fill(log, "drops")
    await log.add_consumer("drops", "fast")
    await log.add_consumer("drops", "slow")
    await consume(log, "drops", "fast")
    await consume(log, "drops", "slow", 2)

    assert await log.replay("drops", "fast", 1) == 2

    assert names(await events_of(log, "drops")) == ["c", "b", "c"]
    assert (await consume(log, "drops", "fast"), await consume(log, "drops", "slow")) == ([3, 4], [2, 3, 4])
    assert (await log.topic("drops")).dropped == 0


async def test_dead_letters_are_replayed_only_where_nothing_is_dropped_for_them(log: EventLog) -> None:
    """The letters stay until there is room."""
    await fill(log, "drops")
    await log.add_consumer("drops", "fast")
    await bury(log, "drops", "fast")
    await log.add_consumer("drops", "slow")

    with pytest.raises(StoreFullError, match=r"a replay drops nothing"):
        await log.replay_dead_letters("drops")
    assert ((await log.topic("drops")).dropped, len(await log.dead_letters("drops"))) == (0, 3)

    await consume(log, "drops", "slow")
    assert len(await log.replay_dead_letters("drops")) == 3
    assert await log.dead_letters("drops") == []


async def test_letters_take_the_room_of_the_oldest(log: EventLog) -> None:
    """Where the topic of dead letters was declared so: to give up an event is no replay."""
    await log.declare("rejects.dead", Retention(max_events=2, on_full="drop_oldest"))
    await fill(log, "rejects")
    await log.add_consumer("rejects", "billing")
    for _ in range(3):
        [claimed] = await claim(log, "rejects", "billing", 1)
        letter = letter_of(claimed, ConsumerKey("rejects", "billing"), "refused", None, log.clock.time())
        disposition = Disposition(claimed, Disposal.DEAD, reason="refused", letter=letter)
        await log.store.settle(ConsumerKey("rejects", "billing"), None, [disposition])

    assert [letter.event.name for letter in await log.dead_letters("rejects")] == ["b", "c"]


# -- the wait ---------------------------------------------------------------------------------------------------------


async def test_an_append_waits_until_there_is_room(log: EventLog) -> None:
    """It parks, and goes on in the same moment in which a consumer settles."""
    await fill(log, "waits")
    waiting = asyncio.create_task(log.append("waits", "d"))
    await asyncio.sleep(600)
    steps = loop().steps
    await asyncio.sleep(3000)
    assert not waiting.done()
    assert loop().steps - steps < 10

    await consume(log, "waits", "billing", 1)
    offset = await waiting

    assert loop().time() == about(3600)
    assert names(await events_of(log, "waits"))[-1] == "d"
    assert [stored.offset async for stored in log.read("waits")][-1] == offset


async def test_an_append_waits_no_longer_than_its_timeout(log: EventLog) -> None:
    """Then nothing was appended, and nobody is in line any more."""
    await fill(log, "waits")

    with pytest.raises(TimeoutError, match=r"^topic 'waits' had no room within 5 s; nothing was appended$"):
        await log.append("waits", "d", timeout=5)

    assert loop().time() == about(5)
    await consume(log, "waits", "billing")
    await log.append("waits", "e")
    assert "d" not in names(await events_of(log, "waits"))


async def test_a_timeout_counts_from_the_call(log: EventLog) -> None:
    """Also for those who wait behind another, and get in line when the first has left."""
    await fill(log, "waits")
    first = asyncio.create_task(log.append("waits", "d", timeout=4))
    await asyncio.sleep(1)

    with pytest.raises(TimeoutError):
        await log.append("waits", "e", timeout=5)

    assert loop().time() == about(6)
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], TimeoutError)


async def test_a_timeout_of_zero_tries_once(log: EventLog) -> None:
    """It appends where there is room, and waits for none where there is none."""
    await log.append_many("waits", ["a", "b"], timeout=0)
    await log.append("waits", "c", timeout=0)

    with pytest.raises(TimeoutError):
        await log.append("waits", "d", timeout=0)

    assert loop().time() == about(0)


@pytest.mark.parametrize("timeout", [float("nan"), "5"])
async def test_a_timeout_that_is_none_is_refused(log: EventLog, timeout: float) -> None:
    """Before anything is appended."""
    with pytest.raises((ValueError, TypeError), match=r"timeout|deadline"):
        await log.append("waits", "a", timeout=timeout)

    assert (await log.topic("waits")).events == 0


async def test_a_cancelled_wait_leaves_nothing_and_takes_nobodys_room(log: EventLog) -> None:
    """Whoever waits behind goes on."""
    await fill(log, "waits")
    tasks = [asyncio.create_task(log.append("waits", name)) for name in ("d", "e", "f")]
    await asyncio.sleep(1)

    tasks[0].cancel()
    await consume(log, "waits", "billing", 1)
    await tasks[1]
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert names(await events_of(log, "waits"))[-1] == "e"
    assert (tasks[0].cancelled(), tasks[2].cancelled()) == (True, True)
    await consume(log, "waits", "billing")
    await log.append("waits", "g")


async def test_a_hundred_who_wait_are_let_in_in_their_order(log: EventLog) -> None:
    """Nobody starves and no wake-up is lost, while room comes in ones and twos and every third gives up."""
    await fill(log, "waits")
    tasks = [asyncio.create_task(log.append("waits", f"{number}")) for number in range(100)]
    await asyncio.sleep(1)
    for task in tasks[::3]:
        task.cancel()
    seen: list[str] = []
    while not all(task.done() for task in tasks):
        seen += names(await events_of(log, "waits"))
        assert await consume(log, "waits", "billing", 1 + len(seen) % 2)
        await asyncio.sleep(1)
    seen += names(await events_of(log, "waits"))

    assert list(dict.fromkeys(seen)) == ["a", "b", "c", *(f"{number}" for number in range(100) if number % 3)]


async def test_a_thousand_who_wait_cost_a_few_tries_each(clock: LoopClock) -> None:
    """Room for one wakes one of them, and not all."""
    tries = []

    class Watched(MemoryStore):
        async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
            tries.append(topic)
            return await super().append(topic, events, is_replay=is_replay)

    async with EventLog(Watched(clock=clock), topics=TOPICS, clock=clock) as log:
        await log.add_consumer("waits", "billing")
        await fill(log, "waits")
        tasks = [asyncio.create_task(log.append("waits", "d")) for _ in range(1000)]
        await asyncio.sleep(1)

        for _ in range(1000):
            await consume(log, "waits", "billing", 1)
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)

        assert len(tries) < 4 * 1000


async def test_a_large_append_is_not_overtaken_for_ever(log: EventLog) -> None:
    """Small ones that come after it wait behind it, although there would be room for them."""
    await fill(log, "waits")
    many = asyncio.create_task(log.append_many("waits", ["x", "y", "z"]))
    await asyncio.sleep(1)
    small = [asyncio.create_task(log.append("waits", f"{number}")) for number in range(3)]
    for _ in range(6):
        await consume(log, "waits", "billing", 1)
        await asyncio.sleep(1)

    offsets = await many
    assert all(task.done() for task in small)
    assert offsets == list(range(offsets[0], offsets[0] + 3))
    assert offsets[-1] < min([await task for task in small])


async def test_nobody_is_in_line_once_all_are_in(store: Store, clock: LoopClock) -> None:
    """Later appends take the short way again; also where some gave up or were refused."""
    await store.open()
    await store.declare("waits", TOPICS["waits"])
    key = (await store.add_consumer(ConsumerKey("waits", "billing"), "earliest")).key
    appending = Appending(store)
    await appending.append("waits", [make_event() for _ in range(3)])
    tasks = [asyncio.create_task(appending.append("waits", [make_event()], 5)) for _ in range(3)]
    await asyncio.sleep(1)
    assert list(appending.lines) == ["waits"]

    await store.seek(key, 2)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(StoreFullError):
        await appending.append("waits", [make_event() for _ in range(4)])

    assert [isinstance(end, TimeoutError) for end in ends] == [False, False, True]
    assert appending.lines == {}
    await store.aclose()


async def test_room_that_is_made_while_an_append_looks_for_its_cause_is_not_missed(clock: LoopClock) -> None:
    """What comes between the look and the wait ends the wait."""

    class Looked(MemoryStore):
        async def topics(self, name: str | None = None) -> list[TopicInfo]:
            found = await super().topics(name)
            if looks:
                looks.pop()
                await consume(log, "waits", "billing", 1)
            return found

    looks: list[int] = []
    async with EventLog(Looked(clock=clock), topics=TOPICS, clock=clock) as log:
        await log.add_consumer("waits", "billing")
        await fill(log, "waits")
        looks.append(1)

        async with asyncio.timeout(1):
            await log.append("waits", "d")


async def test_what_can_never_fit_is_refused_at_once(log: EventLog) -> None:
    """Nobody waits for what no wait can bring: by events, and by bytes."""
    with pytest.raises(StoreFullError):
        await log.append_many("waits", ["a", "b", "c", "d"])
    with pytest.raises(StoreFullError):
        await log.append("large", "a", properties={"text": "x" * 3000})

    assert loop().time() == about(0)
    assert await events_of(log, "waits") == []


@pytest.mark.parametrize("option", ["max_events", "max_bytes"])
async def test_bound_that_no_engine_can_keep_is_refused(option: str) -> None:
    """Here, and not by the engine when the log starts; the largest is kept by each."""
    too_much: dict[str, Any] = {option: 2**63}
    with pytest.raises(ValueError, match=f"{option} must be at most"):
        Retention(**too_much)


async def test_largest_bounds_are_kept(make_store: Callable[[], Store], clock: LoopClock) -> None:
    """As they were declared."""
    most = Retention(max_events=2**62, max_bytes=2**62)
    async with EventLog(make_store(), topics={"orders": most}, clock=clock) as log:
        assert (await log.topic("orders")).retention == most


async def test_bytes_are_waited_for(log: EventLog) -> None:
    """As events are."""
    await log.add_consumer("large", "billing")
    await log.append("large", "a", properties={"text": "x" * 1000})
    waiting = asyncio.create_task(log.append("large", "b", properties={"text": "x" * 1000}))
    await asyncio.sleep(1)
    assert not waiting.done()

    await consume(log, "large", "billing")

    assert await waiting == 1


async def test_a_full_disk_is_an_error_also_where_a_topic_waits(clock: LoopClock) -> None:
    """No wait at this topic would end it."""

    class FullDisk(MemoryStore):
        async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
            raise StoreFullError("the disk is full", topic=topic)

    async with EventLog(FullDisk(clock=clock), topics=TOPICS, clock=clock) as log:
        with pytest.raises(StoreFullError, match=r"^the disk is full$"):
            await log.append("waits", "a")
        with pytest.raises(StoreFullError, match=r"^the disk is full$"):
            await log.append("new", "a")


async def test_more_room_lets_in_who_waits(log: EventLog) -> None:
    """A topic that is declared anew is looked at anew."""
    await fill(log, "waits")
    waiting = asyncio.create_task(log.append("waits", "d"))
    await asyncio.sleep(1)

    await log.declare("waits", Retention(max_events=4, on_full="wait"))

    assert await waiting == 3


async def test_who_waits_is_refused_once_the_topic_waits_no_more(log: EventLog) -> None:
    """It is declared to reject meanwhile."""
    await fill(log, "waits")
    waiting = asyncio.create_task(log.append("waits", "d"))
    await asyncio.sleep(1)

    await log.declare("waits", Retention(max_events=3))

    with pytest.raises(StoreFullError):
        await waiting


async def test_the_stop_of_the_log_ends_the_wait(make_store: Callable[[], Store], clock: LoopClock) -> None:
    """Everybody who waits is told that it is closed."""
    async with EventLog(make_store(), topics=TOPICS, clock=clock) as log:
        await fill(log, "waits")
        tasks = [asyncio.create_task(log.append("waits", name)) for name in ("d", "e")]
        await asyncio.sleep(1)

    ends = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(end) for end in ends] == [ClosedError, ClosedError]


async def test_removing_the_consumer_that_is_down_makes_room(log: EventLog) -> None:
    """What only it had not settled can go."""
    await log.add_consumer("waits", "down")
    await fill(log, "waits")
    await consume(log, "waits", "billing")
    waiting = asyncio.create_task(log.append("waits", "d"))
    await asyncio.sleep(1)
    assert not waiting.done()

    await log.remove_consumer("waits", "down")

    await waiting
