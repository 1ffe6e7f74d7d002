"""The example for aiohttp.web with a handler that goes on when its test lets it: ``python -m`` this, with ``GATE``."""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from eventpipe.integrations.aiohttp_web import client_of
from examples.aiohttp_app import app


async def gated(request: web.Request) -> web.Response:
    form = await request.post()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["GATE"]))
    await reader.read()
    writer.close()
    await client_of(request).capture("signed_up", distinct_id=str(form["user"]))
    return web.Response(status=204)


app.router.add_post("/gated", gated)
web.run_app(app, host="127.0.0.1", port=0)
