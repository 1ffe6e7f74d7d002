"""One JSON array per batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpipe.codecs.base import MAX_EVENT_BYTES, MIB, HttpCodec, join_events
from eventpipe.contracts import Request

if TYPE_CHECKING:
    from eventpipe.clock import Clock
    from eventpipe.events import Batch

# A body of this size is what common servers and proxies can be set to take; a batch is far smaller unless asked for.
MAX_BATCH_BYTES = 20 * MIB


class JsonCodec(HttpCodec):
    """Writes a batch as one JSON array of event objects.

    An object has ``uuid``, ``timestamp``, ``distinct_id``, ``event`` and ``properties``, and where the caller gave
    them ``key`` and ``headers``.

    Args:
        max_event_bytes: Largest event, in encoded bytes. ``None`` means 900 KiB.
        max_batch_bytes: Largest body, in bytes before compression. ``None`` means 20 MiB.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Raises:
        ValueError: A limit is wrong.
    """

    _headers = {"Content-Type": "application/json"}  # noqa: RUF012 - never changed; one object lets a sink prepare it once

    def __init__(
        self, *, max_event_bytes: int | None = None, max_batch_bytes: int | None = None, clock: Clock | None = None
    ) -> None:
        super().__init__(
            max_event_bytes=MAX_EVENT_BYTES if max_event_bytes is None else max_event_bytes,
            max_batch_bytes=MAX_BATCH_BYTES if max_batch_bytes is None else max_batch_bytes,
            clock=clock,
        )

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; all attempts are alike."""
        del attempt, now
        return Request("", self._headers, join_events(batch.events, b"[", b",", b"]"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
