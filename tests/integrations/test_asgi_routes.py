"""Requests are captured by the template of their route, as each framework has it, and never by their path."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar
from litestar import Router as LitestarRouter
from litestar import get as litestar_get
from litestar.middleware import DefineMiddleware
from quart import Blueprint, Quart
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles

from eventpipe import AsyncClient
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture
from eventpipe.integrations.asgi_routes import route_of
from eventpipe.integrations.quart import setup
from eventpipe.sinks import MemorySink
from tests.integrations.asgi import Application
from tests.integrations.asgi_server import request

pytestmark = pytest.mark.asyncio

REQUESTS = RequestCapture()

# A user is 471108154711 here: so many digits are in no id and no duration by chance.


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def litestar_app(**options: Any) -> Litestar:
    @litestar_get("/users/{user_id:int}")
    async def user() -> str:
        return "user"

    router = LitestarRouter("/v1", route_handlers=[user])
    return Litestar([router], logging_config=None, openapi_config=None, **options)


def starlette_app(**options: Any) -> Starlette:
    return Starlette(
        routes=[
            Route("/users/{user:int}", hello),
            Route("/files/{rest:path}", hello),
            # The same application in two places, one of them with more of the caller's text in it.
            Mount("/tenants/{tenant}", routes=[Mount("/deep/{more}", routes=[Route("/w/{x}", hello)])]),
            Mount("/plain", routes=[Mount("/deep", routes=[Route("/w/{x}", hello)])]),
            Mount("/static", StaticFiles(directory="/", check_dir=False)),
            Host("api.example", app=Starlette(routes=[Mount("/hosted", routes=[Route("/{x}", hello)])])),
        ],
        **options,
    )


def fastapi_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    outer, inner = APIRouter(prefix="/r"), APIRouter(prefix="/in/{t}")

    @outer.get("/x/{a}")
    async def x(a: str) -> str:
        return a

    @inner.get("/y/{b:path}")
    async def y(b: str) -> str:
        return b

    @app.get("/numbers/{n}")
    async def number(n: int) -> int:
        return n

    below = FastAPI()

    @below.get("/s/{c}")
    async def s(c: str) -> str:
        return c

    outer.include_router(inner)
    app.include_router(outer, prefix="/v1")
    app.include_router(outer, prefix="/v2")
    app.mount("/starlette/{tenant}", starlette_app())
    app.mount("/api", below)
    mounted: Any = litestar_app()
    app.mount("/litestar", mounted)
    return app


STARLETTE = [
    ("/users/471108154711", "/users/{user}"),
    ("/users/anna", "unmatched"),
    ("/files/471108154711/b", "/files/{rest}"),
    ("/nothing/471108154711", "unmatched"),
    ("/tenants/471108154711/deep/b/w/c", "/tenants/{tenant}/deep/{more}/w/{x}"),
    ("/tenants/deep/deep/deep/w/deep", "/tenants/{tenant}/deep/{more}/w/{x}"),
    ("/tenants/471108154711/none", "/tenants/{tenant}/{path}"),
    ("/plain/deep/w/471108154711", "/plain/deep/w/{x}"),
    ("/static/471108154711", "/static/{path}"),
]
FASTAPI = [
    ("/numbers/471108154711", "/numbers/{n}"),
    ("/numbers/anna", "/numbers/{n}"),
    ("/v1/r/x/471108154711", "/v1/r/x/{a}"),
    ("/v2/r/x/471108154711", "/v2/r/x/{a}"),
    ("/v2/r/in/471108154711/y/a/b", "/v2/r/in/{t}/y/{b}"),
    ("/api/s/471108154711", "/api/s/{c}"),
    ("/api/docs", "/api/docs"),
    ("/openapi.json", "/openapi.json"),
    ("/starlette/471108154711/users/1", "/starlette/{tenant}/users/{user}"),
    ("/starlette/471108154711/plain/deep/w/c", "/starlette/{tenant}/plain/deep/w/{x}"),
    ("/litestar/v1/users/471108154711", "/litestar/v1/users/{user_id}"),
    ("/v1/471108154711", "unmatched"),
]
LITESTAR = [
    ("/v1/users/471108154711", "/v1/users/{user_id}"),
    ("/v1/users/anna", "unmatched"),
    ("/471108154711", "unmatched"),
]
ADDED = [Middleware(EventMiddleware, requests=REQUESTS)]


async def routes(app: Application, paths: list[str], client: AsyncClient, sink: MemorySink, **scope: Any) -> list[str]:
    """What the requests of these paths are captured as, in order."""
    for path in paths:
        await request(app, path, state={"eventpipe": client}, **scope)
    await client.aclose()
    assert not any("471108154711" in event.json.decode() for event in sink.events)
    return [event.properties["route"] for event in sink.events]


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (EventMiddleware(starlette_app(), requests=REQUESTS), STARLETTE),
        (starlette_app(middleware=ADDED), STARLETTE),
        (EventMiddleware(fastapi_app(), requests=REQUESTS), FASTAPI),
        (fastapi_app(middleware=ADDED), FASTAPI),
        (EventMiddleware(litestar_app(), requests=REQUESTS), LITESTAR),
        # Litestar asks the middleware that it is given itself for what it has routed, and nothing else.
        (litestar_app(middleware=[DefineMiddleware(EventMiddleware, requests=REQUESTS)]), LITESTAR[:1]),
    ],
    ids=["starlette", "starlette-added", "fastapi", "fastapi-added", "litestar", "litestar-added"],
)
async def test_a_request_is_known_by_the_template_of_its_route(
    app: Application, expected: list[tuple[str, str]]
) -> None:
    """With the prefixes of routers and mounts, and nothing of what the caller wrote in place of a parameter."""
    sink = MemorySink()

    found = await routes(app, [path for path, _ in expected], AsyncClient(sink), sink)

    assert found == [template for _, template in expected]


async def test_a_proxy_s_prefix_is_no_part_of_the_template() -> None:
    """Where the server says a root path, templates are as the application writes them."""
    paths = [("/proxied" + path, template) for path, template in STARLETTE]
    app = EventMiddleware(starlette_app(), requests=REQUESTS)
    sink = MemorySink()

    found = await routes(app, [path for path, _ in paths], AsyncClient(sink), sink, root_path="/proxied")

    assert found == [template for _, template in paths]


async def test_routes_of_a_host_have_no_host_in_them() -> None:
    """Which is the caller's own text."""
    app = EventMiddleware(starlette_app(), requests=REQUESTS)
    sink = MemorySink()

    found = await routes(app, ["/hosted/471108154711"], AsyncClient(sink), sink, headers={"host": "api.example"})

    assert found == ["/hosted/{x}"]


async def test_quart_says_its_rules() -> None:
    """With the prefix of a blueprint; what it has no rule for is unmatched."""
    sink = MemorySink()
    client = AsyncClient(sink)
    app = Quart("app")
    blueprint = Blueprint("users", "users", url_prefix="/v1")

    @blueprint.get("/users/<int:user>")
    async def user(user: int) -> str:
        return "user"

    app.register_blueprint(blueprint)
    setup(app, client, requests=REQUESTS)

    found = await routes(app, ["/v1/users/471108154711", "/v1/users/anna", "/471108154711"], client, sink)

    assert found == ["/v1/users/<int:user>", "unmatched", "unmatched"]


async def test_only_a_quart_is_set_up() -> None:
    """Other frameworks have an ``EventMiddleware`` around them."""
    with pytest.raises(TypeError, match="app must be a Quart, not Starlette"):
        setup(Starlette(), AsyncClient(MemorySink()))  # type: ignore[arg-type]


async def test_an_application_by_hand_says_its_own_template() -> None:
    """In the scope; without it, or with what is no text, a request is unmatched."""
    sink = MemorySink()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/nothing":
            scope["eventpipe.route"] = scope["said"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    client = AsyncClient(sink)
    wrapped = EventMiddleware(app, requests=REQUESTS)
    await request(wrapped, state={"eventpipe": client}, said="/users/{user}")
    await request(wrapped, state={"eventpipe": client}, said=471108154711)
    await request(wrapped, "/nothing", state={"eventpipe": client})
    await client.aclose()

    assert [event.properties["route"] for event in sink.events] == ["/users/{user}", "unmatched", "unmatched"]


class Hostile:
    """A route whose every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(re.escape(name))


@pytest.mark.parametrize(
    "left",
    [
        {"route": Hostile()},
        {"route": None, "endpoint": hello, "router": Hostile()},
        {"endpoint": hello},
        {"path_template": 3},
        {"route": object(), "fastapi": 3},
    ],
    ids=["route", "router", "no-router", "template", "fastapi"],
)
async def test_a_scope_of_an_unknown_shape_has_no_route(left: dict[str, Any]) -> None:
    """Whatever a later version of a framework leaves there: the request is unmatched, and served."""
    assert route_of({"type": "http", "path": "/", "root_path": "", **left}, "/") is None
