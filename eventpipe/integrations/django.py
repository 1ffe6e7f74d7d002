"""Django: a client from the settings, a scope for each request, and requests as events; under ASGI and under WSGI.

```python
EVENTPIPE = {"CLIENT": "shop.events.client", "REQUESTS": RequestCapture(), "SCOPE": "shop.events.scope"}
MIDDLEWARE = ["eventpipe.integrations.django.EventMiddleware", ...]
```
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from eventpipe.client import AsyncClient
from eventpipe.core.log import contained_logger
from eventpipe.errors import ClosedError
from eventpipe.integrations import asgi
from eventpipe.integrations.asgi_lifespan import Application, LifespanRun
from eventpipe.integrations.django_ends import Lifetime, has_lifespan
from eventpipe.integrations.health import Receive, Scope, Send
from eventpipe.integrations.requests import RequestCapture, hand_over
from eventpipe.sync import SyncClient

try:
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction
    from django.core.exceptions import ImproperlyConfigured
    from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from eventpipe.integrations.django_settings import client_in_settings, what_to_do
except ImportError as exc:
    raise ImportError("eventpipe.integrations.django needs django: pip install django") from exc

__all__ = ["EventMiddleware", "RequestCapture", "get_client", "get_sync_client", "with_client"]

logger = contained_logger("eventpipe")

_NO_LOOP: Final = (
    'EVENTPIPE["CLIENT"] is an AsyncClient, and its events wait for an event loop, which WSGI does not have; '
    "make it a SyncClient, or serve the application by ASGI, with_client() around it"
)
_NO_LIFESPAN: Final = (
    "nothing closes the client when the server ends, and what is pending then is lost; "
    "in asgi.py: application = with_client(get_asgi_application()), under a server with a lifespan"
)


def get_client() -> AsyncClient:
    """The ``AsyncClient`` of the settings, for views of an application that is served by ASGI.

    Raises:
        ImproperlyConfigured: There is none; the message says how to give it, or which function to call.
    """
    client = client_in_settings()
    if not isinstance(client, AsyncClient):
        raise ImproperlyConfigured('EVENTPIPE["CLIENT"] is a SyncClient: get_sync_client() gives it')
    return client


def get_sync_client() -> SyncClient:
    """The ``SyncClient`` of the settings, wherever it runs: under WSGI or ASGI, in a command, in a task of Celery.

    It is closed when the process ends, and sends what is left, within ``close_timeout``.

    Raises:
        ImproperlyConfigured: There is none; the message says how to give it, or which function to call.
    """
    client = client_in_settings()
    if not isinstance(client, SyncClient):
        raise ImproperlyConfigured('EVENTPIPE["CLIENT"] is an AsyncClient: get_client() gives it')
    return client


def with_client(application: Any) -> Application:  # Any: Django's handler, or what Channels puts around it
    """Start the client of the settings with the server, and close it with it: in ``asgi.py``.

    ``application = with_client(get_asgi_application())``, around all else. The server runs its lifespan, which Django
    itself does not know; Uvicorn, Hypercorn and Granian do, Daphne does not.

    Raises:
        ImproperlyConfigured: The settings have no client.
        TypeError: It is no ASGI application.
    """
    if isinstance(application, WSGIHandler):
        raise TypeError("with_client() belongs into asgi.py; wsgi.py needs no such line, and stays as it is")
    client = client_in_settings()
    if isinstance(client, AsyncClient):
        return asgi.EventMiddleware(application, client)
    if not callable(application):
        raise TypeError(f"app must be an ASGI application, not {type(application).__name__}")
    lifetime = Lifetime(client)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await LifespanRun(lifetime, application, receive, send).run(scope)
        else:
            await application(scope, receive, send)

    return serve


class EventMiddleware:
    """A middleware, for ``settings.MIDDLEWARE``, that gives each request a scope and, when asked to, captures it.

    Under ASGI it runs without a thread where its neighbours do, else in theirs. Requests are captured when Django has
    the response: the status is what the client is sent, whatever a view raised. The route is that of the URL pattern,
    ``users/<int:pk>/``, never the path; as the first in the list it sees what all other middleware answers.

    Attributes:
        sync_capable: As Django asks of a middleware.
        async_capable: As above.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:  # Any: the response, or one to come
        """Read ``settings.EVENTPIPE``.

        Args:
            get_response: What is inside, as Django hands it in.

        Raises:
            ImproperlyConfigured: A setting is missing or wrong; the message names it.
        """
        self._get_response = get_response
        self._client = client_in_settings()
        self._requests, self._scope = what_to_do()
        self._is_async = bool(iscoroutinefunction(get_response))
        self._has_looked = False
        if self._is_async:
            markcoroutinefunction(self)

    @property
    def errors(self) -> int:
        """Calls of the user's functions that raised or returned what makes no sense; the requests were served."""
        return self._scope.errors + (0 if self._requests is None else self._requests.errors)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve one request, with a coroutine where what is inside is one."""
        return self._serve_async(request) if self._is_async else self._serve(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Remember what a view raised, which Django makes a response of."""
        if self._requests is not None:
            request._eventpipe_error = exception

    def _serve(self, request: HttpRequest) -> HttpResponseBase:
        with self._scope.of(request):
            if self._requests is None:
                return self._get_response(request)
            self._look_after(request)
            began = time.monotonic()
            status: int | None = 500
            try:
                response = self._get_response(request)
                status = response.status_code
            finally:
                self._capture(self._requests, request, status, time.monotonic() - began)
            return response

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        with self._scope.of(request):
            client = self._client
            if self._requests is None:
                return await self._get_response(request)
            self._look_after(request)
            if isinstance(client, AsyncClient) and not client._runtime.is_here:
                with contextlib.suppress(ClosedError):  # it drops what comes, and counts that
                    await client.__aenter__()  # where no lifespan did, or its loop is gone
            now = asyncio.get_running_loop().time
            began = now()
            status: int | None = 500
            try:
                response = await self._get_response(request)
                status = response.status_code
            except asyncio.CancelledError:
                status = None  # nobody is there to be answered
                raise
            finally:
                self._capture(self._requests, request, status, now() - began)
            return response

    def _capture(self, requests: RequestCapture, request: HttpRequest, status: int | None, duration: float) -> None:
        match = request.resolver_match
        raised = request.__dict__.pop("_eventpipe_error", None)
        event = requests.describe(
            request,
            method=request.method,
            route=None if match is None else match.route,
            status=status,
            duration=duration,
            headers=request.headers.items() if requests.allow_headers else (),
            is_disconnected=status is None,
            error=raised if status == 500 else None,  # a 404 and a 403 are raised as well
        )
        if event is not None:
            hand_over(self._client.capture_nowait, event)

    def _look_after(self, request: HttpRequest) -> None:
        """Say it, once, where nothing runs the client, or nothing closes it."""
        if self._has_looked:
            return
        self._has_looked = True
        client, is_wsgi = self._client, isinstance(request, WSGIRequest)
        if isinstance(client, SyncClient):
            if not is_wsgi and client not in has_lifespan:
                logger.warning(_NO_LIFESPAN)
        elif not client._runtime.has_loop:
            logger.warning(_NO_LOOP if is_wsgi else _NO_LIFESPAN)
