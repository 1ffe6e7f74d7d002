from __future__ import annotations

from typing import Any

import pytest

from tests.cli.wires.asking import ask, refusal, said

EVENT = {"event": "signed_up", "distinct_id": "u1", "uuid": "a", "timestamp": "t", "properties": {"n": 1}}


@pytest.mark.parametrize(
    ("path", "body", "format"),
    [
        ("/batch/", {"api_key": "k", "batch": [EVENT]}, "posthog"),
        ("/batch", {"token": "k", "batch": [EVENT]}, "posthog"),
        ("/batch", [EVENT], "posthog"),
        ("/i/v0/ai/batch/", {"api_key": "k", "batch": [EVENT]}, "posthog-ai"),
        ("/capture/", {"api_key": "k", "batch": [EVENT]}, "posthog"),
        ("/capture/", {"api_key": "k", **EVENT}, "posthog"),
        ("/i/v0/e", {"token": "k", **EVENT}, "posthog"),
        ("/e/", {**EVENT, "properties": {"n": 1, "token": "k"}}, "posthog"),
    ],
    ids=["batch", "token", "array", "ai", "batch at capture", "capture", "i/v0/e", "token with the properties"],
)
def test_every_form_gives_its_events(path: str, body: Any, format: str) -> None:  # noqa: A002
    """Batches and single events give the events as they were sent, without the key; the answer is PostHog's."""
    taken = ask(path, body)

    assert (taken.format, taken.events) == (format, [EVENT])
    assert (taken.answer.status, said(taken.answer)) == (200, {"status": "Ok"})


def test_text_is_read_as_json() -> None:
    """Browsers name their JSON ``text/plain``."""
    assert ask("/e/", {"token": "k", **EVENT}, content_type="text/plain").events == [EVENT]


def test_older_forms_become_our_own() -> None:
    """Who may stand among the properties and be a number, what is set at the root; both are moved to their places."""
    event = {"event": "a", "properties": {"distinct_id": 7, "n": 1}, "$set": {"plan": "pro"}}

    [own] = ask("/batch/", {"api_key": "k", "batch": [event]}).events

    assert own == {"event": "a", "distinct_id": "7", "properties": {"n": 1, "$set": {"plan": "pro"}}}


def test_zero_is_somebody() -> None:
    """As any other number; nobody is a ``distinct_id`` that is absent, null or empty."""
    events = [{"event": "a", "distinct_id": 0, "properties": {"distinct_id": "u2"}}, {"event": "a", "distinct_id": 1}]

    taken = ask("/batch/", {"api_key": "k", "batch": events}).events

    assert [event["distinct_id"] for event in taken] == ["0", "1"]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"event": "a"}, {"event": "a", "distinct_id": None, "properties": {}}),
        ({"event": "a", "properties": [1]}, {"event": "a", "properties": [1]}),
    ],
    ids=["of nobody", "without properties"],
)
def test_an_array_is_taken_as_at_other_paths(sent: dict[str, Any], stored: dict[str, Any]) -> None:
    """Senders of plain JSON have such paths too; their events need a name and nothing else."""
    assert ask("/batch", [sent]).events == [stored]


def test_what_only_looks_like_a_place_of_old_stays_a_property() -> None:
    """A token and a ``distinct_id`` among the properties are the caller's where the key and who it is stand outside."""
    event = {**EVENT, "properties": {"token": "t", "distinct_id": "u2"}}

    assert ask("/batch/", {"api_key": "k", "batch": [event]}).events == [event]


def batch(**event: Any) -> dict[str, Any]:
    return {"api_key": "k", "batch": [EVENT, event]}


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/batch/", b"{", 400, "the body is not JSON: unexpected end of data: line 1 column 2 (char 1)"),
        ("/batch/", "a", 400, "expected an object with a batch, an array of events"),
        ("/batch/", {"api_key": "k"}, 400, "expected an object with a batch, an array of events"),
        ("/batch/", {"api_key": "k", "batch": []}, 400, "the batch is empty"),
        ("/batch/", {"batch": [EVENT]}, 401, "the request has no api_key"),
        ("/batch/", {"batch": [EVENT], "api_key": " "}, 401, "the request has no api_key"),
        ("/e/", EVENT, 401, "the request has no api_key"),
        ("/e/", 1, 400, "expected an event, an object"),
        ("/batch/", batch(distinct_id="u1"), 400, "event 1 has no event name"),
        ("/batch/", batch(event="a"), 400, "event 1 has no distinct_id"),
        ("/batch/", batch(event="a", distinct_id=""), 400, "event 1 has no distinct_id"),
        ("/batch/", batch(event="a", distinct_id=True), 400, "event 1 has no distinct_id"),
        (
            "/batch/",
            batch(event="a", distinct_id="u", properties=[]),
            400,
            "event 1 has properties that are not an object",
        ),
    ],
)
def test_malformed_request_is_refused_in_posthogs_words(path: str, body: Any, status: int, detail: str) -> None:
    """What the real service refuses is refused, and told which of its events is to blame."""
    answer = refusal(path, body)

    assert answer.status == status
    assert said(answer) == {
        "type": "validation_error",
        "code": "invalid_payload",
        "detail": detail,
        "attr": None,
    }


def test_another_type_is_refused() -> None:
    """What is neither JSON nor named as browsers name it."""
    assert refusal("/batch/", batch(), content_type="text/html").status == 415


def test_an_event_for_the_ai_lane_may_have_eight_mebibytes() -> None:
    """One of 7 MiB is taken there; one above 8 MiB is refused."""
    size = 1024 * 1024
    assert len(ask("/i/v0/ai/batch/", {"api_key": "k", "batch": [{**EVENT, "text": "x" * 7 * size}]}).events) == 1

    answer = refusal("/i/v0/ai/batch/", {"api_key": "k", "batch": [EVENT, {**EVENT, "text": "x" * 8 * size}]})

    assert (answer.status, said(answer)["detail"]) == (413, "event 1 is larger than 8388608 bytes")


def test_an_event_too_deep_for_the_ai_lane_is_refused() -> None:
    """JSON may be read at a depth that it cannot be measured at."""
    body = b'{"api_key": "k", "batch": [{"event": "a", "distinct_id": "u", "x": ' + b"[" * 300 + b"]" * 300 + b"}]}"

    assert refusal("/i/v0/ai/batch/", body).status == 400
