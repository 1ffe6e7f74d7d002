"""Quart with events of handlers and of requests: ``COLLECTOR_URL=… uvicorn examples.quart_app:app``."""

import os

from quart import Quart, request

from eventpipe import AsyncClient
from eventpipe.integrations.quart import RequestCapture, client_of, setup
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")


def make_client() -> AsyncClient:
    return AsyncClient(HttpSink(COLLECTOR))


app = Quart(__name__)
setup(app, make_client, requests=RequestCapture(exclude={"/health"}))


@app.post("/signup")
async def signup() -> tuple[str, int]:
    await client_of(request).capture("signed_up", distinct_id=request.args["user"])
    return "", 204


@app.get("/health")
async def health() -> str:
    return "ok"
