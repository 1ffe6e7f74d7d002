"""One event as the payload of a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from eventpipe.codecs.base import MAX_EVENT_BYTES, MIB, HttpCodec
from eventpipe.codecs.envelope import split
from eventpipe.contracts import Request

if TYPE_CHECKING:
    from eventpipe.events import Batch, CapturedEvent

MAX_BATCH_BYTES = 20 * MIB


class WebhookCodec(HttpCodec):
    """Writes one event a request, as ``{"type", "timestamp", "data", "uuid", "distinct_id"}``, signed by nobody.

    ``type`` is the event's name and ``data`` its properties; ``key`` and ``headers`` follow where the caller gave
    them, so that nothing of the event is lost. A batch of several, which no client makes of it, is an array of them.

    Source: Standard Webhooks 1.0, payload structure.
    """

    max_batch_events = 1
    _headers = {"Content-Type": "application/json"}  # noqa: RUF012 - never changed

    def __init__(self) -> None:
        super().__init__(max_event_bytes=MAX_EVENT_BYTES, max_batch_bytes=MAX_BATCH_BYTES)

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; all attempts are alike."""
        del attempt, now
        payloads = b",".join(map(_payload, batch.events))
        return Request("", self._headers, payloads if len(batch.events) == 1 else b"[" + payloads + b"]")

    def __repr__(self) -> str:
        return "WebhookCodec()"


def _payload(event: CapturedEvent) -> bytes:
    uuid, timestamp, distinct_id, name, members = split(event)
    tail = b""
    if event.extra is not None and event.extra.key is not None:
        tail = b',"key":' + orjson.dumps(event.extra.key)
    if event.extra is not None and event.extra.headers:
        tail += b',"headers":' + orjson.dumps(dict(event.extra.headers))
    return b'{"type":%b,"timestamp":"%b","data":{%b},"uuid":"%b","distinct_id":%b%b}' % (
        name, timestamp, members, uuid, distinct_id, tail
    )  # fmt: skip
