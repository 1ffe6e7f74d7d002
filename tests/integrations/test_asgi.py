"""What happens inside a request knows whose it is, and finds the client; no function of a user costs a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from eventpipe import AsyncClient, InvalidEventError
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture, client_of, lifespan
from eventpipe.scopes import current
from eventpipe.sinks import MemorySink
from tests.integrations.asgi import converse
from tests.integrations.asgi_server import living, request

pytestmark = pytest.mark.asyncio


def scope_of(scope: Any) -> dict[str, Any]:
    return {"distinct_id": scope["path"].rpartition("/")[2], "properties": {"kind": scope["type"]}}


def seen(sink: MemorySink) -> list[tuple[str, str | None, dict[str, Any]]]:
    return sorted((event.event, event.distinct_id, event.properties) for event in sink.events)


async def in_a_handler(request: Request) -> Response:
    await client_of(request).capture("handled")
    return Response()


async def in_a_task(request: Request) -> Response:
    async def work() -> None:
        await asyncio.sleep(1)
        await client_of(request).capture("handled")

    await asyncio.create_task(work())
    return Response()


def in_a_thread(request: Request) -> Response:
    client_of(request).capture_nowait("handled")
    return Response()


async def in_background_work(request: Request) -> Response:
    async def work() -> None:
        await asyncio.sleep(1)
        await client_of(request).capture("handled")

    return Response(background=BackgroundTask(work))


async def in_a_stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(1)
        await client_of(request).capture("handled")
        yield b"two"

    return StreamingResponse(parts())


@pytest.mark.parametrize("handler", [in_a_handler, in_a_task, in_a_thread, in_background_work, in_a_stream])
async def test_events_of_requests_at_once_are_each_about_whom_their_request_is(handler: Any) -> None:
    """Wherever in the request they are captured; afterwards there is no scope left."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        app = EventMiddleware(Starlette(routes=[Route("/users/{user}", handler)]), client, scope=scope_of)
        await asyncio.gather(*(request(app, f"/users/{user}") for user in ("u0", "u1", "u2")))
        assert current() is None

    assert seen(sink) == [("handled", f"u{number}", {"kind": "http"}) for number in range(3)]


async def test_a_request_that_is_captured_is_about_whom_its_scope_names() -> None:
    """Unless ``user`` knows better; what is known of every request wins over what the scope says."""
    sink = MemorySink()
    app = Starlette(routes=[Route("/users/{user}", in_a_handler)])
    async with AsyncClient(sink) as client:
        for user in (None, lambda scope: f"{scope['endpoint'].__name__}"):
            wrapped = EventMiddleware(
                app,
                client,
                scope=lambda scope: {"distinct_id": "u1", "properties": {"plan": "pro", "method": "PUT"}},
                requests=RequestCapture(user=user),
            )
            await request(wrapped, "/users/u1")

    requests = [event for event in sink.events if event.event == "request"]
    assert [event.distinct_id for event in requests] == ["u1", "in_a_handler"]
    assert [event.properties["plan"] for event in requests] == ["pro", "pro"]
    assert [event.properties["method"] for event in requests] == ["GET", "GET"]


async def test_the_connection_of_a_websocket_has_a_scope() -> None:
    """One, for as long as it lasts."""
    sink = MemorySink()

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await client_of(websocket).capture("talked")
        await websocket.close()

    async with AsyncClient(sink) as client:
        app = EventMiddleware(Starlette(routes=[WebSocketRoute("/talk", talk)]), client, scope=scope_of)
        await converse(app, {"type": "websocket", "path": "/talk", "headers": []}, {"type": "websocket.connect"})

    assert seen(sink) == [("talked", "talk", {"kind": "websocket"})]


def raising(scope: Any) -> Any:
    raise LookupError("about u1")


def cancelling(scope: Any) -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("function", "logged"),
    [
        (raising, "scope raised LookupError"),
        (cancelling, "scope raised CancelledError"),
        (lambda scope: "u1", "None, not str"),
        (lambda scope: {"user": "u1"}, "None, not dict"),
        (lambda scope: {"properties": "u1"}, "None, not dict"),
        (lambda scope: {1: 2}, "None, not dict"),
        (lambda scope: 3, "None, not int"),
    ],
    ids=["raises", "cancels", "text", "unknown", "no-mapping", "numbers", "number"],
)
async def test_a_scope_function_that_fails_costs_the_scope_and_not_the_request(
    function: Any, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure is counted, and the first is in the log, without a word about anybody."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        app = EventMiddleware(Starlette(routes=[Route("/", in_a_handler)]), client, scope=function)
        assert [await request(app) for _ in range(3)] == [200, 200, 200]

    assert app.errors == 3
    assert seen(sink) == [("handled", None, {})] * 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{logged}; further errors are counted only" in caplog.text
    assert "u1" not in caplog.text
    assert repr(app) == "<EventMiddleware around Starlette, 3 errors>"


@pytest.mark.parametrize(
    "said",
    [{"distinct_id": {}}, {"properties": {"a": object()}}, {"headers": {1: "b"}}],
    ids=lambda said: next(iter(said)),
)
async def test_a_value_that_cannot_be_sent_is_repaired_or_refused_as_if_the_handler_had_passed_it(
    said: dict[str, Any],
) -> None:
    """Whether ``strict`` is on, each client says for itself: then the handler's own ``capture()`` raises."""
    async with AsyncClient(MemorySink()) as client, AsyncClient(MemorySink(), strict=True) as strict:
        for each in (client, strict):
            app = EventMiddleware(Starlette(routes=[Route("/", in_a_handler)]), each, scope=lambda scope: said)
            with pytest.raises(InvalidEventError) if each is strict else nullcontext():
                await request(app)

    assert (client.statistics().delivered, strict.statistics().delivered) == (1, 0)


async def test_a_scope_function_may_have_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    """``None`` is no error."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        app = EventMiddleware(Starlette(routes=[Route("/", in_a_handler)]), client, scope=lambda scope: None)
        await request(app)

    assert (app.errors, caplog.records) == (0, [])
    assert seen(sink) == [("handled", None, {})]


async def test_what_an_application_raises_goes_on_and_leaves_no_scope() -> None:
    """The middleware is no error handler."""

    async def failing(request: Request) -> Response:
        raise ValueError("of the application")

    app = EventMiddleware(Starlette(routes=[Route("/", failing)]), AsyncClient(MemorySink()), scope=scope_of)

    with pytest.raises(ValueError, match="of the application"):
        await request(app)

    assert current() is None


async def test_connections_of_an_unknown_kind_are_the_application_s_own() -> None:
    """They pass through as they are."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    await EventMiddleware(app, AsyncClient(MemorySink()))({"type": "mqtt"}, 1, 2)

    assert seen == [({"type": "mqtt"}, 1, 2)]


@pytest.mark.parametrize("outer", ["lifespan", "middleware"])
async def test_a_mounted_application_finds_the_client_of_the_outer_one(outer: str) -> None:
    """By the state of the request, which the server copies from that of the lifespan."""
    sink = MemorySink()
    client = AsyncClient(sink)
    mounted = Mount("/below", Starlette(routes=[Route("/", in_a_handler)]))
    app: Any = Starlette(routes=[mounted], lifespan=lifespan(client) if outer == "lifespan" else None)
    if outer == "middleware":
        app = EventMiddleware(app, client)

    async with living(app) as life:
        assert await request(app, "/below/", state=dict(life.state)) == 200

    assert seen(sink) == [("handled", None, {})]


async def test_a_request_without_the_server_s_state_finds_the_client_of_its_application() -> None:
    """As under a server, or a test client, that copies no state."""
    sink = MemorySink()
    app = Starlette(routes=[Route("/", in_a_handler)], lifespan=lifespan(AsyncClient(sink)))

    async with living(app):
        assert await request(app) == 200

    assert seen(sink) == [("handled", None, {})]


@pytest.mark.parametrize(
    "connection",
    [{}, {"state": None}, {"state": {"eventpipe": "client"}}, {"app": object()}, object(), None],
    ids=["empty", "none", "another", "app", "object", "nothing"],
)
async def test_without_a_client_it_is_said_how_to_give_one(connection: Any) -> None:
    """Whatever was asked, and whatever the framework is."""
    with pytest.raises(
        RuntimeError, match=r"no eventpipe client: give it one with lifespan.*, or for a Quart with setup"
    ):
        client_of(connection)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"app": None, "client": None}, "app must be an ASGI application, not NoneType"),
        ({"client": "client"}, "client must be an AsyncClient, or a plain function that makes one, not 'client'"),
        ({"client": None, "requests": True}, r"requests must be a RequestCapture, such as RequestCapture\(\), or None"),
        ({"client": None, "scope": 3}, "scope must be a function of one argument, not 3"),
        ({"client": None, "scope": in_a_handler}, "scope must be a plain function, not an async one"),
    ],
    ids=["app", "client", "requests", "scope", "async"],
)
async def test_each_argument_is_checked_when_the_application_is_made(arguments: Any, rule: str) -> None:
    """With what it is, and what it must be."""
    with pytest.raises(TypeError, match=rule):
        EventMiddleware(**{"app": Starlette(), **arguments})
