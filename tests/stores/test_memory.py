"""``MemoryStore``: its bounds, what it holds in memory, and what it costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.clock import Clock
from eventpipe.errors import ClosedError, LeaseHeldError, StoreFullError
from eventpipe.retention import Retention
from eventpipe.stores import MemoryStore, memory_log
from eventpipe.stores.memory_consumer import MemoryConsumer
from eventpipe.stores.memory_log import SEGMENT, MemoryLog
from eventpipe.stores.values import DEAD_SUFFIX, ConsumerKey, Disposal, Disposition
from eventpipe.testing import LoopClock, make_event
from eventpipe.testing.store_rig import MUCH, some_events

TOPIC = "orders"
KEY = ConsumerKey(TOPIC, "billing")


@pytest_asyncio.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore(max_events=None, max_bytes=None, clock=LoopClock())
    await store.open()
    yield store
    await store.aclose()


def log_of(store: MemoryStore) -> MemoryLog:
    return store._topics[TOPIC].log


def consumer_of(store: MemoryStore) -> MemoryConsumer:
    return store._topics[TOPIC].consumers[KEY.name]


def done(call: Awaitable[Any]) -> Any:  # Any: whatever the call returns
    """The result of a coroutine that does not suspend."""
    with pytest.raises(StopIteration) as end:
        call.__await__().send(None)
    return end.value.value


# -- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_events": 0}, "max_events must be at least 1, not 0"),
        ({"max_bytes": 10}, "max_bytes must be at least 1024, not 10"),
        ({"on_full": "explode"}, "on_full must be one of 'reject', 'drop_oldest' or 'wait', not 'explode'"),
        ({"max_events": None, "max_bytes": None, "on_full": "drop_oldest"}, "on_full needs max_events or max_bytes"),
        ({"dedupe_window": -1}, "dedupe_window must be a finite number of seconds, at least 0, not -1"),
        ({"dedupe_window": float("nan")}, "at least 0, not nan"),
        ({"dedupe_window": True}, "at least 0, not True"),
        ({"dedupe_window": "long"}, "at least 0, not 'long'"),
    ],
    ids=str,
)
def test_option_without_meaning_is_refused(options: dict[str, Any], fault: str) -> None:
    """The error names the option, the value and the rule."""
    with pytest.raises(ValueError, match=fault):
        MemoryStore(**options)


@pytest.mark.asyncio
async def test_topic_is_bounded_unless_it_is_told_otherwise() -> None:
    """Made by an append or declared without bounds it has those of the store; bounds of its own replace them."""
    store = MemoryStore(max_events=3, on_full="drop_oldest")
    await store.open()
    await store.append("used", some_events(2))
    await store.declare("aged", Retention(max_age=60.0))
    await store.declare("own", Retention(max_events=1_000))

    aged, own, used = (info.retention for info in await store.topics())

    assert (used.max_events, used.max_bytes, used.on_full, used.max_age) == (3, 64 * 2**20, "drop_oldest", None)
    assert (aged.max_events, aged.max_bytes, aged.on_full, aged.max_age) == (3, 64 * 2**20, "drop_oldest", 60.0)
    assert (own.max_events, own.max_bytes, own.on_full) == (1_000, None, "reject")
    assert MemoryStore()._retention.max_events == 100_000
    await store.aclose()


@pytest.mark.asyncio
async def test_full_topic_says_what_can_be_done(store: MemoryStore) -> None:
    """With the figures, and the ways out."""
    await store.declare(TOPIC, Retention(max_events=2, max_bytes=4_096))
    events = [make_event("e", uuid=f"{n:036}") for n in range(3)]
    await store.append(TOPIC, events[:2])
    held = sum(len(event.data) for event in events[:2])

    with pytest.raises(StoreFullError) as caught:
        await store.append(TOPIC, events[2:])

    assert caught.value.topic == TOPIC
    assert str(caught.value) == (
        f"topic 'orders' is full: it keeps 2 events of {held} bytes, at most 2 events and 4096 bytes; let its consumers"
        " go on or remove those that are gone, raise the bounds of its retention, or set on_full='drop_oldest'"
    )


# -- what it keeps ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_events_are_kept_by_reference_and_let_go(store: MemoryStore) -> None:
    """What is read is the object that was appended; trimmed and dropped events are referred to by nobody."""
    await store.declare(TOPIC, Retention(max_events=3, max_age=60.0, on_full="drop_oldest"))
    events = some_events(4)
    references = [sys.getrefcount(event) for event in events]
    await store.append(TOPIC, events[:3])
    read = await store.read(TOPIC, 0, max_events=3, max_bytes=MUCH)
    assert [event.event is own for event, own in zip(read, events, strict=False)] == [True] * 3
    del read

    await store.append(TOPIC, events[3:])
    assert sys.getrefcount(events[0]) == references[0]
    await asyncio.sleep(61)
    assert await store.trim(TOPIC) == 3

    assert [sys.getrefcount(event) for event in events] == references


@pytest.mark.asyncio
async def test_everything_is_found_over_many_segments(store: MemoryStore) -> None:
    """Appended in lists of any length; read from any offset, and cut at any."""
    appended: list[str] = []
    for count in (1, SEGMENT - 2, 1, 1, 3 * SEGMENT + 5, 7, SEGMENT):
        events = some_events(count)
        assert await store.append(TOPIC, events) == list(range(len(appended), len(appended) + count))
        appended += [event.uuid for event in events]
    log = log_of(store)

    for cut in (0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 5 * SEGMENT + 3, len(appended)):
        log.cut(cut, now=1e12)
        assert (log.first, log.end, len(log)) == (cut, len(appended), len(appended) - cut)
        for start in (0, cut, 2 * SEGMENT - 1, 4 * SEGMENT, len(appended) - 1, len(appended)):
            found = await store.read(TOPIC, start, max_events=SEGMENT + 10, max_bytes=MUCH)
            assert [event.offset for event in found] == list(range(max(start, cut), len(appended)))[: SEGMENT + 10]
            assert [event.event.uuid for event in found if event.event] == [appended[one.offset] for one in found]
    assert (log.bytes, log._ids) == (0, {})
    assert await store.append(TOPIC, some_events(2)) == [len(appended), len(appended) + 1]
    assert len(log._segments) <= 2


@pytest.mark.asyncio
async def test_moment_is_found_over_many_segments_and_a_clock_that_was_set_back() -> None:
    """The first event of the moment or later by offset, whatever stands before it."""

    class Hand(Clock):
        now = 1_000.0

        def time(self) -> float:
            return self.now

    clock = Hand()
    store = MemoryStore(clock=clock)
    await store.open()
    for clock.now in (1_000.0, 1_500.0, 1_200.0, 1_600.0):
        await store.append(TOPIC, some_events(SEGMENT - 1))

    found = [await store.offset_at(TOPIC, stamp) for stamp in (0, 1_000.5, 1_200, 1_500, 1_501, 1_601)]

    step = SEGMENT - 1
    assert found == [0, step, step, step, 3 * step, 4 * step]
    assert await store.offset_at("unknown", 0) == 0
    await store.aclose()


@pytest.mark.asyncio
async def test_ids_of_dropped_events_are_bounded(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that drops faster than the window goes by knows the last of them."""
    monkeypatch.setattr(memory_log, "MAX_PAST_IDS", 5)
    await store.declare(TOPIC, Retention(max_events=2, on_full="drop_oldest"))
    events = some_events(20)
    for event in events:
        await store.append(TOPIC, [event])

    assert len(log_of(store)._ids) == 7
    assert await store.append(TOPIC, events[13:]) == list(range(13, 20))
    assert await store.append(TOPIC, events[12:13]) == [20]


@pytest.mark.asyncio
async def test_ids_are_forgotten_when_their_time_is_over(store: MemoryStore) -> None:
    """At the next append, whatever it is of."""
    await store.declare(TOPIC, Retention(max_events=2, on_full="drop_oldest"))
    for _ in range(10):
        await store.append(TOPIC, some_events(1))
    assert len(log_of(store)._ids) == 10

    await asyncio.sleep(121)
    await store.append(TOPIC, some_events(2))

    assert len(log_of(store)._ids) == 2


@pytest.mark.asyncio
async def test_long_life_of_competing_claims_leaves_nothing_behind(store: MemoryStore) -> None:
    """Claims that were settled long before their time is over are not kept until then."""
    await store.add_consumer(KEY, "earliest")
    for _ in range(200):
        await store.append(TOPIC, some_events(10))
        claims = await store.claim(KEY, None, max_events=10, max_bytes=MUCH, ttl=3_600)
        await store.settle(KEY, None, [Disposition(event, Disposal.ACK) for event in claims.events])

    consumer = consumer_of(store)
    assert (consumer._rows, consumer._settled) == ({}, set())
    assert len(consumer._later) < 100


@pytest.mark.asyncio
async def test_consumption_in_order_makes_no_row_for_an_event(store: MemoryStore) -> None:
    """Neither claimed nor settled, whatever the size of the batch."""
    await store.append(TOPIC, some_events(1_000))
    await store.add_consumer(KEY, "earliest")
    token = await store.acquire(KEY.lease, "test", None)

    claims = await store.claim(KEY, token, max_events=500, max_bytes=MUCH)
    assert consumer_of(store)._rows == {}
    await store.settle(KEY, token, [Disposition(event, Disposal.ACK) for event in claims.events])

    assert (consumer_of(store)._rows, consumer_of(store)._settled) == ({}, set())


@pytest.mark.asyncio
async def test_letters_of_a_topic_with_the_longest_name_are_kept(store: MemoryStore) -> None:
    """Their topic has a longer one."""
    key = ConsumerKey("x" * 200, "c")
    (event,) = some_events(1)
    await store.append(key.topic, [event])
    await store.add_consumer(key, "earliest")
    claims = await store.claim(key, None, max_events=1, max_bytes=MUCH, ttl=60)

    await store.settle(key, None, [Disposition(claims.events[0], Disposal.DEAD, letter=event)])

    assert [info.events for info in await store.topics() if info.name == key.topic + DEAD_SUFFIX] == [1]


# -- how it lives -----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_nothing_that_is_called_for_events_suspends(store: MemoryStore) -> None:
    """So that a cancellation finds all of it done or nothing."""
    done(store.append(TOPIC, some_events(3_000)))
    done(store.add_consumer(KEY, "earliest"))
    token = done(store.acquire(KEY.lease, "test", None))
    claims = done(store.claim(KEY, token, max_events=2_000, max_bytes=MUCH))
    done(store.settle(KEY, token, [Disposition(event, Disposal.NACK) for event in claims.events]))
    done(store.seek(KEY, 5))
    done(store.read(TOPIC, 0, max_events=3_000, max_bytes=MUCH))
    done(store.remove_consumer(KEY))


@pytest.mark.asyncio
async def test_others_go_on_while_a_large_topic_is_trimmed(store: MemoryStore) -> None:
    """A step of the loop lets go of a bounded number of events; cancelled between two steps, the rest stays."""
    await store.declare(TOPIC, Retention(max_age=60.0))
    for _ in range(2):
        await store.append(TOPIC, some_events(20_000))
        await asyncio.sleep(61)
        trim = asyncio.create_task(store.trim(TOPIC))
        await asyncio.sleep(0)
        assert len(log_of(store)) == 20_000 - 8_192
        await store.append("other", some_events(1))
        trim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trim

        assert await store.trim(TOPIC) == 20_000 - 8_192

        assert len(log_of(store)) == 0


def test_what_is_kept_outlives_the_loop() -> None:
    """Closed in one event loop and opened in another it has everything but leases without an end."""
    store = MemoryStore()

    async def first() -> None:
        await store.open()
        await store.append(TOPIC, some_events(3))
        await store.add_consumer(KEY, "latest")
        assert await store.acquire("endless", "first", None) == 1
        assert await store.acquire("long", "first", 1_000_000) == 1
        await store.aclose()

    async def second() -> None:
        seen = store.version(TOPIC)
        with pytest.raises(ClosedError):
            await store.wait(TOPIC, seen)
        await store.open()
        waits = asyncio.create_task(store.wait(TOPIC, store.version(TOPIC)))
        await asyncio.sleep(0)
        assert await store.append(TOPIC, some_events(1)) == [3]
        await waits
        assert await store.acquire("endless", "second", None) == 2
        with pytest.raises(LeaseHeldError, match="the lease 'long' is held by first, for"):
            await store.acquire("long", "second", None)
        await store.aclose()

    asyncio.run(first())
    asyncio.run(second())


@pytest.mark.asyncio
async def test_store_is_opened_by_one(store: MemoryStore) -> None:
    """A second ``open()`` is a mistake, and one before the first use is needed; both say so."""
    with pytest.raises(RuntimeError, match="open already"):
        await store.open()
    with pytest.raises(ClosedError, match="an EventLog opens it"):
        await MemoryStore().append(TOPIC, some_events(1))


@pytest.mark.asyncio
@pytest.mark.parametrize("start", ["first", 1.5, None, True])
async def test_start_that_is_no_place_is_refused(store: MemoryStore, start: Any) -> None:  # Any: what it must not be
    """Neither a word that is not known nor a number that is no offset."""
    with pytest.raises(ValueError, match="start must be 'earliest', 'latest' or an offset, not"):
        await store.add_consumer(KEY, start)

    assert await store.consumers() == []
    assert repr(store) == "<MemoryStore 0 topics>"
