"""Log records of OTLP, decoded, as events in our own form."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from eventpipe.cli.wires.base import Event, RefusedError, decode, headers_or_none, own_form, rfc3339
from eventpipe.codecs.otlp_records import HEADERS, INFO, KEY, PROPERTIES, TIMESTAMP, UID, USER

Record = dict[str, Any]  # Any: JSON

NAMELESS = "log"  # the event that a record without a name is
MAX_DEPTH = 100  # of values within each other, as protobuf's parsers have it for messages
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
_NO_SERVICE = {"service.name": "unknown_service"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_records(request: Any, *, is_json: bool) -> list[Event]:  # Any: JSON
    """The log records of an ``ExportLogsServiceRequest``.

    Args:
        request: Decoded, in the spelling of OTLP's JSON.
        is_json: Whether ids are in hexadecimal, as there, or in base64, as protobuf's library has them.

    Raises:
        RefusedError: 400, it is of another shape.
    """
    events = []
    for resource in _list(_object(request, "the request"), "resourceLogs"):
        outer = _attributes(_object(resource.get("resource") or {}, "a resource"))
        shared = {} if outer == _NO_SERVICE else {f"resource.{name}": value for name, value in outer.items()}
        for scope in _list(resource, "scopeLogs"):
            events += [_own(record, shared, is_json) for record in _list(scope, "logRecords")]
    return events


def _own(record: Record, shared: Event, is_json: bool) -> Event:
    """A record in our own form; one that this library wrote is the event that it was."""
    properties = _attributes(record)
    uuid, who = _taken(properties, UID), _taken(properties, USER)
    key, stamp, rest = _taken(properties, KEY), _taken(properties, TIMESTAMP), _taken(properties, PROPERTIES)
    name = record.get("eventName") or _taken(properties, "event.name") or NAMELESS
    if not isinstance(name, str):
        raise RefusedError(400, "a log record has an eventName that is no text")
    headers = headers_or_none(properties.get(HEADERS)) or {}
    if headers:
        del properties[HEADERS]
    if rest is not None:
        properties |= _properties(rest)
    _keep_the_rest(record, name, properties, is_own=uuid is not None)
    if (parent := _traceparent(record, is_json)) and not any(header.lower() == "traceparent" for header in headers):
        headers["traceparent"] = parent
    stamp = stamp or _stamp(record)
    return own_form(name, who, {**shared, **properties}, uuid=uuid, timestamp=stamp, key=key, headers=headers)


def _keep_the_rest(record: Record, name: str, properties: Event, *, is_own: bool) -> None:
    """What a record of somebody else says outside of its attributes; this library says nothing there."""
    body = _value(record.get("body") or {}, 0)
    if body is not None and body != name:
        properties.setdefault("body", body)
    number, text = _integer(record.get("severityNumber", 0)), record.get("severityText")
    if not (is_own and number == INFO):
        for member, value in (("severity_number", number), ("severity_text", text)):
            if value:
                properties.setdefault(member, value)


def _taken(properties: Event, name: str) -> str | None:
    """Take out an attribute of ours; another kind of value under its name stays."""
    return properties.pop(name) if isinstance(properties.get(name), str) else None


def _properties(text: str) -> Event:
    found = decode(text.encode(), f"the attribute {PROPERTIES}")
    if not isinstance(found, dict):
        raise RefusedError(400, f"the attribute {PROPERTIES} is no JSON object")
    return found


def _attributes(holder: Record) -> Event:
    return _members(_list(holder, "attributes"), 0)


def _members(pairs: list[Record], depth: int) -> Event:
    found = {}
    for pair in pairs:
        name = pair.get("key", "")
        if not isinstance(name, str):
            raise RefusedError(400, "an attribute has a key that is no text")
        found[name] = _value(pair.get("value") or {}, depth)
    return found


def _value(value: Any, depth: int) -> Any:  # Any: JSON
    if depth > MAX_DEPTH:
        raise RefusedError(400, "a value is nested too deeply")
    for kind, inner in _object(value, "a value").items():
        match kind, inner:
            case ("stringValue" | "bytesValue", str()) | ("boolValue", bool()):
                return inner
            case "intValue", _:
                return _integer(inner)
            case "doubleValue", int() | float():
                return float(inner)
            case "doubleValue", str() if inner in _NOT_FINITE:
                return None
            case "arrayValue", dict():
                return [_value(element, depth + 1) for element in _list(inner, "values")]
            case "kvlistValue", dict():
                return _members(_list(inner, "values"), depth + 1)
            case (("stringValue" | "bytesValue" | "boolValue" | "doubleValue" | "arrayValue" | "kvlistValue"), _):
                raise RefusedError(400, f"a value has a {kind} of another kind")
    return None


def _integer(value: object) -> int:
    """A number of 64 bits, which JSON may have as text."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RefusedError(400, "an integer is none")


def _stamp(record: Record) -> str | None:
    nanoseconds = _integer(record.get("timeUnixNano", 0)) or _integer(record.get("observedTimeUnixNano", 0))
    if nanoseconds <= 0:
        return None
    return rfc3339(_EPOCH + timedelta(microseconds=nanoseconds // 1000))


def _traceparent(record: Record, is_json: bool) -> str | None:
    trace, span = (_id(record.get(name), size, is_json) for name, size in (("traceId", 16), ("spanId", 8)))
    flags = _integer(record.get("flags", 0)) & 0xFF
    return f"00-{trace}-{span}-{flags:02x}" if trace and span else None


def _id(value: object, size: int, is_json: bool) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        found = bytes.fromhex(value) if is_json else base64.b64decode(value)
    except (ValueError, binascii.Error):
        return None
    return found.hex() if len(found) == size and any(found) else None


def _object(value: Any, what: str) -> Record:  # Any: JSON
    if not isinstance(value, dict):
        raise RefusedError(400, f"{what} is not an object")
    return value


def _list(holder: Record, name: str) -> list[Record]:
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(element, dict) for element in found):
        raise RefusedError(400, f"{name} is not an array of objects")
    return found
