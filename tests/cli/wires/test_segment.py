from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.cli.wires.base import Asked
from eventpipe.cli.wires.segment import SegmentWire
from eventpipe.codecs import Segment
from eventpipe.events import TIMESTAMP_AT, CapturedEvent
from eventpipe.testing.events import STAMP as CAPTURED_AT
from eventpipe.testing.events import make_batch
from tests.cli.wires.asking import ask, refusal, said
from tests.codecs.test_segment import EVENTS

STAMP = "2026-01-31T09:05:00.123456Z"
KEY = {"Authorization": "Basic " + base64.b64encode(b"key:").decode()}


def message(**parts: Any) -> dict[str, Any]:
    whole = {"type": "track", "messageId": "m1", "timestamp": STAMP, "userId": "u1", "event": "paid"}
    return {name: value for name, value in {**whole, **parts}.items() if value is not None}


def own(**parts: Any) -> dict[str, Any]:
    return {"uuid": "m1", "event": "paid", "distinct_id": "u1", "timestamp": STAMP, "properties": {}, **parts}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (message(properties={"sum": 5}), own(properties={"sum": 5})),
        (message(userId=7), own(distinct_id="7")),
        (message(userId=None, anonymousId="a7"), own(distinct_id=None, properties={"$anon_distinct_id": "a7"})),
        (message(anonymousId="a7"), own(properties={"$anon_distinct_id": "a7"})),
        (message(userId=None, anonymousId="m1"), own(distinct_id=None)),
        (message(context={"library": {"name": "eventpipe", "version": "1"}}), own()),
        (
            message(context={"library": {"name": "other"}, "ip": "::1"}, integrations={"All": False}),
            own(properties={"$context": {"library": {"name": "other"}, "ip": "::1"}, "$integrations": {"All": False}}),
        ),
        (
            message(type="identify", event=None, traits={"plan": "pro"}),
            own(event="$identify", properties={"$set": {"plan": "pro"}}),
        ),
        (
            message(type="group", event=None, groupId="acme", traits={"n": 5}, properties={"$group_type": "company"}),
            own(
                event="$groupidentify",
                properties={"$group_type": "company", "$group_key": "acme", "$group_set": {"n": 5}},
            ),
        ),
        (
            message(type="alias", event=None, previousId="a7", userId="u1"),
            own(event="$create_alias", distinct_id="a7", properties={"alias": "u1"}),
        ),
        (
            message(type="alias", event=None, previousId="a7", userId="u1", anonymousId="a8"),
            own(event="$create_alias", distinct_id="a7", properties={"alias": "u1", "$anon_distinct_id": "a8"}),
        ),
        (
            message(type="page", event=None, name="Home", category="Docs", properties={"url": "/"}),
            own(event="$pageview", properties={"url": "/", "name": "Home", "category": "Docs"}),
        ),
        (
            message(type="screen", event=None, name="Inbox"),
            own(event="$screen", properties={"$screen_name": "Inbox"}),
        ),
        (message(timestamp=None, originalTimestamp=STAMP), own()),
    ],
    ids=[
        "track", "number", "anonymous", "both ids", "nobody", "own library", "context", "identify", "group", "alias",
        "alias with an anonymous id", "page", "screen", "original timestamp",
    ],
)  # fmt: skip
def test_every_call_becomes_an_event_of_ours(sent: dict[str, Any], stored: dict[str, Any]) -> None:
    """Names, ids and properties are those that ``Event``'s class methods give; the answer is Segment's."""
    taken = ask("/v1/batch", {"batch": [sent, sent], "sentAt": STAMP}, KEY)

    assert (taken.format, taken.events) == ("segment", [stored, stored])
    assert (taken.answer.status, said(taken.answer)) == (200, {"success": True})


@pytest.mark.parametrize("path", ["/v1/batch/", "/v1/import", "/api/s/batch", "/api/s/s2s/batch"])
def test_batches_are_taken_at_every_known_path(path: str) -> None:
    """Those of Segment, RudderStack and Jitsu."""
    assert ask(path, {"batch": [message()]}, KEY).events == [own()]


@pytest.mark.parametrize("path", ["/v1/track", "/api/s/track", "/api/s/s2s/track"])
def test_a_single_message_is_taken_at_the_path_of_its_call(path: str) -> None:
    """It needs no type: the path says it."""
    assert ask(path, message(type=None), KEY).events == [own()]


def test_jitsus_header_is_a_key_too() -> None:
    """Its clients send the key in a header of its own."""
    assert ask("/api/s/track", message(), {"X-Write-Key": "k"}).events == [own()]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic " + base64.b64encode(b":key").decode()},
        {"Authorization": "Bearer " + base64.b64encode(b"key:").decode()},
        {"Authorization": "Basic \udcff"},
    ],
)
def test_a_request_without_a_key_is_refused(headers: dict[str, str]) -> None:
    """The key is the user of Basic authorization."""
    answer = refusal("/v1/batch", {"batch": [message()]}, headers)

    assert answer.status == 401
    assert said(answer) == {"success": False, "code": "unauthorized", "message": "the request has no write key"}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{", "the body is not JSON: unexpected end of data: line 1 column 2 (char 1)"),
        ([], "expected an object with a batch, an array of messages"),
        ({"batch": {}}, "expected an object with a batch, an array of messages"),
        ({"batch": ["a"]}, "message 0 is not an object"),
        ({"batch": [message(), message(type="shout")]}, "message 1 has no type that is known"),
        ({"batch": [message(type=None)]}, "message 0 has no type that is known"),
        ({"batch": [message(type=["track"])]}, "message 0 has no type that is known"),
        ({"batch": [message(event=None)]}, "message 0 has no event name"),
        ({"batch": [message(userId=None)]}, "message 0 has no userId and no anonymousId"),
        ({"batch": [message(type="group")]}, "message 0 has no groupId"),
        ({"batch": [message(type="alias")]}, "message 0 has no previousId or no userId"),
        ({"batch": [message(properties=[])]}, "message 0 has properties that is no object"),
        ({"batch": [message(context="x")]}, "message 0 has context that is no object"),
        ({"batch": [message(messageId=7)]}, "message 0 has a messageId that is no text"),
        ({"batch": [message(properties={"text": "x" * 33_000})]}, "message 0 is larger than 32768 bytes"),
        ({"batch": [message(properties={"text": "x" * 30_000})] * 17}, "the body is larger than 500000 bytes"),
    ],
)
def test_a_bad_request_is_refused_in_segments_words(body: Any, fault: str) -> None:
    """The whole request is refused, and its sender told which message is to blame."""
    answer = refusal("/v1/batch", body, KEY)

    assert (answer.status, said(answer)["success"], said(answer)["message"]) == (400, False, fault)


def test_a_message_too_deep_is_refused() -> None:
    """JSON may be read at a depth that it cannot be measured at."""
    body = b'{"batch": [{"type": "track", "properties": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}]}"

    assert said(refusal("/v1/batch", body, KEY))["message"] == "message 0 is nested too deeply"


@given(st.lists(EVENTS, min_size=1, max_size=3))
def test_what_the_codec_writes_is_read_as_the_events_it_was_made_of(events: list[CapturedEvent]) -> None:
    """Every call, with any properties, whether of that call or not; an empty id is nobody's."""
    request = Segment("key").request(make_batch(events), 1, CAPTURED_AT)

    taken = SegmentWire().read(Asked(request.url, "application/json", request.headers), request.body, lambda: "ok")

    assert taken.events == [
        {
            "uuid": event.uuid,
            "event": event.event,
            "distinct_id": event.distinct_id or None,
            "timestamp": event.data[TIMESTAMP_AT].decode(),
            "properties": event.properties,
        }
        for event in events
    ]
