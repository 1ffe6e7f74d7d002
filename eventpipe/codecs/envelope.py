"""The parts of a captured event as bytes, for formats that put them elsewhere; nothing is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from eventpipe.events import DISTINCT_ID_AT, TIMESTAMP_AT, UUID_AT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.events import CapturedEvent

# In a string of JSON every quote has a backslash before it: neither can be part of a name or an id.
_EVENT = b',"event":'
_PROPERTIES = b',"properties":{'


class Envelope(NamedTuple):
    """What a captured event is made of.

    Attributes:
        uuid: 36 characters, without quotes.
        timestamp: 27 characters, without quotes.
        distinct_id: JSON: a string, or null.
        event: JSON: a string.
        members: The properties, lifted ones included: ``"name":value`` with commas between, without the braces.
    """

    uuid: bytes
    timestamp: bytes
    distinct_id: bytes
    event: bytes
    members: bytes


def split(event: CapturedEvent) -> Envelope:
    """Take a captured event apart."""
    data = event.data
    event_at = data.index(_EVENT, DISTINCT_ID_AT)
    properties_at = data.index(_PROPERTIES, event_at)
    members = data[properties_at + len(_PROPERTIES) :]
    lifted = event.extra.lifted if event.extra else None
    if lifted:
        outside = as_members(lifted)
        members = members + b"," + outside if members else outside
    return Envelope(
        data[UUID_AT],
        data[TIMESTAMP_AT],
        data[DISTINCT_ID_AT:event_at],
        data[event_at + len(_EVENT) : properties_at],
        members,
    )


def as_members(values: Mapping[str, bytes]) -> bytes:
    """Names and values, each value as JSON, without the braces of an object around them."""
    return b",".join([orjson.dumps(name) + b":" + value for name, value in values.items()])
