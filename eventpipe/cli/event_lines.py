"""An event of a log as a line: in full for programs, at a glance for people."""

from __future__ import annotations

import base64

import orjson

from eventpipe.cli.failures import one_line
from eventpipe.cli.glance import glance
from eventpipe.clock import format_stamp
from eventpipe.codecs.base import whole
from eventpipe.events import CapturedEvent
from eventpipe.stores.values import StoredEvent


def full_line(stored: StoredEvent) -> bytes:
    """The event in our own form, and after it what the log knows of it; without a line break.

    ``offset`` and ``appended_at`` are the log's; ``lane`` and ``lifted``, the names of properties that a codec wanted
    outside of the others, are the event's where it has them. What cannot be turned into an event is ``fault`` and
    ``raw``, in base64.
    """
    place: dict[str, object] = {"offset": stored.offset, "appended_at": format_stamp(stored.appended_at)}
    event = stored.event
    if event is None:
        return orjson.dumps({**place, "fault": stored.fault, "raw": base64.b64encode(stored.raw).decode()})
    if event.lane is not None:
        place["lane"] = event.lane
    if event.extra is not None and event.extra.lifted:
        place["lifted"] = list(event.extra.lifted)
    return whole(event)[:-1] + b"," + orjson.dumps(place)[1:]


def glanced_line(stored: StoredEvent) -> str:
    """``12  2026-01-31T09:05:00.000000Z  paid u1 {"sum":5}``: the offset, when it was appended, and a glance at it."""
    event = stored.event
    said = one_line(f"(cannot be read: {stored.fault})") if event is None else at_a_glance(event)
    return f"{stored.offset}  {format_stamp(stored.appended_at)}  {said}"


def at_a_glance(event: CapturedEvent) -> str:
    """The name of an event, whom it is about, and what it says, as far as it fits."""
    return glance({"event": event.name, "distinct_id": event.distinct_id, "properties": event.properties})
