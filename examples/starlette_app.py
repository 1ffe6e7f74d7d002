"""Starlette with events of handlers and of requests: ``COLLECTOR_URL=… uvicorn examples.starlette_app:app``."""

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from eventpipe import AsyncClient
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture, client_of, lifespan
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")


def make_client() -> AsyncClient:
    return AsyncClient(HttpSink(COLLECTOR))


async def signup(request: Request) -> Response:
    await client_of(request).capture("signed_up", distinct_id=request.query_params["user"])
    return Response(status_code=204)


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


app = Starlette(
    routes=[Route("/signup", signup, methods=["POST"]), Route("/health", health)],
    middleware=[Middleware(EventMiddleware, requests=RequestCapture(exclude={"/health"}))],
    lifespan=lifespan(make_client),
)
