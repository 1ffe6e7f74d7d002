from __future__ import annotations

import json
import sys
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from eventpipe.cli.wires import otlp
from eventpipe.cli.wires.base import Judge
from eventpipe.cli.wires.otlp import OtlpWire
from eventpipe.cli.wires.otlp_count import WITHIN, count_messages
from tests.cli.wires.asking import ask, found, refusal, said

PATH = "/v1/logs"
PROTOBUF = "application/x-protobuf"
STAMP = "2026-01-31T09:05:00.123456Z"
NANOSECONDS = "1769850300123456789"


def request(*records: Any, resource: Any = None, **scope: Any) -> dict[str, Any]:
    return {"resourceLogs": [{"resource": resource or {}, "scopeLogs": [{"logRecords": list(records), **scope}]}]}


def record(name: str = "paid", **parts: Any) -> dict[str, Any]:
    return {"timeUnixNano": NANOSECONDS, "eventName": name, **parts}


def attributes(**values: Any) -> list[dict[str, Any]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def packed(value: dict[str, Any]) -> bytes:
    """The same request in protobuf; ids are given in base64 here."""
    octets: bytes = ParseDict(value, ExportLogsServiceRequest()).SerializeToString()
    return octets


def status(body: bytes) -> tuple[int, str]:
    """Code and message of a google.rpc.Status, which has the fields of this message under other names."""
    found = ExportLogsPartialSuccess.FromString(body)
    return found.rejected_log_records, found.error_message


def stored(**parts: Any) -> dict[str, Any]:
    return {"event": "paid", "distinct_id": None, "timestamp": STAMP, "properties": {}, **parts}


VALUES = attributes(
    text={"stringValue": "a"},
    yes={"boolValue": True},
    number={"intValue": "-9007199254740993"},
    fraction={"doubleValue": 0.5},
    infinite={"doubleValue": "Infinity"},
    octets={"bytesValue": "AAE="},
    nothing={},
    several={"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "b"}]}},
    inner={"kvlistValue": {"values": attributes(a={"arrayValue": {}}, b={"kvlistValue": {}})}},
)
READ = {
    "text": "a",
    "yes": True,
    "number": -9007199254740993,
    "fraction": 0.5,
    "infinite": None,
    "octets": "AAE=",
    "nothing": None,
    "several": [1, "b"],
    "inner": {"a": [], "b": {}},
}


@pytest.mark.parametrize("content_type", ["application/json", PROTOBUF])
def test_both_encodings_give_the_same_events(content_type: str) -> None:
    """Every kind of value, and an empty answer in the encoding of the request."""
    sent = request(record(attributes=VALUES))

    taken = ask(PATH, packed(sent) if content_type == PROTOBUF else sent, content_type=content_type)

    assert taken.format == ("otlp" if content_type == PROTOBUF else "otlp-json")
    assert taken.events == [stored(properties=READ)]
    assert (taken.answer.status, taken.answer.content_type) == (200, content_type)
    assert taken.answer.body == (b"" if content_type == PROTOBUF else b"{}")


OWN = attributes(
    **{
        "log.record.uid": {"stringValue": "id"},
        "user.id": {"stringValue": "u1"},
        "eventpipe.key": {"stringValue": "k"},
        "eventpipe.headers": {"kvlistValue": {"values": attributes(a={"stringValue": "b"})}},
        "eventpipe.properties": {"stringValue": '{"user.id": "inner"}'},
        "n": {"intValue": 1},
    }
)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            record(attributes=OWN, severityNumber=9, severityText="INFO", body={"stringValue": "paid"}),
            stored(uuid="id", distinct_id="u1", key="k", headers={"a": "b"}, properties={"n": 1, "user.id": "inner"}),
        ),
        (
            record("", body={"stringValue": "it failed"}, severityNumber=17, severityText="ERROR"),
            stored(event="log", properties={"body": "it failed", "severity_number": 17, "severity_text": "ERROR"}),
        ),
        (record("", attributes=attributes(**{"event.name": {"stringValue": "paid"}})), stored()),
        (
            record(attributes=attributes(**{"eventpipe.timestamp": {"stringValue": "0001-01-01T00:00:00.000000Z"}})),
            stored(timestamp="0001-01-01T00:00:00.000000Z"),
        ),
        (record(timeUnixNano=0, observedTimeUnixNano=int(NANOSECONDS)), stored()),
        (record(timeUnixNano=0), {"event": "paid", "distinct_id": None, "properties": {}}),
        (
            record(traceId="0af7651916cd43dd8448eb211c80319c", spanId="b7ad6b7169203331", flags=257),
            stored(headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
        ),
        (record(traceId="zz", spanId=7), stored()),
        (record(traceId="0" * 32, spanId="0" * 16), stored()),
    ],
    ids=["own", "nameless", "event.name", "text of a time", "observed", "no time", "trace", "no trace", "zero trace"],
)
def test_what_is_outside_of_the_attributes_has_its_place(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    """A record of this library is the event that it was; of others nothing is lost."""
    assert ask(PATH, request(sent)).events == [expected]


def test_severities_of_protobuf_are_numbers_too() -> None:
    """As those of JSON are, and not the names that they are declared under."""
    sent = request(record(severityNumber=17))

    [event] = ask(PATH, packed(sent), content_type=PROTOBUF).events

    assert event["properties"] == {"severity_number": 17}


def test_ids_of_protobuf_are_bytes() -> None:
    """They become the same header as those of JSON."""
    sent = request(record(traceId="CvdlGRbNQ92ESOshHIAxnA==", spanId="t61rcWkgMzE="))

    [event] = ask(PATH, packed(sent), content_type=PROTOBUF).events

    assert event["headers"] == {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}


def test_where_records_come_from_is_among_their_properties() -> None:
    """Unless nobody said it."""
    named, nameless = (
        request(record(), resource={"attributes": attributes(**{"service.name": {"stringValue": name}})})
        for name in ("shop", "unknown_service")
    )

    assert ask(PATH, named).events[0]["properties"] == {"resource.service.name": "shop"}
    assert ask(PATH, nameless).events[0]["properties"] == {}


def judging(*words: str) -> Judge:
    left = list(words)
    return lambda: left.pop(0)


def test_rejected_records_are_told_by_their_number() -> None:
    """Those with a verdict that is not ``ok`` or ``warning`` are not taken; the answer is a partial success."""
    sent = request(record("a"), record("b"), record("c"), record("d"))

    in_json = ask(PATH, sent, judge=judging("ok", "drop", "warning", "retry"))
    in_protobuf = ask(PATH, packed(sent), content_type=PROTOBUF, judge=judging("ok", "drop", "warning", "retry"))

    partial = ExportLogsServiceResponse.FromString(in_protobuf.answer.body).partial_success
    assert [event["event"] for event in in_json.events] == ["a", "c"]
    assert said(in_json.answer) == {
        "partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "rejected on purpose"}
    }
    assert (partial.rejected_log_records, partial.error_message) == (2, "rejected on purpose")


def test_many_rejected_records_are_counted_right() -> None:
    """A number of more than seven bits has several bytes."""
    sent = request(*[record()] * 1000)

    answer = ask(PATH, packed(sent), content_type=PROTOBUF, judge=lambda: "drop").answer

    assert ExportLogsServiceResponse.FromString(answer.body).partial_success.rejected_log_records == 1000


@pytest.mark.parametrize("path", ["/v1/logs/", "/otlp/v1/logs"])
def test_a_path_before_it_is_no_matter(path: str) -> None:
    """Collectors are often behind a prefix."""
    assert len(ask(path, request(record())).events) == 1


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "a"}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    return value


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{", "the body is not JSON: unexpected end of data: line 1 column 2 (char 1)"),
        ([], "the request is not an object"),
        ({"resourceLogs": {"a": 1}}, "resourceLogs is not an array of objects"),
        ({"resourceLogs": [1]}, "resourceLogs is not an array of objects"),
        (request("a"), "logRecords is not an array of objects"),
        (request(record(name=7)), "a log record has an eventName that is no text"),  # type: ignore[arg-type]
        (request(record(timeUnixNano="soon")), "an integer is none"),
        (request(record(timeUnixNano="9" * 5000)), "an integer is none"),
        (request(record(attributes=[{"key": 7}])), "an attribute has a key that is no text"),
        (request(record(attributes=attributes(a=[1]))), "a value is not an object"),
        (request(record(attributes=attributes(a={"stringValue": 7}))), "a value has a stringValue of another kind"),
        (request(record(attributes=attributes(a={"intValue": True}))), "an integer is none"),
        (json.dumps(request(record(attributes=attributes(a=nested(101))))).encode(), "a value is nested too deeply"),
        (
            request(record(attributes=attributes(**{"eventpipe.properties": {"stringValue": "["}}))),
            "the attribute eventpipe.properties is not JSON: unexpected end of data: line 1 column 2 (char 1)",
        ),
        (
            request(record(attributes=attributes(**{"eventpipe.properties": {"stringValue": "[]"}}))),
            "the attribute eventpipe.properties is no JSON object",
        ),
    ],
)
def test_a_malformed_request_is_refused_with_a_status(body: Any, fault: str) -> None:
    """In JSON, with the code of an invalid argument."""
    answer = refusal(PATH, body)

    assert (answer.status, said(answer)) == (400, {"code": 3, "message": fault})


def test_depth_within_the_bound_is_read() -> None:
    """As deep as protobuf's parsers go."""
    assert len(ask(PATH, json.dumps(request(record(attributes=attributes(a=nested(100))))).encode()).events) == 1


def length_delimited(field: int, value: bytes) -> bytes:
    size, length = len(value), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([field << 3 | 2, *length, size]) + value


def deep_protobuf(depth: int) -> bytes:
    """A request whose body is an array in an array, and so on; written by hand, because no library would."""
    value = b""
    for _ in range(depth):
        value = length_delimited(5, length_delimited(1, value))
    for field in (5, 2, 2, 1):
        value = length_delimited(field, value)
    return value


@pytest.mark.parametrize(
    "body", [b"\xff\xff", orjson.dumps(request(record())), deep_protobuf(10_000)], ids=["no", "json", "deep"]
)
def test_what_is_no_protobuf_is_refused_with_a_status_in_protobuf(body: bytes) -> None:
    """An error is in the encoding of its request."""
    answer = refusal(PATH, body, content_type=PROTOBUF)

    assert (answer.status, answer.content_type) == (400, PROTOBUF)
    assert status(answer.body) == (3, "the body is no ExportLogsServiceRequest")


def test_the_deepest_that_protobuf_reads_is_read() -> None:
    """Reading it meets no limit of Python's."""
    assert len(ask(PATH, deep_protobuf(40), content_type=PROTOBUF).events) == 1


def many(number: int) -> bytes:
    """A request of so many messages: one of resource logs, one of scope logs, and empty log records, two bytes each."""
    return length_delimited(1, length_delimited(2, b"\x12\x00" * (number - 2)))


def test_more_messages_than_anybody_sends_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes of protobuf would take 130 of memory; what is allowed is read."""
    monkeypatch.setattr(otlp, "MAX_MESSAGES", 1000)

    answer = refusal(PATH, many(1001), content_type=PROTOBUF)

    assert answer.status == 413
    assert len(ask(PATH, many(1000), content_type=PROTOBUF).events) == 998


def test_messages_are_counted_wherever_they_are() -> None:
    """In values within each other, behind fields of every kind, and beside fields that are not known."""
    sent = request(
        record(attributes=VALUES, body={"stringValue": "b"}, traceId="CvdlGRbNQ92ESOshHIAxnA==", flags=1),
        scope={"name": "s", "attributes": attributes(a={"boolValue": True})},
        resource={"attributes": attributes(a={"intValue": "1"})},
    )
    messages = inside(ExportLogsServiceRequest.FromString(packed(sent)))

    assert messages > 30
    assert count_messages(packed(sent), messages) == messages
    assert count_messages(packed(sent), messages - 1) is None


@pytest.mark.parametrize("field", [b"\x09" + bytes(4), b"\x45"], ids=["fixed64", "fixed32"])
def test_numbers_are_passed_over_whole(field: bytes) -> None:
    """What of one looks like the beginning of a message is none."""
    looks_like_two = b"\x32\x00\x32\x00"

    assert count_messages(length_delimited(1, length_delimited(2, length_delimited(2, field + looks_like_two))), 9) == 3


def test_a_group_hides_nothing_behind_it() -> None:
    """Parsers skip groups, which nobody has written for twenty years, and read what follows."""
    empty_group = b"\x7b\x7c"
    body = empty_group + many(1000)

    assert inside(ExportLogsServiceRequest.FromString(body)) == 1000
    assert count_messages(body, 1000) == 1000
    assert count_messages(body, 999) is None


def test_every_message_that_a_request_may_hold_is_counted() -> None:
    """The table of them is that of opentelemetry-proto, whatever has been added there."""
    waiting = [("request", ExportLogsServiceRequest.DESCRIPTOR)]
    seen: dict[str, str] = {}
    while waiting:
        name, descriptor = waiting.pop()
        if seen.setdefault(name, descriptor.full_name) != descriptor.full_name:
            pytest.fail(f"{name} is {descriptor.full_name} as well as {seen[name]}")
        fields = {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}
        assert fields.keys() == WITHIN[name].keys(), descriptor.full_name
        waiting += [
            (WITHIN[name][number], inner) for number, inner in fields.items() if WITHIN[name][number] not in seen
        ]

    assert seen.keys() == WITHIN.keys()


def inside(message: Message) -> int:
    """The messages within one, as protobuf's library has them."""
    values = [value for field, value in message.ListFields() if field.message_type is not None]
    children = [child for value in values for child in ([value] if isinstance(value, Message) else value)]
    return len(children) + sum(map(inside, children))


@given(st.binary(max_size=200))
def test_counting_ends_whatever_it_is_given(body: bytes) -> None:
    """Bytes that are no request are counted to some number, and no error gets out."""
    assert count_messages(body, 1000) in range(1001)


def test_another_type_is_refused() -> None:
    """It is named, and what would be read."""
    answer = refusal(PATH, b"", content_type="text/plain")

    message = "content type 'text/plain' is not supported; send application/x-protobuf or application/json"
    assert (answer.status, said(answer)) == (415, {"code": 3, "message": message})


def test_protobuf_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told what is missing, in protobuf, and that JSON would be read."""
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.logs.v1.logs_service_pb2", None)

    answer = refusal(PATH, b"", content_type=PROTOBUF)

    assert answer.status == 415
    assert "pip install 'eventpipe[otlp]'" in status(answer.body)[1]
    assert len(ask(PATH, request(record())).events) == 1


def test_a_wire_is_claimed_by_the_end_of_its_path() -> None:
    """Logs, and not traces."""
    assert isinstance(found(PATH, None, PROTOBUF, None)[1], OtlpWire)
    assert not isinstance(found("/v1/traces", None, PROTOBUF, None)[1], OtlpWire)
