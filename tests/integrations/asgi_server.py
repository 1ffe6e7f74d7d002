"""A server of ASGI applications, played by hand: its life, and requests with as much of a client as they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from tests.integrations.asgi import Application, Message


class Life:
    """One run of the lifespan protocol.

    Attributes:
        sent: The types of what the application sent, in order.
        said: Its whole messages.
        state: What it put into the state of the server.
        task: The application.
    """

    def __init__(self, app: Application) -> None:
        self.said: list[Message] = []
        self.state: dict[str, Any] = {}
        self._coming: asyncio.Queue[Message] = asyncio.Queue()
        self._spoke = asyncio.Event()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self.task = asyncio.ensure_future(app(scope, self._coming.get, self._send))

    @property
    def sent(self) -> list[str]:
        return [message["type"] for message in self.said]

    @property
    def is_heard(self) -> bool:
        """Whether the application has taken what it was told."""
        return self._coming.empty()

    async def _send(self, message: Message) -> None:
        assert message["type"].startswith("lifespan."), "a server refuses what is of another protocol"
        self.said.append(message)
        self._spoke.set()

    async def start(self) -> Self:
        await self._tell("lifespan.startup")
        return self

    async def stop(self) -> None:
        await self._tell("lifespan.shutdown")
        await asyncio.wait({self.task})

    async def _tell(self, kind: str) -> None:
        self._spoke.clear()
        self._coming.put_nowait({"type": kind})
        speaking = asyncio.ensure_future(self._spoke.wait())
        await asyncio.wait({speaking, self.task}, return_when=asyncio.FIRST_COMPLETED)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)


@asynccontextmanager
async def living(app: Application) -> AsyncIterator[Life]:
    """The application between a start and a stop that both go well."""
    life = await Life(app).start()
    assert life.sent == ["lifespan.startup.complete"]
    yield life
    await life.stop()
    assert life.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    life.task.result()


async def request(
    app: Application,
    path: str = "/",
    method: str = "GET",
    *,
    headers: dict[str, str] | None = None,
    send: Callable[[Message], Awaitable[None]] | None = None,
    leaves: asyncio.Event | None = None,
    **scope: Any,
) -> int | None:
    """One HTTP request; the status of its answer, if there is one.

    Args:
        app: What is asked.
        path: Of the request.
        method: Of the request.
        headers: Of the request.
        send: What each message goes to as well.
        leaves: Set when the client goes away.
        scope: What else is in it.
    """
    statuses: list[int] = []
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])
    gone = leaves or asyncio.Event()

    async def receive() -> Message:
        for message in asked:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        if send is not None:
            await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            gone.set()  # as servers say it of an answer that has ended; Quart waits for it

    await app(
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "http",
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 1),
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"secret=1",
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            **scope,
        },
        receive,
        answer,
    )
    return statuses[0] if statuses else None
