from __future__ import annotations

import gzip
import zlib
from typing import Any

import orjson
import pytest

from eventpipe.cli.intake import MAX_MEMBERS, RefusedError, inflate, read_events

EVENT = {"event": "signed_up", "distinct_id": "u1"}


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", b"plain"),
        ("identity", b"plain"),
        ("gzip", gzip.compress(b"plain")),
        ("GZIP", gzip.compress(b"pl") + gzip.compress(b"ain") + b"\0\0"),
        ("deflate", zlib.compress(b"plain")),
    ],
    ids=["none", "identity", "gzip", "gzip in two members", "deflate"],
)
def test_body_is_inflated(encoding: str, body: bytes) -> None:
    """Every supported encoding gives back the bytes that were sent."""
    assert inflate(body, encoding) == b"plain"


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip", b"not gzip", 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(b"plain")[:-4], 400),
        ("deflate", b"plain", 400),
        ("", b"x" * 101, 413),
        ("gzip", gzip.compress(b"x" * 101), 413),
        ("gzip", gzip.compress(b"x" * 60) + gzip.compress(b"x" * 60), 413),
        ("deflate", zlib.compress(b"x" * 101), 413),
    ],
    ids=["unknown", "no gzip", "empty", "cut", "no deflate", "large", "gzip bomb", "bomb in members", "deflate bomb"],
)
def test_body_that_cannot_be_taken_is_refused(encoding: str, body: bytes, status: int) -> None:
    """A body above the limit is 413, an unknown encoding 415, and bytes that are not what they claim are 400."""
    with pytest.raises(RefusedError) as refused:
        inflate(body, encoding, limit=100)

    assert refused.value.status == status


def test_gzip_members_are_bounded() -> None:
    """Each is cut off what follows it, so that a million empty ones would keep the collector busy for minutes."""
    rest = gzip.compress(b"rest")

    assert inflate(gzip.compress(b"") * (MAX_MEMBERS - 1) + rest, "gzip") == b"rest"
    with pytest.raises(RefusedError, match=f"^the body has more than {MAX_MEMBERS} gzip members$") as refused:
        inflate(gzip.compress(b"") * MAX_MEMBERS + rest, "gzip")

    assert refused.value.status == 400


def test_a_bomb_is_not_inflated_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusing 1 GiB of zeros in 1 MiB of gzip takes no more memory than the limit and one byte."""
    largest = 0

    class Watched:
        def __init__(self, window: int) -> None:
            self._inner = original(window)

        def decompress(self, body: bytes, room: int) -> bytes:
            nonlocal largest
            inflated = self._inner.decompress(body, room)
            largest = max(largest, len(inflated))
            return inflated

    original = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Watched)

    with pytest.raises(RefusedError):
        inflate(gzip.compress(b"\0" * 10_000_000), "gzip", limit=1000)

    assert largest == 1001


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/", "application/json", orjson.dumps([EVENT, EVENT])),
        ("/batch", "application/json", orjson.dumps([EVENT, EVENT])),
        ("/", "application/x-ndjson", orjson.dumps(EVENT) + b"\n" + orjson.dumps(EVENT) + b"\n"),
        ("/any", "application/ndjson", orjson.dumps(EVENT) + b"\r\n\r\n" + orjson.dumps(EVENT)),
        ("/batch/", "application/json", orjson.dumps({"api_key": "k", "batch": [EVENT, EVENT]})),
        ("/batch", "application/json", orjson.dumps({"token": "k", "batch": [EVENT, EVENT]})),
        ("/i/v0/ai/batch/", "application/json", orjson.dumps({"api_key": "k", "batch": [EVENT, EVENT]})),
    ],
    ids=["array", "array at /batch", "ndjson", "ndjson, blank line", "posthog", "posthog, token", "posthog ai"],
)
def test_every_format_gives_its_events(path: str, content_type: str, body: bytes) -> None:
    """Each wire format gives the events as they were sent, in order."""
    assert list(read_events(path, content_type, body)) == [EVENT, EVENT]


def posthog(**event: Any) -> bytes:
    return orjson.dumps({"api_key": "k", "batch": [EVENT, event]})


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status", "detail"),
    [
        ("/", "text/html", b"[]", 415, "content type 'text/html'"),
        ("/", "application/json", b"{", 400, "the body is not JSON"),
        ("/", "application/json", b'{"event": "a"}', 400, "expected a JSON array"),
        ("/", "application/json", b'["a"]', 400, "event 0 is not an object"),
        ("/", "application/json", b'[{"event": "a"}, {"name": "b"}]', 400, "event 1 has no event name"),
        ("/", "application/json", b'[{"event": ""}]', 400, "event 0 has no event name"),
        ("/", "application/x-ndjson", b'{"event": "a"}\n{"event"\n', 400, "line 2 is not JSON"),
        ("/", "application/x-ndjson", b'{"event": "a"}\n\n{}\n', 400, "line 3 has no event name"),
        ("/batch/", "application/json", b'{"api_key": "k"}', 400, "expected an object with a batch"),
        ("/batch/", "application/json", b'{"api_key": "k", "batch": []}', 400, "the batch is empty"),
        ("/batch/", "application/json", b'{"batch": [{"event": "a"}]}', 401, "no api_key"),
        ("/batch/", "application/json", posthog(distinct_id="u1"), 400, "event 1 has no event name"),
        ("/batch/", "application/json", posthog(event="a"), 400, "event 1 has no distinct_id"),
        ("/batch/", "application/json", posthog(event="a", distinct_id=""), 400, "event 1 has no distinct_id"),
        ("/batch/", "application/json", posthog(event="a", distinct_id="u", properties=[]), 400, "properties that are"),
    ],
)
def test_malformed_request_is_refused_with_its_place(
    path: str, content_type: str, body: bytes, status: int, detail: str
) -> None:
    """A request that a real service would refuse is refused, and told which of its events is to blame."""
    with pytest.raises(RefusedError, match=detail) as refused:
        read_events(path, content_type, body)

    assert refused.value.status == status


def test_posthog_takes_the_distinct_id_from_the_properties() -> None:
    """As the real service does, which older clients rely on."""
    event = {"event": "a", "properties": {"distinct_id": 7}}

    assert read_events("/batch/", "application/json", orjson.dumps({"api_key": "k", "batch": [event]})) == [event]
