"""The body that exporters of feature flags send: ``{"meta", "events"}``."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import orjson

from eventpipe.codecs.base import MAX_EVENT_BYTES, MIB, HttpCodec
from eventpipe.codecs.envelope import split
from eventpipe.contracts import Request

if TYPE_CHECKING:
    from eventpipe.clock import Clock
    from eventpipe.events import Batch, CapturedEvent

MAX_BATCH_BYTES = 20 * MIB

# The members of an event that are not its properties.
OWN_MEMBERS: Final = (
    "kind", "contextKind", "userKey", "creationDate", "uuid", "timestamp", "partitionKey", "headers", "properties"
)  # fmt: skip
_CLASH = re.compile(b'"(?:' + "|".join(OWN_MEMBERS).encode() + b')":')
_NOBODY = (b"null", b'""')


class FeatureFlags(HttpCodec):
    """Writes a batch as a webhook exporter of feature flags does: ``{"meta": {…}, "events": […]}``.

    An event's properties stand beside its own members, as ``key``, ``variation``, ``value``, ``default``, ``version``
    and ``source`` do for the use of a flag. Its own are ``kind`` (its name), ``contextKind`` (``"anonymousUser"`` where
    it is about nobody, else ``"user"``), ``userKey`` (``distinct_id``), ``creationDate`` (seconds since the epoch),
    ``uuid``, ``timestamp``, and where the caller gave them ``partitionKey`` (``key``) and ``headers``.

    A property that has the name of one of these is in the member ``properties``, so that nothing is lost; one called
    ``contextKind`` takes the place of ours as well. With ``HubWebhook`` or ``WebhookSink(…, scheme="hub")`` the body is
    signed.

    Args:
        meta: What the receiver is told of the sender; JSON values by name. ``None`` means only ``hostname``, which is
            that of this machine unless given.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Raises:
        ValueError: ``meta`` is no mapping of names to JSON values.

    Source: go-feature-flag, webhook exporter.
    """

    _headers = {"Content-Type": "application/json"}  # noqa: RUF012 - never changed

    def __init__(self, meta: Mapping[str, object] | None = None, *, clock: Clock | None = None) -> None:
        super().__init__(max_event_bytes=MAX_EVENT_BYTES, max_batch_bytes=MAX_BATCH_BYTES, clock=clock)
        self._opening = b'{"meta":' + _encoded(meta) + b',"events":['

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; all attempts are alike."""
        del attempt, now
        return Request("", self._headers, self._opening + b",".join(map(_written, batch.events)) + b"]}")

    def __repr__(self) -> str:
        return "FeatureFlags()"


def _encoded(meta: object) -> bytes:
    if meta is not None and not isinstance(meta, Mapping):
        raise ValueError(f"meta must be a mapping of names to JSON values or None, not {type(meta).__name__}")
    try:
        return orjson.dumps({"hostname": socket.gethostname(), **(meta or {})})
    except TypeError:  # of orjson, and of names that are no strings
        raise ValueError("meta must have strings for names and JSON values only (they are not shown)") from None


def _written(event: CapturedEvent) -> bytes:
    uuid, timestamp, distinct_id, name, members = split(event)
    context_kind = b'"anonymousUser"' if distinct_id in _NOBODY else b'"user"'
    tail = b""
    if _CLASH.search(members):
        beside = orjson.loads(b"{" + members + b"}")
        apart = {member: beside.pop(member) for member in OWN_MEMBERS if member in beside}
        members, tail = orjson.dumps(beside)[1:-1], b',"properties":' + orjson.dumps(apart) if apart else b""
        if isinstance(apart.get("contextKind"), str):
            context_kind = orjson.dumps(apart["contextKind"])
    extra = event.extra
    if extra is not None and extra.key is not None:
        tail += b',"partitionKey":' + orjson.dumps(extra.key)
    if extra is not None and extra.headers:
        tail += b',"headers":' + orjson.dumps(dict(extra.headers))
    created = math.floor(datetime.fromisoformat(timestamp.decode()).timestamp())
    return b'{"kind":%b,"contextKind":%b,"userKey":%b,"creationDate":%d,"uuid":"%b","timestamp":"%b"%b%b}' % (
        name, context_kind, distinct_id, created, uuid, timestamp, b"," + members if members else b"", tail
    )  # fmt: skip
