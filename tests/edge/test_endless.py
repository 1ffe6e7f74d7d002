"""Far ends that never come to an end: endless bodies and heads, huge lengths, drips."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe import Batch, OutcomeKind
from eventpipe.codecs import JsonCodec
from eventpipe.sinks.http_connectors import Protocol
from tests.edge.conftest import Record
from tests.edge.pipeline import PATIENT, Pipelines
from tests.edge.raw_server import Peer, RawServer, Script, head
from tests.edge.rows import Row

ROW = Row.ENDLESS
pytestmark = [pytest.mark.wallclock, pytest.mark.asyncio]

KIB = 1024
TIMEOUT = 0.4
GRACE = 0.1  # beyond the timeout, and beyond what the machine itself is late
OTHERS = 20
# Of a body 64 KiB are kept. From the socket comes as much again, which aiohttp reads ahead, and the marks of chunks.
MAX_KEPT = 64 * KIB
MAX_READ = 8 * MAX_KEPT


def then(first: bytes, again: bytes = b"", interval: float | None = None) -> Script:
    """Say ``first``; then ``again`` without end, or a byte of it each ``interval``, or nothing."""

    async def script(peer: Peer) -> None:
        await peer.say(first)
        if interval is not None:
            await peer.drip(again, interval)
        elif again:
            await peer.repeat(again)
        else:
            await peer.stall()

    return script


CHUNKED = head(200, "Transfer-Encoding: chunked")
HUGE = 10 * 2**30
CASES = {
    "endless body without a length": then(head(200), b"x" * 65536),
    "endless body in chunks": then(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    "endless body in chunks of a byte": then(CHUNKED, b"1\r\nx\r\n" * 5000),
    "endless body of a 503": then(head(503), b"x" * 65536),
    "Content-Length of 10 GiB": then(head(200, size=HUGE), b"x" * 65536),
    "Content-Length of 10 GiB and silence": then(head(200, size=HUGE)),
    "chunk of 10 GiB": then(CHUNKED + b"280000000\r\n", b"x" * 65536),
    "endless chunk extension": then(CHUNKED + b"5;", b"x" * 65536),
    "endless trailers": then(CHUNKED + b"0\r\n", b"X-A: b\r\n" * 5000),
    "body of one byte a second": then(head(200, size=HUGE), b"x", 1.0),
    "body of a byte at a time": then(head(200, size=HUGE), b"x", 0.0),
    "endless headers": then(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 5000),
    "endless headers, one a second": then(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", 1.0),
    "endless header": then(b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 65536),
    "endless header, folded": then(b"HTTP/1.1 200 OK\r\nX-A: b\r\n", b" c\r\n" * 5000),
    "endless name of a header": then(b"HTTP/1.1 200 OK\r\n", b"X" * 65536),
    "endless reason": then(b"HTTP/1.1 200 ", b"O" * 65536),
    "endless status": then(b"HTTP/1.1 2", b"0" * 65536),
    "endless version": then(b"HTTP/1.", b"1" * 65536),
    "endless empty lines": then(b"", b"\r\n" * 30000),
    "endless spaces": then(b"", b" " * 65536),
    "status of one byte a second": then(b"", b"HTTP/1.1 200 OK\r\n\r\n", 1.0),
    "100-continue without end": then(b"", head(100) * 2000),
    "100-continue a few at a time": then(b"", head(100), 0.0),
    "103 with headers without end": then(b"", head(103, "Link: </a>", "Link: </b>") * 1000),
    "silence": then(b""),
    "half a head and silence": then(b"HTTP/1.1 200 OK\r\nContent-"),
}


class Reading:
    """What came in from the far end.

    Attributes:
        total: Bytes that were read from its sockets.
        kept: Bytes of the longest body that a codec was given.
    """

    def __init__(self) -> None:
        self.total = 0
        self.kept = 0


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    """Counts what is read of any socket by an HTTP sink."""
    reading = Reading()
    original = Protocol.data_received

    def data_received(self: Protocol, data: bytes) -> None:
        reading.total += len(data)
        original(self, data)

    def response(self: JsonCodec, batch: Batch, status: int, headers: Any, body: bytes, complete: bool) -> Any:
        reading.kept = max(reading.kept, len(body))
        return judge(self, batch, status, headers, body, complete)

    judge = JsonCodec.response
    monkeypatch.setattr(Protocol, "data_received", data_received)
    monkeypatch.setattr(JsonCodec, "response", response)
    return reading


async def lateness(delay: float) -> float:
    """How much later than asked for this loop wakes after ``delay``: what the machine adds to every deadline."""
    loop = asyncio.get_running_loop()
    due = loop.time() + delay
    await asyncio.sleep(delay)
    return loop.time() - due


FLOODS = ("100-continue without end", "103 with headers without end")


@pytest.mark.parametrize("case", FLOODS)
async def test_a_flood_of_interim_answers_ends_the_attempt_long_before_its_timeout(
    case: str, pipeline: Pipelines, reading: Reading
) -> None:
    """To parse as many as are sent would hold up the loop: a few are waited for, as real far ends send them."""
    async with RawServer(CASES[case]) as server, pipeline(server.url, timeout=PATIENT, workers=1) as pipe:
        (outcome,) = await pipe.outcomes(1)

    assert outcome.kind is OutcomeKind.DELIVERED
    assert pipe.told[0].reason == "network"
    assert pipe.told[0].durations.send < PATIENT / 4
    assert reading.total <= MAX_READ


@pytest.mark.parametrize("case", CASES)
async def test_an_endless_answer_costs_one_attempt_and_nobody_else(
    case: str, pipeline: Pipelines, record: Record, reading: Reading
) -> None:
    """The attempt ends by its timeout, little was read of the answer, and a second worker delivers all the while."""
    async with RawServer(CASES[case]) as server, pipeline(server.url, timeout=TIMEOUT, workers=2) as pipe:
        lates = [asyncio.create_task(lateness(TIMEOUT))]  # due before the attempt's own timeout
        (first,) = await pipe.capture()
        await server.reached(1)
        lates.append(asyncio.create_task(lateness(TIMEOUT)))  # and after it
        loop = asyncio.get_running_loop()
        began = loop.time()
        others = await pipe.outcomes(OTHERS)
        others_took = loop.time() - began
        async with asyncio.timeout(PATIENT):
            outcome = await first.outcome()
        attempt = pipe.told[0] if pipe.told else outcome
        is_late = max(*await asyncio.gather(*lates), 0.0)

    assert [other.kind for other in others] == [OutcomeKind.DELIVERED] * OTHERS
    assert outcome.kind is OutcomeKind.DELIVERED
    assert attempt.durations.send <= TIMEOUT + GRACE + is_late
    assert others_took < PATIENT / 2
    assert reading.total <= MAX_READ
    assert reading.kept <= MAX_KEPT
    record(
        case,
        seconds=attempt.durations.send,
        KiB_read=reading.total // KIB,
        KiB_kept=reading.kept // KIB,
        reason=attempt.reason,
        others_delivered=len(others),
        others_seconds=others_took,
    )
