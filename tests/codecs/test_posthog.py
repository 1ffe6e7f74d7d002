"""PostHog's capture format, version 0."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from eventpipe import AsyncClient
from eventpipe.clock import Clock, format_stamp
from eventpipe.codecs import PostHogV0, posthog_base
from eventpipe.codecs.base import library_version
from eventpipe.codecs.posthog_base import posthog_host
from eventpipe.codecs.posthog_v1 import PostHogV1
from eventpipe.errors import TransientSinkError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.sinks import MemorySink
from eventpipe.testing.events import STAMP, make_batch, make_event
from tests.codecs.test_json import EVENTS

KEY = "phc_0123456789abcdef"
Make = Callable[..., PostHogV0 | PostHogV1]
BOTH = [pytest.param(PostHogV0, id="v0"), pytest.param(PostHogV1, id="v1")]
OWN = {"$lib", "$lib_version", "$os", "$os_version", "$is_server", "$geoip_disable"}


def sent(batch: Batch, codec: PostHogV0 | None = None, now: float = STAMP) -> dict[str, Any]:
    """The body of an attempt, read back."""
    body: dict[str, Any] = orjson.loads((codec or PostHogV0(KEY)).request(batch, 1, now).body)
    return body


def sent_event(event: CapturedEvent, codec: PostHogV0 | None = None) -> dict[str, Any]:
    [said] = sent(make_batch([event]), codec)["batch"]
    assert isinstance(said, dict)
    return said


def test_the_request_goes_to_batch_with_the_key_in_the_body() -> None:
    """No Authorization header; the body has the key, the batch, and when it was sent."""
    request = PostHogV0(KEY).request(make_batch(2), 1, STAMP)

    assert request.url == "/batch/"
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "User-Agent": f"eventpipe/{library_version()}",
    }
    body = orjson.loads(request.body)
    assert list(body) == ["api_key", "historical_migration", "sent_at", "batch"]
    assert (body["api_key"], body["historical_migration"]) == (KEY, False)
    assert body["sent_at"] == "2026-01-01T00:00:00.000000Z"
    assert len(body["batch"]) == 2


def test_an_event_has_the_five_members_of_the_format() -> None:
    """Name, person, id and time at the root; the caller's properties with ours beside them."""
    event = make_event("signed_up", distinct_id="u1", properties={"plan": "pro", "$set": {"a": 1}}, key="k")

    said = sent_event(event)

    assert set(said) == {"uuid", "timestamp", "distinct_id", "event", "properties"}
    assert (said["uuid"], said["event"], said["distinct_id"]) == (event.uuid, "signed_up", "u1")
    assert said["timestamp"] == "2026-01-01T00:00:00.000000Z"
    assert said["properties"].keys() == {"plan", "$set"} | OWN
    assert (said["properties"]["plan"], said["properties"]["$set"]) == ("pro", {"a": 1})


def test_a_server_library_says_what_it_is() -> None:
    """Library, system, that this is a server, and that its address says nothing of its users."""
    properties = sent_event(make_event())["properties"]

    assert properties["$lib"] == "eventpipe"
    assert properties["$lib_version"] == library_version() != "0"
    assert properties["$is_server"] is True
    assert properties["$geoip_disable"] is True
    assert properties["$os"] != ""
    assert isinstance(properties["$os_version"], str)


@pytest.mark.parametrize(
    ("system", "release", "expected"),
    [
        ("Linux", {"VERSION_ID": "12"}, ("Linux", "12")),
        ("Linux", {}, ("Linux", "6.1")),
        ("Linux", None, ("Linux", "6.1")),
        ("Darwin", None, ("Mac OS X", "15.1")),
    ],
    ids=["distribution", "rolling distribution", "no distribution", "macOS"],
)
def test_the_system_is_named_as_posthog_names_it(
    system: str, release: dict[str, str] | None, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution's version where there is one, else the kernel's."""

    def os_release() -> dict[str, str]:
        if release is None:
            raise OSError
        return release

    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.release", lambda: "6.1")
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    monkeypatch.setattr("platform.freedesktop_os_release", os_release)
    posthog_base._operating_system.cache_clear()
    try:
        properties = sent_event(make_event())["properties"]
    finally:
        posthog_base._operating_system.cache_clear()

    assert (properties["$os"], properties["$os_version"]) == expected


def test_geoip_can_be_left_to_the_server() -> None:
    """``disable_geoip=False`` leaves the property out, and a caller's own value in."""
    codec = PostHogV0(KEY, disable_geoip=False)

    assert "$geoip_disable" not in sent_event(make_event(), codec)["properties"]
    assert sent_event(make_event(lifted={"$geoip_disable": True}), codec)["properties"]["$geoip_disable"] is True
    assert "$geoip_disable" in codec.lifted


@pytest.mark.parametrize("name", sorted(OWN | {"$process_person_profile"}))
@pytest.mark.parametrize("distinct_id", ["u1", None], ids=["known", "anonymous"])
@pytest.mark.parametrize("value", ["mine", False, None], ids=repr)
def test_the_callers_value_of_our_properties_wins(name: str, distinct_id: str | None, value: object) -> None:
    """It is lifted out at capture and put back in place of ours, once."""
    assert name in PostHogV0(KEY).lifted
    event = make_event(distinct_id=distinct_id, properties={"a": 1}, lifted={name: value})

    properties = sent_event(event)["properties"]

    assert properties[name] == value
    assert properties["a"] == 1
    assert PostHogV0(KEY).request(make_batch([event]), 1, STAMP).body.count(f'"{name}":'.encode()) == 1


@pytest.mark.parametrize("distinct_id", [None, ""], ids=["none", "empty"])
def test_an_event_about_nobody_is_sent_under_its_own_id_without_a_profile(distinct_id: str | None) -> None:
    """The format demands a ``distinct_id``; one invented per event must not become a person."""
    event = make_event(distinct_id=distinct_id, properties={"a": None})

    said = sent_event(event)

    assert said["distinct_id"] == event.uuid
    assert said["properties"].keys() == {"a", "$process_person_profile"} | OWN
    assert said["properties"]["$process_person_profile"] is False


def test_an_event_about_somebody_keeps_its_profile() -> None:
    """Only the caller decides about the profile of a known person; odd ids stay as they are."""
    for distinct_id in ("u1", '"', "\\", "null", "n"):
        said = sent_event(make_event(distinct_id=distinct_id))

        assert said["distinct_id"] == distinct_id
        assert "$process_person_profile" not in said["properties"]


def test_headers_and_key_stay_here() -> None:
    """They route and trace; the analytics far end has no place for them."""
    said = sent_event(make_event(headers={"traceparent": "00-1"}, key="k"))

    assert set(said) == {"uuid", "timestamp", "distinct_id", "event", "properties"}


@pytest.mark.parametrize("count", [1, 2, 50], ids=str)
def test_events_that_need_nothing_of_their_own_are_written_as_the_others_are(count: int) -> None:
    """They are joined at once, with the same members after the properties of each; one odd event changes no other."""
    plain = [make_event(f"e{n}", properties={"n": n, "text": '"{'}) for n in range(count)]
    odd = make_event(distinct_id=None)

    assert sent(make_batch(plain))["batch"] == sent(make_batch([*plain, odd]))["batch"][:-1]
    assert sent(make_batch(plain))["batch"] == [sent_event(event) for event in plain]
    assert [said["properties"]["n"] for said in sent(make_batch(plain))["batch"]] == list(range(count))


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_any_mixture_of_events_is_spliced_into_valid_json(events: list[CapturedEvent]) -> None:
    """Plain, empty, anonymous and lifted events in one batch all keep their own properties."""
    batch = sent(make_batch(events))["batch"]

    assert [said["uuid"] for said in batch] == [event.uuid for event in events]
    for said, event in zip(batch, events, strict=True):
        assert said["event"] == event.event
        assert said["distinct_id"] == (event.distinct_id or event.uuid)
        assert said["properties"].items() >= event.properties.items()
        extra = OWN | ({"$process_person_profile"} if not event.distinct_id else set())
        assert said["properties"].keys() == event.properties.keys() | extra


def test_each_attempt_is_stamped_anew_and_the_events_never() -> None:
    """The server corrects a wrong clock by ``sent_at``, so that a stale one would shift every event."""
    clock = Clock()
    codec = PostHogV0(KEY, clock=clock)
    with freeze_time("2026-03-01T12:00:00Z") as frozen:
        batch = make_batch([make_event(timestamp=clock.time())])
        first = sent(batch, codec, clock.time())
        frozen.tick(90.5)
        second = sent(batch, codec, clock.time())

    assert (first["sent_at"], second["sent_at"]) == ("2026-03-01T12:00:00.000000Z", "2026-03-01T12:01:30.500000Z")
    assert first["batch"] == second["batch"]
    assert second["batch"][0]["timestamp"] == "2026-03-01T12:00:00.000000Z"


@pytest.mark.parametrize("make", BOTH)
def test_lanes_are_those_that_the_caller_named(make: Make) -> None:
    """Imports and events of language models have one each; all else travels together, whatever its name."""
    live, imports = make(KEY), make(KEY, historical=True)
    events = [make_event("$ai_generation", lane=lane) for lane in (None, "historical", "ai", "other")]

    assert [live.lane(event) for event in events] == [None, "historical", "ai", None]
    assert [imports.lane(event) for event in events] == [None, None, "ai", None]
    assert live.has_lanes is imports.has_lanes is True


def test_the_historical_lane_marks_its_batches_as_an_import() -> None:
    """Per event by lane, or all events of a codec; a batch has one lane."""
    live, imports = PostHogV0(KEY), PostHogV0(KEY, historical=True)

    said = {
        (codec is imports, lane): sent(make_batch(lane=lane), codec)["historical_migration"]
        for codec in (live, imports)
        for lane in (None, "historical", "ai")
    }

    assert said == {
        (False, None): False,
        (False, "historical"): True,
        (False, "ai"): False,
        (True, None): True,
        (True, "historical"): True,
        (True, "ai"): True,
    }


@pytest.mark.parametrize("make", BOTH)
def test_the_ai_lane_has_an_address_of_its_own_and_the_shape_of_version_0(make: Make) -> None:
    """Whatever version the other events travel in: the key in the body, no header of version 1, our properties."""
    events = [make_event("$ai_generation", properties={"a": 1}, lane="ai"), make_event(distinct_id=None, lane="ai")]
    batch = make_batch(events, lane="ai")
    codec = make(KEY, super_properties={"team": "growth"})

    request = codec.request(batch, 3, STAMP)

    assert request.url == "/i/v0/ai/batch/"
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "User-Agent": f"eventpipe/{library_version()}",
    }
    body = orjson.loads(request.body)
    assert list(body) == ["api_key", "historical_migration", "sent_at", "batch"]
    assert body["api_key"] == KEY
    first, second = body["batch"]
    assert set(first) == {"uuid", "timestamp", "distinct_id", "event", "properties"}
    assert first["properties"].keys() == OWN | {"a", "team"}
    assert second["properties"]["$process_person_profile"] is False


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("body", [b"", b'{"status": 1}', b'{"results": {}}', b"<html>"], ids=repr)
def test_the_ai_lane_is_answered_as_version_0_is(make: Make, body: bytes) -> None:
    """Any 2xx takes the batch, and a status that is none is an error, whatever the body."""
    batch = make_batch(2, lane="ai")
    codec = make(KEY)

    for complete in (True, False):
        assert codec.response(batch, 200, {}, body, complete) is None
        assert codec.response(batch, 204, {}, body, complete) is None
        error = codec.response(batch, 503, {"retry-after": "4"}, body, complete)
        assert isinstance(error, TransientSinkError)
        assert error.retry_after == 4.0


@pytest.mark.parametrize("make", BOTH)
def test_limits_are_those_of_the_service(make: Make) -> None:
    """900 KiB an event and 8 MiB one for AI, 5 MiB a batch."""
    codec = make(KEY)

    assert (codec.max_event_bytes, codec.max_batch_bytes) == (900 * 1024, 5 * 1024 * 1024)
    assert codec.lane_event_bytes == {"ai": 8 * 1024 * 1024}


def test_codings_are_those_that_the_service_reads() -> None:
    """Version 0 and the AI lane read gzip, version 1 more; a sink refuses others when it is made."""
    assert PostHogV0(KEY).compressions == {None: {"gzip"}, "ai": {"gzip"}}
    assert PostHogV1(KEY).compressions == {None: {"gzip", "deflate", "br", "zstd"}, "ai": {"gzip"}}


SUPER = {
    "team": "growth",
    "nested": {"list": [1, 2.5, None, "é"]},
    "when": datetime(2026, 1, 1, tzinfo=UTC),
    "id": UUID(int=5),
}
AS_SUPER = {
    "team": "growth",
    "nested": {"list": [1, 2.5, None, "é"]},
    "when": "2026-01-01T00:00:00Z",
    "id": "00000000-0000-0000-0000-000000000005",
}


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("distinct_id", ["u1", None], ids=["known", "anonymous"])
def test_super_properties_are_those_of_every_event(make: Make, distinct_id: str | None) -> None:
    """Encoded as an event's own would be; stronger than what the codec adds, and weaker than what the event has."""
    codec = make(KEY, super_properties={**SUPER, "$os": "Plan 9"})
    plain, own = make_event(distinct_id=distinct_id), make_event(distinct_id=distinct_id, lifted={"team": None})

    first, second = orjson.loads(codec.request(make_batch([plain, own]), 1, STAMP).body)["batch"]

    assert first["properties"].items() >= {**AS_SUPER, "$os": "Plan 9", "$is_server": True}.items()
    assert second["properties"].items() >= {**AS_SUPER, "team": None, "$os": "Plan 9"}.items()
    assert codec.lifted >= {*SUPER, *OWN}


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.asyncio
async def test_a_caller_gives_a_super_property_once(make: Make) -> None:
    """Their names are lifted at capture, so that no object has one twice."""
    codec = make(KEY, super_properties={"team": "growth"})
    sink = MemorySink()
    sink.lifted = codec.lifted  # type: ignore[attr-defined]
    async with AsyncClient(sink) as client:
        await client.capture("e", distinct_id="u1", properties={"team": "mine", "a": 1})

    body = codec.request(make_batch(sink.events), 1, STAMP).body

    assert body.count(b'"team":') == 1
    assert orjson.loads(body)["batch"][0]["properties"]["team"] == "mine"


@pytest.mark.parametrize("make", BOTH)
def test_super_properties_are_as_they_were_when_the_codec_was_made(make: Make) -> None:
    """They are encoded once; a mapping that changes afterwards changes no event."""
    given: dict[str, Any] = {"tags": ["a"]}
    codec = make(KEY, super_properties=MappingProxyType(given))
    given["tags"].append("b")
    given["late"] = 1

    properties = orjson.loads(codec.request(make_batch(1), 1, STAMP).body)["batch"][0]["properties"]

    assert properties["tags"] == ["a"]
    assert "late" not in properties


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("a", 1)], "super_properties must be a mapping or None, not list"),
        ("SECRET", "super_properties must be a mapping or None, not str"),
        ({"a": b"SECRET"}, "super_properties.a is bytes, which JSON cannot carry; decode it"),
        ({"a": {"b": [object()]}}, "super_properties.a.b[0] is of type object, which JSON cannot carry; convert it"),
        ({"a": "SECRET\ud800"}, "super_properties.a holds a lone surrogate"),
        ({"a": 2**64}, "super_properties.a is an integer of 65 bits, and JSON carries 64"),
        ({b"SECRET": 1}, "super_properties has a key of type bytes; keys are text"),
    ],
    ids=["list", "text", "bytes", "object", "surrogate", "long integer", "key"],
)
def test_a_super_property_that_json_cannot_carry_is_refused(make: Make, given: object, message: str) -> None:
    """When the codec is made; the message says where it is and shows no value."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$") as caught:
        make(KEY, super_properties=given)

    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", [f" {KEY} ", f"{KEY}\n", f"\t{KEY}"], ids=repr)
def test_space_around_the_key_is_cut_off(key: str) -> None:
    """It comes from files and environments that end in a newline."""
    assert sent(make_batch(), PostHogV0(key))["api_key"] == KEY


@pytest.mark.parametrize(
    "key", ["", "  ", "phc SECRET", "phc_SECRET\r\nX: y", "phc_SECRETé", "phc_SECRET\ud800", "phc_SECRET\x7f", None, 7]
)
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: Any) -> None:
    """The message names the option and the rule, and not the value."""
    with pytest.raises(ValueError, match=r"^api_key must be printable ASCII") as caught:
        PostHogV0(key)

    assert "SECRET" not in "".join(traceback.format_exception_only(caught.value))


def test_the_key_is_in_no_repr_and_no_error() -> None:
    """Of the codec, of a request, and of any answer that repeats it."""
    codec = PostHogV0(KEY)
    request = codec.request(make_batch(), 1, STAMP)
    error = codec.response(make_batch(), 401, {"x": KEY}, KEY.encode(), True)

    assert KEY not in f"{codec!r} {codec} {request!r} {error!r} {error} {dict(request.headers)}"
    assert repr(codec) == "PostHogV0(historical=False, disable_geoip=True)"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "https://us.i.posthog.com"),
        ("", "https://us.i.posthog.com"),
        ("https://us.i.posthog.com/", "https://us.i.posthog.com"),
        ("https://app.posthog.com", "https://us.i.posthog.com"),
        ("https://us.posthog.com", "https://us.i.posthog.com"),
        (" https://eu.posthog.com// ", "https://eu.i.posthog.com"),
        ("HTTPS://EU.posthog.com", "https://eu.i.posthog.com"),
        ("https://eu.i.posthog.com", "https://eu.i.posthog.com"),
        ("https://analytics.example/posthog/", "https://analytics.example/posthog"),
        ("http://localhost:8000", "http://localhost:8000"),
    ],
    ids=str,
)
def test_addresses_of_web_pages_mean_their_region(host: str | None, address: str) -> None:
    """What people copy from the browser works; an own server's address is kept."""
    assert posthog_host(host) == address
    assert PostHogV0(KEY).base_url(host or "") == address


def test_format_stamp_is_what_sent_at_says() -> None:
    """RFC 3339 in UTC, with microseconds."""
    assert sent(make_batch(), now=STAMP + 0.25)["sent_at"] == format_stamp(STAMP + 0.25)
