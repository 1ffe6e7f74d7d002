"""Segment's tracking API."""

from __future__ import annotations

import base64
import traceback
from typing import Any

import orjson
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.codecs import Segment
from eventpipe.codecs.base import library_version
from eventpipe.codecs.segment import segment_host
from eventpipe.encoding import Encoder
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import Batch, CapturedEvent, Event
from eventpipe.testing.events import STAMP, make_batch, make_event
from tests.codecs.test_json import JSON_VALUES

KEY = "wk0123456789abcdef"
LIBRARY = {"library": {"name": "eventpipe", "version": library_version()}}
ID = "01890000-0000-7000-8000-000000000001"
COMMON: dict[str, Any] = {"messageId": ID, "timestamp": "2026-01-01T00:00:00.000000Z", "context": LIBRARY}


def captured(event: Event, codec: Segment | None = None) -> CapturedEvent:
    """The event as a client takes it in for ``codec``, with the id and the time of these tests."""
    encoder = Encoder(lifted=(codec or Segment(KEY)).lifted)
    with freeze_time("2026-01-01T00:00:00Z"):
        return encoder.encode(
            event.event, event.distinct_id, event.properties, None, ID, event.headers, event.key, event.lane
        )


def sent(batch: Batch, codec: Segment | None = None, now: float = STAMP) -> dict[str, Any]:
    """The body of an attempt, read back."""
    body: dict[str, Any] = orjson.loads((codec or Segment(KEY)).request(batch, 1, now).body)
    return body


def message(event: CapturedEvent | Event, codec: Segment | None = None) -> dict[str, Any]:
    if isinstance(event, Event):
        event = captured(event, codec)
    [said] = sent(make_batch([event]), codec)["batch"]
    assert isinstance(said, dict)
    return said


def read_back(said: dict[str, Any]) -> dict[str, Any]:
    """The event that a message was made of, as ``docs/codecs.md`` describes the way back."""
    said = dict(said)
    properties = said.pop("properties", {})
    uuid, distinct_id, anonymous_id = said.pop("messageId"), said.pop("userId", None), said.pop("anonymousId", None)
    if anonymous_id is not None and (distinct_id is not None or anonymous_id != uuid):
        properties["$anon_distinct_id"] = anonymous_id
    context = said.pop("context")
    if context["library"]["name"] == "eventpipe":
        del context["library"]
    if context:
        properties["$context"] = context
    if "integrations" in said:
        properties["$integrations"] = said.pop("integrations")
    match said.pop("type"):
        case "identify":
            event, names = "$identify", {"traits": "$set"}
        case "group":
            event, names = "$groupidentify", {"groupId": "$group_key", "traits": "$group_set"}
        case "alias":
            event, names = "$create_alias", {}
            properties["alias"], distinct_id = distinct_id, said.pop("previousId")
        case "page":
            event, names = "$pageview", {"name": "name", "category": "category"}
        case "screen":
            event, names = "$screen", {"name": "$screen_name", "category": "category"}
        case "track":
            event, names = said.pop("event"), {}
    for member, name in names.items():
        if member in said:
            properties[name] = said.pop(member)
    timestamp = said.pop("timestamp")
    assert said == {}
    return {
        "uuid": uuid,
        "timestamp": timestamp,
        "distinct_id": distinct_id,
        "event": event,
        "properties": properties,
    }


def test_the_request_goes_to_v1_batch_with_the_key_as_a_user_without_password() -> None:
    """Basic authorization; the body has the messages and when they were sent, and not the key."""
    request = Segment(KEY).request(make_batch(2), 1, STAMP)

    assert request.url == "/v1/batch"
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "User-Agent": f"eventpipe/{library_version()}",
        "Authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode(),
    }
    body = orjson.loads(request.body)
    assert list(body) == ["batch", "sentAt"]
    assert body["sentAt"] == "2026-01-01T00:00:00.000000Z"
    assert len(body["batch"]) == 2
    assert KEY.encode() not in request.body


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(
            Event("signed_up", "u1", {"plan": "pro", "$set": {"a": 1}}),
            {"type": "track", "event": "signed_up", "userId": "u1", "properties": {"plan": "pro", "$set": {"a": 1}}},
            id="track",
        ),
        pytest.param(
            Event("signed_up", "u1"),
            {"type": "track", "event": "signed_up", "userId": "u1", "properties": {}},
            id="track without properties",
        ),
        pytest.param(
            Event("ping"),
            {"type": "track", "event": "ping", "anonymousId": ID, "properties": {}},
            id="track about nobody",
        ),
        pytest.param(
            Event("ping", ""),
            {"type": "track", "event": "ping", "anonymousId": ID, "properties": {}},
            id="track about an empty id",
        ),
        pytest.param(
            Event("$set", "u1", {"$set": {"a": 1}}),
            {"type": "track", "event": "$set", "userId": "u1", "properties": {"$set": {"a": 1}}},
            id="track with a dollar",
        ),
        pytest.param(
            Event("ping", None, {"$anon_distinct_id": "a7"}),
            {"type": "track", "event": "ping", "anonymousId": "a7", "properties": {}},
            id="track about somebody anonymous",
        ),
        pytest.param(
            Event.identify("u1", {"plan": "pro"}, anonymous_id="a7"),
            {"type": "identify", "userId": "u1", "anonymousId": "a7", "traits": {"plan": "pro"}},
            id="identify",
        ),
        pytest.param(Event.identify("u1"), {"type": "identify", "userId": "u1"}, id="identify without traits"),
        pytest.param(
            Event("$identify", "u1", {"$set": {"a": 1}, "$set_once": {"b": 2}}),
            {"type": "identify", "userId": "u1", "traits": {"a": 1}, "properties": {"$set_once": {"b": 2}}},
            id="identify with more",
        ),
        pytest.param(
            Event("$identify", None, {"$set": {"a": 1}}),
            {"type": "identify", "anonymousId": ID, "traits": {"a": 1}},
            id="identify about nobody",
        ),
        pytest.param(
            Event.group("u1", "company", "acme", {"seats": 5}),
            {
                "type": "group",
                "userId": "u1",
                "groupId": "acme",
                "traits": {"seats": 5},
                "properties": {"$group_type": "company"},
            },
            id="group",
        ),
        pytest.param(
            Event("$groupidentify", "u1", {"$group_type": "company"}),
            {"type": "track", "event": "$groupidentify", "userId": "u1", "properties": {"$group_type": "company"}},
            id="group without its id",
        ),
        pytest.param(
            Event.alias("a7", "u1"),
            {"type": "alias", "previousId": "a7", "userId": "u1", "properties": {"distinct_id": "a7"}},
            id="alias",
        ),
        pytest.param(
            Event("$create_alias", None, {"alias": "u1"}),
            {"type": "track", "event": "$create_alias", "anonymousId": ID, "properties": {"alias": "u1"}},
            id="alias of nobody",
        ),
        pytest.param(
            Event("$create_alias", "a7", {"alias": 1}),
            {"type": "track", "event": "$create_alias", "userId": "a7", "properties": {"alias": 1}},
            id="alias to no text",
        ),
        pytest.param(
            Event.page("u1", "Pricing", category="docs", url="https://x.example/p", properties={"title": "T"}),
            {
                "type": "page",
                "userId": "u1",
                "name": "Pricing",
                "category": "docs",
                "properties": {"$current_url": "https://x.example/p", "url": "https://x.example/p", "title": "T"},
            },
            id="page",
        ),
        pytest.param(
            Event.page(None), {"type": "page", "anonymousId": ID, "properties": {}}, id="page without anything"
        ),
        pytest.param(
            Event.screen("u1", "Inbox", category="mail", properties={"name": "n"}),
            {"type": "screen", "userId": "u1", "name": "Inbox", "category": "mail", "properties": {"name": "n"}},
            id="screen",
        ),
    ],
)
def test_each_call_has_its_members(event: Event, expected: dict[str, Any]) -> None:
    """What the format has a member for is there and no longer among the properties; all else stays a property."""
    assert message(event) == {**COMMON, **expected}


@pytest.mark.parametrize("value", ["", 7, None, ["a7"], {"a": 7}], ids=repr)
def test_what_is_no_text_or_an_empty_one_stays_a_property(value: object) -> None:
    """An id, a group's key or a name is moved only where the far end could read it."""
    for event in (
        Event("e", "u1", {"$anon_distinct_id": value}),
        Event("$pageview", "u1", {"name": value, "category": value}),
        Event("$screen", "u1", {"$screen_name": value}),
        Event("$groupidentify", "u1", {"$group_key": value}),
        Event("$create_alias", "u1", {"alias": value}),
    ):
        said = message(event)

        assert said["properties"] == event.properties
        assert said["userId"] == "u1"
        assert said.keys() <= {*COMMON, "type", "event", "userId", "properties"}


@pytest.mark.parametrize("value", [{}, "text", 7, None, [1]], ids=repr)
def test_what_is_no_object_or_an_empty_one_stays_a_property(value: object) -> None:
    """Traits, context and integrations are objects, and one without members says nothing."""
    for event in (
        Event("e", "u1", {"$context": value, "$integrations": value}),
        Event("$identify", "u1", {"$set": value}),
        Event("$groupidentify", "u1", {"$group_key": "g", "$group_set": value}),
    ):
        said = message(event)

        assert said["context"] == LIBRARY
        assert (
            said["properties"].items()
            >= {name: value for name in event.properties or {} if name != "$group_key"}.items()
        )
        assert "traits" not in said
        assert "integrations" not in said


def test_context_and_integrations_add_to_those_of_the_codec() -> None:
    """The codec's are said of every event; an event's own win over them, name by name."""
    codec = Segment(
        KEY, context={"app": {"name": "shop"}, "locale": "de"}, integrations={"All": False, "Mixpanel": True}
    )

    plain = message(Event("e", "u1", {"a": 1}), codec)
    own = message(
        Event("e", "u1", {"a": 1, "$context": {"locale": "fr", "ip": "::1"}, "$integrations": {"All": True}}), codec
    )
    identify = message(Event("$identify", "u1", {"$context": {"ip": "::1"}}), codec)

    assert plain["context"] == {**LIBRARY, "app": {"name": "shop"}, "locale": "de"}
    assert plain["integrations"] == {"All": False, "Mixpanel": True}
    assert own["context"] == {**LIBRARY, "app": {"name": "shop"}, "locale": "fr", "ip": "::1"}
    assert own["integrations"] == {"All": True, "Mixpanel": True}
    assert own["properties"] == plain["properties"] == {"a": 1}
    assert identify["context"] == {**LIBRARY, "app": {"name": "shop"}, "locale": "de", "ip": "::1"}
    assert identify["integrations"] == plain["integrations"]


def test_a_name_of_a_call_among_the_properties_changes_nothing() -> None:
    """The event's name decides, not a text that looks like it."""
    event = make_event(
        '","event":"$identify', distinct_id=',"event":"$identify","properties":{', properties={"event": "$identify"}
    )

    said = message(event)

    assert (said["type"], said["event"], said["userId"]) == ("track", event.event, event.distinct_id)
    assert said["properties"] == {"event": "$identify"}


def test_headers_and_key_stay_here() -> None:
    """They route and trace; the analytics far end has no place for them."""
    plain, routed = make_event(uuid=ID), make_event(uuid=ID, headers={"traceparent": "00-1"}, key="k")

    assert message(routed) == message(plain)


@pytest.mark.parametrize("event", ["e", "$identify"], ids=["track", "identify"])
@pytest.mark.parametrize("properties", [{}, {"a": 1}], ids=["no others", "others"])
def test_properties_that_another_codec_lifted_are_back_among_the_properties(
    event: str, properties: dict[str, Any]
) -> None:
    """With several sinks an event is lifted for one of them and complete for all."""
    lifted = {"$lib": "mine", "$session_id": None, "$geoip_disable": True}

    said = message(make_event(event, properties=properties, lifted={**lifted, "$anon_distinct_id": "a7"}))

    assert said["properties"] == {**properties, **lifted}
    assert said["anonymousId"] == "a7"


NAMES = ["$identify", "$groupidentify", "$create_alias", "$pageview", "$screen", "e", "$e", '"']
OWN = [
    "$set",
    "$group_key",
    "$group_set",
    "$group_type",
    "alias",
    "name",
    "category",
    "$screen_name",
    "messageId",
    "type",
]
BESIDE = ["$anon_distinct_id", "$context", "$integrations", "$lib"]
EVENTS = st.builds(
    make_event,
    event=st.sampled_from(NAMES) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    distinct_id=st.none() | st.text(st.characters(codec="utf-8"), max_size=8),
    properties=st.dictionaries(st.sampled_from(OWN) | st.text('abc{}",', max_size=4), JSON_VALUES, max_size=5),
    lifted=st.none() | st.dictionaries(st.sampled_from(BESIDE), JSON_VALUES, max_size=4),
    headers=st.none() | st.just({"a": "b"}),
)


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_every_message_reads_back_as_the_event_it_was_made_of(events: list[CapturedEvent]) -> None:
    """Calls of every kind with any properties, in any mixture: nothing is lost, and nothing added."""
    batch = sent(make_batch(events))["batch"]

    assert [read_back(said) for said in batch] == [
        {
            "uuid": event.uuid,
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "distinct_id": event.distinct_id or None,
            "event": event.event,
            "properties": event.properties,
        }
        for event in events
    ]


@given(EVENTS)
def test_a_message_keeps_the_limit_if_its_event_does(event: CapturedEvent) -> None:
    """``max_event_bytes`` leaves room for all that the format adds to an event."""
    codec = Segment(KEY, context={"app": "shop"}, integrations={"All": True})
    size = len(codec.request(make_batch([event]), 1, STAMP).body) - len(b'{"batch":[],"sentAt":""}') - 27

    assert size - event.size <= 32 * 1024 - codec.max_event_bytes


@pytest.mark.parametrize("distinct_id", ["u1", None], ids=["known", "anonymous"])
@pytest.mark.parametrize("length", [0, 1000], ids=["small", "large"])
def test_a_full_batch_keeps_the_limit(distinct_id: str | None, length: int) -> None:
    """As many events as a batch may have, in number or in bytes, make a body below 500 KB."""
    codec = Segment(KEY, context={"app": "shop" * 20})
    event = make_event(distinct_id=distinct_id, properties={"text": "x" * length})
    number = min(codec.max_batch_events, codec.max_batch_bytes // event.size)

    body = codec.request(make_batch([event] * number), 1, STAMP).body

    assert 150_000 < len(body) <= 500_000


def test_limits_are_those_of_the_service_unless_set() -> None:
    """32 KiB a message and 500 KB a body, less what the format adds; RudderStack takes more."""
    segment, rudder = Segment(KEY), Segment(KEY, max_event_bytes=1024 * 1024, max_batch_bytes=4 * 1024 * 1024)
    frame = 32 * 1024 - segment.max_event_bytes

    assert 0 < frame < 256
    assert segment.max_batch_events == rudder.max_batch_events == 500
    assert segment.max_batch_bytes == 500_000 - 64 - 500 * frame
    assert rudder.max_event_bytes == 1024 * 1024 - frame
    assert rudder.max_batch_bytes == 4 * 1024 * 1024 - 64 - 500 * frame


def test_a_large_context_leaves_fewer_events_to_a_batch() -> None:
    """Every message repeats it: at most half of a body is spent on that."""
    codec = Segment(KEY, context={"text": "x" * 10_000})

    assert 20 <= codec.max_batch_events <= 25
    assert 250_000 - 64 <= codec.max_batch_bytes < 275_000


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_event_bytes": 0}, "max_event_bytes must be a whole number of bytes"),
        ({"max_batch_bytes": "1"}, "max_batch_bytes must be a whole number of bytes"),
        ({"max_event_bytes": 100}, "max_event_bytes must be more than the "),
        ({"context": {"a": "x" * 40_000}}, "max_event_bytes must be more than the "),
        ({"max_batch_bytes": 32 * 1024}, "max_batch_bytes must be at least max_event_bytes"),
    ],
    ids=["zero", "text", "too small", "large context", "smaller than an event"],
)
def test_limits_without_room_for_an_event_are_refused(limits: dict[str, Any], said: str) -> None:
    """The message names the option and the rule."""
    with pytest.raises(ValueError, match=f"^{said}"):
        Segment(KEY, **limits)


def test_a_body_with_room_for_one_message_is_large_enough() -> None:
    """The largest event fits into it alone, and a byte less is refused."""
    codec = Segment(KEY, max_event_bytes=1_000, max_batch_bytes=1_064)
    event = make_event(properties={"text": ""})
    event = make_event(properties={"text": "x" * (codec.max_event_bytes - event.size)})

    assert event.size == codec.max_event_bytes
    assert len(codec.request(make_batch([event]), 1, STAMP).body) <= 1_064
    with pytest.raises(ValueError, match=r"^max_batch_bytes must be at least max_event_bytes \+ 64, not 1063$"):
        Segment(KEY, max_event_bytes=1_000, max_batch_bytes=1_063)


@pytest.mark.parametrize("option", ["context", "integrations"])
@pytest.mark.parametrize(
    "value",
    [7, ["a"], {"a": object()}, {7: "SECRET"}, {"\ud800": "SECRET"}],
    ids=["number", "list", "object inside", "number as name", "surrogate"],
)
def test_what_is_no_json_object_is_refused_without_being_shown(option: str, value: Any) -> None:
    """Context may hold what is nobody's business; the message has the option's name only."""
    with pytest.raises(ValueError, match=f"^{option} must be a mapping from text to what JSON can carry") as caught:
        Segment(KEY, **{option: value})

    assert "SECRET" not in "".join(traceback.format_exception_only(caught.value))


def test_a_codec_keeps_its_own_copy_of_context() -> None:
    """A dictionary that its caller changes later changes no message."""
    context = {"app": {"name": "shop"}}
    codec = Segment(KEY, context=context)

    context["app"]["name"] = "other"

    assert message(make_event(), codec)["context"]["app"] == {"name": "shop"}


def test_each_attempt_is_stamped_anew_and_nothing_else_is() -> None:
    """The server corrects a wrong clock by ``sentAt``, so that a stale one would shift every event."""
    codec = Segment(KEY)
    batch = make_batch([make_event(), make_event("$identify"), make_event(distinct_id=None)])

    first = codec.request(batch, 1, STAMP)
    second = codec.request(batch, 2, STAMP + 90.5)

    assert b'"sentAt":"2026-01-01T00:00:00.000000Z"' in first.body
    assert second.body == first.body.replace(
        b'"sentAt":"2026-01-01T00:00:00', b'"sentAt":"2026-01-01T00:01:30'
    ).replace(b'30.000000Z"}', b'30.500000Z"}')
    assert (second.url, second.headers) == (first.url, first.headers)


def test_statuses_are_read_as_everywhere() -> None:
    """2xx accepts the batch; a refused key is the sink's fault; a busy server gets the batch again."""
    codec, batch = Segment(KEY), make_batch(3)
    refused = codec.response(batch, 401, {}, b"", True)
    busy = codec.response(batch, 429, {"retry-after": "7"}, b"", True)

    assert codec.response(batch, 200, {}, b'{"success":true}', True) is None
    assert isinstance(refused, PermanentSinkError)
    assert (refused.scope, refused.reason) == ("sink", "unauthorized")
    assert isinstance(busy, TransientSinkError)
    assert busy.retry_after == 7


def test_what_the_far_end_reads() -> None:
    """No lanes, gzip, and nothing beside the properties but what has a member of its own."""
    codec = Segment(KEY)

    assert (codec.has_lanes, codec.lane(make_event(lane="historical"))) == (False, None)
    assert codec.compressions == {None: {"gzip"}}
    assert codec.lifted == {"$anon_distinct_id", "$context", "$integrations"}


@pytest.mark.parametrize("key", [f" {KEY} ", f"{KEY}\n"], ids=repr)
def test_space_around_the_key_is_cut_off(key: str) -> None:
    """It comes from files and environments that end in a newline."""
    assert Segment(key).request(make_batch(), 1, STAMP).headers == Segment(KEY).request(make_batch(), 1, STAMP).headers


@pytest.mark.parametrize(
    "key", ["", "  ", "wk SECRET", "SECRET\r\nX: y", "SECRETé", "SECRET\ud800", "SECRET\x7f", "SECRET" * 700, None, 7],
    ids=lambda key: ascii(key)[:20],
)  # fmt: skip
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: Any) -> None:
    """The message names the option and the rule, and not the value."""
    with pytest.raises(ValueError, match=r"^write_key must be printable ASCII") as caught:
        Segment(key)

    assert "SECRET" not in "".join(traceback.format_exception_only(caught.value))


def test_the_key_is_in_no_repr_and_no_error() -> None:
    """Of the codec, of a request, and of any answer that repeats it; nor is its Base64."""
    codec = Segment(KEY, context={"secret": "SECRET"})
    request = codec.request(make_batch(), 1, STAMP)
    error = codec.response(make_batch(), 401, {"x": KEY}, KEY.encode(), True)
    shown = f"{codec!r} {codec} {request!r} {error!r} {error}"

    assert KEY not in shown
    assert base64.b64encode(KEY.encode()).decode()[:8] not in shown
    assert "SECRET" not in shown
    assert repr(codec) == "Segment()"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "https://api.segment.io"),
        (" ", "https://api.segment.io"),
        ("https://api.segment.io", "https://api.segment.io"),
        (" https://api.segment.io/ ", "https://api.segment.io"),
        ("https://events.eu1.segmentapis.com/v1/", "https://events.eu1.segmentapis.com"),
        ("https://x.dataplane.rudderstack.com/v1/batch", "https://x.dataplane.rudderstack.com"),
        ("https://collector.example/segment", "https://collector.example/segment"),
        ("http://localhost:8080/batch", "http://localhost:8080/batch"),
    ],
    ids=str,
)
def test_the_path_of_the_api_may_be_there_already(host: str | None, address: str) -> None:
    """What people copy from the pages of their data plane works; any other path is kept."""
    assert segment_host(host) == address
    assert Segment(KEY).base_url(host or "") == address
