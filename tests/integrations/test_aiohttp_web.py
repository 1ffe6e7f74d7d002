"""aiohttp.web: the client's life in an application, scopes of requests, and what is captured of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from aiohttp.typedefs import Handler

import eventpipe
from eventpipe import AsyncClient, ClosedError, CloseReport, DropReason
from eventpipe.integrations.aiohttp_web import CLIENT, EventMiddleware, RequestCapture, client_ctx, client_of
from eventpipe.sinks import MemorySink

USER = web.RequestKey("user", str)

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def serving(app: web.Application | web.AppRunner) -> AsyncIterator[aiohttp.ClientSession]:
    """The application on a socket of its own, and a session that talks to it."""
    runner = web.AppRunner(app) if isinstance(app, web.Application) else app
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession(site.name) as session:
            yield session
    finally:
        await runner.cleanup()


class Shop:
    """An application, its client, and what its sink got."""

    def __init__(self, **given: Any) -> None:  # Any: handed through to the middleware
        self.sink = MemorySink()
        self.client = AsyncClient(self.sink)
        self.middleware = EventMiddleware(**given)
        self.app = web.Application(middlewares=[self.middleware])
        self.app.cleanup_ctx.append(client_ctx(self.client))

    def add(self, handler: Callable[[web.Request], Any], path: str = "/users/{id}") -> None:
        self.app.router.add_get(path, handler)

    async def get(self, *paths: str, **given: Any) -> list[int]:
        """The statuses of the answers, once the application has ended."""
        async with serving(self.app) as session:
            return [await status_of(session, path, **given) for path in paths]

    @property
    def captured(self) -> list[tuple[str, str | None, dict[str, Any]]]:
        """Name, whom it is about and properties of each event, without how long requests took."""
        return [
            (
                event.event,
                event.distinct_id,
                {key: value for key, value in event.properties.items() if key != "duration"},
            )
            for event in self.sink.events
        ]


async def status_of(session: aiohttp.ClientSession, path: str, method: str = "GET", **given: Any) -> int:
    async with session.request(method, path, allow_redirects=False, **given) as answer:
        return answer.status


async def answered(request: web.Request) -> web.Response:
    return web.Response(text="yes")


def facts(status: int | None, route: str = "/users/{id}", method: str = "GET", **more: object) -> dict[str, object]:
    return {"method": method, "route": route, "status": status, **more}


# -- the client's life ------------------------------------------------------------------------------------------------


async def test_client_lives_as_long_as_the_application_s_other_contexts() -> None:
    """It is there when they begin, takes what they capture at their end and on shutdown, and delivers all of it."""
    sink = MemorySink()
    client = AsyncClient(sink)
    app = web.Application()

    async def other(app: web.Application) -> AsyncIterator[None]:
        await app[CLIENT].capture("began")
        yield
        await app[CLIENT].capture("ended")

    async def on_shutdown(app: web.Application) -> None:
        await app[CLIENT].capture("shutdown")

    app.cleanup_ctx.append(client_ctx(client))
    app.cleanup_ctx.append(other)
    app.on_shutdown.append(on_shutdown)
    runner = web.AppRunner(app)

    await runner.setup()
    assert client.health().is_open
    await runner.cleanup()

    assert not client.health().is_open
    assert [event.event for event in sink.events] == ["began", "shutdown", "ended"]


async def test_what_ends_after_the_client_is_told_that_it_is_closed() -> None:
    """Functions of ``on_cleanup`` come after the contexts, also of an application inside: their events are dropped."""
    client = AsyncClient(MemorySink())
    app, inner = web.Application(), web.Application()
    reasons: list[DropReason | None] = []

    async def on_cleanup(app: web.Application) -> None:
        reasons.append((await client.capture("late")).reason)

    app.cleanup_ctx.append(client_ctx(client))
    app.on_cleanup.append(on_cleanup)
    inner.on_cleanup.append(on_cleanup)
    app.add_subapp("/inner", inner)
    runner = web.AppRunner(app)

    await runner.setup()
    await runner.cleanup()

    assert reasons == [DropReason.CLOSED] * 2


async def test_an_application_that_fails_to_start_closes_its_client() -> None:
    """A later context raises: what was captured until then is delivered, and no task stays."""
    sink = MemorySink()
    client = AsyncClient(sink)
    app = web.Application()

    async def broken(app: web.Application) -> AsyncIterator[None]:
        await app[CLIENT].capture("before")
        if app:
            raise OSError("no database")
        yield

    app.cleanup_ctx.append(client_ctx(client))
    app.cleanup_ctx.append(broken)
    runner = web.AppRunner(app)

    with pytest.raises(OSError, match="no database"):
        await runner.setup()
    await runner.cleanup()

    assert ([event.event for event in sink.events], client.health().is_open) == (["before"], False)


async def test_a_second_client_and_a_closed_one_are_refused_at_the_start() -> None:
    """Nobody finds out later that events went to the other one, or nowhere."""
    app = web.Application()
    app.cleanup_ctx.append(client_ctx(AsyncClient(MemorySink())))
    app.cleanup_ctx.append(client_ctx(AsyncClient(MemorySink())))
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="has another client already"):
        await runner.setup()
    await runner.cleanup()

    closed = AsyncClient(MemorySink())
    await closed.aclose()
    runner = web.AppRunner(app := web.Application())
    app.cleanup_ctx.append(client_ctx(closed))
    with pytest.raises(ClosedError):
        await runner.setup()
    await runner.cleanup()


@pytest.mark.wallclock
async def test_handlers_of_an_application_inside_find_the_client() -> None:
    """``client_of()`` looks in the applications around as well; where there is none it says what to do."""
    shop = Shop()
    inner = web.Application()

    async def inside(request: web.Request) -> web.Response:
        await client_of(request).capture("inside")
        return web.Response()

    inner.router.add_get("/deep", inside)
    shop.app.add_subapp("/inner", inner)
    assert await shop.get("/inner/deep") == [200]
    assert shop.captured == [("inside", None, {})]

    with pytest.raises(RuntimeError, match=r"app\.cleanup_ctx\.append\(client_ctx\(client\)\)"):
        client_of(make_mocked_request("GET", "/"))


# -- requests as events -----------------------------------------------------------------------------------------------


async def raises_found(request: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def returns_teapot(request: web.Request) -> web.Response:
    return web.Response(status=418)


async def fails(request: web.Request) -> web.Response:
    raise LookupError("nobody-may-see-this")


async def forgets(request: web.Request) -> None:
    return None


@pytest.mark.wallclock
@pytest.mark.filterwarnings("ignore:returning HTTPException")
@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (answered, facts(200)),
        (returns_teapot, facts(418)),
        (raises_found, facts(302)),
        (fails, facts(500, error="LookupError")),
        (forgets, facts(500)),
    ],
    ids=["answered", "returned", "raised", "failed", "returned nothing"],
)
async def test_request_is_captured_with_its_route_and_what_was_answered(
    handler: Callable[[web.Request], Any], expected: dict[str, object]
) -> None:
    """The template, never the path, its query or its body; the status is the one that the caller sees."""
    shop = Shop(requests=RequestCapture())
    shop.add(handler)

    statuses = await shop.get("/users/secret-id?token=secret")

    assert shop.captured == [("request", None, expected)]
    assert statuses == [expected["status"]]
    assert "secret" not in repr([event.json for event in shop.sink.events])


@pytest.mark.wallclock
async def test_request_without_a_route_is_captured_as_unmatched() -> None:
    """No path of a stranger makes a route, and no word of one a method."""
    shop = Shop(requests=RequestCapture())
    shop.add(answered)

    async with serving(shop.app) as session:
        statuses = [
            await status_of(session, "/wp-admin/secret"),
            await status_of(session, "/users/7", "DELETE"),
            await status_of(session, "/users/7", "PROPFIND"),
        ]

    assert statuses == [404, 405, 405]
    assert [properties for _, _, properties in shop.captured] == [
        facts(404, "unmatched"),
        facts(405, "unmatched", "DELETE"),
        facts(405, "unmatched", "OTHER"),
    ]


@pytest.mark.wallclock
async def test_file_is_captured_as_found_whether_it_is_there_or_not(tmp_path: Path) -> None:
    """By then the handler is done."""
    shop = Shop(requests=RequestCapture())
    (tmp_path / "there.txt").write_text("a")
    shop.app.router.add_static("/files", tmp_path)

    assert await shop.get("/files/there.txt", "/files/not.txt") == [200, 404]

    assert [properties for _, _, properties in shop.captured] == [facts(200, "/files")] * 2


@pytest.mark.wallclock
async def test_route_of_an_application_inside_has_its_prefix() -> None:
    """As it was mounted; a middleware of the outer application sees both."""
    shop = Shop(requests=RequestCapture("http", allow_headers={"X-Tenant"}, exclude={"/inner/health"}))
    inner = web.Application()
    inner.router.add_get("/users/{id}", answered)
    inner.router.add_get("/health", answered)
    shop.app.add_subapp("/inner", inner)

    statuses = await shop.get("/inner/users/7", "/inner/health", headers={"x-tenant": "acme", "x-other": "secret"})

    assert statuses == [200, 200]
    assert shop.captured == [("http", None, facts(200, "/inner/users/{id}", headers={"x-tenant": "acme"}))]


@pytest.mark.wallclock
async def test_websocket_has_a_scope_and_is_no_request() -> None:
    """What it captures has the scope of its beginning, as long as it lasts."""
    shop = Shop(requests=RequestCapture(), scope=lambda request: {"distinct_id": "u1"})

    async def talks(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await client_of(request).capture(message.data)
        return socket

    shop.add(talks)
    async with serving(shop.app) as session, session.ws_connect("/users/7") as socket:
        await socket.send_str("said")

    assert shop.captured == [("said", "u1", {})]


@pytest.mark.wallclock
async def test_websocket_that_ends_by_an_error_is_no_request() -> None:
    """Neither where its handler raises, nor where it forgets to return the websocket; one that is refused is one."""
    shop = Shop(requests=RequestCapture())
    ended = asyncio.Event()

    async def talks(request: web.Request) -> None:
        if request.match_info["id"] == "nobody":
            raise LookupError
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if (await socket.receive()).data == "fail":
            raise LookupError

    async def sees_the_end(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            ended.set()

    shop.app.middlewares.insert(0, web.middleware(sees_the_end))
    shop.add(talks)
    async with serving(shop.app) as session:
        for word in ("fail", "end"):
            ended.clear()
            async with session.ws_connect("/users/7") as socket:
                await socket.send_str(word)
                await ended.wait()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="500"):
            await session.ws_connect("/users/nobody")

    assert shop.captured == [("request", None, facts(500, error="LookupError"))]


@pytest.mark.wallclock
async def test_websocket_that_is_cancelled_is_no_request() -> None:
    """With ``handler_cancellation`` that is how each one ends whose client goes away, and each at a shutdown."""
    shop = Shop(requests=RequestCapture())
    ended = asyncio.Event()

    async def talks(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return socket

    shop.add(talks)
    async with serving(web.AppRunner(shop.app, handler_cancellation=True)) as session:
        await session.ws_connect("/users/7")
        await session.close()
        await ended.wait()

    assert shop.captured == []


@pytest.mark.wallclock
async def test_whoever_asks_for_a_websocket_in_vain_made_a_request() -> None:
    """A header of a caller's own hides neither an answer nor an error."""
    shop = Shop(requests=RequestCapture())
    shop.add(answered)
    shop.add(fails, "/fails")

    statuses = await shop.get("/users/7", "/fails", headers={"Connection": "Upgrade", "Upgrade": "websocket"})

    assert statuses == [200, 500]
    assert [properties for _, _, properties in shop.captured] == [
        facts(200),
        facts(500, "/fails", error="LookupError"),
    ]


@pytest.mark.wallclock
async def test_an_error_amid_an_answer_is_a_500_too() -> None:
    """Whatever status went out before it."""
    shop = Shop(requests=RequestCapture())

    async def breaks_off(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(b"part")
        raise LookupError

    shop.add(breaks_off)
    async with serving(shop.app) as session:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get("/users/7") as answer:
                await answer.read()

    assert shop.captured == [("request", None, facts(500, error="LookupError"))]


async def in_process(shop: Shop, path: str) -> web.StreamResponse:
    """One request handled on the loop of the test, without a socket."""
    request = make_mocked_request("GET", path, app=shop.app)
    return await shop.app._handle(request)  # what aiohttp's server calls


async def test_duration_is_that_of_the_handler() -> None:
    """In seconds of the loop clock."""
    shop = Shop(requests=RequestCapture())

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(2.5)
        return web.Response()

    shop.add(slow)
    async with running(shop):
        await in_process(shop, "/users/7")

    [event] = shop.sink.events
    assert event.properties["duration"] == pytest.approx(2.5, abs=1e-6)


@asynccontextmanager
async def running(shop: Shop) -> AsyncIterator[None]:
    runner = web.AppRunner(shop.app)
    await runner.setup()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_cancelled_request_is_captured_without_a_status() -> None:
    """Nothing was answered; the cancellation goes on."""
    shop = Shop(requests=RequestCapture(), scope=lambda request: {"distinct_id": "u1"})

    async def endless(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    shop.add(endless)
    async with running(shop):
        task = asyncio.create_task(in_process(shop, "/users/7"))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert shop.captured == [("request", "u1", facts(None))]


# -- scopes -----------------------------------------------------------------------------------------------------------


@pytest.mark.wallclock
async def test_events_of_a_request_have_what_its_scope_says() -> None:
    """Each request its own, also where they run at once; the request's own event has it too."""
    shop = Shop(
        requests=RequestCapture(),
        scope=lambda request: {"distinct_id": request.match_info["id"], "properties": {"shop": "one"}},
    )
    both = asyncio.Barrier(2)

    async def captures(request: web.Request) -> web.Response:
        await both.wait()  # both are inside now
        await client_of(request).capture("seen")
        return web.Response()

    shop.add(captures)
    async with serving(shop.app) as session:
        await asyncio.gather(status_of(session, "/users/a"), status_of(session, "/users/b"))
        assert eventpipe.scopes.current() is None

    assert sorted((name, who, properties["shop"]) for name, who, properties in shop.captured) == [
        ("request", "a", "one"),
        ("request", "b", "one"),
        ("seen", "a", "one"),
        ("seen", "b", "one"),
    ]


@pytest.mark.wallclock
async def test_user_of_a_request_wins_over_its_scope() -> None:
    """Asked when the request is over, so that it may use what handlers left there."""
    shop = Shop(
        requests=RequestCapture(user=lambda request: request[USER], properties=lambda request: {"plan": "pro"}),
        scope=lambda request: {"distinct_id": "somebody"},
    )

    async def signs_in(request: web.Request) -> web.Response:
        request[USER] = "u7"
        return web.Response()

    shop.add(signs_in)
    assert await shop.get("/users/7") == [200]

    assert shop.captured == [("request", "u7", facts(200, plan="pro"))]


# -- what goes wrong --------------------------------------------------------------------------------------------------


def fails_for(request: web.Request) -> Any:
    raise LookupError(f"nobody-may-see-this {request.path}")


@pytest.mark.wallclock
@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"scope": fails_for}, "scope raised LookupError; further errors are counted only"),
        (
            {"scope": lambda request: ["u1"]},
            "scope must return a mapping with distinct_id, properties and headers at most, or None, not list; "
            "further errors are counted only",
        ),
        ({"requests": RequestCapture(user=fails_for)}, "user raised LookupError; further errors are counted only"),
        (
            {"requests": RequestCapture(properties=lambda request: 7)},  # type: ignore[arg-type,return-value]
            "properties must return a mapping or None, not int; further errors are counted only",
        ),
    ],
    ids=["scope raises", "scope returns a list", "user raises", "properties returns a number"],
)
async def test_a_function_that_fails_costs_no_request(
    given: dict[str, Any], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every request is answered, the errors are counted, the first is in the log without what it was about."""
    shop = Shop(**given)
    shop.add(answered)

    statuses = await shop.get("/users/1", "/users/2", "/users/3")

    assert (statuses, shop.middleware.errors) == ([200] * 3, 3)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [line]
    assert [properties for _, _, properties in shop.captured] == [facts(200)] * (3 if "requests" in given else 0)


@pytest.mark.wallclock
async def test_client_that_refuses_costs_no_request() -> None:
    """Closed early, strict, and told to raise: the handler's answer arrives."""
    client = AsyncClient(MemorySink(), strict=True, overflow="raise")
    app = web.Application(middlewares=[EventMiddleware(requests=RequestCapture())])
    app.cleanup_ctx.append(client_ctx(client))
    app.router.add_get("/", answered)

    async with serving(app) as session:
        assert await status_of(session, "/") == 200
        report = await client.aclose()
        assert await status_of(session, "/") == 200

    assert (type(report), report.delivered) == (CloseReport, 1)
    assert client.statistics().dropped_by_reason == {DropReason.CLOSED: 1}


@pytest.mark.wallclock
async def test_requests_are_served_without_a_client_and_the_log_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """With what to do; a scope alone needs no client."""
    app = web.Application(middlewares=[EventMiddleware(scope=lambda request: {})])
    app.router.add_get("/", answered)
    captures = web.Application(middlewares=[EventMiddleware(requests=RequestCapture())])
    captures.router.add_get("/", answered)
    app.add_subapp("/inside", captures)

    async with serving(app) as session:
        assert [await status_of(session, path) for path in ("/", "/inside/", "/inside/")] == [200] * 3

    assert [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "eventpipe"] == [
        (
            "ERROR",
            "requests are not captured, because the application has no eventpipe client: "
            "give it one with app.cleanup_ctx.append(client_ctx(client))",
        )
    ]


async def plain_later(request: web.Request) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: client_ctx("http://localhost"), "client must be an AsyncClient, not 'http://localhost'"),  # type: ignore[arg-type]
        (lambda: EventMiddleware(requests=True), "requests must be a RequestCapture, such as"),  # type: ignore[arg-type]
        (lambda: EventMiddleware(scope="u1"), "scope must be a function of one argument, not 'u1'"),  # type: ignore[arg-type]
        (lambda: EventMiddleware(scope=plain_later), "scope must be a plain function, not an async one"),  # type: ignore[arg-type]
    ],
    ids=["client", "requests", "scope", "async scope"],
)
async def test_wrong_arguments_are_refused_where_they_are_given(make: Callable[[], object], message: str) -> None:
    """Before the application starts, with what to give instead."""
    with pytest.raises(TypeError) as refused:
        make()

    assert message in str(refused.value)
