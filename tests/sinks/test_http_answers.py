"""Odd answers on the wire, byte by byte: which are believed, and after which a connection serves again."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from eventpipe.errors import SinkError, TransientSinkError
from eventpipe.sinks import HttpSink
from eventpipe.sinks.http_connectors import MAX_RECEIVED
from eventpipe.testing.events import make_batch

pytestmark = pytest.mark.wallclock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


class FarEnd:
    """Answers every request with the same bytes; counts requests and connections."""

    def __init__(self, answer: bytes | Answering) -> None:
        self.requests: list[int] = []
        self.connections = 0
        self._answer = answer

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(size)
                self.requests.append(connection)
                if isinstance(self._answer, bytes):
                    writer.write(self._answer)
                else:
                    await self._answer(writer)
        writer.close()


@asynccontextmanager
async def far_end(answer: bytes | Answering) -> AsyncIterator[tuple[HttpSink, FarEnd]]:
    end = FarEnd(answer)
    server = await asyncio.start_server(end.accept, "127.0.0.1", 0)
    sink = HttpSink(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=2)
    async with server:
        yield sink, end
        await sink.aclose()
    await asyncio.sleep(0.01)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "behind",
    [b"\x00\xff garbage", b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", b"\r\n\r\n\r\n\r\nX", b"HTTP/1.1 2"],
    ids=["garbage", "another answer", "empty lines", "half an answer"],
)
@pytest.mark.parametrize("body", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"], ids=["no body", "a body"])
async def test_an_answer_counts_whatever_comes_behind_it(behind: bytes, body: bytes) -> None:
    """In the same packet too; what nobody asked for ends the connection, and is no answer to the next request."""
    async with far_end((body or OK) + behind) as (sink, end):
        for _ in range(3):
            assert await sink.send(make_batch()) is None

    assert end.requests == [1, 2, 3]


@pytest.mark.asyncio
@pytest.mark.parametrize("late", [b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 5"], ids=["whole", "half"])
async def test_what_comes_while_nobody_asks_is_no_answer_to_the_next_request(late: bytes) -> None:
    """It would be taken for one, and each later answer for that of its predecessor."""
    sent = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await asyncio.sleep(0.005)
        writer.write(late)
        await writer.drain()
        sent.set()

    async with far_end(answer) as (sink, end):
        for _ in range(3):
            sent.clear()
            assert await sink.send(make_batch()) is None
            await sent.wait()
            await asyncio.sleep(0.005)

    assert end.requests == [1, 2, 3]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"x" * MAX_RECEIVED,
        b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n" + b"x" * MAX_RECEIVED,
        b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["chunks that are none", "a remark without an end", "10 GiB", "a body where none may be"],
)
async def test_a_2xx_with_an_odd_body_is_a_2xx(answer: bytes) -> None:
    """At once, not when the time is up; the connection is not used again."""
    async with far_end(answer) as (sink, end), asyncio.timeout(1.5):
        for _ in range(2):
            assert await sink.send(make_batch()) is None

    assert end.requests == [1, 2]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 0 X\r\n\r\n",
        b"SECRET garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nSECRET",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSECRET: " + b"SECRET" * 4096 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"SECRET: x\r\n" * 4096 + b"\r\n",
        b"\r\n" * MAX_RECEIVED,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    ],
    ids=lambda answer: repr(answer[:24]) + f" and {len(answer)} bytes",
)
async def test_what_is_no_answer_is_a_network_error_without_its_words(answer: bytes) -> None:
    """The same batch goes again; the connection is not used again; nothing of what was received is told."""
    async with far_end(answer) as (sink, end), asyncio.timeout(1.5):
        for _ in range(2):
            with pytest.raises(TransientSinkError) as caught:
                await sink.send(make_batch())
            error = caught.value

            assert (error.reason, error.status, error.__cause__, error.__context__) == ("network", None, None, None)
            assert "SECRET" not in "".join(traceback.format_exception(error))

    assert end.requests == [1, 2]


@pytest.mark.asyncio
async def test_a_hundred_interim_answers_are_passed_over() -> None:
    """What counts is the one behind them, and the connection serves again."""
    async with far_end(b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + OK) as (sink, end):
        for _ in range(2):
            assert await sink.send(make_batch()) is None

    assert end.requests == [1, 1]


@pytest.mark.asyncio
async def test_an_answer_in_single_bytes_is_one() -> None:
    """Wherever the network cuts it."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 503 X\r\nContent-Length: 2\r\nRetry-After: 7\r\nretry-after: 5\r\n\r\nno":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with far_end(drip) as (sink, end):
        for _ in range(2):
            with pytest.raises(SinkError) as caught:
                await sink.send(make_batch())

            assert isinstance(caught.value, TransientSinkError)
            assert (caught.value.reason, caught.value.retry_after) == ("status_503", 7.0)

    assert end.requests == [1, 1]
