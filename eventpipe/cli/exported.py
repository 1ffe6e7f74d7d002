"""From a line that ``eventpipe export`` wrote to the event that it was."""

from __future__ import annotations

import datetime
import re
from typing import Any, Final

import orjson

from eventpipe.cli.event_input import read_object
from eventpipe.cli.fields import MalformedError, Values
from eventpipe.cli.lines import Line
from eventpipe.encoding import Encoder
from eventpipe.errors import InvalidEventError
from eventpipe.events import CapturedEvent, Extra

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_HINT: Final = "eventpipe import takes lines that eventpipe export wrote; eventpipe append takes others"


def read_exported(line: Line, encoder: Encoder) -> CapturedEvent:
    """The event as it was appended: id, time, name, person, properties, key, headers, lane.

    Its place in the log that it came from is left out.

    Raises:
        MalformedError: The line is not one that was exported.
    """
    values = read_object(line)
    properties = _checked(values, "properties", dict)
    lifted = _lifted(values, properties)
    try:
        made = encoder.encode(
            _checked(values, "event", str),
            _optional(values, "distinct_id"),
            properties,
            _timestamp(values),
            _uuid(values),
            None,
            None,
            None,
        )
    except InvalidEventError as error:
        raise MalformedError(str(error)) from error
    headers, key = _headers(values), _optional(values, "key")
    extra = Extra(headers, key, lifted)
    kept = None if extra == Extra() else extra
    return CapturedEvent(made.name, made.data, _optional(values, "lane"), kept, made.captured_at)


def _checked(values: Values, name: str, kind: type) -> Any:  # Any: JSON
    value = values.get(name)
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "text"
        raise MalformedError(f"{name!r} is not {wanted}; {_HINT}")
    return value


def _optional(values: Values, name: str) -> str | None:
    return None if values.get(name) is None else str(_checked(values, name, str))


def _uuid(values: Values) -> str:
    uuid = values.get("uuid")
    if not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
        # Without it a second import of the same line would be a second event.
        raise MalformedError(f"'uuid' is not the id of an event; {_HINT}")
    return uuid


def _timestamp(values: Values) -> datetime.datetime:
    text = _checked(values, "timestamp", str)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise MalformedError(f"'timestamp' is not a time with a zone; {_HINT}")
    return moment


def _headers(values: Values) -> dict[str, str] | None:
    headers = values.get("headers")
    if headers is None:
        return None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise MalformedError(f"'headers' is not an object of texts; {_HINT}")
    return headers


def _lifted(values: Values, properties: Values) -> dict[str, bytes] | None:
    """Take the lifted properties out of the others."""
    names = values.get("lifted")
    if names is None:
        return None
    is_good = isinstance(names, list) and all(isinstance(name, str) and name in properties for name in names)
    if not is_good or len(set(names)) < len(names):
        raise MalformedError(f"'lifted' does not name properties; {_HINT}")
    return {name: orjson.dumps(properties.pop(name)) for name in names}
