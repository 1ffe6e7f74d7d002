"""Events as OTLP log records: plain dictionaries, in the spelling of either encoding."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from eventpipe.codecs.envelope import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.events import CapturedEvent

Record = dict[str, Any]  # Any: what JSON, or the constructor of a protobuf message, takes

UID: Final = "log.record.uid"
USER: Final = "user.id"
PREFIX: Final = "eventpipe."
KEY: Final = "eventpipe.key"
HEADERS: Final = "eventpipe.headers"
PROPERTIES: Final = "eventpipe.properties"
"""JSON text of the properties that no attribute can say exactly, or whose names are those of our own attributes."""
TIMESTAMP: Final = "eventpipe.timestamp"
"""RFC 3339 text of a time that nanoseconds since 1970 cannot say."""

INFO: Final = 9  # SEVERITY_NUMBER_INFO: events say that something happened, not that something went wrong
# Objects and arrays within each other. An object takes three levels of protobuf messages, whose parsers stop at 100.
MAX_DEPTH: Final = 24

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_INT64: Final = 2**63
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Spelling:
    """How an encoding writes fields and values: protobuf as the messages are declared, JSON by the mapping of OTLP.

    Args:
        is_json: Fields in lowerCamelCase, 64-bit integers as text, ids in hexadecimal.

    Attributes:
        kinds: The field for a value, by its type, where the value stands in it as it is.

    Source:
        OTLP specification 1.x, "JSON Protobuf Encoding".
    """

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self.kinds: Mapping[type, str] = {
            kind: self._name(name)
            for kind, name in ((str, "string_value"), (bool, "bool_value"), (float, "double_value"))
        }

    def fields(self, **values: Any) -> Record:
        """A message with these fields, which are named as protobuf declares them."""
        return {_camel_case(name): value for name, value in values.items()} if self._is_json else values

    def integer(self, value: int) -> int | str:
        """A field of 64 bits."""
        return str(value) if self._is_json else value

    def id(self, hexadecimal: str) -> str | bytes:
        """The id of a trace or a span."""
        return hexadecimal if self._is_json else bytes.fromhex(hexadecimal)

    def _name(self, name: str) -> str:
        return _camel_case(name) if self._is_json else name


@cache
def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Attributes:
    """A list of attributes.

    Attributes:
        written: The attributes so far.
    """

    def __init__(self, spelling: Spelling) -> None:
        self.written: list[Record] = []
        self._spelling = spelling
        self._is_exact = True

    def add(self, name: str, value: Any) -> bool:  # Any: JSON
        """Add one.

        Returns:
            Whether it says exactly what ``value`` says. An integer beyond 64 bits with a sign is written as text, and
            so is, as JSON, what lies too deep.
        """
        self._is_exact = True
        self.written.append({"key": name, "value": self._value(value, 0)})
        return self._is_exact

    def _value(self, value: Any, depth: int) -> Record:
        kind = self._spelling.kinds.get(type(value))
        if kind is not None:  # as nearly always: then nothing is looked at twice
            return {kind: value}
        fields = self._spelling.fields
        match value:
            case int() if -_INT64 <= value < _INT64:
                return fields(int_value=self._spelling.integer(value))
            case None:
                return {}
            case list() | dict() if depth == MAX_DEPTH:
                self._is_exact = False
                return fields(string_value=orjson.dumps(value).decode())
            case list():
                return fields(array_value={"values": [self._value(element, depth + 1) for element in value]})
            case dict():
                members = [{"key": name, "value": self._value(child, depth + 1)} for name, child in value.items()]
                return fields(kvlist_value={"values": members})
        self._is_exact = False
        return fields(string_value=str(value))


def record(event: CapturedEvent, observed_at: float, spelling: Spelling) -> Record:
    """Write an event as a log record from which it can be read again.

    Args:
        event: Any event.
        observed_at: Wall clock, seconds since the epoch.
        spelling: Of the encoding.
    """
    envelope = split(event)
    name: str = orjson.loads(envelope.event)
    distinct_id: str | None = orjson.loads(envelope.distinct_id)
    timestamp = envelope.timestamp.decode()
    attributes = Attributes(spelling)
    attributes.add(UID, envelope.uuid.decode())
    if distinct_id is not None:
        attributes.add(USER, distinct_id)
    rest = {}
    for prop, value in orjson.loads(b"{" + envelope.members + b"}").items():
        is_ours = prop in ("", UID, USER) or prop.startswith(PREFIX)
        if is_ours or not attributes.add(prop, value):
            rest[prop] = value
    if rest:
        attributes.add(PROPERTIES, orjson.dumps(rest).decode())
    extra = event.extra
    if extra and extra.key is not None:
        attributes.add(KEY, extra.key)
    if extra and extra.headers:
        attributes.add(HEADERS, dict(extra.headers))
    happened_at = (datetime.fromisoformat(timestamp) - _EPOCH) // _MICROSECOND * 1000
    if not 0 < happened_at < _INT64:  # zero means that it is not known
        attributes.add(TIMESTAMP, timestamp)
        happened_at = 0
    return spelling.fields(
        time_unix_nano=spelling.integer(happened_at),
        observed_time_unix_nano=spelling.integer(max(int(observed_at * 1e6), 0) * 1000),
        severity_number=INFO,
        severity_text="INFO",
        body=spelling.fields(string_value=name),  # for far ends that do not know event_name yet
        attributes=attributes.written,
        event_name=name,
    ) | _trace(event.headers, spelling)


def _trace(headers: Mapping[str, str], spelling: Spelling) -> Record:
    """The fields that a traceparent fills; none where there is none that can be read.

    Source: W3C Trace Context, section 3.2.
    """
    value = next((value for name, value in headers.items() if name.lower() == "traceparent"), "")
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return {}
    version, trace, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return {}
    return {
        **spelling.fields(trace_id=spelling.id(trace), span_id=spelling.id(span)),
        "flags": int(flags, 16),
    }
