"""The deliveries API: who gets in, what a request may be, and what is answered when something fails."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from eventpipe.delivery import Deliveries, Endpoint, EndpointState
from eventpipe.errors import StoreError
from eventpipe.integrations.deliveries import OPERATIONS, DeliveriesApp, deliveries_app
from eventpipe.integrations.deliveries_requests import BODY_TIME
from eventpipe.stores import MemoryStore
from eventpipe.testing.clock import LoopClock
from tests.integrations.asgi import converse, served
from tests.integrations.asgi_server import Life
from tests.integrations.deliveries import RIGHTS, by_token, call, fault

URL = "https://acme.example/hooks"

pytestmark = pytest.mark.asyncio


class WatchedStore(MemoryStore):
    """Counts who looks at its deliveries, and raises for each when it is told to."""

    def __init__(self) -> None:
        super().__init__(clock=LoopClock())
        self.looks = 0
        self.error: Exception | None = None

    @property
    def deliveries(self) -> Any:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return super().deliveries


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest_asyncio.fixture
async def deliveries(store: WatchedStore) -> AsyncIterator[Deliveries]:
    async with Deliveries(store, clock=LoopClock()) as running:
        await running.add_endpoint(Endpoint("acme", URL))
        yield running


@pytest.fixture
def app(deliveries: Deliveries) -> DeliveriesApp:
    return deliveries_app(deliveries, authenticate=by_token)


def path_of(path: str) -> str:
    return path.replace("{name}", "acme").replace("{id}", "1").replace("{uuid}", "u")


async def test_there_is_no_way_in_without_authenticate(deliveries: Deliveries) -> None:
    """It cannot be left out, and cannot be what no call can be made of."""
    with pytest.raises(TypeError, match="authenticate"):
        deliveries_app(deliveries)  # type: ignore[call-arg]  # as who forgets it
    for wrong in (None, True, "read"):
        with pytest.raises(TypeError, match="authenticate must be a function"):
            deliveries_app(deliveries, authenticate=wrong)  # type: ignore[arg-type]  # as above


async def test_wrong_options_are_named(deliveries: Deliveries) -> None:
    """Deliveries that are none, sizes without meaning, words for booleans."""
    with pytest.raises(TypeError, match="deliveries must be Deliveries"):
        deliveries_app(object(), authenticate=by_token)  # type: ignore[arg-type]  # as who does not check types
    for size in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="max_body_bytes must be a whole number, at least 1"):
            deliveries_app(deliveries, authenticate=by_token, max_body_bytes=size)  # type: ignore[arg-type]  # as above
    with pytest.raises(TypeError, match="allow_private must be True or False"):
        deliveries_app(deliveries, authenticate=by_token, allow_private="no")  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
async def test_nothing_of_the_store_is_touched_for_strangers(
    app: DeliveriesApp, store: WatchedStore, operation: Any
) -> None:
    """401 for whoever is not known; 403 where somebody may only look; the body is not even read."""
    path, before = path_of(operation.path), store.looks

    assert fault(await call(app, operation.method, path, token=None))[:2] == (401, "unauthorized")
    assert fault(await call(app, operation.method, path, token="reader2", raw=b"{"))[:2] == (401, "unauthorized")
    if operation.right == "write":
        assert fault(await call(app, operation.method, path, token="reader", raw=b"{"))[:2] == (403, "forbidden")

    assert store.looks == before
    assert operation.right == ("read" if operation.method == "GET" else "write")


async def raising(_: object) -> None:
    raise RuntimeError("hidden-value")


async def cancelled(_: object) -> None:
    raise asyncio.CancelledError


def forbidding(_: object) -> None:
    raise PermissionError("hidden-value")


@pytest.mark.parametrize(
    ("authenticate", "expected"),
    [
        (raising, 401),
        (cancelled, 401),
        (forbidding, 403),
        (lambda _: None, 401),
        (lambda _: False, 401),
        (lambda _: "", 401),
        (lambda _: True, 403),
        (lambda _: "admin", 403),
        (lambda _: {"write": True}, 403),
        (lambda _: "read", 200),
        (lambda _: "write", 200),
    ],
)
async def test_only_a_right_that_was_said_lets_anybody_in(
    deliveries: Deliveries, store: WatchedStore, authenticate: Any, expected: int
) -> None:
    """What it raises and what it returns beside the two words is a no; what went wrong is not told."""
    before = store.looks

    answer = await call(deliveries_app(deliveries, authenticate=authenticate), "GET", "/endpoints")

    assert answer.status == expected
    assert b"hidden-value" not in answer.body
    assert (store.looks > before) is (expected == 200)


async def test_authenticate_sees_the_request(deliveries: Deliveries) -> None:
    """Method, whole path, headers in lower case and the scope with what others put there; it may wait."""
    seen = []

    async def look(request: Any) -> str:
        await asyncio.sleep(1)
        seen.append((request.method, request.path, request.headers["x-key"], request.scope["state"]["user"]))
        return "read"

    app = deliveries_app(deliveries, authenticate=look)  # type: ignore[arg-type]  # Right is a word
    answer = await call(app, "GET", "/api/stats", root_path="/api", headers={"X-Key": "k"}, state={"user": "u1"})

    assert (answer.status, seen) == (200, [("GET", "/api/stats", "k", "u1")])


async def test_one_who_waits_holds_up_nobody(deliveries: Deliveries) -> None:
    """While one request hangs in authenticate, and one in its body, others are answered."""
    never = asyncio.Event()

    async def look(request: Any) -> str:
        if "x-slow" in request.headers:
            await never.wait()
        return "write"

    app = deliveries_app(deliveries, authenticate=look)  # type: ignore[arg-type]  # as above
    hanging = asyncio.ensure_future(call(app, "GET", "/stats", headers={"x-slow": "1"}))
    sent: list[Any] = []

    async def silent() -> Any:
        await never.wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/endpoints", "headers": []}
    reading = asyncio.ensure_future(app(scope, silent, send))

    assert (await call(app, "GET", "/stats")).status == 200
    await asyncio.sleep(BODY_TIME - 1)
    assert (hanging.done(), reading.done(), sent) == (False, False, [])
    await reading
    assert sent[0]["status"] == 408
    never.set()
    assert (await hanging).status == 200


async def test_unknown_paths_and_methods(app: DeliveriesApp) -> None:
    """404 and 405, which says what there is; HEAD is GET without a body."""
    for path in ("/", "", "/endpoint", "/endpoints/", "/endpoints/a/b/c", "/openapi.json/x"):
        assert fault(await call(app, "GET", path))[0] == 404
    bad = await call(app, "GET", "/", path="/stats\udcff", raw_path=b"/stats%FF")
    assert fault(bad)[:2] == (400, "bad_request")
    wrong = await call(app, "PUT", "/endpoints")
    assert (fault(wrong)[:2], wrong.headers["allow"]) == ((405, "method_not_allowed"), "GET, HEAD, POST")
    assert (await call(app, "POST", "/openapi.json")).status == 405
    head, get = await call(app, "HEAD", "/stats"), await call(app, "GET", "/stats")
    assert (head.status, head.body, head.headers) == (200, b"", get.headers)


@pytest.mark.parametrize(
    ("raw", "members"),
    [
        (b"{", [""]),
        (b"[]", [""]),
        (b"\xff", [""]),
        (b'{"event": NaN}', [""]),
        (b"[" * 100_000, [""]),
        (b'{"event": 5}', ["event"]),
        (b"{}", ["event"]),
        (b'{"event": "a", "endpoints": "acme"}', ["endpoints"]),
        (b'{"event": "a", "headers": {"x": 5}, "more": 1}', ["headers.x", "more"]),
        (b'{"event": "a", "timestamp": "yesterday"}', ["timestamp"]),
        (b'{"event": "a", "dedupe_key": ""}', ["dedupe_key"]),
        (b'{"event": "a", "endpoints": []}', ["endpoints"]),
    ],
    ids=str,
)
async def test_a_body_that_cannot_be_is_400_and_names_member_and_rule(
    app: DeliveriesApp, raw: bytes, members: list[str]
) -> None:
    """Whether it is no JSON, of another shape, or has a value that deliveries refuse."""
    answer = await call(app, "POST", "/events", raw=raw)

    assert fault(answer) == (400, "bad_request", members)
    assert all(one["rule"] for one in answer.json["error"]["faults"])


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ("state=nothing", ["state.0"]),
        ("limit=0", ["limit"]),
        ("limit=1001", ["limit"]),
        ("after=x", ["after"]),
        ("limit=1&limit=2", ["limit"]),
        ("more=1", ["more"]),
        ("due_before=nan", ["due_before"]),
    ],
)
async def test_a_query_that_cannot_be_is_400(app: DeliveriesApp, query: str, members: list[str]) -> None:
    """A parameter that nobody knows as well: who mistypes a filter does not get everything."""
    assert fault(await call(app, "GET", f"/deliveries?{query}")) == (400, "bad_request", members)


async def test_what_is_too_long_is_refused(deliveries: Deliveries) -> None:
    """A body by what it says and by what comes of it, not read to its end; a query, and its number of parts."""
    app = deliveries_app(deliveries, authenticate=by_token, max_body_bytes=100)
    assert (await call(app, "POST", "/events", raw=b'{"event":"a"}'.ljust(100))).status == 201

    assert fault(await call(app, "POST", "/events", raw=b" " * 101))[:2] == (413, "too_large")
    assert fault(await call(app, "POST", "/events", headers={"content-length": "101"}))[0] == 413
    assert fault(await call(app, "POST", "/events", headers={"content-length": "9" * 5000}))[0] == 413
    assert fault(await call(app, "GET", "/deliveries?endpoint=" + "a" * 9000))[0] == 414
    assert fault(await call(app, "GET", "/deliveries?" + "a=1&" * 200))[0] == 400


async def test_a_body_has_to_be_called_json(app: DeliveriesApp) -> None:
    """A page of another origin cannot have a browser say so without asking."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await call(app, "POST", "/events", {"event": "a"}, headers={"content-type": kind})
        assert fault(answer)[:2] == (415, "unsupported_media_type")
    taken = await call(app, "POST", "/events", {"event": "a"}, headers={"content-type": "Application/JSON; charset=x"})
    assert taken.status == 201


@pytest.mark.parametrize("path", ["/endpoints/acme/disable", "/events/nothing/resend", "/rules/all"])
async def test_a_page_of_another_site_changes_nothing(app: DeliveriesApp, deliveries: Deliveries, path: str) -> None:
    """Not with the empty body of a form either; what only looks is not refused, nor is a page of this site."""
    method = "DELETE" if path.startswith("/rules") else "POST"
    elsewhere = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}

    refused = [
        await call(app, method, path, headers=elsewhere),
        *[
            await call(app, method, path, headers={"content-type": kind})
            for kind in (
                "application/x-www-form-urlencoded",
                "Text/Plain;charset=UTF-8",
                "multipart/form-data; boundary=a",
            )
        ],
    ]

    assert [fault(answer)[:2] for answer in refused] == [
        (403, "forbidden"), *[(415, "unsupported_media_type")] * 3,
    ]  # fmt: skip
    assert (await deliveries.endpoint("acme")).state is EndpointState.ACTIVE
    assert (await call(app, "GET", "/endpoints", headers=elsewhere)).status == 200
    own = await call(app, "POST", "/endpoints/acme/disable", headers={"sec-fetch-site": "same-origin"})
    assert own.status == 200


@pytest.mark.parametrize("option", ["allow_private", "allow_insecure"])
async def test_requests_ask_for_inner_networks_only_where_the_program_lets_them(
    deliveries: Deliveries, option: str
) -> None:
    """403 that names the member; the same for an endpoint that is changed."""
    body = {"url": "https://inner.example/", "secret": None, option: True}
    closed = deliveries_app(deliveries, authenticate=by_token)
    opened = deliveries_app(deliveries, authenticate=by_token, **{option: True})

    assert fault(await call(closed, "POST", "/endpoints", {"name": "b", **body})) == (403, "forbidden", [option])
    assert fault(await call(closed, "PUT", "/endpoints/acme", body)) == (403, "forbidden", [option])
    assert (await call(opened, "POST", "/endpoints", {"name": "b", **body})).json[option] is True


async def test_a_store_that_fails_is_503_and_said_once(
    app: DeliveriesApp, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing of what it said; full or closed likewise; one line when it begins, one when it ends."""
    caplog.set_level(logging.INFO, logger="eventpipe")
    store.error = StoreError("disk /hidden-value is gone")
    failed = [await call(app, "GET", "/stats") for _ in range(3)]
    store.error = None
    assert (await call(app, "GET", "/stats")).status == 200

    for answer in failed:
        assert fault(answer) == (503, "unavailable", [])
        assert answer.headers["retry-after"] == "5"
        assert b"hidden-value" not in answer.body
    said = [record.getMessage() for record in caplog.records if "requests" in record.getMessage()]
    assert [("cannot answer" in line, "again" in line) for line in said] == [(True, False), (False, True)]


async def test_deliveries_that_do_not_run_are_503(store: WatchedStore) -> None:
    """Before their start and after their stop."""
    deliveries = Deliveries(store)
    app = deliveries_app(deliveries, authenticate=by_token)
    assert fault(await call(app, "GET", "/endpoints"))[:2] == (503, "unavailable")
    async with deliveries:
        assert (await call(app, "GET", "/endpoints")).status == 200
    assert fault(await call(app, "GET", "/endpoints"))[:2] == (503, "unavailable")


async def test_a_fault_of_the_program_is_500_without_its_text(
    app: DeliveriesApp, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says where it was raised, and its text stays out of both."""
    store.error = RuntimeError("hidden-value")

    answer = await call(app, "GET", "/stats")

    assert fault(answer) == (500, "internal", [])
    assert b"hidden-value" not in answer.body
    assert "RuntimeError in" in caplog.text
    assert "hidden-value" not in caplog.text


async def test_who_goes_away_in_the_middle_is_not_answered(app: DeliveriesApp) -> None:
    """And nothing is done of what was to come."""
    headers = [(b"authorization", b"Bearer writer")]
    scope = {"type": "http", "method": "POST", "path": "/endpoints", "headers": headers}
    part = {"type": "http.request", "body": b"{", "more_body": True}

    assert await converse(app, scope, part, {"type": "http.disconnect"}) == []


async def test_websockets_are_denied_and_other_kinds_are_an_error(app: DeliveriesApp) -> None:
    """As ASGI asks of an application that does not know them."""
    denied = await converse(app, {"type": "websocket"}, {"type": "websocket.connect"})
    assert denied == [{"type": "websocket.close", "code": 1000}]
    with pytest.raises(ValueError, match="scope of type 'carrier'"):
        await app({"type": "carrier"}, None, None)


@pytest.mark.parametrize(("path", "root_path"), [("/api", ""), ("/v1/api", "/v1"), ("/api", "/v1")])
@pytest.mark.parametrize("outer", [FastAPI, Starlette])
async def test_it_works_mounted_at_any_depth(deliveries: Deliveries, outer: Any, path: str, root_path: str) -> None:
    """In FastAPI and Starlette, in a mount of a mount, and behind proxies that cut the path or leave it whole."""
    api = deliveries_app(deliveries, authenticate=by_token)
    await deliveries.add_endpoint(Endpoint("a/b", URL))
    app = outer()
    if path.startswith(root_path):
        app.mount("/api", Starlette(routes=[Mount("/hooks", app=api)]))
    else:  # a mount of a mount finds nothing then, whatever is mounted
        app.mount("/api/hooks", api)
    seen = [
        (await call(app, "GET", f"{path}/hooks/{rest}", root_path=root_path)).status
        for rest in ("endpoints/acme", "endpoints/a%2Fb", "nothing")
    ]
    document = (await call(app, "GET", f"{path}/hooks/openapi.json", root_path=root_path)).json

    assert seen == [200, 200, 404]
    assert document["servers"] == [{"url": f"{root_path}/api/hooks"}]


@pytest.mark.wallclock
async def test_it_is_a_whole_application_under_a_server() -> None:
    """Deliveries that nobody started are opened before the first request and closed after the last."""
    deliveries = Deliveries(MemoryStore())
    with served(deliveries_app(deliveries, authenticate=by_token)) as address:
        token = {"authorization": f"Bearer {next(name for name in RIGHTS if RIGHTS[name] == 'write')[7:]}"}
        async with aiohttp.ClientSession(address, headers=token) as session:
            async with session.post("/endpoints", json={"name": "a/b", "url": URL}) as answer:
                assert answer.status == 201
            async with session.get("/endpoints/a%2Fb") as answer:
                assert (answer.status, (await answer.json())["name"]) == (200, "a/b")
            async with session.post("/endpoints", data=io.BytesIO(b" " * (2 * 1024 * 1024))) as answer:
                assert answer.status == 413

    assert str(deliveries.state) == "stopped"


async def test_it_leaves_alone_what_somebody_else_started(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """As the whole application of a server, too."""
    life = await Life(app).start()
    await life.stop()

    assert life.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (await call(app, "GET", "/stats")).status == 200


async def test_a_start_that_fails_is_said_to_the_server() -> None:
    """So that the server ends with a reason, and does not take the application for one without a lifespan."""

    class Broken(MemoryStore):
        async def open(self) -> None:
            raise StoreError("no disk")

    life = await Life(deliveries_app(Deliveries(Broken()), authenticate=by_token)).start()

    assert life.said == [{"type": "lifespan.startup.failed", "message": "no disk"}]
    with pytest.raises(StoreError, match="no disk"):
        await life.task


@pytest.mark.wallclock
async def test_fastapi_serves_it_beside_its_own_routes() -> None:
    """Under the test client, whose requests have all that a server gives."""
    deliveries = Deliveries(MemoryStore())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with deliveries:
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/deliveries", deliveries_app(deliveries, authenticate=by_token))
    with TestClient(app, headers={"authorization": "Bearer writer"}) as browser:
        assert browser.post("/deliveries/endpoints", json={"name": "acme", "url": URL}).status_code == 201
        assert [one["name"] for one in browser.get("/deliveries/endpoints").json()["endpoints"]] == ["acme"]
        assert browser.get("/deliveries/openapi.json").json()["servers"] == [{"url": "/deliveries"}]
