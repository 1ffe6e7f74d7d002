"""CloudEvents 1.0 in batch, structured and binary mode, at every path."""

from __future__ import annotations

import eventpipe
from eventpipe.cli.wires.base import (
    Asked,
    Event,
    Judge,
    RefusedError,
    Taken,
    Wire,
    accepted,
    check_values,
    own_form,
    rfc3339,
)
from eventpipe.codecs import read_cloudevents
from eventpipe.codecs.cloudevents_parts import FAMILY
from eventpipe.codecs.cloudevents_read import MAX_BODY_BYTES

_BATCH = f"{FAMILY}-batch"


class CloudEventsWire(Wire):
    """Told by content type, or by the attributes in its headers."""

    max_body_bytes = MAX_BODY_BYTES

    def claims(self, asked: Asked) -> bool:
        """By the content type, or by the one attribute that every event has in its headers in binary mode."""
        return asked.content_type.startswith(FAMILY) or "ce-specversion" in asked.headers

    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read the events of a request; what they have and ours have not is kept in headers."""
        del judge
        check_values(body, "the body")
        try:
            events = [_own(event) for event in read_cloudevents(asked.headers, body)]
        except ValueError as error:
            raise RefusedError(400, str(error)) from error
        return Taken(f"cloudevents-{_mode(asked.content_type)}", events, accepted(len(events)))


def _mode(content_type: str) -> str:
    if content_type.startswith(_BATCH):
        return "batch"
    return "structured" if content_type.startswith(FAMILY) else "binary"


def _own(event: eventpipe.Event) -> Event:
    return own_form(
        event.event,
        None if event.distinct_id is None else str(event.distinct_id),
        dict(event.properties or {}),
        uuid=str(event.uuid),
        timestamp=None if event.timestamp is None else rfc3339(event.timestamp),
        key=event.key,
        headers=event.headers,
    )
