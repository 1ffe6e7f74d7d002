"""PostHog's capture format, version 0: batches, single events, and the lane of its AI events."""

from __future__ import annotations

from typing import Any

import orjson

from eventpipe.cli.wires.base import (
    Answer,
    Asked,
    Event,
    Judge,
    RefusedError,
    Taken,
    Wire,
    check_each,
    decode,
    named_fault,
)

AI_PATH = "/i/v0/ai/batch"
_BATCHES = frozenset({"/batch", AI_PATH})
_SINGLES = frozenset({"/capture", "/e", "/i/v0/e"})  # of curl, and of browsers, which send arrays there as well
_TYPES = frozenset({"application/json", "text/plain"})  # the latter spares browsers a question beforehand

MAX_AI_EVENT_BYTES = 8 * 1024 * 1024
_NOBODY = (None, "")
_AT_THE_ROOT = ("$set", "$set_once")  # older clients put them there


class PostHogWire(Wire):
    """``{"api_key", "batch": [...]}``, or one event with its key."""

    codings = frozenset({"gzip", "deflate"})

    def claims(self, asked: Asked) -> bool:
        """By the path."""
        return asked.path in _BATCHES or asked.path in _SINGLES

    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read the events of a request; each needs a name and a ``distinct_id``."""
        del judge
        if asked.content_type not in _TYPES:
            raise RefusedError(415, f"content type {asked.content_type[:80]!r} is not supported; send application/json")
        value = decode(body, "the body")
        events = value if isinstance(value, list) else _keyed(value, asked.path)
        check_each(events, named_fault if isinstance(value, list) else _fault)
        if asked.path == AI_PATH:
            _check_sizes(events)
        name = "posthog-ai" if asked.path == AI_PATH else "posthog"
        if isinstance(value, list) or not _outer_key(value):
            events = [_without_token(event) for event in events]
        return Taken(name, [_own(event) for event in events], Answer.of(200, {"status": "Ok"}))

    def refuse(self, asked: Asked, error: RefusedError) -> Answer:
        """Say no with a ``detail``, where PostHog's clients look for it."""
        del asked
        refusal = {"type": "validation_error", "code": "invalid_payload", "detail": error.detail, "attr": None}
        return Answer.of(error.status, refusal)


def _keyed(value: Any, path: str) -> list[Any]:  # Any: JSON
    """The events of an object, which has to hold the project's key."""
    if path in _BATCHES or (isinstance(value, dict) and "batch" in value):
        events = value.get("batch") if isinstance(value, dict) else None
        if not isinstance(events, list):
            raise RefusedError(400, "expected an object with a batch, an array of events")
    elif isinstance(value, dict):
        events = [value]
    else:
        raise RefusedError(400, "expected an event, an object")
    if not _has_key(value):
        raise RefusedError(401, "the request has no api_key")
    if not events:
        raise RefusedError(400, "the batch is empty")
    return events


def _outer_key(value: dict[str, Any]) -> Any:  # Any: JSON
    return value.get("api_key") or value.get("token")


def _has_key(value: dict[str, Any]) -> bool:  # Any: JSON
    properties = value.get("properties")
    key = _outer_key(value) or (properties.get("token") if isinstance(properties, dict) else None)
    return isinstance(key, str) and bool(key.strip())


def _fault(event: Any) -> str | None:  # Any: JSON
    if fault := named_fault(event):
        return fault
    if not isinstance(event.get("properties"), dict | None):
        return "has properties that are not an object"
    distinct_id = _distinct_id(event)
    # Numbers are taken and kept as strings by the real service.
    if not isinstance(distinct_id, str | int) or isinstance(distinct_id, bool) or distinct_id == "":
        return "has no distinct_id"
    return None


def _distinct_id(event: Event) -> Any:  # Any: JSON
    """At the root, or with the properties, where older clients put it."""
    who = event.get("distinct_id")
    return (event.get("properties") or {}).get("distinct_id") if who in _NOBODY else who


def _own(event: Event) -> Event:
    """An event in our own form: who at the root, what is known of them with the properties, and no key."""
    if not isinstance(event.get("properties"), dict | None):
        return event
    properties = dict(event.get("properties") or {})
    distinct_id = event.get("distinct_id")
    if distinct_id in _NOBODY:
        distinct_id = properties.pop("distinct_id", None)
    own = {name: value for name, value in event.items() if name not in ("api_key", "token", *_AT_THE_ROOT)}
    for name in _AT_THE_ROOT:
        if name in event:
            properties.setdefault(name, event[name])
    return {**own, "distinct_id": None if distinct_id is None else str(distinct_id), "properties": properties}


def _without_token(event: Event) -> Event:
    """An event whose properties held the project's key, as those of browsers do."""
    properties = event.get("properties")
    if not isinstance(properties, dict):
        return event
    return {**event, "properties": {name: value for name, value in properties.items() if name != "token"}}


def _check_sizes(events: list[Any]) -> None:  # Any: JSON
    for index, event in enumerate(events):
        try:
            length = len(orjson.dumps(event))
        except orjson.JSONEncodeError as error:  # read at a depth that it cannot be written at
            raise RefusedError(400, f"event {index} is nested too deeply") from error
        if length > MAX_AI_EVENT_BYTES:
            raise RefusedError(413, f"event {index} is larger than {MAX_AI_EVENT_BYTES} bytes")
