"""CloudEvents 1.0 in an HTTP request, in any of the three modes, read as events."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import orjson

from eventpipe.checked import shown
from eventpipe.codecs.base import MIB
from eventpipe.codecs.cloudevents_parts import (
    BASE64_NAME,
    CORE,
    DATA_NAME,
    FAMILY,
    KEY,
    REST,
    Kind,
    Value,
    foreign_charset,
    from_base64,
    is_json_type,
    is_name,
    is_source,
    media_type,
    parts_of,
    read_time,
    to_base64,
)
from eventpipe.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What the codecs of this package put into one body at most, unless they are told otherwise.
MAX_BODY_BYTES: Final = 20 * MIB

# Values of JSON, told by what stands before, between and around them; commas in texts count as well. 20 MiB of events
# of 432 bytes have half as many. Three bytes of JSON may take 90 of memory: 20 MiB of them take 570 MiB.
MAX_VALUES: Final = 2_000_000

_BATCH: Final = f"{FAMILY}-batch+json"
_STRUCTURED: Final = f"{FAMILY}+json"
_PREFIX: Final = "ce-"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_REST_MEMBERS: Final = {"distinct_id", "key", "headers"}
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def read_cloudevents(headers: Mapping[str, str], body: bytes, *, source: str | None = None) -> list[Event]:
    """Read the CloudEvents of an HTTP request, in batch, structured or binary mode.

    ``type`` is the event's name, ``subject`` its ``distinct_id``, ``data`` its properties, ``partitionkey`` its key,
    and every other extension attribute a header of the event. What an event has no place for is kept in headers whose
    names begin with ``ce-``, from which ``CloudEvents`` writes the attributes again; ``docs/codecs.md`` lists them.

    Args:
        headers: The request's, names in any case.
        body: The request's, decompressed; at most 20 MiB, and two million values of JSON.
        source: Your own source, which is not kept in ``ce-source``. ``None`` means that every source is.

    Returns:
        The events, in order; one in structured and binary mode. ``timestamp`` is in UTC, and ``None`` where the
        CloudEvent has no time.

    Raises:
        ValueError: The request has no CloudEvents of version 1.0; the message names event, attribute and rule, and
            shows no data.
    """
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"the body must have at most {MAX_BODY_BYTES // MIB} MiB, not {len(body)} bytes")
    attributes: dict[str, str] = {}
    content_type: str | None = None
    for name, value in headers.items():
        name = name.lower()
        if name == "content-type":
            if content_type is not None:
                raise _fault(name, "must be given once")
            content_type = value
        elif name.startswith(_PREFIX):
            name = name.removeprefix(_PREFIX)
            if name in attributes:
                raise _fault(name, "must be given once")
            attributes[name] = value
    kind = media_type(content_type or "")
    if not kind.startswith(FAMILY):
        if "specversion" not in attributes:
            raise ValueError(
                f"the request holds no CloudEvent: its content type is not {_STRUCTURED} or {_BATCH}, "
                "and it has no header ce-specversion"
            )
        with _numbered(0):
            return [_binary(attributes, content_type, body, source)]
    if kind not in (_BATCH, _STRUCTURED):
        raise ValueError(f"the content type must be {_STRUCTURED} or {_BATCH}, not {shown(kind)}")
    charset = foreign_charset(content_type or "")
    if charset is not None:
        raise ValueError(f"the charset must be UTF-8, not {shown(charset)}")
    try:
        found = _read_json(body)
    except orjson.JSONDecodeError:
        raise ValueError("the body must be JSON in UTF-8") from None
    if kind == _STRUCTURED:
        found = [found]
    elif not isinstance(found, list):
        raise ValueError("the body of a batch must be a JSON array")
    events = []
    for index, members in enumerate(found):
        with _numbered(index):
            events.append(_structured(members, source))
    return events


def _fault(name: str, rule: str) -> ValueError:
    return ValueError(f"{name[:60]} {rule}")


def _read_json(body: bytes) -> Any:  # Any: JSON
    """Read JSON that does not take a multiple of itself in memory.

    Raises:
        orjson.JSONDecodeError: It is none.
        ValueError: It has more values than anybody sends.
    """
    if len(body) > MAX_VALUES and sum(map(body.count, (b"{", b"[", b","))) > MAX_VALUES:
        raise ValueError(f"the body must hold at most {MAX_VALUES} values")
    return orjson.loads(body)


@contextmanager
def _numbered(index: int) -> Iterator[None]:
    """Name the event in what is wrong with it."""
    try:
        yield
    except ValueError as fault:
        raise ValueError(f"event {index}: {fault}") from None


def _structured(members: Any, own_source: str | None) -> Event:  # Any: JSON
    if not isinstance(members, dict):
        raise _fault("a CloudEvent", "must be a JSON object")
    data, encoded = members.pop(DATA_NAME, None), members.pop(BASE64_NAME, None)
    attributes: dict[str, Value] = {}
    for name, value in members.items():
        if not is_name(name):
            raise _fault(shown(name), "must be lower-case letters and digits, as every attribute's name")
        if value is None:  # as if it were not there
            continue
        if not isinstance(value, (str, int)) or (name in CORE and not isinstance(value, str)):
            rule = "must be a string" if name in CORE else "must be a string, a whole number or a boolean"
            raise _fault(name, rule)
        attributes[name] = value
    _check(attributes)
    content_type = attributes.get("datacontenttype", "")
    kind: Kind = "json"
    if encoded is not None:
        if data is not None:
            raise _fault(BASE64_NAME, "must not stand beside data")
        if from_base64(encoded) is None:
            raise _fault(BASE64_NAME, "must be a string of base64")
        return _event(attributes, "base64", {BASE64_NAME: encoded}, own_source)
    if data is None:
        return _event(attributes, "none", None, own_source)
    if isinstance(data, dict):
        return _event(attributes, "object", data, own_source)
    if isinstance(data, str) and content_type and not is_json_type(str(content_type)):
        kind = "text"
    return _event(attributes, kind, {DATA_NAME: data}, own_source)


def _binary(encoded: Mapping[str, str], content_type: str | None, body: bytes, own_source: str | None) -> Event:
    attributes: dict[str, Value] = {}
    for name, value in encoded.items():
        if not is_name(name):
            raise _fault(shown(name), "must be letters and digits, as every attribute's name")
        attributes[name] = _decoded(name, value)
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    _check(attributes)
    if not body:
        return _event(attributes, "none", None, own_source)
    if content_type is None or is_json_type(content_type):
        try:
            data = _read_json(body)
        except orjson.JSONDecodeError:
            if content_type is not None:
                raise _fault("data", "must be JSON, as datacontenttype says") from None
        else:
            kind: Kind = "none" if data is None else "object" if isinstance(data, dict) else "json"
            properties = {"none": None, "object": data}.get(kind, {DATA_NAME: data})
            return _event(attributes, kind, properties, own_source)
    elif foreign_charset(content_type) is None:
        with suppress(UnicodeDecodeError):
            return _event(attributes, "text", {DATA_NAME: body.decode()}, own_source)
    return _event(attributes, "base64", {BASE64_NAME: to_base64(body)}, own_source)


def _check(attributes: Mapping[str, Value]) -> None:
    version = attributes.get("specversion")
    if version is not None and version != "1.0":
        raise _fault("specversion", f"must be '1.0', not {shown(version)}")
    for name in _REQUIRED:
        if name not in attributes:
            raise _fault(name, "is missing")
    for name in (*CORE, KEY):
        if attributes.get(name) == "":
            raise _fault(name, "must not be empty")
    if not is_source(str(attributes["source"])):
        raise _fault("source", "must be a URI reference")
    if "time" in attributes:
        try:
            read_time(str(attributes["time"]))
        except ValueError as error:
            raise _fault("time", str(error)) from None


def _event(
    attributes: dict[str, Value],
    kind: Kind,
    properties: dict[str, Any] | None,  # Any: JSON
    own_source: str | None,
) -> Event:
    rest = _rest(attributes.pop(REST, None))
    parts = parts_of(attributes, kind, own_source)
    return Event(
        str(attributes["type"]),
        distinct_id=rest.get("distinct_id", parts.distinct_id),
        properties=properties,
        timestamp=parts.timestamp,
        uuid=parts.uuid,
        headers={**parts.headers, **rest.get("headers", {})} or None,
        key=rest.get("key", parts.key),
    )


def _rest(text: Value | None) -> dict[str, Any]:
    """What no attribute but this one could say."""
    if text is None:
        return {}
    try:
        rest = orjson.loads(str(text))
    except orjson.JSONDecodeError:
        rest = None
    if (
        not isinstance(rest, dict)
        or not rest.keys() <= _REST_MEMBERS
        or not all(isinstance(rest.get(name, ""), str) for name in ("distinct_id", "key"))
        or not isinstance(rest.get("headers", {}), dict)
        or not all(isinstance(value, str) for value in rest.get("headers", {}).values())
    ):
        raise _fault(REST, "must be a JSON object of distinct_id, key and headers, all of them strings")
    return rest


def _decoded(name: str, value: str) -> str:
    """The text of a header: quotes and backslashes around it removed, then percent-encoding, once.

    Source: CloudEvents HTTP binding 1.0.2, section 3.1.3.2.
    """
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    try:
        # Bytes beyond ASCII that a server could not decode come as lone surrogates.
        return unquote(value, errors="strict").encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise _fault(name, "must be percent-encoded UTF-8") from None
