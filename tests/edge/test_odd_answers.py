"""Far ends that answer oddly: resets, garbage, old versions, unknown statuses, more answers than requests."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import OutcomeKind
from tests.edge.conftest import Record
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import OK, Peer, RawServer, Script, answer, head
from tests.edge.rows import Row

ROW = Row.ODD
pytestmark = [pytest.mark.wallclock, pytest.mark.asyncio]


async def reset(peer: Peer) -> None:
    peer.reset()


def then_reset(data: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.say(data)
        peer.reset()

    return script


def then_close(data: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.say(data)
        peer.close()

    return script


def in_parts(*parts: bytes) -> Script:
    async def script(peer: Peer) -> None:
        for part in parts:
            await peer.say(part)

    return script


ACCEPTED: dict[str, tuple[Script, list[int]]] = {
    # and on which connections it and the two requests after it came
    "200 then RST": (then_reset(head(200, size=100) + b"x" * 50), [1, 2, 2]),
    "200 without a body then RST": (then_reset(OK), [1, 2, 2]),
    "200 whose head is all, then RST": (then_reset(head(200, size=100)), [1, 2, 2]),
    "200 in chunks then RST": (then_reset(head(200, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n"), [1, 2, 2]),
    "200 whose chunks are none": (then_close(head(200, "Transfer-Encoding: chunked") + b"no chunk\r\n\r\n"), [1, 2, 2]),
    "200 with half a body": (then_close(head(200, size=100) + b"x" * 50), [1, 2, 2]),
    "200 without a length": (then_close(head(200) + b"x" * 50), [1, 2, 2]),
    "HTTP/1.0": (then_close(b"HTTP/1.0 200 OK\r\n\r\nfine"), [1, 2, 2]),
    "HTTP/1.0 kept open": (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine", [1, 2, 2]),
    "HTTP/1.0 keep-alive": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nfine", [1, 1, 1]),
    "201": (answer(201, b"made"), [1, 1, 1]),
    "204": (head(204), [1, 1, 1]),
    "204 with a body": (head(204, size=5) + b"hello", [1, 2, 2]),
    "206": (answer(206, b"part", "Content-Range: bytes 0-3/9"), [1, 1, 1]),
    "226": (answer(226), [1, 1, 1]),
    "299": (answer(299), [1, 1, 1]),
    "two answers at once": (OK + OK, [1, 2, 2]),
    "two answers at once, the second 503": (OK + answer(503), [1, 2, 2]),
    "an answer and garbage": (OK + b"\x00\xff garbage", [1, 2, 2]),
    "100-continue, once": (head(100) + OK, [1, 1, 1]),
    "100-continue, 100 times": (head(100) * 100 + OK, [1, 1, 1]),
    "102 and 103, then 200": (head(102) + head(103, "Link: </x>") + OK, [1, 1, 1]),
    "one byte after another": (in_parts(*(bytes([byte]) for byte in OK)), [1, 1, 1]),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_a_2xx_that_was_seen_is_delivered_once(case: str, way: str, pipeline: Pipelines, record: Record) -> None:
    """The far end has the batch and said so; however the rest fares, it is sent once, and the next ones arrive."""
    script, connections = ACCEPTED[case]
    async with RawServer(script) as server, pipeline(server.url) as pipe:
        outcomes = [*await pipe.outcomes(), *await pipe.outcomes(), *await pipe.outcomes()]

        assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * 3
        sent = [uuid for request in server.requests for uuid in request.uuids]
        assert sent == [uuid for outcome in outcomes for uuid in outcome.uuids]
        assert server.connections == connections
        record(case + way, copies=sent.count(sent[0]), attempts=len(sent), connections=server.connections)


REFUSED: dict[str, tuple[Script, str]] = {
    # and the reason that is told for the attempt
    "RST before a status": (reset, "network"),
    "closed before a status": (then_close(b""), "network"),
    "RST amid the status line": (then_reset(b"HTTP/1.1 2"), "network"),
    "closed amid the status line": (then_close(b"HTTP/1.1 2"), "network"),
    "closed amid the headers": (then_close(b"HTTP/1.1 200 OK\r\nContent-Le"), "network"),
    "garbage": (b"\x00\x01\x02\xff this is no HTTP\r\n\r\n", "network"),
    "garbage of 1 MiB": (then_close(b"x" * 2**20), "network"),
    "an answer in SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "network"),
    "an answer in TLS": (b"\x15\x03\x03\x00\x02\x02\x46", "network"),
    "an empty line": (then_close(b"\r\n\r\n"), "network"),
    "HTTP/0.9": (then_close(b"<html>fine</html>"), "network"),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", "network"),
    "a preface of HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "network"),
    "status of letters": (b"HTTP/1.1 two OK\r\n\r\n", "network"),
    "status without digits": (b"HTTP/1.1  OK\r\n\r\n", "network"),
    "status 99": (b"HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n", "network"),
    "status 999": (answer(999), "network"),
    "status 600": (answer(600), "network"),
    "status 0": (b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", "network"),
    "status -200": (b"HTTP/1.1 -200 OK\r\nContent-Length: 0\r\n\r\n", "network"),
    "status 2000": (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "network"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "network"),
    "a negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "network"),
    "a length of letters": (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "network"),
    "a length of 40 digits": (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n", "network"),
    "a header without a name": (b"HTTP/1.1 200 OK\r\n: x\r\n\r\n", "network"),
    "NUL in a header": (b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 0\r\n\r\n", "network"),
    "503 then RST": (then_reset(head(503, size=100) + b"x" * 50), "status_503"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_without_a_status_the_same_ids_go_again(case: str, way: str, pipeline: Pipelines, record: Record) -> None:
    """Nobody knows whether the far end has the batch, so it goes again as it was, over a new connection."""
    script, reason = REFUSED[case]
    async with RawServer(script) as server, pipeline(server.url, timeout=1.0) as pipe:
        (outcome,) = await pipe.outcomes()

        assert (outcome.kind, outcome.attempt) == (OutcomeKind.DELIVERED, 2)
        assert pipe.reasons == [reason]
        assert [request.uuids for request in server.requests] == [list(outcome.uuids)] * 2
        assert server.requests[0].body == server.requests[1].body
        assert server.connections == [1, 2]
        record(case + way, copies=2, attempts=2, connections=server.connections)


DEAD: dict[str, Script] = {name: REFUSED[name][0] for name in ("RST before a status", "closed before a status")}


@pytest.mark.parametrize("case", DEAD)
async def test_a_kept_alive_connection_found_dead_costs_no_attempt(
    case: str, pipeline: Pipelines, record: Record
) -> None:
    """It goes again at once; where the new connection dies as well, that is a failed attempt."""
    async with RawServer(OK, DEAD[case]) as server, pipeline(server.url) as pipe:
        outcomes = [*await pipe.outcomes(), *await pipe.outcomes()]

        assert [(outcome.kind, outcome.attempt) for outcome in outcomes] == [(OutcomeKind.DELIVERED, 1)] * 2
        assert (pipe.reasons, server.connections) == ([], [1, 1, 2])
        record(f"{case}, kept alive", copies=2, attempts=1, connections=server.connections)


@pytest.mark.parametrize("late", ["503", "200", "garbage"])
async def test_what_comes_unasked_answers_no_later_request(
    late: str, way: str, pipeline: Pipelines, record: Record
) -> None:
    """A second answer to one request, sent when that was settled, is not taken for the answer to the next one."""
    unasked = {"503": answer(503), "200": OK, "garbage": b"\x00 garbage"}[late]
    said = asyncio.Event()

    async def answers_twice(peer: Peer) -> None:
        await peer.say(OK)
        await first.wait()
        await peer.say(unasked)
        said.set()

    first = asyncio.Event()
    async with RawServer(answers_twice) as server, pipeline(server.url) as pipe:
        outcomes = await pipe.outcomes()
        first.set()
        await said.wait()
        await asyncio.sleep(0.01)  # until it has come
        outcomes += await pipe.outcomes()

    assert [(outcome.kind, outcome.attempt) for outcome in outcomes] == [(OutcomeKind.DELIVERED, 1)] * 2
    assert pipe.reasons == []
    assert server.connections == [1, 2]
    record(f"unasked: {late}{way}", copies=1, connections=server.connections)
