"""Ways of the HTTP sink to a far end: through a proxy, to a unix socket, to addresses that it may connect to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme

from eventpipe.codecs import PostHogV0
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.outcomes import DropReason
from eventpipe.sinks import HttpSink
from eventpipe.sinks.reach import MAX_SOCKET_PATH
from eventpipe.testing.events import make_batch, make_event
from eventpipe.testing.leaks import Baseline
from eventpipe.testing.server import ScriptedServer

server_test = pytest.mark.wallclock
URL = "https://collector.example/batch"
AUTHORITY = trustme.CA()


def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def http_sink(url: str, *args: Any, **options: Any) -> AsyncIterator[HttpSink]:
    sink = HttpSink(url, *args, **options)
    try:
        yield sink
    finally:
        await sink.aclose()


class Relay:
    """Passes connections on to one far end, as a proxy does or a unix socket's owner; keeps the heads it was sent."""

    def __init__(self, far_end: ScriptedServer, refusal: bytes | None = None) -> None:
        self.heads: list[bytes] = []
        self._port = urlsplit(far_end.url).port
        self._refusal = refusal

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self._refusal is not None:
                writer.write(self._refusal)
            else:
                there, back = await asyncio.open_connection("127.0.0.1", self._port)
                if head.startswith(b"CONNECT "):
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    back.write(head)
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def proxy(
    far_end: ScriptedServer, refusal: bytes | None = None, **options: Any
) -> AsyncIterator[tuple[str, Relay]]:
    relay = Relay(far_end, refusal)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0, **options)
    async with server:
        scheme = "https" if options else "http"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}", relay
    await asyncio.sleep(0.01)


# A proxy


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("size", [100, 3 << 20])
async def test_plain_requests_go_through_the_proxy(size: int) -> None:
    """It reads them itself, and is told the rest in headers that win over those of the sink."""
    batch = make_batch([make_event(properties={"text": "x" * size})])
    async with (
        ScriptedServer() as server,
        proxy(server) as (url, relay),
        http_sink(
            f"{server.url}/in",
            proxy=url,
            proxy_headers={"Proxy-Authorization": "Basic abc"},
            headers={"X-Key": "k", "proxy-authorization": "none"},
            compression=None,
        ) as sink,
    ):
        await sink.send(batch)
        await sink.send(batch)

        assert server.uuids == [event.uuid for event in batch.events] * 2
        assert relay.heads[0].startswith(f"POST {server.url}/in HTTP/1.1\r\n".encode())
        assert relay.heads[0].lower().count(b"proxy-authorization") == 1
        assert b"Proxy-Authorization: Basic abc\r\n" in relay.heads[0]
        assert b"X-Key: k\r\n" in relay.heads[0]


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("is_proxy_encrypted", [False, True], ids=["http proxy", "https proxy"])
async def test_encrypted_requests_go_through_a_tunnel(is_proxy_encrypted: bool) -> None:
    """The proxy sees where they go and what it is told; the far end sees no word to the proxy."""
    options: dict[str, Any] = {"ssl": server_tls()} if is_proxy_encrypted else {}
    async with (
        ScriptedServer(ssl=server_tls()) as server,
        proxy(server, **options) as (url, relay),
        http_sink(
            server.url,
            proxy=url,
            proxy_headers={"Proxy-Authorization": "Basic abc"},
            headers={"X-Key": "SECRET"},
            ssl=client_tls(),
        ) as sink,
    ):
        await sink.send(make_batch())
        await sink.send(make_batch())

        [head] = relay.heads
        assert head.startswith(f"CONNECT {server.url.removeprefix('https://')} HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: Basic abc\r\n" in head
        assert b"SECRET" not in head
        assert [request.headers.get("x-key") for request in server.requests] == ["SECRET"] * 2
        assert "proxy-authorization" not in server.requests[0].headers
        assert server.connections == 1


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("is_encrypted", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("status", [407, 502])
async def test_a_proxy_that_refuses_is_named(is_encrypted: bool, status: int) -> None:
    """A 407 is a wrong configuration; what else it answers is a network error for a tunnel, else an answer."""
    refusal = f"HTTP/1.1 {status} SECRET\r\nX: SECRET\r\nContent-Length: 6\r\n\r\nSECRET".encode()
    async with (
        ScriptedServer(ssl=server_tls() if is_encrypted else None) as server,
        proxy(server, refusal) as (url, _),
        http_sink(server.url, proxy=url, ssl=client_tls(), proxy_headers={"Proxy-Authorization": "SECRET"}) as sink,
    ):
        with pytest.raises(SinkError) as caught:
            await sink.send(make_batch())

        error = caught.value
        assert server.connections == 0
    if status == 407:
        assert str(error) == "the proxy answered 407; check the Proxy-Authorization in the sink's proxy_headers"
        assert isinstance(error, PermanentSinkError)
        assert (error.scope, error.reason) == ("sink", DropReason.UNAUTHORIZED)
    elif is_encrypted:
        assert (str(error), error.reason) == ("the proxy answered 502", "network")
    else:
        assert error.reason == "status_502"
    assert "SECRET" not in "".join(traceback.format_exception(error))
    assert (error.__cause__, error.__context__) == (None, None)


@server_test
@pytest.mark.asyncio
async def test_a_proxy_that_cannot_be_reached_is_a_network_error() -> None:
    """The message says that it is the proxy."""
    async with http_sink(URL, proxy="http://127.0.0.1:9") as sink:
        with pytest.raises(TransientSinkError, match=r"^the proxy could not be reached: ") as caught:
            await sink.send(make_batch())

    assert caught.value.reason == "network"


@server_test
@pytest.mark.asyncio
async def test_tls_that_fails_behind_a_proxy_is_told_from_a_proxy_that_is_mute() -> None:
    """A certificate that nobody knows is of class ``tls``; a proxy that never answers is a timeout."""
    async with (
        ScriptedServer(ssl=server_tls()) as server,
        proxy(server) as (url, _),
        http_sink(server.url, proxy=url) as sink,
    ):
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())
        assert (caught.value.reason, server.requests) == ("tls", [])
    async with ScriptedServer(mute=True) as server, http_sink(URL, proxy=server.url, connect_timeout=0.1) as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())
        assert caught.value.reason == "timeout"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"proxy": "http://u:SECRET@h:1"},
            "proxy must not carry credentials (pass them in proxy_headers, as Proxy-Auth",
        ),
        ({"proxy": "socks5://h:1"}, "proxy must begin with http:// or https://, not 'socks5://h:1'"),
        ({"proxy": "h:1"}, "proxy must begin with http:// or https://, not 'h:1'"),
        ({"proxy": 1}, "proxy must be a string such as "),
        ({"proxy": "http://h:0"}, "proxy must have a valid host and a port from 1 to 65535"),
        ({"proxy": "http://127.1"}, "proxy must have a host that is a name, or an address as four decimal numbers"),
        ({"proxy": "http://h/SECRET"}, "proxy must have no path and no query, not 'http://h/…'"),
        ({"proxy": "http://h/?SECRET"}, "proxy must have no path and no query, not 'http://h/…'"),
        ({"proxy_headers": {"X": "SECRET"}}, "proxy_headers must be None where proxy is None"),
        ({"proxy": "http://h", "proxy_headers": {"X": "SECRET\n"}}, "proxy_headers['X'] must be a string of printable"),
        ({"proxy": "http://h", "proxy_headers": "SECRET"}, "proxy_headers must be a mapping of strings to strings or"),
        (
            {"url": "http://127.0.0.1", "proxy": "http://h"},
            "proxy must begin with https:// or be on this machine where url is plain http",
        ),
    ],
)
def test_a_wrong_proxy_is_refused_when_the_sink_is_made(options: dict[str, Any], message: str) -> None:
    """The message names the option and the rule, and no secret."""
    with pytest.raises(ValueError, match=r"^proxy") as caught:
        HttpSink(**{"url": URL, **options})

    assert str(caught.value).startswith(message)
    assert "SECRET" not in str(caught.value)


def test_plain_http_may_pass_a_proxy_on_this_machine() -> None:
    """Or one that is encrypted, or any where that is allowed."""
    HttpSink("http://127.0.0.1", proxy="http://localhost:3128")
    HttpSink("http://127.0.0.1", proxy="https://proxy.example")
    HttpSink("http://127.0.0.1", proxy="http://proxy.example", allow_insecure=True)


@server_test
@pytest.mark.asyncio
async def test_what_contradicts_a_lent_session_is_refused() -> None:
    """It would be without effect: the session connects as its owner set it."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match=r"^proxy must be None where a session is lent: give it to that session$"):
            HttpSink(URL, session=session, proxy="http://h")
        with pytest.raises(ValueError, match=r"^session must be None where socket_path is given"):
            HttpSink("http://h", session=session, socket_path="/run/x")


# A unix socket


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("as_path", [False, True], ids=["str", "Path"])
async def test_requests_go_to_a_unix_socket(as_path: bool, tmp_path: Path) -> None:
    """The URL only names the far end, so that plain http is no danger; connections are kept alive and cut as usual."""
    path = tmp_path / "collector.sock"
    batch = make_batch(50)
    async with ScriptedServer() as server:
        relay = Relay(server)
        baseline = Baseline.take()
        async with (
            await asyncio.start_unix_server(relay.accept, path),
            http_sink(
                "http://collector.example/in", PostHogV0("phc_x"), socket_path=path if as_path else str(path)
            ) as sink,
        ):
            await sink.send(batch)
            await sink.send(batch)

        assert server.uuids == [event.uuid for event in batch.events] * 2
        assert len(relay.heads) == 1
        assert server.requests[0].path == "/in/batch/"
        assert server.requests[0].headers["host"] == "collector.example"
        await server.disconnected()
        await asyncio.sleep(0.01)
        assert (baseline.tasks_left(), baseline.files_left()) == ([], [])


@server_test
@pytest.mark.asyncio
async def test_a_unix_socket_that_nobody_listens_on_is_a_network_error(tmp_path: Path) -> None:
    """It is absent, or no socket, or its owner has left: each may change."""
    left = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    (tmp_path / "file").touch()
    for name, why in (
        ("absent", "No such file or directory"),
        ("file", "Connection refused"),
        ("left", "Connection ref"),
    ):
        async with http_sink("http://localhost", socket_path=tmp_path / name) as sink:
            with pytest.raises(TransientSinkError, match=f"^the far end gave no answer: {why}") as caught:
                await sink.send(make_batch())
        assert caught.value.reason == "network"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"socket_path": "run/x"}, "socket_path must be an absolute path as a string or a Path, or None, not 'run/x'"),
        ({"socket_path": ""}, "socket_path must be an absolute path"),
        ({"socket_path": b"/run/x"}, "socket_path must be an absolute path"),
        ({"socket_path": 1}, "socket_path must be an absolute path"),
        ({"socket_path": "/run/\0"}, "socket_path must be an absolute path"),
        (
            {"socket_path": "/" + "x" * MAX_SOCKET_PATH},
            f"socket_path must have at most {MAX_SOCKET_PATH} bytes, not {MAX_SOCKET_PATH + 1}",
        ),
        ({"proxy": "http://h"}, "proxy must be None where socket_path is given"),
        ({"ssl": client_tls()}, "ssl must be None where socket_path is given"),
        ({"url": "https://h/SECRET"}, "url must begin with http:// where socket_path is given, not 'https://h/…'"),
    ],
)
def test_a_wrong_socket_path_is_refused_when_the_sink_is_made(options: dict[str, Any], message: str) -> None:
    """So is what would be without effect beside one."""
    with pytest.raises(ValueError, match=r" must ") as caught:
        HttpSink(**{"url": "http://h", "socket_path": "/run/x", **options})

    assert str(caught.value).startswith(message)


# Addresses


class Choosy(HttpSink):
    """Connects where it is told that it may, and keeps what it was asked."""

    def __init__(self, *args: Any, allowed: tuple[str, ...], **options: Any) -> None:
        super().__init__(*args, **options)
        self.allowed = allowed
        self.asked: list[str] = []

    def _may_connect(self, address: str) -> bool:
        self.asked.append(address)
        return address in self.allowed


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_that_may_not_be_connected_to_gets_nothing(host: str) -> None:
    """Literal or resolved; the batch is refused, and the message names the host."""
    async with ScriptedServer() as server:
        sink = Choosy(server.url.replace("127.0.0.1", host), allowed=())
        with pytest.raises(PermanentSinkError) as caught:
            await sink.send(make_batch())
        await sink.aclose()

        assert (caught.value.scope, server.connections) == ("sink", 0)
        assert str(caught.value) == f"no address of '{host}' may be connected to"
        assert "127.0.0.1" in sink.asked


@server_test
@pytest.mark.asyncio
async def test_only_addresses_that_may_be_connected_to_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of a host are passed over; it is asked for each connection: answers of resolvers change."""

    async def resolved(self: object, host: str, port: int, **kwargs: Any) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for address in ("127.0.0.2", "127.0.0.1")
        ]

    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", resolved)
    async with ScriptedServer("answer_then_close", 200) as server:
        sink = Choosy(server.url.replace("127.0.0.1", "localhost"), allowed=("127.0.0.1",))
        await sink.send(make_batch())
        await server.disconnected()
        await sink.send(make_batch())
        await sink.aclose()

        assert [request.connection for request in server.requests] == [1, 2]
        assert sink.asked == ["127.0.0.2", "127.0.0.1"] * 2


@server_test
@pytest.mark.asyncio
async def test_an_allowed_address_that_fails_beside_a_refused_one_is_a_network_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be reached later: nothing is wrong with the configuration."""

    async def resolved(self: object, host: str, port: int, **kwargs: Any) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": address, "port": 9, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for address in ("127.0.0.1", "127.0.0.2")
        ]

    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", resolved)
    sink = Choosy("http://localhost:9", allowed=("127.0.0.1",))
    with pytest.raises(TransientSinkError) as caught:
        await sink.send(make_batch())
    await sink.aclose()

    assert caught.value.reason == "network"
