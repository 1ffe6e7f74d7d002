"""A TCP proxy on loopback that cuts one connection after so many bytes of a request or of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Literal

from tests.edge.leaks import PATH
from tests.edge.raw_server import RESET_ON_CLOSE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

Way = Literal["request", "answer"]
Cut = tuple[Way, int, bool]
"""Which way, after how many bytes, and whether with RST."""


class CuttingProxy:
    """Hands bytes through, both ways, and cuts where it was told to, once; all else goes through whole.

    Args:
        port: Of the far end, on loopback.

    Attributes:
        cut: Where to cut, counted from when it is set; ``None``: nowhere. Is ``None`` again once it was done.
        passed: Bytes of either way that went through, over all connections.
        connections: How many there were.
        seen: What went to the far end.
    """

    def __init__(self, port: int) -> None:
        self.cut: Cut | None = None
        self.passed: dict[Way, int] = {"request": 0, "answer": 0}
        self.connections = 0
        self.seen = b""
        self._since = 0  # bytes that went the way of the cut since it was asked for
        self._port = port
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def has_cut(self) -> bool:
        """Whether the cut that was asked for was made."""
        return self.cut is None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._address[1]}{PATH}"

    @property
    def tls_url(self) -> str:
        """The same, before a far end that speaks TLS."""
        return self.url.replace("http://", "https://")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, *self._address)
        self._address = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except BaseException:
            writer.close()
            raise
        ends = [
            asyncio.create_task(self._pass("request", reader, far_writer)),
            asyncio.create_task(self._pass("answer", far_reader, writer)),
        ]
        is_reset = False
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            is_reset = any(end.result() for end in done)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.wait(ends)
            for side in (writer, far_writer):
                if is_reset:
                    side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    side.transport.abort()
                side.close()

    async def _pass(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Hand bytes through until one side ends, or the cut is reached; whether that is to be with RST."""
        while True:
            try:
                data = await reader.read(65_536)
            except ConnectionError:
                return False
            if not data:
                return False
            cut = self.cut
            is_here = cut is not None and cut[0] == way and self._since + len(data) >= cut[1]
            if cut is not None and is_here:
                data = data[: cut[1] - self._since]
            self._since += len(data) if cut is not None and cut[0] == way else 0
            self.passed[way] += len(data)
            if way == "request":
                self.seen += data
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            if cut is not None and is_here:
                self._since, self.cut = 0, None
                return cut[2]
