"""FastAPI: the client as a typed dependency."""

from __future__ import annotations

from typing import Annotated

from eventpipe.client import AsyncClient
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture, client_of, lifespan

try:
    from fastapi import Depends
    from starlette.requests import HTTPConnection
except ImportError as exc:
    raise ImportError("eventpipe.integrations.fastapi needs fastapi: pip install fastapi") from exc

__all__ = ["EventMiddleware", "Events", "RequestCapture", "get_events", "lifespan"]


async def get_events(connection: HTTPConnection) -> AsyncClient:
    """The client of the application, as a dependency; what tests put into ``app.dependency_overrides``.

    Raises:
        RuntimeError: The application was given no client; the message says how.
    """
    return client_of(connection)


Events = Annotated[AsyncClient, Depends(get_events)]
