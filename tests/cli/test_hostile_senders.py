"""Senders that mean harm, or speak no HTTP, against a collector in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import aiohttp
import orjson
import pytest

from eventpipe.cli import collector as collector_module
from eventpipe.cli.collector import Collector
from tests.cli.process import command

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
V1 = (
    b"POST /i/v1/analytics/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer \xff\r\nPostHog-Sdk-Info: \xff/\xfe\r\nPostHog-Attempt: 1\r\nUser-Agent: \xff\r\n"
    b"PostHog-Request-Id: 01890a5d-ac96-774b-bcce-b302099a8059\r\n"
    b"PostHog-Request-Timestamp: 2026-01-01T00:00:00Z\r\nContent-Length: 2\r\n\r\n[]"
)
CASES: dict[str, tuple[bytes, bytes]] = {
    "no HTTP": (b"\x00\xff garbage\r\n\r\n", b"400"),
    "a size that is none": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n", b"400"),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
    "an endless length": (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", b"400"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n[]", b"400"),
    "a thousand headers": (HEAD + b"".join(b"x-%d: 1\r\n" % n for n in range(1000)) + b"\r\n", b"400"),
    "a header of 100 kB": (HEAD + b"x: " + b"a" * 100_000 + b"\r\n\r\n", b"400"),
    "a path that is none": (b"POST /%zz\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "a type that is no text": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: \xff\xfe\r\n\r\n", b"415"),
    "a coding that is no text": (HEAD + b"Content-Encoding: \xff\r\nContent-Length: 2\r\n\r\n[]", b"415"),
    "headers that are no text": (V1, b"400"),
    "no events": (HEAD + b"Content-Length: 1\r\n\r\n{", b"400"),
    "deep JSON": (HEAD + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000, b"400"),
}


async def exchange(port: int, data: bytes) -> bytes:
    """The beginning of the answer to some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        with suppress(ConnectionError):  # it may have heard enough
            await writer.drain()
        return await reader.readuntil(b"\r\n")
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_each_is_answered_with_an_error_of_its_own_and_nothing_is_printed() -> None:
    """No answer is a 500, no traceback is shown, and the next sender is served."""
    async with command("serve", "--port", "0", "--quiet") as serving:
        port = int((await serving.line()).rpartition(":")[2])
        answers = {name: await exchange(port, data) for name, (data, _) in CASES.items()}
        served = await exchange(port, HEAD + b'Content-Length: 16\r\n\r\n[{"event": "a"}]')
        serving.signal(signal.SIGINT)
        ended = await serving.end()

    assert {name: answer.split()[1] for name, answer in answers.items()} == {
        name: status for name, (_, status) in CASES.items()
    }
    assert served == b"HTTP/1.1 200 OK\r\n"
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")


async def test_a_body_that_drips_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered with 408, and holds up nobody meanwhile."""
    monkeypatch.setattr(collector_module, "BODY_TIMEOUT", 0.05)
    async with Collector() as collector:
        port = int(collector.url.rpartition(":")[2])

        answer = await exchange(port, HEAD + b"Content-Length: 100\r\n\r\n[")

        assert answer == b"HTTP/1.1 408 Request Timeout\r\n"
    assert collector.statistics().last_error == "408: the body took longer than 0.05 s"


async def test_an_endless_body_is_read_up_to_the_limit() -> None:
    """A body without an end is answered with 413 once the limit is passed."""

    async def endless() -> object:
        while True:
            yield b" " * 1024 * 1024

    async with Collector() as collector, aiohttp.ClientSession() as session:
        headers = {"Content-Type": "application/json"}
        with suppress(aiohttp.ClientConnectionError):  # it may stop listening before its answer is read
            async with session.post(collector.url, data=endless(), headers=headers) as response:
                assert response.status == 413
                assert orjson.loads(await response.read()) == {"error": "the body is larger than 20971520 bytes"}

    assert (collector.events, collector.statistics().refused) == (0, 1)
