"""What a consumer tells of itself: outcomes, an outcomes topic, statistics, lag; and the options it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.errors import ClosedError, PermanentSinkError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.outcomes import OUTCOME, OutcomeTopic
from eventpipe.log.reports import ConsumerError, ConsumerStatistics, Lag
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.retention import Retention
from eventpipe.sinks import MemorySink
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ConsumerKey
from eventpipe.testing.events import make_event

pytestmark = pytest.mark.asyncio

ALL = tuple(OutcomeKind)


async def _append(log: EventLog, events: int, topic: str = "orders") -> list[str]:
    made = [make_event(f"e{number}") for number in range(events)]
    await log.append_many(topic, made)
    return [event.uuid for event in made]


async def _caught_up(consumer: Consumer) -> None:
    async with asyncio.timeout(3600):
        while (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.05)


async def _picky(event: ConsumedEvent) -> None:
    if event.offset == 1 and event.attempt == 1:
        raise ValueError
    if event.offset == 2:
        raise PermanentSinkError("no")


async def test_outcomes_reach_subscriptions_until_the_stop(log: EventLog) -> None:
    """One per attempt and verdict, under the consumer's name; the iterator ends when it has stopped."""
    await _append(log, 4)
    consumer = Consumer(log, "orders", "audit", _picky, retry=RetryPolicy(initial=0.01, min_delay=0.0))
    outcomes = consumer.subscribe(*ALL)
    async with consumer:
        await _caught_up(consumer)

    told = [(item.kind, item.sink, item.attempt, item.events) async for item in outcomes if isinstance(item, Outcome)]
    assert told == [
        ("delivered", "audit", 1, ("e0",)),
        ("retry", "audit", 1, ("e1",)),
        ("delivered", "audit", 2, ("e1",)),
        ("dropped", "audit", 1, ("e2",)),
        ("delivered", "audit", 1, ("e3",)),
    ]


async def test_a_batch_is_one_outcome(log: EventLog) -> None:
    """With all its events; also in a pass."""
    uuids = await _append(log, 5)
    consumer = Consumer(log, "orders", "audit", MemorySink())
    async with consumer.subscribe("delivered") as outcomes:
        await consumer.process()
        outcome = await outcomes.receive()
    assert isinstance(outcome, Outcome)
    assert list(outcome.uuids) == uuids


async def test_outcomes_are_appended_to_a_topic(log: EventLog) -> None:
    """As events of the log, which any process may consume."""
    uuids = await _append(log, 3)
    await Consumer(log, "orders", "audit", MemorySink(), outcomes_topic="outcomes").process()

    events = [stored.event async for stored in log.read("outcomes")]
    assert [(event.name, event.distinct_id) for event in events if event] == [(OUTCOME, "audit")]
    assert events[0] is not None
    properties = events[0].properties
    assert {name: properties[name] for name in ("kind", "consumer", "topic", "offsets", "uuids", "attempt")} == {
        "kind": "delivered",
        "consumer": "audit",
        "topic": "orders",
        "offsets": [0, 1, 2],
        "uuids": uuids,
        "attempt": 1,
    }


async def test_outcomes_topics_do_not_feed_each_other(log: EventLog) -> None:
    """Two that consume each other's outcomes come to rest."""
    await _append(log, 3, "a")
    first = Consumer(log, "a", "one", MemorySink(), outcomes_topic="b", max_batch_age=0.0)
    second = Consumer(log, "b", "two", MemorySink(), outcomes_topic="a", max_batch_age=0.0)
    async with first, second:
        await asyncio.sleep(60)
        assert ((await log.topic("a")).end, (await log.topic("b")).end) == (3, 1)


@pytest.mark.parametrize("on_full", ["reject", "wait"])
async def test_a_full_outcomes_topic_costs_its_outcomes_only(log: EventLog, on_full: Any) -> None:
    """They are counted, and the consumer goes on."""
    await log.declare("outcomes", Retention(max_events=2, on_full=on_full))
    await log.add_consumer("outcomes", "nobody")
    await _append(log, 50)
    sink = MemorySink()
    consumer = Consumer(log, "orders", "audit", sink, batch_events=5, outcomes_topic="outcomes", max_batch_age=0.0)
    async with consumer:
        await _caught_up(consumer)
        await asyncio.sleep(60)

    assert len(sink.events) == 50
    kept = (await log.topic("outcomes")).events
    assert consumer.statistics().outcomes_lost == 10 - kept


async def test_a_small_outcomes_topic_takes_outcomes_in_parts(log: EventLog) -> None:
    """More outcomes than it can ever hold at once are appended as far as it takes them, and counted right."""
    await log.declare("outcomes", Retention(max_events=7, on_full="drop_oldest"))
    await _append(log, 300)
    consumer = Consumer(
        log, "orders", "audit", MemorySink(), batch_events=1, max_batch_age=0.0, outcomes_topic="outcomes"
    )
    async with consumer:
        await _caught_up(consumer)
        await asyncio.sleep(60)

    outcomes = await log.topic("outcomes")
    assert (outcomes.end, outcomes.events, consumer.statistics().outcomes_lost) == (300, 7, 0)


async def test_an_outcome_that_can_never_fit_costs_itself_only(log: EventLog) -> None:
    """It is counted as lost, and those beside it are appended."""
    await log.declare("outcomes", Retention(max_bytes=1200))
    outcomes = OutcomeTopic(log, "outcomes", ConsumerKey("orders", "audit"))
    large = [make_event(f"e{number}") for number in range(50)]
    told = [
        Outcome(OutcomeKind.DELIVERED, "audit", captured=tuple(events)) for events in ([large[0]], large, [large[1]])
    ]

    outcomes.tell(told, [[0], list(range(50)), [1]])
    await outcomes.finish()

    kept = [stored.event.properties["offsets"] async for stored in log.read("outcomes") if stored.event is not None]
    assert (kept, outcomes.lost) == ([[0], [1]], 1)


async def test_an_outcome_is_told_without_events_that_tell_of_outcomes(log: EventLog) -> None:
    """Its other events are; one that has no others is not told of."""
    await log.append_many("orders", ["a", OUTCOME, "b", OUTCOME])
    await Consumer(log, "orders", "audit", MemorySink(), batch_events=3, outcomes_topic="outcomes").process()

    told = [stored.event.properties async for stored in log.read("outcomes") if stored.event is not None]
    assert [(outcome["offsets"], outcome["events"], len(outcome["uuids"])) for outcome in told] == [([0, 2], 2, 2)]


async def test_statistics_and_lag(log: EventLog) -> None:
    """The counters are plain; the lag is known while nobody consumes, in events and in seconds."""
    await _append(log, 4)
    consumer = Consumer(log, "orders", "audit", _picky)
    await log.add_consumer("orders", "audit")
    await asyncio.sleep(30)
    lag = await consumer.lag()
    assert lag.events == 4
    assert lag.seconds == pytest.approx(30, abs=1)
    assert consumer.statistics() == ConsumerStatistics()

    with pytest.raises(ConsumerError):
        await consumer.process()
    await consumer.process()

    assert await consumer.lag() == Lag(0, 0.0)
    statistics = consumer.statistics()
    assert (statistics.handed, statistics.delivered, statistics.retried, statistics.dead) == (5, 3, 1, 1)
    assert (statistics.attempts, statistics.held, statistics.in_flight, statistics.is_holder) == (5, 0, 0, False)
    assert statistics.last_error == "rejected: PermanentSinkError: no"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 2}, "concurrency must be 1 with ordered_by='topic', not 2: choose ordered_by='key'"),
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
        ({"batch_events": 0}, "batch_events must be at least 1, not 0"),
        ({"max_batch_age": -1.0}, "max_batch_age must be at least 0, not -1.0"),
        ({"timeout": 0.0}, "timeout must be above 0, not 0.0"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"delay": -0.5}, "delay must be at least 0, not -0.5"),
        ({"max_attempts": 0}, "max_attempts must be at least 1, not 0"),
        ({"ordered_by": "keys"}, "ordered_by must be one of 'topic' or 'key', not 'keys'"),
        ({"when_held": "never"}, "when_held must be one of 'wait' or 'raise', not 'never'"),
        ({"ttl": 5.0, "heartbeat": 3.0}, "heartbeat must be below half of ttl"),
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
        ({"outcomes_topic": "orders"}, "outcomes_topic must be another topic"),
        ({"start": "now"}, "start must be 'earliest', 'latest', an offset or a datetime, not 'now'"),
        ({"batch_size": 3}, "unknown option 'batch_size'; did you mean 'batch_events'?"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_options_are_checked_at_construction(options: dict[str, Any], message: str) -> None:
    """Each fault names the option, the value and the rule."""
    with pytest.raises(ValueError, match=r"must be|unknown option") as caught:
        Consumer(EventLog(MemoryStore()), "orders", "audit", MemorySink(), **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "given", [print, MemorySink, None, lambda event: None], ids=["plain", "class", "None", "lambda"]
)
async def test_what_is_neither_a_sink_nor_async_is_refused(given: Any) -> None:
    """The message says what to give instead."""
    with pytest.raises(TypeError, match="a consumer needs a sink, or an async function of one event"):
        Consumer(EventLog(MemoryStore()), "orders", "audit", given)


async def test_a_log_that_does_not_run_says_so() -> None:
    """A start fails, and a pass; nothing is left."""
    consumer = Consumer(EventLog(MemoryStore()), "orders", "audit", _picky)
    with pytest.raises(ClosedError, match="has not started"):
        await consumer.start()
    with pytest.raises(ClosedError, match="has not started"):
        await consumer.process()
