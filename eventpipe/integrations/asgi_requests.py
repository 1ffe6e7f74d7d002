"""One HTTP request on its way through an ASGI application, watched until its answer has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from eventpipe.integrations.asgi_routes import route_of
from eventpipe.integrations.health import Receive, Scope, Send
from eventpipe.integrations.requests import RequestCapture, hand_over

# From here on an answer is a failure, whose error a framework raises after it has answered, for the server to log.
FAILED = 500


class WatchedRequest:
    """What the messages of one request say of it; the event is captured once, when the answer has ended."""

    __slots__ = (
        "_began", "_capture", "_duration", "_is_captured", "_is_disconnected", "_path", "_receive", "_requests",
        "_scope", "_send", "_status", "_time",
    )  # fmt: skip

    def __init__(
        self,
        requests: RequestCapture,
        capture: Callable[..., object],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._requests = requests
        self._capture = capture
        self._scope = scope
        self._path = scope["path"]
        self._receive = receive
        self._send = send
        self._time = asyncio.get_running_loop().time
        self._began = self._time()
        self._status: int | None = None
        self._is_disconnected = False
        self._duration: float | None = None
        self._is_captured = False

    async def receive(self) -> Any:  # Any: as ASGI has it
        """Hand on what the server says, and notice that the client has gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._duration is None:
            self._is_disconnected = True
        return message

    async def send(self, message: Any) -> None:  # Any: as ASGI has it
        """Hand on what the application answers, and notice its end."""
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
        try:
            await self._send(message)
        except OSError:  # how a server says that nobody reads any more, since ASGI 2.4
            self._is_disconnected = True
            raise
        if kind == "http.response.body" and not message.get("more_body", False) and self._duration is None:
            self._duration = self._time() - self._began
            if self._status is not None and self._status < FAILED:
                self._capture_it(None)

    def end(self, error: BaseException | None = None) -> None:
        """The application is through with it, background work after the answer included.

        Args:
            error: What it raised; after the answer, that says something of a failed one only.
        """
        if self._is_captured:
            return
        if self._duration is None:
            self._duration = self._time() - self._began
        if self._status is None and error is not None and not self._is_disconnected:
            self._status = FAILED  # what servers and frameworks answer for it
        self._capture_it(error)

    def _capture_it(self, error: BaseException | None) -> None:
        self._is_captured = True
        scope = self._scope
        event = self._requests.describe(
            scope,
            method=scope["method"],
            route=route_of(scope, self._path),
            status=self._status,
            duration=self._duration or 0.0,
            headers=_headers_of(scope),
            is_disconnected=self._is_disconnected,
            error=error,
        )
        if event is not None:
            hand_over(self._capture, event)


def _headers_of(scope: Scope) -> Iterator[tuple[str, str]]:
    for name, value in scope["headers"]:
        yield name.decode("latin-1"), value.decode("latin-1")
