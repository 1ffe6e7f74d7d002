"""Litestar with events of handlers and of requests: ``COLLECTOR_URL=… uvicorn examples.litestar_app:app``."""

import os
from typing import Any

from litestar import Litestar, Request, get, post

from eventpipe import AsyncClient
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture, client_of
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")


def make_client() -> AsyncClient:
    return AsyncClient(HttpSink(COLLECTOR))


@post("/signup")
async def signup(request: Request[Any, Any, Any]) -> None:
    await client_of(request).capture("signed_up", distinct_id=request.query_params["user"])


@get("/health")
async def health() -> str:
    return "ok"


litestar = Litestar([signup, health], logging_config=None)  # the loggers stay as they are
app = EventMiddleware(litestar, make_client, requests=RequestCapture(exclude={"/health"}))
