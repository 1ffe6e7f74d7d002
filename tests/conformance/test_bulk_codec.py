"""The codec that the documentation shows keeps the contract; a template for codecs that live elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson
import pytest

from eventpipe import AsyncClient, Batch, CapturedEvent, OutcomeKind, Request, Verdict
from eventpipe.sinks import HttpSink
from eventpipe.testing import CodecContract, CodecRig, ReadEvent, Reply, ScriptedServer, make_batch
from examples.bulk_codec import BulkCodec

ITEMS: dict[OutcomeKind, object] = {
    OutcomeKind.DELIVERED: {"create": {"status": 201}},
    OutcomeKind.DROPPED: {"create": {"status": 400, "error": {"type": "document_parsing_exception"}}},
    OutcomeKind.RETRY: {"create": {"status": 429, "error": {"type": "es_rejected_execution_exception"}}},
}


def read(request: Request) -> list[ReadEvent]:
    """Read a request as the far end does: an action line, a document line, and so on, each ended."""
    assert request.headers["Content-Type"] == "application/x-ndjson"
    *lines, rest = request.body.split(b"\n")
    assert rest == b""
    return [
        read_document(orjson.loads(action), orjson.loads(document))
        for action, document in zip(lines[::2], lines[1::2], strict=True)
    ]


def read_document(action: dict[str, dict[str, str]], document: dict[str, object]) -> ReadEvent:
    assert action == {"create": {"_id": document["uuid"]}}
    happened = datetime.fromisoformat(str(document.pop("@timestamp")))
    assert datetime.fromisoformat(str(document["timestamp"])) == happened
    return ReadEvent(**{**document, "timestamp": happened})  # type: ignore[arg-type]  # the comparison looks


def expect(event: CapturedEvent) -> ReadEvent:
    """A document has no place for the key and the headers."""
    return ReadEvent.of(event).but(key=None, headers={})


def answer(batch: Batch, kinds: Sequence[OutcomeKind]) -> Reply:
    return Reply(200, body=orjson.dumps({"items": [ITEMS[kind] for kind in kinds]}))


class TestBulkCodec(CodecContract):
    @pytest.fixture
    def rig(self) -> CodecRig:
        return CodecRig(BulkCodec("events"), read, expect, answer)


def test_a_document_that_is_there_already_was_delivered() -> None:
    """The attempt whose answer was lost had made it."""
    body = orjson.dumps(
        {"items": [{"create": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}}]}
    )

    assert BulkCodec("events").response(make_batch(1), 200, {}, body, True) == [Verdict(OutcomeKind.DELIVERED)]


def test_the_longest_answer_fits_into_what_is_read() -> None:
    """A full batch that is refused whole, in the longest words that there are."""
    refused = {"create": {"status": 400, "error": {"type": "action_request_validation_exception"}}}

    assert len(orjson.dumps({"items": [refused] * BulkCodec.max_batch_events})) < 64 * 1024


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_one_bad_document_costs_no_other() -> None:
    """A client drops what was refused, sends again what met a busy far end, and delivers the rest."""
    kinds = [OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY]
    first, second = answer(make_batch(3), kinds), answer(make_batch(1), kinds[:1])
    async with ScriptedServer(first, second) as server:
        async with AsyncClient(HttpSink(server.url, BulkCodec("my events"))) as client:
            receipts = await client.capture_many(["made", "malformed", "delayed"])
            report = await client.flush(timeout=10)

        assert (report.delivered, report.dropped_by_reason) == (2, {"rejected": 1})
        assert [request.path.partition("?")[0] for request in server.requests] == ["/my%20events/_bulk"] * 2
        assert [(await receipt.outcome()).error for receipt in receipts] == [None, "document_parsing_exception", None]
