"""The body that exporters of feature flags send."""

from __future__ import annotations

import json
import socket
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.codecs import FeatureFlags
from eventpipe.codecs.feature_flags import OWN_MEMBERS
from eventpipe.errors import PermanentSinkError
from eventpipe.events import CapturedEvent
from eventpipe.testing.events import STAMP, make_batch, make_event
from tests.codecs.test_json import EVENTS, JSON_VALUES, meaning

USE = {"key": "new-cart", "variation": "on", "value": True, "default": False, "version": "3", "source": "SERVER"}
NAMES = {"kind": "event", "userKey": "distinct_id", "partitionKey": "key"}
ANY_PROPERTIES = st.dictionaries(st.sampled_from(sorted({*OWN_MEMBERS, *USE})), JSON_VALUES, max_size=6)


def sent(*events: CapturedEvent, codec: FeatureFlags | None = None) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads((codec or FeatureFlags()).request(make_batch(list(events)), 1, STAMP).body)
    return body


def sent_event(event: CapturedEvent) -> dict[str, Any]:
    [written] = sent(event)["events"]
    assert isinstance(written, dict)
    return written


def read(written: dict[str, Any]) -> dict[str, object]:
    """An event of the body as the one that it was written from."""
    own = {name: value for name, value in written.items() if name in OWN_MEMBERS}
    apart = own.pop("properties", {})
    del own["creationDate"], own["contextKind"]
    beside = {name: value for name, value in written.items() if name not in OWN_MEMBERS}
    return {NAMES.get(name, name): value for name, value in own.items()} | {"properties": {**beside, **apart}}


def test_the_use_of_a_flag_is_what_receivers_expect() -> None:
    """The members of go-feature-flag's exporter, and beside them what tells events apart."""
    event = make_event("feature", distinct_id="u1", properties=USE, timestamp=STAMP + 0.75)

    assert sent_event(event) == {
        "kind": "feature",
        "contextKind": "user",
        "userKey": "u1",
        "creationDate": 1_767_225_600,
        "uuid": event.uuid,
        "timestamp": "2026-01-01T00:00:00.750000Z",
        **USE,
    }


@pytest.mark.parametrize("distinct_id", [None, ""], ids=["none", "empty"])
def test_an_event_about_nobody_has_an_anonymous_context(distinct_id: str | None) -> None:
    """Unless a property says what kind it is."""
    assert sent_event(make_event(distinct_id=distinct_id))["contextKind"] == "anonymousUser"
    assert sent_event(make_event(distinct_id=distinct_id))["userKey"] == distinct_id


def test_a_property_says_what_kind_a_context_is() -> None:
    """An anonymous user can have an id; the property itself is kept too. What is no text says nothing."""
    said = sent_event(make_event(distinct_id="a7", properties={"contextKind": "anonymousUser", "key": "k"}))
    odd = sent_event(make_event(distinct_id="a7", properties={"contextKind": 7}))

    assert (said["contextKind"], said["userKey"], said["properties"]) == (
        "anonymousUser",
        "a7",
        {"contextKind": "anonymousUser"},
    )
    assert (odd["contextKind"], odd["properties"]) == ("user", {"contextKind": 7})


@pytest.mark.parametrize(
    ("stamp", "seconds"), [(-0.5, -1), (0.0, 0), (253_402_300_799.5, 253_402_300_799)], ids=["1969", "1970", "9999"]
)
def test_creation_date_is_the_whole_second(stamp: float, seconds: int) -> None:
    """Rounded down, before 1970 as well."""
    assert sent_event(make_event(timestamp=stamp))["creationDate"] == seconds


@given(event=EVENTS)
def test_nothing_of_an_event_is_lost(event: CapturedEvent) -> None:
    """Whatever was captured can be read back: odd strings, lifted properties, headers and keys."""
    assert read(sent_event(event)) == meaning(event)


@given(properties=ANY_PROPERTIES, lifted=ANY_PROPERTIES)
def test_properties_that_have_the_names_of_members_are_kept_apart(
    properties: dict[str, object], lifted: dict[str, object]
) -> None:
    """In any mixture, whether or not another codec lifted them out."""
    beside = {name: value for name, value in properties.items() if name not in lifted}
    event = make_event(properties=beside, lifted=lifted)

    assert read(sent_event(event)) == meaning(event)


def test_no_member_comes_twice() -> None:
    """Which of two counts is each reader's own choice."""
    event = make_event(properties=dict.fromkeys(OWN_MEMBERS, "mine") | {"a": {"kind": 1}}, key="k")
    body = FeatureFlags().request(make_batch([event]), 1, STAMP).body
    seen: list[list[str]] = []

    json.loads(body, object_pairs_hook=lambda pairs: seen.append([name for name, _ in pairs]))

    assert all(len(names) == len(set(names)) for names in seen)


def test_a_name_inside_a_value_is_no_clash() -> None:
    """What only looks like one is written as any other property."""
    event = make_event(properties={"a": {"kind": 1, "properties": {}}, "b": '"uuid":'})

    assert "properties" not in sent_event(event)
    assert read(sent_event(event)) == meaning(event)


def test_a_batch_is_in_one_body_and_in_order() -> None:
    """All attempts are alike."""
    events = [make_event(f"e{n}", properties={"n": n}) for n in range(50)]
    codec = FeatureFlags()

    request = codec.request(make_batch(events), 1, STAMP)

    assert [written["uuid"] for written in orjson.loads(request.body)["events"]] == [event.uuid for event in events]
    assert (request.url, dict(request.headers)) == ("", {"Content-Type": "application/json"})
    assert codec.request(make_batch(events), 2, STAMP + 9).body == request.body


def test_meta_is_what_the_sender_says_of_itself() -> None:
    """The host's name unless given, and a snapshot of the rest."""
    meta = {"team": "checkout", "nested": {"a": [1, None]}}
    codec = FeatureFlags(meta)
    meta["team"] = "changed"

    assert sent(make_event())["meta"] == {"hostname": socket.gethostname()}
    assert sent(make_event(), codec=codec)["meta"] == {
        "hostname": socket.gethostname(),
        "team": "checkout",
        "nested": {"a": [1, None]},
    }
    assert sent(make_event(), codec=FeatureFlags({"hostname": "web-7"}))["meta"] == {"hostname": "web-7"}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (["SECRET"], "meta must be a mapping of names to JSON values or None, not list"),
        ("SECRET", "meta must be a mapping of names to JSON values or None, not str"),
        ({7: "SECRET"}, "meta must have strings for names and JSON values only (they are not shown)"),
        ({"a": b"SECRET"}, "meta must have strings for names and JSON values only (they are not shown)"),
        ({"a": "SECRET\ud800"}, "meta must have strings for names and JSON values only (they are not shown)"),
        ({"a": 2**64}, "meta must have strings for names and JSON values only (they are not shown)"),
    ],
    ids=str,
)
def test_meta_that_json_cannot_carry_is_refused(meta: Any, message: str) -> None:
    """When the codec is made, and in words."""
    with pytest.raises(ValueError, match=r"^meta must ") as caught:
        FeatureFlags(meta)

    assert str(caught.value) == message


def test_a_status_above_399_is_an_error_and_every_2xx_is_none() -> None:
    """The one policy of all codecs; bodies are not read."""
    codec, batch = FeatureFlags(), make_batch(2)

    assert [codec.response(batch, status, {}, b"no", False) for status in (200, 202, 204)] == [None, None, None]
    assert isinstance(codec.response(batch, 400, {}, b"", True), PermanentSinkError)


def test_meta_is_in_no_repr() -> None:
    """It may name what is nobody's business."""
    assert repr(FeatureFlags({"token": "SECRET"})) == "FeatureFlags()"
