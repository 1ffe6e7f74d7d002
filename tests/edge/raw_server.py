"""A far end of raw bytes on loopback: it says what it was told to, whether that is HTTP or not, and counts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tests.edge.leaks import PATH

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CLOSE_TIMEOUT = 2.0
BACKLOG = 1024
SEND_BUFFER = 4096  # bytes that the kernel holds for us: what we count as sent is little more than what was read
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger for zero seconds

Script = bytes | Callable[["Peer"], Awaitable[None]]
"""Bytes to say, or a function that says them."""


def head(status: int | str, *lines: str, size: int | None = None) -> bytes:
    """A status line and headers, ``Content-Length`` among them where ``size`` is given."""
    length = [] if size is None else [f"Content-Length: {size}"]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, *length, "", ""]).encode("latin-1")


def answer(status: int | str, body: bytes = b"", *lines: str) -> bytes:
    """A whole answer."""
    return head(status, *lines, size=len(body)) + body


@dataclass(frozen=True, slots=True)
class RawRequest:
    """One request, as it came.

    Attributes:
        connection: The connection it came on, counted from 1.
        at: When it had come whole, on the loop clock.
        line: The request line.
        headers: Names in lower case.
        body: As it was sent.
    """

    connection: int
    at: float
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # Any: JSON
        """The body, decoded; the tests of this folder send without compression unless they say so."""
        return orjson.loads(self.body)

    @property
    def uuids(self) -> list[str]:
        """The ids of its events, in order."""
        content = self.json
        return [event["uuid"] for event in (content["batch"] if isinstance(content, dict) else content)]


@dataclass(eq=False)
class Peer:
    """One connection, as the far end sees it.

    Attributes:
        number: Counted from 1.
        sent: Bytes that the kernel took.
        received: Bytes of whole requests that came.
        is_over: Whether no further request is read.
    """

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: int = 0
    received: int = 0
    is_over: bool = False
    request: RawRequest | None = field(default=None, repr=False)

    async def say(self, data: bytes) -> None:
        """Write ``data``; ends when the kernel has all of it.

        Raises:
            ConnectionError: The other side has gone.
        """
        self.writer.write(data)
        await self.writer.drain()
        self.sent += len(data)

    async def repeat(self, data: bytes) -> None:
        """Say ``data`` over and over, until the other side goes."""
        while True:
            await self.say(data)

    async def drip(self, data: bytes, interval: float) -> None:
        """Say a byte at a time, over and over, until the other side goes."""
        while True:
            for byte in data:
                await self.say(bytes([byte]))
                async with asyncio.timeout(interval) if interval else contextlib.nullcontext():
                    with contextlib.suppress(TimeoutError):
                        await self.stall()

    async def stall(self) -> None:
        """Say nothing, until the other side goes.

        Raises:
            ConnectionError: It has.
        """
        await self.reader.read()
        raise ConnectionResetError

    def reset(self) -> None:
        """End the connection with RST."""
        self.is_over = True
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.writer.transport.abort()

    def close(self) -> None:
        """End the connection as usual."""
        self.is_over = True


class RawServer:
    """Answers each request with the next piece of its script, then with its default.

    Args:
        *script: One piece per request, over all connections: bytes, or a function of the peer.
        default: What follows the script.
        greeting: Done with a new connection before any request is read. ``None`` means nothing.
        ssl: Speak TLS. ``None`` means plain TCP.
        host: Where it listens.
        port: Where it listens; 0 means a free one.

    Attributes:
        requests: What was read, in order.
        peers: Connections, in order; with TLS those whose handshake was completed.
        errors: What was raised in a script that was not the other side's going.
    """

    def __init__(
        self,
        *script: Script,
        default: Script = OK,
        greeting: Script | None = None,
        ssl: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.requests: list[RawRequest] = []
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self.default = default
        self._script = deque(script)
        self._greeting = greeting
        self._ssl = ssl
        self._address = (host, port)
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], Peer] = {}
        self._changed = asyncio.Condition()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._address[1]

    @property
    def origin(self) -> str:
        """Where it listens, without a path."""
        return f"{'https' if self._ssl else 'http'}://{self._address[0]}:{self._address[1]}"

    @property
    def url(self) -> str:
        """Where it listens, with a path that holds a secret."""
        return self.origin + PATH

    @property
    def sent(self) -> int:
        """Bytes that the kernel took, over all connections."""
        return sum(peer.sent for peer in self.peers)

    @property
    def connections(self) -> list[int]:
        """The connection of each request."""
        return [request.connection for request in self.requests]

    def script(self, *script: Script) -> None:
        """Add to the end of the script."""
        self._script.extend(script)

    async def reached(self, requests: int, timeout: float = 5.0) -> None:
        """Wait until so many requests have come.

        Raises:
            TimeoutError: They have not.
        """
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= requests)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, *self._address, ssl=self._ssl, backlog=BACKLOG)
        self._address = self._server.sockets[0].getsockname()

    async def stop(self) -> None:
        """Listen no longer, and cut every connection."""
        if self._server is None:
            return
        self._server.close()
        tasks = dict(self._tasks)
        for task, peer in tasks.items():
            task.cancel()
            peer.writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        await asyncio.sleep(0)
        if self.errors:
            raise ExceptionGroup("scripts of the far end", [e for e in self.errors if isinstance(e, Exception)])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if self._ssl is None:  # with TLS, drain() would not come back
            writer.transport.set_write_buffer_limits(0)  # drain() waits for the kernel
        peer = Peer(len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        task = asyncio.create_task(self._serve(peer))
        self._tasks[task] = peer
        task.add_done_callback(self._tasks.pop)

    async def _serve(self, peer: Peer) -> None:
        try:
            if self._greeting is not None:
                await _perform(self._greeting, peer)
            while not peer.is_over:
                request = await _read(peer)
                self.requests.append(request)
                piece = self._script.popleft() if self._script else self.default
                async with self._changed:
                    self._changed.notify_all()
                await _perform(piece, peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has gone
        except Exception as exc:  # noqa: BLE001  # told at the end of the test
            self.errors.append(exc)
        finally:
            peer.writer.close()


async def _perform(piece: Script, peer: Peer) -> None:
    await (peer.say(piece) if isinstance(piece, bytes) else piece(peer))


async def _read(peer: Peer) -> RawRequest:
    raw = await peer.reader.readuntil(b"\r\n\r\n")
    line, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await peer.reader.readexactly(int(headers.get("content-length", 0)))
    peer.received += len(raw) + len(body)
    peer.request = RawRequest(peer.number, asyncio.get_running_loop().time(), line, headers, body)
    return peer.request
