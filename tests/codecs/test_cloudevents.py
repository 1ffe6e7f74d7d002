"""Events written as CloudEvents 1.0, as the CloudEvents SDK reads them."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from cloudevents.core.bindings import http as sdk
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from eventpipe import AsyncClient, ClientOptions
from eventpipe.codecs import CloudEvents, read_cloudevents
from eventpipe.codecs.cloudevents import MAX_SOURCE, Mode
from eventpipe.contracts import Request
from eventpipe.events import CapturedEvent
from eventpipe.sinks import HttpSink
from eventpipe.testing import ScriptedServer
from eventpipe.testing.events import make_batch, make_event

SOURCE = "/shop/checkout"
UUID = "019c0000-0000-7000-8000-000000000001"
PLAIN = {"plan": "pro", "nested": {"a": [1, {}]}, "text": 'q"{,}\n\\ ,"properties":{'}
MODES: tuple[Mode, ...] = ("batch", "structured", "binary")


def written(event: CapturedEvent, mode: Mode = "structured") -> Request:
    return CloudEvents(SOURCE, mode=mode).request(make_batch([event]), 1, 0.0)


def members(event: CapturedEvent) -> dict[str, Any]:  # Any: JSON
    """The members of an event in structured mode."""
    found: dict[str, Any] = orjson.loads(written(event).body)
    return found


def parsed(request: Request) -> list[CloudEvent]:
    """What the SDK finds in a request of any mode; it has no function for a batch."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    messages = [sdk.HTTPMessage(headers, request.body)]
    if "batch" in headers.get("content-type", ""):
        headers = {"content-type": "application/cloudevents+json"}
        messages = [sdk.HTTPMessage(headers, orjson.dumps(event)) for event in orjson.loads(request.body)]
    found = [sdk.from_http(message, JSONFormat(), CloudEvent) for message in messages]
    assert all(isinstance(event, CloudEvent) for event in found)
    return [event for event in found if isinstance(event, CloudEvent)]


def test_a_batch_is_one_array_of_cloudevents() -> None:
    """Every part of an event under the name that CloudEvents has for it, and nothing else."""
    one = make_event("signed up", distinct_id="u1", properties=PLAIN, uuid=UUID)
    two = make_event("b", distinct_id=None)

    request = CloudEvents(SOURCE).request(make_batch([one, two]), 1, 0.0)

    assert (request.url, request.headers) == (
        "",
        {"Content-Type": "application/cloudevents-batch+json; charset=UTF-8"},
    )
    assert orjson.loads(request.body) == [
        {
            "specversion": "1.0",
            "source": SOURCE,
            "datacontenttype": "application/json",
            "id": UUID,
            "time": "2026-01-01T00:00:00.000000Z",
            "type": "signed up",
            "subject": "u1",
            "data": PLAIN,
        },
        {
            "specversion": "1.0",
            "source": SOURCE,
            "datacontenttype": "application/json",
            "id": two.uuid,
            "time": "2026-01-01T00:00:00.000000Z",
            "type": "b",
            "data": {},
        },
    ]


def test_structured_mode_is_the_same_event_alone() -> None:
    """One object, under the content type of one event."""
    event = make_event(properties=PLAIN, key="k", headers={"region": "eu"})

    alone, in_batch = written(event), written(event, "batch")

    assert alone.headers == {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
    assert in_batch.body == b"[" + alone.body + b"]"


def test_binary_mode_puts_attributes_into_headers_and_properties_into_the_body() -> None:
    """As the HTTP binding says: ``ce-`` before each name, and datacontenttype as Content-Type."""
    event = make_event("paid", distinct_id="u1", properties=PLAIN, uuid=UUID, key="k", headers={"region": "eu"})

    request = written(event, "binary")

    assert request.headers == {
        "ce-specversion": "1.0",
        "ce-id": UUID,
        "ce-source": SOURCE,
        "ce-type": "paid",
        "ce-time": "2026-01-01T00:00:00.000000Z",
        "ce-subject": "u1",
        "ce-partitionkey": "k",
        "ce-region": "eu",
        "Content-Type": "application/json",
    }
    assert orjson.loads(request.body) == PLAIN


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("signed up", "signed%20up"),
        ("100%", "100%25"),
        ('"quoted"', "%22quoted%22"),
        ("Euro \u20ac \U0001f600", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("%41", "%2541"),
        ("a\r\nx: y\x00", "a%0D%0Ax:%20y%00"),
        ("!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ],
    ids=["space", "percent", "quote", "specification's example", "encoded already", "line break", "safe"],
)
def test_headers_of_binary_mode_are_percent_encoded(name: str, header: str) -> None:
    """Space, quote, percent and all beyond printable ASCII, once; the other characters stay readable."""
    request = written(make_event(name, distinct_id=name, key=name), "binary")

    assert {request.headers[f"ce-{name}"] for name in ("type", "subject", "partitionkey")} == {header}
    assert unquote(header) == name
    [found] = parsed(request)
    assert (found.get_type(), found.get_subject()) == (name, name)


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_reads_what_we_send(mode: Mode) -> None:
    """Every attribute, the extensions and the data, in each mode."""
    event = make_event("signed up", properties=PLAIN, uuid=UUID, key="k \u20ac", headers={"traceparent": "00-1"})

    [found] = parsed(written(event, mode))

    assert found.get_attributes() == {
        "specversion": "1.0",
        "id": UUID,
        "source": SOURCE,
        "type": "signed up",
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "subject": "u1",
        "datacontenttype": found.get_datacontenttype(),
        "partitionkey": "k \u20ac",
        "traceparent": "00-1",
    }
    assert found.get_datacontenttype() == "application/json"
    assert found.get_data() == PLAIN


@pytest.mark.parametrize("extra", [{}, {"key": "k"}], ids=["spliced", "with a key"])
def test_lifted_properties_are_back_in_the_data(extra: Mapping[str, Any]) -> None:
    """With several sinks an event is lifted for one of them and complete for all."""
    for properties in ({"a": 1}, {}):
        event = make_event(properties=properties, lifted={"$lib": "mine", "$id": None}, **extra)

        assert members(event)["data"] == {**properties, "$lib": "mine", "$id": None}


@pytest.mark.parametrize(
    ("parts", "rest"),
    [
        ({"distinct_id": ""}, {"distinct_id": ""}),
        ({"key": ""}, {"key": ""}),
        ({"headers": {"X-Region": "eu"}}, {"headers": {"X-Region": "eu"}}),
        ({"headers": {"id": "7", "time": "now"}}, {"headers": {"id": "7", "time": "now"}}),
        ({"headers": {"data": "7", "eventpipe": "{"}}, {"headers": {"data": "7", "eventpipe": "{"}}),
        ({"headers": {"partitionkey": "7"}}, {"headers": {"partitionkey": "7"}}),
        ({"headers": {"ce-id": "7"}}, {"headers": {"ce-id": "7"}}),
        ({"headers": {"ce-time": "noon"}}, {"headers": {"ce-time": "noon"}}),
        ({"headers": {"ce-time": "2026-01-01T00:00:00Z"}}, {"headers": {"ce-time": "2026-01-01T00:00:00Z"}}),
        ({"headers": {"ce-source": "a b"}}, {"headers": {"ce-source": "a b"}}),
        ({"headers": {"ce-data": "text"}}, {"headers": {"ce-data": "text"}}),
        ({"headers": {"ce-datacontenttype": "text/xml"}}, {"headers": {"ce-datacontenttype": "text/xml"}}),
        ({"headers": {"ce-json": "region", "region": "eu"}}, {"headers": {"ce-json": "region"}}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("mode", MODES)
def test_what_no_attribute_can_say_stands_in_an_extension_of_ours(
    parts: dict[str, Any], rest: dict[str, Any], mode: Mode
) -> None:
    """Empty ids and keys, names that no attribute may have, and names that mean something else already."""
    event = make_event(**parts, properties={"data": 1})

    [found] = parsed(written(event, mode))

    assert orjson.loads(found.get_extension("eventpipe")) == rest
    assert (found.get_id(), found.get_source(), found.get_data()) == (event.uuid, SOURCE, {"data": 1})
    assert found.get_datacontenttype() == "application/json"


def test_an_event_that_attributes_can_say_has_no_extension_of_ours() -> None:
    """The common case pays nothing."""
    event = make_event(key="k", headers={"region": "eu", "a2345678901234567890123": "long"})

    assert members(event).keys() == {
        *("specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"),
        *("partitionkey", "region", "a2345678901234567890123"),
    }


def test_attributes_that_do_not_fit_in_headers_go_structured() -> None:
    """8 KiB of headers, which servers commonly take; the event arrives in the mode that every receiver reads."""
    small, large = make_event("\u20ac" * 800), make_event("\u20ac" * 1000)

    assert "ce-type" in written(small, "binary").headers
    request = written(large, "binary")
    assert request == written(large, "structured")
    assert [event.event for event in read_cloudevents(request.headers, request.body)] == [large.event]


def test_as_many_attributes_as_servers_take_are_headers() -> None:
    """Python's own server, and others, refuse a request with more than a hundred headers."""
    own = len(written(make_event(), "binary").headers)
    most = {f"h{number}": "v" for number in range(64 - own)}

    assert len(written(make_event(headers=most), "binary").headers) == 64
    one_more = make_event(headers={**most, "another": "v"})
    assert written(one_more, "binary") == written(one_more, "structured")


def test_the_largest_batch_is_read_by_our_own_reader() -> None:
    """With as many events as a client batches by default, and the longest source."""
    codec = CloudEvents("/" + "s" * (MAX_SOURCE - 1))
    number = ClientOptions().batch_events
    bare = make_event(properties={"text": ""}).size
    event = make_event(properties={"text": "x" * (codec.max_batch_bytes // number - bare)})

    request = codec.request(make_batch([event] * number), 1, 0.0)

    assert codec.max_batch_bytes - number < event.size * number <= codec.max_batch_bytes
    assert len(read_cloudevents(request.headers, request.body)) == number


@pytest.mark.parametrize("mode", MODES)
def test_all_attempts_are_alike(mode: Mode) -> None:
    """Neither the attempt's number nor its time is in the request."""
    batch, codec = make_batch(), CloudEvents(SOURCE, mode=mode)

    assert codec.request(batch, 1, 1.0) == codec.request(batch, 7, 99.0)


@pytest.mark.parametrize(("mode", "events"), [("batch", None), ("structured", 1), ("binary", 1)], ids=str)
def test_modes_for_single_events_ask_for_them(mode: Mode, events: int | None) -> None:
    """The client fills a batch with as many events as a request can hold."""
    codec = CloudEvents(SOURCE, mode=mode)

    assert codec.max_batch_events == events
    assert (codec.has_lanes, codec.lifted) == (False, frozenset())
    assert (codec.max_event_bytes, codec.max_batch_bytes) == (900 * 1024, 16 * 1024 * 1024)
    own = CloudEvents(SOURCE, mode=mode, max_event_bytes=10, max_batch_bytes=100)
    assert (own.max_event_bytes, own.max_batch_bytes) == (10, 100)


@pytest.mark.parametrize(
    "source",
    [
        "/",
        "checkout",
        "//host/path",
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "https://shop.example/a?b=c#d",
        "http://[::1]:80/",
        "mailto:a@b.example",
        "a/b:c",
        "%20",
    ],
)
def test_a_source_is_any_uri_reference(source: str) -> None:
    """Absolute, relative, with a query and a fragment."""
    body = CloudEvents(source).request(make_batch(), 1, 0.0).body

    assert [event["source"] for event in orjson.loads(body)] == [source]
    assert repr(CloudEvents(source, mode="binary")) == f"CloudEvents({source!r}, mode='binary')"


@pytest.mark.parametrize(
    "source",
    [
        *("", " ", "a b", "/a\n", "/a\r\nX: y", "\u20ac", "1a:b", ":", "%", "%2", "%zz", "a#b#c", '"', "<a>", "a\\b"),
        *("\x00", "\ud800", "\u2028", "x" * 2049, "x" * 65536, None, 7, b"/"),
    ],
    ids=ascii,
)
def test_a_source_that_is_no_uri_reference_is_refused(source: Any) -> None:
    """At construction, with a message that stays short."""
    with pytest.raises(ValueError, match=r"^source must be a URI reference of 1 to 2048 characters") as caught:
        CloudEvents(source)

    assert len("".join(traceback.format_exception_only(caught.value))) < 300


@pytest.mark.parametrize("mode", ["Batch", "", None, 1])
def test_a_mode_that_does_not_exist_is_refused(mode: Any) -> None:
    """The message lists those that do."""
    with pytest.raises(ValueError, match=r"^mode must be one of 'batch', 'structured', 'binary', not "):
        CloudEvents(SOURCE, mode=mode)


@pytest.mark.wallclock
@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
async def test_events_of_a_client_arrive_in_each_mode(mode: Mode) -> None:
    """Over a real socket, compressed, one event per request where the mode asks for it."""
    async with ScriptedServer() as server:
        async with AsyncClient(HttpSink(server.url, CloudEvents(SOURCE, mode=mode))) as client:
            for number in range(3):
                await client.capture("signed up", distinct_id=f"u{number}", properties={"text": "x" * 2000})
            assert await client.flush()

        arrived = [read_cloudevents(request.headers, request.body, source=SOURCE) for request in server.requests]

    assert [[event.distinct_id for event in events] for events in arrived] == (
        [["u0", "u1", "u2"]] if mode == "batch" else [["u0"], ["u1"], ["u2"]]
    )
    assert {event.event for events in arrived for event in events} == {"signed up"}
