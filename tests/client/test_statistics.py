"""What a client counts, against every outcome that it told of: by sink, name, reason, second, duration and level."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from contextlib import suppress

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    CapturedEvent,
    Clock,
    HighWater,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    Rate,
    RetryPolicy,
    Statistics,
    TransientSinkError,
    Verdict,
)
from eventpipe.events import Overflow
from eventpipe.measures import BOUNDS
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.statistics import OTHERS, EventCounts
from eventpipe.testing import GatedSink, VirtualTimeLoop, check_ledger
from tests.client.test_accounting import Far
from tests.scale import SCALE
from tests.transport.test_meter import Recount

WALL = 1_767_225_600.0
QUEUE_EVENTS = 40
NAMES = ["viewed", "clicked", "paid", "signed up", "ü"]

pytestmark = pytest.mark.asyncio


class Wall(Clock):
    """A wall clock that stands still; the loop clock goes on."""

    def time(self) -> float:
        return WALL


class Books:
    """Every outcome a client told of, by sink."""

    def __init__(self) -> None:
        self.client: AsyncClient
        self.by_sink = {"one": Recount(), "two": Recount()}
        self.findings: list[str] = []

    def tell(self, outcome: Outcome) -> None:
        self.by_sink[outcome.sink].count(outcome, asyncio.get_running_loop().time())

    def look(self) -> None:
        """Keep what disagrees with the parts: whoever asked may be a sink, whose errors are contained."""
        try:
            statistics = check_ledger(self.client)
            for name, sink in statistics.by_sink.items():
                assert sink.high_water.held <= QUEUE_EVENTS, name
                assert min(sink.rates.delivered.last_1, sink.rates.dropped.last_60, sink.rates.retried.last_10) >= 0
        except AssertionError as error:
            self.findings.append(str(error))


def comparable(statistics: Statistics) -> tuple[object, ...]:
    """What a recount knows as well, the sums of seconds apart: they are added up in another order."""
    latency = statistics.latency
    return (
        statistics.by_event,
        (statistics.retried, statistics.retried_by_reason, statistics.interrupted),
        statistics.rates,
        [(histogram.counts, histogram.count) for histogram in (latency.queue, latency.send, latency.delivery)],
    )


def seconds(statistics: Statistics) -> list[float]:
    return [statistics.latency.queue.sum, statistics.latency.send.sum, statistics.latency.delivery.sum]


@pytest.mark.seeds
@pytest.mark.parametrize("seed", range(10 * SCALE))
async def test_every_outcome_is_counted_exactly_whatever_becomes_of_events(seed: int) -> None:
    """Over two sinks that accept, refuse, judge, split and stall by chance; and no reader sees anything twice."""
    chance = random.Random(seed)
    books = Books()
    sinks = [CallbackSink(Far(chance, books.look).take, name=name) for name in books.by_sink]
    client = books.client = AsyncClient(
        *sinks,
        queue_events=QUEUE_EVENTS,
        batch_events=7,
        workers=3,
        max_event_age=chance.choice([None, 3]),
        retry=RetryPolicy(max_attempts=3),
        clock=Wall(),
    )
    client.on_outcome(books.tell, *OutcomeKind)
    readers = [client.statistics_reader() for _ in range(2)]
    read = [Statistics(), Statistics()]
    highest = [HighWater(), HighWater()]

    def look(which: int) -> None:
        since = readers[which].read()
        read[which] += since
        highest[which] = HighWater(*map(max, values(highest[which]), values(since.by_sink["one"].high_water)))
        books.look()

    async def produce() -> None:
        policies: list[Overflow] = ["drop_newest", "drop_oldest", "wait"]
        for _ in range(30):
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.choice([None, 0.2])):
                    await client.capture(chance.choice(NAMES), overflow=chance.choice(policies))
            if chance.random() < 0.1:
                look(chance.randrange(2))
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.3]))

    await asyncio.gather(*(produce() for _ in range(8)))
    await client.aclose(chance.choice([0, 1, 600]))
    await asyncio.sleep(chance.random() * 20)
    now = asyncio.get_running_loop().time()
    statistics = check_ledger(client, drained=True)
    look(0)
    look(1)

    assert books.findings == []
    assert statistics.captured == 2 * 240
    for name, recount in books.by_sink.items():
        assert comparable(statistics.by_sink[name]) == comparable(recount.statistics(now))
        assert seconds(statistics.by_sink[name]) == pytest.approx(seconds(recount.statistics(now)), abs=1e-9)
    both = sum((recount.statistics(now) for recount in books.by_sink.values()), Statistics())
    assert comparable(statistics)[:2] == comparable(both)[:2]
    for total in read:
        assert comparable(total)[:2] == comparable(statistics)[:2]
        assert (total.captured, total.delivered, total.dropped) == (480, statistics.delivered, statistics.dropped)
        assert total.dropped_by_reason == statistics.dropped_by_reason
        assert total.latency.queue.counts == statistics.latency.queue.counts
    assert highest == [statistics.by_sink["one"].high_water] * 2


def values(high_water: HighWater) -> list[int]:
    return [getattr(high_water, name) for name in HighWater.__slots__]


async def test_each_sink_has_statistics_of_its_own() -> None:
    """One takes everything, the other nothing: the client's numbers are the sums, and name both."""

    def refuse(batch: Batch) -> None:
        raise PermanentSinkError

    async with AsyncClient(MemorySink(name="kept"), CallbackSink(refuse, name="refused")) as client:
        await client.capture_many(["paid", "paid", "left"])
        await client.flush()
        statistics = check_ledger(client, drained=True)

    kept, refused = statistics.by_sink["kept"], statistics.by_sink["refused"]
    assert (kept.delivered, kept.dropped, refused.delivered, refused.dropped) == (3, 0, 0, 3)
    assert kept.by_event == {"paid": EventCounts(2), "left": EventCounts(1)}
    assert refused.by_event == {"paid": EventCounts(dropped=2), "left": EventCounts(dropped=1)}
    assert statistics.by_event == {"paid": EventCounts(2, 2), "left": EventCounts(1, 1)}
    assert (kept.by_sink, refused.by_sink) == ({}, {})
    assert refused.last_success is None
    assert (statistics.latency, statistics.last_success) == (kept.latency, kept.last_success)


async def test_rates_are_those_of_the_last_whole_seconds() -> None:
    """In the next second, for as long as each of them looks back, and not a moment longer."""
    async with AsyncClient(MemorySink(), batch_events=100) as client:
        await asyncio.sleep(0.5)
        await client.capture_many(["a"] * 100)
        await client.flush()
        seen = []
        for until in (0.99, 1.0, 1.99, 2.0, 10.99, 11.0, 60.99, 61.0):
            await asyncio.sleep(until - asyncio.get_running_loop().time())
            seen.append(client.statistics().rates.delivered)

    assert seen == [
        Rate(0.0, 0.0, 0.0),
        Rate(100.0, 10.0, 100 / 60),
        Rate(100.0, 10.0, 100 / 60),
        Rate(0.0, 10.0, 100 / 60),
        Rate(0.0, 10.0, 100 / 60),
        Rate(0.0, 0.0, 100 / 60),
        Rate(0.0, 0.0, 100 / 60),
        Rate(0.0, 0.0, 0.0),
    ]


async def test_nothing_runs_to_keep_rates() -> None:
    """An hour without events takes a handful of steps."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    async with AsyncClient(MemorySink()) as client:
        reader = client.statistics_reader()
        await client.capture("a")
        await client.flush()
        await asyncio.sleep(100)
        before = loop.steps
        await asyncio.sleep(3600)

        assert loop.steps - before < 10
        assert reader.read().rates.delivered == Rate()


async def test_latencies_are_those_of_each_event() -> None:
    """From its own capture; the attempt that delivered it counts as its sending, all before it as its delivery."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=2, retry=RetryPolicy(initial=8, jitter=0)) as client:
        await client.capture("early")
        await asyncio.sleep(0.75)
        await client.capture("late")
        await sink.reached(1)
        await asyncio.sleep(2)
        sink.release(1, error=TransientSinkError())
        await sink.reached(2)
        await asyncio.sleep(0.125)
        sink.release()
        await client.flush()
        latency = client.statistics().latency

    assert [where(histogram.counts) for histogram in (latency.queue, latency.send, latency.delivery)] == [
        {1.0: 1, 0.001: 1},
        {0.25: 2},
        {30.0: 2},
    ]
    assert latency.queue.sum == pytest.approx(0.75)
    assert latency.send.sum == pytest.approx(0.25)
    assert latency.delivery.sum == pytest.approx(2 * (2 + 8 + 0.125) + 0.75)


def where(counts: tuple[int, ...]) -> dict[float, int]:
    """The buckets that have events, by their bounds."""
    return {BOUNDS[bucket]: events for bucket, events in enumerate(counts) if events}


async def test_the_highest_levels_stay_within_the_bounds_that_they_are_compared_with() -> None:
    """Refusals, and events that take another's place, raise none; each place has its own highest."""
    sink = GatedSink()
    client = AsyncClient(sink, queue_events=10, batch_events=5, workers=2, retry=RetryPolicy(initial=20, jitter=0))
    async with client:
        receipts = [client.capture_nowait(f"e{number}") for number in range(25)]
        for number in range(5):
            client.capture_nowait(f"f{number}", overflow="drop_oldest")
        await sink.reached(2)
        waiting = [asyncio.create_task(client.capture("g", overflow="wait")) for _ in range(3)]
        await asyncio.sleep(0)
        statistics = client.statistics()
        assert (statistics.pending, statistics.waiting_room, statistics.dropped) == (13, 3, 20)
        sink.release(2, error=TransientSinkError())
        await asyncio.sleep(10)
        sink.release()
        await asyncio.gather(*waiting)
        await client.flush()
        statistics = check_ledger(client, drained=True)

    size = len(receipts[0]._event.data)
    assert (statistics.queue_bytes, statistics.pending) == (0, 0)
    assert statistics.high_water.held_bytes in range(10 * size, 10 * size + 11)  # two-digit numbers are a byte longer
    assert statistics.high_water == HighWater(
        held=10, held_bytes=statistics.high_water.held_bytes, in_flight=10, waiting_retry=10, waiting_room=3
    )


async def test_events_that_expire_were_held_before() -> None:
    """All of a batch at once, when it would be sent again: no attempt begins or ends then that could have looked."""
    sink = GatedSink()
    policy = RetryPolicy(initial=8, jitter=0)
    async with AsyncClient(sink, max_event_age=5, max_batch_age=1, retry=policy) as client:
        await client.capture("early")
        await sink.reached(1)
        sink.release(1, error=TransientSinkError())
        await asyncio.sleep(7.5)
        await client.capture_many(["late"] * 2)
        await asyncio.sleep(0.75)
        reader = client.statistics_reader()
        assert (client.statistics().dropped_by_reason, reader.read().high_water.held) == ({"expired": 1}, 2)
        sink.release()

    assert check_ledger(client, drained=True).high_water.held == 3


async def test_readers_see_what_is_new_to_each() -> None:
    """Neither what was before they were made, nor what another one has read; totals go on by themselves."""
    async with AsyncClient(MemorySink(name="eu")) as client:
        await client.capture("old")
        await client.flush()
        often, seldom = client.statistics_reader(), client.statistics_reader()
        seen = []
        for name in ("a", "b"):
            await client.capture_many([name] * 3)
            await client.flush()
            seen.append(often.read())
        both = seldom.read()

    assert [since.by_event for since in seen] == [{"a": EventCounts(3)}, {"b": EventCounts(3)}]
    assert [since.high_water.held for since in seen] == [3, 3]
    assert both.by_event == {"a": EventCounts(3), "b": EventCounts(3)}
    assert (both.captured, both.attempts, both.latency.delivery.count, both.by_sink["eu"].captured) == (6, 2, 6, 6)
    assert (often.read().by_event, often.read().high_water) == ({}, HighWater())
    assert client.statistics().by_event["old"] == EventCounts(1)


async def test_an_earlier_snapshot_is_not_touched_by_later_events() -> None:
    """None of its parts: each is a copy of that moment."""
    async with AsyncClient(MemorySink(name="eu")) as client:
        await client.capture("a")
        await client.flush()
        before = client.statistics()
        parts = repr((before, before.by_event, before.by_sink, before.rates, before.latency))
        await client.capture_many(["a", "b"])
        await client.flush()

    assert repr((before, before.by_event, before.by_sink, before.rates, before.latency)) == parts
    with pytest.raises(TypeError, match="cannot be changed"):
        before.by_sink["us"] = Statistics()  # type: ignore[index]  # what is tried here


async def test_hostile_names_cost_no_more_than_a_hundred_places() -> None:
    """One for each event, as long as an event may be, at several sinks: totals stay exact, the rest is one figure."""
    async with AsyncClient(MemorySink(), MemorySink(), queue_events=5_000) as client:
        for number in range(1_000):
            await client.capture(f"user {number} came")
        await client.capture("x" * 100_000)
        await client.capture(OTHERS)
        await client.flush()
        statistics = check_ledger(client, drained=True)

    assert len(statistics.by_event) == 101
    assert statistics.by_event[OTHERS] == EventCounts(2 * (900 + 2))
    assert all(len(sink.by_event) == 101 for sink in statistics.by_sink.values())
    assert max(map(len, statistics.by_event)) < 20


async def test_sinks_of_other_events_share_the_hundred_places() -> None:
    """Each has names that the other never sees; the client has no more of them than one sink would."""
    sinks = [MemorySink(where=lambda event, letter=letter: event.event[0] == letter) for letter in "ab"]  # type: ignore[misc]  # its own letter
    async with AsyncClient(*sinks) as client:
        for number in range(80):
            await client.capture_many([f"a{number}", f"b{number}"])
        await client.flush()
        statistics = check_ledger(client, drained=True)

    assert len(statistics.by_event) == 101
    assert statistics.by_event[OTHERS] == EventCounts(60)


async def test_the_numbers_add_up_for_who_looks_while_a_log_line_is_written(caplog: pytest.LogCaptureFixture) -> None:
    """Of what is dropped, goes again, or is given up by a close: a handler that reports them reports no nonsense."""
    said: list[str] = []
    findings: list[str] = []

    class Reporter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.name)
            try:
                check_ledger(client)
            except AssertionError as error:
                findings.append(f"{record.getMessage()}: {error}")

    kinds = [OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY]

    async def send(batch: Batch) -> list[Verdict]:
        if batch.attempt > 2:
            await asyncio.sleep(3600)
        return [Verdict(kinds[number % 3]) for number, _ in enumerate(batch.events)]

    logger, reporter = logging.getLogger("eventpipe"), Reporter()
    logger.addHandler(reporter)
    for name in ("eventpipe", "eventpipe.batches"):
        caplog.set_level(logging.DEBUG, logger=name)
    try:
        client = AsyncClient(CallbackSink(send), batch_events=9, workers=1, retry=RetryPolicy(jitter=0.0))
        for _ in range(27):
            await client.capture("seen")
        await client.flush(timeout=10)
        receipt = client.capture_nowait("late")
        await client.flush(timeout=0)
        await client.aclose(timeout=0.1)
    finally:
        logger.removeHandler(reporter)

    assert receipt.accepted
    assert set(said) == {"eventpipe", "eventpipe.batches"}
    assert findings == []


async def test_the_last_success_is_a_moment_of_the_wall_clock() -> None:
    """That of the last delivery; a refusal is none."""
    sink = GatedSink()
    async with AsyncClient(sink, clock=Wall()) as client:
        await client.capture("a")
        assert client.statistics().last_success is None
        sink.release(1, error=PermanentSinkError())
        await client.flush()
        assert client.statistics().last_success is None
        sink.release()
        await client.capture("a")
        await client.flush()
        assert client.statistics().last_success == WALL


async def test_a_disabled_client_counts_nothing() -> None:
    """It has no sinks, and readers of it see nothing."""
    client = AsyncClient(MemorySink(), enabled=False)
    reader = client.statistics_reader()
    await client.capture("a")

    assert (client.statistics(), reader.read()) == (Statistics(), Statistics())


@pytest.mark.wallclock
async def test_events_of_other_threads_are_counted_by_name() -> None:
    """Those that came in, out of the order of their capture, and those of which nobody kept the name."""
    taken: list[CapturedEvent] = []

    def capture(name: str) -> None:
        for _ in range(60):
            client.capture_nowait(name)

    sink = CallbackSink(lambda batch: taken.extend(batch.events))
    client = AsyncClient(sink, queue_events=100)
    async with client:
        threads = [threading.Thread(target=capture, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()  # the loop is held up meanwhile, so that the inbox gets full
        client.capture_nowait("younger")
        await client.flush()
        statistics = check_ledger(client, drained=True)

    kept = {name: sum(event.event == name for event in taken) for name in ("a", "b", "younger")}
    assert sum(kept.values()) == statistics.delivered
    assert {name: one.delivered for name, one in statistics.by_event.items() if one.delivered} == kept
    assert statistics.by_event[OTHERS] == EventCounts(dropped=20)  # of 120 the inbox held 100
    assert (statistics.delivered, statistics.dropped) == (100, 21)  # one found its place taken by the younger event
    assert statistics.latency.queue.count == statistics.delivered
