"""Events written as OTLP logs, as opentelemetry-proto reads them, and the answers of far ends."""

from __future__ import annotations

import binascii
import builtins
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from eventpipe import AsyncClient
from eventpipe.cli.wires.base import Asked
from eventpipe.cli.wires.otlp import OtlpWire
from eventpipe.codecs import OtlpLogs
from eventpipe.codecs.base import library_version
from eventpipe.codecs.otlp import Encoding
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import CapturedEvent, Event
from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict
from eventpipe.sinks import HttpSink
from eventpipe.testing import Reply, ScriptedServer
from eventpipe.testing.events import STAMP, make_batch, make_event

UUID = "019c0000-0000-7000-8000-000000000001"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENCODINGS: tuple[Encoding, ...] = ("protobuf", "json")
MIDNIGHT = 1_767_225_600_000_000_000  # STAMP in nanoseconds
MAX_DETAIL = 200

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = TEXT | st.sampled_from(["", "log.record.uid", "user.id", "eventpipe.key", "eventpipe.properties", "eventpipe."])
EVENTS = st.builds(
    make_event,
    event=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    distinct_id=st.none() | TEXT,
    properties=st.dictionaries(NAMES, VALUES, max_size=4),
    headers=st.none() | st.dictionaries(TEXT.filter(bool), TEXT, max_size=2),
    key=st.none() | TEXT,
    lifted=st.none() | st.dictionaries(st.sampled_from(["$lib", "eventpipe.headers"]), VALUES, max_size=2),
    timestamp=st.sampled_from([-62_135_596_800.0, -0.5, 0.0, 0.000001, STAMP, STAMP + 0.123457, 253_402_300_799.0]),
)


def parsed(encoding: Encoding, body: bytes) -> ExportLogsServiceRequest:
    """What opentelemetry-proto finds in a body; OTLP's JSON has ids in hexadecimal, protobuf's own in base64."""
    if encoding == "protobuf":
        found: ExportLogsServiceRequest = ExportLogsServiceRequest.FromString(body)
        return found

    def base64(match: re.Match[str]) -> str:
        return f'"{match[1]}":"{binascii.b2a_base64(bytes.fromhex(match[2]), newline=False).decode()}"'

    text = re.sub(r'"(traceId|spanId)":"([0-9a-f]+)"', base64, body.decode())
    whole = ExportLogsServiceRequest()
    json_format.Parse(text, whole)
    return whole


def records(encoding: Encoding, *events: CapturedEvent) -> list[LogRecord]:
    body = OtlpLogs(encoding=encoding).request(make_batch(events), 1, 0.0).body
    [resource_logs] = parsed(encoding, body).resource_logs
    [scope_logs] = resource_logs.scope_logs
    return list(scope_logs.log_records)


def value_of(value: AnyValue) -> Any:  # Any: JSON
    match value.WhichOneof("value"):
        case None:
            return None
        case "kvlist_value":
            return values_of(value.kvlist_value.values)
        case "array_value":
            return [value_of(element) for element in value.array_value.values]
        case kind:
            return getattr(value, kind)


def values_of(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    found = [(attribute.key, value_of(attribute.value)) for attribute in attributes]
    assert len(dict(found)) == len(found)  # names must be unique
    return dict(found)


def read(record: LogRecord) -> Event:
    """The event of a record, as the page on codecs says how it is read."""
    attributes = values_of(record.attributes)
    if "eventpipe.timestamp" in attributes:
        timestamp = datetime.fromisoformat(attributes["eventpipe.timestamp"])
    else:
        timestamp = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=record.time_unix_nano // 1000)
    ours = {name for name in attributes if name in ("log.record.uid", "user.id") or name.startswith("eventpipe.")}
    properties = {name: value for name, value in attributes.items() if name not in ours}
    return Event(
        record.event_name,
        distinct_id=attributes.get("user.id"),
        properties=properties | orjson.loads(attributes.get("eventpipe.properties", "{}")),
        timestamp=timestamp,
        uuid=attributes["log.record.uid"],
        headers=attributes.get("eventpipe.headers"),
        key=attributes.get("eventpipe.key"),
    )


def described(event: CapturedEvent) -> Event:
    return Event(
        event.event,
        distinct_id=event.distinct_id,
        properties=event.properties,
        timestamp=event.timestamp,
        uuid=event.uuid,
        headers=dict(event.headers) or None,
        key=event.extra.key if event.extra else None,
    )


def stored(event: CapturedEvent) -> dict[str, Any]:
    """What the collector keeps of an event."""
    extra = event.extra
    parts = {"key": extra.key if extra else None, "headers": dict(event.headers) or None}
    return {
        "uuid": event.uuid,
        "event": event.event,
        "distinct_id": event.distinct_id,
        "timestamp": event.data[60:87].decode(),
        "properties": event.properties,
        **{part: value for part, value in parts.items() if value is not None},
    }


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_event_is_a_log_record(encoding: Encoding) -> None:
    """Each part in its field, with the names of the semantic conventions."""
    event = make_event(
        "order paid",
        distinct_id="u1",
        uuid=UUID,
        timestamp=STAMP + 0.25,
        key="k",
        headers={"traceparent": f"00-{TRACE}-{SPAN}-01", "region": "eu"},
        properties={"total": 7, "rate": 1.0, "ok": True, "none": None, "tags": ["a", 1, {}], "at": {"x": -1}},
        lifted={"$lib": "mine"},
    )

    [record] = records(encoding, event)

    assert (record.event_name, record.body.string_value) == ("order paid", "order paid")
    assert record.time_unix_nano == MIDNIGHT + 250_000_000
    assert record.observed_time_unix_nano == MIDNIGHT
    assert (record.severity_number, record.severity_text) == (9, "INFO")
    assert (record.trace_id.hex(), record.span_id.hex(), record.flags) == (TRACE, SPAN, 1)
    assert values_of(record.attributes) == {
        "log.record.uid": UUID,
        "user.id": "u1",
        "total": 7,
        "rate": 1.0,
        "ok": True,
        "none": None,
        "tags": ["a", 1, {}],
        "at": {"x": -1},
        "$lib": "mine",
        "eventpipe.key": "k",
        "eventpipe.headers": {"traceparent": f"00-{TRACE}-{SPAN}-01", "region": "eu"},
    }
    kinds = {attribute.key: attribute.value.WhichOneof("value") for attribute in record.attributes}
    assert (kinds["total"], kinds["rate"], kinds["ok"]) == ("int_value", "double_value", "bool_value")


def test_json_is_spelled_as_otlp_has_it() -> None:
    """lowerCamelCase, integers of 64 bits as text, ids in hexadecimal, null as an empty value."""
    event = make_event(
        "e", uuid=UUID, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}, properties={"n": 7, "a": [None], "f": 0.5}
    )

    request = OtlpLogs(encoding="json", resource={"service.name": "shop"}).request(make_batch([event]), 1, 0.0)

    assert request.headers == {"Content-Type": "application/json"}
    [resource_logs] = orjson.loads(request.body)["resourceLogs"]
    assert resource_logs["resource"] == {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    [scope_logs] = resource_logs["scopeLogs"]
    assert scope_logs["scope"] == {"name": "eventpipe", "version": library_version()}
    traceparent = {"key": "traceparent", "value": {"stringValue": f"00-{TRACE}-{SPAN}-01"}}
    assert scope_logs["logRecords"] == [
        {
            "timeUnixNano": str(MIDNIGHT),
            "observedTimeUnixNano": str(MIDNIGHT),
            "severityNumber": 9,
            "severityText": "INFO",
            "body": {"stringValue": "e"},
            "attributes": [
                {"key": "log.record.uid", "value": {"stringValue": UUID}},
                {"key": "user.id", "value": {"stringValue": "u1"}},
                {"key": "n", "value": {"intValue": "7"}},
                {"key": "a", "value": {"arrayValue": {"values": [{}]}}},
                {"key": "f", "value": {"doubleValue": 0.5}},
                {"key": "eventpipe.headers", "value": {"kvlistValue": {"values": [traceparent]}}},
            ],
            "eventName": "e",
            "traceId": TRACE,
            "spanId": SPAN,
            "flags": 1,
        }
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(events=st.lists(EVENTS, min_size=1, max_size=3))
def test_whatever_was_captured_can_be_read_back(encoding: Encoding, events: list[CapturedEvent]) -> None:
    """Any JSON, any names, also those of our own attributes, any time, in order."""
    assert [read(record) for record in records(encoding, *events)] == [described(event) for event in events]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(events=st.lists(EVENTS, min_size=1, max_size=3))
@example(events=[make_event(properties={"eventpipe.headers": {"a": "b"}}, headers={"h": "1"})])
@example(events=[make_event(properties={"eventpipe.headers": {"a": "b"}})])
def test_the_collector_reads_the_same_events(encoding: Encoding, events: list[CapturedEvent]) -> None:
    """``eventpipe serve`` stores what was captured, in either encoding."""
    request = OtlpLogs(encoding=encoding).request(make_batch(events), 1, 0.0)
    asked = Asked("/v1/logs", request.headers["Content-Type"], {}, {})

    taken = OtlpWire().read(asked, request.body, lambda: "ok")

    assert taken.events == [stored(event) for event in events]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_names_of_our_own_attributes_stay_free_for_us(encoding: Encoding) -> None:
    """A property of such a name, or of none, is told beside the attributes, exactly."""
    properties: dict[str, Any] = {
        "": 1,
        "log.record.uid": 2,
        "user.id": None,
        "eventpipe.key": [],
        "eventpipe.x": {},
        "user.name": "n",
    }

    [record] = records(encoding, make_event(distinct_id=None, uuid=UUID, properties=properties))

    attributes = values_of(record.attributes)
    rest = orjson.loads(attributes.pop("eventpipe.properties"))
    assert attributes == {"log.record.uid": UUID, "user.name": "n"}
    assert rest == {name: value for name, value in properties.items() if name != "user.name"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_integers_beyond_64_bits_with_sign_are_text_and_exact_elsewhere(encoding: Encoding) -> None:
    """The bounds themselves are integers."""
    properties = {"least": -(2**63), "most": 2**63 - 1, "more": 2**63, "in": {"a": [2**64 - 1, 1]}}

    [record] = records(encoding, make_event(properties=properties))

    attributes = values_of(record.attributes)
    assert (attributes["least"], attributes["most"]) == (-(2**63), 2**63 - 1)
    assert (attributes["more"], attributes["in"]) == (str(2**63), {"a": [str(2**64 - 1), 1]})
    assert orjson.loads(attributes["eventpipe.properties"]) == {"more": 2**63, "in": {"a": [2**64 - 1, 1]}}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("within", [lambda inner: {"a": inner}, lambda inner: [inner]], ids=["objects", "arrays"])
@pytest.mark.parametrize(("depth", "is_exact"), [(23, True), (24, True), (25, False), (200, False)])
def test_what_lies_too_deep_for_protobuf_is_text_and_exact_elsewhere(
    encoding: Encoding, within: Callable[[Any], Any], depth: int, is_exact: bool
) -> None:
    """Parsers of protobuf refuse messages more than 100 deep, and with them the batch."""
    nested: Any = 1
    for _ in range(depth):
        nested = within(nested)
    event = make_event(properties={"nested": nested})

    [record] = records(encoding, event)

    assert read(record) == described(event)
    assert ("eventpipe.properties" not in values_of(record.attributes)) is is_exact


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("distinct_id", [None, ""], ids=repr)
def test_nobody_and_an_empty_id_are_two_things(encoding: Encoding, distinct_id: str | None) -> None:
    """No attribute, and an empty one."""
    [record] = records(encoding, make_event(distinct_id=distinct_id, key="" if distinct_id == "" else None))

    attributes = values_of(record.attributes)
    assert attributes.get("user.id", None) == attributes.get("eventpipe.key", None) == distinct_id
    assert ("user.id" in attributes) is (distinct_id is not None)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("timestamp", "nanoseconds", "text"),
    [
        (0.000001, 1000, None),
        (0.0, 0, "1970-01-01T00:00:00.000000Z"),
        (-0.5, 0, "1969-12-31T23:59:59.500000Z"),
        (9_223_372_036.0, 9_223_372_036_000_000_000, None),
        (9_223_372_037.0, 0, "2262-04-11T23:47:17.000000Z"),
    ],
)
def test_times_that_nanoseconds_cannot_say_are_text(
    encoding: Encoding, timestamp: float, nanoseconds: int, text: str | None
) -> None:
    """Zero means that the time is not known; some readers take 64 bits with a sign."""
    [record] = records(encoding, make_event(timestamp=timestamp))

    assert record.time_unix_nano == nanoseconds
    assert values_of(record.attributes).get("eventpipe.timestamp") == text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("traceparent", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        (f"01-{TRACE}-{SPAN}-01-more", 1),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        ("x" * 8000, None),
    ],
    ids=range(12),
)
def test_a_traceparent_that_is_none_makes_no_ids(encoding: Encoding, traceparent: str, flags: int | None) -> None:
    """As W3C Trace Context has it; the header travels in any case."""
    [record] = records(encoding, make_event(headers={"Traceparent": traceparent}))

    ids = ("", "", 0) if flags is None else (TRACE, SPAN, flags)
    assert (record.trace_id.hex(), record.span_id.hex(), record.flags) == ids
    assert values_of(record.attributes)["eventpipe.headers"] == {"Traceparent": traceparent}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_resource_and_scope_say_who_sends(encoding: Encoding) -> None:
    """The caller's attributes and scope, or what stands in where there are none."""

    def said(**options: Any) -> tuple[dict[str, Any], str, str]:
        body = OtlpLogs(encoding=encoding, **options).request(make_batch(), 1, 0.0).body
        [logs] = parsed(encoding, body).resource_logs
        scope = logs.scope_logs[0].scope
        return values_of(logs.resource.attributes), scope.name, scope.version

    assert said() == ({"service.name": "unknown_service"}, "eventpipe", library_version())
    attributes = {"service.name": "shop", "cores": 8, "load": 0.5, "spot": True, "zones": ["a", "b"]}
    assert said(resource=attributes, scope_name="checkout") == (attributes, "checkout", "")
    assert said(resource={"team": "t"})[0] == {"service.name": "unknown_service", "team": "t"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_attempts_are_alike(encoding: Encoding) -> None:
    """When it was observed is when the batch was made."""
    batch, codec = make_batch(3, created_at=STAMP + 1.5), OtlpLogs(encoding=encoding)

    assert codec.request(batch, 1, 1.0) == codec.request(batch, 7, 99.0)
    observed = {
        record.observed_time_unix_nano
        for record in parsed(encoding, codec.request(batch, 1, 1.0).body).resource_logs[0].scope_logs[0].log_records
    }
    assert observed == {MIDNIGHT + 1_500_000_000}
    assert codec.request(make_batch(created_at=-1.0), 1, 0.0).body  # a wrong clock


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://collector.example", "https://collector.example/v1/logs"),
        ("https://collector.example:4318/", "https://collector.example:4318/v1/logs"),
        ("https://collector.example/otlp", "https://collector.example/otlp/v1/logs"),
        ("https://collector.example/otlp/v1/logs", "https://collector.example/otlp/v1/logs"),
        ("https://collector.example/v1/logs/", "https://collector.example/v1/logs"),
        ("https://collector.example/v1/logs?team=a", "https://collector.example/v1/logs?team=a"),
        ("https://collector.example/?team=a", "https://collector.example/v1/logs?team=a"),
        ("https://collector.example/xv1/logs", "https://collector.example/xv1/logs/v1/logs"),
    ],
)
def test_an_endpoint_becomes_the_address_of_logs(url: str, address: str) -> None:
    """Unless it is that already."""
    assert OtlpLogs().base_url(url) == address


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_the_codec_asks_of_a_sink(encoding: Encoding) -> None:
    """Its limits, one lane, nothing lifted, gzip or nothing."""
    codec = OtlpLogs(encoding=encoding)

    assert (codec.max_event_bytes, codec.max_batch_bytes) == (900 * 1024, 4 * 1024 * 1024)
    assert (codec.has_lanes, codec.lifted) == (False, frozenset())
    assert codec.compressions == {None: {"gzip"}}
    assert repr(codec) == f"OtlpLogs(encoding='{encoding}')"
    own = OtlpLogs(encoding=encoding, max_event_bytes=10, max_batch_bytes=100)
    assert (own.max_event_bytes, own.max_batch_bytes) == (10, 100)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"encoding": "xml"}, "encoding must be 'protobuf' or 'json', not 'xml'"),
        ({"encoding": None}, "encoding must be 'protobuf' or 'json', not NoneType"),
        ({"scope_name": ""}, "scope_name must be a text that is not empty, or None, not ''"),
        ({"scope_name": 7}, "scope_name must be a text that is not empty, or None, not 7"),
        ({"scope_name": "\ud800"}, "scope_name must be a text that is not empty, or None, not '\\ud800'"),
        ({"resource": "SECRET"}, "resource must be a mapping of names to text, numbers, booleans, lists or mappings"),
        ({"resource": {"a": {1}}}, "resource must be a mapping of names to text, numbers, booleans, lists or mappings"),
        ({"resource": {1: "a"}}, "resource must be a mapping of names to text, numbers, booleans, lists or mappings"),
        (
            {"resource": {"a": "SECRET\ud800"}},
            "resource must be a mapping of names to text, numbers, booleans, lists or mappings",
        ),
        ({"resource": {"": "SECRET"}}, "resource must have names that are not empty"),
        ({"resource": {"a": None}}, "resource['a'] must be a value that an attribute can have, not NoneType"),
        ({"resource": {"a": float("nan")}}, "resource['a'] must be a value that an attribute can have, not NoneType"),
        ({"resource": {"a": 2**63}}, "resource['a'] must be a value that an attribute can have, not int"),
    ],
    ids=ascii,
)
def test_wrong_options_are_refused(options: dict[str, Any], fault: str) -> None:
    """The message names the option and the rule, and no value of the resource."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        OtlpLogs(**options)

    assert str(caught.value) == fault


def test_without_the_extra_json_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf says what to install, when the codec is made and not when it sends."""
    found = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] in ("opentelemetry", "google"):
            raise ImportError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'eventpipe\[otlp\]', or pass encoding='json'$"):
        OtlpLogs()

    codec = OtlpLogs(encoding="json")
    assert codec.request(make_batch(), 1, 0.0).body
    assert codec.response(make_batch(), 200, PROTOBUF_ANSWER, answer_of(1), True) is None


PROTOBUF_ANSWER = {"content-type": "application/x-protobuf"}
JSON_ANSWER = {"content-type": "application/json; charset=utf-8"}


def answer_of(rejected: int, message: str = "") -> bytes:
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    body: bytes = ExportLogsServiceResponse(partial_success=partial).SerializeToString()
    return body


def json_answer_of(rejected: int, message: str = "") -> bytes:
    return orjson.dumps({"partialSuccess": {"rejectedLogRecords": str(rejected), "errorMessage": message}})


ANSWERS = [
    pytest.param("protobuf", PROTOBUF_ANSWER, answer_of, id="protobuf"),
    pytest.param("protobuf", {}, answer_of, id="protobuf, unsaid"),
    pytest.param("json", JSON_ANSWER, json_answer_of, id="json"),
    pytest.param("json", {}, json_answer_of, id="json, unsaid"),
    pytest.param("protobuf", JSON_ANSWER, json_answer_of, id="json to protobuf"),
]


@pytest.mark.parametrize(("encoding", "headers", "answer"), ANSWERS)
@pytest.mark.parametrize(("rejected", "counted"), [(1, 1), (2, 2), (3, 3), (4, 3), (2**63 - 1, 3)])
def test_rejected_events_are_the_last_of_the_batch(
    encoding: Encoding, headers: dict[str, str], answer: Any, rejected: int, counted: int
) -> None:
    """The far end says how many and not which; they are dropped, the others delivered, none is sent again."""
    verdicts = OtlpLogs(encoding=encoding).response(make_batch(3), 200, headers, answer(rejected, "too old"), True)

    detail = f"the far end rejected {counted} of 3 events and does not say which: too old"
    dropped = Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, detail=detail)
    assert verdicts == [DELIVERED] * (3 - counted) + [dropped] * counted


@pytest.mark.parametrize(("encoding", "headers", "answer"), ANSWERS)
@pytest.mark.parametrize("rejected", [0, -1, -(2**63)])
def test_a_message_alone_is_a_warning(encoding: Encoding, headers: dict[str, str], answer: Any, rejected: int) -> None:
    """All was accepted, and the far end has something to say; without a message it has nothing."""
    codec, batch = OtlpLogs(encoding=encoding), make_batch(2)

    verdicts = codec.response(batch, 202, headers, answer(rejected, "slow\r\ndown\x00\u20ac" + "x" * 5000), True)

    detail = ("slow  down \u20ac" + "x" * 5000)[:MAX_DETAIL]
    assert verdicts == [Verdict(OutcomeKind.DELIVERED, "warning", detail=detail)] * 2
    assert codec.response(batch, 200, headers, answer(rejected), True) is None


@pytest.mark.parametrize(
    "partial",
    [
        b'{"partialSuccess":{"rejectedLogRecords":1,"errorMessage":null}}',
        b'{"partialSuccess":{"rejectedLogRecords":1.0}}',
        b'{"partialSuccess":null,"partial_success":{"rejected_log_records":"1"}}',
    ],
    ids=repr,
)
def test_a_rejection_is_read_in_each_spelling_of_json(partial: bytes) -> None:
    """Null for nothing, whole numbers with a fraction, and fields as they are declared: all of them are allowed."""
    verdicts = OtlpLogs(encoding="json").response(make_batch(2), 200, JSON_ANSWER, partial, True)

    assert isinstance(verdicts, list)
    assert [verdict.kind for verdict in verdicts] == [OutcomeKind.DELIVERED, OutcomeKind.DROPPED]


def test_a_rejection_without_a_message_has_our_words_alone() -> None:
    """No empty text after a colon."""
    [verdict] = OtlpLogs().response(make_batch(), 200, {}, answer_of(1), True) or []  # type: ignore[misc]

    assert verdict.detail == "the far end rejected 1 of 1 events and does not say which"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("headers", "body", "complete"),
    [
        ({}, b"", True),
        ({}, b"", False),
        (PROTOBUF_ANSWER, b"\xff\xff", True),
        (PROTOBUF_ANSWER, b"<html>", True),
        (PROTOBUF_ANSWER, b"\x0a\x05\x12\x03\xff\xfe\xfd", True),
        (PROTOBUF_ANSWER, answer_of(1, "x" * 99)[:-1], False),
        (JSON_ANSWER, json_answer_of(1), False),
        (JSON_ANSWER, json_answer_of(1)[:-1], True),
        (JSON_ANSWER, b"{}", True),
        (JSON_ANSWER, b"[]", True),
        (JSON_ANSWER, b"null", True),
        (JSON_ANSWER, b'{"partialSuccess":null}', True),
        (JSON_ANSWER, b'{"partialSuccess":[1]}', True),
        (JSON_ANSWER, b'{"partialSuccess":{}}', True),
        (JSON_ANSWER, b'{"partialSuccess":{"rejectedLogRecords":"1e9"}}', True),
        (JSON_ANSWER, b'{"partialSuccess":{"rejectedLogRecords":1.5}}', True),
        (JSON_ANSWER, b'{"partialSuccess":{"rejectedLogRecords":true}}', True),
        (JSON_ANSWER, b'{"partialSuccess":{"rejectedLogRecords":"' + b"9" * 10_000 + b'"}}', True),
        (JSON_ANSWER, b'{"partialSuccess":{"rejectedLogRecords":1,"errorMessage":7}}', True),
        (JSON_ANSWER, b"[" * 60_000, True),
        ({"content-type": "text/html"}, b"<html>", True),
        ({"content-type": "text/plain"}, answer_of(1), True),
        ({**JSON_ANSWER, "content-encoding": "gzip"}, json_answer_of(1), True),
    ],
    ids=range(23),
)
def test_a_2xx_that_cannot_be_read_is_a_delivery(
    encoding: Encoding, headers: dict[str, str], body: bytes, complete: bool
) -> None:
    """The status decides: to send again what was accepted would make two of each."""
    assert OtlpLogs(encoding=encoding).response(make_batch(2), 200, headers, body, complete) is None


@given(body=st.binary(max_size=64), kind=st.sampled_from([PROTOBUF_ANSWER, JSON_ANSWER]), complete=st.booleans())
def test_no_answer_makes_the_codec_raise(body: bytes, kind: dict[str, str], complete: bool) -> None:
    """Whatever is in the body: nothing, or one verdict per event, and never another attempt."""
    verdicts = OtlpLogs().response(make_batch(2), 200, kind, body, complete)

    assert verdicts is None or (
        isinstance(verdicts, list) and len(verdicts) == 2 and OutcomeKind.RETRY not in {v.kind for v in verdicts}
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_statuses_mean_what_they_mean_everywhere(encoding: Encoding) -> None:
    """Whatever the body says."""
    codec = OtlpLogs(encoding=encoding)

    for status in (408, 429, 500, 502, 503, 504):
        error = codec.response(make_batch(), status, {"retry-after": "7"}, answer_of(1), True)
        assert isinstance(error, TransientSinkError)
        assert error.retry_after == 7
    for status in (400, 401, 404, 413, 501):
        assert isinstance(codec.response(make_batch(), status, {}, answer_of(1), True), PermanentSinkError)


@pytest.mark.wallclock
@pytest.mark.asyncio
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_events_of_a_client_arrive_and_rejected_ones_are_counted(encoding: Encoding) -> None:
    """Over a real socket, compressed, at the address of logs."""
    answer = answer_of(1, "too old") if encoding == "protobuf" else json_answer_of(1, "too old")
    headers = PROTOBUF_ANSWER if encoding == "protobuf" else JSON_ANSWER
    async with ScriptedServer(Reply(200, headers, answer)) as server:
        async with AsyncClient(HttpSink(server.url, OtlpLogs(encoding=encoding))) as client:
            for number in range(3):
                await client.capture("order paid", distinct_id=f"u{number}", properties={"text": "x" * 2000})
            report = await client.flush()
        [request] = server.requests

    assert (report.delivered, report.dropped_by_reason) == (2, {"rejected": 1})
    assert (request.path, request.headers["content-encoding"]) == ("/v1/logs", "gzip")
    [logs] = parsed(encoding, request.body).resource_logs[0].scope_logs
    assert [read(record).distinct_id for record in logs.log_records] == ["u0", "u1", "u2"]


def test_a_request_has_a_hundred_records_at_most() -> None:
    """A record takes long to write, and the loop waits for all of them."""
    assert (OtlpLogs().max_batch_events, OtlpLogs(encoding="json").max_batch_events) == (100, 100)
