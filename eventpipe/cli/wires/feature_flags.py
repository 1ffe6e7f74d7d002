"""The body that exporters of feature flags send: ``{"meta", "events"}``."""

from __future__ import annotations

import datetime
from typing import Any

from eventpipe.cli.wires.base import Event, RefusedError, headers_or_none, own_form, rfc3339, text_or_none
from eventpipe.codecs.feature_flags import OWN_MEMBERS


def is_export(value: Any) -> bool:  # Any: JSON
    """Whether a body is of this form."""
    return isinstance(value, dict) and "meta" in value and "events" in value


def read_export(value: Event) -> list[Event]:
    """The events of a body, in our own form.

    Raises:
        RefusedError: 400, one of them is none.
    """
    events = value["events"]
    if not isinstance(events, list):
        raise RefusedError(400, "events is not an array")
    return [_own(index, event) for index, event in enumerate(events)]


def _own(index: int, event: Any) -> Event:  # Any: JSON
    """What stands beside an event's own members is its properties, and so is what has the name of one of them."""
    if not isinstance(event, dict):
        raise RefusedError(400, f"event {index} is not an object")
    name, who = event.get("kind"), event.get("userKey")
    if not isinstance(name, str) or not name:
        raise RefusedError(400, f"event {index} has no kind")
    if isinstance(who, bool) or not isinstance(who, str | int | None):
        raise RefusedError(400, f"event {index} has a userKey that is no text")
    apart = event.get("properties", {})
    if not isinstance(apart, dict):
        raise RefusedError(400, f"event {index} has properties that are not an object")
    properties = {member: value for member, value in event.items() if member not in OWN_MEMBERS} | apart
    distinct_id = None if who is None or who == "" else str(who)
    derived = "anonymousUser" if distinct_id is None else "user"
    if event.get("contextKind", derived) != derived:
        properties.setdefault("contextKind", event["contextKind"])
    return own_form(
        name,
        distinct_id,
        properties,
        uuid=text_or_none(event.get("uuid")),
        timestamp=_stamp(event),
        key=text_or_none(event.get("partitionKey")),
        headers=headers_or_none(event.get("headers")),
    )


def _stamp(event: Event) -> str | None:
    """Our own, or the whole seconds of those who have no other."""
    if isinstance(event.get("timestamp"), str):
        return str(event["timestamp"])
    created = event.get("creationDate")
    if isinstance(created, bool) or not isinstance(created, int | float):
        return None
    try:
        return rfc3339(datetime.datetime.fromtimestamp(created, datetime.UTC))
    except (ValueError, OverflowError, OSError):
        return None
