"""A codec of one's own: the bulk API of Elasticsearch and OpenSearch, which answers for each event."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import orjson

from eventpipe import Batch, DropReason, OutcomeKind, Request, SinkError, TransientSinkError, Verdict
from eventpipe.codecs import HttpCodec


class BulkCodec(HttpCodec):
    """Makes a document of each event, with the event's id, so that no further attempt makes a second one."""

    max_batch_events = 500  # an answer has up to 80 bytes for each, and a sink reads 64 KiB of it

    def __init__(self, index: str) -> None:
        super().__init__(max_event_bytes=1024 * 1024, max_batch_bytes=10 * 1024 * 1024)
        self._url = f"/{quote(index, safe='')}/_bulk?filter_path=items.*.status,items.*.error.type"
        self._headers = {"Content-Type": "application/x-ndjson"}

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write two lines for each event: what to do, and the document."""
        body = b"".join(
            b'{"create":{"_id":"%b"}}\n{"@timestamp":"%b",%b\n'
            % (event.uuid.encode(), event.timestamp.isoformat().encode(), event.json[1:])
            for event in batch.events
        )
        return Request(self._url, self._headers, body)

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        """Read a verdict for each event, in their order."""
        if status != 200:
            return super().response(batch, status, headers, body, complete)
        if not complete:
            return TransientSinkError("the answer was cut off", reason="network", status=status)
        try:
            answer = orjson.loads(body)
        except ValueError:
            answer = None
        match answer:
            case {"items": [*items]} if len(items) == len(batch.events):
                return [judge(item) for item in items]
        return [judge(None) for _ in batch.events]


def judge(item: object) -> Verdict:
    """Say what became of one event."""
    match item:
        case {"create": {"status": 201 | 409}}:  # made now, or by an attempt whose answer was lost
            return Verdict(OutcomeKind.DELIVERED)
        case {"create": {"status": 429 | 503}}:
            return Verdict(OutcomeKind.RETRY, reason="busy")
        case {"create": {"error": {"type": str(word)}}}:  # its reason would quote the document
            return Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, detail=word[:100])
    return Verdict(OutcomeKind.DROPPED, DropReason.UNANSWERED)
