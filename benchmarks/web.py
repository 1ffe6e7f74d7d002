"""A web service with two handlers, of which one asks for the client and captures: ``python -m benchmarks.web URL``.

It prints its port when it listens; a line on its standard input ends it. Then it prints what it captured, delivered and
dropped, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys

import uvicorn
from fastapi import FastAPI

from eventpipe import AsyncClient
from eventpipe.integrations.fastapi import Events, lifespan
from eventpipe.sinks import HttpSink


def application(client: AsyncClient) -> FastAPI:
    """The service."""
    app = FastAPI(lifespan=lifespan(client))

    @app.post("/plain")
    async def plain(user: str) -> dict[str, str]:
        return {"user": user}

    @app.post("/captured")
    async def captured(user: str, events: Events) -> dict[str, str]:
        await events.capture("signed_up", distinct_id=user, properties={"plan": "pro", "referrer": "newsletter"})
        return {"user": user}

    return app


class Server(uvicorn.Server):
    """uvicorn that prints where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


async def serve(url: str) -> None:
    """Serve until a line comes."""
    client = AsyncClient(HttpSink(url, timeout=2), close_timeout=1)
    # Connections stay open for as long as a turn lasts: most wait in vain where one is enough.
    config = uvicorn.Config(application(client), port=0, log_level="warning", access_log=False, timeout_keep_alive=3600)
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    await asyncio.to_thread(sys.stdin.readline)
    server.should_exit = True
    await serving
    found = client.statistics()
    print(json.dumps({"captured": found.captured, "delivered": found.delivered, "dropped": found.dropped}), flush=True)


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    asyncio.run(serve(sys.argv[1]))
