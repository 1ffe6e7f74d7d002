"""A web application that captures events: ``COLLECTOR_URL=… uvicorn examples.fastapi_app:app``."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from eventpipe import AsyncClient
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/batch")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncClient(HttpSink(COLLECTOR)) as client:
        app.state.events = client
        yield  # leaving sends what is left, within close_timeout


app = FastAPI(lifespan=lifespan)


@app.post("/signup")
async def signup(user: str) -> None:
    await app.state.events.capture("signed_up", distinct_id=user)
