"""One event as the payload of a webhook."""

from __future__ import annotations

import orjson
from hypothesis import given

from eventpipe.codecs.webhook import WebhookCodec
from eventpipe.events import CapturedEvent
from eventpipe.testing.events import make_batch, make_event
from tests.codecs.test_json import EVENTS, meaning


def written(*events: CapturedEvent) -> bytes:
    return WebhookCodec().request(make_batch(list(events)), 1, 0.0).body


def read(payload: dict[str, object]) -> dict[str, object]:
    """A payload as the event that it was written from."""
    names = {"type": "event", "data": "properties"}
    return {names.get(name, name): value for name, value in payload.items()}


def test_a_payload_has_the_members_that_receivers_look_for() -> None:
    """Type, time and data as Standard Webhooks recommends them, and beside them what else an event has."""
    event = make_event("invoice.paid", distinct_id="u1", properties={"sum": 5}, timestamp=1_767_225_600.25)

    assert written(event) == (
        b'{"type":"invoice.paid","timestamp":"2026-01-01T00:00:00.250000Z","data":{"sum":5},'
        b'"uuid":"' + event.uuid.encode() + b'","distinct_id":"u1"}'
    )
    request = WebhookCodec().request(make_batch([event]), 1, 0.0)
    assert (request.url, dict(request.headers)) == ("", {"Content-Type": "application/json"})


@given(event=EVENTS)
def test_nothing_of_an_event_is_lost(event: CapturedEvent) -> None:
    """Whatever was captured can be read back: odd strings, lifted properties, headers and keys."""
    assert read(orjson.loads(written(event))) == meaning(event)


def test_quotes_and_names_of_members_inside_of_values_mislead_nobody() -> None:
    """Members are found in the bytes: text that looks like them is text."""
    trap = '","event":"x","properties":{"'
    event = make_event(trap, distinct_id=trap, properties={trap: trap, "event": 1, "properties": {}})

    assert read(orjson.loads(written(event))) == meaning(event)


def test_a_client_makes_no_batch_of_several() -> None:
    """One event a request; several that are handed over by hand are an array, each whole."""
    events = [make_event(f"e{n}") for n in range(3)]

    assert WebhookCodec().max_batch_events == 1
    assert [read(payload) for payload in orjson.loads(written(*events))] == [meaning(event) for event in events]


def test_all_attempts_have_the_same_body() -> None:
    """Neither the attempt's number nor its time is in it."""
    batch = make_batch(1)

    assert WebhookCodec().request(batch, 1, 1.0) == WebhookCodec().request(batch, 7, 99.0)
