"""Each ASGI example under real servers, with a real HTTP client, ended by a real signal amid requests."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from eventpipe import AsyncClient, OutcomeKind
from eventpipe.cli.collector import Collector
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture
from eventpipe.sinks import MemorySink
from tests.integration.serving import End, Gate, press_control_c, serving, stored, terminate
from tests.integrations.asgi import served

ANSWERED = [f"u{number}" for number in range(50)]
UNDER_WAY = [f"late{number}" for number in range(5)]
SERVERS = {
    "uvicorn": ("-m", "uvicorn", "--port", "0", "--no-access-log"),
    "hypercorn": ("-m", "hypercorn", "--bind", "127.0.0.1:0"),
}
CAPTURES_REQUESTS = {"fastapi_app": False, "starlette_app": True, "litestar_app": True, "quart_app": True}

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


async def sign_up(address: str, users: list[str], path: str = "/signup") -> None:
    async with aiohttp.ClientSession(address) as session:

        async def one(user: str) -> None:
            async with session.post(path, params={"user": user}) as answer:
                assert answer.ok, (answer.status, await answer.text())

        await asyncio.gather(*map(one, users))


async def look(address: str, path: str) -> int:
    async with aiohttp.ClientSession(address) as session, session.get(path) as answer:
        return answer.status


def everything_stored(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.iterdir())


@pytest.mark.parametrize(
    ("server_name", "end"),
    [("uvicorn", terminate), ("hypercorn", terminate), ("hypercorn", press_control_c)],
    ids=["uvicorn SIGTERM", "hypercorn SIGTERM", "hypercorn Ctrl-C"],
)
@pytest.mark.parametrize("example", CAPTURES_REQUESTS)
async def test_example_delivers_every_event_once_when_it_is_ended(
    example: str, server_name: str, end: End, tmp_path: Path
) -> None:
    """Those of answered requests, and those of handlers that were at work when the signal came, once each."""
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        Gate().listening() as gate,
        serving(
            *SERVERS[server_name],
            "tests.integration.gated_asgi:app",
            APP=f"examples.{example}",
            COLLECTOR_URL=f"{collector.url}/events",
            GATE=str(gate.port),
        ) as server,
    ):
        await sign_up(server.address, ANSWERED)
        assert await look(server.address, "/nobody/knows/this-path") == 404
        if CAPTURES_REQUESTS[example]:
            assert await look(server.address, "/health") == 200
        under_way = asyncio.create_task(sign_up(server.address, UNDER_WAY, "/gated"))
        await gate.reached(len(UNDER_WAY))

        end(server)
        if server_name == "uvicorn":  # hypercorn listens on, and gives handlers three seconds
            await server.refuses()
        await gate.open()
        await under_way
        printed = await server.end()

        users = ANSWERED + UNDER_WAY
        expected = Counter[tuple[str, str | None]](("signed_up", user) for user in users)
        if CAPTURES_REQUESTS[example]:
            expected["request", None] = len(users) + 1  # and the one that found no route
        assert stored(tmp_path) == expected
        assert sorted(collector.ids.values()) == [1] * expected.total()
        assert "Traceback" not in printed
        assert "this-path" not in everything_stored(tmp_path)


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"part"
            await asyncio.sleep(0.005)

    return StreamingResponse(parts())


async def test_a_client_that_leaves_in_the_middle_of_a_stream_is_marked() -> None:
    """By what a real server says of a real connection that was cut; the event comes when the handler has ended."""
    came = threading.Event()
    sink = MemorySink()
    client = AsyncClient(sink, max_batch_age=0)
    client.on_outcome(lambda outcome: came.set(), OutcomeKind.DELIVERED)
    app = Starlette(routes=[Route("/streams/{name}", stream)])

    with served(EventMiddleware(app, client, requests=RequestCapture())) as address:
        async with aiohttp.ClientSession(address) as session, session.get("/streams/4711") as answer:
            assert await answer.content.read(4) == b"part"
        assert await asyncio.to_thread(came.wait, 10)

    [event] = sink.events
    assert event.properties == {
        "method": "GET",
        "route": "/streams/{name}",
        "status": 200,
        "disconnected": True,
        "duration": event.properties["duration"],
    }


async def test_a_server_without_lifespan_delivers_what_is_captured() -> None:
    """The first event starts the client, in the background of the requests."""
    async with (
        Collector(remember_ids=True) as collector,
        serving(
            *SERVERS["uvicorn"],
            *("--lifespan", "off"),
            "examples.quart_app:app",
            COLLECTOR_URL=f"{collector.url}/events",
            EVENTPIPE_MAX_BATCH_AGE="0.05",
        ) as server,
    ):
        await sign_up(server.address, ANSWERED)
        async with asyncio.timeout(10):
            while collector.events < 2 * len(ANSWERED):  # noqa: ASYNC110 - the events come from another process
                await asyncio.sleep(0.01)

        server.signal(signal.SIGTERM)
        printed = await server.end()

        assert "Traceback" not in printed
        assert sorted(collector.ids.values()) == [1] * 2 * len(ANSWERED)
