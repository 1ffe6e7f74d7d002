"""What each status means to the sink: tables, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aioresponses import CallbackResult, aioresponses

from eventpipe.codecs import JsonCodec, NdjsonCodec, PostHogV0
from eventpipe.contracts import Codec
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch

pytestmark = pytest.mark.asyncio

URL = "https://collector.example"
CODECS = [
    pytest.param(JsonCodec(), URL, id="json"),
    pytest.param(NdjsonCodec(), URL, id="ndjson"),
    pytest.param(PostHogV0("phc_key"), f"{URL}/batch/", id="posthog"),
]


@pytest_asyncio.fixture
async def far_end() -> AsyncIterator[aioresponses]:
    with aioresponses() as mocked:
        yield mocked


def requests_to(far_end: aioresponses) -> int:
    return sum(map(len, far_end.requests.values()))


@pytest.mark.parametrize(("codec", "url"), CODECS)
@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
async def test_2xx_accepts_the_batch(codec: Codec, url: str, status: int, far_end: aioresponses) -> None:
    """Whatever the body."""
    far_end.post(url, status=status, body=b"<html>")
    sink = HttpSink(URL, codec)

    assert await sink.send(make_batch(2)) is None

    assert requests_to(far_end) == 1
    await sink.aclose()


@pytest.mark.parametrize(("codec", "url"), CODECS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 507, 520, 599])
@pytest.mark.parametrize("retry_after", [None, 7.0], ids=repr)
async def test_some_statuses_are_transient(
    codec: Codec, url: str, status: int, retry_after: float | None, far_end: aioresponses
) -> None:
    """The same batch may succeed later; the far end may say when."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:.0f}"}
    far_end.post(url, status=status, headers=headers)
    sink = HttpSink(URL, codec)

    with pytest.raises(TransientSinkError) as caught:
        await sink.send(make_batch())

    error = caught.value
    assert (error.reason, error.status, error.retry_after) == (f"status_{status}", status, retry_after)
    assert requests_to(far_end) == 1  # waiting is not the sink's
    await sink.aclose()


@pytest.mark.parametrize(("codec", "url"), CODECS)
@pytest.mark.parametrize(
    ("status", "scope", "reason"),
    [
        (413, "size", "too_large"),
        (400, "event", "rejected"),
        (422, "event", "rejected"),
        (401, "sink", "unauthorized"),
        (402, "sink", "unauthorized"),
        (403, "sink", "unauthorized"),
        (404, "sink", "misconfigured"),
        (405, "sink", "misconfigured"),
        (410, "sink", "misconfigured"),
        (415, "sink", "misconfigured"),
        (300, "sink", "misconfigured"),
        (301, "sink", "misconfigured"),
        (302, "sink", "misconfigured"),
        (303, "sink", "misconfigured"),
        (304, "sink", "misconfigured"),
        (307, "sink", "misconfigured"),
        (308, "sink", "misconfigured"),
        (406, "batch", "rejected"),
        (409, "batch", "rejected"),
        (411, "batch", "rejected"),
        (418, "batch", "rejected"),
        (431, "batch", "rejected"),
        (451, "batch", "rejected"),
        (501, "batch", "rejected"),
        (505, "batch", "rejected"),
    ],
)
async def test_other_statuses_are_permanent(
    codec: Codec, url: str, status: int, scope: str, reason: str, far_end: aioresponses
) -> None:
    """The same batch would fail again; the scope says what is to blame. One request, never a second."""
    far_end.post(url, status=status, headers={"Retry-After": "1", "Location": "https://elsewhere.example/"})
    sink = HttpSink(URL, codec)

    with pytest.raises(PermanentSinkError) as caught:
        await sink.send(make_batch(2))

    error = caught.value
    assert (error.scope, error.reason, error.status) == (scope, reason, status)
    assert requests_to(far_end) == 1
    await sink.aclose()


async def test_no_error_repeats_what_the_far_end_sent(far_end: aioresponses) -> None:
    """A body, a reason phrase or a header may have our key or a payload in it."""
    for status in (400, 401, 404, 409, 413, 429, 503, 301, 307):
        far_end.post(
            URL,
            callback=lambda url, *, status=status, **kwargs: CallbackResult(
                status=status,
                body=b"SECRET",
                reason="SECRET",
                headers={"Location": "https://SECRET.example/", "Retry-After": "SECRET", "X": "SECRET"},
            ),
        )
        sink = HttpSink(URL)

        with pytest.raises((TransientSinkError, PermanentSinkError)) as caught:
            await sink.send(make_batch())

        error = caught.value
        assert "SECRET" not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
        await sink.aclose()
