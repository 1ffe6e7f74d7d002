"""Requests are captured when their answer has ended, with what was really answered, and nothing that a caller wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from quart import Quart
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from eventpipe import AsyncClient, CapturedEvent
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture
from eventpipe.integrations.quart import setup
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink
from tests.integrations.asgi import Application, Message, converse
from tests.integrations.asgi_server import request

pytestmark = pytest.mark.asyncio

Handler = Callable[[Request], Awaitable[Response]]


async def asked(
    handler: Handler, requests: RequestCapture | None = None, *, added: bool = False, **asking: Any
) -> list[CapturedEvent]:
    """What is captured of one request to a handler at ``/users/{user}``."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        app = Starlette(routes=[Route("/users/{user}", handler, methods=["GET", "POST"])])
        options: dict[str, Any] = {"client": client, "requests": requests or RequestCapture()}
        if added:
            app.add_middleware(EventMiddleware, **options)
        else:
            app = EventMiddleware(app, **options)  # type: ignore[assignment]
        with suppress(ValueError, asyncio.CancelledError, ConnectionError, ClientDisconnect):
            await request(app, "/users/471108154711", **asking)
    return list(sink.events)


async def hello(request: Request) -> Response:
    await asyncio.sleep(0.25)
    return PlainTextResponse("hello", 201)


async def test_a_request_is_captured_with_four_facts_and_nothing_else() -> None:
    """No path, no query, no header and no body."""
    [event] = await asked(hello, method="POST", headers={"user-agent": "browser", "cookie": "secret"})

    assert (event.event, event.distinct_id) == ("request", None)
    assert event.properties == {"method": "POST", "route": "/users/{user}", "status": 201, "duration": 0.25}
    assert "471108154711" not in event.json.decode()
    assert "secret" not in event.json.decode()


async def failing(request: Request) -> Response:
    raise ValueError("about 471108154711")


async def failing_midway(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(0.5)
        raise ValueError("about 471108154711")

    return StreamingResponse(parts())


async def streaming(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(1)
            yield b"part"

    return StreamingResponse(parts())


async def with_background_work(request: Request) -> Response:
    async def work() -> None:
        await asyncio.sleep(3600)
        raise ValueError("about 471108154711")

    return Response(background=BackgroundTask(work))


async def cancelled(request: Request) -> Response:
    raise asyncio.CancelledError


@pytest.mark.parametrize("added", [False, True], ids=["around", "added"])
@pytest.mark.parametrize(
    ("handler", "facts"),
    [
        (failing, {"status": 500, "duration": 0, "error": "ValueError"}),
        (failing_midway, {"status": 200, "duration": 0.5, "error": "ValueError"}),
        (streaming, {"status": 200, "duration": 3}),
        (with_background_work, {"status": 200, "duration": 0}),
        (cancelled, {"status": 500, "duration": 0, "error": "CancelledError"}),
    ],
)
async def test_a_request_lasts_until_its_answer_has_ended(handler: Handler, facts: dict[str, Any], added: bool) -> None:
    """Streams, errors before and in the middle of the answer, and background work, which comes after it."""
    [event] = await asked(handler, added=added)

    assert event.properties == {"method": "GET", "route": "/users/{user}", **facts}


async def test_a_request_with_background_work_is_captured_before_that() -> None:
    """Its event need not wait for an hour."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        app = Starlette(routes=[Route("/users/{user}", with_background_work)])
        serving = asyncio.create_task(request(EventMiddleware(app, client, requests=RequestCapture()), "/users/1"))
        await asyncio.sleep(5)

        assert [event.properties["route"] for event in sink.events] == ["/users/{user}"]
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def waiting(request: Request) -> Response:
    while not await request.is_disconnected():  # noqa: ASYNC110  # as handlers do
        await asyncio.sleep(1)
    return PlainTextResponse("nobody reads this")


async def waiting_forever(request: Request) -> Response:
    assert (await request.receive())["type"] == "http.request"
    assert (await request.receive())["type"] == "http.disconnect"
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("handler", "facts"),
    [
        (waiting, {"status": 200, "duration": 2}),
        (waiting_forever, {"status": None, "duration": 1.5, "error": "CancelledError"}),
    ],
)
async def test_a_client_that_goes_away_is_marked(handler: Handler, facts: dict[str, Any]) -> None:
    """Where the server says so; without an answer there is no status."""
    leaves = asyncio.Event()
    asyncio.get_running_loop().call_later(1.5, leaves.set)

    [event] = await asked(handler, leaves=leaves)

    assert event.properties == {"method": "GET", "route": "/users/{user}", "disconnected": True, **facts}


async def test_an_answer_that_nobody_reads_is_marked() -> None:
    """As ASGI 2.4 says it: by an error of ``send``."""
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if len(sent) > 2:
            raise ConnectionResetError

    [event] = await asked(streaming, send=send)

    assert event.properties["disconnected"] is True
    assert (event.properties["status"], event.properties["duration"]) == (200, 2)


@pytest.mark.parametrize("status", [200, 503])
async def test_a_client_that_goes_away_after_the_answer_is_none_of_the_request(status: int) -> None:
    """A handler that looks then learns of it, and nothing is marked."""

    async def handler(request: Request) -> Response:
        await request.body()
        return Response(status_code=status, background=BackgroundTask(request.receive))

    leaves = asyncio.Event()
    leaves.set()

    [event] = await asked(handler, leaves=leaves)

    assert event.properties == {"method": "GET", "route": "/users/{user}", "status": status, "duration": 0}


async def test_quart_marks_a_client_that_goes_away() -> None:
    """It cancels the handler, and answers nothing."""
    sink = MemorySink()
    app = Quart("app")
    leaves = asyncio.Event()
    asyncio.get_running_loop().call_later(1.5, leaves.set)

    @app.get("/users/<user>")
    async def user(user: str) -> str:
        await asyncio.sleep(3600)
        return user

    async with AsyncClient(sink) as client:
        setup(app, client, requests=RequestCapture())
        await request(app, "/users/471108154711", leaves=leaves)
    [event] = sink.events

    assert event.properties == {
        "method": "GET",
        "route": "/users/<user>",
        "status": None,
        "duration": 1.5,
        "disconnected": True,
    }


async def test_one_of_a_server_s_other_endings_is_an_end_too() -> None:
    """A file that the server sends itself, and an application that just returns."""
    sink = MemorySink()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/file":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.pathsend", "path": "/somewhere"})

    async with AsyncClient(sink) as client:
        wrapped = EventMiddleware(app, client, requests=RequestCapture())
        await request(wrapped, "/file")
        await request(wrapped, "/nothing")

    assert [event.properties["status"] for event in sink.events] == [200, None]


async def test_a_websocket_is_no_request() -> None:
    """Its connection is not captured; what happens in it may be, by whoever knows what it means."""
    sink = MemorySink()

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/talk", talk)])
    async with AsyncClient(sink) as client:
        sent = await converse(
            EventMiddleware(app, client, requests=RequestCapture()),
            {"type": "websocket", "path": "/talk", "headers": []},
            {"type": "websocket.connect"},
        )

    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert list(sink.events) == []


async def test_a_full_queue_holds_up_no_request() -> None:
    """Even where the client has its callers wait for room: the event of a request is dropped, and counted."""
    sink = GatedSink()
    client = AsyncClient(sink, queue_events=1, overflow="wait")
    app = EventMiddleware(Starlette(routes=[Route("/users/{user}", hello)]), client, requests=RequestCapture())

    for _ in range(3):
        assert await request(app, "/users/1") == 201

    assert client.statistics().dropped_by_reason == {"queue_full": 2}
    sink.release()
    await client.aclose()


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        ({"overflow": "raise", "queue_events": 1}, {"queue_full": 2}),
        ({"strict": True, "max_event_bytes": 120}, {"too_large": 3}),
    ],
    ids=["raise", "strict"],
)
async def test_a_client_that_raises_costs_no_request(options: Any, dropped: dict[str, int]) -> None:
    """What it says of the event of a request is no concern of the one who asked."""
    sink = GatedSink()
    client = AsyncClient(sink, **options)
    app = EventMiddleware(Starlette(routes=[Route("/users/{user}", hello)]), client, requests=RequestCapture())

    for _ in range(3):
        assert await request(app, "/users/1") == 201

    assert client.statistics().dropped_by_reason == dropped
    sink.release()
    await client.aclose()


async def test_a_closed_client_costs_no_request() -> None:
    """Its events are dropped as ``closed``."""
    client = AsyncClient(MemorySink())
    await client.aclose()
    app = EventMiddleware(Starlette(routes=[Route("/users/{user}", hello)]), client, requests=RequestCapture())

    assert await request(app, "/users/1") == 201
    await asyncio.sleep(0)  # as from any other loop than the client's, which it has none of any more

    assert client.statistics().dropped_by_reason == {"closed": 1}


async def test_without_a_client_requests_are_served_and_the_log_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """An application whose server runs no lifespan, with a client in that alone."""
    app: Application = EventMiddleware(Starlette(routes=[Route("/users/{user}", hello)]), requests=RequestCapture())

    assert [await request(app, "/users/1") for _ in range(3)] == [201, 201, 201]

    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "requests are not captured, because the application has no eventpipe client"
    ]
