"""Quart: the client around its requests, with the templates of its routes, which it leaves nowhere by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventpipe.integrations.asgi import EventMiddleware, RequestCapture, client_of
from eventpipe.integrations.asgi_lifespan import ClientSource
from eventpipe.integrations.asgi_routes import ROUTE_KEY
from eventpipe.integrations.health import Scope

try:
    from quart import Quart, request, request_started
except ImportError as exc:
    raise ImportError("eventpipe.integrations.quart needs quart: pip install quart") from exc

__all__ = ["RequestCapture", "client_of", "setup"]


def setup(
    app: Quart,
    client: ClientSource,
    *,
    requests: RequestCapture | None = None,
    scope: Callable[[Scope], Mapping[str, Any] | None] | None = None,
) -> None:
    """Put an ``EventMiddleware`` around an application; the arguments are those of it.

    Raises:
        TypeError: An argument is of another kind; the message names it.
    """
    if not isinstance(app, Quart):
        raise TypeError(f"app must be a Quart, not {type(app).__name__}")
    app.asgi_app = EventMiddleware(app.asgi_app, client, requests=requests, scope=scope)  # type: ignore[method-assign]  # as its documentation says
    if requests is not None:
        request_started.connect(_leave_template, sender=app)


async def _leave_template(app: Quart, **_: object) -> None:
    if (rule := request.url_rule) is not None:
        request.scope[ROUTE_KEY] = rule.rule  # type: ignore[typeddict-unknown-key]
