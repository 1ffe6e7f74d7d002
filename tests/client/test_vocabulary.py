"""Events that say who somebody is, which group, which page: what they hold, and what each far end is told."""

from __future__ import annotations

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any

import orjson
import pytest

from eventpipe import AsyncClient, Event
from eventpipe.codecs import PostHogV0, Segment
from eventpipe.sinks import HttpSink, MemorySink
from eventpipe.testing import Reply, ScriptedServer

ID = uuid.UUID("01890000-0000-7000-8000-000000000001")


class Role(str, enum.Enum):  # noqa: UP042  # str() of its members is not their text
    GUEST = "guest"
    ADMIN = "admin"


NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("event", "name", "distinct_id", "properties"),
    [
        pytest.param(
            Event.identify("u1", {"plan": "pro"}, anonymous_id="a7"),
            "$identify",
            "u1",
            {"$set": {"plan": "pro"}, "$anon_distinct_id": "a7"},
            id="identify",
        ),
        pytest.param(Event.identify(7), "$identify", "7", {}, id="identify, nothing new"),
        pytest.param(
            Event.identify("u1", {}, anonymous_id=ID), "$identify", "u1", {"$anon_distinct_id": str(ID)}, id="ids"
        ),
        pytest.param(
            Event.group("u1", "company", "acme", {"seats": 5}),
            "$groupidentify",
            "u1",
            {"$group_type": "company", "$group_key": "acme", "$group_set": {"seats": 5}},
            id="group",
        ),
        pytest.param(
            Event.group("u1", "company", 7, {}),
            "$groupidentify",
            "u1",
            {"$group_type": "company", "$group_key": "7"},
            id="group, nothing new",
        ),
        pytest.param(Event.alias("a7", "u1"), "$create_alias", "a7", {"distinct_id": "a7", "alias": "u1"}, id="alias"),
        pytest.param(
            Event.alias(7, 8), "$create_alias", "7", {"distinct_id": "7", "alias": "8"}, id="alias of numbers"
        ),
        pytest.param(
            Event.alias(Role.GUEST, Role.ADMIN),
            "$create_alias",
            "guest",
            {"distinct_id": "guest", "alias": "admin"},
            id="alias of words",
        ),
        pytest.param(
            Event.page("u1", "Pricing", category="docs", url="https://x.example", properties={"name": "other", "a": 1}),
            "$pageview",
            "u1",
            {
                "name": "Pricing",
                "category": "docs",
                "$current_url": "https://x.example",
                "url": "https://x.example",
                "a": 1,
            },
            id="page",
        ),
        pytest.param(Event.page(None), "$pageview", None, {}, id="page of nobody"),
        pytest.param(
            Event.screen("u1", "Inbox", category="mail", properties={"a": 1}),
            "$screen",
            "u1",
            {"$screen_name": "Inbox", "category": "mail", "a": 1},
            id="screen",
        ),
        pytest.param(Event.screen(None), "$screen", None, {}, id="screen of nobody"),
    ],
)
@pytest.mark.asyncio
async def test_each_has_the_name_and_the_properties_that_far_ends_look_for(
    event: Event, name: str, distinct_id: str | None, properties: dict[str, Any]
) -> None:
    """As they arrive at a sink: names that PostHog gives them, ids as text, and nothing that was not given."""
    sink = MemorySink()

    async with AsyncClient(sink) as client:
        receipt = await client.capture(event)
        [outcome] = await client.deliver(event)

    assert (receipt.accepted, outcome.events) == (True, (name,))
    assert [(e.event, e.distinct_id, e.properties) for e in sink.events] == [(name, distinct_id, properties)] * 2


class Plan(enum.Enum):
    FREE = "free"


class Number(int, enum.Enum):  # str() of its members is not their number
    SEVEN = 7


@pytest.mark.parametrize("given", [Plan.FREE, Number.SEVEN, 7, 10**30, 1.5, Decimal("1.50"), ID], ids=repr)
@pytest.mark.asyncio
async def test_every_id_is_the_text_that_it_is_as_a_distinct_id(given: Any) -> None:
    """An alias of one kind of id and an event of another would be about two people."""
    sink = MemorySink()

    async with AsyncClient(sink) as client:
        await client.capture("seen", distinct_id=given)
        await client.capture(Event.alias(given, given))
        await client.capture(Event.group("u1", "company", given))
        await client.capture(Event.identify("u1", anonymous_id=given))

    seen, alias, group, identified = sink.events
    assert (alias.distinct_id, alias.properties) == (
        seen.distinct_id,
        {"distinct_id": seen.distinct_id, "alias": seen.distinct_id},
    )
    assert group.properties["$group_key"] == seen.distinct_id
    assert identified.properties == {"$anon_distinct_id": seen.distinct_id}


class Wordless:
    def __str__(self) -> str:
        raise RuntimeError("an object that has no words for itself")


@pytest.mark.parametrize("given", [True, b"a7", Wordless()], ids=["boolean", "bytes", "object"])
@pytest.mark.asyncio
async def test_what_is_no_id_is_repaired_like_any_property(given: Any) -> None:
    """Nothing raises, and the repair is counted once: not the words that Python has for the value, with an address."""
    sink = MemorySink()

    async with AsyncClient(sink) as client:
        await client.capture("any", distinct_id="u1", properties={"$group_type": "company", "$group_key": given})
        repaired = client.statistics().repaired
        await client.capture(Event.group("u1", "company", given))

        assert client.statistics().repaired == repaired * 2
    plain, group = sink.events
    assert group.properties == plain.properties


MAKERS = [
    lambda **options: Event.identify("u1", **options),
    lambda **options: Event.group("u1", "company", "acme", **options),
    lambda **options: Event.alias("a7", "u1", **options),
    lambda **options: Event.page("u1", **options),
    lambda **options: Event.screen("u1", **options),
]


@pytest.mark.parametrize("make", MAKERS, ids=["identify", "group", "alias", "page", "screen"])
def test_each_takes_what_any_event_takes(make: Any) -> None:
    """Time, id, headers, key, lane and what happens without room; a wrong word is refused as Python does."""
    options = {
        "timestamp": NOON,
        "uuid": ID,
        "headers": {"a": "b"},
        "key": "k",
        "lane": "historical",
        "overflow": "wait",
        "durability": "memory",
    }

    event = make(**options)

    assert type(event) is Event
    assert {name: getattr(event, name) for name in options} == options
    with pytest.raises(TypeError, match="unexpected keyword argument 'lanes'"):
        make(lanes="historical")


def test_the_callers_mapping_is_not_changed() -> None:
    """What the arguments add is added to a copy."""
    properties = {"a": 1}

    Event.page("u1", "Pricing", properties=properties)
    Event.screen("u1", "Inbox", properties=properties)

    assert properties == {"a": 1}


def test_a_repr_shows_neither_ids_nor_traits() -> None:
    """It gets into logs."""
    assert "SECRET" not in repr(Event.identify("SECRET", {"SECRET": "SECRET"}, anonymous_id="SECRET"))


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_one_client_tells_posthog_and_segment_the_same() -> None:
    """Encoded once: each far end gets its own words, and the properties lifted for the other are back inside."""
    events = [
        Event.identify("u1", {"plan": "pro"}, anonymous_id="a7"),
        Event.group("u1", "company", "acme", {"seats": 5}),
        Event.alias("a7", "u1"),
        Event.page("u1", "Pricing"),
        Event.screen("u1", "Inbox"),
        Event("paid", "u1", {"sum": 5, "$lib": "mine", "$context": {"ip": "::1"}, "$integrations": {"All": False}}),
    ]
    async with ScriptedServer(default=Reply(200)) as server:
        sinks = HttpSink(server.url, PostHogV0("phc_key"), name="posthog"), HttpSink(server.url, Segment("key"))
        async with AsyncClient(*sinks) as client:
            receipts = await client.capture_many(events)
            assert await client.flush()
        bodies = {request.path: orjson.loads(request.body) for request in server.requests}

    posthog, segment = bodies["/batch/"]["batch"], bodies["/v1/batch"]["batch"]
    ids = [receipt.uuid for receipt in receipts]
    own = {"$lib", "$lib_version", "$os", "$os_version", "$is_server", "$geoip_disable"}
    assert [said["uuid"] for said in posthog] == [said["messageId"] for said in segment] == ids
    assert [said["event"] for said in posthog] == [event.event for event in events]
    for said, event in zip(posthog, events, strict=True):
        kept = {name: value for name, value in said["properties"].items() if name not in own}
        assert kept == {name: value for name, value in (event.properties or {}).items() if name not in own}
    assert posthog[-1]["properties"]["$lib"] == "mine"
    assert [said["type"] for said in segment] == ["identify", "group", "alias", "page", "screen", "track"]
    assert segment[0]["traits"] == {"plan": "pro"}
    assert segment[0]["anonymousId"] == "a7"
    assert (segment[1]["groupId"], segment[1]["traits"]) == ("acme", {"seats": 5})
    assert (segment[2]["previousId"], segment[2]["userId"]) == ("a7", "u1")
    assert (segment[3]["name"], segment[4]["name"]) == ("Pricing", "Inbox")
    assert segment[5]["properties"] == {"sum": 5, "$lib": "mine"}
    assert (segment[5]["context"]["ip"], segment[5]["integrations"]) == ("::1", {"All": False})
