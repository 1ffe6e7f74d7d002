"""One JSON array per batch."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.codecs import JsonCodec, NdjsonCodec
from eventpipe.codecs.base import HttpCodec
from eventpipe.events import CapturedEvent
from eventpipe.testing.events import make_batch, make_event

PLAIN = {"plan": "pro", "nested": {"a": [1, {}]}, "text": 'q"{,}\n\\'}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abc{}",$', max_size=3), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.builds(
    make_event,
    event=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    distinct_id=st.none() | st.text(st.characters(codec="utf-8"), max_size=8),
    properties=st.dictionaries(st.text('abc{}",', max_size=4), JSON_VALUES, max_size=4),
    headers=st.none() | st.dictionaries(st.text("ab", min_size=1), st.text('xyz"'), max_size=2),
    key=st.none() | st.text(st.characters(codec="utf-8"), max_size=4),
    lifted=st.none() | st.dictionaries(st.sampled_from(["$lib", "$os", "$session_id"]), JSON_VALUES, max_size=2),
)


def meaning(event: CapturedEvent) -> dict[str, object]:
    """What the wire should say of an event."""
    extra = event.extra
    said: dict[str, object] = {
        "uuid": event.uuid,
        "timestamp": event.data[60:87].decode(),
        "distinct_id": event.distinct_id,
        "event": event.event,
        "properties": event.properties,
    }
    if extra and extra.key is not None:
        said["key"] = extra.key
    if extra and extra.headers:
        said["headers"] = dict(extra.headers)
    return said


def read(codec: HttpCodec, body: bytes) -> list[dict[str, object]]:
    if isinstance(codec, NdjsonCodec):
        assert body.endswith(b"\n")
        return [orjson.loads(line) for line in body[:-1].split(b"\n")]
    events: list[dict[str, object]] = orjson.loads(body)
    return events


CODECS = [pytest.param(JsonCodec(), id="json"), pytest.param(NdjsonCodec(), id="ndjson")]


def test_a_batch_is_one_array_of_envelopes() -> None:
    """Exactly the captured bytes, in order, between brackets."""
    one = make_event("a", distinct_id=None)
    two = make_event("b", properties=PLAIN)

    request = JsonCodec().request(make_batch([one, two]), 1, 0.0)

    assert request.body == b"[" + one.json + b"," + two.json + b"]"
    assert (request.url, dict(request.headers)) == ("", {"Content-Type": "application/json"})


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [1, 2, 500], ids=str)
def test_every_event_arrives_whole_and_in_order(codec: JsonCodec, count: int) -> None:
    """From one event to many."""
    batch = make_batch(count)

    assert read(codec, codec.request(batch, 1, 0.0).body) == [meaning(event) for event in batch.events]


@pytest.mark.parametrize("codec", CODECS)
@given(events=st.lists(EVENTS, min_size=1, max_size=4))
def test_whatever_was_captured_is_what_the_wire_says(codec: JsonCodec, events: list[CapturedEvent]) -> None:
    """Empty properties, odd strings, lifted properties, headers and keys, in any mixture."""
    body = codec.request(make_batch(events), 1, 0.0).body

    assert read(codec, body) == [meaning(event) for event in events]


def test_key_and_headers_are_members_of_the_event() -> None:
    """Beside the properties, and only where the caller gave them."""
    batch = make_batch([make_event(), make_event(key="k", headers={"traceparent": "00-1"}), make_event(key="")])

    said = read(JsonCodec(), JsonCodec().request(batch, 1, 0.0).body)

    assert "key" not in said[0]
    assert "headers" not in said[0]
    assert (said[1]["key"], said[1]["headers"]) == ("k", {"traceparent": "00-1"})
    assert said[2]["key"] == ""


def test_properties_that_another_codec_lifted_are_back_among_the_properties() -> None:
    """With several sinks an event is lifted for one of them and complete for all."""
    event = make_event(properties={"a": 1}, lifted={"$lib": "mine", "$session_id": None})

    said = read(JsonCodec(), JsonCodec().request(make_batch([event]), 1, 0.0).body)

    assert said[0]["properties"] == {"a": 1, "$lib": "mine", "$session_id": None}


@pytest.mark.parametrize("codec", CODECS)
def test_all_attempts_are_alike(codec: JsonCodec) -> None:
    """Neither the attempt's number nor its time is in the request."""
    batch = make_batch(3)

    assert codec.request(batch, 1, 1.0) == codec.request(batch, 7, 99.0)


@pytest.mark.parametrize("codec", CODECS)
def test_there_are_no_lanes(codec: JsonCodec) -> None:
    """All events travel together, whatever lane the caller named."""
    assert codec.lane(make_event(lane="historical")) is None
    assert codec.has_lanes is False
    assert codec.lifted == frozenset()


@pytest.mark.parametrize("codec", CODECS)
def test_limits_have_defaults_and_can_be_set(codec: JsonCodec) -> None:
    """900 KiB an event and 20 MiB a body, unless the far end takes others."""
    assert (codec.max_event_bytes, codec.max_batch_bytes) == (900 * 1024, 20 * 1024 * 1024)

    own = type(codec)(max_event_bytes=10, max_batch_bytes=100)

    assert (own.max_event_bytes, own.max_batch_bytes) == (10, 100)


def test_a_request_shows_no_payload() -> None:
    """Requests end up in debuggers and error reports."""
    request = JsonCodec().request(make_batch([make_event("SECRET")]), 1, 0.0)

    assert "SECRET" not in repr(request)
