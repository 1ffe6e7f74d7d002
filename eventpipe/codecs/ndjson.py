"""One JSON object per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpipe.codecs.base import join_events
from eventpipe.codecs.json import JsonCodec
from eventpipe.contracts import Request

if TYPE_CHECKING:
    from eventpipe.events import Batch


class NdjsonCodec(JsonCodec):
    """Writes a batch as one event object per line, each line ended by a newline, the last included.

    The objects, limits and arguments are those of ``JsonCodec``.
    """

    _headers = {"Content-Type": "application/x-ndjson"}  # noqa: RUF012 - never changed

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; all attempts are alike."""
        del attempt, now
        return Request("", self._headers, join_events(batch.events, b"", b"\n", b"\n"))
