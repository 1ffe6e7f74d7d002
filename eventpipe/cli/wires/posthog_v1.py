"""PostHog's capture format, version 1: ``POST /i/v1/analytics/events``, answered for each event."""

from __future__ import annotations

import datetime
import re
import uuid as uuidlib
from collections.abc import Mapping
from typing import Any

from eventpipe.cli.wires.base import OK, TAKEN, Answer, Asked, Event, Judge, RefusedError, Taken, Wire, decode

PATH = "/i/v1/analytics/events"
MAX_WIRE_BYTES = 10 * 1024 * 1024
MAX_NAME_BYTES = 200  # of an event's name, and of a distinct_id
MAX_SDK_CHARACTERS = 200
RETRY_AFTER = "1"  # seconds, which the real service sends with every "retry"

REQUEST_ID = "PostHog-Request-Id"
_REQUIRED = (
    "PostHog-Sdk-Info",
    "PostHog-Attempt",
    REQUEST_ID,
    "PostHog-Request-Timestamp",
    "Content-Type",
    "User-Agent",
)
_TEXTS = ("event", "uuid", "distinct_id", "timestamp")

# Lifted by a sender out of the properties, and put back here: name on the wire, property, how it is read.
_FLAGS = {
    "cookieless_mode": "$cookieless_mode",
    "disable_skew_correction": "$ignore_sent_at",
    "process_person_profile": "$process_person_profile",
}
_TOUR = ("product_tour_id", "$product_tour_id")
_IDS = {"session_id": "$session_id", "window_id": "$window_id"}

_STAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WORDS = {
    400: "invalid_request",
    401: "invalid_api_token",
    408: "request_timeout",
    413: "payload_too_large",
    415: "unsupported_encoding",
    429: "rate_limited",
    500: "internal_error",
    503: "service_unavailable",
    504: "gateway_timeout",
}
_DETAILS = {"retry": "not_persisted", "drop": "rejected", "warning": "person_processing_disabled"}


class PostHogV1Wire(Wire):
    """Headers that say who asks and how often; a batch whose events are judged one by one."""

    max_wire_bytes = MAX_WIRE_BYTES

    def claims(self, asked: Asked) -> bool:
        """By the path."""
        return asked.path == PATH

    def check(self, asked: Asked) -> None:
        """Look for the key and the headers that every request needs."""
        headers = asked.headers
        if "Authorization" not in headers:
            raise RefusedError(401, "the Authorization header is missing", "missing_authorization")
        missing = [name for name in _REQUIRED if not headers.get(name)]
        if missing:
            raise RefusedError(400, f"required headers are missing: {', '.join(missing)}", "missing_required_headers")
        scheme, _, key = headers["Authorization"].partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise RefusedError(401, "the Authorization header has no bearer key", "invalid_api_token")
        if asked.content_type != "application/json":
            raise RefusedError(415, "the content type is not application/json", "unsupported_content_type")
        if _uuid(headers[REQUEST_ID]) is None:
            raise _bad_header(REQUEST_ID, "is no UUID")
        attempt = headers["PostHog-Attempt"]
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}", attempt, re.ASCII):
            raise _bad_header("PostHog-Attempt", "is no number from 1")
        if not _is_stamp(headers["PostHog-Request-Timestamp"]):
            raise _bad_header("PostHog-Request-Timestamp", "is no RFC 3339 time")

    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read a batch; an event with a fault of its own is dropped alone, a fault of ids refuses all."""
        if not body:
            raise RefusedError(400, "the body is empty", "empty_body")
        batch = _batch(decode(body, "the body"))
        library = _library(asked.headers["PostHog-Sdk-Info"])
        results: dict[str, dict[str, str]] = {}
        events = []
        for index, event in enumerate(batch):
            uuid = _id_of(index, event)
            if uuid in results:
                raise RefusedError(400, f"event {index} has the uuid of another one", "duplicate_event_uuid")
            fault = _fault(event)
            verdict = "drop" if fault else judge()
            results[uuid] = {"result": verdict}
            if verdict != OK:
                results[uuid]["details"] = fault or _DETAILS.get(verdict, "on_purpose")
            if verdict in TAKEN:
                events.append(_own(event, uuid, library))
        headers = _echo(asked)
        if any(result["result"] == "retry" for result in results.values()):
            headers["Retry-After"] = RETRY_AFTER
        return Taken("posthog-v1", events, Answer.of(200, {"results": results}, headers))

    def refuse(self, asked: Asked, error: RefusedError) -> Answer:
        """Say no with a word, a sentence and an address."""
        refusal = {
            "error": error.code or _WORDS.get(error.status, "error"),
            "error_description": error.detail,
            "error_uri": "https://posthog.com/docs/api",
        }
        return Answer.of(error.status, refusal, _echo(asked))


def _echo(asked: Asked) -> dict[str, str]:
    """The request's id, if it is one: nothing else of a stranger's goes into a header."""
    uuid = _uuid(asked.headers.get(REQUEST_ID, ""))
    return {} if uuid is None else {REQUEST_ID: uuid}


def _batch(value: Any) -> list[Any]:  # Any: JSON
    events = value.get("batch") if isinstance(value, dict) else None
    if not isinstance(events, list):
        raise RefusedError(400, "expected an object with a batch, an array of events", "request_parsing_error")
    if not events:
        raise RefusedError(400, "the batch is empty", "empty_batch")
    if not isinstance(value.get("created_at"), str) or not _is_stamp(value["created_at"]):
        raise RefusedError(400, "created_at is no RFC 3339 time", "invalid_batch")
    if not isinstance(value.get("historical_migration", False), bool):
        raise RefusedError(400, "historical_migration is neither true nor false", "request_parsing_error")
    return events


def _id_of(index: int, event: Any) -> str:  # Any: JSON
    """An event's id as the results name it.

    Raises:
        RefusedError: The event is not of the shape that a batch is read in at all, or its id is none.
    """
    if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in _TEXTS):
        raise RefusedError(400, f"event {index} has no {', '.join(_TEXTS)} as text", "request_parsing_error")
    if not all(isinstance(event.get(name), str | None) for name in _IDS):
        raise RefusedError(400, f"event {index} has a session_id or window_id that is no text", "request_parsing_error")
    if not event["uuid"].strip():
        raise RefusedError(400, f"event {index} has no uuid", "missing_event_uuid")
    uuid = _uuid(event["uuid"].strip())
    if uuid is None:
        raise RefusedError(400, f"event {index} has a uuid that is none", "invalid_event_uuid")
    return uuid


def _fault(event: Event) -> str | None:
    """What is wrong with one event, in the words of the real service; ``None``: nothing."""
    options = event.get("options")
    faults = {
        "missing_event_name": not event["event"],
        "event_name_too_long": len(event["event"].encode()) > MAX_NAME_BYTES,
        "missing_distinct_id": not event["distinct_id"].strip(),
        "distinct_id_too_large": len(event["distinct_id"].strip().encode()) > MAX_NAME_BYTES,
        "invalid_event_timestamp": not _is_stamp(event["timestamp"]),
        "malformed_event_properties": not isinstance(event.get("properties", {}), dict),
        "invalid_options": not isinstance(options, dict | None) or not _are_options(options or {}),
    }
    return next((word for word, is_so in faults.items() if is_so), None)


def _are_options(options: Mapping[str, Any]) -> bool:  # Any: JSON
    flags = all(options.get(name) is None or _flag(options[name]) is not None for name in _FLAGS)
    tour = options.get(_TOUR[0])
    return flags and (isinstance(tour, str | int | None) and not isinstance(tour, bool))


def _flag(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int | float) else None


def _own(event: Event, uuid: str, library: Mapping[str, str]) -> Event:
    """An event in our own form: what was lifted out of the properties is put back."""
    options = event.get("options") or {}
    lifted: Event = {
        _FLAGS[name]: _flag(value) for name, value in options.items() if name in _FLAGS and value is not None
    }
    if options.get(_TOUR[0]) is not None:
        lifted[_TOUR[1]] = str(options[_TOUR[0]])
    lifted |= {_IDS[name]: event[name] for name in _IDS if event.get(name) is not None}
    return {
        "uuid": uuid,
        "event": event["event"],
        "distinct_id": event["distinct_id"].strip(),
        "timestamp": event["timestamp"],
        "properties": {**event.get("properties", {}), **library, **lifted},
    }


def _library(info: str) -> Mapping[str, str]:
    """What the real service derives from the header that names the sender; nothing where it cannot."""
    name, _, version = (part.strip() for part in info.rpartition("/"))
    is_sound = name and version and len(info) <= MAX_SDK_CHARACTERS and info.isprintable()
    return {"$lib": name, "$lib_version": version} if is_sound else {}


def _uuid(text: str) -> str | None:
    try:
        return str(uuidlib.UUID(text))
    except ValueError:
        return None


def _is_stamp(text: str) -> bool:
    if not _STAMP.fullmatch(text):
        return False
    try:
        datetime.datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def _bad_header(name: str, fault: str) -> RefusedError:
    return RefusedError(400, f"the header {name} {fault}", "invalid_header_value")
