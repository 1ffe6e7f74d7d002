"""Whatever a stranger sends, a wire reads it or refuses it; no other error gets out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from eventpipe.cli.store import _stamped
from eventpipe.cli.tally import Tally
from eventpipe.cli.wires import all_wires, wire_of
from eventpipe.cli.wires.base import Asked, RefusedError
from eventpipe.cli.wires.webhook import Signatures

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
STAMP = "2026-01-31T09:05:00.123456Z"
V1 = {
    "Authorization": "Bearer key",
    "User-Agent": "a/1",
    "PostHog-Sdk-Info": "a/1",
    "PostHog-Attempt": "1",
    "PostHog-Request-Id": ID,
    "PostHog-Request-Timestamp": STAMP,
}
KEY = {"Authorization": "Basic a2V5Og=="}
JSON = "application/json"

# A request of each wire as it should be: path, content type, headers, body.
SOUND: dict[str, tuple[str, str, dict[str, str], Any]] = {
    "json": ("", JSON, {}, [{"event": "a", "distinct_id": "u", "properties": {"n": 1}}]),
    "posthog": (
        "/batch",
        JSON,
        {},
        {"api_key": "k", "batch": [{"event": "a", "distinct_id": "u", "$set": {}, "properties": {"token": "t"}}]},
    ),
    "posthog-ai": ("/i/v0/ai/batch", JSON, {}, {"api_key": "k", "batch": [{"event": "a", "distinct_id": "u"}]}),
    "posthog, one": ("/e", "text/plain", {}, {"event": "a", "properties": {"token": "k", "distinct_id": 1}}),
    "posthog-v1": (
        "/i/v1/analytics/events",
        JSON,
        V1,
        {
            "created_at": STAMP,
            "historical_migration": True,
            "batch": [
                {
                    "event": "a",
                    "uuid": ID,
                    "distinct_id": "u",
                    "timestamp": STAMP,
                    "session_id": "s",
                    "options": {"cookieless_mode": "1", "product_tour_id": 1},
                    "properties": {"n": 1},
                }
            ],
        },
    ),
    "segment": (
        "/v1/batch",
        JSON,
        KEY,
        {
            "batch": [
                {"type": "group", "groupId": "g", "userId": "u", "anonymousId": "a", "traits": {"n": 1}},
                {"type": "alias", "previousId": 1, "userId": 2, "messageId": "m", "timestamp": STAMP},
                {"type": "track", "event": "e", "userId": "u", "context": {"library": {"name": "l"}}},
            ]
        },
    ),
    "segment, one": ("/v1/identify", JSON, KEY, {"userId": "u", "traits": {"n": 1}, "integrations": {"All": True}}),
    "otlp": (
        "/v1/logs",
        JSON,
        {},
        {
            "resourceLogs": [
                {
                    "resource": {"attributes": [{"key": "a", "value": {"stringValue": "b"}}]},
                    "scopeLogs": [
                        {
                            "logRecords": [
                                {
                                    "timeUnixNano": "1769850300123456789",
                                    "severityNumber": 9,
                                    "body": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}},
                                    "attributes": [
                                        {"key": "eventpipe.headers", "value": {"kvlistValue": {"values": []}}},
                                        {"key": "a", "value": {"arrayValue": {"values": [{"doubleValue": "NaN"}]}}},
                                    ],
                                    "traceId": "0af7651916cd43dd8448eb211c80319c",
                                    "spanId": "b7ad6b7169203331",
                                    "flags": 1,
                                }
                            ]
                        }
                    ],
                }
            ]
        },
    ),
    "cloudevents": (
        "",
        "application/cloudevents-batch+json",
        {},
        [{"specversion": "1.0", "id": "a", "source": "/s", "type": "t", "time": STAMP, "eventpipe": "{}", "data": {}}],
    ),
    "cloudevents, binary": (
        "",
        JSON,
        {"ce-specversion": "1.0", "ce-id": "a", "ce-source": "/s", "ce-type": "t", "ce-time": STAMP},
        {"n": 1},
    ),
    "feature-flags": (
        "",
        JSON,
        {},
        {
            "meta": {},
            "events": [{"kind": "feature", "userKey": "u", "creationDate": 1, "headers": {}, "properties": {}}],
        },
    ),
    "webhook": ("", JSON, {"webhook-id": "m"}, {"type": "t", "timestamp": STAMP, "data": {}, "headers": {"a": "b"}}),
}

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
)
ODD: st.SearchStrategy[Any] = (
    SCALARS | st.just([]) | st.just({}) | st.just([{}]) | st.just({"a": []}) | st.just("9" * 5000) | st.just(1e308)
)
TEXTS = st.text(st.characters() | st.sampled_from("\udc80\udcff"), max_size=20)  # what is no UTF-8 in a header


def changed(draw: st.DrawFn, value: Any, odds: int) -> Any:  # Any: JSON
    """The same with some of its values replaced, and some of its members gone."""
    if draw(st.integers(0, odds)) == 0:
        return draw(ODD)
    if isinstance(value, dict):
        kept = {name: changed(draw, inner, odds) for name, inner in value.items() if draw(st.integers(0, odds))}
        return kept | ({draw(st.text(max_size=3)): draw(ODD)} if draw(st.integers(0, odds)) == 0 else {})
    return [changed(draw, inner, odds) for inner in value] if isinstance(value, list) else value


@st.composite
def requests(draw: st.DrawFn, name: str) -> tuple[Asked, bytes]:
    path, content_type, sound, value = SOUND[name]
    headers = {given: draw(TEXTS) if draw(st.integers(0, 9)) == 0 else text for given, text in sound.items()}
    body = orjson.dumps(changed(draw, value, draw(st.integers(3, 30))))
    cut = draw(st.integers(0, len(body))) if draw(st.integers(0, 9)) == 0 else len(body)
    return Asked(path, content_type, CIMultiDict({"Content-Type": content_type, **headers})), body[:cut]


@pytest.mark.parametrize("name", SOUND)
@given(data=st.data())
def test_any_change_of_a_request_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """What is read can be counted and stored; what is refused gets a 4xx that can be sent."""
    asked, body = data.draw(requests(name))
    wires = all_wires(Signatures())
    wire = wire_of(asked, wires)

    try:
        wire.check(asked)
        taken = wire.read(asked, body, lambda: "ok")
    except RefusedError as error:
        answer = wire.refuse(asked, error)
        assert 400 <= answer.status < 500
    else:
        answer = taken.answer
        assert answer.status == 200
        Tally(remember_ids=True).take(taken, len(body))
        for event in taken.events:
            orjson.dumps(_stamped(event, STAMP))
    assert all(value.isascii() and value.isprintable() for value in answer.headers.values())


@pytest.mark.parametrize("name", SOUND)
def test_a_request_as_it_should_be_is_read(name: str) -> None:
    """The changes begin with what is right: each gives its events."""
    path, content_type, headers, value = SOUND[name]
    asked = Asked(path, content_type, CIMultiDict({"Content-Type": content_type, **headers}))
    wire = wire_of(asked, all_wires(Signatures()))

    wire.check(asked)

    assert len(wire.read(asked, orjson.dumps(value), lambda: "ok").events) in (1, 3)
