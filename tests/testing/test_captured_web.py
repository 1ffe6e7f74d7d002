"""What is captured in the requests of a test, whatever the test client of the framework does with loops and threads."""

from __future__ import annotations

import pytest

INI = """
[pytest]
filterwarnings =
    error
    ignore:Using .httpx. with .starlette.testclient.
"""
OURS = "eventpipe.testing.plugin"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(INI)
    return pytester


def run(project: pytest.Pytester, source: str, *plugins: str) -> pytest.RunResult:
    project.makepyfile(source)
    named = [option for plugin in (*plugins, OURS) for option in ("-p", plugin)]
    return project.runpytest_subprocess(*named, "-p", "no:cacheprovider")


def test_starlette_with_a_client_from_the_import(project: pytest.Pytester) -> None:
    """Each request has a loop of its own without the lifespan, and one in another thread with it.

    Sync handlers and background tasks run in threads. The client is never closed, and the end of the process has
    nothing to say of it.
    """
    result = run(
        project,
        """
        from starlette.applications import Starlette
        from starlette.background import BackgroundTask
        from starlette.responses import Response
        from starlette.routing import Route
        from starlette.testclient import TestClient
        from eventpipe import AsyncClient
        from eventpipe.sinks import HttpSink

        client = AsyncClient(HttpSink("https://collector.example/batch"), strict=True)

        async def paid(request):
            await client.capture("paid", distinct_id=request.query_params["user"])
            client.capture_nowait("thanked")
            return Response()

        def viewed(request):
            client.capture_nowait("viewed")
            return Response(background=BackgroundTask(client.capture_nowait, "afterwards"))

        app = Starlette(routes=[Route("/paid", paid), Route("/viewed", viewed)])

        def test_requests_alone(captured):
            browser = TestClient(app)
            browser.get("/paid?user=u1")
            assert captured.names == ["paid", "thanked"]
            browser.get("/viewed")
            assert captured.names[2:] == ["viewed", "afterwards"]
            captured.assert_captured("paid", distinct_id="u1", times=1)

        def test_requests_of_one_loop(captured, leak_check):
            with TestClient(app) as browser:
                browser.get("/paid?user=u2")
                browser.get("/viewed")
                assert captured.names == ["paid", "thanked", "viewed", "afterwards"]

        def test_other_requests(captured):
            TestClient(app).get("/viewed")
            assert captured.names == ["viewed", "afterwards"]
            assert captured.earlier == []
        """,
    )

    result.assert_outcomes(passed=3)
    result.stderr.no_fnmatch_line("*")


def test_fastapi_with_its_lifespan_and_its_dependency(project: pytest.Pytester) -> None:
    """A client that the lifespan makes and closes, one that a test hands in, and what the middleware captures."""
    result = run(
        project,
        """
        import pytest
        from fastapi import FastAPI
        from fastapi.testclient import TestClient
        from eventpipe import AsyncClient
        from eventpipe.integrations.fastapi import Events, get_events, lifespan
        from eventpipe.sinks import HttpSink
        from eventpipe.testing import assert_captured

        app = FastAPI(lifespan=lifespan(lambda: AsyncClient(HttpSink("https://collector.example/batch"))))

        @app.post("/signup")
        async def signup(user: str, events: Events) -> None:
            await events.capture("signed_up", distinct_id=user)

        @app.post("/pay")
        async def pay(events: Events) -> int:
            return len(await events.deliver("paid"))

        @pytest.fixture
        def browser():
            with TestClient(app) as browser:
                yield browser

        @pytest.mark.parametrize("user", ["u1", "u2"])
        def test_signs_up(browser, captured, user):
            assert browser.post(f"/signup?user={user}").status_code == 200
            assert captured.one("signed_up").distinct_id == user

        def test_pays(captured, browser):
            assert browser.post("/pay").json() == 1
            assert_captured("paid", times=1)

        def test_with_another_client(captured, eventpipe_client, leak_check):
            app.dependency_overrides[get_events] = lambda: eventpipe_client
            TestClient(app).post("/signup?user=u3")
            app.dependency_overrides.clear()
            assert captured.one("signed_up").distinct_id == "u3"
        """,
    )

    result.assert_outcomes(passed=4)
    result.stderr.no_fnmatch_line("*")


def test_django_with_plain_and_with_async_views(project: pytest.Pytester) -> None:
    """Its test client runs async views on loops that end with the request; its async client in the test's own."""
    project.makeini(f"{INI}asyncio_default_fixture_loop_scope = function\n")
    result = run(
        project,
        """
        import django, pytest
        from django.conf import settings
        from django.http import HttpResponse
        from django.urls import path
        from eventpipe import AsyncClient
        from eventpipe.sinks import HttpSink
        from eventpipe.sync import SyncClient

        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], SECRET_KEY="for tests")
        django.setup()
        from django.test import AsyncClient as AsyncBrowser, Client

        plain = SyncClient(HttpSink("https://collector.example/batch"))
        client = AsyncClient(HttpSink("https://collector.example/batch"))

        def subscribe(request):
            plain.capture("subscribed")
            return HttpResponse()

        async def leave(request):
            await client.capture("left")
            return HttpResponse()

        urlpatterns = [path("subscribe", subscribe), path("leave", leave)]

        @pytest.mark.parametrize("time", [1, 2])
        def test_views(captured, time):
            Client().get("/subscribe")
            Client().get("/leave")
            assert captured.names == ["subscribed", "left"]
            assert captured.earlier == []

        @pytest.mark.asyncio
        async def test_async_views(captured):
            await AsyncBrowser().get("/subscribe")
            await AsyncBrowser().get("/leave")
            assert captured.names == ["subscribed", "left"]

        def test_the_end(captured):
            plain.close()
        """,
        "pytest_asyncio.plugin",
    )

    result.assert_outcomes(passed=4)
    result.stderr.no_fnmatch_line("*")


def test_aiohttp_in_the_loop_of_the_test(project: pytest.Pytester) -> None:
    """The application starts, serves and stops in the test."""
    project.makeini(f"{INI}asyncio_default_fixture_loop_scope = function\n")
    result = run(
        project,
        """
        import pytest
        from aiohttp import web
        from aiohttp.test_utils import TestClient, TestServer
        from eventpipe import AsyncClient
        from eventpipe.integrations.aiohttp_web import CLIENT, client_ctx
        from eventpipe.sinks import HttpSink

        async def pay(request):
            await request.app[CLIENT].deliver("paid")
            return web.Response()

        @pytest.mark.asyncio
        async def test_pays(captured, leak_check):
            app = web.Application()
            app.cleanup_ctx.append(client_ctx(AsyncClient(HttpSink("https://collector.example/batch"))))
            app.router.add_post("/pay", pay)
            async with TestClient(TestServer(app)) as browser:
                assert (await browser.post("/pay")).status == 200
            captured.assert_captured("paid", times=1)
        """,
        "pytest_asyncio.plugin",
    )

    result.assert_outcomes(passed=1)
    result.stderr.no_fnmatch_line("*")
