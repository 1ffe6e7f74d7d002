"""The one status policy of all codecs."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

import pytest

from eventpipe.clock import Clock
from eventpipe.codecs import JsonCodec, NdjsonCodec, PostHogV0
from eventpipe.codecs.base import HttpCodec, error_for
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.testing.events import make_batch

NOW = 1_767_225_600.0

SIZE = ("size", "too_large")
EVENT = ("event", "rejected")
BATCH = ("batch", "rejected")
UNAUTHORIZED = ("sink", "unauthorized")
MISCONFIGURED = ("sink", "misconfigured")

TRANSIENT = {408, 429} | (set(range(500, 600)) - {501, 505})
PERMANENT = {
    **dict.fromkeys(range(300, 400), MISCONFIGURED),
    **dict.fromkeys([100, 101, 199, *range(400, 500), 501, 505, 600, 999], BATCH),
    **dict.fromkeys([404, 405, 410, 415], MISCONFIGURED),
    **dict.fromkeys([401, 402, 403], UNAUTHORIZED),
    **dict.fromkeys([400, 422], EVENT),
    413: SIZE,
}


class FrozenClock(Clock):
    """Stands still on the wall."""

    def time(self) -> float:
        return NOW


CODECS = [
    pytest.param(JsonCodec(clock=FrozenClock()), id="json"),
    pytest.param(NdjsonCodec(clock=FrozenClock()), id="ndjson"),
    pytest.param(PostHogV0("phc_key", clock=FrozenClock()), id="posthog"),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "incomplete"])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"status": 0}', b"<html>"], ids=repr)
def test_every_2xx_accepts_the_whole_batch(codec: HttpCodec, body: bytes, complete: bool) -> None:
    """Whatever the body says, and even if it was cut off."""
    for status in range(200, 300):
        assert codec.response(make_batch(2), status, {}, body, complete) is None


@pytest.mark.parametrize("codec", CODECS)
def test_statuses_that_may_pass_are_transient(codec: HttpCodec) -> None:
    """408, 429 and 5xx but 501 and 505 are worth another attempt of the same batch."""
    for status in sorted(TRANSIENT):
        error = codec.response(make_batch(), status, {}, b"", True)

        assert isinstance(error, TransientSinkError)
        assert (error.reason, error.status, error.retry_after) == (f"status_{status}", status, None)


@pytest.mark.parametrize("codec", CODECS)
def test_other_statuses_say_who_is_to_blame(codec: HttpCodec) -> None:
    """The size, one of the events, the sink's configuration, or the batch as it is."""
    for status in sorted(PERMANENT.keys() - TRANSIENT):
        error = codec.response(make_batch(), status, {"retry-after": "5"}, b"", True)

        assert isinstance(error, PermanentSinkError)
        assert (status, (error.scope, error.reason), error.status) == (status, PERMANENT[status], status)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("headers", "retry_after"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": formatdate(NOW - 1, usegmt=True)}, None),
        (
            {"retry-after": formatdate(NOW - 3_600 + 90, usegmt=True), "date": formatdate(NOW - 3_600, usegmt=True)},
            90.0,
        ),
        ({"retry-after": formatdate(NOW + 90, usegmt=True), "date": "yesterday"}, 90.0),
    ],
    ids=["seconds", "date", "zero", "garbage", "past", "clocks apart", "unreadable Date"],
)
def test_retry_after_is_carried_in_seconds(
    codec: HttpCodec, headers: dict[str, str], retry_after: float | None
) -> None:
    """A date counts from the far end's own clock where the answer shows it, else from ours."""
    error = codec.response(make_batch(), 503, headers, b"", True)

    assert isinstance(error, TransientSinkError)
    assert error.retry_after == retry_after


def test_the_text_has_the_status_and_its_standard_phrase_only() -> None:
    """Nothing of what the far end sent, which may repeat a payload or a key."""
    headers = {"location": "https://x/?key=SECRET", "retry-after": "SECRET", "x": "SECRET"}

    assert str(error_for(503, headers, NOW)) == "the far end answered 503 Service Unavailable"
    assert str(error_for(413, headers, NOW)) == f"the far end answered 413 {HTTPStatus(413).phrase}"
    assert str(error_for(599, headers, NOW)) == "the far end answered 599"
    assert str(error_for(401, headers, NOW)) == (
        "the far end answered 401 Unauthorized; check the key that the sink was given"
    )
    assert str(error_for(404, headers, NOW)) == "the far end answered 404 Not Found; check the sink's URL and codec"


@pytest.mark.parametrize("option", ["max_event_bytes", "max_batch_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1"], ids=repr)
def test_a_limit_that_means_nothing_is_refused(option: str, value: object) -> None:
    """The message names the option, the value and the rule."""
    with pytest.raises(ValueError, match=rf"^{option} must be a whole number of bytes, at least 1, not {value!r}$"):
        JsonCodec(**{option: value})  # type: ignore[arg-type]
