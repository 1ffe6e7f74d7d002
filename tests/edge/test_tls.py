"""TLS that cannot be trusted: old, expired, somebody else's, stalled, cut off."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import warnings
from collections.abc import Callable

import pytest
import trustme

from eventpipe import OutcomeKind, RetryPolicy
from tests.edge.conftest import Record
from tests.edge.cutting_proxy import CuttingProxy
from tests.edge.jumping_loop import JumpingLoop
from tests.edge.leaks import KEY, PAYLOAD
from tests.edge.pipeline import PATIENT, Pipelines
from tests.edge.raw_server import OK, Peer, RawServer, Script, head
from tests.edge.rows import Row

ROW = Row.TLS
pytestmark = pytest.mark.wallclock

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
CONNECT_TIMEOUT = 0.3
QUICK = RetryPolicy(initial=0.01, max_delay=0.01, min_delay=0.01, jitter=0)  # where nobody says to be slow
SLOW = 29.0  # seconds in which nothing is tried again


def trusting() -> ssl.SSLContext:
    """What the sink is given: it knows one authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def serving(authority: trustme.CA, host: str = "127.0.0.1", **validity: datetime.datetime) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host, **validity).configure_cert(context)  # type: ignore[arg-type]  # dates, by their names
    return context


def old(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = serving(AUTHORITY)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    return context


def self_signed() -> ssl.SSLContext:
    """A certificate that is its own authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with STRANGER.cert_pem.tempfile() as certificate, STRANGER.private_key_pem.tempfile() as key:
        context.load_cert_chain(certificate, key)
    return context


UNTRUSTED: dict[str, Callable[[], ssl.SSLContext]] = {
    "expired": lambda: serving(AUTHORITY, not_before=NOW - 9 * DAY, not_after=NOW - DAY),
    "not yet valid": lambda: serving(AUTHORITY, not_before=NOW + DAY, not_after=NOW + 9 * DAY),
    "self-signed": self_signed,
    "unknown authority": lambda: serving(STRANGER),
    "wrong host": lambda: serving(AUTHORITY, "other.example"),
    "a host for its own name": lambda: serving(AUTHORITY, "localhost"),
    "TLS 1.0 only": lambda: old(ssl.TLSVersion.TLSv1),
    "TLS 1.1 only": lambda: old(ssl.TLSVersion.TLSv1_1),
}


async def closes(peer: Peer) -> None:
    """Read the greeting, and go."""
    await peer.reader.read(1)
    peer.close()


async def resets(peer: Peer) -> None:
    await peer.reader.read(1)
    peer.reset()


def says(data: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.say(data)
        await peer.stall()

    return script


def says_and_closes(data: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.say(data)
        peer.close()

    return script


BROKEN: dict[str, Script] = {
    "handshake stall": Peer.stall,
    "half a record, then silence": says(b"\x16\x03\x03\x00\x7a\x02\x00"),
    "close mid-handshake": closes,
    "RST mid-handshake": resets,
    "half a record, then a close": says_and_closes(b"\x16\x03\x03\x00\x7a\x02\x00"),
    "an alert": says_and_closes(b"\x15\x03\x03\x00\x02\x02\x28"),
    "plain HTTP": says_and_closes(OK),
    "garbage": says_and_closes(b"\x00" * 100),
}


def run_untrusted(server: RawServer, pipelines: Pipelines) -> tuple[CuttingProxy, list[str | None], float]:
    """Send to it until a second attempt is made; the reasons that were told, and what the first attempt took."""
    loop = JumpingLoop()

    async def main() -> tuple[CuttingProxy, list[str | None], float]:
        async with server, CuttingProxy(server.port) as proxy:
            sink = pipelines.sink(proxy.tls_url, ssl=trusting(), connect_timeout=CONNECT_TIMEOUT)
            async with pipelines.client(sink, retry=QUICK, close_timeout=2.0) as pipe:
                await pipe.capture(3)
                async with asyncio.timeout(SLOW):
                    await pipe.failed.wait()
                first = pipe.told[0]
                await asyncio.sleep(0.02)
                at_once = proxy.connections
                loop.jump(SLOW - 1)
                await asyncio.sleep(0.02)
                assert proxy.connections == at_once == 1
                loop.jump(2.0)
                pipe.failed.clear()
                await pipe.failed.wait()
                assert proxy.connections > 1
                reasons = pipe.reasons
            assert pipe.client.statistics().delivered == 0
        return proxy, reasons, first.durations.send

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def check_nothing_left(proxy: CuttingProxy, server: RawServer) -> None:
    assert server.requests == []
    for secret in (PAYLOAD, KEY, "distinct_id", "POST"):
        assert secret.encode() not in proxy.seen


@pytest.mark.parametrize("case", UNTRUSTED)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_far_end_that_cannot_be_trusted_gets_nothing(case: str, pipeline: Pipelines, record: Record) -> None:
    """No handshake is completed, no byte of a batch leaves, and half a minute passes before the next attempt."""
    server = RawServer(ssl=UNTRUSTED[case]())
    proxy, reasons, seconds = run_untrusted(server, pipeline)

    check_nothing_left(proxy, server)
    assert server.peers == []
    assert set(reasons) == {"tls"}
    record(case, payload_bytes=0, handshake_bytes=proxy.passed["request"], reason=reasons[0], seconds=seconds)


@pytest.mark.parametrize("case", BROKEN)
def test_a_handshake_that_comes_to_nothing_gets_nothing(case: str, pipeline: Pipelines, record: Record) -> None:
    """It ends by the timeout for connecting, as an error of TLS, and is tried again slowly."""
    server = RawServer(greeting=BROKEN[case])
    proxy, reasons, seconds = run_untrusted(server, pipeline)

    check_nothing_left(proxy, server)
    assert set(reasons) == {"tls"}
    assert seconds < CONNECT_TIMEOUT + 1.0
    record(case, payload_bytes=0, handshake_bytes=proxy.passed["request"], reason=reasons[0], seconds=seconds)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_a_stream_cut_amid_the_answer_is_judged_by_its_status(
    end: str, pipeline: Pipelines, record: Record
) -> None:
    """Without TLS's own words for the end: a 2xx that was seen is delivered once, here too."""

    async def answers_half(peer: Peer) -> None:
        await peer.say(head(200, size=100) + b"x" * 50)
        if end == "RST":
            peer.reset()
        else:
            peer.is_over = True
            peer.writer.transport.abort()

    async with (
        RawServer(answers_half, ssl=serving(AUTHORITY)) as server,
        pipeline(server.url, ssl=trusting()) as pipe,
        asyncio.timeout(PATIENT),
    ):
        outcomes = [*await pipe.outcomes(), *await pipe.outcomes()]

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * 2
    assert [request.uuids for request in server.requests] == [list(outcome.uuids) for outcome in outcomes]
    assert server.connections == [1, 2]
    record(f"close mid-stream, {end}", copies=1, connections=server.connections)
