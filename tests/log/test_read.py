"""Reading without a consumer: up to the end, or as events come."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from eventpipe.errors import ClosedError, CursorError, StoreError
from eventpipe.log import reading
from eventpipe.log.eventlog import EventLog
from eventpipe.log.positions import stamp_of
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import StoredEvent
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import STAMP
from eventpipe.testing.loop import VirtualTimeLoop
from tests.log.consuming import consume

pytestmark = pytest.mark.asyncio


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


async def five_seconds_apart(log: EventLog) -> None:
    """Offsets 0 to 3, appended at 0, 5, 10 and 15 seconds."""
    for name in "abcd":
        await log.append("orders", name)
        await asyncio.sleep(5)


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(STAMP + seconds, datetime.UTC)


# -- up to an end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, [0, 1, 2, 3], id="all"),
        pytest.param({"start": 2}, [2, 3], id="offset"),
        pytest.param({"start": "latest"}, [], id="latest"),
        pytest.param({"start": 1, "end": 3}, [1, 2], id="range"),
        pytest.param({"start": 3, "end": 1}, [], id="nothing between"),
        pytest.param({"start": 4}, [], id="at the end"),
        pytest.param({"start": moment(4)}, [1, 2, 3], id="from a time on"),
        pytest.param({"start": moment(7)}, [2, 3], id="after a time"),
        pytest.param({"start": moment(4).replace(tzinfo=None)}, [1, 2, 3], id="naive is UTC"),
        pytest.param(
            {"start": moment(4).astimezone(datetime.timezone(datetime.timedelta(hours=9)))}, [1, 2, 3], id="elsewhere"
        ),
        pytest.param({"start": moment(0), "end": moment(9)}, [0, 1], id="between times"),
        pytest.param({"start": moment(-100)}, [0, 1, 2, 3], id="before the first"),
        pytest.param({"start": moment(100)}, [], id="after the last"),
    ],
)
async def test_read_begins_and_ends_where_it_is_told(
    log: EventLog, arguments: dict[str, Any], expected: list[int]
) -> None:
    """By offset, by word, or by the time at which events were appended."""
    await five_seconds_apart(log)

    assert [stored.offset async for stored in log.read("orders", **arguments)] == expected


async def test_a_naive_time_is_utc_wherever_the_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time zone of a machine changes nothing."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert stamp_of(moment(5).replace(tzinfo=None)) == stamp_of(moment(5)) == STAMP + 5
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_events_that_are_appended_meanwhile_are_not_read(log: EventLog) -> None:
    """So that a reading ends, however busy the topic is."""
    await log.append_many("orders", ["a", "b"])

    names = []
    async for stored in log.read("orders"):
        assert stored.event is not None
        names.append(stored.event.name)
        await log.append("orders", "more")

    assert names == ["a", "b"]


@pytest.mark.parametrize("offset", [-1, 3, 10**30])
async def test_an_offset_outside_the_topic_is_an_error_that_says_what_there_is(log: EventLog, offset: int) -> None:
    """The first that is kept and the last that can be asked for; for the start as for the end."""
    await log.append_many("orders", ["a", "b"])

    for arguments in ({"start": offset}, {"end": offset}):
        with pytest.raises(CursorError) as caught:
            _ = [stored async for stored in log.read("orders", **arguments)]
        assert (caught.value.offset, caught.value.first, caught.value.last) == (offset, 0, 2)


@pytest.mark.parametrize(
    ("start", "error", "text"),
    [
        ("first", ValueError, r"^start must be 'earliest', 'latest', an offset or a datetime, not 'first'$"),
        (1.5, TypeError, r"^start must be .* not 1.5$"),
        (True, TypeError, r"^start must be .* not True$"),
        (None, TypeError, r"^start must be .* not NoneType$"),
    ],
)
async def test_what_is_no_place_in_a_topic_is_refused(
    log: EventLog, start: Any, error: type[Exception], text: str
) -> None:
    """By reading and following alike."""
    await log.append("orders", "a")

    for events in (log.read("orders", start), log.follow("orders", start)):
        with pytest.raises(error, match=text):
            _ = [stored async for stored in events]


async def test_reading_a_topic_that_is_not_there_names_the_one_that_is_meant(log: EventLog) -> None:
    """And makes none."""
    await log.append("orders", "a")

    with pytest.raises(StoreError, match=r"^there is no topic 'order'; .* did you mean 'orders'\?$"):
        _ = [stored async for stored in log.read("order")]

    assert [topic.name for topic in await log.topics()] == ["orders"]


async def test_a_large_topic_is_read_in_bounded_pages(clock: LoopClock) -> None:
    """A reader holds one page, by events and by bytes, and lets others run between two."""
    asked: list[tuple[int, int]] = []

    class Watched(MemoryStore):
        async def read(self, topic: str, start: int, *, max_events: int, max_bytes: int) -> list[StoredEvent]:
            page = await super().read(topic, start, max_events=max_events, max_bytes=max_bytes)
            asked.append((len(page), sum(stored.event.held for stored in page if stored.event)))
            return page

    async with EventLog(Watched(clock=clock), clock=clock) as log:
        await log.append_many("orders", ["a"] * 1700)
        for _ in range(3):
            await log.append("orders", "large", properties={"text": "x" * 700_000})
        steps = loop().steps

        offsets = [stored.offset async for stored in log.read("orders")]

        assert offsets == list(range(1703))
        assert len(asked) >= 6
        assert all(events <= reading.PAGE_EVENTS and size <= reading.PAGE_BYTES for events, size in asked)
        assert loop().steps - steps >= len(asked) - 1


async def test_reading_settles_nothing(log: EventLog) -> None:
    """Whatever is read is still to come for every consumer."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a", "b"])

    _ = [stored async for stored in log.read("orders")]

    assert await consume(log, "orders", "billing") == [0, 1]


# -- as they come -----------------------------------------------------------------------------------------------------


async def following(log: EventLog, into: list[int], **arguments: Any) -> None:
    async for stored in log.follow("orders", **arguments):
        into.append(stored.offset)  # noqa: PERF401  # each when it comes


async def test_follow_has_what_comes(log: EventLog) -> None:
    """From the end of the topic on, in the moment in which it is appended."""
    await log.append("orders", "before")
    offsets: list[int] = []
    task = asyncio.create_task(following(log, offsets))
    await asyncio.sleep(3600)
    assert offsets == []

    await log.append_many("orders", ["a", "b"])
    await log.append("orders", "c")
    await asyncio.sleep(1)
    assert offsets == [1, 2, 3]

    task.cancel()


async def test_follow_begins_where_it_is_told(log: EventLog) -> None:
    """With what is there, without a gap to what comes."""
    await log.append_many("orders", ["a", "b", "c"])
    offsets: list[int] = []
    task = asyncio.create_task(following(log, offsets, start=1))
    await asyncio.sleep(1)
    await log.append("orders", "d")
    await asyncio.sleep(1)

    assert offsets == [1, 2, 3]
    task.cancel()


async def test_fifty_who_follow_an_idle_topic_cost_nothing(log: EventLog) -> None:
    """They park: a handful of steps in an hour, and each has every event that comes then."""
    await log.append("orders", "before")
    seen: list[list[int]] = [[] for _ in range(50)]
    tasks = [asyncio.create_task(following(log, into)) for into in seen]
    await asyncio.sleep(600)  # what was appended before is old enough to be of no interest to the trim
    steps = loop().steps
    await asyncio.sleep(3600)
    assert loop().steps - steps < 5

    await log.append_many("orders", ["a", "b"])
    await asyncio.sleep(1)

    assert seen == [[1, 2]] * 50
    for task in tasks:
        task.cancel()


async def test_what_comes_between_the_look_and_the_wait_is_not_missed(clock: LoopClock) -> None:
    """An append in the middle of a look ends the wait that follows."""

    class Looked(MemoryStore):
        async def read(self, topic: str, start: int, *, max_events: int, max_bytes: int) -> list[StoredEvent]:
            page = await super().read(topic, start, max_events=max_events, max_bytes=max_bytes)
            if not page and start < 3:
                await self.append(topic, made.pop())
            return page

    async with EventLog(Looked(clock=clock), clock=clock) as log:
        made: list[Any] = []
        async with EventLog(MemoryStore(clock=clock)) as other:
            for name in "abc":
                await other.append("orders", name)
            made = [[stored.event] async for stored in other.read("orders")]
        offsets: list[int] = []
        task = asyncio.create_task(following(log, offsets))
        await asyncio.sleep(1)

        assert offsets == [0, 1, 2]
        task.cancel()


async def test_follow_waits_for_a_topic_that_is_not_there_yet(log: EventLog) -> None:
    """It is made by the first append."""
    offsets: list[int] = []
    task = asyncio.create_task(following(log, offsets))
    await asyncio.sleep(1)
    assert await log.topics() == []

    await log.append("orders", "a")
    await asyncio.sleep(1)

    assert offsets == [0]
    task.cancel()


async def test_follow_passes_over_what_was_dropped(make_store: Callable[[], Store], clock: LoopClock) -> None:
    """It holds nothing back: what is gone when it gets there is gone."""
    topics = {"orders": Retention(max_events=2, on_full="drop_oldest")}
    async with EventLog(make_store(), topics=topics, clock=clock) as log, aclosing(log.follow("orders", 0)) as events:
        await log.append_many("orders", ["a", "b"])
        offsets = [(await anext(events)).offset for _ in range(2)]

        for number in range(5):
            await log.append("orders", f"{number}")
        offsets += [(await anext(events)).offset for _ in range(2)]

        assert offsets == [0, 1, 5, 6]


async def test_follow_ends_when_the_log_stops(log: EventLog) -> None:
    """Once, and without an error."""
    offsets: list[int] = []
    task = asyncio.create_task(following(log, offsets))
    await asyncio.sleep(1)
    await log.append("orders", "a")
    await asyncio.sleep(1)

    await log.stop()
    await task

    assert offsets == [0]


async def test_a_log_that_does_not_run_is_not_read(log: EventLog) -> None:
    """Neither to the end, nor as events come."""
    await log.stop()

    for events in (log.read("orders"), log.follow("orders")):
        with pytest.raises(ClosedError):
            _ = [stored async for stored in events]
