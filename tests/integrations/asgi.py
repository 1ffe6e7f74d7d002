"""An ASGI application called by hand, and one under a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import uvicorn

Message = MutableMapping[str, Any]


class Application(Protocol):
    """What ASGI 3 calls."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@dataclass
class Answer:
    """What an application sent in reply to one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(application: Application, method: str = "GET", **scope: object) -> Answer:
    """One HTTP request, without a server."""
    start, *rest = await converse(application, {"type": "http", "method": method, "path": "/", "headers": [], **scope})
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(message["body"] for message in rest))


async def converse(application: Application, scope: Message, *received: Message) -> list[Message]:
    """What the application sends while it receives that."""
    sent: list[Message] = []
    coming = iter(received)

    async def receive() -> Message:
        return next(coming)

    async def send(message: Message) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent


@contextmanager
def served(application: Application) -> Iterator[str]:
    """The application under uvicorn, on a loop and in a thread of its own; gives its address."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="error", lifespan="on", loop="asyncio"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.005)
            assert thread.is_alive(), "the application did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
