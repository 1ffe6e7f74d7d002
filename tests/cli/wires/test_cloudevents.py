from __future__ import annotations

from typing import Any

import pytest

from tests.cli.wires.asking import ask, refusal, said

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
STAMP = "2026-01-31T09:05:00.123456Z"
ATTRIBUTES = {"specversion": "1.0", "id": ID, "source": "/shop", "type": "paid", "time": STAMP, "subject": "u1"}
STORED = {
    "uuid": ID,
    "event": "paid",
    "distinct_id": "u1",
    "timestamp": STAMP,
    "properties": {"sum": 5},
    "headers": {"ce-source": "/shop"},
}


@pytest.mark.parametrize(
    ("mode", "content_type", "headers", "body"),
    [
        ("batch", "application/cloudevents-batch+json; charset=UTF-8", {}, [{**ATTRIBUTES, "data": {"sum": 5}}]),
        ("structured", "application/cloudevents+json", {}, {**ATTRIBUTES, "data": {"sum": 5}}),
        ("binary", "application/json", {f"Ce-{name}": value for name, value in ATTRIBUTES.items()}, {"sum": 5}),
    ],
    ids=["batch", "structured", "binary"],
)
def test_every_mode_gives_the_same_event(mode: str, content_type: str, headers: dict[str, str], body: Any) -> None:
    """Attributes become the parts of an event, and its source a header."""
    taken = ask("/any", body, headers, content_type)

    assert (taken.format, taken.events) == (f"cloudevents-{mode}", [STORED])
    assert (taken.answer.status, said(taken.answer)) == (200, {"status": "ok", "accepted": 1})


def test_key_and_headers_are_those_of_the_event() -> None:
    """The partition key and other extensions have their places; an event without a time has none here."""
    event = {**ATTRIBUTES, "time": None, "partitionkey": "k", "traceparent": "00-1-2-01"}

    [stored] = ask("/", [event], content_type="application/cloudevents-batch+json").events

    assert (stored["key"], stored["headers"]["traceparent"], "timestamp" in stored) == ("k", "00-1-2-01", False)


@pytest.mark.parametrize(
    ("content_type", "headers", "body", "fault"),
    [
        ("application/cloudevents-batch+json", {}, b"[", "the body must be JSON in UTF-8"),
        ("application/cloudevents-batch+json", {}, [ATTRIBUTES, {}], "event 1: specversion is missing"),
        ("application/cloudevents+json", {}, {**ATTRIBUTES, "type": 7}, "event 0: type must be a string"),
        ("application/json", {"ce-specversion": "1.0"}, {}, "event 0: id is missing"),
        ("application/json", {"ce-specversion": "0.3"}, {}, "event 0: specversion must be '1.0', not '0.3'"),
        (
            "application/json",
            {"ce-specversion": "1.0", "ce-id": "\udcff"},
            {},
            "event 0: id must be percent-encoded UTF-8",
        ),
        ("application/cloudevents+avro", {}, b"", "the content type must be application/cloudevents+json"),
    ],
)
def test_what_is_no_cloudevent_is_refused(content_type: str, headers: dict[str, str], body: Any, fault: str) -> None:
    """The refusal names event, attribute and rule."""
    answer = refusal("/", body, headers, content_type)

    assert answer.status == 400
    assert said(answer)["error"].startswith(fault)
