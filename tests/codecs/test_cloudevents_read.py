"""CloudEvents read as events: everybody's, and our own without loss."""

from __future__ import annotations

import binascii
import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings import http as sdk
from cloudevents.core.v1.event import CloudEvent
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from eventpipe.codecs import CloudEvents, read_cloudevents
from eventpipe.codecs.cloudevents import Mode
from eventpipe.encoding import Encoder
from eventpipe.events import CapturedEvent, Event
from eventpipe.testing.events import make_batch, make_event
from tests.codecs.test_cloudevents import MODES, SOURCE, UUID, parsed
from tests.codecs.test_json import JSON_VALUES

BATCH = {"content-type": "application/cloudevents-batch+json"}
ONE_TOO_MANY = "event 0: the body must hold at most 2000000 values"
STRUCTURED = {"content-type": "application/cloudevents+json"}
REQUIRED = {"specversion": "1.0", "id": UUID, "source": "/s", "type": "paid"}
BINARY = {f"ce-{name}": value for name, value in REQUIRED.items()}

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8)
HEADER_NAMES = st.one_of(
    st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=24),
    st.sampled_from(
        [
            *("id", "source", "type", "time", "subject", "data", "specversion", "datacontenttype", "dataschema"),
            *("partitionkey", "eventpipe", "ce-id", "ce-source", "ce-time", "ce-dataschema", "ce-datacontenttype"),
            *("ce-data", "ce-json", "X-Region", "data_base64", "Ce-Id"),
        ]
    ),
)
HEADER_VALUES = st.one_of(
    PRINTABLE,
    st.sampled_from(
        [
            *("none", "json", "text", "base64", "object", "application/json", "text/xml", "a+json", "true", "0", "-7"),
            *("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "id region", "/elsewhere", "a b", "007", UUID),
            *("application/cloudevents+json", "text/plain\u20ac"),
        ]
    ),
)
HEADERS = st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4)
PROPERTIES = st.one_of(
    st.dictionaries(st.text('abc{}",', max_size=4), JSON_VALUES, max_size=4),
    st.fixed_dictionaries({"data": JSON_VALUES}),
    st.fixed_dictionaries({"data_base64": st.one_of(TEXT, st.sampled_from(["", "/w==", "YQ==", "YR==", "/w"]))}),
)
OUR_EVENTS = st.builds(
    make_event,
    event=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    distinct_id=st.none() | TEXT,
    properties=PROPERTIES,
    headers=st.none() | HEADERS,
    key=st.none() | TEXT,
    lifted=st.none() | st.dictionaries(st.sampled_from(["$lib", "$os"]), JSON_VALUES, max_size=2),
    timestamp=st.sampled_from([0.0, -0.5, 1_767_225_600.000001, 253_402_300_799.0]),
)


def described(event: CapturedEvent) -> Event:
    """The event that a reader should make of it."""
    return Event(
        event.event,
        distinct_id=event.distinct_id,
        properties=event.properties,
        timestamp=event.timestamp,
        uuid=event.uuid,
        headers=dict(event.headers) or None,
        key=event.extra.key if event.extra else None,
    )


def read(members: Mapping[str, Any]) -> Event:
    """Read one event in structured mode."""
    [event] = read_cloudevents(STRUCTURED, orjson.dumps(members), source="/s")
    return event


def captured(event: Event) -> CapturedEvent:
    """The event as a client takes it in."""
    return Encoder(strict=True).encode(
        event.event, event.distinct_id, event.properties, event.timestamp, event.uuid, event.headers, event.key, None
    )


def rewritten(event: Event, mode: Mode = "structured") -> dict[str, Any]:
    """What the SDK finds in the event written again, by the name of the attribute; ``data`` beside them."""
    [found] = parsed(CloudEvents("/own", mode=mode).request(make_batch([captured(event)]), 1, 0.0))
    return {**found.get_attributes(), "data": found.get_data()}


@pytest.mark.parametrize("mode", MODES)
@given(event=OUR_EVENTS)
def test_our_events_come_back_as_they_were(mode: Mode, event: CapturedEvent) -> None:
    """Whatever name, ids, properties, key and headers they have, also headers that mean something to the codec."""
    request = CloudEvents(SOURCE, mode=mode).request(make_batch([event]), 1, 0.0)
    wanted = described(event)
    if wanted.properties == {} and event.headers.get("ce-data") == "none":
        wanted.properties = None

    [found] = read_cloudevents(request.headers, request.body, source=SOURCE)

    assert found == wanted


@given(events=st.lists(OUR_EVENTS, min_size=1, max_size=4))
def test_a_batch_comes_back_in_order(events: list[CapturedEvent]) -> None:
    """Each event as if it were alone."""
    codec = CloudEvents(SOURCE)
    request = codec.request(make_batch(events), 1, 0.0)

    found = read_cloudevents(request.headers, request.body)

    one_by_one = [codec.request(make_batch([event]), 1, 0.0).body for event in events]
    assert found == [event for body in one_by_one for event in read_cloudevents(request.headers, body)]


TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).flatmap(
    lambda moment: st.builds(
        lambda minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes))), st.integers(-1439, 1439)
    )
)
# What the SDK itself takes through each of its modes: text that is no JSON of another kind.
FOREIGN_DATA = st.one_of(
    st.tuples(st.none() | st.just("application/json"), st.dictionaries(TEXT, JSON_VALUES, max_size=3)),
    st.tuples(st.just("application/geo+json; charset=utf-8"), st.dictionaries(TEXT, JSON_VALUES, max_size=3)),
    st.tuples(st.none() | st.just("application/json"), st.lists(JSON_VALUES, max_size=3)),
    st.tuples(st.sampled_from(["text/plain", "application/xml; charset=utf-8"]), TEXT.filter(bool)),
    st.tuples(st.sampled_from(["image/png", "application/octet-stream"]), st.binary(max_size=8).map(b"\xff".__add__)),
    st.tuples(st.none() | st.just("text/plain"), st.none()),
)


@st.composite
def foreign_events(draw: st.DrawFn) -> CloudEvent:
    """A CloudEvent of anybody's, made by the SDK."""
    content_type, data = draw(FOREIGN_DATA)
    attributes: dict[str, Any] = {
        "id": draw(
            st.one_of(PRINTABLE.filter(bool), st.uuids().map(str), st.uuids().map(lambda found: str(found).upper()))
        ),
        "source": draw(st.sampled_from(["/s", "/own", "https://shop.example/a?b#c", "urn:x:y"])),
        "type": draw(TEXT.filter(bool)),
        "time": draw(TIMES),
        **draw(
            st.fixed_dictionaries(
                {}, optional={"subject": TEXT.filter(bool), "dataschema": st.just("https://schema.example/1")}
            )
        ),
        **draw(
            st.dictionaries(st.sampled_from(["region", "traceparent", "partitionkey", "x1"]), PRINTABLE, max_size=3)
        ),
    }
    assume(attributes.get("partitionkey") != "")
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return CloudEvent(attributes, data)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("write", [sdk.to_structured_event, sdk.to_binary_event], ids=["structured", "binary"])
@given(event=foreign_events())
def test_events_of_the_sdk_pass_through_unchanged(write: Any, mode: Mode, event: CloudEvent) -> None:
    """Written by the SDK, read, captured, written in any mode, parsed by the SDK: the same attributes and data."""
    assume(write is not sdk.to_binary_event or not isinstance(event.get_data(), list))  # which it writes as no JSON
    message = write(event)
    wanted = {**event.get_attributes(), "data": event.get_data()}
    if event.get_data() is not None and not isinstance(event.get_data(), bytes):
        wanted.setdefault("datacontenttype", "application/json")

    [found] = read_cloudevents(message.headers, message.body)

    assert rewritten(found, mode) == wanted


def test_attributes_are_the_parts_of_an_event() -> None:
    """Core attributes, the partition key, and every other extension as a header of its name."""
    found = read(
        {
            **REQUIRED,
            "subject": "u1",
            "time": "2026-01-31T10:05:00.25+01:00",
            "datacontenttype": "application/json",
            "partitionkey": "k",
            "traceparent": "00-1",
            "data": {"plan": "pro"},
        }
    )

    assert found == Event(
        "paid",
        distinct_id="u1",
        properties={"plan": "pro"},
        timestamp=datetime(2026, 1, 31, 9, 5, 0, 250_000, tzinfo=UTC),
        uuid=UUID,
        headers={"ce-time": "2026-01-31T10:05:00.25+01:00", "traceparent": "00-1"},
        key="k",
    )


def test_the_least_a_cloudevent_can_have() -> None:
    """Without time, subject and data there is none of them in the event."""
    assert read(REQUIRED) == Event("paid", uuid=UUID, headers={"ce-data": "none"})
    assert read({**REQUIRED, "time": None, "subject": None, "data": None}) == read(REQUIRED)


def test_sources_of_others_are_kept() -> None:
    """Your own is not: it is the codec's."""
    body = orjson.dumps({**REQUIRED, "data": {}})

    assert read_cloudevents(STRUCTURED, body)[0].headers == {"ce-source": "/s"}
    assert read_cloudevents(STRUCTURED, body, source="/other")[0].headers == {"ce-source": "/s"}
    assert read_cloudevents(STRUCTURED, body, source="/s")[0].headers is None


def test_an_id_that_is_no_uuid_makes_one() -> None:
    """The same for the same source and id, another for another; the id itself is kept."""
    [one] = read_cloudevents(STRUCTURED, orjson.dumps({**REQUIRED, "id": "order-7", "data": {}}))
    [again] = read_cloudevents(STRUCTURED, orjson.dumps({**REQUIRED, "id": "order-7", "data": {}}))
    [other] = read_cloudevents(STRUCTURED, orjson.dumps({**REQUIRED, "id": "order-7", "source": "/t", "data": {}}))

    assert one.uuid == again.uuid == "a3f6b4bc-e0a2-56db-abbb-4fe89e1669a2"
    assert other.uuid != one.uuid
    assert one.headers == {"ce-source": "/s", "ce-id": "order-7"}


def test_an_id_that_is_a_uuid_is_the_events_own() -> None:
    """In its canonical form; how it was spelled is kept."""
    found = read({**REQUIRED, "id": UUID.upper(), "data": {}})

    assert (found.uuid, found.headers) == (UUID, {"ce-id": UUID.upper()})


@pytest.mark.parametrize(
    ("text", "moment", "is_kept"),
    [
        ("2026-01-31T09:05:00Z", datetime(2026, 1, 31, 9, 5, tzinfo=UTC), False),
        ("2026-01-31t09:05:00.5z", datetime(2026, 1, 31, 9, 5, 0, 500_000, tzinfo=UTC), False),
        ("2026-01-31T09:05:00.000000000-00:00", datetime(2026, 1, 31, 9, 5, tzinfo=UTC), False),
        ("2026-01-31T09:05:00.123456789Z", datetime(2026, 1, 31, 9, 5, 0, 123_456, tzinfo=UTC), True),
        ("2026-01-31T23:05:00-01:30", datetime(2026, 2, 1, 0, 35, tzinfo=UTC), True),
        ("2016-12-31T23:59:60.5Z", datetime(2017, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC), True),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), False),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_times_of_any_offset_and_precision_are_read(text: str, moment: datetime, is_kept: bool, mode: Mode) -> None:
    """In UTC, cut to microseconds; a text that says more is kept, and written again."""
    found = read({**REQUIRED, "time": text, "data": {}})

    assert found.timestamp == moment
    assert found.headers == ({"ce-time": text} if is_kept else None)
    request = CloudEvents(SOURCE, mode=mode).request(make_batch([captured(found)]), 1, 0.0)
    said = request.headers["ce-time"] if mode == "binary" else request.body.decode()
    assert (text in said) is is_kept


@pytest.mark.parametrize(
    ("members", "properties", "headers"),
    [
        ({"data": [1, {}]}, {"data": [1, {}]}, {"ce-data": "json"}),
        ({"data": "text"}, {"data": "text"}, {"ce-data": "json"}),
        ({"data": False}, {"data": False}, {"ce-data": "json"}),
        ({"data": 0, "datacontenttype": "application/json"}, {"data": 0}, {"ce-data": "json"}),
        (
            {"data": "<a/>", "datacontenttype": "text/xml"},
            {"data": "<a/>"},
            {"ce-data": "text", "ce-datacontenttype": "text/xml"},
        ),
        ({"data": "", "datacontenttype": "a/b"}, {"data": ""}, {"ce-data": "text", "ce-datacontenttype": "a/b"}),
        ({"data_base64": "/w=="}, {"data_base64": "/w=="}, {"ce-data": "base64"}),
        (
            {"data_base64": "YQ==", "datacontenttype": "image/png"},
            {"data_base64": "YQ=="},
            {"ce-data": "base64", "ce-datacontenttype": "image/png"},
        ),
        (
            {"data": {"a": 1}, "datacontenttype": "application/geo+json"},
            {"a": 1},
            {"ce-datacontenttype": "application/geo+json"},
        ),
        ({"data": {"a": 1}, "datacontenttype": "text/xml"}, {"a": 1}, {"ce-datacontenttype": "text/xml"}),
        ({"datacontenttype": "text/xml"}, None, {"ce-data": "none", "ce-datacontenttype": "text/xml"}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("mode", MODES)
def test_data_of_other_kinds_is_one_property(
    members: dict[str, Any], properties: dict[str, Any] | None, headers: dict[str, str], mode: Mode
) -> None:
    """Arrays, texts, numbers, bytes and nothing: read as a property, and from it written and read as what they were."""
    found = read({**REQUIRED, **members, "time": "2026-01-31T09:05:00Z"})

    assert (found.properties, found.headers) == (properties, headers)
    request = CloudEvents("/s", mode=mode).request(make_batch([captured(found)]), 1, 0.0)
    assert read_cloudevents(request.headers, request.body, source="/s") == [found]


@pytest.mark.parametrize(
    ("content_type", "body", "properties", "kind"),
    [
        ("application/json", b'{"a":1}', {"a": 1}, None),
        ("Application/JSON; charset=utf-8", b'{"a":1}', {"a": 1}, None),
        ("application/json", b" [1]", {"data": [1]}, "json"),
        ("application/json", b"null", None, "none"),
        ("application/json", b"", None, "none"),
        ("text/plain", b"", None, "none"),
        ("text/plain", b"1", {"data": "1"}, "text"),
        ("application/xml", "<\u20ac/>".encode(), {"data": "<\u20ac/>"}, "text"),
        ("image/png", b"\x89PNG", {"data_base64": "iVBORw=="}, "base64"),
        ("text/plain; charset=UTF-8", b"\xc3\xa9", {"data": "\u00e9"}, "text"),
        ("text/plain; charset=latin-1", b"\xc3\xa9", {"data_base64": "w6k="}, "base64"),
        ('text/plain;charset="utf-16"', b"a\0", {"data_base64": "YQA="}, "base64"),
        (None, b'{"a":1}', {"a": 1}, None),
        (None, b"a,b", {"data_base64": "YSxi"}, "base64"),
        (None, b"\xff", {"data_base64": "/w=="}, "base64"),
    ],
    ids=repr,
)
def test_bodies_of_binary_mode_are_read_by_their_type(
    content_type: str | None, body: bytes, properties: dict[str, Any] | None, kind: str | None
) -> None:
    """JSON where the type says so, text where another is UTF-8, else bytes; without a type JSON, or else bytes.

    A type that names another charset is believed: read as UTF-8, its text could be another one.
    """
    headers = BINARY if content_type is None else {**BINARY, "Content-Type": content_type}

    [found] = read_cloudevents(headers, body, source="/s")

    assert found.properties == properties
    assert (found.headers or {}).get("ce-data") == kind


def test_bytes_travel_as_a_body_where_headers_can_say_what_they_are() -> None:
    """Bytes and text are the body of binary mode; what a reader would take for something else goes structured."""

    def sent(members: dict[str, Any]) -> tuple[str, bytes]:
        found = read({**REQUIRED, **members})
        event = make_event(properties=found.properties, headers=found.headers)
        request = CloudEvents("/s", mode="binary").request(make_batch([event]), 1, 0.0)
        return request.headers["Content-Type"], request.body

    assert sent({"data_base64": "iVBORw==", "datacontenttype": "image/png"}) == ("image/png", b"\x89PNG")
    assert sent({"data": "<a/>", "datacontenttype": "text/xml"}) == ("text/xml", b"<a/>")
    latin = "text/plain; charset=latin-1"
    assert sent({"data_base64": "w6k=", "datacontenttype": latin}) == (latin, b"\xc3\xa9")
    for members in (
        {"data_base64": "YQ==", "datacontenttype": "image/png"},
        {"data_base64": "/w==", "datacontenttype": "application/json"},
        {"data_base64": "/x==", "datacontenttype": "image/png"},
        {"data": "", "datacontenttype": "text/plain"},
        {"data": "\u00e9", "datacontenttype": latin},
        {"data_base64": "", "datacontenttype": latin},
        {"data": "{}", "datacontenttype": "application/cloudevents+xml"},
        {"data": "x", "datacontenttype": "text/plain\r\nX: y"},
        {"data": "x", "datacontenttype": "text/\u20ac"},
    ):
        assert sent(members)[0] == "application/cloudevents+json; charset=UTF-8"


@pytest.mark.parametrize(
    "parts",
    [
        {"headers": {"ce-data": "none"}, "properties": {"a": 1}},
        {"headers": {"ce-data": "json"}, "properties": {"data": None}},
        {"headers": {"ce-data": "json"}, "properties": {"data": {"a": 1}}},
        {"headers": {"ce-data": "json"}, "properties": {"data": 1, "more": 2}},
        {"headers": {"ce-data": "json", "ce-datacontenttype": "text/xml"}, "properties": {"data": "x"}},
        {"headers": {"ce-data": "text", "ce-datacontenttype": "text/xml"}, "properties": {"data": 7}},
        {"headers": {"ce-data": "base64"}, "properties": {"data_base64": "Y"}},
        {"headers": {"ce-data": "base64"}, "properties": {"data_base64": 7}},
        {"headers": {"ce-json": "type subject"}, "event": "7", "distinct_id": "7"},
        {"headers": {"ce-json": "count region", "count": "7", "region": "eu"}},
        {"headers": {"ce-json": "count", "count": "007"}},
        {"headers": {"ce-id": "order-7", "ce-source": "/elsewhere"}},
    ],
    ids=repr,
)
@pytest.mark.parametrize("mode", MODES)
def test_headers_that_promise_what_is_not_there_change_nothing(parts: dict[str, Any], mode: Mode) -> None:
    """Written by hand, or left over when the properties were changed: the event is the same at the other end."""
    event = make_event(**parts)
    request = CloudEvents(SOURCE, mode=mode).request(make_batch([event]), 1, 0.0)

    assert read_cloudevents(request.headers, request.body, source=SOURCE) == [described(event)]


@pytest.mark.parametrize("mode", MODES)
def test_numbers_and_booleans_among_the_attributes_stay_such(mode: Mode) -> None:
    """As text in the event's headers and in HTTP's, and again as what they were in JSON."""
    members = {**REQUIRED, "flag": True, "off": False, "count": -7, "text": "7", "data": {}}
    found = read(members)

    assert found.headers == {"ce-json": "count flag off", "flag": "true", "off": "false", "count": "-7", "text": "7"}
    request = CloudEvents("/s", mode=mode).request(make_batch([captured(found)]), 1, 0.0)
    [again] = read_cloudevents(request.headers, request.body, source="/s")
    assert (again.headers, again.properties) == (found.headers, found.properties)
    [event] = parsed(request)
    values = [event.get_extension(name) for name in ("flag", "off", "count", "text")]
    assert values == (["true", "false", "-7", "7"] if mode == "binary" else [True, False, -7, "7"])


def test_headers_are_read_in_any_case_and_from_any_mapping() -> None:
    """As servers and frameworks keep them."""
    for headers in (
        {"CONTENT-TYPE": "Application/CloudEvents+JSON;charset=utf-8"},
        CIMultiDict({"Content-Type": 'application/cloudevents+json ; charset="UTF-8"'}),
    ):
        [found] = read_cloudevents(headers, orjson.dumps({**REQUIRED, "data": {}}), source="/s")
        assert found == Event("paid", properties={}, uuid=UUID)
    [found] = read_cloudevents({name.upper(): value for name, value in BINARY.items()}, b"{}", source="/s")
    assert found == Event("paid", properties={}, uuid=UUID)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a%20b", "a b"),
        ("%E2%82%AC%e2%82%ac", "\u20ac\u20ac"),
        ("%2541", "%41"),
        ('"a b"', "a b"),
        ('"a \\"b\\" \\\\"', 'a "b" \\'),
        ('"%20"', " "),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("\udce2\udc82\udcac", "\u20ac"),
    ],
    ids=ascii,
)
def test_headers_are_decoded_once(value: str, text: str) -> None:
    """Percent-encoding, the quotes of earlier versions, and raw UTF-8 that a server could not decode."""
    [found] = read_cloudevents({**BINARY, "ce-subject": value}, b"{}", source="/s")

    assert found.distinct_id == text


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"specversion": "0.3"}, "specversion must be '1.0', not '0.3'"),
        ({"specversion": None}, "specversion is missing"),
        ({"specversion": 1.0}, "specversion must be a string"),
        ({"id": None}, "id is missing"),
        ({"id": ""}, "id must not be empty"),
        ({"id": 7}, "id must be a string"),
        ({"source": None}, "source is missing"),
        ({"source": ""}, "source must not be empty"),
        ({"source": "a b"}, "source must be a URI reference"),
        ({"source": "a\n"}, "source must be a URI reference"),
        ({"type": None}, "type is missing"),
        ({"type": ""}, "type must not be empty"),
        ({"subject": ""}, "subject must not be empty"),
        ({"subject": {}}, "subject must be a string"),
        ({"datacontenttype": ""}, "datacontenttype must not be empty"),
        ({"dataschema": ""}, "dataschema must not be empty"),
        ({"partitionkey": ""}, "partitionkey must not be empty"),
        ({"time": "noon"}, "time must be a time as RFC 3339 writes it, such as 2026-01-31T09:05:00Z"),
        ({"time": "2026-01-31"}, "time must be a time as RFC 3339 writes it, such as 2026-01-31T09:05:00Z"),
        ({"time": "2026-01-31T09:05:00"}, "time must be a time as RFC 3339 writes it, such as 2026-01-31T09:05:00Z"),
        ({"time": "2026-02-30T09:05:00Z"}, "time must be a time that exists, in the years 1 to 9999"),
        ({"time": "2026-01-31T24:00:00Z"}, "time must be a time that exists, in the years 1 to 9999"),
        ({"time": "2026-01-31T09:05:61Z"}, "time must be a time that exists, in the years 1 to 9999"),
        ({"time": "2026-01-31T09:05:00+01:60"}, "time must be a time that exists, in the years 1 to 9999"),
        ({"time": "2026-01-31T09:05:00+24:00"}, "time must be a time that exists, in the years 1 to 9999"),
        ({"time": "0001-01-01T00:00:00+01:00"}, "time must be a time that exists, in the years 1 to 9999"),
        ({"time": "9999-12-31T23:59:60Z"}, "time must be a time that exists, in the years 1 to 9999"),
        ({"region": 1.5}, "region must be a string, a whole number or a boolean"),
        ({"region": []}, "region must be a string, a whole number or a boolean"),
        ({"Region": "eu"}, "'Region' must be lower-case letters and digits, as every attribute's name"),
        ({"": "eu"}, "'' must be lower-case letters and digits, as every attribute's name"),
        ({"r" * 99 + "-": 1}, f"'{'r' * 56}... must be lower-case letters and digits, as every attribute's name"),
        ({"data": 1, "data_base64": "YQ=="}, "data_base64 must not stand beside data"),
        ({"data_base64": "YQ"}, "data_base64 must be a string of base64"),
        ({"data_base64": "Y Q=="}, "data_base64 must be a string of base64"),
        ({"data_base64": 7}, "data_base64 must be a string of base64"),
        ({"eventpipe": "{"}, "eventpipe must be a JSON object of distinct_id, key and headers, all of them strings"),
        ({"eventpipe": "[]"}, "eventpipe must be a JSON object of distinct_id, key and headers, all of them strings"),
        ({"eventpipe": 7}, "eventpipe must be a JSON object of distinct_id, key and headers, all of them strings"),
        *(
            (
                {"eventpipe": rest},
                "eventpipe must be a JSON object of distinct_id, key and headers, all of them strings",
            )
            for rest in ('{"x":""}', '{"key":1}', '{"distinct_id":null}', '{"headers":[]}', '{"headers":{"a":1}}')
        ),
    ],
    ids=repr,
)
def test_a_fault_names_event_attribute_and_rule(changes: dict[str, Any], fault: str) -> None:
    """Of a batch, the first that breaks one; nothing of it is read."""
    body = orjson.dumps([REQUIRED, {**REQUIRED, **changes}])

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        read_cloudevents(BATCH, body)

    assert str(caught.value) == f"event 1: {fault}"


@pytest.mark.parametrize(
    ("headers", "body", "fault"),
    [
        (STRUCTURED, b"{", "the body must be JSON in UTF-8"),
        (STRUCTURED, b'{"id":"\xff"}', "the body must be JSON in UTF-8"),
        (STRUCTURED, b"[]", "event 0: a CloudEvent must be a JSON object"),
        (STRUCTURED, b"[" * 5000, "the body must be JSON in UTF-8"),
        (BATCH, b"{}", "the body of a batch must be a JSON array"),
        (BATCH, b"[1]", "event 0: a CloudEvent must be a JSON object"),
        (
            {"content-type": "application/cloudevents+avro"},
            b"",
            "the content type must be application/cloudevents+json or application/cloudevents-batch+json, "
            "not 'application/cloudevents+avro'",
        ),
        (
            {"content-type": "application/cloudevents+json; charset=utf-16"},
            b"{}",
            "the charset must be UTF-8, not 'utf-16'",
        ),
        (
            {"content-type": "application/json"},
            b"{}",
            "the request holds no CloudEvent: its content type is not application/cloudevents+json or "
            "application/cloudevents-batch+json, and it has no header ce-specversion",
        ),
        ({**BINARY, "CE-ID": "2"}, b"", "id must be given once"),
        ({**BINARY, "content-type": "a/b", "Content-Type": "c/d"}, b"", "content-type must be given once"),
        ({**BINARY, "ce-specversion": "0.3"}, b"", "event 0: specversion must be '1.0', not '0.3'"),
        ({**BINARY, "ce-id": ""}, b"", "event 0: id must not be empty"),
        (
            {**BINARY, "ce-my-name": "x"},
            b"",
            "event 0: 'my-name' must be letters and digits, as every attribute's name",
        ),
        ({**BINARY, "ce-data": "x"}, b"", "event 0: 'data' must be letters and digits, as every attribute's name"),
        ({**BINARY, "ce-subject": "%ff"}, b"", "event 0: subject must be percent-encoded UTF-8"),
        ({**BINARY, "ce-subject": "\udcff"}, b"", "event 0: subject must be percent-encoded UTF-8"),
        ({**BINARY, "content-type": ""}, b"", "event 0: datacontenttype must not be empty"),
        ({**BINARY, "content-type": "application/json"}, b"{", "event 0: data must be JSON, as datacontenttype says"),
        (STRUCTURED, b" " * (20 * 2**20 + 1), "the body must have at most 20 MiB, not 20971521 bytes"),
        (BATCH, b"[" + b"{}," * 1_000_000 + b"{}]", "the body must hold at most 2000000 values"),
        ({**BINARY, "content-type": "application/json"}, b"[" * 2_000_001, ONE_TOO_MANY),
    ],
    ids=range(22),
)
def test_a_request_that_holds_no_cloudevents_is_refused(headers: dict[str, str], body: bytes, fault: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        read_cloudevents(headers, body)

    assert str(caught.value) == fault


def test_as_many_values_as_are_read_are_read() -> None:
    """A body with a comma less than too many."""
    [found] = read_cloudevents(BINARY, b"[" + b"1," * 1_999_999 + b"1]")

    assert len((found.properties or {})["data"]) == 2_000_000


def test_an_empty_batch_has_no_events() -> None:
    """The specification allows it."""
    assert read_cloudevents(BATCH, b"[]") == []


def outcome(headers: dict[str, str], body: bytes) -> list[Event] | str:
    """The events, or the message of the error."""
    try:
        return read_cloudevents(headers, body)
    except ValueError as error:
        return str(error)


@given(
    headers=st.dictionaries(st.sampled_from([*BINARY, "content-type", "ce-time", "ce-eventpipe"]), st.text(max_size=8)),
    body=st.binary(max_size=64),
)
def test_no_request_makes_the_reader_raise_anything_else(headers: dict[str, str], body: bytes) -> None:
    """Whatever is in headers and body: events, or a ``ValueError``."""
    for content_type in ("", "application/cloudevents+json", "application/cloudevents-batch+json"):
        found = outcome({**headers, "content-type": content_type} if content_type else headers, body)

        assert isinstance(found, list) or len(found) < 400


@given(JSON_VALUES, JSON_VALUES, st.sampled_from(["id", "time", "region", "eventpipe", "data", "data_base64", "type"]))
def test_no_json_makes_the_reader_raise_anything_else(value: Any, whole: Any, name: str) -> None:
    """Of any type in any place."""
    for members in (whole, {**REQUIRED, name: value}):
        found = outcome(STRUCTURED, orjson.dumps(members))

        assert isinstance(found, list) or len(found) < 400


def test_base64_is_the_strict_kind() -> None:
    """The bytes that a receiver decodes are those that were sent."""
    assert read({**REQUIRED, "data_base64": ""}).properties == {"data_base64": ""}
    for length in range(1, 5):
        text = binascii.b2a_base64(b"\xff" * length, newline=False).decode()
        assert read({**REQUIRED, "data_base64": text}).properties == {"data_base64": text}
