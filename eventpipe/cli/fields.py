"""From the values of a line to an event."""

from __future__ import annotations

import datetime
import math
import uuid as uuidlib
from dataclasses import dataclass
from typing import Any

import uuid_utils

from eventpipe.events import Event

Values = dict[str, Any]  # Any: JSON

# What a collector, or a log, adds to an event in our own form.
_ADDED = ("received_at", "offset", "appended_at", "lifted")

_SECONDS_BELOW = 1e11  # a Unix time above this is in milliseconds: as seconds it would be the year 5138


class MalformedError(Exception):
    """A line that no event can be made of; its text says why."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a line name the parts of an event; all others become properties.

    A line whose ``properties`` is an object is in the form that eventpipe writes itself: those are its properties,
    and ``key``, ``headers`` and ``lane`` are what they are there; when a collector received it, and its place in the
    log that it comes from, are left out.

    Attributes:
        event: The field with the event's name.
        distinct_id: The field that says whom the event is about.
        timestamp: The field that says when it happened: ISO 8601, or Unix time in seconds or milliseconds.
        name: The name of events whose line has none. ``None``: such a line is malformed.
    """

    event: str = "event"
    distinct_id: str = "distinct_id"
    timestamp: str = "timestamp"
    name: str | None = None

    def to_event(self, values: Values) -> Event:
        """Make an event with an id of its own, or of the line's.

        Args:
            values: The fields of one line; used up.

        Raises:
            MalformedError: The name is missing, or a value is not what its field should hold.
        """
        name = _name(values.pop(self.event, None) or self.name, self.event)
        distinct_id = _distinct_id(values.pop(self.distinct_id, None), self.distinct_id)
        timestamp = _timestamp(values.pop(self.timestamp, None), self.timestamp)
        uuid = _uuid(values.get("uuid"))
        if uuid is not None:
            del values["uuid"]
        key = headers = lane = None
        if isinstance(values.get("properties"), dict):
            properties = values.pop("properties")
            key = values.pop("key") if isinstance(values.get("key"), str) else None
            headers = values.pop("headers") if _is_headers(values.get("headers")) else None
            lane = values.pop("lane") if isinstance(values.get("lane"), str) else None
            for field in _ADDED:
                values.pop(field, None)
            values |= properties
        return Event(
            name,
            distinct_id=distinct_id,
            properties=values,
            timestamp=timestamp,
            uuid=uuid or str(uuid_utils.uuid7()),
            headers=headers,
            key=key,
            lane=lane,
        )


def _name(value: object, field: str) -> str:
    if value is None or value == "":
        raise MalformedError(f"no event name: {field!r} is missing or empty")
    if not isinstance(value, str):
        raise MalformedError(f"{field!r} is not text")
    return value


def _distinct_id(value: object, field: str) -> str | int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MalformedError(f"{field!r} is neither text nor a whole number")
    return value


def _timestamp(value: object, field: str) -> datetime.datetime | None:
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            return _read_timestamp(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _from_unix(value)
    except (ValueError, OverflowError, OSError):
        pass
    raise MalformedError(f"{field!r} is neither an ISO 8601 time nor a Unix time")


def _read_timestamp(text: str) -> datetime.datetime:
    try:
        return _from_unix(float(text))
    except ValueError:
        moment = datetime.datetime.fromisoformat(text)
    # Told in UTC here, so that a time which only its offset puts beyond the calendar is malformed too.
    return moment if moment.tzinfo is None else moment.astimezone(datetime.UTC)


def _from_unix(number: float) -> datetime.datetime:
    if not math.isfinite(number):
        raise ValueError(number)
    return datetime.datetime.fromtimestamp(number if abs(number) < _SECONDS_BELOW else number / 1000, datetime.UTC)


def _uuid(value: object) -> str | None:
    """The line's own id; something else under that name is a property like others."""
    try:
        return str(uuidlib.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_headers(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(part, str) for part in value.values())
