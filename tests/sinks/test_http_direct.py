"""Requests that go past aiohttp's session: the same bytes, and none where somebody looks on."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from eventpipe.codecs import JsonCodec
from eventpipe.contracts import Request
from eventpipe.errors import PermanentSinkError
from eventpipe.events import Batch
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch, make_event
from eventpipe.testing.exchange import Received, Reply
from eventpipe.testing.server import ScriptedServer

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

HEADERS = {"X-Key": "k", "host": "collector.example:81"}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of requests that went through a session, as a mock or an instrument of aiohttp sees them."""
    methods: list[str] = []
    original = aiohttp.ClientSession._request

    @functools.wraps(original)
    async def watched(
        session: aiohttp.ClientSession, method: str, *args: Any, **options: Any
    ) -> aiohttp.ClientResponse:
        methods.append(method)
        return await original(session, method, *args, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", watched)
    return methods


async def sent(url: str, server: ScriptedServer, **options: Any) -> Received:
    """What the far end reads of one batch."""
    sink = HttpSink(url, **options)
    await sink.send(make_batch(3))
    await sink.aclose()
    return server.requests[-1]


@pytest.mark.parametrize("path", ["", "/", "/collect", "/collect?key=a%20b&x=ü", "/a//b;c/é"])
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("headers", [None, HEADERS], ids=["plain", "headers"])
async def test_a_request_is_the_same_past_the_session_and_through_it(
    path: str, compression: str | None, headers: Mapping[str, str] | None, request: pytest.FixtureRequest
) -> None:
    """Method, target, every header and the body."""
    async with ScriptedServer() as server:
        options = {"compression": compression, "headers": headers}
        url = server.url.rstrip("/") + path
        past = await sent(url, server, **options)
        seen: list[str] = request.getfixturevalue("seen")
        through = await sent(url, server, **options)

        assert seen == ["POST"]
        assert (past.method, past.path, past.headers) == (through.method, through.path, through.headers)
        assert len(past.raw) == int(past.headers["content-length"])
        assert [event["event"] for event in past.events] == [event["event"] for event in through.events]


async def test_what_stands_in_for_aiohttp_is_asked_also_when_it_comes_later(seen: list[str]) -> None:
    """A mock begins and ends while a sink lives; its requests go the way that it watches, and only then."""
    async with ScriptedServer() as server:
        sink = HttpSink(server.url)
        await sink.send(make_batch())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aiohttp.ClientSession, "_request", aiohttp.ClientSession._request.__wrapped__)  # type: ignore[attr-defined]
            await sink.send(make_batch())
        await sink.send(make_batch())
        await sink.aclose()

        assert (seen, len(server.requests), server.connections) == (["POST", "POST"], 3, 1)


async def test_instruments_that_give_sessions_traces_are_told_of_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of tracing libraries do, which patch the constructor of sessions."""
    told: list[str] = []
    trace = aiohttp.TraceConfig()

    async def on_start(
        session: aiohttp.ClientSession, context: object, started: aiohttp.TraceRequestStartParams
    ) -> None:
        told.append(started.method)

    trace.on_request_start.append(on_start)
    original = aiohttp.ClientSession.__init__
    monkeypatch.setattr(
        aiohttp.ClientSession,
        "__init__",
        lambda session, *args, **options: original(session, *args, trace_configs=[trace], **options),
    )
    async with ScriptedServer() as server:
        await sent(server.url, server)
        await sent(server.url, server)

        assert (told, len(server.requests)) == (["POST", "POST"], 2)


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[str]:
    """Answers the head of every request with the same bytes, whatever they are."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@pytest.mark.parametrize("way", ["past", "through"])
async def test_interim_answers_are_passed_over(way: str, request: pytest.FixtureRequest) -> None:
    """The status of a request is the first one from 200 on."""
    if way == "through":
        request.getfixturevalue("seen")
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with raw_server(interim + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
        sink = HttpSink(url)
        with pytest.raises(PermanentSinkError) as caught:
            await sink.send(make_batch())
        await sink.aclose()

    assert caught.value.status == 404


async def test_a_large_body_and_small_ones_share_connections() -> None:
    """What is large goes through the session, piece by piece, on the same kept-alive connection."""
    large = make_batch([make_event(properties={"text": "x" * 700_000}) for _ in range(2)])
    async with ScriptedServer() as server:
        sink = HttpSink(server.url, compression=None)
        for batch in (make_batch(), large, make_batch()):
            await sink.send(batch)
        await sink.aclose()

        assert (server.connections, [len(request.events) for request in server.requests]) == (1, [1, 2, 1])


class OddCodec(JsonCodec):
    """Wants headers of its own."""

    def __init__(self, headers: Any) -> None:
        super().__init__()
        self._wanted = headers

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        return Request("", self._wanted, b"[]")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "one\r\nX-B: two"},
        {"X-A": "one\nX-B: two"},
        {"X-A: b\r\nX": "c"},
        {"X A": "b"},
        {"X-A": 5},
        {7: "b"},
        {"X-A": "ü"},
        {"Content-Length": "3"},
        {"transfer-encoding": "chunked"},
    ],
    ids=repr,
)
async def test_a_codecs_headers_cannot_break_a_request(headers: Any) -> None:
    """They are refused with their name, and without their value, before anything is sent."""
    async with ScriptedServer() as server:
        sink = HttpSink(server.url, OddCodec(headers))
        with pytest.raises(PermanentSinkError, match="the codec's headers") as caught:
            await sink.send(make_batch())
        await sink.aclose()

        assert (caught.value.scope, server.requests) == ("sink", [])
        assert "two" not in str(caught.value)


async def test_a_far_end_that_switches_protocols_is_a_wrong_configuration_of_nobody_else() -> None:
    """A 101 that nobody asked for ends the connection; the next batch gets a new one."""
    async with ScriptedServer(Reply(101, {"Upgrade": "x", "Connection": "upgrade"})) as server:
        sink = HttpSink(server.url)
        with pytest.raises(PermanentSinkError, match="101"):
            await sink.send(make_batch())
        await sink.send(Batch("id", None, (make_event(),), 0.0, 1))
        await sink.aclose()

        assert server.connections == 2
