"""What a collector is sent: bodies inflated within a bound, and the events of every wire format, checked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

Event = dict[str, Any]  # Any: JSON

MAX_WIRE_BYTES = 20 * 1024 * 1024  # PostHog's limit for a body as it travels
MAX_BODY_BYTES = 50 * 1024 * 1024  # and for one inflated
MAX_MEMBERS = 100  # of a gzip body; senders make one, and each costs a copy of all that follows it

POSTHOG_PATHS = frozenset({"/batch", "/i/v0/ai/batch"})  # without the slash at the end
_JSON = frozenset({"application/json"})
_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


class RefusedError(Exception):
    """A request that gets an error status.

    Attributes:
        status: The status to answer with.
        detail: Why, for whoever sent it.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def inflate(body: bytes, encoding: str, limit: int = MAX_BODY_BYTES) -> bytes:
    """Undo a ``Content-Encoding``.

    Args:
        body: The body as it travelled.
        encoding: ``""``, ``identity``, ``gzip`` or ``deflate``, in any case.
        limit: Bytes that the result may have.

    Raises:
        RefusedError: 413 beyond the limit, 415 for another encoding, 400 for bytes that are not what they claim.
    """
    match encoding.strip().lower():
        case "" | "identity":
            inflated = body
        case "gzip":
            inflated = _inflate_gzip(body, limit)
        case "deflate":
            inflated = _inflate(body, zlib.MAX_WBITS, limit)[0]
        case other:
            raise RefusedError(415, f"content encoding {other!r} is not supported; send gzip or deflate")
    if len(inflated) > limit:
        raise RefusedError(413, f"the body is larger than {limit} bytes")
    return inflated


def _inflate_gzip(body: bytes, limit: int) -> bytes:
    members: list[bytes] = []
    room = limit
    while body or not members:
        if len(members) == MAX_MEMBERS:
            raise RefusedError(400, f"the body has more than {MAX_MEMBERS} gzip members")
        member, body = _inflate(body, zlib.MAX_WBITS | 16, room)
        members.append(member)
        room -= len(member)
        body = body.lstrip(b"\0")  # a member may be padded with zeros
    return b"".join(members)


def _inflate(body: bytes, window: int, limit: int) -> tuple[bytes, bytes]:
    inflater = zlib.decompressobj(window)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise RefusedError(400, f"the body cannot be inflated: {error}") from error
    if len(inflated) > limit:
        raise RefusedError(413, f"the body inflates to more than {limit} bytes")
    if not inflater.eof:
        raise RefusedError(400, "the body cannot be inflated: it ends too early")
    return inflated, inflater.unused_data


def is_posthog(path: str) -> bool:
    """Whether PostHog's capture requests arrive at this path."""
    return path.rstrip("/") in POSTHOG_PATHS


def read_events(path: str, content_type: str, body: bytes) -> Sequence[Event]:
    """The events of one request.

    A JSON array and NDJSON are taken at every path; an object with a ``batch`` is PostHog's and has its paths.

    Args:
        path: The request's path.
        content_type: The media type, without parameters, in lower case.
        body: The inflated body.

    Raises:
        RefusedError: 415 for an unknown type, 401 for a PostHog batch without a key, 400 for anything malformed; then
            no event of the request counts.
    """
    if content_type in _NDJSON:
        return list(_read_lines(body))
    if content_type not in _JSON:
        raise RefusedError(415, f"content type {content_type!r} is not supported; send application/json or NDJSON")
    value = _decode(body, "the body")
    if isinstance(value, list):
        return _check(value, _fault)
    if is_posthog(path):
        return _read_posthog(value)
    raise RefusedError(400, "expected a JSON array of events")


def _read_lines(body: bytes) -> Iterator[Event]:
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            event = _decode(line, f"line {number}")
            if fault := _fault(event):
                raise RefusedError(400, f"line {number} {fault}")
            yield event


def _read_posthog(value: Any) -> Sequence[Event]:  # Any: JSON
    if not isinstance(value, dict) or not isinstance(value.get("batch"), list):
        raise RefusedError(400, "expected an object with a batch, an array of events")
    key = value.get("api_key") or value.get("token")
    if not isinstance(key, str) or not key.strip():
        raise RefusedError(401, "the request has no api_key")
    if not value["batch"]:
        raise RefusedError(400, "the batch is empty")
    return _check(value["batch"], _posthog_fault)


def _decode(data: bytes, what: str) -> Any:  # Any: JSON
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"{what} is not JSON: {error}") from error


def _check(events: list[Any], fault_of: Callable[[Any], str | None]) -> Sequence[Event]:  # Any: JSON
    for index, event in enumerate(events):
        if fault := fault_of(event):
            raise RefusedError(400, f"event {index} {fault}")
    return events


def _fault(event: Any) -> str | None:  # Any: JSON
    if not isinstance(event, dict):
        return "is not an object"
    if not isinstance(event.get("event"), str) or not event["event"]:
        return "has no event name"
    return None


def _posthog_fault(event: Any) -> str | None:  # Any: JSON
    if fault := _fault(event):
        return fault
    properties = event.get("properties")
    if not isinstance(properties, dict | None):
        return "has properties that are not an object"
    distinct_id = event.get("distinct_id") or (properties or {}).get("distinct_id")
    # Numbers are taken and kept as strings by the real service.
    if not isinstance(distinct_id, str | int) or isinstance(distinct_id, bool) or distinct_id == "":
        return "has no distinct_id"
    return None
