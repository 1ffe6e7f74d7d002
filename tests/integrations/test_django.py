"""Django: a client from the settings, scopes of requests and what is captured of them, under ASGI and under WSGI."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

import eventpipe
from eventpipe import AsyncClient, Batch, DropReason, SyncClient
from eventpipe.integrations import django as integration
from eventpipe.integrations.django import EventMiddleware, RequestCapture, get_client, get_sync_client, with_client
from eventpipe.sinks import CallbackSink, MemorySink

if not settings.configured:
    # Once in a process. The page of the documentation runs in it as well, and is content with a client.
    settings.configure(LOGGING_CONFIG=None, EVENTPIPE={"CLIENT": AsyncClient(MemorySink())})

MIDDLEWARE = "eventpipe.integrations.django.EventMiddleware"
HERE = __name__

Message = MutableMapping[str, Any]


def on_real_loop(test: Any) -> Any:  # Any: a test
    """On a loop of the usual kind: asgiref waits for threads that a loop in virtual time knows nothing of."""
    return pytest.mark.asyncio(pytest.mark.wallclock(test))


# -- the views --------------------------------------------------------------------------------------------------------


async def answers(request: HttpRequest, pk: int = 0) -> HttpResponse:
    return HttpResponse("yes")


def answers_sync(request: HttpRequest, pk: int = 0) -> HttpResponse:
    return HttpResponse("yes")


async def returns_teapot(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=418)


async def raises_not_found(request: HttpRequest) -> HttpResponse:
    raise Http404("nobody-may-see-this")


def raises_denied(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


async def fails(request: HttpRequest) -> HttpResponse:
    raise LookupError("nobody-may-see-this")


def fails_sync(request: HttpRequest) -> HttpResponse:
    raise LookupError("nobody-may-see-this")


waits = asyncio.Event()


async def takes_for_ever(request: HttpRequest) -> HttpResponse:
    waits.set()
    await asyncio.Event().wait()
    raise AssertionError


async def captures(request: HttpRequest) -> HttpResponse:
    await get_client().capture("seen")
    return HttpResponse()


def captures_sync(request: HttpRequest) -> HttpResponse:
    get_client().capture_nowait("seen")
    return HttpResponse()


def captures_with_sync_client(request: HttpRequest) -> HttpResponse:
    get_sync_client().capture("seen")
    return HttpResponse()


def signs_in(request: HttpRequest) -> HttpResponse:
    request.customer = "u7"
    return HttpResponse()


urlpatterns = [
    path("users/<int:pk>/", answers),
    path("sync/<int:pk>/", answers_sync),
    path("teapot/", returns_teapot),
    path("missing/", raises_not_found),
    path("denied/", raises_denied),
    path("fails/", fails),
    path("fails-sync/", fails_sync),
    path("endless/", takes_for_ever),
    path("captures/", captures),
    path("captures-sync/", captures_sync),
    path("captures-there/", captures_with_sync_client),
    path("login/", signs_in),
    path("", answers),
]


# -- asking -----------------------------------------------------------------------------------------------------------


def settings_of(client: object, *middleware: object, **given: object) -> override_settings:
    """Settings with this client, the middleware, and whatever else of ``EVENTPIPE``."""
    return override_settings(
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        EVENTPIPE={"CLIENT": client, **given},
        LOGGING_CONFIG=None,
        MIDDLEWARE=middleware or [MIDDLEWARE],
        ROOT_URLCONF=HERE,
        TEMPLATES=[],
    )


async def ask(application: Any, target: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> int:
    """The status that an ASGI application answers with. Any: each handler has a type of its own."""
    statuses: list[int] = []
    coming = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if coming:
            return coming.pop()
        await asyncio.Event().wait()  # it stays to the end
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    route, _, query = target.partition("?")
    given = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": route,
        "query_string": query.encode(),
        "headers": [(b"host", b"shop.example"), *given],
    }
    await application(scope, receive, send)
    [status] = statuses
    return status


def ask_wsgi(application: Any, target: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> int:
    """The status that a WSGI application answers with. Any: as above."""
    statuses: list[str] = []
    route, _, query = target.partition("?")
    environment: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": route, "QUERY_STRING": query}
    environment |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
    setup_testing_defaults(environment)
    environment["wsgi.input"] = io.BytesIO()
    response = application(environment, lambda status, headers: statuses.append(status))
    list(response)
    response.close()
    [status] = statuses
    return int(status.split()[0])


class Served:
    """An application under ASGI with an ``AsyncClient``, or under WSGI with a ``SyncClient``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.sink = MemorySink()
        self.client = AsyncClient(self.sink) if kind == "asgi" else SyncClient(self.sink)

    async def get(self, *targets: str, **given: Any) -> list[int]:
        """The statuses of the answers, once the client is closed. Any: handed through."""
        try:
            if isinstance(self.client, AsyncClient):
                await self.client.__aenter__()  # as a lifespan does
                application = ASGIHandler()
                return [await ask(application, target, **given) for target in targets]
            return await asyncio.to_thread(self._get, targets, given)
        finally:
            await self.close()

    def _get(self, targets: tuple[str, ...], given: dict[str, Any]) -> list[int]:
        application = WSGIHandler()
        try:
            return [ask_wsgi(application, target, **given) for target in targets]
        finally:
            gc.collect()  # asgiref ends the thread of an async view once what that raised is gone

    async def close(self) -> None:
        if isinstance(self.client, AsyncClient):
            await self.client.aclose()
        else:
            await asyncio.to_thread(self.client.close)

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


@pytest.fixture(params=["asgi", "wsgi"])
def served(request: pytest.FixtureRequest) -> Served:
    return Served(request.param)


def facts(status: int | None, route: str, method: str = "GET", **more: object) -> dict[str, object]:
    return {"method": method, "route": route, "status": status, **more}


# -- requests as events -----------------------------------------------------------------------------------------------


@on_real_loop
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/users/71177117711771177/", facts(200, "users/<int:pk>/")),
        ("/sync/71177117711771177/", facts(200, "sync/<int:pk>/")),
        ("/", facts(200, "")),
        ("/teapot/", facts(418, "teapot/")),
        ("/missing/", facts(404, "missing/")),
        ("/denied/", facts(403, "denied/")),
        ("/fails/", facts(500, "fails/", error="LookupError")),
        ("/fails-sync/", facts(500, "fails-sync/", error="LookupError")),
        ("/wp-admin/71177117711771177/", facts(404, "unmatched")),
    ],
    ids=["async", "sync", "root", "returned", "not found", "denied", "failed", "failed sync", "no route"],
)
async def test_request_is_captured_with_its_route_and_what_was_answered(
    served: Served, target: str, expected: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """The pattern, never the path, its query or its body; the status is the one that the caller sees."""
    caplog.set_level(logging.CRITICAL, "django.request")  # a line there holds what was raised, and that a thread
    with settings_of(served.client, REQUESTS=RequestCapture()):
        statuses = await served.get(f"{target}?token=71177117711771177")

    assert served.captured == [("request", None, expected)]
    assert statuses == [expected["status"]]
    assert "71177117711771177" not in repr([event.properties for event in served.sink.events])
    assert "nobody-may-see-this" not in repr([event.json for event in served.sink.events])


@on_real_loop
async def test_only_what_was_asked_for_is_captured(served: Served) -> None:
    """Under another name, with named headers, without the routes that are left out; the user is asked at the end."""
    requests = RequestCapture(
        "http",
        user=lambda request: request.customer,
        properties=lambda request: {"shop": "one"},
        allow_headers={"X-Tenant"},
        exclude={"users/<int:pk>/"},
    )
    with settings_of(served.client, REQUESTS=requests):
        statuses = await served.get("/users/7/", "/login/", headers={"x-tenant": "acme", "x-other": "secret"})

    assert statuses == [200, 200]
    assert served.captured == [("http", "u7", facts(200, "login/", shop="one", headers={"x-tenant": "acme"}))]


@pytest.mark.asyncio
async def test_duration_is_that_of_the_response() -> None:
    """In seconds of the loop clock."""
    served = Served("asgi")

    async def takes_time(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(2.5)
        return HttpResponse()

    request = HttpRequest()
    request.method = "GET"
    with settings_of(served.client, REQUESTS=RequestCapture()):
        await EventMiddleware(takes_time)(request)
    await served.close()

    [event] = served.sink.events
    assert event.properties["duration"] == pytest.approx(2.5, abs=1e-6)


@on_real_loop
async def test_request_whose_caller_went_away_is_captured_without_a_status() -> None:
    """Django cancels the view when the server says so; nothing was answered."""
    served = Served("asgi")
    waits.clear()
    coming = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if coming:
            return coming.pop()
        await waits.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/endless/",
        "query_string": b"",
        "headers": [(b"host", b"a.example")],
    }
    with settings_of(served.client, REQUESTS=RequestCapture()):
        await ASGIHandler()(scope, receive, send)
    await served.close()

    assert served.captured == [("request", None, facts(None, "endless/", disconnected=True))]


# -- scopes -----------------------------------------------------------------------------------------------------------


def scope_of(request: HttpRequest) -> dict[str, Any]:
    return {"distinct_id": request.headers["x-user"], "properties": {"shop": "one"}}


@on_real_loop
async def test_events_of_a_request_have_what_its_scope_says() -> None:
    """Each request its own where several run at once, in async views and in the threads of the others."""
    served = Served("asgi")
    with settings_of(served.client, REQUESTS=RequestCapture("request"), SCOPE=f"{HERE}.scope_of"):
        application = ASGIHandler()
        await asyncio.gather(
            *(ask(application, f"/captures{kind}/", headers={"x-user": f"u{kind}"}) for kind in ("", "-sync"))
        )
        assert eventpipe.scopes.current() is None
        await served.close()

    assert sorted((name, who, properties["shop"]) for name, who, properties in served.captured) == [
        ("request", "u", "one"),
        ("request", "u-sync", "one"),
        ("seen", "u", "one"),
        ("seen", "u-sync", "one"),
    ]


@on_real_loop
async def test_views_of_wsgi_have_the_scope_too() -> None:
    """With a ``SyncClient``, in the thread of the server."""
    served = Served("wsgi")
    with settings_of(served.client, SCOPE=scope_of):
        assert await served.get("/captures-there/", headers={"x-user": "u1"}) == [200]

    assert served.captured == [("seen", "u1", {"shop": "one"})]


class SyncOnly:
    """A middleware of the old kind, for which Django puts all between it and the next async one in a thread."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)


@on_real_loop
@pytest.mark.parametrize(
    "middleware", [(f"{HERE}.SyncOnly", MIDDLEWARE), (MIDDLEWARE, f"{HERE}.SyncOnly")], ids=["around", "inside"]
)
async def test_middleware_without_async_beside_it_changes_nothing(middleware: tuple[str, ...]) -> None:
    """The request runs in another thread then, in the same scope, and is captured all the same."""
    served = Served("asgi")
    with settings_of(served.client, *middleware, REQUESTS=RequestCapture(), SCOPE=scope_of):
        async with served.client:  # type: ignore[union-attr]
            assert await ask(ASGIHandler(), "/captures/", headers={"x-user": "u1"}) == 200

    assert served.captured == [
        ("seen", "u1", {"shop": "one"}),
        ("request", "u1", facts(200, "captures/", shop="one")),
    ]


# -- what goes wrong --------------------------------------------------------------------------------------------------


def fails_for(request: HttpRequest) -> Any:
    raise LookupError(f"nobody-may-see-this {request.path}")


@on_real_loop
@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"SCOPE": fails_for}, "scope raised LookupError; further errors are counted only"),
        ({"REQUESTS": RequestCapture(user=fails_for)}, "user raised LookupError; further errors are counted only"),
        (
            {"REQUESTS": RequestCapture(properties=lambda request: 7)},  # type: ignore[arg-type,return-value]
            "properties must return a mapping or None, not int; further errors are counted only",
        ),
    ],
    ids=["scope raises", "user raises", "properties returns a number"],
)
async def test_a_function_that_fails_costs_no_request(
    served: Served, given: dict[str, Any], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every request is answered, the errors are counted, the first is in the log without what it was about."""
    made: list[EventMiddleware] = []

    def kept(get_response: Any) -> EventMiddleware:  # Any: as Django has it
        made.append(EventMiddleware(get_response))
        return made[0]

    if "REQUESTS" in given:  # shared by the two variants, and it counts for itself
        given = {"REQUESTS": RequestCapture(user=given["REQUESTS"].user, properties=given["REQUESTS"].properties)}
    kept.async_capable = True  # type: ignore[attr-defined]
    with settings_of(served.client, **given), pytest.MonkeyPatch.context() as patch:
        patch.setattr(integration, "EventMiddleware", kept)
        statuses = await served.get("/users/1/", "/users/2/", "/users/3/")

    assert (statuses, made[0].errors) == ([200] * 3, 3)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [line]
    assert [properties for _, _, properties in served.captured] == [facts(200, "users/<int:pk>/")] * (
        3 if "REQUESTS" in given else 0
    )


@on_real_loop
async def test_client_that_refuses_costs_no_request() -> None:
    """Closed early, strict, and told to raise: the view's answer arrives."""
    client = AsyncClient(MemorySink(), strict=True, overflow="raise")
    with settings_of(client, REQUESTS=RequestCapture()):
        application = ASGIHandler()
        assert await ask(application, "/users/1/") == 200
        report = await client.aclose()
        assert await ask(application, "/users/2/") == 200

    assert report.delivered == 1
    assert client.statistics().dropped_by_reason == {DropReason.CLOSED: 1}


@on_real_loop
async def test_async_client_under_wsgi_is_named_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its events wait for a loop that nobody runs."""
    client = AsyncClient(MemorySink())
    with settings_of(client, REQUESTS=RequestCapture()):
        application = WSGIHandler()
        statuses = [await asyncio.to_thread(ask_wsgi, application, f"/sync/{number}/") for number in range(3)]

    assert statuses == [200] * 3
    assert [record.getMessage() for record in caplog.records] == [
        'EVENTPIPE["CLIENT"] is an AsyncClient, and its events wait for an event loop, which WSGI does not have; '
        "make it a SyncClient, or serve the application by ASGI, with_client() around it"
    ]
    await client.aclose()
    assert client.statistics().delivered == 3


# -- settings ---------------------------------------------------------------------------------------------------------

of_the_module = AsyncClient(MemorySink())
requests_of_the_module = RequestCapture(exclude={"health/"})


def test_settings_name_things_by_dotted_paths() -> None:
    """The client and the rest may live in modules that are imported when Django has its settings."""
    with settings_of(f"{HERE}.of_the_module", REQUESTS=f"{HERE}.requests_of_the_module"):
        assert get_client() is of_the_module
        assert EventMiddleware(lambda request: HttpResponse())._requests is requests_of_the_module


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            None,
            'the settings have no EVENTPIPE, which says where events go: EVENTPIPE = {"CLIENT": "shop.events.client"}',
        ),
        ("shop.events.client", 'EVENTPIPE must be a dictionary such as EVENTPIPE = {"CLIENT": '),
        ({"CLEINT": of_the_module}, "EVENTPIPE has 'CLEINT'; it may have CLIENT, REQUESTS, SCOPE"),
        ({}, 'EVENTPIPE["CLIENT"] must be an AsyncClient or a SyncClient, or the dotted path of one, not None'),
        (
            {"CLIENT": "nowhere.client"},
            "EVENTPIPE[\"CLIENT\"] names 'nowhere.client', which cannot be imported: No module",
        ),
        ({"CLIENT": f"{HERE}.answers"}, 'EVENTPIPE["CLIENT"] must be an AsyncClient or a SyncClient'),
        ({"CLIENT": of_the_module, "REQUESTS": True}, "EVENTPIPE is wrong: requests must be a RequestCapture"),
        ({"CLIENT": of_the_module, "SCOPE": answers}, "EVENTPIPE is wrong: scope must be a plain function"),
    ],
    ids=["none", "no dictionary", "typo", "no client", "no module", "something else", "no capture", "async scope"],
)
def test_wrong_settings_are_refused_when_the_application_is_loaded(setting: object, message: str) -> None:
    """Before the first request, with the setting's name and what to write there."""
    with override_settings(EVENTPIPE=setting, MIDDLEWARE=[MIDDLEWARE]), pytest.raises(ImproperlyConfigured) as refused:
        WSGIHandler()

    assert message in str(refused.value)


@pytest.mark.wallclock
def test_missing_library_says_what_to_install() -> None:
    """In one line, last."""
    blocked = "import sys; sys.modules['django'] = None; import eventpipe.integrations.django"
    seen = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)

    assert seen.stderr.splitlines()[-1] == (
        "ImportError: eventpipe.integrations.django needs django: pip install django"
    )


def test_a_client_of_the_other_kind_is_refused_with_the_function_for_it() -> None:
    """Nobody awaits what is not awaitable."""
    sync = SyncClient(MemorySink())
    with settings_of(sync):
        assert get_sync_client() is sync
        with pytest.raises(ImproperlyConfigured, match=r"is a SyncClient: get_sync_client\(\) gives it"):
            get_client()
    with settings_of(of_the_module), pytest.raises(ImproperlyConfigured, match=r"is an AsyncClient: get_client\(\)"):
        get_sync_client()


def test_sync_client_is_closed_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, however often it is asked for, and while threads can still be started."""
    ends: list[Callable[[], object]] = []
    monkeypatch.setattr(threading, "_register_atexit", ends.append)
    sink = MemorySink()
    client = SyncClient(sink)
    with settings_of(client):
        EventMiddleware(lambda request: HttpResponse())
        get_sync_client().capture("signed_up")
        get_sync_client()

    [end] = ends
    end()

    assert [event.event for event in sink.events] == ["signed_up"]
    assert client.close().delivered == 1


# -- the lifespan of a server -----------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan_of(application: Any) -> AsyncIterator[None]:
    """As a server runs it. Any: an ASGI application."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    sent: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.create_task(application({"type": "lifespan"}, messages.get, sent.put))
    for ask_for, inside in (("startup", True), ("shutdown", False)):
        messages.put_nowait({"type": f"lifespan.{ask_for}"})
        assert await sent.get() == {"type": f"lifespan.{ask_for}.complete"}
        if inside:
            yield
    await task


@on_real_loop
async def test_client_starts_and_closes_with_the_server() -> None:
    """Django knows no lifespan; around it the client has one, and what was captured is delivered at its end."""
    served = Served("asgi")
    with settings_of(served.client, REQUESTS=RequestCapture()):
        application = with_client(get_asgi_application())
        async with lifespan_of(application):
            assert await ask(application, "/captures/") == 200
            assert served.sink.events == []

    assert not served.client.health().is_open
    assert [name for name, _, _ in served.captured] == ["seen", "request"]


@on_real_loop
async def test_sync_client_closes_with_a_server_of_asgi_too() -> None:
    """Such a server may end by the signal itself, and the interpreter never comes to its end."""
    served = Served("wsgi")
    with settings_of(served.client, REQUESTS=RequestCapture()):
        application = with_client(get_asgi_application())
        async with lifespan_of(application):
            assert await ask(application, "/captures-there/") == 200

    assert not served.client.health().is_open
    assert sorted(name for name, _, _ in served.captured) == ["request", "seen"]


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_an_application_of_wsgi_is_refused(kind: str) -> None:
    """With the file that has to go without, whatever the client is; else every request would fail."""
    with settings_of(Served(kind).client), pytest.raises(TypeError, match=r"belongs into asgi\.py; wsgi\.py needs no"):
        with_client(get_wsgi_application())


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_what_is_no_application_is_refused(kind: str) -> None:
    """With its type, where it is given."""
    with settings_of(Served(kind).client), pytest.raises(TypeError, match="app must be an ASGI application, not str"):
        with_client("shop.asgi.application")


NOBODY_CLOSES = (
    "nothing closes the client when the server ends, and what is pending then is lost; "
    "in asgi.py: application = with_client(get_asgi_application()), under a server with a lifespan"
)


@on_real_loop
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
async def test_where_no_lifespan_closes_the_client_the_log_says_so_once(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Daphne and the tests of Django run none: an ``AsyncClient`` starts with the first request."""
    served = Served(kind)
    with settings_of(served.client, REQUESTS=RequestCapture()):
        application = ASGIHandler()
        assert [await ask(application, "/users/1/") for _ in range(2)] == [200, 200]

    assert [record.getMessage() for record in caplog.records] == [NOBODY_CLOSES]
    if isinstance(served.client, AsyncClient):
        assert (await served.client.flush()).delivered == 2
    await served.close()
    assert len(served.captured) == 2


@on_real_loop
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
async def test_where_a_lifespan_closes_the_client_the_log_is_silent(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Under either kind of client."""
    served = Served(kind)
    with settings_of(served.client, REQUESTS=RequestCapture()):
        application = with_client(get_asgi_application())
        async with lifespan_of(application):
            assert await ask(application, "/users/1/") == 200

    assert ([record.getMessage() for record in caplog.records], len(served.captured)) == ([], 1)


@pytest.mark.wallclock
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
def test_requests_are_sent_on_the_loop_after_one_that_was_closed_by_hand() -> None:
    """As adapters of serverless platforms do it, in one thread."""
    ask_on_three_loops()
    gc.collect()  # while the test catches what asyncio logs of the closed loops' tasks


def ask_on_three_loops() -> None:
    waiting: list[asyncio.Future[str]] = []

    async def send(batch: Batch) -> None:
        waiting.pop().set_result(batch.events[0].event)

    client = AsyncClient(CallbackSink(send), max_batch_age=0)

    async def ask_once() -> str:
        waiting.append(asyncio.get_running_loop().create_future())
        [sent] = waiting
        assert await ask(application, "/users/1/") == 200
        async with asyncio.timeout(10):
            return await sent

    with settings_of(client, REQUESTS=RequestCapture()):
        application = ASGIHandler()
        for _ in range(3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(ask_once()) == "request"
            loop.close()
    asyncio.run(client.aclose())
