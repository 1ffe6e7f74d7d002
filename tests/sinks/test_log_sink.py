"""What the sink makes of a log's errors, and a client that feeds a log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from eventpipe import AsyncClient
from eventpipe.errors import ClosedError, PermanentSinkError, StoreError, StoreFullError, TransientSinkError
from eventpipe.events import CapturedEvent
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.outcomes import OutcomeKind
from eventpipe.retention import OnFull, Retention
from eventpipe.sinks import LogSink
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing import check_ledger
from eventpipe.testing.events import make_batch, make_event

pytestmark = pytest.mark.asyncio

DELIVERED, RETRY, DROPPED = OutcomeKind.DELIVERED, OutcomeKind.RETRY, OutcomeKind.DROPPED


class Raises:
    """A log that fails, at one topic or at all."""

    def __init__(self, error: Exception, topic: str | None = None) -> None:
        self.error = error
        self.topic = topic
        self.appended: dict[str, list[str]] = {}

    async def append_many(self, topic: str, events: Sequence[CapturedEvent]) -> list[int]:
        if topic == (self.topic or topic):
            raise self.error
        self.appended.setdefault(topic, []).extend(event.name for event in events)
        return list(range(len(events)))


async def names(log: EventLog, topic: str) -> list[str]:
    return [stored.event.name async for stored in log.read(topic) if stored.event is not None]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreFullError("no room", topic="orders"), "log_full"),
        (ClosedError("not running"), "log_closed"),
        (StoreError("the engine failed"), "store_error"),
    ],
)
async def test_what_may_pass_is_transient(error: Exception, reason: str) -> None:
    """A full log, one that does not run, and an engine that fails are worth another attempt."""
    with pytest.raises(TransientSinkError, match=str(error)) as caught:
        await LogSink(Raises(error), "orders").send(make_batch(2))

    assert (caught.value.reason, caught.value.__cause__) == (reason, error)


async def test_a_name_that_no_topic_can_have_is_the_sinks_fault() -> None:
    """Every batch would fail."""
    async with EventLog(MemoryStore()) as log:
        with pytest.raises(PermanentSinkError, match=r"^the name of a topic must have no white space") as caught:
            await LogSink(log, "my orders").send(make_batch(2))

    assert caught.value.scope == "sink"


async def test_a_name_that_is_made_of_an_event_is_the_events_fault() -> None:
    """Its neighbours are appended."""
    async with EventLog(MemoryStore()) as log:
        events = [make_event("good"), make_event("b a d"), make_event("good")]

        verdicts = await LogSink(log, lambda event: event.name).send(make_batch(events))

        assert verdicts is not None
        assert [verdict.kind for verdict in verdicts] == [DELIVERED, DROPPED, DELIVERED]
        assert "white space" in str(verdicts[1].detail)
        assert [topic.name for topic in await log.topics()] == ["good"]
        with pytest.raises(PermanentSinkError) as caught:
            await LogSink(log, lambda event: event.name).send(make_batch([make_event("b a d")]))
        assert caught.value.scope == "event"


async def test_a_topic_function_that_raises_costs_its_event() -> None:
    """And tells nothing of it but the type of the error."""

    def topic(event: CapturedEvent) -> str:
        return {"good": "orders"}[event.name]

    async with EventLog(MemoryStore()) as log:
        verdicts = await LogSink(log, topic).send(make_batch([make_event("secret"), make_event("good")]))

        assert verdicts is not None
        assert [(verdict.kind, verdict.detail) for verdict in verdicts] == [
            (DROPPED, "topic raised KeyError"),
            (DELIVERED, None),
        ]
        assert await names(log, "orders") == ["good"]


async def test_each_event_goes_to_the_topic_that_the_function_names() -> None:
    """In the order of the batch, in one commit a topic."""
    async with EventLog(MemoryStore()) as log:
        events = [make_event(f"{topic}{number}") for number in range(3) for topic in "ab"]

        assert await LogSink(log, lambda event: event.name[0]).send(make_batch(events)) is None

        assert await names(log, "a") == ["a0", "a1", "a2"]
        assert await names(log, "b") == ["b0", "b1", "b2"]


async def test_one_topic_that_is_full_holds_up_no_other() -> None:
    """The others' events are delivered, and only its own are tried again."""
    log = Raises(StoreFullError("no room", topic="b"), "b")
    events = [make_event(f"{topic}{number}") for number in range(2) for topic in "ab"]

    verdicts = await LogSink(log, lambda event: event.name[0]).send(make_batch(events))

    assert verdicts is not None
    assert [(verdict.kind, verdict.reason) for verdict in verdicts] == [(DELIVERED, None), (RETRY, "log_full")] * 2
    assert log.appended == {"a": ["a0", "a1"]}


async def test_a_batch_that_is_sent_again_is_appended_once() -> None:
    """Its events are known by their ids."""
    async with EventLog(MemoryStore()) as log:
        sink, batch = LogSink(log, "orders"), make_batch(5)

        await sink.send(batch)
        await sink.send(batch)

        assert len(await names(log, "orders")) == 5


@pytest.mark.parametrize("on_full", ["reject", "drop_oldest", "wait"])
@pytest.mark.parametrize("bound", [{"max_events": 100}, {"max_bytes": 20_000}], ids=["events", "bytes"])
async def test_a_batch_that_can_never_fit_is_appended_in_parts(on_full: OnFull, bound: dict[str, int]) -> None:
    """Every event finds its way through a topic that holds less than a batch, while a consumer makes room."""
    topics = {"orders": Retention(**bound, on_full=on_full)}
    taken: list[str] = []

    async def take(consumed: ConsumedEvent) -> None:
        taken.append(consumed.event.name)

    async with (
        EventLog(MemoryStore(), topics=topics) as log,
        Consumer(log, "orders", "billing", take),
        AsyncClient(LogSink(log, "orders")) as client,
    ):
        for number in range(500):
            await client.capture(f"{number}")
        report = await client.flush()
        check_ledger(client)
        await asyncio.sleep(60)

    assert (report.delivered, report.dropped) == (500, 0)
    if on_full != "drop_oldest":
        assert sorted(taken, key=int) == [f"{number}" for number in range(500)]


async def test_an_event_that_can_never_fit_is_dropped_for_its_size() -> None:
    """With the reason in the store's words; its neighbours, of its topic and of others, are appended once."""
    topics = {"small": Retention(max_bytes=1024)}
    events = [
        make_event(name, properties={"text": "x" * size}) for name, size in (("s1", 9), ("large", 5000), ("t", 9))
    ]
    async with EventLog(MemoryStore(), topics=topics) as log:
        sink = LogSink(log, lambda event: "other" if event.name == "t" else "small")

        with pytest.raises(PermanentSinkError, match="can never hold 2 events") as caught:
            await sink.send(make_batch(events))
        assert caught.value.scope == "size"
        verdicts = await sink.send(make_batch(events[1:]))
        await sink.send(make_batch(events[:1]))
        with pytest.raises(PermanentSinkError, match="can never hold 1 events") as alone:
            await sink.send(make_batch(events[1:2]))

        assert verdicts is not None
        assert [(verdict.kind, verdict.reason) for verdict in verdicts] == [(DROPPED, "too_large"), (DELIVERED, None)]
        assert (alone.value.scope, alone.value.reason) == ("size", "too_large")
        assert (await names(log, "small"), await names(log, "other")) == (["s1"], ["t"])


async def test_a_captured_event_that_is_addressed_is_for_every_consumer() -> None:
    """The header of the log's own is left out; the event is neither lost nor kept from anybody."""
    async with EventLog(MemoryStore()) as log:
        async with AsyncClient(LogSink(log, "orders")) as client:
            await client.capture("plain", headers={"eventpipe-consumer": "ghost"})
            await client.capture("traced", headers={"eventpipe-consumer": "ghost", "trace": "t1"}, key="k")
            report = await client.flush()

        stored = [one.event async for one in log.read("orders") if one.event is not None]
        assert (report.delivered, report.dropped) == (2, 0)
        assert [(event.name, event.headers, event.key) for event in stored] == [
            ("plain", {}, None),
            ("traced", {"trace": "t1"}, "k"),
        ]


async def test_a_foreign_error_passes_through() -> None:
    """The driver counts it as the sink's own."""
    with pytest.raises(ZeroDivisionError):
        await LogSink(Raises(ZeroDivisionError()), "orders").send(make_batch(1))


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("", r"^topic must be a string that is not blank"),
        (" ", r"^topic must be a string that is not blank"),
        (None, r"^topic must be the name of a topic or a plain function, not NoneType$"),
        (5, r"^topic must be the name of a topic or a plain function, not 5$"),
    ],
)
async def test_a_topic_that_is_none_is_refused(topic: Any, text: str) -> None:
    """By the constructor."""
    with pytest.raises(ValueError, match=text):
        LogSink(Raises(StoreError()), topic)


async def test_an_async_topic_function_is_refused() -> None:
    """Its answer would come too late."""

    async def topic(event: CapturedEvent) -> str:
        return event.name

    with pytest.raises(ValueError, match=r"^topic must be a plain function"):
        LogSink(Raises(StoreError()), topic)  # type: ignore[arg-type]


async def test_a_client_feeds_a_log() -> None:
    """Every event is in the log, as it was captured, in order."""
    async with EventLog(MemoryStore()) as log:
        async with AsyncClient(LogSink(log, "orders")) as client:
            for number in range(1000):
                await client.capture(f"{number}", distinct_id="u1", properties={"n": number}, headers={"a": "b"})
            await client.flush()
            check_ledger(client)

        stored = [one.event async for one in log.read("orders") if one.event is not None]
        assert [event.name for event in stored] == [f"{number}" for number in range(1000)]
        assert (stored[7].properties, stored[7].headers) == ({"n": 7}, {"a": "b"})


async def test_a_client_waits_out_a_log_that_is_full() -> None:
    """Nothing is lost, and the handlers that capture wait for nothing."""
    topics = {"orders": Retention(max_events=10)}
    async with EventLog(MemoryStore(), topics=topics) as log:
        await log.append_many("orders", ["before"] * 10)
        async with AsyncClient(LogSink(log, "orders")) as client:
            for number in range(5):
                await client.capture(f"{number}")
            await asyncio.sleep(3)
            assert client.statistics().delivered == 0

            await log.declare("orders", Retention(max_events=100))
            report = await client.flush()

            assert (report.delivered, report.dropped) == (5, 0)
        assert await names(log, "orders") == ["before"] * 10 + [f"{number}" for number in range(5)]
