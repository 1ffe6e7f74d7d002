"""aiohttp.web: a client that lives as long as the application, a scope for each request, and requests as events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from eventpipe.checked import shown
from eventpipe.client import AsyncClient
from eventpipe.core.log import contained_logger
from eventpipe.integrations.request_callbacks import RequestScope
from eventpipe.integrations.requests import RequestCapture, check_requests, hand_over

__all__ = ["CLIENT", "EventMiddleware", "RequestCapture", "client_ctx", "client_of"]

logger = contained_logger("eventpipe")

CLIENT = web.AppKey("eventpipe", AsyncClient)

_NO_CLIENT = "the application has no eventpipe client: give it one with app.cleanup_ctx.append(client_ctx(client))"


def client_ctx(client: AsyncClient) -> Callable[[web.Application], AsyncIterator[None]]:
    """Start ``client`` with an application and close it with it: ``app.cleanup_ctx.append(client_ctx(client))``.

    It is in ``app[CLIENT]`` meanwhile. aiohttp closes contexts in reverse order, after the last handler has returned:
    the first context of an application outlives the others. Functions of ``on_cleanup``, and the contexts of
    applications inside it, come later still; what those have to capture belongs into ``on_shutdown``.

    Args:
        client: Nothing has closed it, and nothing else will.

    Raises:
        TypeError: It is no client.
    """
    if not isinstance(client, AsyncClient):
        raise TypeError(f"client must be an AsyncClient, not {shown(client)}")

    async def context(app: web.Application) -> AsyncIterator[None]:
        if app.get(CLIENT, client) is not client:
            raise RuntimeError("the application has another client already; one client_ctx() an application is enough")
        app[CLIENT] = client
        async with client:
            yield  # leaving sends what is left, within close_timeout

    return context


def client_of(request: web.Request) -> AsyncClient:
    """The client of the application that serves ``request``, or of the one it is inside of.

    Raises:
        RuntimeError: There is none.
    """
    client = request.config_dict.get(CLIENT)
    if client is None:
        raise RuntimeError(_NO_CLIENT)
    return client


class EventMiddleware:
    """A middleware of ``web.Application`` that gives each request a scope and, when asked to, captures it.

    Requests are captured with the client of ``client_ctx()`` when their handler is done: the status is that of what it
    returned or raised, an ``HTTPException`` included; any other error is a 500, as aiohttp answers it. The route is the
    resource's ``canonical``, ``/users/{id}``, never the path. A websocket, which is a connection, has a scope alone,
    however it ends.
    """

    __middleware_version__ = 1  # by which aiohttp knows that this is called with a request and a handler

    def __init__(
        self,
        *,
        requests: RequestCapture | None = None,
        scope: Callable[[web.Request], Mapping[str, Any] | None] | None = None,  # Any: what JSON can carry
    ) -> None:
        """Check everything.

        Args:
            requests: What to capture of each request. ``None``: nothing.
            scope: Says of a request what all events captured inside it have, in the words of ``eventpipe.scope()``: a
                plain function that returns a mapping, or ``None``. ``None``: there is no scope.

        Raises:
            TypeError: ``requests`` is no ``RequestCapture``, or ``scope`` no plain function.
        """
        check_requests(requests)
        self._requests = requests
        self._scope = RequestScope(scope)
        self._has_missed = False

    @property
    def errors(self) -> int:
        """Calls of the user's functions that raised or returned what makes no sense; the requests were served."""
        return self._scope.errors + (0 if self._requests is None else self._requests.errors)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve one request; what the handler raises goes on."""
        with self._scope.of(request):
            requests = self._requests
            if requests is None or (client := self._found(request)) is None:
                return await handler(request)
            return await _captured(request, handler, requests, client)

    def _found(self, request: web.Request) -> AsyncClient | None:
        """The client; without one, requests are served all the same, and the log says it once."""
        client = request.config_dict.get(CLIENT)
        if client is None and not self._has_missed:
            self._has_missed = True
            logger.error("requests are not captured, because %s", _NO_CLIENT)
        return client


async def _captured(
    request: web.Request, handler: Handler, requests: RequestCapture, client: AsyncClient
) -> web.StreamResponse:
    now = asyncio.get_running_loop().time
    began = now()
    status: int | None = 500
    error: BaseException | None = None
    response: web.StreamResponse | None = None
    try:
        response = await handler(request)
        if isinstance(response, web.StreamResponse):  # else it forgot to return one, which aiohttp answers with 500
            status = response.status
    except web.HTTPException as answer:
        status = answer.status
        raise
    except asyncio.CancelledError:
        status = None
        raise
    except Exception as exc:
        error = exc
        raise
    finally:
        if not _is_socket(request, response):
            event = requests.describe(
                request,
                method=request.method,
                route=_route_of(request),
                status=status,
                duration=now() - began,
                headers=request.headers.items(),
                is_disconnected=status is None and request.transport is None,
                error=error,
            )
            if event is not None:
                hand_over(client.capture_nowait, event)
    return response


def _is_socket(request: web.Request, response: web.StreamResponse | None) -> bool:
    """Whether it was a websocket; where the handler returned no answer, by what was asked for and has begun."""
    if isinstance(response, web.StreamResponse):
        return isinstance(response, web.WebSocketResponse)
    return request.headers.get("Upgrade", "").lower() == "websocket" and request.writer.output_size > 0


def _route_of(request: web.Request) -> str | None:
    """The template of the route, as it was added; ``None``: there is none."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical
