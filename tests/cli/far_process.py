"""A process that is asked how it does, and answers as a script has it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An answer in HTTP, after which the connection is closed."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class FarProcess:
    """Answers on a port of this machine.

    Attributes:
        url: Where.
        answers: What is written to the next connections, each until it is closed; the last one again and again.
            ``None``: nothing is, and the connection stays open.
        requests: The heads of the requests so far.
        asked: Set at the first of them.
    """

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.url = ""
        self.answers = list(answers)
        self.requests: list[str] = []
        self.asked = asyncio.Event()
        self._ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode("latin-1"))
            self.asked.set()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                await self._ended.wait()
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def end(self) -> None:
        """Let go of those who wait for an answer."""
        self._ended.set()


@asynccontextmanager
async def far_process(*answers: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[FarProcess]:
    far = FarProcess(answers)
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0, ssl=tls)
    far.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield far
    finally:
        far.end()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)
