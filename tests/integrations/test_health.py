"""The health endpoint: what it answers, to whom, and that nothing a server hands it costs more than that request."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import Any

import aiohttp
import orjson
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

import eventpipe
from eventpipe import AsyncClient, EventCounts, ServiceState, Statistics
from eventpipe.health import Health, SinkHealth
from eventpipe.integrations.health import HealthEndpoint
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink
from tests.integrations.asgi import Application, ask, converse, served

PAYLOAD = "nobody-may-see-this"

pytestmark = pytest.mark.asyncio


class NamedSink(MemorySink):
    """A sink whose name is whatever somebody gave it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


async def test_ready_client_is_200_with_all_its_numbers() -> None:
    """Every attribute of the two snapshots is there by its name, and the body says how long it is."""
    async with AsyncClient(MemorySink()) as client:
        await client.capture("a")
        await client.flush()

        answer = await ask(HealthEndpoint(client))

        assert (answer.status, answer.json["status"]) == (200, "ready")
        assert answer.headers == {
            "content-type": "application/json",
            "content-length": str(len(answer.body)),
            "cache-control": "no-store",
        }
        assert set(answer.json) == {"status", "health", "statistics", "process"}
        assert set(answer.json["health"]) == {field.name for field in fields(Health)} | {"is_ready"}
        assert set(answer.json["health"]["sinks"]["MemorySink"]) == {field.name for field in fields(SinkHealth)}
        assert set(answer.json["statistics"]) == {field.name for field in fields(Statistics)} - {"by_event"}
        assert (answer.json["statistics"]["captured"], answer.json["statistics"]["delivered"]) == (1, 1)
        assert set(answer.json["statistics"]["latency"]["delivery"]) == {"bounds", "counts", "count", "sum"}
        assert set(answer.json["process"]) == {"pid", "uptime", "version", "now"}
        assert answer.json["process"]["version"] == eventpipe.__version__


async def test_client_that_may_be_given_nothing_is_503_with_the_same_numbers() -> None:
    """Full or closed, it is asked why it is not ready."""
    sink = GatedSink()
    client = AsyncClient(sink, queue_events=2)
    endpoint = HealthEndpoint(client)
    assert (await ask(endpoint)).status == 200  # before it starts it takes events in

    await client.capture("a")
    await client.capture("a")
    full = await ask(endpoint)
    sink.release()
    await client.aclose()
    closed = await ask(endpoint)

    assert (full.status, full.json["status"], full.json["health"]["pressure"]) == (503, "not_ready", 1.0)
    assert (closed.status, closed.json["status"], closed.json["health"]["is_open"]) == (503, "not_ready", False)
    assert closed.json["statistics"]["delivered"] == 2


@pytest.mark.parametrize(
    ("health", "status"),
    [
        (Health(is_open=True), 200),
        (Health(is_open=True, pressure=0.99, paused=("one",)), 200),
        (Health(is_open=True, pressure=1.0), 503),
        (Health(is_open=True, crashed=("eventpipe-one",)), 503),
        (Health(is_open=False), 503),
    ],
    ids=["open", "paused", "full", "crashed", "closed"],
)
async def test_readiness_is_the_client_s(health: Health, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A far end that is down, or asked for a pause, takes no process out of service."""
    client = AsyncClient(MemorySink())
    monkeypatch.setattr(client, "health", lambda: health)

    answer = await ask(HealthEndpoint(client))

    assert (answer.status, answer.json["health"]["is_ready"]) == (status, status == 200)


async def test_head_has_the_headers_alone() -> None:
    """As HTTP says, those of a GET, and no body."""
    async with AsyncClient(MemorySink()) as client:
        head = await ask(HealthEndpoint(client), "HEAD")

        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) > 500


@pytest.mark.parametrize("scope", [{"method": "POST"}, {"method": "get"}, {"method": ""}, {"method": None}])
async def test_other_methods_are_405_and_say_which_are_allowed(scope: dict[str, Any]) -> None:
    """Also a method that no server would hand on."""
    answer = await ask(HealthEndpoint(AsyncClient(MemorySink())), **scope)

    assert (answer.status, answer.headers["allow"], answer.headers["cache-control"]) == (405, "GET, HEAD", "no-store")


async def test_neither_payload_nor_id_nor_name_of_an_event_is_shown() -> None:
    """Names are, to who asked for them."""
    async with AsyncClient(MemorySink()) as client:
        receipt = await client.capture(f"name-{PAYLOAD}", distinct_id=PAYLOAD, properties={PAYLOAD: PAYLOAD})
        await client.flush()

        body = (await ask(HealthEndpoint(client))).body
        named = await ask(HealthEndpoint(client, event_names=True))

        assert PAYLOAD.encode() not in body
        assert receipt.uuid.encode() not in named.body
        assert b"by_event" not in body
        assert named.json["statistics"]["by_event"] == {f"name-{PAYLOAD}": {"delivered": 1, "dropped": 0, "retried": 0}}


async def test_every_sink_is_shown_by_itself() -> None:
    """The whole is the sum of its sinks."""
    async with AsyncClient(NamedSink("one"), NamedSink("two")) as client:
        await client.capture("a")
        await client.flush()

        shown = (await ask(HealthEndpoint(client))).json["statistics"]

        assert {name: sink["delivered"] for name, sink in shown["by_sink"].items()} == {"one": 1, "two": 1}
        assert shown["delivered"] == 2


async def test_what_json_cannot_carry_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink's name with half a character in it, a number without end."""
    sink = SinkHealth(ServiceState.RUNNING, pressure=math.nan, pending=0, paused={"": math.inf})
    client = AsyncClient(NamedSink("na\ud800me"))
    monkeypatch.setattr(client, "health", lambda: Health(is_open=True, sinks={"na\ud800me": sink}))

    shown = (await ask(HealthEndpoint(client))).json["health"]["sinks"]["na\\ud800me"]

    assert (shown["state"], shown["pressure"], shown["paused"]) == ("running", None, {"": None})


async def test_names_of_events_that_json_cannot_carry_cost_themselves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be anything that a caller made of a request."""
    client = AsyncClient(MemorySink())
    numbers = replace(Statistics(), by_event={"\udfff\x00\n": EventCounts(delivered=1)})
    monkeypatch.setattr(client, "statistics", lambda: numbers)

    answer = await ask(HealthEndpoint(client, event_names=True))

    assert list(answer.json["statistics"]["by_event"]) == ["\\udfff\x00\n"]


async def test_a_websocket_is_denied() -> None:
    """Before it is accepted, which a server answers with 403."""
    endpoint = HealthEndpoint(AsyncClient(MemorySink()))

    assert await converse(endpoint, {"type": "websocket", "path": "/"}, {"type": "websocket.connect"}) == [
        {"type": "websocket.close", "code": 1000}
    ]


async def test_it_starts_and_stops_with_a_server_of_its_own() -> None:
    """Where it is the whole application; the client is left alone."""
    async with AsyncClient(MemorySink()) as client:
        sent = await converse(
            HealthEndpoint(client), {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
        )

        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert client.health().is_open


@pytest.mark.parametrize("scope", [{}, {"type": "udp"}, {"type": None}, {"type": ["http"]}])
async def test_a_scope_of_no_known_type_is_refused(scope: dict[str, Any]) -> None:
    """As ASGI asks of an application, with the type in the message."""
    with pytest.raises(ValueError, match="a health endpoint answers http, not a scope of type"):
        await converse(HealthEndpoint(AsyncClient(MemorySink())), scope)


@pytest.mark.parametrize("client", [None, "client", AsyncClient, MemorySink()], ids=["none", "text", "class", "sink"])
async def test_only_a_client_has_an_endpoint(client: Any) -> None:
    """What is not one is refused when it is made, not when it is asked."""
    with pytest.raises(TypeError, match="client must be an AsyncClient, not"):
        HealthEndpoint(client)


def fastapi_app(client: AsyncClient) -> Application:
    app = FastAPI()
    app.mount("/health", HealthEndpoint(client))
    return app


def starlette_app(client: AsyncClient) -> Application:
    return Starlette(routes=[Route("/health", HealthEndpoint(client))])


def nested_app(client: AsyncClient) -> Application:
    return Starlette(routes=[Mount("/health", Starlette(routes=[Mount("/", HealthEndpoint(client))]))])


@pytest.mark.wallclock
@pytest.mark.parametrize("make", [fastapi_app, starlette_app, nested_app, HealthEndpoint])
async def test_it_answers_under_a_real_server_on_another_loop_than_the_client_s(make: Any) -> None:
    """Mounted, as a route, or alone; the numbers of every answer add up while events come and go."""
    client = AsyncClient(MemorySink(), batch_events=10, max_batch_age=0)
    answers: list[dict[str, Any]] = []
    with served(make(client)) as address:
        async with client, aiohttp.ClientSession(address) as session:
            while len(answers) < 20:
                for _ in range(200):
                    await client.capture("a")
                async with session.get("/health") as response:
                    assert response.status == 200
                    answers.append(orjson.loads(await response.read()))
            async with session.head("/health", allow_redirects=True) as response:
                assert (response.status, await response.read()) == (200, b"")
            async with session.delete("/health") as response:
                assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
        assert client.statistics().captured == 4000

    for numbers in [answer["statistics"] for answer in answers]:
        assert numbers["captured"] == numbers["delivered"] + numbers["dropped"] + numbers["pending"]
    assert [answer["statistics"]["captured"] for answer in answers] == [200 * (n + 1) for n in range(20)]


@pytest.mark.wallclock
async def test_it_lives_on_the_loop_of_an_application_that_has_the_client() -> None:
    """The usual way: a client of the lifespan, and the endpoint beside its handlers."""
    client = AsyncClient(MemorySink())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/health", HealthEndpoint(client))

    @app.post("/events")
    async def capture() -> None:
        await client.capture("a")

    def visit() -> tuple[int, int]:
        return asyncio.run(visited(address))

    with served(app) as address:
        assert await asyncio.to_thread(visit) == (200, 1)
    assert client.statistics().delivered == 1


async def visited(address: str) -> tuple[int, int]:
    async with aiohttp.ClientSession(address) as session:
        await session.post("/events")
        async with session.get("/health") as response:
            return response.status, orjson.loads(await response.read())["statistics"]["captured"]


@pytest.mark.wallclock
async def test_it_answers_while_the_client_s_loop_is_held_up() -> None:
    """A handler that blocks is what one wants to see, and not a probe that never ends."""
    client = AsyncClient(MemorySink())
    with served(HealthEndpoint(client)) as address, ThreadPoolExecutor(1) as executor:
        async with client:
            await client.capture("a")
            began = time.monotonic()

            answer = executor.submit(asyncio.run, visited(address)).result()  # this loop stands still meanwhile

            assert answer == (200, 1)
            assert 0.4 < time.monotonic() - began < 3


async def test_repr_tells_whose_health_it_is() -> None:
    """And how that client does."""
    endpoint = HealthEndpoint(AsyncClient(MemorySink(name="far")))

    assert repr(endpoint) == "<HealthEndpoint of <AsyncClient to far: open, 0 pending>>"
