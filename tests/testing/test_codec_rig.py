"""What a test of a codec is given."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from eventpipe import Event
from eventpipe.codecs import JsonCodec, PostHogV1
from eventpipe.testing import CodecRig, ReadEvent, make_event
from eventpipe.testing.codec_events import awkward_events, batches, capture, plain_events

UUID = "019c0000-0000-7000-8000-000000000001"


def test_a_read_event_has_all_that_an_event_says() -> None:
    """The caller's own key, and not what stands in for it; lifted properties among the others."""
    event = make_event("paid", distinct_id="u1", properties={"a": 1}, lifted={"$b": [2]}, uuid=UUID, headers={"x": "y"})

    said = ReadEvent.of(event)

    assert said == ReadEvent(
        UUID, "paid", datetime(2026, 1, 1, tzinfo=UTC), "u1", {"a": 1, "$b": [2]}, None, {"x": "y"}
    )
    assert said.but(key="k").key == "k"
    assert ReadEvent.of(make_event(key="k")).key == "k"


def test_a_rig_shows_no_secret() -> None:
    """The report of a failed test has the rig in it."""
    rig = CodecRig(JsonCodec(), lambda request: [], secrets=["phc_SECRET"])

    assert "SECRET" not in repr(rig)


def test_a_scenario_that_needs_more_is_skipped_with_the_reason() -> None:
    """The reason names what the rig lacks."""
    with pytest.raises(pytest.skip.Exception, match=r"^the rig has answer=None$"):
        CodecRig(JsonCodec(), lambda request: []).need("answer")


def test_events_are_captured_as_for_the_codec_and_one_more_sink() -> None:
    """Properties that either wants outside are outside, and what JSON cannot carry is repaired."""
    [event] = capture(PostHogV1("phc_key"), [Event("e", properties={"a": "\ud800", "$lib": 1, "$of_another": 2})])

    assert event.lifted == {"$lib": 1, "$of_another": 2}
    assert event.properties["a"] == "�"


def test_batches_are_as_a_client_makes_them() -> None:
    """Of one lane each, in order, and of no more events than the codec wants."""
    codec = PostHogV1("phc_key")
    events = capture(codec, [Event(f"e{n}", lane=("ai", None)[n % 2]) for n in range(4)])

    assert [(batch.lane, [event.event for event in batch.events]) for batch in batches(codec, events)] == [
        ("ai", ["e0", "e2"]),
        (None, ["e1", "e3"]),
    ]

    few = JsonCodec()
    few.max_batch_events = 2  # type: ignore[attr-defined]  # optional

    assert [len(batch.events) for batch in batches(few, plain_events(few, 5))] == [2, 2, 1]


def test_awkward_events_fit_into_what_the_codec_takes() -> None:
    """Whatever its limit: a client would have dropped what does not."""
    for limit in (8 * 1024, 900 * 1024):
        codec = JsonCodec(max_event_bytes=limit)

        assert max(event.size for event in awkward_events(codec)) <= limit
