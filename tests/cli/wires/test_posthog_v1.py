from __future__ import annotations

from typing import Any

import pytest

from tests.cli.wires.asking import ask, refusal, said

PATH = "/i/v1/analytics/events"
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"
REQUEST = "01890a5d-ac96-774b-bcce-b302099a8059"
STAMP = "2026-01-31T09:05:00.123456Z"
HEADERS = {
    "Authorization": "Bearer phc_key",
    "User-Agent": "eventpipe/1.0",
    "PostHog-Sdk-Info": "eventpipe/1.0",
    "PostHog-Attempt": "1",
    "PostHog-Request-Id": REQUEST,
    "PostHog-Request-Timestamp": STAMP,
}
LIBRARY = {"$lib": "eventpipe", "$lib_version": "1.0"}


def event(uuid: str = ID, **parts: Any) -> dict[str, Any]:
    whole = {"event": "paid", "uuid": uuid, "distinct_id": "u1", "timestamp": STAMP, "options": {}, "properties": {}}
    return {**whole, **parts}


def batch(*events: Any, **more: Any) -> dict[str, Any]:
    return {"created_at": STAMP, "batch": list(events), **more}


def test_events_are_judged_one_by_one_and_stored_in_our_form() -> None:
    """The answer names every id with ``ok``, and repeats the request's id."""
    taken = ask(PATH, batch(event(properties={"sum": 5}), event(OTHER)), HEADERS)

    assert taken.format == "posthog-v1"
    assert said(taken.answer) == {"results": {ID: {"result": "ok"}, OTHER: {"result": "ok"}}}
    assert taken.answer.headers == {"PostHog-Request-Id": REQUEST}
    assert taken.events[0] == {
        "uuid": ID,
        "event": "paid",
        "distinct_id": "u1",
        "timestamp": STAMP,
        "properties": {"sum": 5, **LIBRARY},
    }


def test_what_was_lifted_is_put_back_among_the_properties() -> None:
    """Options and ids at the root become the properties that they were before."""
    options = {
        "cookieless_mode": False,
        "disable_skew_correction": "TRUE ",
        "process_person_profile": 0,
        "product_tour_id": 7,
        "unknown": 1,
    }

    [own] = ask(PATH, batch(event(options=options, session_id="s", window_id="w")), HEADERS).events

    assert own["properties"] == {
        **LIBRARY,
        "$cookieless_mode": False,
        "$ignore_sent_at": True,
        "$process_person_profile": False,
        "$product_tour_id": "7",
        "$session_id": "s",
        "$window_id": "w",
    }


@pytest.mark.parametrize(
    ("info", "properties"),
    [
        ("posthog/sub/2.3", {"$lib": "posthog/sub", "$lib_version": "2.3"}),
        (" a / 1 ", {"$lib": "a", "$lib_version": "1"}),
        ("noslash", {}),
        ("/1", {}),
        ("a/", {}),
        ("a/" + "9" * 200, {}),
    ],
)
def test_the_library_is_derived_from_its_header(info: str, properties: dict[str, str]) -> None:
    """At the last slash, and not from what is not of that form or too long."""
    [own] = ask(PATH, batch(event()), {**HEADERS, "PostHog-Sdk-Info": info}).events

    assert own["properties"] == properties


@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ({"event": ""}, "missing_event_name"),
        ({"event": "n" * 201}, "event_name_too_long"),
        ({"event": "ä" * 101}, "event_name_too_long"),
        ({"distinct_id": "  "}, "missing_distinct_id"),
        ({"distinct_id": "d" * 201}, "distinct_id_too_large"),
        ({"timestamp": "2026-01-31T09:05:00"}, "invalid_event_timestamp"),
        ({"timestamp": "2026-02-31T09:05:00Z"}, "invalid_event_timestamp"),
        ({"timestamp": "now"}, "invalid_event_timestamp"),
        ({"properties": []}, "malformed_event_properties"),
        ({"options": []}, "invalid_options"),
        ({"options": {"cookieless_mode": "maybe"}}, "invalid_options"),
        ({"options": {"product_tour_id": True}}, "invalid_options"),
    ],
)
def test_an_event_with_a_fault_is_dropped_alone(parts: dict[str, Any], detail: str) -> None:
    """Its neighbours are taken; the answer says what is wrong with it."""
    taken = ask(PATH, batch(event(**parts), event(OTHER)), HEADERS)

    assert said(taken.answer)["results"] == {ID: {"result": "drop", "details": detail}, OTHER: {"result": "ok"}}
    assert [own["uuid"] for own in taken.events] == [OTHER]


@pytest.mark.parametrize(
    ("verdict", "details", "is_taken", "retry_after"),
    [
        ("warning", "person_processing_disabled", True, None),
        ("drop", "rejected", False, None),
        ("retry", "not_persisted", False, "1"),
        ("limited", "on_purpose", False, None),
    ],
)
def test_a_verdict_on_purpose_is_said_of_the_event(
    verdict: str, details: str, is_taken: bool, retry_after: str | None
) -> None:
    """Only what is ``ok`` or ``warning`` was taken; ``retry`` comes with a time to wait."""
    verdicts = iter([verdict, "ok"])

    taken = ask(PATH, batch(event(), event(OTHER)), HEADERS, judge=lambda: next(verdicts))

    results = {ID: {"result": verdict, "details": details}, OTHER: {"result": "ok"}}
    assert said(taken.answer)["results"] == results
    assert [own["uuid"] for own in taken.events] == ([ID] if is_taken else []) + [OTHER]
    assert taken.answer.headers.get("Retry-After") == retry_after


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"Authorization": None}, 401, "missing_authorization"),
        ({"Authorization": "Basic YTpi"}, 401, "invalid_api_token"),
        ({"Authorization": "Bearer  "}, 401, "invalid_api_token"),
        ({"PostHog-Sdk-Info": None}, 400, "missing_required_headers"),
        ({"PostHog-Attempt": None}, 400, "missing_required_headers"),
        ({"PostHog-Request-Id": None}, 400, "missing_required_headers"),
        ({"PostHog-Request-Timestamp": None}, 400, "missing_required_headers"),
        ({"User-Agent": ""}, 400, "missing_required_headers"),
        ({"PostHog-Attempt": "0"}, 400, "invalid_header_value"),
        ({"PostHog-Attempt": "one"}, 400, "invalid_header_value"),
        ({"PostHog-Attempt": "9" * 5000}, 400, "invalid_header_value"),
        ({"PostHog-Request-Id": "x"}, 400, "invalid_header_value"),
        ({"PostHog-Request-Timestamp": "now"}, 400, "invalid_header_value"),
    ],
)
def test_a_request_without_its_headers_is_refused(headers: dict[str, str | None], status: int, error: str) -> None:
    """Each header is needed and checked; the refusal is a word, a sentence and an address."""
    given = {name: value for name, value in {**HEADERS, **headers}.items() if value is not None}

    answer = refusal(PATH, batch(event()), given)

    assert (answer.status, said(answer)["error"]) == (status, error)
    assert set(said(answer)) == {"error", "error_description", "error_uri"}
    assert answer.headers == ({"PostHog-Request-Id": REQUEST} if given.get("PostHog-Request-Id") == REQUEST else {})


def test_another_type_is_refused() -> None:
    """The content type is JSON."""
    answer = refusal(PATH, batch(event()), HEADERS, content_type="text/plain")

    assert (answer.status, said(answer)["error"]) == (415, "unsupported_content_type")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "empty_body"),
        (b"{", "invalid_request"),
        ([], "request_parsing_error"),
        (batch(), "empty_batch"),
        ({"batch": [event()]}, "invalid_batch"),
        ({**batch(event()), "created_at": "2026-01-31"}, "invalid_batch"),
        (batch(event(), historical_migration="yes"), "request_parsing_error"),
        (batch(event(), event()), "duplicate_event_uuid"),
        (batch(event(), event(ID.upper())), "duplicate_event_uuid"),
        (batch(event(), event("x")), "invalid_event_uuid"),
        (batch(event(), event("")), "missing_event_uuid"),
        (batch(event(), "x"), "request_parsing_error"),
        (batch(event(), event(OTHER, distinct_id=7)), "request_parsing_error"),
        (batch(event(), event(OTHER, timestamp=None)), "request_parsing_error"),
        (batch(event(), event(OTHER, session_id=1)), "request_parsing_error"),
    ],
)
def test_a_batch_of_another_shape_is_refused_whole(body: Any, error: str) -> None:
    """An id that is none or comes twice is the fault of the batch, not of one event."""
    answer = refusal(PATH, body, HEADERS)

    assert (answer.status, said(answer)["error"]) == (400, error)
    assert answer.headers == {"PostHog-Request-Id": REQUEST}
