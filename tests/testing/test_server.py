"""The scripted far end, spoken to over bare sockets."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import trustme

from eventpipe.testing.exchange import Behaviour, Received, Reply, gzip_bomb
from eventpipe.testing.leaks import Baseline
from eventpipe.testing.server import Answer, ScriptedServer

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

EVENTS = b'[{"uuid":"1"},{"uuid":"2"}]'
FAST = 0.001


class Client:
    """Speaks HTTP by hand, so that nothing repairs what the server does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def post(self, body: bytes = EVENTS, path: str = "/", **headers: str) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:])

    async def answer(self) -> tuple[int, bytes]:
        status, headers = await self.head()
        return status, await self.reader.readexactly(int(headers.get("content-length", 0)))


@asynccontextmanager
async def client_of(server: ScriptedServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=tls)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_replies_follow_the_script_and_then_the_default() -> None:
    """One reply per request, in the order in which requests are read, on one connection."""
    async with ScriptedServer(503, Reply(429, {"Retry-After": "2"}, b"slow"), default=204) as server:
        async with client_of(server) as client:
            seen = []
            for _ in range(4):
                client.post()
                seen.append(await client.answer())

        assert seen == [(503, b""), (429, b"slow"), (204, b""), (204, b"")]
        assert [request.connection for request in server.requests] == [1, 1, 1, 1]
        assert server.connections == 1


async def test_the_script_can_grow_and_the_default_change() -> None:
    """Later requests meet what the test says then."""
    async with ScriptedServer() as server, client_of(server) as client:
        server.script(500, "answer")
        server.default = lambda request: Reply(body=request.path.encode())
        for _ in range(3):
            client.post(path="/p?q=1")

        assert [await client.answer() for _ in range(3)] == [(500, b""), (200, b""), (200, b"/p?q=1")]


async def test_requests_are_kept_as_they_came() -> None:
    """Number, connection, method, path, headers, body."""
    async with ScriptedServer() as server, client_of(server) as client:
        client.post(b"abc", "/batch/?a=b", X_Key="k", Content_Type="text/plain")
        await client.answer()

        [request] = server.requests
        assert (request.number, request.connection, request.method, request.path) == (1, 1, "POST", "/batch/?a=b")
        assert request.headers == {"host": "x", "content-length": "3", "x-key": "k", "content-type": "text/plain"}
        assert (request.raw, request.body) == (b"abc", b"abc")


async def test_chunked_bodies_are_read() -> None:
    """A client that does not know its body's size beforehand."""
    async with ScriptedServer() as server, client_of(server) as client:
        client.writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")
        client.post(b"next")
        assert [await client.answer(), await client.answer()] == [(200, b""), (200, b"")]

        assert [request.raw for request in server.requests] == [b"abcd", b"next"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (EVENTS, {}),
        (b'{"uuid":"1"}\n{"uuid":"2"}\n', {"Content_Type": "application/x-ndjson"}),
        (b'{"api_key":"k","batch":' + EVENTS + b"}", {"Content_Type": "application/json"}),
        (b'{"meta":{},"events":' + EVENTS + b"}", {"Content_Type": "application/json"}),
        (gzip.compress(EVENTS), {"Content_Encoding": "gzip"}),
        (zlib.compress(EVENTS), {"Content_Encoding": "deflate"}),
    ],
    ids=["array", "lines", "batch", "events", "gzip", "deflate"],
)
async def test_events_are_read_from_every_format(body: bytes, headers: dict[str, str]) -> None:
    """An array, lines, an object with a batch or with events; compressed or not."""
    async with ScriptedServer() as server, client_of(server) as client:
        client.post(body, **headers)
        await client.answer()

        assert server.requests[0].uuids == ["1", "2"]
        assert server.uuids == ["1", "2"]


async def test_an_object_that_holds_no_others_is_an_event() -> None:
    """As webhooks are."""
    async with ScriptedServer() as server, client_of(server) as client:
        client.post(b'{"type":"paid","uuid":"1"}')
        await client.answer()

        assert server.uuids == ["1"]


async def test_only_what_it_accepted_counts_as_its_events() -> None:
    """A refusal or no answer at all took nothing; a 2xx took all, even if its body breaks."""
    answers: list[Answer] = [200, 503, "reset_body", 413, "close"]
    async with ScriptedServer(*answers) as server:
        for number in range(len(answers)):
            async with client_of(server) as client:
                client.post(b'[{"uuid":"%d"}]' % number)
                await server.reached(number + 1)

        assert server.uuids == ["0", "2"]
        assert [request.uuids for request in server.requests] == [["0"], ["1"], ["2"], ["3"], ["4"]]


async def test_latency_comes_before_the_answer() -> None:
    """Nothing is sent until then."""
    async with ScriptedServer(Reply(latency=0.05)) as server, client_of(server) as client:
        started = asyncio.get_running_loop().time()
        client.post()
        await client.head()

        assert asyncio.get_running_loop().time() - started >= 0.05


@pytest.mark.parametrize(
    ("behaviour", "seen"),
    [
        ("close", b""),
        ("garbage", b"this is not HTTP\r\n\r\n"),
        ("short_body", b"HALF"),
        ("answer_then_close", b"HALFHALF"),
    ],
)
async def test_connection_ends_after(behaviour: Behaviour, seen: bytes) -> None:
    """What comes before the end: nothing, no HTTP, too little, or all of it without notice of the end."""
    async with ScriptedServer(Reply(body=b"HALFHALF", behaviour=behaviour)) as server, client_of(server) as client:
        client.post()

        answer = await client.reader.read()

        assert answer.endswith(seen)
        if seen.startswith(b"HALF"):
            assert b"content-length: 8\r\n\r\n" + seen in answer


@pytest.mark.parametrize(("behaviour", "seen"), [("reset", b""), ("reset_body", b"HALF")])
async def test_connection_is_reset_after(behaviour: Behaviour, seen: bytes) -> None:
    """A reset is an error for who reads, and not an end."""
    async with ScriptedServer(Reply(body=b"HALFHALF", behaviour=behaviour)) as server, client_of(server) as client:
        client.post()
        if seen:
            await client.head()
            assert await client.reader.readexactly(len(seen)) == seen

        with pytest.raises(ConnectionResetError):
            await client.reader.read()


@pytest.mark.parametrize(("behaviour", "seen"), [("hang", b""), ("stall_body", b"HALF")])
async def test_nothing_follows_after(behaviour: Behaviour, seen: bytes) -> None:
    """The request was read and the connection stays; it ends when the client gives up."""
    async with ScriptedServer(Reply(body=b"HALFHALF", behaviour=behaviour)) as server:
        async with client_of(server) as client:
            client.post()
            await server.reached(1)
            if seen:
                await client.head()
                assert await client.reader.readexactly(len(seen)) == seen
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await client.reader.read(1)
            assert server.open_connections == 1

        await server.disconnected()


@pytest.mark.parametrize("behaviour", ["drip", "drip_body"])
async def test_a_drip_sends_byte_by_byte(behaviour: Behaviour) -> None:
    """All of it arrives in the end, and the connection serves another request."""
    reply = Reply(body=b"drop" * 5, behaviour=behaviour, interval=FAST)
    async with ScriptedServer(reply) as server, client_of(server) as client:
        started = asyncio.get_running_loop().time()
        client.post()
        assert await client.answer() == (200, b"drop" * 5)
        assert asyncio.get_running_loop().time() - started >= 20 * FAST

        client.post()
        assert await client.answer() == (200, b"")


async def test_a_drip_ends_when_the_client_leaves() -> None:
    """Hours of drops do not outlive their reader."""
    async with ScriptedServer(Reply(body=b"." * 10_000, behaviour="drip_body", interval=FAST)) as server:
        async with client_of(server) as client:
            client.post()
            await client.head()

        await server.disconnected()


async def test_an_early_answer_comes_before_the_body() -> None:
    """The head is enough; what follows it is not read."""
    async with ScriptedServer(Reply(413, behaviour="answer_early")) as server, client_of(server) as client:
        client.writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")

        assert await client.answer() == (413, b"")
        assert server.requests[0].raw == b""


async def test_a_mute_server_accepts_and_never_reads() -> None:
    """Not even into its own buffer: the client's writes stop when the kernel is full."""
    async with ScriptedServer(mute=True) as server, client_of(server) as client:
        await server.connected(1)
        client.post(bytes(32 << 20))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.writer.drain()

        assert server.requests == []


async def test_headers_of_a_reply_take_the_place_of_its_own() -> None:
    """Such as a Content-Length that is wrong."""
    reply = Reply(headers={"Content-Length": "2", "X": "y"}, body=b"four")
    async with ScriptedServer(reply) as server, client_of(server) as client:
        client.post()

        assert await client.head() == (200, {"content-length": "2", "x": "y"})


async def test_a_bomb_is_small_and_becomes_large() -> None:
    """A thousandth of what it inflates to."""
    bomb = gzip_bomb(2)

    assert (len(gzip.decompress(bomb.body)), bomb.headers) == (2 << 20, {"Content-Encoding": "gzip"})
    assert len(bomb.body) < 4096


async def test_it_speaks_tls() -> None:
    """With a certificate of the test's own authority."""
    authority = trustme.CA()
    server_side, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(client_side)
    async with ScriptedServer(ssl=server_side) as server, client_of(server, client_side) as client:
        client.post()

        assert await client.answer() == (200, b"")
        assert server.url.startswith("https://127.0.0.1:")


async def test_waiting_says_what_came_instead() -> None:
    """The number that was reached, when time is up."""
    async with ScriptedServer("hang") as server, client_of(server) as client:
        client.post()
        await server.reached(1)

        with pytest.raises(TimeoutError, match=r"^after 0.01 s: 1 requests$"):
            await server.reached(2, timeout=0.01)
        with pytest.raises(TimeoutError, match=r"^after 0.01 s: 1 connections$"):
            await server.connected(2, timeout=0.01)
        with pytest.raises(TimeoutError, match=r"^after 0.01 s: 1 connections still open$"):
            await server.disconnected(timeout=0.01)


@pytest.mark.parametrize("busy", ["answer", "hang", "drip", "stall_body", "mute"])
async def test_stop_cuts_every_connection_and_leaves_nothing(busy: str) -> None:
    """Whatever it was doing; stopping twice is one stop, and it can start again on the same port."""
    baseline = Baseline.take()
    server = ScriptedServer(mute=busy == "mute", default=200 if busy == "mute" else Reply.of(busy))  # type: ignore[arg-type]
    await server.start()
    url = server.url
    async with client_of(server) as client:
        client.post()
        await (server.connected(1) if busy == "mute" else server.reached(1))

        await server.stop()
        await server.stop()

        assert server.open_connections == 0
        with pytest.raises(ConnectionError):
            await client_of(server).__aenter__()
    assert baseline.tasks_left() == []

    await server.start()
    assert server.url == url
    await server.stop()


@pytest.mark.parametrize("answer", ["Hang", "", None], ids=repr)
async def test_a_reply_that_is_none_is_refused(answer: Answer) -> None:
    """A script with a misspelled behaviour fails where it is written."""
    with pytest.raises(ValueError, match=r"^a reply must be a Reply, a status or one of "):
        ScriptedServer(answer)


async def test_a_default_may_look_at_the_request() -> None:
    """A plain function of what was received."""

    def refuse_b(request: Received) -> Answer:
        return 422 if "b" in request.uuids else 200

    async with ScriptedServer(default=refuse_b) as server, client_of(server) as client:
        client.post(b'[{"uuid":"a"}]')
        client.post(b'[{"uuid":"b"}]')

        assert [await client.answer(), await client.answer()] == [(200, b""), (422, b"")]
        assert server.uuids == ["a"]


async def test_a_status_without_a_name_is_answered_too() -> None:
    """Far ends invent some."""
    async with ScriptedServer(599) as server, client_of(server) as client:
        client.post()

        assert await client.answer() == (599, b"")


async def test_a_body_that_it_cannot_decompress_is_an_error_for_who_reads_it() -> None:
    """Not for the connection, and never taken for what was sent."""
    async with ScriptedServer() as server, client_of(server) as client:
        client.post(EVENTS, Content_Encoding="br")
        await client.answer()

        with pytest.raises(ValueError, match=r"^cannot read content-encoding 'br'$"):
            _ = server.requests[0].events
