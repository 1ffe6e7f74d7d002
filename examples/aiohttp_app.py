"""A web application that captures events: ``COLLECTOR_URL=… python examples/aiohttp_app.py``."""

import os

from aiohttp import web

from eventpipe import AsyncClient
from eventpipe.integrations.aiohttp_web import EventMiddleware, RequestCapture, client_ctx, client_of
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")

routes = web.RouteTableDef()


@routes.post("/signup")
async def signup(request: web.Request) -> web.Response:
    form = await request.post()
    await client_of(request).capture("signed_up", distinct_id=str(form["user"]))
    return web.Response(status=204)


app = web.Application(middlewares=[EventMiddleware(requests=RequestCapture())])
app.cleanup_ctx.append(client_ctx(AsyncClient(HttpSink(COLLECTOR))))  # the first, so that it is closed last
app.add_routes(routes)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
