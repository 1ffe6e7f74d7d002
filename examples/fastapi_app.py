"""A web application that captures events: ``COLLECTOR_URL=… uvicorn examples.fastapi_app:app``."""

import os

from fastapi import FastAPI

from eventpipe import AsyncClient
from eventpipe.integrations.fastapi import Events, lifespan
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")
app = FastAPI(lifespan=lifespan(lambda: AsyncClient(HttpSink(COLLECTOR))))


@app.post("/signup")
async def signup(user: str, events: Events) -> None:
    await events.capture("signed_up", distinct_id=user)
