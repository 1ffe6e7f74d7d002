"""Appending: what an event may be, what comes back, and that nobody's work is in the way."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from eventpipe.client import AsyncClient
from eventpipe.errors import ClosedError, InvalidEventError, StoreError
from eventpipe.events import CapturedEvent, Event
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.models import EventModel
from eventpipe.sinks.log import LogSink
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import STAMP, make_event
from eventpipe.testing.loop import VirtualTimeLoop
from tests.log.consuming import consume, events_of

pytestmark = pytest.mark.asyncio


class Paid(EventModel):
    amount: int


async def test_an_event_is_appended_as_it_is_described(log: EventLog) -> None:
    """Every argument reaches whoever reads it."""
    moment = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
    given = uuid.uuid4()

    offset = await log.append(
        "orders",
        "paid",
        distinct_id=42,
        properties={"sum": 5},
        timestamp=moment,
        uuid=given,
        headers={"traceparent": "00"},
        key="eu",
    )

    (stored,) = [stored async for stored in log.read("orders")]
    event = stored.event
    assert event is not None
    assert stored.offset == offset
    assert stored.appended_at == pytest.approx(STAMP, abs=1)
    assert (event.name, event.distinct_id, event.properties) == ("paid", "42", {"sum": 5})
    assert (event.timestamp, event.uuid) == (moment, str(given))
    assert (event.headers, event.key) == ({"traceparent": "00"}, "eu")


@pytest.mark.parametrize(
    ("event", "properties", "expected"),
    [
        pytest.param("paid", {"amount": 5}, {"amount": 5}, id="name"),
        pytest.param(Event("paid", properties={"amount": 5}), None, {"amount": 5}, id="event"),
        pytest.param(Paid(amount=5), None, {"amount": 5}, id="model"),
        pytest.param(Paid, {"amount": "5"}, {"amount": 5}, id="class of a model"),
    ],
)
async def test_events_of_every_kind_are_taken(
    log: EventLog, event: Any, properties: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    """As a client takes them."""
    await log.append("orders", event, properties=properties)

    (stored,) = await events_of(log, "orders")
    assert (stored.name, stored.properties) == ("paid", expected)


async def test_a_captured_event_is_appended_as_it_is(log: EventLog) -> None:
    """Its bytes, its id, its headers, key and lane."""
    event = make_event("paid", headers={"a": "b"}, key="k", lane="historical", lifted={"$set": {"x": 1}})

    await log.append("orders", event)

    (stored,) = await events_of(log, "orders")
    assert (stored.data, stored.extra, stored.lane) == (event.data, event.extra, "historical")


async def test_lane_of_an_event_is_kept(log: EventLog) -> None:
    """A sink that has lanes sends it there when a consumer hands it on."""
    await log.append("orders", Event("paid", lane="historical"))

    assert (await events_of(log, "orders"))[0].lane == "historical"


@pytest.mark.parametrize("event", [Event("paid"), make_event("paid")], ids=["event", "captured"])
async def test_arguments_beside_an_event_are_refused(log: EventLog, event: Event | CapturedEvent) -> None:
    """Which of the two counts is anybody's guess."""
    with pytest.raises(TypeError, match="has these arguments already"):
        await log.append("orders", event, distinct_id="u1")

    assert await log.topics() == []


async def test_what_can_be_repaired_is_repaired(log: EventLog) -> None:
    """As by a client: a value costs a field at most, not the event."""
    await log.append("orders", "paid", properties={"sum": Decimal("1.5"), "what": object(), "text": "\ud800"})

    (stored,) = await events_of(log, "orders")
    assert stored.properties["text"] == "\ufffd"
    assert set(stored.properties) == {"sum", "what", "text"}


async def test_json_default_is_asked(make_store: Callable[[], Store]) -> None:
    """For what JSON cannot carry."""

    def default(value: Any) -> Any:
        if isinstance(value, complex):
            return [value.real, value.imag]
        raise TypeError

    async with EventLog(make_store(), json_default=default) as log:
        await log.append("orders", "paid", properties={"z": 1 + 2j})

        assert (await events_of(log, "orders"))[0].properties == {"z": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("event", "properties", "fault"),
    [
        pytest.param("", None, "event must be a text that is not empty", id="no name"),
        pytest.param(5, None, "event must be a text that is not empty, not a value of type int", id="number"),
        pytest.param("paid", [1], "properties must be a mapping", id="properties"),
        pytest.param(Paid, {"amount": "x"}, "Paid does not validate: amount", id="model"),
    ],
)
async def test_an_invalid_event_is_refused_and_nothing_is_appended(
    log: EventLog, event: Any, properties: Any, fault: str
) -> None:
    """The error names the fault."""
    with pytest.raises(InvalidEventError, match=f"^{fault}"):
        await log.append("orders", event, properties=properties)

    assert await log.topics() == []


async def test_one_invalid_event_of_many_is_named_and_none_is_appended(log: EventLog) -> None:
    """All of them or none."""
    events: list[Any] = ["first", Event("second"), Event("third", properties=[1]), "fourth"]  # type: ignore[arg-type]

    with pytest.raises(InvalidEventError, match=r"^events\[2\]: properties must be a mapping") as caught:
        await log.append_many("orders", events)

    assert caught.value.path == "properties"
    assert await log.topics() == []


async def test_an_event_that_says_for_whom_it_is_is_refused(log: EventLog) -> None:
    """The header of a replay is the log's own; the error names it, and nothing is appended."""
    headers = {"eventpipe-consumer": "billing"}

    with pytest.raises(InvalidEventError, match=r"^header 'eventpipe-consumer' is the log's own .*; leave it out"):
        await log.append("orders", "a", headers=headers)
    with pytest.raises(InvalidEventError, match=r"^events\[1\]: header 'eventpipe-consumer' is the log's own"):
        await log.append_many("orders", ["a", Event("b", headers=headers)])

    assert await log.topics() == []


async def test_a_captured_event_is_for_everybody(log: EventLog) -> None:
    """What it says of an addressee is left out: whoever captured it is not there to be told."""
    event = make_event("a", headers={"eventpipe-consumer": "billing", "trace": "t1"})

    await log.append("orders", event)
    await log.append_many("others", [event])

    for topic in ("orders", "others"):
        assert [stored.headers for stored in await events_of(log, topic)] == [{"trace": "t1"}]
    assert event.headers == {"eventpipe-consumer": "billing", "trace": "t1"}


async def test_many_get_an_offset_each_in_their_order(log: EventLog) -> None:
    """In one commit: nobody's event comes between."""
    first = await log.append("orders", "before")

    offsets = await log.append_many("orders", ["a", Event("b"), make_event("c"), Paid(amount=1)])

    stored = [stored async for stored in log.read("orders", offsets[0])]
    assert offsets == [one.offset for one in stored] == sorted(offsets)
    assert offsets[0] > first
    assert [one.event.name for one in stored if one.event] == ["a", "b", "c", "paid"]


async def test_many_may_be_none(log: EventLog) -> None:
    """Nothing happens, and no topic is made."""
    assert await log.append_many("orders", iter([])) == []
    assert await log.topics() == []


async def test_the_same_id_is_appended_once(log: EventLog) -> None:
    """A repeated append is answered with the offset that the event has."""
    event = make_event("paid")
    offset = await log.append("orders", event)

    again = await log.append("orders", event)
    many = await log.append_many("orders", [make_event("new"), event])

    assert again == many[1] == offset
    assert len(await events_of(log, "orders")) == 2


async def test_the_same_id_in_two_topics_is_two_events(log: EventLog) -> None:
    """Topics know nothing of each other."""
    event = make_event("paid")

    await log.append("orders", event)
    await log.append("audit", event)

    assert [topic.events for topic in await log.topics()] == [1, 1]


async def test_many_producers_append_at_once(log: EventLog) -> None:
    """Each event has an offset of its own, and each producer's are in its order."""
    offsets: dict[int, list[int]] = {}

    async def produce(number: int) -> None:
        offsets[number] = []
        for n in range(20):
            offsets[number].append(await log.append("orders", f"{number}-{n}"))
            offsets[number] += await log.append_many("orders", [f"{number}-{n}+", f"{number}-{n}++"])
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(produce(number))

    assert all(own == sorted(own) for own in offsets.values())
    assert len({offset for own in offsets.values() for offset in own}) == 50 * 60
    assert len(await events_of(log, "orders")) == 50 * 60


async def test_append_takes_its_usual_time_while_handlers_sleep_hang_or_hold_locks(log: EventLog) -> None:
    """No lock is shared: a hundred appends take no time while every consumer of the topic is stuck."""
    stuck, lock = asyncio.Semaphore(0), asyncio.Lock()

    async def sleep(delivery: object) -> None:
        async with lock:
            stuck.release()
            await asyncio.sleep(3600)

    async def hang(delivery: object) -> None:
        stuck.release()
        await asyncio.Event().wait()

    await log.append("orders", "first")
    async with (
        Consumer(log, "orders", "sleeps", sleep),
        Consumer(log, "orders", "hangs", hang),
        log.receiver("orders", "pulls") as receiver,
    ):
        held = await receiver.receive(timeout=1)
        for _ in range(2):
            await stuck.acquire()
        began = asyncio.get_running_loop().time()

        for number in range(100):
            await log.append("orders", f"{number}")

        assert asyncio.get_running_loop().time() == pytest.approx(began, abs=1)  # what a disk takes
        await held.ack()


async def test_capture_takes_no_turn_of_the_loop_while_handlers_of_the_log_hang(log: EventLog) -> None:
    """The client feeds the log, and the log's consumers are nobody's in front of it."""
    stuck, loop = asyncio.Event(), asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)

    async def hang(delivery: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    async with AsyncClient(LogSink(log, "orders")) as client, Consumer(log, "orders", "hangs", hang) as consumer:
        await client.capture("first")
        await stuck.wait()
        before = loop.steps

        for number in range(1_000):
            await client.capture(f"{number}")

        assert loop.steps == before
        assert await client.flush(timeout=10)
        assert ((await log.topic("orders")).events, consumer.statistics().delivered) == (1_001, 0)


async def test_append_makes_no_task_and_no_future(clock: LoopClock) -> None:
    """In memory a thousand appends are one turn of the loop."""
    async with EventLog(MemoryStore(clock=clock), clock=clock) as log:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        await log.append("orders", "first")
        before, tasks = loop.steps, asyncio.all_tasks()

        for number in range(1000):
            await log.append("orders", f"{number}")

        assert (loop.steps, asyncio.all_tasks()) == (before, tasks)


@pytest.mark.parametrize("topic", ["", " ", "a b", "a\n", "x" * 201])
async def test_a_name_that_no_topic_can_have_is_refused(log: EventLog, topic: str) -> None:
    """And nothing is made."""
    with pytest.raises(ValueError, match=r"^the name of a topic must"):
        await log.append(topic, "paid")
    with pytest.raises(ValueError, match=r"^the name of a topic must"):
        await log.append_many(topic, ["paid"])

    assert await log.topics() == []


async def test_a_name_that_is_no_text_is_refused(log: EventLog) -> None:
    """Whatever it is."""
    with pytest.raises(TypeError, match=r"^the name of a topic must be text, not 5"):
        await log.append(5, "paid")  # type: ignore[arg-type]


async def test_append_before_the_start_and_after_the_stop_is_an_error(store: Store) -> None:
    """It says what to do; nothing is appended, also to a topic that was used before."""
    log = EventLog(store)
    with pytest.raises(ClosedError, match="has not started; use `async with log:`"):
        await log.append("orders", "paid")
    async with log:
        await log.append("orders", "paid")

    with pytest.raises(ClosedError, match=r"is stopped; await log.start\(\) opens it again"):
        await log.append("orders", "paid")
    with pytest.raises(ClosedError, match="is stopped"):
        await log.append_many("orders", ["paid"])


async def test_append_fails_as_the_engine_does(clock: LoopClock) -> None:
    """An engine's error reaches the producer as it is, and nobody else: the log goes on."""

    class Failing(MemoryStore):
        fails = True

        async def append(self, topic: str, events: Any, *, is_replay: bool = False) -> list[int]:
            if self.fails:
                raise StoreError("the disk is gone")
            return await super().append(topic, events, is_replay=is_replay)

    store = Failing(clock=clock)
    async with EventLog(store, clock=clock) as log:
        with pytest.raises(StoreError, match=r"^the disk is gone$"):
            await log.append("orders", "paid")
        store.fails = False

        assert await log.append("orders", "paid") == 0


async def test_properties_may_be_changed_after_the_call(log: EventLog) -> None:
    """They are encoded before anything is waited for."""
    properties = {"items": [1]}
    appending = log.append("orders", "paid", properties=properties)
    task = asyncio.create_task(appending)
    await task
    properties["items"].append(2)

    assert (await events_of(log, "orders"))[0].properties == {"items": [1]}


async def test_an_append_that_is_cancelled_anywhere_is_whole_or_not_there(clock: LoopClock) -> None:
    """And the log works on."""

    class Slow(MemoryStore):
        async def append(self, topic: str, events: Any, *, is_replay: bool = False) -> list[int]:
            await asyncio.sleep(1)
            return await super().append(topic, events, is_replay=is_replay)

    for turns in range(4):
        async with EventLog(Slow(clock=clock), clock=clock) as log:
            await log.add_consumer("orders", "billing")
            task = asyncio.create_task(log.append_many("orders", ["a", "b", "c"]))
            await asyncio.sleep(turns * 0.5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            before = len(await events_of(log, "orders"))

            await log.append("orders", "d")

            assert before in (0, 3)
            assert len(await consume(log, "orders", "billing")) == before + 1
