"""PostHog's capture format, version 1: what is sent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.clock import Clock
from eventpipe.codecs import PostHogV1
from eventpipe.codecs.base import library_version
from eventpipe.events import Batch, CapturedEvent
from eventpipe.testing.events import STAMP, make_batch, make_event
from tests.codecs.test_json import EVENTS

KEY = "phc_0123456789abcdef"
OWN = {"$os", "$os_version", "$is_server", "$geoip_disable"}
LIFTED = {
    "$cookieless_mode",
    "$ignore_sent_at",
    "$process_person_profile",
    "$product_tour_id",
    "$session_id",
    "$window_id",
}
ID = "01a2008a-d1e8-71f7-9c72-4d79a53e6eec"


def sent(batch: Batch, codec: PostHogV1 | None = None, now: float = STAMP) -> dict[str, Any]:
    """The body of an attempt, read back."""
    body: dict[str, Any] = orjson.loads((codec or PostHogV1(KEY)).request(batch, 1, now).body)
    return body


def sent_event(event: CapturedEvent, codec: PostHogV1 | None = None) -> dict[str, Any]:
    [said] = sent(make_batch([event]), codec)["batch"]
    assert isinstance(said, dict)
    return said


def test_the_key_is_in_a_header_and_in_no_body() -> None:
    """Every header that the server demands, on one attempt; the body is the batch and when it was made."""
    request = PostHogV1(f" {KEY}\n").request(make_batch(2, id=ID), 1, STAMP + 2.5)

    assert request.url == "/i/v1/analytics/events"
    assert dict(request.headers) == {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "User-Agent": f"eventpipe/{library_version()}",
        "PostHog-Sdk-Info": f"eventpipe/{library_version()}",
        "PostHog-Attempt": "1",
        "PostHog-Request-Id": ID,
        "PostHog-Request-Timestamp": "2026-01-01T00:00:02.500000Z",
    }
    assert KEY.encode() not in request.body
    body = orjson.loads(request.body)
    assert list(body) == ["created_at", "batch"]
    assert body["created_at"] == "2026-01-01T00:00:00.000000Z"
    assert len(body["batch"]) == 2


def test_a_plain_event_to_the_byte() -> None:
    """The captured bytes with members added to the properties and to the event; nothing is encoded again."""
    codec = PostHogV1(KEY, disable_geoip=False, super_properties={"$os": "o", "$os_version": "v", "$is_server": 1})
    event = make_event("signed_up", distinct_id="u1", properties={"plan": "pro"}, uuid=ID)

    assert codec.request(make_batch([event]), 1, STAMP).body == (
        b'{"created_at":"2026-01-01T00:00:00.000000Z","batch":[{"uuid":"01a2008a-d1e8-71f7-9c72-4d79a53e6eec",'
        b'"timestamp":"2026-01-01T00:00:00.000000Z","distinct_id":"u1","event":"signed_up","properties":{"plan":"pro",'
        b'"$os":"o","$os_version":"v","$is_server":1},"options":{}}]}'
    )


def test_attempts_of_a_batch_share_its_id_and_its_time_of_making() -> None:
    """Each has its number and its own time; the body is the same to the byte, also for the events that are left."""
    clock, codec = Clock(), PostHogV1(KEY)
    with freeze_time("2026-03-01T12:00:00Z") as frozen:
        batch = make_batch(3, created_at=clock.time())
        first = codec.request(batch, 1, clock.time())
        frozen.tick(90.5)
        second = codec.request(batch, 2, clock.time())
        left = Batch(batch.id, batch.lane, batch.events[1:], batch.created_at)
        third = codec.request(left, 3, clock.time())

    requests = (first, second, third)
    assert [request.headers["PostHog-Attempt"] for request in requests] == ["1", "2", "3"]
    assert {request.headers["PostHog-Request-Id"] for request in requests} == {batch.id}
    assert [request.headers["PostHog-Request-Timestamp"] for request in requests] == [
        "2026-03-01T12:00:00.000000Z",
        "2026-03-01T12:01:30.500000Z",
        "2026-03-01T12:01:30.500000Z",
    ]
    assert first.body == second.body
    assert orjson.loads(third.body)["created_at"] == "2026-03-01T12:00:00.000000Z"
    assert orjson.loads(third.body)["batch"] == orjson.loads(first.body)["batch"][1:]


def test_two_batches_have_ids_of_their_own() -> None:
    """The server knows a request that comes twice by its id."""
    codec = PostHogV1(KEY)
    first, second = (codec.request(make_batch(), 1, STAMP).headers for _ in range(2))

    assert first["PostHog-Request-Id"] != second["PostHog-Request-Id"]


def test_an_event_has_the_members_of_the_format() -> None:
    """Options always, and what ``$set`` and ``$groups`` say stays among the properties."""
    properties = {"plan": "pro", "$set": {"a": 1}, "$set_once": {"b": 2}, "$groups": {"company": "c"}}

    said = sent_event(make_event("signed_up", properties=properties, headers={"h": "v"}, key="k"))

    assert set(said) == {"uuid", "timestamp", "distinct_id", "event", "properties", "options"}
    assert said["options"] == {}
    assert said["properties"].keys() == properties.keys() | OWN
    assert said["properties"].items() >= properties.items()


@pytest.mark.parametrize("distinct_id", ["u1", None], ids=["known", "anonymous"])
@pytest.mark.parametrize("name", ["$lib", "$lib_version"])
def test_the_library_is_the_servers_to_name(name: str, distinct_id: str | None) -> None:
    """It is in a header: among the properties there is neither ours nor the caller's."""
    codec = PostHogV1(KEY, super_properties={name: "super"})
    event = make_event(distinct_id=distinct_id, properties={"a": 1}, lifted={name: "mine"})

    assert name in codec.lifted
    assert sent_event(event, codec)["properties"].keys() == {"a"} | OWN
    assert sent_event(make_event(distinct_id=distinct_id), codec)["properties"].keys() == OWN


@pytest.mark.parametrize("name", sorted(OWN))
@pytest.mark.parametrize("value", ["mine", False, None], ids=repr)
def test_the_callers_value_of_our_properties_wins(name: str, value: object) -> None:
    """It is lifted out at capture and put back in place of ours, once."""
    codec = PostHogV1(KEY)
    event = make_event(properties={"a": 1}, lifted={name: value})

    assert name in codec.lifted
    assert sent_event(event, codec)["properties"].items() >= {"a": 1, name: value}.items()
    assert codec.request(make_batch([event]), 1, STAMP).body.count(f'"{name}":'.encode()) == 1


def test_geoip_can_be_left_to_the_server() -> None:
    """``disable_geoip=False`` leaves the property out, and a caller's own value in."""
    codec = PostHogV1(KEY, disable_geoip=False)

    assert "$geoip_disable" not in sent_event(make_event(), codec)["properties"]
    assert sent_event(make_event(lifted={"$geoip_disable": True}), codec)["properties"]["$geoip_disable"] is True


BOOLEANS = [
    (True, True),
    (False, False),
    ("true", True),
    (" TRUE\n", True),
    ("1", True),
    ("False", False),
    ("\t0 ", False),
    (1, True),
    (-3, True),
    (0, False),
    (0.5, True),
    (-0.0, False),
    (2**63, True),
]
NO_BOOLEANS = [None, "yes", "", "on", "2", "true!", [], [True], {}, {"a": 1}]


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("$cookieless_mode", "cookieless_mode"),
        ("$ignore_sent_at", "disable_skew_correction"),
        ("$process_person_profile", "process_person_profile"),
    ],
)
@pytest.mark.parametrize(
    ("value", "expected"), [*BOOLEANS, *((value, None) for value in NO_BOOLEANS)], ids=lambda value: repr(value)[:20]
)
def test_a_switch_becomes_an_option(name: str, option: str, value: object, expected: bool | None) -> None:
    """As a true boolean, which is all the server takes; what means none is left out, and never stays a property."""
    event = make_event(properties={"a": 1}, lifted={name: value})

    said = sent_event(event)

    assert name in PostHogV1(KEY).lifted
    assert said["options"] == ({} if expected is None else {option: expected})
    assert type(said["options"].get(option)) is type(expected)
    assert said["properties"].keys() == {"a"} | OWN


STRINGS = [("abc", "abc"), ("", ""), ('"é\\\u2028', '"é\\\u2028'), (7, "7"), (-(2**63), str(-(2**63)))]
NO_STRINGS = [None, True, False, 1.5, ["abc"], {"a": 1}]


@pytest.mark.parametrize(
    ("value", "expected"), [*STRINGS, *((value, None) for value in NO_STRINGS)], ids=lambda value: ascii(value)[:20]
)
def test_a_name_becomes_a_string_outside_the_properties(value: object, expected: str | None) -> None:
    """The tour among the options, session and window at the root; what is no name is left out."""
    names = {"$product_tour_id": value, "$session_id": value, "$window_id": value}

    said = sent_event(make_event(properties={"a": 1}, lifted=names))

    absent = expected is None
    assert said["options"] == ({} if absent else {"product_tour_id": expected})
    assert said.keys() & {"session_id", "window_id"} == (set() if absent else {"session_id", "window_id"})
    assert (said.get("session_id"), said.get("window_id")) == (expected, expected)
    assert said["properties"].keys() == {"a"} | OWN
    assert PostHogV1(KEY).lifted >= names.keys()


def test_everything_has_its_place_at_once() -> None:
    """All that is lifted, beside a property of ours and one that another sink's codec wanted outside."""
    lifted = {
        **dict.fromkeys(LIFTED, "1"),
        "$ignore_sent_at": "no",
        "$os": "Plan 9",
        "$lib": "mine",
        "another's": [1],
    }

    said = sent_event(make_event(properties={"a": 1}, lifted=lifted))

    assert said["options"] == {"cookieless_mode": True, "process_person_profile": True, "product_tour_id": "1"}
    assert (said["session_id"], said["window_id"]) == ("1", "1")
    assert said["properties"].keys() == {"a", "another's"} | OWN
    assert said["properties"].items() >= {"$os": "Plan 9", "another's": [1]}.items()


@pytest.mark.parametrize("distinct_id", [None, ""], ids=["none", "empty"])
def test_an_event_about_nobody_is_sent_under_its_own_id_without_a_profile(distinct_id: str | None) -> None:
    """The server drops events without an id; one invented per event must not become a person."""
    event = make_event(distinct_id=distinct_id, properties={"a": None})

    said = sent_event(event)

    assert said["distinct_id"] == event.uuid
    assert said["options"] == {"process_person_profile": False}
    assert said["properties"].keys() == {"a"} | OWN


@pytest.mark.parametrize(
    ("given", "expected"), [(True, True), ("1", True), (False, False), (None, False), ("maybe", False)], ids=repr
)
def test_the_caller_alone_can_make_a_person_of_nobody(given: object, expected: bool) -> None:
    """With a value that means something; a super-property is about persons that there are."""
    codec = PostHogV1(KEY, super_properties={"$process_person_profile": True})
    own = make_event(distinct_id=None, lifted={"$process_person_profile": given})
    other = make_event(distinct_id=None, lifted={"$session_id": "s"})

    assert sent_event(own, codec)["options"] == {"process_person_profile": expected}
    assert sent_event(other, codec)["options"] == {"process_person_profile": False}
    assert sent_event(make_event(), codec)["options"] == {"process_person_profile": True}


def test_super_properties_with_a_place_of_their_own_go_there() -> None:
    """And the caller's value wins there too, even one that means nothing."""
    codec = PostHogV1(KEY, super_properties={"$session_id": 5, "$cookieless_mode": "true", "$window_id": [], "team": 1})

    plain = sent_event(make_event(), codec)
    beside = sent_event(make_event(lifted={"$window_id": "w"}), codec)
    own = sent_event(make_event(lifted={"$session_id": None, "$cookieless_mode": 0}), codec)

    assert plain["options"] == {"cookieless_mode": True}
    assert (plain["session_id"], "window_id" in plain) == ("5", False)
    assert (beside["options"], beside["session_id"], beside["window_id"]) == ({"cookieless_mode": True}, "5", "w")
    assert own["options"] == {"cookieless_mode": False}
    assert "session_id" not in own
    assert plain["properties"].keys() == own["properties"].keys() == OWN | {"team"}


@pytest.mark.parametrize("length", [200, 201, 100_000], ids=str)
def test_a_long_name_or_id_is_sent_whole_and_the_server_decides(length: int) -> None:
    """It refuses that event alone; an id that was cut could be somebody else's."""
    event = make_event("é" * length, distinct_id="u" * length)

    said = sent(make_batch([make_event(), event]))["batch"]

    assert len(said) == 2
    assert (said[1]["event"], said[1]["distinct_id"]) == ("é" * length, "u" * length)


def test_only_an_import_says_so() -> None:
    """Per event by lane, or all events of a codec; elsewhere the member is absent."""
    live, imports = PostHogV1(KEY), PostHogV1(KEY, historical=True)

    said = [
        sent(make_batch(lane=lane), codec).get("historical_migration")
        for codec, lane in [(live, None), (live, "historical"), (imports, None)]
    ]

    assert said == [None, True, True]


def test_a_batch_never_holds_an_id_twice() -> None:
    """The server would refuse all of it, so the codec asks the transport for it."""
    assert PostHogV1(KEY).unique_ids is True


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_any_mixture_of_events_is_spliced_into_valid_json(events: list[CapturedEvent]) -> None:
    """Plain, empty, anonymous and lifted events in one batch all keep their own properties."""
    batch = sent(make_batch(events))["batch"]

    assert [said["uuid"] for said in batch] == [event.uuid for event in events]
    for said, event in zip(batch, events, strict=True):
        kept = {
            name: value for name, value in event.properties.items() if name not in LIFTED | {"$lib", "$lib_version"}
        }
        assert said["event"] == event.event
        assert said["distinct_id"] == (event.distinct_id or event.uuid)
        assert said["properties"].items() >= kept.items()
        assert said["properties"].keys() == kept.keys() | OWN
        assert said["options"].keys() <= {"cookieless_mode", "disable_skew_correction", "process_person_profile",
                                          "product_tour_id"}  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 50], ids=str)
def test_events_that_need_nothing_of_their_own_are_written_as_the_others_are(count: int) -> None:
    """They are joined at once, with the same members at the end of each; one odd event changes no other."""
    plain = [make_event(f"e{n}", properties={"n": n, "text": '"{'}) for n in range(count)]
    odd = make_event(distinct_id=None)

    assert sent(make_batch(plain))["batch"] == sent(make_batch([*plain, odd]))["batch"][:-1]
    assert [said["properties"]["n"] for said in sent(make_batch(plain))["batch"]] == list(range(count))


def test_the_key_is_in_no_repr() -> None:
    """Of the codec and of a request, and in no address."""
    codec = PostHogV1(KEY)
    request = codec.request(make_batch(), 1, STAMP)

    assert KEY[:8] not in f"{codec!r} {codec} {request!r} {request.url}"
    assert repr(codec) == "PostHogV1(historical=False, disable_geoip=True)"
