"""A client in an ASGI application: FastAPI, Starlette, Litestar, Quart, or one written by hand.

``lifespan()`` is for frameworks that take one. ``EventMiddleware`` needs nothing of a framework, not even that it knows
the lifespan protocol; it also opens a scope for each request, and captures requests where asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventpipe.client import AsyncClient
from eventpipe.core.log import contained_logger
from eventpipe.errors import ClosedError
from eventpipe.integrations.asgi_lifespan import (
    STATE_KEY,
    Application,
    ClientHolder,
    ClientSource,
    LifespanRun,
    lifespan,
)
from eventpipe.integrations.asgi_requests import WatchedRequest
from eventpipe.integrations.health import Receive, Scope, Send
from eventpipe.integrations.request_callbacks import RequestScope
from eventpipe.integrations.requests import RequestCapture, check_requests

__all__ = ["EventMiddleware", "RequestCapture", "client_of", "lifespan"]

logger = contained_logger("eventpipe")


class EventMiddleware:
    """An ASGI application around another, whose requests and connections find the client.

    ```python
    app = EventMiddleware(app, client, requests=RequestCapture(), scope=lambda scope: {"distinct_id": ...})
    app.add_middleware(EventMiddleware, client=client)  # FastAPI and Starlette have this for it
    ```

    As the outermost one it sees what is really answered.
    """

    def __init__(
        self,
        app: Application,
        client: ClientSource | None = None,
        *,
        requests: RequestCapture | None = None,
        scope: Callable[[Scope], Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Check everything and start nothing.

        Args:
            app: The application inside.
            client: The client, which is started before the application and closed after it; or a plain function that
                makes one, so that the application can start more than once. ``None``: the one that a ``lifespan()``
                has; the middleware starts and closes nothing then.
            requests: What to capture of each HTTP request. ``None``: nothing.
            scope: What all events have that are captured inside a request, or inside the connection of a websocket: a
                plain function of the ASGI scope that returns the arguments of ``eventpipe.scope()`` as a mapping, or
                ``None``. ``None``: nothing.

        Raises:
            TypeError: An argument is of another kind; the message names it.
        """
        if not callable(app):
            raise TypeError(f"app must be an ASGI application, not {type(app).__name__}")
        check_requests(requests)
        self._app = app
        self._holder = None if client is None else ClientHolder(client)
        self._requests = requests
        self._scope = RequestScope(scope)
        self._has_missed = False

    @property
    def errors(self) -> int:
        """Calls of the functions that were handed in, which raised or returned what makes no sense."""
        return self._scope.errors + (0 if self._requests is None else self._requests.errors)

    def __repr__(self) -> str:
        return f"<EventMiddleware around {type(self._app).__name__}, {self.errors} errors>"

    # Any: frameworks and servers have types of their own for these, which are all the same.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, as ASGI 3 says; what the application raises goes on."""
        kind = scope["type"]
        if kind == "lifespan" and self._holder is not None:
            await self._live(self._holder, scope, receive, send)
        elif kind in ("http", "websocket"):
            await self._serve(kind, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        client = None if self._holder is None else self._holder.client
        if client is not None:
            scope.setdefault("state", {})[STATE_KEY] = client
        with self._scope.of(scope):
            requests = self._requests if kind == "http" else None
            if requests is not None and (client := client or self._found(scope)) is not None:
                await self._watch(requests, client, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _watch(
        self, requests: RequestCapture, client: AsyncClient, scope: Scope, receive: Receive, send: Send
    ) -> None:
        # Where no lifespan did, or its loop is gone: what is captured without waiting starts nothing by itself.
        if not client._runtime.is_here:
            await _start(client)
        request = WatchedRequest(requests, client.capture_nowait, scope, receive, send)
        try:
            await self._app(scope, request.receive, request.send)
        except BaseException as error:
            request.end(error)
            raise
        request.end()

    def _found(self, scope: Scope) -> AsyncClient | None:
        """The client of a lifespan; without one, requests are served all the same, and the log says it once."""
        client = _client_in(scope)
        if client is None and not self._has_missed:
            self._has_missed = True
            logger.error("requests are not captured, because %s", _NO_CLIENT)
        return client

    async def _live(self, holder: ClientHolder, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            client = holder.opened()
        except Exception as error:
            await receive()
            # An exception alone would mean to a server that nobody here knows the protocol.
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await LifespanRun(client, self._app, receive, send).run(scope)


def client_of(connection: Any) -> AsyncClient:  # Any: an ASGI scope, or the request of any framework
    """Find the client of the application that serves a request.

    Args:
        connection: The request or the websocket of Starlette, FastAPI, Litestar or Quart, or its ASGI scope.

    Raises:
        RuntimeError: The application was given no client; the message says how.
    """
    client = _client_in(connection if isinstance(connection, Mapping) else getattr(connection, "scope", {}))
    if client is None:
        raise RuntimeError(_NO_CLIENT)
    return client


_NO_CLIENT = (
    "the application has no eventpipe client: give it one with lifespan(client), as in "
    "FastAPI(lifespan=lifespan(client)), which the server runs, or in a test `with TestClient(app):`; "
    "or with EventMiddleware(app, client), or for a Quart with setup(app, client)"
)


def _client_in(scope: Mapping[str, Any]) -> AsyncClient | None:  # Any: as ASGI has it
    client = (scope.get("state") or {}).get(STATE_KEY)
    if client is None:
        app = scope.get("app") or scope.get("litestar_app")
        client = getattr(getattr(app, "state", None), STATE_KEY, None)
    return client if isinstance(client, AsyncClient) else None


async def _start(client: AsyncClient) -> None:
    try:
        await client.__aenter__()
    except ClosedError:
        return  # it drops what comes, and counts that
