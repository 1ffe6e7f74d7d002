"""What is logged while a batch is sent never becomes a part of a batch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TypeVar

import pytest
from opentelemetry import context

from eventpipe import AsyncClient, Batch, PermanentSinkError, RetryPolicy
from eventpipe.integrations.opentelemetry import SendingFilter
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink
from tests.integrations.otel import Rig

T = TypeVar("T", bound=logging.Handler)

app = logging.getLogger("app")


class Plain(logging.Handler):
    """A handler of somebody's own; keeps what it gets, and may capture it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.into: AsyncClient | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if self.into is not None:
            self.into.capture_nowait(record.name)


class OfTheSdk(Plain):
    """Stands in for the handlers of the SDK and of opentelemetry-instrumentation-logging."""

    __module__ = "opentelemetry.instrumentation.logging.handler"


class Derived(OfTheSdk):
    """What a user has made of one."""


@pytest.fixture
def bridge() -> Iterator[OfTheSdk]:
    yield from attached(OfTheSdk(), logging.root)


@pytest.fixture
def console() -> Iterator[Plain]:
    yield from attached(Plain(), logging.root)


def attached(handler: T, logger: logging.Logger) -> Iterator[T]:
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def talkative() -> CallbackSink:
    return CallbackSink(lambda batch: app.info("sending"))


async def send_one(client: AsyncClient) -> None:
    async with client:
        await client.capture("a")


@pytest.mark.asyncio
async def test_what_is_logged_while_sending_is_kept_from_opentelemetry_only(bridge: OfTheSdk, console: Plain) -> None:
    """By whoever logs it, a thread of the sink's included; other handlers get it, and the rest gets everywhere."""

    async def send(batch: Batch) -> None:
        app.info("sending")
        await asyncio.to_thread(app.info, "sending in a thread")

    client = AsyncClient(CallbackSink(send))
    with Rig().instrument(client):
        app.info("before")
        await send_one(client)
        app.info("after")

    said = [line for line in console.lines if line in ("before", "sending", "sending in a thread", "after")]
    assert said == ["before", "sending", "sending in a thread", "after"]
    assert [line for line in bridge.lines if line in said] == ["before", "after"]


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [OfTheSdk, Derived])
@pytest.mark.parametrize("logger", [logging.root, logging.getLogger("eventpipe")], ids=["root", "eventpipe"])
async def test_a_handler_that_comes_later_is_found(make: type[OfTheSdk], logger: logging.Logger) -> None:
    """At the next attempt; where logging is set up after the client is made."""

    def send(batch: Batch) -> None:
        logging.getLogger("eventpipe.sinks").warning("sending")

    client = AsyncClient(CallbackSink(send))
    with Rig().instrument(client):
        async with client:
            await client.capture("a")
            await client.flush()
            for handler in attached(make(), logger):
                await client.capture("b")
                await client.flush()

                assert handler.lines.count("sending") == 0


@pytest.mark.asyncio
async def test_a_bridge_into_the_client_itself_feeds_on_nothing_of_its_own(bridge: OfTheSdk) -> None:
    """Every record becomes an event of the client whose batches are logged: with one event it is over."""
    client = AsyncClient(talkative(), batch_events=1)
    bridge.into = client
    with Rig().instrument(client):
        async with client:
            app.info("begin")
            await client.flush()
            await asyncio.sleep(60)

            assert client.statistics().by_event.keys() == {"app"}
            assert client.statistics().captured == 1


@pytest.mark.asyncio
async def test_losses_are_told_to_opentelemetry(bridge: OfTheSdk) -> None:
    """An episode has one line at its begin and one at its end; these are what somebody is to be woken for."""
    sink = GatedSink(name="sink")
    client = AsyncClient(sink, retry=RetryPolicy(max_attempts=1))
    sink.release(error=PermanentSinkError())
    with Rig().instrument(client):
        await send_one(client)

    assert [line for line in bridge.lines if "sink" in line] == [
        "sink sink: events are being dropped, reason rejected: PermanentSinkError: the far end refused the batch",
        "sink sink: 1 event was dropped, reason rejected",
    ]


@pytest.mark.asyncio
async def test_uninstrumenting_takes_the_filter_away(bridge: OfTheSdk) -> None:
    """The handler is as it was."""
    client = AsyncClient(talkative())
    with Rig().instrument(client):
        await send_one(client)
        assert len(bridge.filters) == 1

    assert bridge.filters == []


@pytest.mark.asyncio
async def test_a_filter_can_be_put_before_any_handler() -> None:
    """One that leads to the client by a way that nobody can see from here."""
    handler = Plain()
    handler.addFilter(SendingFilter())
    for _ in attached(handler, app):
        client = AsyncClient(talkative())
        with Rig().instrument(client):
            app.info("before")
            await send_one(client)

    assert handler.lines == ["before"]


def test_what_others_suppress_is_logged() -> None:
    """Somebody's own ``suppress_instrumentation()`` says nothing of sending."""
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        assert SendingFilter().filter(logging.makeLogRecord({"name": "app"}))
    finally:
        context.detach(token)


@pytest.mark.asyncio
async def test_a_logger_in_a_strange_state_costs_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked at is counted as a failure of OpenTelemetry."""
    client = AsyncClient(MemorySink())
    with Rig().instrument(client) as handle:
        monkeypatch.setattr(logging.getLogger("eventpipe"), "handlers", None)
        async with client:
            await client.capture("a")
            await client.flush()
        monkeypatch.undo()

        assert handle.errors == 1
    assert client.statistics().delivered == 1
