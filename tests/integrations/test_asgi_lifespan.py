"""A client is started before the application and closed after it, whatever the application does with its lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from eventpipe import AsyncClient
from eventpipe.integrations.asgi import EventMiddleware, client_of, lifespan
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink, check_ledger
from tests.integrations.asgi import Application
from tests.integrations.asgi_server import Life, living, request

pytestmark = pytest.mark.asyncio

COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def names(sink: MemorySink) -> list[str]:
    return [event.event for event in sink.events]


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """An application of HTTP alone."""
    await client_of(scope).capture("asked")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


# -- a framework's lifespan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda life: FastAPI(lifespan=life),
        lambda life: Starlette(lifespan=life),
        lambda life: Litestar(lifespan=[life], logging_config=None),  # which would leave a thread
    ],
    ids=["fastapi", "starlette", "litestar"],
)
async def test_a_lifespan_starts_the_client_and_closes_it_with_what_it_holds(make: Any) -> None:
    """Inside, the client is found by the application's own state; leaving sends what is left."""
    sink = MemorySink()
    client = AsyncClient(sink)
    app = make(lifespan(client))

    async with living(app):
        assert app.state.eventpipe is client
        await client.capture("served")

    assert names(sink) == ["served"]
    assert not client.health().is_open
    check_ledger(client, drained=True)


async def test_an_inner_lifespan_runs_while_the_client_is_open() -> None:
    """What it captures on its way in and out is delivered, and its state reaches requests."""
    sink = MemorySink()
    client = AsyncClient(sink)

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncIterator[dict[str, int]]:
        await client.capture("starting")
        yield {"pool": 5}
        await client.capture("stopping")

    async with living(Starlette(lifespan=lifespan(client, own))) as life:
        assert life.state == {"pool": 5, "eventpipe": client}

    assert names(sink) == ["starting", "stopping"]


async def test_a_router_without_state_has_the_client_in_that_of_the_server() -> None:
    """There is no application whose state could hold it."""
    client = AsyncClient(MemorySink())

    async with living(Router(lifespan=lifespan(client))) as life:
        assert life.state == {"eventpipe": client}


@pytest.mark.parametrize("wrapped", [False, True], ids=["lifespan", "middleware"])
async def test_an_application_that_starts_again_gets_a_client_of_its_own(wrapped: bool) -> None:
    """Where a function makes them; each is closed with what it was handed."""
    clients: list[AsyncClient] = []
    sink = MemorySink()

    def make() -> AsyncClient:
        clients.append(AsyncClient(MemorySink() if clients else sink))
        return clients[-1]

    app: Any = EventMiddleware(answering, make) if wrapped else Starlette(lifespan=lifespan(make))
    for number in range(3):
        async with living(app):
            await clients[number].capture("a")

    assert [client.statistics().delivered for client in clients] == [1, 1, 1]
    assert [client.health().is_open for client in clients] == [False, False, False]


async def test_an_application_that_runs_twice_at_once_has_a_client_for_each_run() -> None:
    """Where a function makes them: the end of one run closes nothing of the other's."""
    sinks: list[MemorySink] = []

    def make() -> AsyncClient:
        sinks.append(MemorySink())
        return AsyncClient(sinks[-1])

    async def signup(request: Request) -> Response:
        await client_of(request).capture("asked")
        return Response(status_code=204)

    app = Starlette(routes=[Route("/", signup)], lifespan=lifespan(make))
    async with living(app) as outer:
        async with living(app) as inner:
            assert await request(app, state=inner.state) == 204
        assert await request(app, state=outer.state) == 204

    assert [names(sink) for sink in sinks] == [["asked"], ["asked"]]


@pytest.mark.parametrize("wrapped", [False, True], ids=["lifespan", "middleware"])
async def test_a_client_that_was_closed_is_refused_at_the_second_start(wrapped: bool) -> None:
    """The server is told, so that it does not serve on and drop every event; the message says what to do."""
    client = AsyncClient(MemorySink())
    app: Any = EventMiddleware(answering, client) if wrapped else Starlette(lifespan=lifespan(client))
    async with living(app):
        pass

    life = await Life(app).start()
    await asyncio.wait({life.task})

    assert life.sent == ["lifespan.startup.failed"]
    assert life.is_heard, "an answer comes after the question"
    assert "lifespan(lambda: AsyncClient(...))" in life.said[0]["message"]
    with pytest.raises(RuntimeError, match="the client was closed when this application stopped before"):
        life.task.result()


@pytest.mark.parametrize(
    "given",
    [None, "client", MemorySink(), AsyncClient(MemorySink()).aclose],
    ids=["none", "text", "sink", "async"],
)
async def test_only_a_client_or_a_function_that_makes_one_has_a_lifespan(given: Any) -> None:
    """What is neither is refused when the application is made."""
    with pytest.raises(TypeError, match="client must be an AsyncClient, or a plain function that makes one, not"):
        lifespan(given)


async def test_a_function_that_makes_no_client_is_named() -> None:
    """When the application starts, which then does not."""
    life = await Life(EventMiddleware(answering, lambda: MemorySink())).start()  # type: ignore[arg-type]
    await asyncio.wait({life.task})

    assert life.sent == ["lifespan.startup.failed"]
    with pytest.raises(TypeError, match="returned no AsyncClient, but MemorySink"):
        life.task.result()


# -- any application --------------------------------------------------------------------------------------------------


def quart_app() -> tuple[Application, list[str]]:
    app = Quart("app")
    steps: list[str] = []

    @app.while_serving
    async def serve() -> AsyncGenerator[None, None]:
        steps.append("starts")
        yield
        steps.append("stops")

    return app, steps


def starlette_app() -> tuple[Application, list[str]]:
    steps: list[str] = []

    @asynccontextmanager
    async def serve(app: Starlette) -> AsyncIterator[None]:
        steps.append("starts")
        yield
        steps.append("stops")

    return Starlette(lifespan=serve), steps


@pytest.mark.parametrize("make", [quart_app, starlette_app], ids=["quart", "starlette"])
async def test_the_client_lives_longer_than_the_application(make: Callable[[], tuple[Application, list[str]]]) -> None:
    """It is open before the application's own start, and still when that has ended."""
    inner, steps = make()
    sink = MemorySink()
    client = AsyncClient(sink)

    async def observed(scope: Any, receive: Any, send: Any) -> None:
        async def said(message: Any) -> None:
            steps.append(f"{message['type']}, {client.health().is_open}")
            await send(message)

        await client.capture("before")
        await inner(scope, receive, said)

    async with living(EventMiddleware(observed, client)):
        steps.append("serves")

    assert steps == [
        "starts",
        "lifespan.startup.complete, True",
        "serves",
        "stops",
        "lifespan.shutdown.complete, True",
    ]
    assert names(sink) == ["before"]
    assert not client.health().is_open


@pytest.mark.parametrize(
    ("end", "is_open"),
    [("lifespan.shutdown.complete", [True, False]), ("lifespan.shutdown.failed", [True, False])],
    ids=["complete", "failed"],
)
async def test_the_server_hears_of_the_end_when_the_client_has_closed(end: str, is_open: list[bool]) -> None:
    """With that message it may end the process."""
    client = AsyncClient(MemorySink())
    seen: list[bool] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        # Only a client that has been started takes an event in at once.
        assert client.capture_nowait("starting").accepted
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": end})

    async def server(scope: Any, receive: Any, send: Any) -> None:
        async def heard(message: Any) -> None:
            seen.append(client.health().is_open)
            await send(message)

        await EventMiddleware(inner, client)(scope, receive, heard)

    life = await Life(server).start()
    await life.stop()
    life.task.result()

    assert life.sent == ["lifespan.startup.complete", end]
    assert seen == is_open


async def raising(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("this application can only handle HTTP")  # as Django's does


async def returning(scope: Any, receive: Any, send: Any) -> None:
    pass


async def listening(scope: Any, receive: Any, send: Any) -> None:
    await receive()


async def deaf(scope: Any, receive: Any, send: Any) -> None:
    """Takes everything for a request, as the first example of many a tutorial does."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize("inner", [raising, returning, listening, deaf])
async def test_an_application_that_knows_no_lifespan_gets_one(inner: Application) -> None:
    """The server hears that all went well, and the client is closed at the end."""
    sink = MemorySink()
    client = AsyncClient(sink)

    async with living(EventMiddleware(inner, client)):
        await client.capture("served")

    assert names(sink) == ["served"]
    assert not client.health().is_open


def ending(*steps: str) -> Application:
    """An application that takes and sends what it is told to, and raises at the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for step in steps:
            await (receive() if step == "receive" else send({"type": step, "message": "as it was"}))
        raise LookupError("of the application")

    return app


@pytest.mark.parametrize(
    ("inner", "sent"),
    [
        (ending("receive", "lifespan.startup.failed"), ["lifespan.startup.failed"]),
        (ending("receive"), []),
    ],
    ids=["told", "untold"],
)
async def test_an_application_that_fails_to_start_leaves_no_client_open(inner: Application, sent: list[str]) -> None:
    """Its error is its own, its message goes on, and what it captured until then was sent before."""
    sink = MemorySink()
    client = AsyncClient(sink)
    await client.capture("early")

    life = await Life(EventMiddleware(inner, client)).start()
    await asyncio.wait({life.task})

    assert (life.sent, names(sink), client.health().is_open) == (sent, ["early"], False)
    assert all(message["message"] == "as it was" for message in life.said)
    with pytest.raises(LookupError, match="of the application"):
        life.task.result()


@pytest.mark.parametrize(
    ("inner", "sent"),
    [
        (ending("receive", COMPLETE[0], "receive", "lifespan.shutdown.failed"), ["lifespan.shutdown.failed"]),
        (ending("receive", COMPLETE[0], "receive"), []),
    ],
    ids=["told", "untold"],
)
async def test_an_application_that_fails_to_stop_leaves_no_client_open(inner: Application, sent: list[str]) -> None:
    """The client closes before the server hears of it, or of nothing."""
    sink = MemorySink()
    client = AsyncClient(sink)
    life = await Life(EventMiddleware(inner, client)).start()
    await client.capture("served")

    await life.stop()

    assert (life.sent[1:], names(sink), client.health().is_open) == (sent, ["served"], False)
    with pytest.raises(LookupError, match="of the application"):
        life.task.result()


async def test_a_lifespan_that_crashes_while_the_application_serves_keeps_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server serves on, so the client does as well; it is closed at the end, and then the error goes on."""
    sink = MemorySink()
    client = AsyncClient(sink)
    life = await Life(EventMiddleware(ending("receive", COMPLETE[0]), client)).start()

    await client.capture("afterwards")
    await client.flush()
    assert names(sink) == ["afterwards"]
    await life.stop()

    assert not client.health().is_open
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "ended with LookupError while it was serving" in caplog.text
    with pytest.raises(LookupError, match="of the application"):
        life.task.result()


async def test_a_server_without_lifespan_starts_the_client_with_the_first_capture() -> None:
    """``lifespan="off"``: a request finds the client, and its event is delivered."""
    sink = MemorySink()
    client = AsyncClient(sink)

    assert await request(EventMiddleware(answering, client)) == 204
    await client.flush()

    assert names(sink) == ["asked"]
    await client.aclose()


async def test_a_middleware_without_a_client_leaves_the_lifespan_alone() -> None:
    """The client is that of the framework's lifespan, and closed by that."""
    client = AsyncClient(MemorySink())

    async with living(EventMiddleware(Starlette(lifespan=lifespan(client)))) as life:
        assert life.state["eventpipe"] is client

    assert not client.health().is_open


# -- cancelled --------------------------------------------------------------------------------------------------------


def framework_app(client: AsyncClient, own: Callable[[], Awaitable[None]]) -> Application:
    @asynccontextmanager
    async def inner(app: Any) -> AsyncIterator[None]:
        yield
        await own()

    return Starlette(lifespan=lifespan(client, inner))


def wrapped_app(client: AsyncClient, own: Callable[[], Awaitable[None]]) -> Application:
    @asynccontextmanager
    async def inner(app: Any) -> AsyncIterator[None]:
        yield
        await own()

    return EventMiddleware(Starlette(lifespan=inner), client)


@pytest.mark.parametrize("cancellations", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("make", [framework_app, wrapped_app], ids=["lifespan", "middleware"])
async def test_a_lifespan_cancelled_in_the_middle_of_a_flush_ends_on_time_with_all_accounted(
    make: Callable[[AsyncClient, Callable[[], Awaitable[None]]], Application], cancellations: int
) -> None:
    """With a far end that never answers: within ``close_timeout``, or at once when it is cancelled again."""
    sink = GatedSink()
    client = AsyncClient(sink, close_timeout=2, max_batch_age=0)
    flushing = asyncio.Event()

    async def flush() -> None:
        flushing.set()
        await client.flush(timeout=3600)

    life = await Life(make(client, flush)).start()
    for _ in range(5):
        await client.capture("a")
    stopping = asyncio.create_task(life.stop())
    await flushing.wait()
    await sink.reached(1)
    loop = asyncio.get_running_loop()
    began = loop.time()

    for _ in range(cancellations):
        life.task.cancel()
        await asyncio.sleep(0.01)
    await stopping

    elapsed = loop.time() - began
    assert elapsed <= (2.25 if cancellations == 1 else 0.25)
    assert life.task.cancelled() or isinstance(life.task.exception(), asyncio.CancelledError)
    numbers = check_ledger(client, drained=True)
    assert (numbers.captured, numbers.dropped) == (5, 5)
    assert not client.health().is_open
