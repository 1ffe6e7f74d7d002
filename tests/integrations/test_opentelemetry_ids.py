"""Trace and span ids on the events that are captured in a span."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer, format_span_id, format_trace_id, get_current_span

from eventpipe import AsyncClient, Event, scope, scopes
from eventpipe.integrations.opentelemetry import add_trace_ids, instrument
from eventpipe.sinks import MemorySink
from tests.integrations.otel import Rig

pytestmark = pytest.mark.asyncio


@pytest.fixture
def tracer() -> Tracer:
    return TracerProvider(shutdown_on_exit=False).get_tracer("app")


@pytest.fixture(autouse=True)
def _own_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has scopes say, the next does not hear."""
    monkeypatch.setattr(scopes, "_sources", [])


def ids() -> dict[str, str]:
    here = get_current_span().get_span_context()
    return {"trace_id": format_trace_id(here.trace_id), "span_id": format_span_id(here.span_id)}


async def test_a_scope_says_the_span_it_was_entered_in(tracer: Tracer) -> None:
    """Once for all that is captured in it; an inner scope in an inner span says that; the call's and its own win."""
    sink = MemorySink()
    expected: list[dict[str, Any]] = []
    async with AsyncClient(sink) as client:
        with Rig().instrument(client):
            with tracer.start_as_current_span("request"), scope(properties={"a": 1}):
                request = ids()
                await client.capture("plain")
                expected.append({**request, "a": 1})
                with tracer.start_as_current_span("inner"):
                    await client.capture("inner span, same scope")
                    expected.append({**request, "a": 1})
                    with scope():
                        await client.capture("inner scope")
                        expected.append({**ids(), "a": 1})
                await client.capture("own", properties={"span_id": "mine"})
                expected.append({**request, "a": 1, "span_id": "mine"})
                with scope(properties={"span_id": "mine"}):
                    await client.capture("scope that says another")
                    expected.append({**request, "a": 1, "span_id": "mine"})
            with scope():
                await client.capture("no span")
                expected.append({})

    assert [event.properties for event in sink.events] == expected


async def test_without_instrument_a_scope_says_nothing_of_spans(tracer: Tracer) -> None:
    """An app that has OpenTelemetry for other things keeps its events as they are."""
    async with AsyncClient(sink := MemorySink()) as client:
        with tracer.start_as_current_span("request"), scope():
            await client.capture("e")
    assert sink.events[0].properties == {}


async def test_the_hook_gives_each_event_its_own_span(tracer: Tracer) -> None:
    """Outside a span, and where the properties are no dict, the event is as it was."""
    async with AsyncClient(sink := MemorySink(), before_send=add_trace_ids) as client:
        with tracer.start_as_current_span("a"):
            first = ids()
            await client.capture("e", properties={"a": 1})
            await client.capture("e", properties={"trace_id": "mine"})
        await client.capture("e", properties={"a": 1})

    assert [event.properties for event in sink.events] == [
        {**first, "a": 1},
        {**first, "trace_id": "mine"},
        {"a": 1},
    ]


async def test_the_hook_leaves_the_caller_s_event_alone(tracer: Tracer) -> None:
    """It makes a new one."""
    given = {"a": 1}
    event = Event("e", properties=given)
    with tracer.start_as_current_span("a"):
        assert add_trace_ids(event).properties == {**ids(), "a": 1}
    assert (event.properties, given) == ({"a": 1}, {"a": 1})


async def test_a_source_that_fails_costs_what_it_would_have_said() -> None:
    """The scope and the capture go on."""

    def broken() -> dict[str, str]:
        raise OSError("secret")

    scopes.add_source(broken)
    async with AsyncClient(sink := MemorySink()) as client:
        with scope(properties={"a": 1}):
            await client.capture("e")
    assert sink.events[0].properties == {"a": 1}


async def test_two_instruments_say_it_once() -> None:
    """However many clients are instrumented."""
    for _ in range(2):
        with instrument(AsyncClient(MemorySink())):
            pass
    assert len(scopes._sources) == 1
