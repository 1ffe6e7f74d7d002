"""The deliveries API: what each operation does, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.delivery import (
    AttemptRecord,
    Deliveries,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    Endpoint,
    EndpointInfo,
    Reconciler,
    Rule,
)
from eventpipe.integrations import deliveries_models as models
from eventpipe.integrations.deliveries import OPERATIONS, DeliveriesApp, deliveries_app
from eventpipe.integrations.deliveries_operations import Operation
from eventpipe.sinks import MemorySink
from eventpipe.stores import MemoryStore, SqliteStore
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.exchange import Reply
from eventpipe.testing.server import ScriptedServer
from tests.integrations.deliveries import OTHER, SECRET, by_token, call, fault

URL = "https://acme.example/hooks"
HEADERS = {"x-api-key": "hidden-value"}

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveringStore:
    if request.param == "memory":
        return MemoryStore(clock=LoopClock())
    return SqliteStore(tmp_path / "events.db", durability="process", clock=LoopClock())


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore) -> AsyncIterator[Deliveries]:
    async with Deliveries(store, clock=LoopClock()) as running:
        yield running


@pytest.fixture
def app(deliveries: Deliveries) -> DeliveriesApp:
    return deliveries_app(deliveries, authenticate=by_token)


def names(model: type[Any]) -> set[str]:
    return set(model.model_fields)


async def test_an_endpoint_is_added_shown_changed_and_removed(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """Its answer has every attribute of what is kept; what a change leaves out is as for a new one."""
    given = {"name": "acme", "url": URL, "secret": SECRET, "headers": HEADERS, "rate_limit": 5}
    added = await call(app, "POST", "/endpoints", given)
    assert (added.status, set(added.json)) == (201, {field.name for field in fields(EndpointInfo)})
    assert (added.json["headers"], added.json["rate_limit"]) == (["x-api-key"], 5)
    again = await call(app, "POST", "/endpoints", given)
    assert fault(again) == (409, "conflict", [])
    assert (await call(app, "GET", "/endpoints")).json == {"endpoints": [added.json]}
    assert (await call(app, "GET", "/endpoints/acme")).json == added.json

    limited = await call(app, "PATCH", "/endpoints/acme", {"rate_limit": 2.5})
    assert (limited.status, limited.json["rate_limit"], limited.json["version"]) == (200, 2.5, 2)
    changed = await call(app, "PUT", "/endpoints/acme", {"url": f"{URL}/2", "secret": None})
    assert (changed.status, changed.json["url"], changed.json["headers"], changed.json["rate_limit"]) == (
        200, f"{URL}/2", [], None,
    )  # fmt: skip
    assert fault(await call(app, "PUT", "/endpoints/acme", {"url": URL})) == (400, "bad_request", ["secret"])
    assert fault(await call(app, "PUT", "/endpoints/nobody", {"url": URL, "secret": None})) == (404, "not_found", [])

    removed = await call(app, "DELETE", "/endpoints/acme")
    assert (removed.status, removed.body, removed.headers.get("content-length")) == (204, b"", None)
    assert await deliveries.endpoints() == []
    assert fault(await call(app, "DELETE", "/endpoints/acme")) == (404, "not_found", [])


async def test_the_state_of_an_endpoint_changes_with_its_reason(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """Paused, resumed, disabled; a reason may be left out with the whole body."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    states = []
    for path, body in (("pause", {"reason": "moving"}), ("resume", None), ("disable", None)):
        answer = await call(app, "POST", f"/endpoints/acme/{path}", body)
        states.append((answer.status, answer.json["state"], answer.json["state_reason"]))

    assert states == [(200, "paused", "moving"), (200, "active", None), (200, "disabled", None)]
    assert fault(await call(app, "POST", "/endpoints/acme/pause", {"reason": "x" * 501}))[2] == ["reason"]


async def test_an_endpoint_is_tested_once_and_nothing_is_kept(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """The answer is the attempt; a sink of the program can be tested, and not be changed into a webhook."""
    sink = MemorySink()
    await deliveries.add_endpoint(Endpoint("log", sink=sink))

    tested = await call(app, "POST", "/endpoints/log/test", {"event": "hello", "properties": {"n": 1}})
    plain = await call(app, "POST", "/endpoints/log/test")

    assert (tested.status, tested.json["outcome"], plain.json["outcome"]) == (200, "delivered", "delivered")
    assert set(tested.json) == {field.name for field in fields(AttemptRecord)}
    assert [(event.event, event.properties) for event in sink.events] == [
        ("hello", {"n": 1}), ("eventpipe.test", {}),
    ]  # fmt: skip
    assert await deliveries.rows() == []
    assert fault(await call(app, "PUT", "/endpoints/log", {"url": URL, "secret": None})) == (409, "conflict", [])


async def test_rules_are_put_listed_and_forgotten(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """A rule for an endpoint that there is none of names the member."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    body = {"events": ["invoice.*"], "endpoints": ["acme"], "where": {"plan": ["pro", "team"]}}

    put = await call(app, "PUT", "/rules/invoices", body)

    assert (put.status, put.json) == (200, {"name": "invoices", **body})
    assert (await call(app, "GET", "/rules")).json == {"rules": [put.json]}
    assert await deliveries.rules() == [Rule("invoices", ("invoice.*",), ("acme",), {"plan": ["pro", "team"]})]
    unknown = await call(app, "PUT", "/rules/more", {"events": ["*"], "endpoints": ["nobody"]})
    assert fault(unknown) == (400, "bad_request", ["endpoints"])
    assert fault(await call(app, "PUT", "/rules/more", {"events": [], "endpoints": ["acme"]}))[2] == ["events"]
    assert [(await call(app, "DELETE", "/rules/invoices")).status for _ in range(2)] == [204, 404]


async def test_an_event_is_published_once_and_shown(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """201 with its deliveries, 200 when it was published before; header values stay inside."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    body = {
        "event": "invoice.paid",
        "endpoints": ["acme"],
        "dedupe_key": "inv-7",
        "distinct_id": "u1",
        "properties": {"sum": 5},
        "timestamp": "2026-01-31T09:05:00Z",
        "headers": {"traceparent": "hidden-value"},
    }
    first = await call(app, "POST", "/events", body)
    second = await call(app, "POST", "/events", {**body, "properties": {"sum": 6}})

    assert (first.status, first.json["is_new"], list(first.json["deliveries"])) == (201, True, ["acme"])
    assert (second.status, second.json) == (200, {**first.json, "is_new": False})
    shown = await call(app, "GET", f"/events/{first.json['event_uuid']}")
    assert shown.status == 200
    assert {name: shown.json[name] for name in ("name", "dedupe_key", "distinct_id", "properties", "headers")} == {
        "name": "invoice.paid",
        "dedupe_key": "inv-7",
        "distinct_id": "u1",
        "properties": {"sum": 5},
        "headers": ["traceparent"],
    }
    assert shown.json["timestamp"].startswith("2026-01-31T09:05:00")
    assert b"hidden-value" not in shown.body
    assert fault(await call(app, "POST", "/events", {"event": "a", "endpoints": ["nobody"]}))[2] == ["endpoints"]
    assert fault(await call(app, "POST", "/events", {"event": ""}))[:2] == (400, "bad_request")
    assert fault(await call(app, "GET", "/events/nothing")) == (404, "not_found", [])


async def test_deliveries_are_paged_by_key_and_none_is_skipped(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """Rows that are published between two pages are on none of them, and the last page says that it is."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    ids = [(await deliveries.publish("a", endpoints=["acme"])).deliveries["acme"] for _ in range(5)]

    seen: list[int] = []
    after = ""
    while True:
        page = (await call(app, "GET", f"/deliveries?limit=2{after}", token="reader")).json
        seen += [row["id"] for row in page["deliveries"]]
        await deliveries.publish("a", endpoints=["acme"])
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert seen == ids[::-1]


async def test_events_are_paged_by_key(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """Newest first, by name, without their content."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    ids = [(await deliveries.publish(name, endpoints=["acme"])).event_uuid for name in ("a.x", "b", "a.y", "a.z")]

    first = (await call(app, "GET", "/events?limit=2&name=a.*")).json
    second = (await call(app, "GET", f"/events?limit=2&name=a.*&after={first['next']}")).json

    assert [event["uuid"] for event in first["events"] + second["events"]] == [ids[3], ids[2], ids[0]]
    assert second["next"] is None
    assert set(first["events"][0]) == names(models.EventAnswer)


async def test_every_filter_of_a_list_is_a_filter_of_deliveries() -> None:
    """The query and the body have a member for each attribute of ``DeliveryFilter``."""
    wanted = {field.name for field in fields(DeliveryFilter)} - {"states"} | {"state"}

    assert names(models.DeliveriesQuery) == wanted | {"after", "limit"}
    assert names(models.DeliveriesToAsk) == wanted | {"all", "after", "limit"}
    assert names(models.DeliveryAnswer) == {field.name for field in fields(DeliveryRow)}


async def test_lists_are_filtered(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """By states, of which one is enough, endpoint, name, event, reason and moments."""
    for name in ("acme", "other"):
        await deliveries.add_endpoint(Endpoint(name, URL))
    published = await deliveries.publish("invoice.paid", endpoints=["acme", "other"])
    await deliveries.publish("user.left", endpoints=["acme"])
    await deliveries.cancel_deliveries(published.event_uuid, ["other"])
    counts = {}
    for query in (
        "", "state=pending", "state=failed", "state=failed&state=pending", "endpoint=acme", "event_name=invoice.*",
        f"event_uuid={published.event_uuid}", "reason=cancelled", "due_before=0", "published_after=99999999999",
        "published_before=99999999999&endpoint=other",
    ):  # fmt: skip
        counts[query] = len((await call(app, "GET", f"/deliveries?{query}")).json["deliveries"])

    assert list(counts.values()) == [3, 2, 1, 3, 2, 2, 2, 1, 0, 0, 1]


async def test_a_delivery_is_shown_with_its_attempts(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """All there is of the row, and its history in order."""
    await deliveries.add_endpoint(Endpoint("log", sink=MemorySink()))
    published = await deliveries.publish("a", endpoints=["log"])
    async with Reconciler(deliveries, workers=1) as reconciler:
        await reconciler.reconcile()
    await deliveries.resend(published.event_uuid)
    async with Reconciler(deliveries, workers=1) as reconciler:
        await reconciler.reconcile()

    shown = await call(app, "GET", f"/deliveries/{published.deliveries['log']}", token="reader")

    assert (shown.json["state"], shown.json["total_attempts"], shown.json["resends"]) == ("success", 2, 1)
    assert [(one["number"], one["outcome"]) for one in shown.json["history"]] == [(1, "delivered"), (2, "delivered")]
    for id_ in ("0", "x", "-1", "9" * 30, "²"):
        assert fault(await call(app, "GET", f"/deliveries/{id_}"))[0] == 404


async def test_resend_and_cancel_hold_for_one_for_an_event_and_for_a_filter(
    app: DeliveriesApp, deliveries: Deliveries
) -> None:
    """Each answers how many; what is final already is refused to a cancel; all are meant only where that is said."""
    for name in ("acme", "other"):
        await deliveries.add_endpoint(Endpoint(name, URL))
    one = await deliveries.publish("a", endpoints=["acme", "other"])
    await deliveries.publish("b", endpoints=["acme"])
    answers = []
    requests: list[tuple[str, dict[str, object] | None]] = [
        (f"/deliveries/{one.deliveries['acme']}/cancel", None),
        (f"/deliveries/{one.deliveries['acme']}/cancel", None),
        (f"/deliveries/{one.deliveries['acme']}/resend", None),
        (f"/events/{one.event_uuid}/cancel", {"endpoints": ["other"]}),
        (f"/events/{one.event_uuid}/resend", None),
        ("/deliveries/cancel", {"endpoint": "acme"}),
        ("/deliveries/resend", {"state": ["failed"], "reason": "cancelled", "event_name": "b"}),
        ("/deliveries/resend", {"all": True}),
    ]
    for path, body in requests:
        answer = await call(app, "POST", path, body)
        assert answer.status == 200, answer.body
        answers.append((answer.json["done"], answer.json["refused"], answer.json["missed"]))

    assert answers == [(1, 0, 0), (0, 1, 0), (1, 0, 0), (1, 0, 0), (2, 0, 0), (2, 0, 0), (1, 0, 0), (3, 0, 0)]
    for unclear in (None, {}, {"endpoint": None}, {"all": True, "endpoint": "acme"}):
        assert fault(await call(app, "POST", "/deliveries/cancel", unclear)) == (400, "bad_request", ["all"])
    assert all(row.state is not DeliveryState.FAILED for row in await deliveries.rows())
    assert fault(await call(app, "POST", "/events/nothing/resend"))[0] == 404


async def test_one_request_asks_for_so_many_at_most_and_says_how_to_go_on(
    app: DeliveriesApp, deliveries: Deliveries
) -> None:
    """All there are in two requests, each for some; one cannot ask for more than ten thousand."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    await deliveries.publish_many(["a"] * 3, endpoints=["acme"])

    first = (await call(app, "POST", "/deliveries/cancel", {"all": True, "limit": 2})).json
    second = (await call(app, "POST", "/deliveries/cancel", {"all": True, "after": first["next"]})).json

    assert [(answer["done"], answer["refused"], answer["next"]) for answer in (first, second)] == [
        (2, 0, 2), (1, 0, None),
    ]  # fmt: skip
    unbound = await call(app, "POST", "/deliveries/resend", {"all": True, "limit": 10_001})
    assert fault(unbound) == (400, "bad_request", ["limit"])
    assert fault(await call(app, "POST", "/deliveries/cancel", {"limit": 5}))[2] == ["all"]


async def test_stats_are_those_of_the_deliveries(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """By endpoint, and their sums with a number for every state."""
    for name in ("acme", "other"):
        await deliveries.add_endpoint(Endpoint(name, URL))
        await deliveries.publish("a", endpoints=[name])
    await deliveries.cancel_all(DeliveryFilter(endpoint="other"))

    stats = (await call(app, "GET", "/stats", token="reader")).json

    assert [(one["endpoint"]["name"], one["rows"]) for one in stats["endpoints"]] == [
        ("acme", {"pending": 1}), ("other", {"failed": 1}),
    ]  # fmt: skip
    assert stats["rows"] == {"pending": 1, "sending": 0, "success": 0, "failed": 1, "resending": 0}


async def test_names_with_slashes_and_words_of_the_api_are_names(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """What is percent-encoded is no part of the path's structure."""
    for name in ("a/b", "a%2Fb", "pause", "ü"):
        await deliveries.add_endpoint(Endpoint(name, URL))

    found = [
        (await call(app, "GET", f"/endpoints/{path}")).json["name"] for path in ("a%2Fb", "a%252Fb", "pause", "%C3%BC")
    ]

    assert found == ["a/b", "a%2Fb", "pause", "ü"]
    paused = await call(app, "POST", "/endpoints/a%2Fb/pause")
    assert (paused.status, paused.json["name"]) == (200, "a/b")


async def test_no_answer_has_a_secret_or_the_value_of_a_header(app: DeliveriesApp) -> None:
    """Not when it is taken, not when it is wrong, and not afterwards in anything there is to read."""
    hidden = {"url": URL, "secret": [SECRET, OTHER], "headers": HEADERS}
    answers = [
        await call(app, "POST", "/endpoints", {"name": "acme", **hidden}),
        await call(app, "POST", "/endpoints", {"name": "acme", **hidden}),
        await call(app, "PUT", "/endpoints/acme", hidden),
        await call(app, "POST", "/endpoints/acme/rotate-secret", {"secret": OTHER}),
        await call(app, "POST", "/endpoints/acme/rotate-secret", {"secret": "hidden-value"}),
        await call(app, "POST", "/endpoints/acme/rotate-secret", {"secret": {"a": "hidden-value"}}),
        await call(app, "POST", "/endpoints", {"name": "b", **hidden, "secret": "hidden-value"}),
        await call(app, "POST", "/endpoints", {"name": "b", **hidden, "secret": [SECRET, 7, "hidden-value"]}),
        await call(app, "POST", "/endpoints", {"name": "b", **hidden, "headers": {"x": "hidden-value\n"}}),
        await call(app, "POST", "/endpoints", {"name": "b", **hidden, "headers": {"x": ["hidden-value"]}}),
        await call(app, "POST", "/endpoints", {"name": "b", **hidden, "more": "hidden-value"}),
        await call(app, "POST", "/endpoints", raw=b'{"secret": "hidden-value'),
        await call(app, "GET", "/endpoints"),
        await call(app, "GET", "/endpoints/acme"),
        await call(app, "GET", "/stats"),
    ]

    assert [answer.status for answer in answers] == [201, 409, 200, 200, *[400] * 8, 200, 200, 200]
    for answer in answers:
        for private in (SECRET, OTHER, SECRET.removeprefix("whsec_"), "hidden-value"):
            assert private.encode() not in answer.body


@pytest.mark.wallclock
async def test_no_answer_has_a_secret_that_a_far_end_repeats(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """Neither that of a test, nor a list, nor the history of a delivery, whatever was said to its attempts."""
    said = f"no: {SECRET} {HEADERS['x-api-key']}".encode()
    async with ScriptedServer() as far_end:
        far_end.script(*[Reply(422, body=said)] * 2)
        await deliveries.add_endpoint(Endpoint("acme", far_end.url, SECRET, headers=HEADERS, allow_private=True))
        tried = await call(app, "POST", "/endpoints/acme/test")
        published = await deliveries.publish("a", endpoints=["acme"])
        await Reconciler(deliveries, workers=1).reconcile()
        heard = [request.headers["x-api-key"] for request in far_end.requests]
    id_ = published.deliveries["acme"]
    answers = [
        tried,
        await call(app, "GET", f"/deliveries/{id_}"),
        await call(app, "GET", "/deliveries"),
        await call(app, "GET", "/events"),
        await call(app, "GET", f"/events/{published.event_uuid}"),
        await call(app, "POST", f"/deliveries/{id_}/resend"),
        await call(app, "GET", "/stats"),
    ]

    assert heard == ["hidden-value"] * 2
    assert [answer.status for answer in answers] == [200] * 7
    assert [tried.json["status"], answers[1].json["history"][0]["status"]] == [422, 422]
    for answer in answers:
        for private in (SECRET, SECRET.removeprefix("whsec_"), "hidden-value"):
            assert private.encode() not in answer.body


async def test_rotation_signs_with_the_new_and_the_old_one(app: DeliveriesApp, deliveries: Deliveries) -> None:
    """What is kept in the private table says so, as nobody else can."""
    await deliveries.add_endpoint(Endpoint("acme", URL, secret=SECRET))

    assert (await call(app, "POST", "/endpoints/acme/rotate-secret", {"secret": OTHER})).status == 200
    kept = await deliveries.kept.private("acme")
    assert kept is not None
    assert (OTHER.encode() in kept, SECRET.encode() in kept) == (True, True)

    await call(app, "POST", "/endpoints/acme/rotate-secret", {"secret": [OTHER], "keep_old": False})
    assert SECRET.encode() not in (await deliveries.kept.private("acme") or b"")


async def test_the_document_has_every_operation_and_its_models_read_every_answer(
    app: DeliveriesApp, deliveries: Deliveries
) -> None:
    """Each method of each path, with its parameters, its body and its answers; every reference leads somewhere."""
    document = (await call(app, "GET", "/openapi.json", token="reader", root_path="/api")).json

    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == {
        (operation.method.lower(), operation.path) for operation in OPERATIONS
    }
    assert document["servers"] == [{"url": "/api"}]
    schemas = document["components"]["schemas"]
    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in schemas}
    identifiers = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(identifiers)) == len(OPERATIONS)
    for operation in OPERATIONS:
        check(document["paths"][operation.path][operation.method.lower()], operation)


def check(said: dict[str, Any], operation: Operation) -> None:
    assert ("requestBody" in said) is (operation.body is not None)
    assert {"400", "401", "403", "404", "503", str(operation.status)} <= set(said["responses"])
    in_query = {one["name"] for one in said["parameters"] if one["in"] == "query"}
    assert in_query == (set() if operation.query is None else names(operation.query))
    assert sum(one["in"] == "path" for one in said["parameters"]) == operation.path.count("{")


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [value for name, value in node.items() if name == "$ref"] + references(list(node.values()))
    return [found for one in node for found in references(one)] if isinstance(node, list) else []


async def test_the_page_has_every_path_of_the_code() -> None:
    """Method, path, right and meaning, in the order of the code."""
    rows = ["| request | needs | does |", "|---|---|---|"]
    rows += [f"| `{one.method} {one.path}` | {one.right} | {one.summary} |" for one in OPERATIONS]
    rows += ["| `GET /openapi.json` | read | Show all of this as OpenAPI 3.1 |"]
    page = (Path(__file__).parents[2] / "docs" / "deliveries-http.md").read_text()

    assert page.partition("<!-- paths -->\n")[2].partition("\n<!-- end -->")[0].splitlines() == rows
