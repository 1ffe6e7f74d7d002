"""What a CloudEvent's attributes say of an event, for the reader, and for the writer to see what they leave out."""

from __future__ import annotations

import binascii
import re
import uuid as uuidlib
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from eventpipe.encoding.arguments import canonical
from eventpipe.encoding.repair import Repairs

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | int  # of an attribute; bool is an int
Kind = Literal["object", "json", "text", "base64", "none"]
"""How data came: a JSON object, another JSON value, text that is no JSON, bytes in base64, or not at all."""

JSON_TYPE: Final = "application/json"
FAMILY: Final = "application/cloudevents"
CORE: Final = frozenset({"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema"})
KEY: Final = "partitionkey"  # the specification's own extension for it
REST: Final = "eventpipe"
"""The attribute with what no other attribute can say, as a JSON object: ``distinct_id``, ``key``, ``headers``."""

# Names of event headers for what a CloudEvent has and an event has not; no attribute name has a hyphen in it.
SOURCE: Final = "ce-source"
ID: Final = "ce-id"
TIME: Final = "ce-time"
SCHEMA: Final = "ce-dataschema"
CONTENT_TYPE: Final = "ce-datacontenttype"
DATA: Final = "ce-data"
"""The ``Kind`` of data that is no object."""
TYPED: Final = "ce-json"
"""The names of attributes whose value is no text but a whole number or a boolean, with spaces between."""

DATA_NAME: Final = "data"
"""The one property of an event whose data is no object; for bytes it is ``BASE64_NAME``."""
BASE64_NAME: Final = "data_base64"

_NAME: Final = re.compile(r"[a-z0-9]+", re.ASCII)
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_LEAP_SECOND: Final = 60


class Parts(NamedTuple):
    """What the attributes say; the members are those of an event."""

    uuid: str
    timestamp: datetime | None
    distinct_id: str | None
    key: str | None
    headers: dict[str, str]


def parts_of(attributes: Mapping[str, Value], kind: Kind, own_source: str | None = None) -> Parts:
    """Read the parts of an event from attributes that were checked; what ``REST`` says is not among them.

    Args:
        attributes: Those of the core as text.
        kind: How the data came.
        own_source: The source whose events need no ``ce-source``. ``None`` means that all do.
    """
    said = {name: text_of(value) for name, value in attributes.items()}
    source, event_id = said["source"], said["id"]
    headers = {}
    if source != own_source:
        headers[SOURCE] = source
    uuid = uuid_of(source, event_id)
    if uuid != event_id:
        headers[ID] = event_id
    timestamp = None
    if "time" in said:
        timestamp, is_whole = read_time(said["time"])
        if not is_whole:
            headers[TIME] = said["time"]
    if "dataschema" in said:
        headers[SCHEMA] = said["dataschema"]
    content_type = said.get("datacontenttype")
    if content_type is not None and (content_type != JSON_TYPE or kind not in ("object", "json")):
        headers[CONTENT_TYPE] = content_type
    if kind != "object":
        headers[DATA] = kind
    headers |= {name: text for name, text in said.items() if is_extension(name)}
    typed = sorted(name for name, value in attributes.items() if not isinstance(value, str))
    if typed:
        headers[TYPED] = " ".join(typed)
    return Parts(uuid, timestamp, said.get("subject"), said.get(KEY), headers)


def is_name(name: str) -> bool:
    """Whether an attribute may have this name.

    That it should have at most 20 characters is no reason to lose one that has more.
    """
    return _NAME.fullmatch(name) is not None and name != DATA_NAME


def is_extension(name: str) -> bool:
    """Whether an attribute of this name is a header of the event, under the same name."""
    return is_name(name) and name not in CORE and name not in (KEY, REST)


def is_source(text: str) -> bool:
    """Whether a source that somebody else chose can be one: it has no space and nothing that does not print."""
    return text != "" and text.isprintable() and " " not in text


def is_json_type(content_type: str) -> bool:
    """Whether data of this type is JSON, such as ``application/geo+json; charset=utf-8``."""
    subtype = media_type(content_type).partition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def media_type(content_type: str) -> str:
    """A content type in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def foreign_charset(content_type: str) -> str | None:
    """The charset that a content type names, in lower case; ``None`` where it names none, or UTF-8."""
    match = _CHARSET.search(content_type)
    charset = match[1].lower() if match else "utf-8"
    return None if charset in _UTF_8 else charset


def text_of(value: Value) -> str:
    """The canonical text of an attribute's value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def to_base64(data: bytes) -> str:
    """The text of bytes."""
    return binascii.b2a_base64(data, newline=False).decode()


def from_base64(text: object) -> bytes | None:
    """The bytes of a text; ``None`` where it is no base64, or no text."""
    try:
        return binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else None
    except ValueError:
        return None


def uuid_of(source: str, event_id: str) -> str:
    """The UUID that an id is, or one made of source and id: the same each time, and for no other event."""
    return canonical(event_id, Repairs()) or str(uuidlib.uuid5(uuidlib.NAMESPACE_URL, f"{source} {event_id}"))


def read_time(text: str) -> tuple[datetime, bool]:
    """Read a time in any offset, with any number of digits.

    Returns:
        The moment in UTC, cut to microseconds, and whether it says all that the text says: that was in UTC, not finer,
        and no leap second, which counts as the second after it.

    Raises:
        ValueError: It is no time, or one outside the years 1 to 9999.

    Source:
        RFC 3339, section 5.6.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("must be a time as RFC 3339 writes it, such as 2026-01-31T09:05:00Z")
    minute, second, fraction, offset = match.groups()
    fraction = fraction or ""
    is_leap = int(second) == _LEAP_SECOND
    try:
        moment = datetime.fromisoformat(f"{minute.upper()}:{59 if is_leap else second}") + timedelta(
            seconds=is_leap, microseconds=int(fraction[:6].ljust(6, "0"))
        )
        moment = moment.replace(tzinfo=_zone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time that exists, in the years 1 to 9999") from None
    is_utc = offset.upper() in ("Z", "+00:00", "-00:00")
    return moment, is_utc and not is_leap and not fraction[6:].strip("0")


def _zone(offset: str) -> timezone:
    if offset.upper() == "Z":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if minutes > 59:
        raise ValueError
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if offset[0] == "-" else distance)
