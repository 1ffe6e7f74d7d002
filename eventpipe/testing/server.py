"""A scripted HTTP server on loopback: a far end that answers, and misbehaves, on demand."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from eventpipe.testing.exchange import Behaviour, Received, Reply

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

Answer = Reply | int | Behaviour
Answering = Callable[[Received], Answer]

# Close is not allowed to hang a test: what has not ended by then is named in the error.
CLOSE_TIMEOUT = 2.0
WAIT_TIMEOUT = 5.0
BACKLOG = 1024  # connections that come at once; one too many is tried again after a whole second
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger for zero seconds


class ScriptedServer:
    """Answers each request with the next reply of its script, then with its default; keeps what it was sent.

    ```python
    async with ScriptedServer(503, "hang", Reply(429, {"Retry-After": "2"})) as server:
        sink = HttpSink(server.url)
    ```

    Args:
        *script: One per request, in the order in which the requests are read: a ``Reply``, a status or a behaviour.
        default: What follows the script: the same three, or a plain function of the request that returns one.
        ssl: Speak TLS. ``None`` means plain HTTP.
        mute: Accept connections and never read from them.

    Attributes:
        requests: What was read, in order.
        connections: Connections accepted so far.
        default: May be changed at any time.
        mute: May be changed at any time; holds for connections accepted from then on.
    """

    def __init__(
        self,
        *script: Answer,
        default: Answer | Answering = 200,
        ssl: ssl.SSLContext | None = None,
        mute: bool = False,
    ) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.default = default
        self.mute = mute
        self._script = deque(Reply.of(answer) for answer in script)
        self._ssl = ssl
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self._address[1]}"

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return len(self._tasks)

    @property
    def events(self) -> list[dict[str, Any]]:  # Any: JSON
        """The events of all requests that it accepted, in order."""
        return [event for request in self.requests if request.reply.accepts for event in request.events]

    @property
    def uuids(self) -> list[str]:
        """The ids of ``events``, in the same order."""
        return [event["uuid"] for event in self.events]

    def script(self, *answers: Answer) -> None:
        """Add replies to the end of the script."""
        self._script.extend(Reply.of(answer) for answer in answers)

    async def reached(self, count: int, timeout: float = WAIT_TIMEOUT) -> None:
        """Wait until ``count`` requests have been read, since the server was made.

        Raises:
            TimeoutError: Names the number that came.
        """
        await self._wait_until(lambda: len(self.requests) >= count, timeout, lambda: f"{len(self.requests)} requests")

    async def connected(self, count: int, timeout: float = WAIT_TIMEOUT) -> None:
        """Wait until ``count`` connections have been accepted, since the server was made.

        Raises:
            TimeoutError: Names the number that came.
        """
        await self._wait_until(lambda: self.connections >= count, timeout, lambda: f"{self.connections} connections")

    async def disconnected(self, timeout: float = WAIT_TIMEOUT) -> None:
        """Wait until no connection is open.

        Raises:
            TimeoutError: Names the number that is.
        """
        await self._wait_until(lambda: not self._tasks, timeout, lambda: f"{len(self._tasks)} connections still open")

    async def _wait_until(self, reached: Callable[[], bool], timeout: float, state: Callable[[], str]) -> None:
        waiting = (reached, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._announce()
        try:
            async with asyncio.timeout(timeout):
                await waiting[1]
        except TimeoutError:
            raise TimeoutError(f"after {timeout} s: {state()}") from None
        finally:
            self._waiting.remove(waiting)

    def _announce(self) -> None:
        for reached, future in self._waiting:
            if reached() and not future.done():
                future.set_result(None)

    async def start(self) -> None:
        """Listen on a free port of loopback, and on the same port after a stop."""
        self._server = await asyncio.start_server(self._accept, *self._address, ssl=self._ssl, backlog=BACKLOG)
        self._address = self._server.sockets[0].getsockname()

    async def stop(self) -> None:
        """Stop listening and cut every connection. May come twice."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = dict(self._tasks)
        for task, writer in tasks.items():
            task.cancel()
            writer.transport.abort()
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
            if pending:
                raise TimeoutError(f"{len(pending)} connections did not end within {CLOSE_TIMEOUT} s")
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.mute:
            cast("asyncio.ReadTransport", writer.transport).pause_reading()
        task = asyncio.create_task(self._serve(self.connections, reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(self._ended)
        self._announce()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._announce()

    async def _serve(self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.mute:
                await asyncio.get_running_loop().create_future()
            while (received := await self._read(connection, reader)) is not None:
                self.requests.append(received)
                self._announce()
                if not await _perform(received.reply, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, which is its right
        finally:
            writer.close()

    async def _read(self, connection: int, reader: asyncio.StreamReader) -> Received | None:
        """Read one request; ``None`` when the client closed the connection instead."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        request_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = request_line.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        if self._script and self._script[0].behaviour == "answer_early":
            raw = b""
        elif headers.get("transfer-encoding") == "chunked":
            raw = await _read_chunks(reader)
        else:
            raw = await reader.readexactly(int(headers.get("content-length", 0)))
        at = asyncio.get_running_loop().time()
        received = Received(len(self.requests) + 1, connection, at, method, path, headers, raw, Reply())
        return replace(received, reply=self._reply_to(received))

    def _reply_to(self, received: Received) -> Reply:
        if self._script:
            return self._script.popleft()
        return Reply.of(self.default(received) if callable(self.default) else self.default)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return b"".join(chunks)


async def _perform(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Do what the reply says; whether the connection is there for another request."""
    await asyncio.sleep(reply.latency)
    half = reply.body[: len(reply.body) // 2]
    match reply.behaviour:
        case "answer" | "answer_then_close":
            writer.write(reply.head + reply.body)
        case "answer_early":
            writer.write(reply.head + reply.body)
            await asyncio.get_running_loop().create_future()
        case "hang":
            await reader.read()  # until the client gives up
        case "reset":
            _reset(writer)
        case "garbage":
            writer.write(b"this is not HTTP\r\n\r\n")
        case "reset_body":
            writer.write(reply.head + half)
            await writer.drain()
            _reset(writer)
        case "short_body":
            writer.write(reply.head + half)
        case "stall_body":
            writer.write(reply.head + half)
            await reader.read()
        case "drip":
            await _drip(reply.head + reply.body, reply.interval, reader, writer)
        case "drip_body":
            writer.write(reply.head)
            await _drip(reply.body, reply.interval, reader, writer)
    await writer.drain()
    return reply.behaviour in ("answer", "drip", "drip_body")


async def _drip(data: bytes, interval: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in data:
        if reader.at_eof():
            return
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(interval)


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
