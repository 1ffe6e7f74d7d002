"""The log as a whole: its life, its topics, and the consumers that people and tools look at and move."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable
from typing import Any

import pytest

from eventpipe.core.deadline import Deadline
from eventpipe.core.service import ServiceState
from eventpipe.errors import ClosedError, CursorError, StoreError, StoreFullError, UnknownConsumerError
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import addressee
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ConsumerInfo, ConsumerKey, Start, TopicInfo
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import STAMP, make_event
from tests.log.consuming import claim, consume, events_of, settle

pytestmark = pytest.mark.asyncio


def about(seconds: float) -> Any:
    """A store on disk takes a moment for each call."""
    return pytest.approx(seconds, abs=1)


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(STAMP + seconds, datetime.UTC)


async def five_seconds_apart(log: EventLog) -> None:
    """Offsets 0 to 3, appended at 0, 5, 10 and 15 seconds."""
    for name in "abcd":
        await log.append("orders", name)
        await asyncio.sleep(5)


# -- its life ---------------------------------------------------------------------------------------------------------


async def test_topics_are_declared_at_the_start(make_store: Callable[[], Store]) -> None:
    """With what each keeps, before anything is appended."""
    retention = Retention(max_events=5, on_full="drop_oldest")
    async with EventLog(make_store(), topics={"orders": retention}) as log:
        assert [(topic.name, topic.retention) for topic in await log.topics()] == [("orders", retention)]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"topics": {"": Retention()}}, ValueError, r"^the name of a topic must not be empty$"),
        ({"topics": {"a b": Retention()}}, ValueError, r"^the name of a topic must have no white space"),
        ({"topics": {5: Retention()}}, TypeError, r"^the name of a topic must be text, not 5$"),
        ({"topics": {"a": 1000}}, TypeError, r"^topic 'a' is declared with a Retention, .* not 1000$"),
        ({"trim_interval": 0}, ValueError, r"^trim_interval must be a finite number of seconds above 0, not 0$"),
        ({"trim_interval": float("nan")}, ValueError, r"^trim_interval must be .* not nan$"),
        ({"trim_interval": float("inf")}, ValueError, r"^trim_interval must be .* not inf$"),
        ({"trim_interval": None}, ValueError, r"^trim_interval must be .* not NoneType$"),
        ({"trim_interval": True}, ValueError, r"^trim_interval must be .* not True$"),
    ],
)
async def test_an_option_without_meaning_is_refused(options: Any, error: type[Exception], text: str) -> None:
    """By the constructor, by name and value."""
    with pytest.raises(error, match=text):
        EventLog(MemoryStore(), **options)


async def test_a_log_can_start_again(make_store: Callable[[], Store], clock: LoopClock) -> None:
    """With what it had, and everything works as before."""
    log = EventLog(make_store(), clock=clock)
    for life in range(3):
        async with log:
            await log.add_consumer("orders", "billing")
            assert await log.append("orders", "a") == life
            assert await consume(log, "orders", "billing") == [life]
        assert log.state is ServiceState.STOPPED


async def test_a_store_that_cannot_be_opened_fails_the_start(clock: LoopClock) -> None:
    """With its own error; everything is closed again, and a later start works."""
    closed = []

    class Broken(MemoryStore):
        error: StoreError | None = StoreError("no such folder")

        async def open(self) -> None:
            if self.error is not None:
                raise self.error
            await super().open()

        async def aclose(self) -> None:
            closed.append(1)
            await super().aclose()

    store = Broken(clock=clock)
    log = EventLog(store, clock=clock)
    with pytest.raises(StoreError, match=r"^no such folder$"):
        await log.start()
    assert (log.state, closed) == (ServiceState.FAILED, [1])

    store.error = None
    async with log:
        assert await log.append("orders", "a") == 0


async def test_the_store_is_closed_though_a_holder_fails(make_store: Callable[[], Store]) -> None:
    """And before it is, whoever holds a consumer gives back what it has, a little before the deadline."""
    told: list[str] = []

    class Holder:
        key = ConsumerKey("orders", "billing")

        def moved(self) -> None:
            told.append("moved")

        def paused(self) -> None:
            told.append("paused")

        def limit(self, deadline: Deadline) -> None:
            told.append(f"limited: {deadline.remaining():.2f} s")

        async def aclose(self) -> None:
            told.append(f"closed: {len(await log.store.topics())} topics")
            raise RuntimeError("a holder's own")

    class Slow(Holder):
        async def aclose(self) -> None:
            await asyncio.sleep(1)
            told.append(f"closed late: {len(await log.store.topics())} topics")
            log.holders.add(latecomer)

    log = EventLog(make_store())
    holders, latecomer = [Holder(), Slow()], Holder()
    await log.start()
    await log.append("orders", "a")
    for holder in holders:
        log.holders.add(holder)

    await log.stop(timeout=2)

    assert told[:4] == ["limited: 1.80 s", "limited: 1.80 s", "closed: 1 topics", "closed late: 1 topics"]
    assert told[4:] == ["limited: 0.00 s", "closed: 1 topics"]  # who came while the others ended
    with pytest.raises(ClosedError):
        await log.store.topics()


@pytest.mark.parametrize(
    "call",
    [
        lambda log: log.topics(),
        lambda log: log.topic("orders"),
        lambda log: log.declare("orders", Retention()),
        lambda log: log.trim(),
        lambda log: log.verify(),
        lambda log: log.add_consumer("orders", "new"),
        lambda log: log.remove_consumer("orders", "billing"),
        lambda log: log.consumers(),
        lambda log: log.consumer("orders", "billing"),
        lambda log: log.pause("orders", "billing"),
        lambda log: log.resume("orders", "billing"),
        lambda log: log.seek("orders", "billing", "earliest"),
        lambda log: log.replay("orders", "billing", "earliest"),
    ],
    ids="topics topic declare trim verify add remove consumers consumer pause resume seek replay".split(),  # noqa: SIM905
)
async def test_nothing_can_be_asked_of_a_log_that_does_not_run(log: EventLog, call: Callable[[EventLog], Any]) -> None:
    """The error says what to do."""
    await log.add_consumer("orders", "billing")
    await log.stop()

    with pytest.raises(ClosedError, match=r"^log eventpipe-log is stopped; await log\.start\(\) opens it again$"):
        await call(log)


# -- topics -----------------------------------------------------------------------------------------------------------


async def test_topics_are_told_by_name(log: EventLog) -> None:
    """With what each holds."""
    await log.append_many("orders", ["a", "b"])
    await asyncio.sleep(5)
    await log.append("audit", "c")
    await log.append("orders", "d")

    audit, orders = await log.topics()

    assert (audit.name, audit.events, audit.first, audit.end) == ("audit", 1, 0, 1)
    assert (orders.name, orders.events, orders.first, orders.end) == ("orders", 3, 0, 3)
    assert (orders.oldest_at, orders.newest_at) == (about(STAMP), about(STAMP + 5))
    assert await log.topic("orders") == orders


async def test_a_topic_that_is_not_there_is_an_error_that_names_the_one_that_is_meant(log: EventLog) -> None:
    """Or none, where none is near."""
    await log.append("orders", "a")

    with pytest.raises(StoreError, match=r"did you mean 'orders'\?$"):
        await log.topic("oders")
    with pytest.raises(StoreError, match=r"^there is no topic 'x'; append\(\) and declare\(\) make one$"):
        await log.topic("x")
    with pytest.raises(StoreError, match=r"did you mean 'orders'\?$"):
        await log.verify("oders")


async def test_a_topic_is_declared_while_the_log_runs(log: EventLog) -> None:
    """It keeps so much from then on; what is no retention, or no name, is refused."""
    await log.declare("orders", Retention(max_events=1))
    await log.append("orders", "a")

    with pytest.raises(StoreFullError):
        await log.append("orders", "b")
    with pytest.raises(TypeError, match=r"^topic 'orders' is declared with a Retention"):
        await log.declare("orders", {"max_events": 5})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^the name of a topic"):
        await log.declare("a b", Retention())
    await log.declare("orders", Retention(max_events=2))
    await log.append("orders", "b")


async def test_a_log_without_damage_is_verified(log: EventLog) -> None:
    """Of one topic, or of all."""
    await log.append("orders", "a")

    assert await log.verify() == await log.verify("orders") == []


# -- consumers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param("earliest", [0, 1, 2, 3, 4], id="earliest"),
        pytest.param("latest", [4], id="latest"),
        pytest.param(2, [2, 3, 4], id="offset"),
        pytest.param(4, [4], id="the end"),
        pytest.param(moment(6), [2, 3, 4], id="time"),
        pytest.param(moment(6).replace(tzinfo=None), [2, 3, 4], id="naive is UTC"),
        pytest.param(moment(600), [4], id="time to come"),
    ],
)
async def test_a_consumer_begins_where_it_was_registered(log: EventLog, start: Any, expected: list[int]) -> None:
    """Before anything runs; ``latest`` and times are resolved then, and what comes after is for it."""
    await five_seconds_apart(log)

    info = await log.add_consumer("orders", "billing", start)
    await log.append("orders", "after")

    assert (info.cursor, info.position) == (None, expected[0])
    assert await consume(log, "orders", "billing") == expected


async def test_a_consumer_of_a_topic_to_come_begins_at_its_first_event(log: EventLog) -> None:
    """Wherever it was said to begin: the topic is made."""
    for name, start in (("a", "earliest"), ("b", "latest"), ("c", moment(-5)), ("d", 0)):
        await log.add_consumer("orders", name, start)  # type: ignore[arg-type]
    await log.append("orders", "first")

    for name in "abcd":
        assert await consume(log, "orders", name) == [0]


async def test_registering_again_moves_nothing(log: EventLog) -> None:
    """Whatever start is said."""
    await log.append_many("orders", ["a", "b", "c"])
    await log.add_consumer("orders", "billing")
    await consume(log, "orders", "billing", 1)

    for start in ("latest", "earliest", 3, moment(0)):
        info = await log.add_consumer("orders", "billing", start)
        assert (info.cursor, info.pending) == (1, 2)


async def test_one_name_on_two_topics_is_two_consumers(log: EventLog) -> None:
    """What one settles, the other has still to come."""
    for topic in ("orders", "audit"):
        await log.add_consumer(topic, "billing")
        await log.append_many(topic, ["a", "b"])

    await consume(log, "orders", "billing")

    assert [(info.topic, info.pending) for info in await log.consumers()] == [("audit", 2), ("orders", 0)]
    assert [info.topic for info in await log.consumers("audit")] == ["audit"]


async def test_no_cursor_is_not_a_cursor_at_the_start(log: EventLog) -> None:
    """One that settled nothing has none."""
    await log.append_many("orders", ["a", "b"])
    await log.add_consumer("orders", "billing")
    assert (await log.consumer("orders", "billing")).cursor is None

    (first,) = await claim(log, "orders", "billing", 1)
    assert (await log.consumer("orders", "billing")).cursor is None
    await settle(log, "orders", "billing", [first])

    assert (await log.consumer("orders", "billing")).cursor == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda log, name: log.consumer("orders", name),
        lambda log, name: log.remove_consumer("orders", name),
        lambda log, name: log.pause("orders", name),
        lambda log, name: log.resume("orders", name),
        lambda log, name: log.seek("orders", name, 0),
        lambda log, name: log.replay("orders", name, 0),
    ],
    ids="consumer remove pause resume seek replay".split(),  # noqa: SIM905
)
async def test_an_unknown_consumer_is_an_error_that_names_the_one_that_is_meant(
    log: EventLog, call: Callable[[EventLog, str], Any]
) -> None:
    """And is a ``LookupError``, with topic and name."""
    await log.append("orders", "a")
    await log.add_consumer("orders", "billing")

    with pytest.raises(UnknownConsumerError, match=r"^topic 'orders' has no consumer 'biling'; .*'billing'\?$") as near:
        await call(log, "biling")
    with pytest.raises(UnknownConsumerError, match=r"registers one$"):
        await call(log, "x")

    assert (near.value.topic, near.value.consumer) == ("orders", "biling")
    assert isinstance(near.value, LookupError)


@pytest.mark.parametrize("name", ["", "a b", "\n", "x" * 201])
async def test_a_name_that_no_consumer_can_have_is_refused(log: EventLog, name: str) -> None:
    """And the topic is not made."""
    with pytest.raises(ValueError, match=r"^the name of a consumer must"):
        await log.add_consumer("orders", name)

    assert await log.topics() == []


async def test_a_consumer_begins_at_no_offset_outside_its_topic(log: EventLog) -> None:
    """The error says what there is, and nothing is registered."""
    await log.append_many("orders", ["a", "b"])

    for offset in (-1, 3):
        with pytest.raises(CursorError) as caught:
            await log.add_consumer("orders", "billing", offset)
        assert (caught.value.first, caught.value.last) == (0, 2)
    with pytest.raises(ValueError, match=r"^start must be 'earliest', 'latest', an offset or a datetime, not 'now'$"):
        await log.add_consumer("orders", "billing", "now")  # type: ignore[arg-type]

    assert await log.consumers() == []


async def test_a_paused_consumer_is_handed_nothing_until_it_is_resumed(log: EventLog) -> None:
    """What it has in hand can be settled; it misses nothing."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a", "b"])
    held = await claim(log, "orders", "billing", 1)

    await log.pause("orders", "billing")
    assert (await log.consumer("orders", "billing")).is_paused
    assert await claim(log, "orders", "billing") == []
    await settle(log, "orders", "billing", held)
    await log.append("orders", "c")
    await log.resume("orders", "billing")

    assert await consume(log, "orders", "billing") == [1, 2]


async def test_a_removed_consumer_settles_nothing_more(log: EventLog) -> None:
    """And one of the same name begins anew."""
    await log.add_consumer("orders", "billing")
    await log.append("orders", "a")
    held = await claim(log, "orders", "billing")

    await log.remove_consumer("orders", "billing")

    with pytest.raises(StoreError):
        await settle(log, "orders", "billing", held)
    assert await log.consumers() == []
    await log.add_consumer("orders", "billing")
    assert await consume(log, "orders", "billing") == [0]


async def test_a_receiver_is_made_with_its_options(log: EventLog) -> None:
    """It registers its consumer when it is opened, and not before."""
    await log.append_many("orders", ["a", "b", "c"])
    receiver = log.receiver("orders", "billing", start=1)
    assert await log.consumers() == []

    async with receiver:
        delivery = await receiver.receive(timeout=1)
        await delivery.ack()

    assert delivery.offset == 1
    assert (await log.consumer("orders", "billing")).cursor == 2


async def test_a_receiver_reads_on_where_its_consumer_is_moved_to(log: EventLog) -> None:
    """Also what it has in line already is not handed out."""
    await log.append_many("orders", ["a", "b", "c"])
    async with log.receiver("orders", "billing") as receiver:
        for _ in range(2):
            await (await receiver.receive(timeout=1)).ack()

        await log.seek("orders", "billing", "earliest")

        assert [(await receiver.receive(timeout=1)).offset for _ in range(3)] == [0, 1, 2]


# -- moved ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        pytest.param("earliest", [0, 1, 2, 3], id="earliest"),
        pytest.param("latest", [], id="latest"),
        pytest.param(1, [1, 2, 3], id="back"),
        pytest.param(3, [3], id="forward"),
        pytest.param(4, [], id="the end"),
        pytest.param(moment(5), [1, 2, 3], id="time"),
        pytest.param(moment(5).replace(tzinfo=None), [1, 2, 3], id="naive is UTC"),
    ],
)
async def test_a_consumer_is_moved(log: EventLog, to: Any, expected: list[int]) -> None:
    """What it is handed next is there or after it, at its first attempt; what it had in hand counts no more."""
    await log.add_consumer("orders", "billing")
    await five_seconds_apart(log)
    await consume(log, "orders", "billing", 1)
    held = await claim(log, "orders", "billing", 1)

    await log.seek("orders", "billing", to)

    again = await claim(log, "orders", "billing")
    assert [(one.offset, one.attempt) for one in again] == [(offset, 1) for offset in expected]
    with pytest.raises(StoreError):
        await settle(log, "orders", "billing", held)


async def test_a_seek_outside_the_topic_is_an_error_that_says_what_there_is(log: EventLog) -> None:
    """And moves nothing."""
    await log.append_many("orders", ["a", "b", "c"])
    await log.add_consumer("orders", "billing")
    await consume(log, "orders", "billing", 1)

    for offset in (-1, 4, 10**30):
        said = f"offset {offset} is not in topic 'orders', which keeps 0 to 2, and 3 is where the next event goes"
        with pytest.raises(CursorError, match=f"^{said}; give one of these, 'earliest' or 'latest'$"):
            await log.seek("orders", "billing", offset)
    for wrong, error in (("start", ValueError), (1.0, TypeError), (None, TypeError), (False, TypeError)):
        with pytest.raises(error, match=r"^to must be 'earliest', 'latest', an offset or a datetime, not"):
            await log.seek("orders", "billing", wrong)  # type: ignore[arg-type]

    assert (await log.consumer("orders", "billing")).position == 1


async def test_who_holds_a_consumer_is_told_that_it_moved(log: EventLog) -> None:
    """Also that it was removed; nobody else is."""
    told: list[str] = []

    class Holder:
        def __init__(self, name: str) -> None:
            self.key = ConsumerKey("orders", name)

        def moved(self) -> None:
            told.append(self.key.name)

        def paused(self) -> None:
            """Nothing in hand."""

        def limit(self, deadline: Deadline) -> None:
            """Nothing to cut off."""

        async def aclose(self) -> None:
            """Nothing to give back."""

    holders = [Holder("billing"), Holder("audit")]
    for holder in holders:
        log.holders.add(holder)
        await log.add_consumer(*holder.key)

    await log.seek("orders", "billing", "earliest")
    await log.remove_consumer("orders", "billing")

    assert told == ["billing", "billing"]


async def test_a_place_that_is_trimmed_while_it_is_looked_up_is_the_nearest_that_is_kept(clock: LoopClock) -> None:
    """Words and times are no offsets: they cannot be outside of what is kept."""

    class Drops(MemoryStore):
        """Drops the first event after each look at a topic."""

        drops = False

        async def topics(self, name: str | None = None) -> list[TopicInfo]:
            found = await super().topics(name)
            await self._drop()
            return found

        async def offset_at(self, topic: str, stamp: float) -> int:
            found = await super().offset_at(topic, stamp)
            await self._drop()
            return found

        async def _drop(self) -> None:
            if self.drops:
                await self.append("orders", [make_event()])

    store = Drops(clock=clock)
    topics = {"orders": Retention(max_events=3, on_full="drop_oldest")}
    async with EventLog(store, topics=topics, clock=clock) as log:
        await log.append_many("orders", ["a", "b", "c"])
        await log.add_consumer("orders", "billing")
        moves: list[tuple[str, Callable[[], Any]]] = [
            ("billing", lambda: log.seek("orders", "billing", "earliest")),
            ("billing", lambda: log.seek("orders", "billing", moment(-5))),
            ("new", lambda: log.add_consumer("orders", "new", moment(-5))),
        ]
        for name, move in moves:
            store.drops = True
            await move()
            store.drops = False

            assert (await log.consumer("orders", name)).position == (await log.topic("orders")).first


async def test_a_store_that_contradicts_itself_is_not_asked_for_ever(clock: LoopClock) -> None:
    """An offset that is refused although it is said to be there is an error."""

    class Contradicts(MemoryStore):
        async def seek(self, key: ConsumerKey, offset: int) -> None:
            raise CursorError(key.topic, offset, first=0, last=10)

        async def add_consumer(self, key: ConsumerKey, start: Start) -> ConsumerInfo:
            if isinstance(start, int):
                raise CursorError(key.topic, start, first=0, last=10)
            return await super().add_consumer(key, start)

    async with EventLog(Contradicts(clock=clock), clock=clock) as log:
        await log.add_consumer("orders", "billing")

        with pytest.raises(CursorError):
            await log.seek("orders", "billing", "earliest")
        with pytest.raises(CursorError):
            await log.add_consumer("orders", "new", moment(0))


# -- replayed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("earliest",), "abcd", id="all"),
        pytest.param((1, 3), "bc", id="range"),
        pytest.param((moment(5), moment(15)), "bc", id="between times"),
        pytest.param((2, 2), "", id="nothing between"),
        pytest.param(("latest",), "", id="nothing to come"),
    ],
)
async def test_one_consumer_sees_a_range_again(log: EventLog, arguments: Any, expected: str) -> None:
    """After what it has still to do, with the same ids; it is not moved, and the others are not to handle it."""
    await log.add_consumer("orders", "billing")
    await five_seconds_apart(log)
    ids = {event.name: event.uuid for event in await events_of(log, "orders")}
    await consume(log, "orders", "billing", 3)

    replayed = await log.replay("orders", "billing", *arguments)

    assert replayed == len(expected)
    again = [one.event for one in await claim(log, "orders", "billing") if one.event is not None]
    assert [(event.name, event.uuid) for event in again] == [(name, ids[name]) for name in "d" + expected]
    assert [addressee(event) for event in again] == [None, *["billing"] * len(expected)]


async def test_a_replay_replays_no_replay(log: EventLog) -> None:
    """Else the second would be of twice as many events."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a", "b"])

    assert [await log.replay("orders", "billing", "earliest") for _ in range(3)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("start", "end"), [(3, 1), (moment(15), moment(5)), ("latest", 1)], ids=["offsets", "times", "words"]
)
async def test_a_range_that_ends_before_it_starts_is_refused(log: EventLog, start: Any, end: Any) -> None:
    """The error has both ends, and nothing is replayed."""
    await log.add_consumer("orders", "billing")
    await five_seconds_apart(log)

    with pytest.raises(ValueError, match=r"^start must not come after end: .* is offset \d, .* is offset \d$"):
        await log.replay("orders", "billing", start, end)

    assert (await log.topic("orders")).end == 4


async def test_a_topic_that_there_is_not_is_named(log: EventLog) -> None:
    """By whatever asks for one that has to be there; an empty answer would look as if all were well."""
    await log.append("orders", "a")

    asked = [
        log.consumers("order"),
        log.dead_letters("order"),
        log.replay_dead_letters("order"),
        log.delete_dead_letters("order"),
        log.reshard("order", "billing", 2),
        anext(log.follow("order", 5)),
    ]

    for call in asked:
        with pytest.raises(StoreError, match=r"^there is no topic 'order'; .*; did you mean 'orders'"):
            await call
    assert [info.name for info in await log.topics()] == ["orders"]
    assert (await log.consumers("orders"), await log.dead_letters("orders")) == ([], [])


async def test_a_large_range_is_replayed_once_while_others_append(log: EventLog) -> None:
    """Page by page, up to the end that was said."""
    await log.add_consumer("orders", "billing")
    await log.append_many("orders", ["a"] * 1300)

    replaying = asyncio.create_task(log.replay("orders", "billing", "earliest", 1300))
    for _ in range(5):
        await asyncio.sleep(0)
        await log.append("orders", "b")

    assert await replaying == 1300
    assert len(await claim(log, "orders", "billing")) == 2605


async def test_a_range_is_replayed_into_a_topic_that_is_small(make_store: Callable[[], Store]) -> None:
    """Some at a time, as there is room for them."""
    async with EventLog(make_store(), topics={"orders": Retention(max_events=4, on_full="wait")}) as log:
        await log.add_consumer("orders", "billing")
        await log.append_many("orders", ["a", "b", "c"])
        await consume(log, "orders", "billing", 1)

        replaying = asyncio.create_task(log.replay("orders", "billing", "earliest"))
        handled = 0
        while not replaying.done():
            await asyncio.sleep(1)
            handled += len(await consume(log, "orders", "billing"))

        assert await replaying == 3
        assert handled + len(await consume(log, "orders", "billing")) == 5


async def test_a_replay_outside_the_topic_appends_nothing(log: EventLog) -> None:
    """And says what there is."""
    await log.append_many("orders", ["a", "b"])
    await log.add_consumer("orders", "billing")

    for arguments in ((5,), (0, 5), (-1, 2)):
        with pytest.raises(CursorError):
            await log.replay("orders", "billing", *arguments)

    assert (await log.topic("orders")).events == 2


# -- all together -----------------------------------------------------------------------------------------------------


async def test_a_consumer_that_is_down_since_the_start_loses_nothing(log: EventLog, caplog: Any) -> None:
    """While another is busy, a third comes later, and everything that is settled is trimmed."""
    await log.add_consumer("orders", "down")
    await log.add_consumer("orders", "busy")
    handled: dict[str, list[int]] = {"down": [], "busy": [], "late": []}
    for number in range(100):
        await log.append_many("orders", [f"{number}-{n}" for n in range(10)])
        handled["busy"] += await consume(log, "orders", "busy")
        if number == 50:
            await log.add_consumer("orders", "late", "earliest")
        if number > 50:
            handled["late"] += await consume(log, "orders", "late", 25)
        await asyncio.sleep(30)

    while (await log.consumer("orders", "down")).pending:
        handled["down"] += await consume(log, "orders", "down", 33)
        await asyncio.sleep(30)
    handled["late"] += await consume(log, "orders", "late")
    await asyncio.sleep(600)

    assert handled == {name: list(range(1000)) for name in handled}
    assert (await log.topic("orders")).events == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
