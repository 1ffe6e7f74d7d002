"""How the far end counts the events in a body, and what it answers, for each wire that a subject speaks.

Counting looks for bytes that every event has once. Where the wire is JSON these are a key with its quotes, and a quote
inside a string is escaped there, so that they stand for that key alone; no measured event has a property of that name,
and no library adds one. OTLP has the key with its protobuf tag and length before it, and no string of a measured event
holds these control characters.

Where a library makes an id for each event, that is the event's id. Logs have none: the drivers of those libraries give
each record an attribute ``number``, which no other has, in no process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


def _answer(content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass(frozen=True, slots=True)
class Wire:
    """One way of sending events over HTTP. Bodies are read as they were before compression.

    Attributes:
        marker: What each event has exactly once.
        id: Its id, as the only group.
        answer: The whole response that says that all events were accepted.
        verdict: What the body of the response says of each event, around its id; ``None`` where it says nothing of
            them, and ``answer`` is all of it.
    """

    marker: bytes
    id: re.Pattern[bytes]
    answer: bytes
    verdict: tuple[bytes, bytes] | None = None

    def count(self, body: bytes) -> int:
        """The events in a body, repeated ones included."""
        return body.count(self.marker)

    def ids(self, body: bytes) -> list[bytes]:
        """The ids of the events in a body, in its order."""
        return self.id.findall(body)

    def accept(self, body: bytes) -> bytes:
        """The whole response that accepts the events of a body."""
        return self.answer if self.verdict is None else _verdicts(self.ids(body), *self.verdict)


def _verdicts(ids: Sequence[bytes], before: bytes, after: bytes) -> bytes:
    # In the order of the events and without spaces, as PostHog's own service writes them (rust/capture of its public
    # source, v1/analytics/response.rs).
    by_id = b",".join([before + id + after for id in ids])  # noqa: A001 - as the events have it
    return _answer("application/json", b'{"results":{' + by_id + b"}}")


def _json(key: str, answer: bytes) -> Wire:
    """A wire whose bodies are the standard library's JSON, with a space after each colon."""
    marker = f'"{key}": "'.encode()
    return Wire(marker, re.compile(marker + rb'([^"]+)"'), _answer("application/json", answer))


# A JSON array of objects without spaces; each begins with its id.
OWN = Wire(b'{"uuid":"', re.compile(rb'\{"uuid":"([^"]+)"'), _answer("application/json", b"{}"))
# With a space after the colon from posthog's own library, without one from eventpipe.
POSTHOG = Wire(b'"uuid":', re.compile(rb'"uuid": ?"([^"]+)"'), _answer("application/json", b'{"status":"Ok"}'))
POSTHOG_V1 = Wire(POSTHOG.marker, POSTHOG.id, b"", verdict=(b'"', b'":{"result":"ok"}'))
# One event a request, whose id stands behind its data.
WEBHOOK = Wire(b',"uuid":"', re.compile(rb',"uuid":"([^"]+)"'), _answer("application/json", b"{}"))
SEGMENT = _json("messageId", b'{"success": true}')
AMPLITUDE = _json("insert_id", b'{"code":200}')
# An attribute is an object with a value and a type.
SENTRY = Wire(b'"number":{"value":', re.compile(rb'"number":\{"value":(\d+)'), _answer("application/json", b"{}"))
# A KeyValue: field 1, the key, of six bytes; field 2, an AnyValue of some length, whose field 3 is the integer. The
# empty body is an ExportLogsServiceResponse that rejects nothing.
OTLP = Wire(
    b"\n\x06number",
    re.compile(rb"\n\x06number\x12.\x18([\x80-\xff]*[\x00-\x7f])", re.DOTALL),
    _answer("application/x-protobuf", b""),
)

PATHS = {
    b"/batch/": POSTHOG,
    b"/webhooks": WEBHOOK,
    b"/i/v1/analytics/events": POSTHOG_V1,
    b"/v1/batch": SEGMENT,
    b"/2/httpapi": AMPLITUDE,
    b"/api/1/envelope/": SENTRY,
    b"/v1/logs": OTLP,
}


def of(path: bytes) -> Wire:
    """The wire that is spoken at a path: those of other libraries have theirs, ours has any other."""
    return PATHS.get(path, OWN)
