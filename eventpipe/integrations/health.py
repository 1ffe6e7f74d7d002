"""An ASGI application that says how a client does: for probes, load balancers and ``eventpipe top``."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from functools import partial
from math import isfinite
from typing import Any

import orjson

from eventpipe import __version__
from eventpipe.client import AsyncClient
from eventpipe.health import Health
from eventpipe.integrations.snapshots import read_async, steady
from eventpipe.statistics import Statistics

Scope = MutableMapping[str, Any]  # Any: ASGI says of each key what it has, and servers add their own
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]  # Any: as above
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]  # Any: as above

_METHODS = ("GET", "HEAD")
_began = time.monotonic()


class HealthEndpoint:
    """Answers GET and HEAD with 200 when the client is ready, else with 503; by itself or mounted, at any path.

    The body is JSON: ``status``, ``health``, ``statistics`` and ``process``, with the names of the attributes of
    ``Health`` and ``Statistics``. No payload and no id of an event is in it. The server may run on another loop, in
    another thread, than the client.
    """

    def __init__(self, client: AsyncClient, *, event_names: bool = False) -> None:
        """Start nothing.

        Args:
            client: Whose health is told; it may be asked before it starts and after it was closed.
            event_names: Whether to tell counters by event name; a name may say more than a stranger should know.

        Raises:
            TypeError: It is no client.
        """
        if not isinstance(client, AsyncClient):
            raise TypeError(f"client must be an AsyncClient, not {client!r}")
        self._client = client
        self._event_names = event_names

    def __repr__(self) -> str:
        return f"<HealthEndpoint of {self._client!r}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI 3 says.

        Raises:
            ValueError: It is of a kind that this does not know, as ASGI asks of an application.
        """
        kind = scope.get("type")
        if kind == "http":
            await self._answer(str(scope.get("method", "")), send)
        elif kind == "websocket":
            await receive()  # the request to connect, which is denied: the server answers 403
            await send({"type": "websocket.close", "code": 1000})
        elif kind == "lifespan":
            await _live(receive, send)
        else:
            raise ValueError(f"a health endpoint answers http, not a scope of type {kind!r}")

    async def _answer(self, method: str, send: Send) -> None:
        status, extra, body = 405, [(b"allow", b"GET, HEAD")], b'{"status":"method_not_allowed"}'
        if method in _METHODS:
            health, statistics = await read_async(self._client, partial(_look, self._client))
            status, extra, body = 200 if health else 503, [], self._body(health, statistics)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    def _body(self, health: Health, statistics: Statistics) -> bytes:
        hidden = frozenset[str]() if self._event_names else frozenset({"by_event"})
        return orjson.dumps(
            {
                "status": "ready" if health else "not_ready",
                "health": {"is_ready": health.is_ready, **_plain(health, hidden)},
                "statistics": _plain(statistics, hidden),
                "process": {
                    "pid": os.getpid(),
                    "uptime": time.monotonic() - _began,
                    "version": __version__,
                    "now": time.time(),
                },
            }
        )


def _look(client: AsyncClient) -> tuple[Health, Statistics]:
    return client.health(), steady(client)


async def _live(receive: Receive, send: Send) -> None:
    """Agree to start and to stop, where this is the whole application of a server."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


def _plain(value: Any, hidden: frozenset[str]) -> Any:  # Any: what JSON has
    """A snapshot as JSON has it: its attributes by name, without those ``hidden``.

    A number without end has no place in JSON, nor has half of a character; neither may cost the answer.
    """
    if is_dataclass(value):
        names = (field.name for field in fields(value))
        return {name: _plain(getattr(value, name), hidden) for name in names if name not in hidden}
    if isinstance(value, Mapping):
        return {_text(key): _plain(part, hidden) for key, part in value.items()}
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (tuple, list)):
        return [_plain(part, hidden) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
