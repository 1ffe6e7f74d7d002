"""Publishing: an event and its rows in one transaction, once, to the endpoints that are named or that rules say."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe import Event
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.errors import InvalidEventError, StoreFullError, UnknownEndpointError
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import (
    DELIVERIES,
    DeliveryFilter,
    DeliveryState,
    FailureReason,
    Publication,
    Published,
    Rule,
)
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import make_event
from tests.delivery.facade import ENGINES, URL, engine

pytestmark = pytest.mark.asyncio

ID = "019b7777-0000-7000-8000-000000000001"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveringStore:
    return engine(request.param, tmp_path, LoopClock())


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore) -> AsyncIterator[Deliveries]:
    async with Deliveries(store, clock=LoopClock(), policy=DeliveryPolicy(pending=100)) as running:
        for name in ("acme", "other"):
            await running.add_endpoint(Endpoint(name, URL))
        yield running


async def endpoints_of(deliveries: Deliveries, published: Published) -> list[str]:
    rows = await deliveries.rows(DeliveryFilter(event_uuid=published.event_uuid))
    assert {row.endpoint: row.id for row in rows} == dict(published.deliveries)
    return sorted(row.endpoint for row in rows)


async def test_publish_keeps_the_event_and_a_row_for_each_endpoint(deliveries: Deliveries) -> None:
    """The event is as it was captured; the rows are due at once, and their first attempt within ``pending``."""
    await asyncio.sleep(5)
    now = pytest.approx(deliveries.clock.time(), abs=1)

    published = await deliveries.publish(
        "invoice.created",
        endpoints=["acme", "other", "acme"],
        dedupe_key="inv-7",
        distinct_id="u1",
        properties={"sum": 5},
        timestamp=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        uuid=uuid.UUID(ID),
        headers={"trace": "t1"},
        key="k",
    )

    assert (published.event_uuid, published.is_new, sorted(published.deliveries)) == (ID, True, ["acme", "other"])
    event = await deliveries.event(ID)
    assert (event.name, event.dedupe_key, event.fault) == ("invoice.created", "inv-7", None)
    assert event.published_at == now
    assert event.event is not None
    assert (event.event.properties, event.event.headers, event.event.key) == ({"sum": 5}, {"trace": "t1"}, "k")
    assert event.event.timestamp == datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    for row in await deliveries.rows():
        assert (row.event_uuid, row.event_name, row.state) == (ID, "invoice.created", DeliveryState.PENDING)
        assert (row.due_at, row.created_at, row.deadline_at) == (event.published_at,) * 2 + (event.published_at + 100,)
        assert (row.attempts, row.total_attempts, row.resends, row.claimed_until) == (0, 0, 0, None)


@pytest.mark.parametrize("by", ["id", "key", "both"])
async def test_publish_again_keeps_nothing(deliveries: Deliveries, by: str) -> None:
    """What was published first stays, with its rows, whatever is said the second time."""
    first = await deliveries.publish("first", endpoints=["acme"], dedupe_key="inv-7", uuid=ID)

    again = await deliveries.publish(
        "second",
        endpoints=["other"],
        dedupe_key="another" if by == "id" else "inv-7",
        uuid=None if by == "key" else ID,
    )

    assert again == Published(first.event_uuid, first.deliveries, False)
    assert [(event.uuid, event.name) for event in await deliveries.events()] == [(ID, "first")]
    assert await endpoints_of(deliveries, again) == ["acme"]


@pytest.mark.parametrize("by", ["id", "key"])
async def test_two_that_publish_at_once_make_one(deliveries: Deliveries, by: str) -> None:
    """Of many calls at once one is new, and all say the same rows."""
    published = await asyncio.gather(
        *(
            deliveries.publish(
                "paid",
                endpoints=["acme", "other"],
                dedupe_key="inv-7" if by == "key" else None,
                uuid=ID if by == "id" else None,
            )
            for _ in range(10)
        )
    )

    assert sorted(one.is_new for one in published) == [False] * 9 + [True]
    assert len({(one.event_uuid, *sorted(one.deliveries.items())) for one in published}) == 1
    assert len(await deliveries.rows()) == 2
    assert len(await deliveries.events()) == 1


async def test_an_event_is_published_however_it_is_described(deliveries: Deliveries) -> None:
    """By its name, as an ``Event``, or as it was captured, which is kept as it is."""
    made = make_event("captured", properties={"n": 1})

    names = [await deliveries.publish(one, endpoints=["acme"]) for one in ("named", Event("event"), made)]

    kept = [(await deliveries.event(one.event_uuid)).event for one in names]
    assert [event and event.name for event in kept] == ["named", "event", "captured"]
    assert kept[2] is not None
    assert (kept[2].json, names[2].event_uuid) == (made.json, made.uuid)


async def test_publish_wakes_whoever_delivers(deliveries: Deliveries) -> None:
    """Who waits for the version of deliveries is woken; by a publish without endpoints nobody is."""
    store = deliveries.store
    waiting = asyncio.create_task(store.wait(DELIVERIES, store.version(DELIVERIES)))
    await deliveries.publish("nobody wants it")
    await asyncio.sleep(0)
    assert not waiting.done()

    await deliveries.publish("paid", endpoints=["acme"])

    async with asyncio.timeout(1):
        await waiting


async def test_publish_many_is_one_transaction(deliveries: Deliveries) -> None:
    """All of them, in order, or none where one of the endpoints is unknown or an event is at fault."""
    published = await deliveries.publish_many(["a", Event("b"), make_event("c")], endpoints=(n for n in ["acme"]))

    assert [(await deliveries.event(one.event_uuid)).name for one in published] == ["a", "b", "c"]
    assert [sorted(one.deliveries) for one in published] == [["acme"]] * 3
    with pytest.raises(UnknownEndpointError):
        await deliveries.publish_many(["d", "e"], endpoints=["acme", "nobody"])
    with pytest.raises(InvalidEventError, match=r"^events\[1\]: "):
        await deliveries.publish_many(["d", ""], endpoints=["acme"])
    assert [row.event_name for row in await deliveries.rows()] == ["c", "b", "a"]
    assert len(await deliveries.events()) == 3
    assert await deliveries.publish_many([], endpoints=["acme"]) == []


# -- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("invoice.created", {}, ["acme"]),
        ("invoice.", {}, ["acme"]),
        ("invoices", {}, []),
        ("paid", {"plan": "pro"}, ["other"]),
        ("paid", {"plan": "free"}, []),
        ("paid", {"plan": "team", "customer": {"country": "de"}}, ["other", "third"]),
        ("paid", {"customer": {"country": "fr"}}, []),
        ("paid", {"customer": "de"}, []),
    ],
)
async def test_rules_say_where_an_event_goes(
    deliveries: Deliveries, name: str, properties: dict[str, Any], expected: list[str]
) -> None:
    """By patterns of its name and by its properties, each endpoint once; perhaps nowhere, and the event is kept."""
    await deliveries.add_endpoint(Endpoint("third", URL))
    await deliveries.add_rule(Rule("a", ("invoice.*",), ("acme",)))
    await deliveries.add_rule(Rule("b", ("*aid", "sold"), ("other",), {"plan": ["pro", "team"]}))
    await deliveries.add_rule(Rule("c", ("paid",), ("third", "other"), {"customer.country": "de"}))

    published = await deliveries.publish(name, properties=properties)

    assert await endpoints_of(deliveries, published) == expected
    assert (await deliveries.event(published.event_uuid)).name == name


async def test_rules_are_asked_for_each_of_many_events(deliveries: Deliveries) -> None:
    """Events of one transaction go to different endpoints."""
    await deliveries.add_rule(Rule("a", ("a*",), ("acme",)))
    await deliveries.add_rule(Rule("b", ("*b",), ("other",)))

    published = await deliveries.publish_many(["a", "b", "ab", "c"])

    assert [await endpoints_of(deliveries, one) for one in published] == [["acme"], ["other"], ["acme", "other"], []]


async def test_a_rule_is_passed_over_where_no_endpoint_is_named(deliveries: Deliveries) -> None:
    """Rules count only for a publish that names no endpoint."""
    await deliveries.add_rule(Rule("all", ("*",), ("other",)))

    assert await endpoints_of(deliveries, await deliveries.publish("paid", endpoints=["acme"])) == ["acme"]


async def test_a_rule_does_not_fail_for_an_endpoint_that_was_removed(deliveries: Deliveries) -> None:
    """The others get the event; one that is added under the name again gets those to come."""
    await deliveries.add_rule(Rule("all", ("*",), ("acme", "other")))
    await deliveries.remove_endpoint("acme")
    without = await deliveries.publish("paid")
    await deliveries.remove_endpoint("other")
    nowhere = await deliveries.publish("paid")
    await deliveries.add_endpoint(Endpoint("acme", URL))
    again = await deliveries.publish("paid")

    assert [await endpoints_of(deliveries, one) for one in (without, nowhere, again)] == [["other"], [], ["acme"]]


# -- endpoints that are not delivered to ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_removed", [False, True], ids=["never there", "removed"])
async def test_an_unknown_endpoint_is_refused(deliveries: Deliveries, is_removed: bool) -> None:
    """Nothing is kept; the message names the one that is spelt nearly so."""
    await deliveries.add_endpoint(Endpoint("acmee", URL))
    if is_removed:
        await deliveries.remove_endpoint("acmee")
        name = "acmee"
    else:
        name = "acmeee"

    with pytest.raises(UnknownEndpointError, match=f"^there is no endpoint '{name}'; .*'acme") as caught:
        await deliveries.publish("paid", endpoints=["other", name], dedupe_key="k")

    assert caught.value.endpoint == name
    assert (await deliveries.rows(), await deliveries.events()) == ([], [])
    assert (await deliveries.publish("paid", endpoints=["other"], dedupe_key="k")).is_new


async def test_rows_of_a_disabled_endpoint_have_failed_as_they_are_published(deliveries: Deliveries) -> None:
    """As ``endpoint_disabled``, without an attempt; those of others are due."""
    await deliveries.disable_endpoint("acme")

    await deliveries.publish("paid", endpoints=["acme", "other"])

    rows = {row.endpoint: row for row in await deliveries.rows()}
    assert (rows["acme"].state, rows["acme"].reason) == (DeliveryState.FAILED, FailureReason.ENDPOINT_DISABLED)
    assert (rows["acme"].due_at, rows["acme"].settled_at) == (None, rows["acme"].created_at)
    assert rows["other"].state is DeliveryState.PENDING


async def test_rows_of_a_paused_endpoint_wait(deliveries: Deliveries) -> None:
    """They stay due until it is resumed."""
    await deliveries.pause_endpoint("acme")

    await deliveries.publish("paid", endpoints=["acme"])

    (row,) = await deliveries.rows()
    assert (row.state, row.due_at) == (DeliveryState.PENDING, row.created_at)


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"endpoints": []}, ValueError, r"^endpoints must name at least one endpoint; None asks the rules$"),
        ({"endpoints": "acme"}, TypeError, r"^endpoints must be a list of names, not the text 'acme'"),
        ({"endpoints": ["a b"]}, ValueError, r"^the name of an endpoint must have no white space"),
        ({"endpoints": [5]}, TypeError, r"^the name of an endpoint must be text, not 5$"),
        ({"endpoints": ["acme"], "dedupe_key": ""}, ValueError, r"^dedupe_key must be text of 1 to 500 characters"),
        ({"endpoints": ["acme"], "dedupe_key": "x" * 501}, ValueError, r"^dedupe_key must be text of 1 to 500"),
        ({"endpoints": ["acme"], "dedupe_key": "7\udce9"}, ValueError, r"^dedupe_key must be text that can be kept as"),
        ({"endpoints": ["acme"], "dedupe_key": 7}, ValueError, r"^dedupe_key must be text .*, or None, not 7$"),
        ({"event": ""}, InvalidEventError, "event must be"),
        ({"event": "e", "headers": {"eventpipe-consumer": "x"}}, InvalidEventError, "is the log's own"),
        ({"event": Event("e"), "uuid": ID}, TypeError, "^an Event has these arguments already"),
    ],
)
async def test_what_means_nothing_is_refused(
    deliveries: Deliveries, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The message names the argument, its value and the rule; nothing is kept."""
    with pytest.raises(error, match=text):
        await deliveries.publish(**{"event": "paid", **arguments})

    assert await deliveries.events() == []


async def test_the_longest_dedupe_key_is_taken(deliveries: Deliveries) -> None:
    """500 characters are allowed."""
    assert (await deliveries.publish("paid", endpoints=["acme"], dedupe_key="ö" * 500)).is_new
    assert not (await deliveries.publish("paid", endpoints=["acme"], dedupe_key="ö" * 500)).is_new


async def test_no_room_is_told(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine says leaves unchanged, also where rules are asked."""

    async def publish(kept: object, publications: Iterable[Publication]) -> list[Published]:
        raise StoreFullError("the disk is full", topic="deliveries")

    monkeypatch.setattr(type(deliveries.kept), "publish", publish)

    for endpoints in (["acme"], None):
        with pytest.raises(StoreFullError, match=r"^the disk is full$"):
            await deliveries.publish("paid", endpoints=endpoints)


async def test_a_cancelled_publish_keeps_everything_or_nothing(deliveries: Deliveries) -> None:
    """Cancelled after any number of steps, an event has both its rows or is not there, and is there once it is done."""
    for steps in (*range(12), None):
        publishing = asyncio.create_task(
            deliveries.publish("paid", endpoints=["acme", "other"], dedupe_key=f"key {steps}")
        )
        for _ in range(steps or 0):
            await asyncio.sleep(0)
        if steps is None:
            await asyncio.sleep(1)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)

        rows = await deliveries.rows()
        events = await deliveries.events()
        assert len(rows) == 2 * len(events)
        assert {row.event_uuid for row in rows} == {event.uuid for event in events}
    assert events
