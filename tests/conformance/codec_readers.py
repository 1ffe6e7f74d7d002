"""Readers of wire formats that know nothing of the codecs: JSON by the standard library, and the formats' own SDKs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudevents.core.bindings import http as sdk
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from eventpipe import Request
from eventpipe.testing import ReadEvent

Json = dict[str, Any]  # Any: JSON


def strict(text: bytes) -> Any:  # Any: JSON
    """JSON as RFC 8259 has it: UTF-8, no NaN, no member twice."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(pairs) == len(dict(pairs)), "a member occurs twice"
        return dict(pairs)

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text.decode("utf-8"), object_pairs_hook=members, parse_constant=refused)


def moment(text: str) -> datetime:
    """A time in UTC."""
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def content_type(request: Request) -> str:
    [found] = [value for name, value in request.headers.items() if name.lower() == "content-type"]
    return found


def of_envelope(said: Json) -> ReadEvent:
    """An event in our own words."""
    assert set(said) <= {"uuid", "timestamp", "distinct_id", "event", "properties", "key", "headers"}
    return ReadEvent(**{**said, "timestamp": moment(said["timestamp"])})


def read_json(request: Request) -> list[ReadEvent]:
    assert content_type(request) == "application/json"
    return [of_envelope(said) for said in strict(request.body)]


def read_ndjson(request: Request) -> list[ReadEvent]:
    assert content_type(request) == "application/x-ndjson"
    *lines, rest = request.body.split(b"\n")
    assert rest == b""
    return [of_envelope(strict(line)) for line in lines]


def posthog_v0_reader(key: str) -> Callable[[Request], list[ReadEvent]]:
    def read(request: Request) -> list[ReadEvent]:
        assert request.url in ("/batch/", "/i/v0/ai/batch/")
        assert key not in str(request.headers)
        body = strict(request.body)
        assert set(body) == {"api_key", "historical_migration", "sent_at", "batch"}
        assert body["api_key"] == key
        assert isinstance(body["historical_migration"], bool)
        moment(body["sent_at"])
        assert all(isinstance(said["distinct_id"], str) and said["distinct_id"] for said in body["batch"])
        return [of_envelope(said) for said in body["batch"]]

    return read


POSTHOG_OPTIONS = {
    "cookieless_mode": ("$cookieless_mode", bool),
    "disable_skew_correction": ("$ignore_sent_at", bool),
    "process_person_profile": ("$process_person_profile", bool),
    "product_tour_id": ("$product_tour_id", str),
}
POSTHOG_ROOT = {"session_id": ("$session_id", str), "window_id": ("$window_id", str)}


def posthog_v1_reader(key: str) -> Callable[[Request], list[ReadEvent]]:
    """A reader of version 1, and of version 0 for the lane that has no place in it."""
    read_v0 = posthog_v0_reader(key)

    def read(request: Request) -> list[ReadEvent]:
        if request.url == "/i/v0/ai/batch/":
            return read_v0(request)
        assert request.url == "/i/v1/analytics/events"
        assert request.headers["Authorization"] == f"Bearer {key}"
        assert key.encode() not in request.body
        assert request.headers["User-Agent"]
        assert 0 < len(request.headers["PostHog-Sdk-Info"]) <= 200
        assert int(request.headers["PostHog-Attempt"]) >= 1
        assert len(request.headers["PostHog-Request-Id"]) == 36
        moment(request.headers["PostHog-Request-Timestamp"])
        body = strict(request.body)
        assert set(body) - {"historical_migration"} == {"created_at", "batch"}
        assert body.get("historical_migration", True) is True
        moment(body["created_at"])
        return [of_v1(said) for said in body["batch"]]

    return read


def of_v1(said: Json) -> ReadEvent:
    known = {"uuid", "event", "distinct_id", "timestamp", "options", "properties"}
    assert known <= set(said) <= known | set(POSTHOG_ROOT)
    assert set(said["options"]) <= set(POSTHOG_OPTIONS)
    properties = dict(said["properties"])
    assert properties.keys().isdisjoint({"$lib", "$lib_version"})
    for values, places in ((said["options"], POSTHOG_OPTIONS), (said, POSTHOG_ROOT)):
        for member, (name, kind) in places.items():
            assert name not in properties
            if member in values:
                assert type(values[member]) is kind
                properties[name] = values[member]
    assert isinstance(said["distinct_id"], str)
    assert said["distinct_id"]
    return ReadEvent(said["uuid"], said["event"], moment(said["timestamp"]), said["distinct_id"], properties)


def segment_reader(write_key: str) -> Callable[[Request], list[ReadEvent]]:
    def read(request: Request) -> list[ReadEvent]:
        assert request.url == "/v1/batch"
        assert request.headers["Authorization"] == "Basic " + base64.b64encode(f"{write_key}:".encode()).decode()
        body = strict(request.body)
        assert set(body) == {"batch", "sentAt"}
        moment(body["sentAt"])
        return [of_message(dict(message)) for message in body["batch"]]

    return read


def of_message(message: Json) -> ReadEvent:
    """An event of a message; what Segment has a member for is a property of ours."""
    kind, uuid, timestamp = message.pop("type"), message.pop("messageId"), moment(message.pop("timestamp"))
    distinct_id: str | None = None
    properties: Json = message.pop("properties", {})
    anonymous, user = message.pop("anonymousId", None), message.pop("userId", None)
    assert anonymous or user, "every call names somebody"
    if anonymous is not None and (user is not None or anonymous != uuid):
        properties["$anon_distinct_id"] = anonymous
    context = message.pop("context")
    if context.get("library", {}).get("name") == "eventpipe":
        del context["library"]
    if context:
        properties["$context"] = context
    if integrations := message.pop("integrations", None):
        properties["$integrations"] = integrations
    members: dict[str, str]
    match kind:
        case "track":
            event, distinct_id, members = message.pop("event"), user, {}
        case "identify":
            event, distinct_id, members = "$identify", user, {"traits": "$set"}
        case "group":
            event, distinct_id, members = "$groupidentify", user, {"groupId": "$group_key", "traits": "$group_set"}
        case "alias":
            event, distinct_id, members = "$create_alias", message.pop("previousId"), {}
            properties["alias"] = user
        case "page":
            event, distinct_id, members = "$pageview", user, {"name": "name", "category": "category"}
        case "screen":
            event, distinct_id, members = "$screen", user, {"name": "$screen_name", "category": "category"}
        case _:
            raise AssertionError(f"{kind!r} is no call")
    for member, name in members.items():
        if member in message:
            properties[name] = message.pop(member)
    assert message == {}
    return ReadEvent(uuid, event, timestamp, distinct_id, properties)


def read_cloudevents(request: Request) -> list[ReadEvent]:
    """The events of a request in any mode, as the SDK of CloudEvents reads them, one by one."""
    kind = content_type(request).partition(";")[0]
    headers = {name.lower(): value for name, value in request.headers.items()}
    messages = [sdk.HTTPMessage(headers, request.body)]
    if kind == "application/cloudevents-batch+json":
        alone = {"content-type": "application/cloudevents+json"}
        messages = [sdk.HTTPMessage(alone, json.dumps(said).encode()) for said in strict(request.body)]
    return [of_cloudevent(sdk.from_http(message, JSONFormat(), CloudEvent)) for message in messages]


def of_cloudevent(event: Any) -> ReadEvent:  # Any: of the SDK, whose base class has fewer methods
    headers = dict(event.get_attributes())
    assert headers.pop("specversion") == "1.0"
    assert headers.pop("source") == "/tests"
    assert headers.pop("datacontenttype") == "application/json"
    uuid, name, timestamp = headers.pop("id"), headers.pop("type"), headers.pop("time")
    assert timestamp.utcoffset() is not None
    distinct_id, key = headers.pop("subject", None), headers.pop("partitionkey", None)
    rest = json.loads(headers.pop("eventpipe", "{}"))
    distinct_id, key = rest.get("distinct_id", distinct_id), rest.get("key", key)
    data = event.get_data()
    assert isinstance(data, dict)
    return ReadEvent(
        uuid, name, timestamp.astimezone(UTC), distinct_id, data, key, {**headers, **rest.get("headers", {})}
    )


FLAG_MEMBERS = {
    "kind", "contextKind", "userKey", "creationDate", "uuid", "timestamp", "partitionKey", "headers", "properties",
}  # fmt: skip


def read_feature_flags(request: Request) -> list[ReadEvent]:
    assert content_type(request) == "application/json"
    body = strict(request.body)
    assert set(body) == {"meta", "events"}
    assert isinstance(body["meta"]["hostname"], str)
    return [of_flag_event(said) for said in body["events"]]


def of_flag_event(said: Json) -> ReadEvent:
    timestamp = moment(said["timestamp"])
    assert said["creationDate"] == math.floor(timestamp.timestamp())
    apart = said.get("properties", {})
    if not isinstance(apart.get("contextKind"), str):
        assert said["contextKind"] == ("user" if said["userKey"] else "anonymousUser")
    beside = {name: value for name, value in said.items() if name not in FLAG_MEMBERS}
    return ReadEvent(
        said["uuid"],
        said["kind"],
        timestamp,
        said["userKey"],
        {**beside, **apart},
        said.get("partitionKey"),
        said.get("headers", {}),
    )


def read_webhook(request: Request) -> list[ReadEvent]:
    assert content_type(request) == "application/json"
    said = strict(request.body)
    assert set(said) - {"key", "headers"} == {"type", "timestamp", "data", "uuid", "distinct_id"}
    return [
        ReadEvent(
            said["uuid"],
            said["type"],
            moment(said["timestamp"]),
            said["distinct_id"],
            said["data"],
            said.get("key"),
            said.get("headers", {}),
        )
    ]


def standard_signed(secret: str, read: Callable[[Request], list[ReadEvent]]) -> Callable[[Request], list[ReadEvent]]:
    """A reader that believes only what is signed as Standard Webhooks says."""

    def read_signed(request: Request) -> list[ReadEvent]:
        webhook_id, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        signed = f"{webhook_id}.{int(timestamp)}.".encode() + request.body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert f"v1,{signature}" in request.headers["webhook-signature"].split(" ")
        return read(request)

    return read_signed


def hub_signed(secret: str, read: Callable[[Request], list[ReadEvent]]) -> Callable[[Request], list[ReadEvent]]:
    """A reader that believes only what is signed in ``X-Hub-Signature-256``."""

    def read_signed(request: Request) -> list[ReadEvent]:
        signature = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
        assert request.headers["X-Hub-Signature-256"] == f"sha256={signature}"
        return read(request)

    return read_signed


def read_otlp(request: Request) -> list[ReadEvent]:
    """The records of a request in either encoding, as the package opentelemetry-proto reads them."""
    if content_type(request) == "application/json":
        found = json_format.Parse(request.body, ExportLogsServiceRequest())
    else:
        assert content_type(request) == "application/x-protobuf"
        found = ExportLogsServiceRequest.FromString(request.body)
    [of_resource] = found.resource_logs
    assert attributes_of(of_resource.resource.attributes) == {"service.name": "tests"}
    [of_scope] = of_resource.scope_logs
    return [of_record(record) for record in of_scope.log_records]


def of_record(record: LogRecord) -> ReadEvent:
    attributes = attributes_of(record.attributes)
    assert record.body.string_value == record.event_name
    assert record.observed_time_unix_nano > 0
    timestamp = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=record.time_unix_nano // 1000)
    if said := attributes.pop("eventpipe.timestamp", None):
        assert record.time_unix_nano == 0
        timestamp = moment(said)
    return ReadEvent(
        attributes.pop("log.record.uid"),
        record.event_name,
        timestamp,
        attributes.pop("user.id", None),
        key=attributes.pop("eventpipe.key", None),
        headers=attributes.pop("eventpipe.headers", {}),
        properties=attributes | json.loads(attributes.pop("eventpipe.properties", "{}")),
    )


def attributes_of(pairs: Iterable[KeyValue]) -> Json:
    pairs = list(pairs)
    found = {pair.key: value_of(pair.value) for pair in pairs}
    assert len(found) == len(pairs), "an attribute occurs twice"
    return found


def value_of(value: AnyValue) -> Any:  # Any: JSON
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [value_of(element) for element in value.array_value.values]
        case "kvlist_value":
            return attributes_of(value.kvlist_value.values)
        case kind:
            return getattr(value, kind)
