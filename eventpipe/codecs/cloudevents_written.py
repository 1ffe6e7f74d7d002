"""An event in the attributes and the data of a CloudEvent, with nothing left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from eventpipe.codecs.cloudevents_parts import (
    BASE64_NAME,
    CONTENT_TYPE,
    CORE,
    DATA,
    DATA_NAME,
    ID,
    JSON_TYPE,
    KEY,
    REST,
    SCHEMA,
    SOURCE,
    TIME,
    TYPED,
    Kind,
    Value,
    from_base64,
    is_extension,
    is_json_type,
    is_source,
    parts_of,
    read_time,
    uuid_of,
)
from eventpipe.codecs.envelope import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.codecs.envelope import Envelope
    from eventpipe.events import CapturedEvent

_TYPED_VALUE: Final = re.compile(r"true|false|0|-?[1-9]\d{0,17}", re.ASCII)


class Written(NamedTuple):
    """An event as a CloudEvent; ``data`` is JSON, and ``b""`` where there is none."""

    attributes: dict[str, Value]
    kind: Kind
    data: bytes

    @property
    def json(self) -> bytes:
        """The JSON format of it."""
        members = orjson.dumps(self.attributes)[:-1]
        if self.kind == "none":
            return members + b"}"
        name = BASE64_NAME if self.kind == "base64" else DATA_NAME
        return members + b',"' + name.encode() + b'":' + self.data + b"}"


def written(event: CapturedEvent, own_source: str, *, in_headers: bool = False) -> Written:
    """Say an event in attributes; headers that were made of a foreign CloudEvent's attributes become those again.

    Args:
        event: Any event.
        own_source: The source of events that name none.
        in_headers: Whether every attribute's value is text, as in binary mode.
    """
    envelope, headers = split(event), event.headers
    distinct_id: str | None = orjson.loads(envelope.distinct_id)
    key = event.extra.key if event.extra else None
    kind, data, content_type = _data(envelope, headers)
    source = headers.get(SOURCE, "")
    attributes: dict[str, Value] = {
        "specversion": "1.0",
        "id": envelope.uuid.decode(),
        "source": source if is_source(source) else own_source,
        "type": orjson.loads(envelope.event),
        "time": _time(envelope.timestamp.decode(), headers.get(TIME)),
    }
    foreign_id = headers.get(ID)
    if foreign_id and uuid_of(str(attributes["source"]), foreign_id) == attributes["id"]:
        attributes["id"] = foreign_id
    optional = {"subject": distinct_id, "datacontenttype": content_type, "dataschema": headers.get(SCHEMA), KEY: key}
    attributes |= {name: value for name, value in optional.items() if value}
    attributes |= {name: value for name, value in headers.items() if is_extension(name)}
    if not in_headers:
        attributes |= _typed(attributes, headers.get(TYPED, ""))
    # What a reader would not find in these attributes, whatever the reason: for it to be the same event after all.
    found = parts_of(attributes, kind)
    rest: dict[str, object] = {}
    if found.distinct_id != distinct_id:
        rest["distinct_id"] = distinct_id
    if found.key != key:
        rest["key"] = key
    lost = {name: value for name, value in headers.items() if found.headers.get(name) != value}
    if lost:
        rest["headers"] = lost
    if rest:
        attributes[REST] = orjson.dumps(rest).decode()
    return Written(attributes, kind, data)


def _data(envelope: Envelope, headers: Mapping[str, str]) -> tuple[Kind, bytes, str | None]:
    """The properties, or the data that a foreign event had instead of an object, and its content type."""
    declared = headers.get(CONTENT_TYPE) or None
    kind, members = headers.get(DATA), envelope.members
    if kind == "none" and not members:
        return "none", b"", declared
    name = BASE64_NAME if kind == "base64" else DATA_NAME
    properties = orjson.loads(b"{" + members + b"}") if kind in ("json", "text", "base64") else {}
    if list(properties) == [name]:
        data, value = members[len(name) + 3 :], properties[name]  # behind two quotes and a colon
        is_json = declared is None or is_json_type(declared)
        if kind == "json" and is_json and value is not None and not isinstance(value, dict):
            return "json", data, declared or JSON_TYPE
        if kind == "text" and isinstance(value, str) and not is_json:
            return "text", data, declared
        if kind == "base64" and from_base64(value) is not None:
            return "base64", data, declared
    return "object", b"{" + members + b"}", declared if declared and is_json_type(declared) else JSON_TYPE


def _time(timestamp: str, foreign: str | None) -> str:
    """The event's, or the text that it was read from, which may say more."""
    try:
        if foreign is not None and read_time(foreign)[0] == read_time(timestamp)[0]:
            return foreign
    except ValueError:
        pass  # somebody wrote that header by hand
    return timestamp


def _typed(attributes: Mapping[str, Value], names: str) -> dict[str, Value]:
    """The attributes that were numbers and booleans, as such."""
    found = {name: str(attributes[name]) for name in names.split(" ") if name in attributes and name not in CORE}
    return {name: orjson.loads(text) for name, text in found.items() if _TYPED_VALUE.fullmatch(text)}
