"""FastAPI hands the client to whoever asks for ``Events``, in handlers, dependencies and websockets, and in tests."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient

from eventpipe import AsyncClient
from eventpipe.integrations.fastapi import EventMiddleware, Events, RequestCapture, get_events, lifespan
from eventpipe.sinks import MemorySink


def names(sink: MemorySink) -> list[str]:
    return [event.event for event in sink.events]


async def visit(events: Events) -> str:
    await events.capture("visited")
    return "visit"


def make_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    router = APIRouter(prefix="/v1")

    @router.post("/signup")
    async def signup(user: str, events: Events) -> None:
        await events.capture("signed_up", distinct_id=user)

    @router.post("/sync")
    def from_a_thread(events: Events) -> None:
        events.capture_nowait("from_a_thread")

    @router.get("/visit")
    async def look(visited: Annotated[str, Depends(visit)], events: Events, later: BackgroundTasks) -> str:
        later.add_task(events.capture, "looked")
        return visited

    @router.websocket("/talk")
    async def talk(websocket: WebSocket, events: Events) -> None:
        await websocket.accept()
        await events.capture("talked")
        await websocket.close()

    app.include_router(router)
    return app


def test_whoever_asks_for_events_gets_the_client() -> None:
    """Handlers, those in threads, dependencies, background work and websockets."""
    sink = MemorySink()

    with TestClient(make_app(lifespan=lifespan(lambda: AsyncClient(sink)))) as browser:
        assert browser.post("/v1/signup?user=u1").status_code == 200
        assert browser.post("/v1/sync").status_code == 200
        assert browser.get("/v1/visit").json() == "visit"
        with browser.websocket_connect("/v1/talk"):
            pass

    assert names(sink) == ["signed_up", "from_a_thread", "visited", "looked", "talked"]


def test_an_application_starts_as_often_as_its_tests_do() -> None:
    """With a function that makes the client, each start has one of its own."""
    sinks: list[MemorySink] = []

    def make() -> AsyncClient:
        sinks.append(MemorySink())
        return AsyncClient(sinks[-1])

    app = make_app(lifespan=lifespan(make))
    for _ in range(2):
        with TestClient(app) as browser:
            browser.post("/v1/signup?user=u1")

    assert [names(sink) for sink in sinks] == [["signed_up"], ["signed_up"]]


def test_a_middleware_s_client_is_found_as_well() -> None:
    """``add_middleware`` alone gives one, from the start to the end; it captures requests where asked to."""
    sink = MemorySink()
    app = make_app()
    app.add_middleware(EventMiddleware, client=lambda: AsyncClient(sink), requests=RequestCapture())

    with TestClient(app) as browser:
        browser.post("/v1/signup?user=u1")

    assert names(sink) == ["signed_up", "request"]


def test_a_test_overrides_the_client() -> None:
    """As any other dependency; the application's own is not asked for, and may be missing."""
    sink = MemorySink()
    app = make_app()
    app.dependency_overrides[get_events] = lambda: AsyncClient(sink, enabled=False)

    assert TestClient(app).post("/v1/signup?user=u1").status_code == 200


def test_without_a_client_the_error_says_how_to_give_one() -> None:
    """In the log of the server, and in a test that raises what handlers do."""
    with pytest.raises(RuntimeError, match=r"give it one with lifespan\(client\), as in FastAPI\(lifespan="):
        TestClient(make_app()).post("/v1/signup?user=u1")


def test_a_test_that_runs_no_lifespan_is_told_how() -> None:
    """A ``TestClient`` does so as a context manager alone."""
    app = make_app(lifespan=lifespan(lambda: AsyncClient(MemorySink())))

    with pytest.raises(RuntimeError, match=r"in a test `with TestClient\(app\):`"):
        TestClient(app).post("/v1/signup?user=u1")


def test_it_is_no_part_of_the_application_s_schema() -> None:
    """Callers see no argument of it."""
    operation = make_app().openapi()["paths"]["/v1/signup"]["post"]

    assert [parameter["name"] for parameter in operation["parameters"]] == ["user"]


@pytest.mark.wallclock
@pytest.mark.parametrize("library", ["fastapi", "quart"])
def test_without_the_framework_the_import_says_what_to_install(library: str) -> None:
    """In a process that has none; the middleware for any framework needs neither."""
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "import eventpipe.integrations.asgi\n"
        f"import eventpipe.integrations.{library}\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    last = f"ImportError: eventpipe.integrations.{library} needs {library}: pip install {library}"
    assert ended.stderr.splitlines()[-1] == last
