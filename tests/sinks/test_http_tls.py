"""TLS of the HTTP sink: whom it trusts, and what an attempt meets that TLS ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import trustme

from eventpipe.errors import TransientSinkError
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch
from eventpipe.testing.server import ScriptedServer

pytestmark = pytest.mark.wallclock


@asynccontextmanager
async def http_sink(url: str, **options: Any) -> AsyncIterator[HttpSink]:
    sink = HttpSink(url, **options)
    try:
        yield sink
    finally:
        await sink.aclose()


AUTHORITY = trustme.CA()


def server_tls(authority: trustme.CA = AUTHORITY, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return context


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@pytest.mark.asyncio
async def test_a_far_end_with_a_known_certificate_is_sent_to() -> None:
    """Over TLS, connections are kept alive and cut as they are without."""
    async with ScriptedServer(200, 200, "hang", ssl=server_tls()) as server:
        async with http_sink(server.url, ssl=client_tls(), timeout=1) as sink:
            batch = make_batch(50)
            await sink.send(batch)
            await sink.send(batch)
            with pytest.raises(TransientSinkError, match="no answer within"):
                await sink.send(batch)

            assert server.uuids == [event.uuid for event in batch.events] * 2
            assert server.connections == 1
            await server.disconnected()
            await sink.send(batch)
        await server.disconnected()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("server_side", "client_side"),
    [
        (server_tls(trustme.CA()), client_tls()),
        (server_tls(trustme.CA()), None),
        (server_tls(host="other.example"), client_tls()),
    ],
    ids=["other authority", "authorities of the machine", "other host"],
)
async def test_a_far_end_with_an_unknown_certificate_gets_nothing(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext | None
) -> None:
    """Neither the batch nor the key; a certificate may be mended, so it is worth another attempt."""
    async with ScriptedServer(ssl=server_side) as server, http_sink(server.url, ssl=client_side) as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

        assert (caught.value.reason, server.requests) == ("tls", [])


@pytest.mark.asyncio
async def test_tls_below_1_2_is_refused() -> None:
    """By the default as by the caller's own context."""
    old = server_tls()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with ScriptedServer(ssl=old) as server, http_sink(server.url, ssl=client_tls()) as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

        assert (caught.value.reason, server.requests) == ("tls", [])


def test_the_default_for_tls_is_the_machines_authorities_and_1_2() -> None:
    """One context for all sinks of a process; making it is slow."""
    first, second = HttpSink("https://a.example"), HttpSink("https://b.example")
    context = first._wire._tls

    assert context is second._wire._tls
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.asyncio
@pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])
async def test_a_certificate_that_is_refused_says_what_to_check_and_slows_down(lent: bool) -> None:
    """It is not mended in a second: the lane pauses for half a minute."""
    async with ScriptedServer(ssl=server_tls(host="other.example")) as server:
        connector = aiohttp.TCPConnector(ssl=client_tls())
        async with aiohttp.ClientSession(connector=connector) as session:
            options: dict[str, Any] = {"session": session} if lent else {"ssl": client_tls()}
            async with http_sink(server.url, **options) as sink:
                with pytest.raises(TransientSinkError) as caught:
                    await sink.send(make_batch())

    assert str(caught.value) == (
        "no TLS with the far end: IP address mismatch, certificate is not valid for '127.0.0.1'; "
        "check its certificate, this machine's clock and authorities, and the sink's ssl"
    )
    assert (caught.value.reason, caught.value.retry_after, caught.value.status) == ("tls", 30.0, None)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("timeouts", "said"),
    [
        ({"connect_timeout": 0.1}, "it did not answer in time"),
        ({"timeout": 0.1}, "it did not answer within 0.1 s"),
    ],
    ids=["connect_timeout", "timeout"],
)
async def test_a_handshake_that_stalls_ends_in_time_and_is_no_mere_timeout(
    timeouts: dict[str, float], said: str
) -> None:
    """The far end was connected to: what does not answer is TLS. Whichever of the two timeouts is the shorter."""
    async with ScriptedServer(mute=True) as server:
        async with http_sink(server.url.replace("http:", "https:"), **timeouts) as sink:
            loop = asyncio.get_running_loop()
            started = loop.time()
            with pytest.raises(TransientSinkError, match=f"^no TLS with the far end: {said}; ") as caught:
                await sink.send(make_batch())

            assert (caught.value.reason, caught.value.retry_after) == ("tls", 30.0)
            assert 0.1 <= loop.time() - started < 0.5
        assert server.requests == []


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_a_connection_that_ends_in_the_handshake_is_of_class_tls(ending: str) -> None:
    """Behind such a far end there is often a balancer without a certificate."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if ending == "reset":
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, http_sink(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as sink:
        with pytest.raises(TransientSinkError, match=r"^no TLS with the far end: it closed the connection; ") as caught:
            await sink.send(make_batch())

    assert caught.value.reason == "tls"


@pytest.mark.asyncio
async def test_a_port_that_is_closed_is_no_matter_of_tls() -> None:
    """There was nobody to shake hands with."""
    async with http_sink("https://127.0.0.1:9") as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

    assert (caught.value.reason, caught.value.retry_after) == ("network", None)


@pytest.mark.asyncio
async def test_a_far_end_that_leaves_after_the_handshake_is_a_network_error() -> None:
    """TLS was agreed on; on a kept-alive connection its end is met as any other's, by one more request."""
    async with ScriptedServer("close", 200, "reset", 200, ssl=server_tls()) as server:
        async with http_sink(server.url, ssl=client_tls()) as sink:
            with pytest.raises(TransientSinkError) as caught:
                await sink.send(make_batch())
            assert (caught.value.reason, caught.value.retry_after) == ("network", None)
            await sink.send(make_batch())
            await sink.send(make_batch())

        assert [request.connection for request in server.requests] == [1, 2, 2, 3]
