"""CloudEvents 1.0 in batch, structured and binary mode, at every path."""

from __future__ import annotations

from eventpipe.cli.wires.base import Asked, Judge, RefusedError, Taken, Wire, accepted, in_own_form
from eventpipe.codecs import read_cloudevents

_FAMILY = "application/cloudevents"
_BATCH = f"{_FAMILY}-batch"


class CloudEventsWire(Wire):
    """Told by content type, or by the attributes in its headers."""

    max_body_bytes = 20 * 1024 * 1024  # what read_cloudevents() takes

    def claims(self, asked: Asked) -> bool:
        """By the content type, or by the one attribute that every event has in its headers in binary mode."""
        return asked.content_type.startswith(_FAMILY) or "ce-specversion" in asked.headers

    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read the events of a request; what they have and ours have not is kept in headers."""
        del judge
        try:
            events = [in_own_form(event) for event in read_cloudevents(asked.headers, body)]
        except ValueError as error:
            raise RefusedError(400, str(error)) from error
        return Taken(f"cloudevents-{_mode(asked.content_type)}", events, accepted(len(events)))


def _mode(content_type: str) -> str:
    if content_type.startswith(_BATCH):
        return "batch"
    return "structured" if content_type.startswith(_FAMILY) else "binary"
