"""What the arguments of ``capture()`` come to, whatever was passed; each reads one argument and contains its faults."""

from __future__ import annotations

import datetime
import math
import re
import uuid as uuidlib
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import orjson
import uuid_utils

from eventpipe.clock import format_datetime
from eventpipe.encoding.answers import Pairs, answer
from eventpipe.encoding.foreign import Failed, contained, type_name
from eventpipe.encoding.repair import MAX_WORK, Repairs, repair
from eventpipe.errors import InvalidEventError

MAX_HEADER_TEXT: Final = 8 * 1024  # characters of all headers: what HTTP servers commonly take

_UUIDS: Final = (uuidlib.UUID, uuid_utils.UUID)
_IDENTIFIERS: Final = (str, int, float, Decimal, Enum, *_UUIDS)
_UUID: Final = re.compile(
    r"(?:urn:uuid:)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})",
    re.ASCII | re.IGNORECASE,
)
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+", re.ASCII)  # visible ASCII without the colon


def name_of(event: object, repairs: Repairs) -> str:
    """The name of an event.

    Raises:
        InvalidEventError: It is no text, or empty.
    """
    name = repair(event, None, repairs, "event")[0] if issubclass(type(event), (str, Enum)) else None
    if type(name) is not str or not name:
        given = "''" if name == "" else f"a value of type {type_name(event)}"
        raise InvalidEventError(f"event must be a text that is not empty, not {given}", path="event")
    return name


def identifier(value: Any, path: str, repairs: Repairs) -> str | None:
    """An id or a key as text: text, numbers, UUIDs and enums of these; anything else is repaired to ``None``."""
    if value is None:
        return None
    kind = type(value)
    made: object = None
    if kind is str or kind is int:
        made = value
    elif issubclass(kind, _IDENTIFIERS):
        probe = Repairs()
        made, _ = repair(value, None, probe, path)
        if probe.count and not issubclass(kind, (str, int)):
            made = None
    if type(made) is int:
        made = contained(str, made)  # of any size, up to the digits that Python writes
    elif type(made) is str:
        made, _ = repair(made, None, repairs, path)
    elif type(made) is orjson.Fragment or (type(made) is float and math.isfinite(made)):
        made = orjson.dumps(made).decode()
    if type(made) is str:
        return made
    repairs.note(path, f"is of type {type_name(value)}; pass text, a number or a UUID")
    return None


def canonical(value: object, repairs: Repairs) -> str | None:
    """A UUID in its 36 characters, in lower case; ``None``, and counted as repaired, where it is none."""
    text = repair(value, None, Repairs(), "uuid")[0] if issubclass(type(value), (str, *_UUIDS)) else None
    match = _UUID.fullmatch(text) if type(text) is str else None
    if match:
        return "-".join(match.groups()).lower()
    repairs.note("uuid", "is not a UUID; leave it out to have one made")
    return None


def timestamp_text(value: Any, repairs: Repairs) -> str | None:
    """The time of an event in 27 characters; ``None`` where none was given, or nothing that can be read."""
    if value is None:
        return None
    if not issubclass(type(value), datetime.datetime):
        repairs.note("timestamp", f"is of type {type_name(value)}; pass a datetime")
        return None
    read = contained(lambda: _read_datetime(value))
    if type(read) is not tuple:
        repairs.note("timestamp", "cannot be told in UTC")
        return None
    text, is_naive = read
    if is_naive:
        repairs.note("timestamp", "has no time zone and is taken as UTC; pass datetime.now(UTC)")
    return str(text)


def snapshot(headers: Any, repairs: Repairs) -> dict[str, str] | None:
    """The headers that can be sent, copied; the others are left out, and counted as repaired."""
    if headers is None:
        return None
    try:
        members = pairs(headers, "headers").members
    except InvalidEventError as error:
        repairs.note("headers", str(error).removeprefix("headers "))
        return None
    kept: dict[str, str] = {}
    room = MAX_HEADER_TEXT
    for name, value in members[:MAX_HEADER_TEXT]:  # as many as fit: a name has a character at least
        if type(name) is not str or not _HEADER_NAME.fullmatch(name[:room]):
            repairs.note("headers", "have a name that is not visible ASCII without a colon")
            continue
        text = value if type(value) is str else identifier(value, f"headers.{name[:60]}", repairs)
        if text is None:
            continue
        room -= len(name) + len(text)
        if room < 0:
            repairs.note("headers", f"have more than {MAX_HEADER_TEXT} characters")
            break
        if not text.isprintable():
            repairs.note(f"headers.{name[:60]}", "has a line break or another character that does not print")
            continue
        kept[name] = text
    return kept


def pairs(mapping: Any, path: str) -> Pairs:
    """Read a mapping of any kind, once.

    Raises:
        InvalidEventError: It is none, or raised while it was read.
    """
    members = contained(lambda: answer(mapping, MAX_WORK) if issubclass(type(mapping), Mapping) else None)
    if type(members) is Failed:
        raise InvalidEventError(f"{path} raised {members.error} while they were read", path=path)
    if type(members) is not Pairs:
        raise InvalidEventError(f"{path} must be a mapping, not a value of type {type_name(mapping)}", path=path)
    return members


def _read_datetime(value: datetime.datetime) -> tuple[str, bool]:
    """Its text and whether it was naive, through a plain datetime, whatever a subclass overrides."""
    plain = datetime.datetime(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.tzinfo,
        fold=value.fold,
    )
    is_naive = plain.utcoffset() is None
    return format_datetime(plain.replace(tzinfo=None) if is_naive else plain), is_naive
