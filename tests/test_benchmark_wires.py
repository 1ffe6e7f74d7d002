"""The far end of the benchmarks counts each event of each wire once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from benchmarks import wires
from benchmarks.workload import Captured, pool

BodyOf = Callable[[list[Captured], list[str]], bytes]


def posthog(events: list[Captured], ids: list[str]) -> bytes:
    batch = [
        {
            "properties": {**properties, "$lib": "posthog-python"},
            "timestamp": "2026-01-01T00:00:00+00:00",
            "distinct_id": distinct_id,
            "event": event,
            "uuid": id_,
        }
        for (event, distinct_id, properties), id_ in zip(events, ids, strict=True)
    ]
    return json.dumps({"batch": batch, "historical_migration": False, "api_key": "key"}).encode()


def segment(events: list[Captured], ids: list[str]) -> bytes:
    batch = [
        {"properties": properties, "userId": distinct_id, "type": "track", "event": event, "messageId": id_}
        for (event, distinct_id, properties), id_ in zip(events, ids, strict=True)
    ]
    return json.dumps({"batch": batch, "sentAt": "2026-01-01T00:00:00+00:00", "writeKey": "key"}).encode()


def amplitude(events: list[Captured], ids: list[str]) -> bytes:
    sent = [
        {"event_type": event, "user_id": distinct_id, "event_properties": properties, "insert_id": id_}
        for (event, distinct_id, properties), id_ in zip(events, ids, strict=True)
    ]
    return json.dumps({"api_key": "key", "events": sent}, sort_keys=True).encode()


def own(events: list[Captured], ids: list[str]) -> bytes:
    sent = [
        {"uuid": id_, "distinct_id": distinct_id, "event": event, "properties": properties}
        for (event, distinct_id, properties), id_ in zip(events, ids, strict=True)
    ]
    return json.dumps(sent, separators=(",", ":")).encode()


def sentry(events: list[Captured], ids: list[str]) -> bytes:
    items = [
        {
            "timestamp": 1.5,
            "level": "info",
            "body": event,
            "attributes": {
                name: {"value": value, "type": "string"}
                for name, value in {**properties, "user.id": distinct_id, "number": int(id_)}.items()
            },
        }
        for (event, distinct_id, properties), id_ in zip(events, ids, strict=True)
    ]
    lines = ({"sent_at": "2026-01-01T00:00:00Z"}, {"type": "log", "item_count": len(items)}, {"items": items})
    return b"\n".join(json.dumps(line, separators=(",", ":")).encode() for line in lines)


def otlp(events: list[Captured], ids: list[str]) -> bytes:
    records = b""
    for (event, distinct_id, properties), id_ in zip(events, ids, strict=True):
        attributes = {**properties, "user.id": distinct_id}
        texts = b"".join(field(6, pair(name, field(1, str(value).encode()))) for name, value in attributes.items())
        number = field(6, pair("number", b"\x18" + varint(int(id_))))
        records += field(2, field(12, event.encode()) + texts + number)
    return field(1, field(2, records))


def pair(name: str, value: bytes) -> bytes:
    return field(1, name.encode()) + field(2, value)


def field(number: int, value: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """An integer as protobuf writes it: seven bits a byte, the lowest first."""
    more = b""
    while value > 0x7F:
        more += bytes([value & 0x7F | 0x80])
        value >>= 7
    return more + bytes([value])


# As a driver numbers its records; the last of them has other lengths in OTLP.
IDS = ["1763757000000000000", "1763757000000000001", "7"]
BODIES: dict[str, tuple[bytes, BodyOf]] = {
    "own": (b"/batch", own),
    "posthog": (b"/batch/", posthog),
    "segment": (b"/v1/batch", segment),
    "amplitude": (b"/2/httpapi", amplitude),
    "sentry": (b"/api/1/envelope/", sentry),
    "otlp": (b"/v1/logs", otlp),
}
by_wire = pytest.mark.parametrize(("path", "body_of"), BODIES.values(), ids=BODIES)


@by_wire
def test_each_event_is_counted_once(path: bytes, body_of: BodyOf) -> None:
    """A body's count is that of its events, whatever their properties hold."""
    events = pool()
    ids = [str(number) for number in range(len(events))]

    assert wires.of(path).count(body_of(events, ids)) == len(events)


@by_wire
def test_each_event_is_known_by_its_id(path: bytes, body_of: BodyOf) -> None:
    """The ids of a body are found in its order, and the same id is found as often as it was sent."""
    events = pool()[:4]

    found = wires.of(path).ids(body_of(events, [*IDS, IDS[0]]))

    assert len(found) == 4
    assert len(set(found)) == 3
    assert found[0] == found[3]
    if body_of is not otlp:  # there an id is the bytes that an integer has on the wire
        assert [id_.decode() for id_ in found] == [*IDS, IDS[0]]


@by_wire
def test_a_property_that_quotes_a_marker_is_not_counted(path: bytes, body_of: BodyOf) -> None:
    """What stands inside a string is text, even when it reads like the key that is counted."""
    quoted = Captured("page_viewed", "user-1", {"text": '{"uuid": "1", "messageId": "2", "insert_id": "3"}'})

    assert wires.of(path).count(body_of([quoted], ["1"])) == 1
    assert len(wires.of(path).ids(body_of([quoted], ["1"]))) == 1


@by_wire
def test_an_answer_is_a_whole_response(path: bytes, body_of: BodyOf) -> None:
    """An answer announces the length that its body has."""
    head, _, body = wires.of(path).answer.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
