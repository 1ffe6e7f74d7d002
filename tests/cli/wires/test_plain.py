from __future__ import annotations

import orjson
import pytest

from eventpipe.cli.wires import base
from tests.cli.wires.asking import ask, refusal, said

EVENT = {"event": "signed_up", "distinct_id": "u1"}


@pytest.mark.parametrize(
    ("content_type", "body", "format"),
    [
        ("application/json", orjson.dumps([EVENT, EVENT]), "json"),
        ("application/x-ndjson", orjson.dumps(EVENT) + b"\n" + orjson.dumps(EVENT) + b"\n", "ndjson"),
        ("application/ndjson", orjson.dumps(EVENT) + b"\r\n\r\n" + orjson.dumps(EVENT), "ndjson"),
    ],
    ids=["array", "ndjson", "ndjson, blank line"],
)
def test_events_are_read_as_they_were_sent(content_type: str, body: bytes, format: str) -> None:  # noqa: A002
    """Both formats give the events in order, and an answer with their number, at whatever path."""
    taken = ask("/any", body, content_type=content_type)

    assert (taken.format, taken.events) == (format, [EVENT, EVENT])
    assert (taken.answer.status, said(taken.answer)) == (200, {"status": "ok", "accepted": 2})


@pytest.mark.parametrize(
    ("content_type", "body", "status", "detail"),
    [
        ("text/html", b"[]", 415, "content type 'text/html' is not supported; send application/json or NDJSON"),
        ("application/json", b"{", 400, "the body is not JSON: unexpected end of data: line 1 column 2 (char 1)"),
        ("application/json", b'"a"', 400, "expected a JSON array of events"),
        ("application/json", b'["a"]', 400, "event 0 is not an object"),
        ("application/json", b'[{"event": "a"}, {"name": "b"}]', 400, "event 1 has no event name"),
        ("application/json", b'[{"event": ""}]', 400, "event 0 has no event name"),
        ("application/x-ndjson", b'{"event": "a"}\n\n{}\n', 400, "line 3 has no event name"),
        ("application/x-ndjson", b"[]", 400, "line 1 is not an object"),
    ],
)
def test_malformed_request_is_refused_with_its_place(content_type: str, body: bytes, status: int, detail: str) -> None:
    """The whole request is refused, and its sender told which of its events is to blame."""
    answer = refusal("/", body, content_type=content_type)

    assert (answer.status, said(answer)) == (status, {"error": detail})


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'[{"event": "\xff"}]',
        b'[{"event": "\\ud800"}]',
        b'{"event": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
    ids=["deep", "no utf-8", "lone surrogate", "deep object"],
)
def test_hostile_json_is_refused(body: bytes) -> None:
    """What cannot be read is the sender's fault, and no error of the collector's."""
    assert refusal("/", body).status == 400


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"[" + b"{}," * 60 + b"{}]"),
        ("application/json", b'{"meta": {}, "events": [' + b"[]," * 60 + b"[]]}"),
        ("application/x-ndjson", b'{"event": "a"}\n' * 120),
        ("application/cloudevents-batch+json", b"[" + b"{}," * 60 + b"{}]"),
    ],
    ids=["array", "object", "ndjson", "cloudevents"],
)
def test_more_values_than_anybody_sends_are_not_read(
    content_type: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bytes of JSON may take 64 of memory, and a gzipped body has a thousand times more of them than it travels."""
    monkeypatch.setattr(base, "MAX_VALUES", 100)

    answer = refusal("/", body, content_type=content_type)

    assert answer.status == 413
    assert said(answer) == {"error": "the body holds more than 100 values"}


def test_commas_in_texts_cost_nobody_his_event() -> None:
    """A megabyte of them is below the bound."""
    events = [{"event": "a", "text": ", " * 500_000}]

    assert ask("/", events).events == events
