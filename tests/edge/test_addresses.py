"""Addresses that must not be sent to: refused when the sink is made, or, where a proxy is meant, ignored."""

from __future__ import annotations

import asyncio
import socket

import pytest

from eventpipe import OutcomeKind, RetryPolicy
from eventpipe.codecs import JsonCodec
from eventpipe.sinks import HttpSink, WebhookSink
from tests.edge.conftest import Record
from tests.edge.leaks import KEY, WEBHOOK_SECRET, Watch
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import RawServer
from tests.edge.rows import Row

ROW = Row.ADDRESSES
pytestmark = pytest.mark.wallclock

REFUSED = {
    "nothing": "",
    "blank": "   ",
    "no scheme": "collector.example/in",
    "no host": "https:///in",
    "only a scheme": "https://",
    "file": "file:///etc/passwd",
    "ftp": "ftp://collector.example/in",
    "gopher": "gopher://127.0.0.1:70/x",
    "data": "data:text/plain,x",
    "javascript": "javascript:alert(1)",
    "ws": "ws://collector.example/in",
    "http+unix": "http+unix://%2Ftmp%2Fx/in",
    "user and password": f"https://user:{KEY}@collector.example/in",
    "user": "https://user@collector.example/in",
    "empty user": "https://@collector.example/in",
    "plain http away from here": "http://collector.example/in",
    "plain http that looks like here": "http://localhost.evil.example/in",
    "plain http to 127.0.0.1.evil.example": "http://127.0.0.1.evil.example/in",
    "port 0": "https://collector.example:0/in",
    "port 65536": "https://collector.example:65536/in",
    "negative port": "https://collector.example:-1/in",
    "port of letters": "https://collector.example:https/in",
    "port of other digits": "https://collector.example:\u0664\u0664/in",
    "two ports": "https://collector.example:1:2/in",
    "tab": "https://collector.example/\tin",
    "line break": "https://collector.example/in\nX: y",
    "NUL": "https://collector.example/\x00",
    "space": "https://collector.example/a b",
    "space in the host": "https://collector .example/in",
    "DEL": "https://collector.example/\x7f",
    "backslash in the host": "https://collector.example\\@evil.example/in",
    "hexadecimal host": "http://0x7f.1/in",
    "hexadecimal number": "http://0x7f000001/in",
    "number": "http://2130706433/in",
    "short host": "http://127.1/in",
    "octal host": "http://0177.0.0.1/in",
    "hexadecimal host, https": "https://0x7f.1/in",
    "number, https": "https://2130706433/in",
    "short host, https": "https://127.1/in",
    "octal host, https": "https://0177.0.0.1/in",
    "broken IPv6": "https://[::1/in",
    "IPv6 that is none": "https://[::g]/in",
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_address_that_must_not_be_sent_to_is_refused(case: str, record: Record, watch: Watch) -> None:
    """With a ``ValueError`` when the sink is made, which shows no credentials."""
    with pytest.raises(ValueError, match=r"^url must") as caught:
        HttpSink(REFUSED[case])

    watch.see(caught.value)
    record(case, refused="at construction")


SIZES = {"small": 1, "large": 2 * 2**20}  # the latter are written by aiohttp itself


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_proxies_of_the_environment_are_ignored(
    size: str, pipeline: Pipelines, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are named: everything goes straight to the far end, and the proxy hears nothing."""
    async with RawServer() as proxy, RawServer() as server:
        names = ["http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"]
        for name in names:
            monkeypatch.setenv(name, proxy.origin)
            monkeypatch.setenv(name.upper(), proxy.origin)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        codec = JsonCodec(max_event_bytes=2 * SIZES["large"])
        async with pipeline(server.url, codec, max_event_bytes=2 * SIZES["large"]) as pipe:
            receipts = await pipe.capture(3, filling="x" * SIZES[size])
            outcomes = [await receipt.outcome() for receipt in receipts]

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * 3
    assert (len(server.requests), proxy.peers) == (3, [])
    record(f"proxies of the environment, {size} bodies", variables=2 * len(names), requests_at_the_proxy=0, delivered=3)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_netrc_is_not_read(
    size: str,
    pipeline: Pipelines,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Credentials that lie about for this host are not sent to it."""
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text(f"default login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    codec = JsonCodec(max_event_bytes=2 * SIZES["large"])
    async with RawServer() as server, pipeline(server.url, codec, max_event_bytes=2 * SIZES["large"]) as pipe:
        (receipt,) = await pipe.capture(filling="x" * SIZES[size])
        await receipt.outcome()

    assert "authorization" not in server.requests[0].headers
    record(f"a .netrc, {size} bodies", credentials_sent=0)


PRIVATE = {
    "loopback": "https://127.0.0.1/in",
    "all of loopback": "https://127.9.9.9/in",
    "localhost": "https://localhost/in",
    "this network": "https://0.0.0.0/in",
    "private, 10": "https://10.1.2.3/in",
    "private, 172.16": "https://172.16.0.1/in",
    "private, 192.168": "https://192.168.1.1/in",
    "shared": "https://100.64.0.1/in",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "metadata of IPv6": "https://[fd00:ec2::254]/latest/meta-data/",
    "multicast": "https://224.0.0.1/in",
    "broadcast": "https://255.255.255.255/in",
    "loopback of IPv6": "https://[::1]/in",
    "unspecified of IPv6": "https://[::]/in",
    "link-local of IPv6": "https://[fe80::1]/in",
    "unique local": "https://[fc00::1]/in",
    "mapped": "https://[::ffff:127.0.0.1]/in",
    "mapped, in hexadecimal": "https://[::ffff:7f00:1]/in",
    "NAT64 of loopback": "https://[64:ff9b::7f00:1]/in",
    "6to4 of a private one": "https://[2002:a01:203::1]/in",
    "with a zone": "https://[fe80::1%25lo]/in",
}


@pytest.mark.parametrize("case", PRIVATE)
def test_a_webhook_to_a_private_address_is_refused(case: str, record: Record) -> None:
    """At once, where the URL itself says so."""
    with pytest.raises(ValueError, match=r"^url must"):
        WebhookSink(PRIVATE[case], WEBHOOK_SECRET)

    record(f"webhook: {case}", refused="at construction")


class Resolver:
    """Stands in for the look-up of names on one loop, and writes down what is connected to.

    Args:
        loop: Whose.
        answers: What each look-up finds; the last one goes on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.lookups = 0
        self.connected: list[str] = []
        self._connect = loop.sock_connect
        loop.getaddrinfo = self._look_up  # type: ignore[assignment,method-assign]
        loop.sock_connect = self._sock_connect  # type: ignore[assignment,method-assign]

    async def _look_up(self, host: object, port: int, **kwargs: object) -> list[tuple[object, ...]]:
        self.lookups += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    async def _sock_connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.connected.append(address[0])
        if not address[0].startswith("127."):
            raise ConnectionRefusedError  # no packet of a test leaves this machine
        await self._connect(sock, address)


PUBLIC = "93.184.216.34"
RESOLVED: dict[str, tuple[list[list[str]], list[str], str]] = {
    # what look-ups find, what is connected to, and what becomes of the batch
    "to loopback": ([["127.0.0.1"]], [], "misconfigured"),
    "to metadata": ([["169.254.169.254"]], [], "misconfigured"),
    "to private and loopback": ([["10.0.0.1", "127.0.0.1"]], [], "misconfigured"),
    "to public and loopback": ([[PUBLIC, "127.0.0.1"]], [PUBLIC], "exhausted"),
    "to loopback and public": ([["127.0.0.1", PUBLIC]], [PUBLIC], "exhausted"),
    "to public, then to loopback": ([[PUBLIC], ["127.0.0.1"]], [PUBLIC], "exhausted"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", RESOLVED)
async def test_a_webhook_connects_to_no_private_address(case: str, pipeline: Pipelines, record: Record) -> None:
    """The address that is judged is the one that is connected to, at each connection anew; nothing leaves."""
    answers, connected, reason = RESOLVED[case]
    async with RawServer() as server:
        loop = asyncio.get_running_loop()
        resolver = Resolver(loop, *answers)
        sink = WebhookSink(f"https://hooks.example:{server.port}/in", WEBHOOK_SECRET, connect_timeout=0.5)
        async with pipeline.client(sink, retry=RetryPolicy(max_attempts=1)) as pipe:
            (outcome,) = await pipe.outcomes()

    assert (outcome.kind, outcome.reason) == (OutcomeKind.DROPPED, reason)
    assert set(resolver.connected) == set(connected)
    assert server.peers == []
    record(f"webhook: a name {case}", connections=0, lookups=resolver.lookups, reason=reason)
