"""One line that tells of an event: what it is called, of whom it is, and what it says."""

from __future__ import annotations

import orjson

from eventpipe.cli.failures import one_line
from eventpipe.cli.wires.base import Event

MAX_GLANCE = 160  # characters: two rows of a terminal


def glance(event: Event) -> str:
    """``signed_up u1 {"plan":"pro"}``: the name, the ``distinct_id`` and the properties, as far as there are any.

    At most 160 characters, and none that a terminal obeys.
    """
    parts = [event["event"]]
    if event.get("distinct_id"):
        parts.append(str(event["distinct_id"]))
    if event.get("properties"):
        parts.append(_json(event["properties"]))
    line = one_line(" ".join(parts))
    return line if len(line) <= MAX_GLANCE else line[: MAX_GLANCE - 1] + "…"


def _json(properties: object) -> str:
    try:
        return orjson.dumps(properties).decode()
    except orjson.JSONEncodeError:  # read at a depth that it cannot be written at
        return "{…}"
