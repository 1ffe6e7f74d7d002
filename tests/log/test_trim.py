"""Trimming: what every consumer has settled goes by itself, and nothing else does, and nothing happens for nothing."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from eventpipe.errors import ClosedError, StoreError
from eventpipe.log.eventlog import EventLog
from eventpipe.log.trimming import next_pass
from eventpipe.retention import UNBOUNDED, Retention
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ConsumerInfo, Disposal, TopicInfo
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.loop import VirtualTimeLoop
from tests.log.consuming import claim, consume, events_of, settle

pytestmark = pytest.mark.asyncio

INTERVAL = 10.0


@pytest_asyncio.fixture
async def log(make_store: Callable[[], Store], clock: LoopClock) -> AsyncIterator[EventLog]:
    """A log that trims every ten seconds."""
    async with EventLog(make_store(), trim_interval=INTERVAL, clock=clock) as running:
        yield running


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


async def a_while() -> None:
    """Long enough for what is settled to be trimmed, whatever window the store has for repeated appends."""
    await asyncio.sleep(600)


async def steps_of_a_day() -> int:
    """Turns of the loop in a day; what a thread still had to hand over before is no part of it."""
    await asyncio.sleep(1)
    steps = loop().steps
    await asyncio.sleep(86_400)
    return loop().steps - steps


async def kept(log: EventLog, topic: str) -> list[int]:
    return [stored.offset async for stored in log.read(topic)]


# -- what goes --------------------------------------------------------------------------------------------------------


async def test_what_is_settled_is_trimmed_by_itself(log: EventLog) -> None:
    """Nobody asks for it."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a", "b", "c"])
    await consume(log, "orders", "billing", 2)

    await a_while()

    assert await kept(log, "orders") == [2]


@pytest.mark.parametrize("names", list(itertools.permutations(["busy", "down", "half"])), ids="-".join)
async def test_trim_never_passes_the_slowest_whatever_the_order_of_registration(
    log: EventLog, names: tuple[str, ...]
) -> None:
    """Of one that is down since the start, one that is half-way, and one that has all behind it."""
    for name in names:
        await log.add_consumer("orders", name)
    offsets = await log.append_many("orders", [f"{number}" for number in range(10)])
    await consume(log, "orders", "busy")
    await consume(log, "orders", "half", 5)

    await a_while()
    await log.trim()

    assert await kept(log, "orders") == offsets
    assert await consume(log, "orders", "down") == offsets


async def test_a_consumer_that_never_settled_anything_holds_all_of_it(log: EventLog) -> None:
    """It has no cursor, which is something else than a cursor at the start, or a small number."""
    await log.add_consumer("orders", "down")
    await log.add_consumer("orders", "busy")
    for _ in range(20):
        await log.append_many("orders", ["a"] * 50)
        await consume(log, "orders", "busy")
        await asyncio.sleep(INTERVAL * 2)

    info = await log.consumer("orders", "down")

    assert (info.cursor, info.pending) == (None, 1000)
    assert await consume(log, "orders", "down") == list(range(1000))


async def test_what_is_claimed_or_given_back_stays(log: EventLog) -> None:
    """It is not settled."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a", "b", "c"])
    claimed = await claim(log, "orders", "billing")
    await settle(log, "orders", "billing", claimed[:1])
    await settle(log, "orders", "billing", claimed[1:2], Disposal.RELEASE)

    await a_while()

    assert await kept(log, "orders") == [1, 2]


async def test_what_is_settled_out_of_order_waits_for_those_before_it(log: EventLog) -> None:
    """The cursor is the lowest that is not settled."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a", "b", "c"])
    claimed = await claim(log, "orders", "billing")
    await settle(log, "orders", "billing", claimed[1:])
    await a_while()
    assert await kept(log, "orders") == [0, 1, 2]

    await settle(log, "orders", "billing", claimed[:1])
    await a_while()

    assert await kept(log, "orders") == []


async def test_a_topic_that_nobody_consumes_keeps_everything(log: EventLog) -> None:
    """Somebody may come, and begin at the earliest."""
    await log.append_many("orders", ["a", "b"])

    await a_while()

    assert await kept(log, "orders") == [0, 1]


async def test_a_new_consumer_at_the_earliest_begins_at_what_is_kept(log: EventLog) -> None:
    """And holds it from then on."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a", "b", "c"])
    await consume(log, "orders", "billing", 1)
    await a_while()

    await log.add_consumer("orders", "audit")
    await consume(log, "orders", "billing")
    await a_while()

    assert await consume(log, "orders", "audit") == [1, 2]


async def test_removing_the_slowest_lets_go_of_what_it_held(log: EventLog) -> None:
    """The others have settled it."""
    await log.add_consumer("orders", "billing")
    await log.add_consumer("orders", "down")
    await log.append_many("orders", ["a", "b", "c"])
    await consume(log, "orders", "billing")
    await a_while()

    await log.remove_consumer("orders", "down")
    await a_while()

    assert await kept(log, "orders") == []


async def test_events_that_are_too_old_go_though_nothing_happens(
    make_store: Callable[[], Store], clock: LoopClock
) -> None:
    """Also those that nobody has settled, and in a topic that is quiet since."""
    topics = {"orders": Retention(max_age=7200)}
    async with EventLog(make_store(), topics=topics, trim_interval=INTERVAL, clock=clock) as log:
        await log.add_consumer("orders", "down")
        await log.append("orders", "a")
        await asyncio.sleep(7000)
        assert await kept(log, "orders") == [0]

        await asyncio.sleep(300)

        assert (await log.topic("orders")).events == 0
        assert (await log.consumer("orders", "down")).dropped == 1


async def test_what_an_earlier_life_left_is_trimmed(make_store: Callable[[], Store], clock: LoopClock) -> None:
    """A process that was restarted makes up for the pass that its predecessor did not get to."""
    log = EventLog(make_store(), trim_interval=INTERVAL, clock=clock)
    async with log:
        await log.add_consumer("orders", "billing")
        await log.append_many("orders", ["a", "b"])
        await consume(log, "orders", "billing")
    async with log:
        await a_while()

        assert (await log.topic("orders")).events == 0


# -- asked for --------------------------------------------------------------------------------------------------------


async def test_trim_says_how_many_went(make_store: Callable[[], Store], clock: LoopClock) -> None:
    """Of one topic, or of all."""
    async with EventLog(make_store(), trim_interval=86_400, clock=clock) as log:
        for topic in ("orders", "audit"):
            await log.add_consumer(topic, "billing")
            await log.append_many(topic, ["a", "b", "c"])
            await consume(log, topic, "billing", 2)
        await a_while()

        assert await log.trim("orders") == 2
        assert await log.trim() == 2
        assert await log.trim() == 0


async def test_trim_of_a_topic_that_is_not_there_names_the_one_that_is_meant(log: EventLog) -> None:
    """And deletes nothing."""
    await log.append("orders", "a")

    with pytest.raises(StoreError, match=r"^there is no topic 'order'; append\(\) and declare\(\) make one; did you"):
        await log.trim("order")


# -- at what cost -----------------------------------------------------------------------------------------------------


async def test_an_idle_log_has_no_wake_ups(log: EventLog) -> None:
    """Not before the first event, and not after the last is trimmed: no timer is set."""
    await a_while()
    assert await steps_of_a_day() < 5
    await log.add_consumer("orders", "billing")
    await log.append("orders", "a")
    await consume(log, "orders", "billing")
    await a_while()
    assert (await log.topic("orders")).events == 0

    assert await steps_of_a_day() < 5


async def test_an_idle_log_with_a_backlog_has_no_wake_ups(log: EventLog) -> None:
    """Nothing can be trimmed until somebody settles something."""
    await log.add_consumer("orders", "down")
    await log.append_many("orders", ["a"] * 100)
    await a_while()

    assert await steps_of_a_day() < 5


async def test_a_busy_log_makes_one_pass_an_interval(clock: LoopClock) -> None:
    """However much is appended and settled meanwhile."""
    passes = []

    class Watched(MemoryStore):
        async def trim(self, topic: str, before: int | None = None) -> int:
            passes.append(loop().time())
            return await super().trim(topic, before)

    async with EventLog(Watched(clock=clock), trim_interval=INTERVAL, clock=clock) as log:
        await log.add_consumer("orders", "billing")
        await asyncio.sleep(1000)
        passes.clear()
        for _ in range(1000):
            await log.append_many("orders", ["a"] * 10)
            await consume(log, "orders", "billing")
            await asyncio.sleep(0.1)

        assert passes == [1000 + INTERVAL * number for number in range(1, 10)]


async def test_stop_does_not_wait_for_the_interval(log: EventLog) -> None:
    """Whatever there is to trim."""
    await log.append("orders", "a")
    await asyncio.sleep(1)

    await log.stop()

    assert loop().time() == pytest.approx(1, abs=1)
    with pytest.raises(ClosedError):
        await log.trim()


# -- when it fails ----------------------------------------------------------------------------------------------------


class FailsToTrim(MemoryStore):
    """Fails for one topic while it is told to."""

    error: Exception | None = None

    async def trim(self, topic: str, before: int | None = None) -> int:
        if self.error is not None and topic == "bad":
            raise self.error
        return await super().trim(topic, before)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(StoreError("the disk is gone"), "the disk is gone", id="store"),
        pytest.param(OSError("payload"), "OSError in trim", id="foreign"),
    ],
)
async def test_a_pass_that_fails_is_told_of_once_and_ends_nothing(
    clock: LoopClock, caplog: pytest.LogCaptureFixture, error: Exception, told: str
) -> None:
    """The log goes on, the topics after it are trimmed, and it is tried again until it works."""
    store = FailsToTrim(clock=clock)
    async with EventLog(store, trim_interval=INTERVAL, clock=clock) as log:
        store.error = error
        for topic in ("bad", "good"):
            await log.add_consumer(topic, "billing")
            await log.append_many(topic, ["a", "b"])
            await consume(log, topic, "billing")
        await a_while()
        assert [(record.levelno, told in record.getMessage()) for record in caplog.records] == [(logging.WARNING, True)]
        assert "payload" not in caplog.text
        assert await events_of(log, "good") == []

        store.error = None
        await a_while()

        assert await events_of(log, "bad") == []
        assert [record.getMessage() for record in caplog.records[1:]] == ["eventpipe-log: trimming works again"]
        await log.append("bad", "c")


# -- when another pass is worth it ------------------------------------------------------------------------------------


def a_topic(*, first: int = 0, events: int = 5, oldest_at: float = 0.0, retention: Retention = UNBOUNDED) -> TopicInfo:
    return TopicInfo("orders", first, first + events, events, 100, oldest_at if events else None, 0.0, retention)


@pytest.mark.parametrize(
    ("topic", "positions", "due"),
    [
        pytest.param(a_topic(), [], None, id="nobody consumes it"),
        pytest.param(a_topic(), [0, 3], None, id="the slowest holds all"),
        pytest.param(a_topic(), [3, 2], 0.0, id="settled, and kept for a while"),
        pytest.param(a_topic(first=5, events=0), [5], None, id="empty"),
        pytest.param(a_topic(retention=Retention(max_age=100)), [0], 60.0, id="grows old"),
        pytest.param(a_topic(retention=Retention(max_age=30)), [0], 0.0, id="is too old"),
        pytest.param(a_topic(events=0, retention=Retention(max_age=30)), [0], None, id="nothing grows old"),
    ],
)
async def test_another_pass_is_worth_it_only_where_time_alone_brings_something(
    topic: TopicInfo, positions: list[int], due: float | None
) -> None:
    """Forty seconds after the first event was appended."""
    consumers = [
        ConsumerInfo("orders", f"{number}", cursor=None, position=position, pending=0)
        for number, position in enumerate(positions)
    ]

    assert next_pass([topic], consumers, now=40.0) == due
