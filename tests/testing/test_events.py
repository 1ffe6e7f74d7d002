"""Events that tests make look like those that a client captures."""

from __future__ import annotations

import datetime
import uuid

import orjson
import pytest

from eventpipe.events import DISTINCT_ID_AT, TIMESTAMP_AT, UUID_AT
from eventpipe.testing import make_batch, make_event

UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


def test_an_event_has_the_fixed_layout() -> None:
    """Id, stamp and distinct id stand where codecs look for them."""
    data = make_event("e", distinct_id="u9", uuid=UUID).data

    assert data[UUID_AT] == UUID.encode()
    assert data[TIMESTAMP_AT] == b"2026-01-01T00:00:00.000000Z"
    assert data[DISTINCT_ID_AT:] == b'"u9","event":"e","properties":{'


def test_an_event_has_what_it_was_given() -> None:
    """Every part can be read back."""
    event = make_event(
        "paid",
        distinct_id="u1",
        properties={"sum": 5},
        timestamp=0.5,
        headers={"a": "b"},
        key="k",
        lane="historical",
        lifted={"$ip": "::1"},
        captured_at=3.0,
    )

    assert (event.event, event.distinct_id, event.key, event.lane) == ("paid", "u1", "k", "historical")
    assert event.timestamp == datetime.datetime(1970, 1, 1, 0, 0, 0, 500_000, datetime.UTC)
    assert (event.properties, event.lifted, event.headers) == ({"sum": 5, "$ip": "::1"}, {"$ip": "::1"}, {"a": "b"})
    assert event.captured_at == 3.0
    assert uuid.UUID(event.uuid).version == 7


@pytest.mark.parametrize("properties", [None, {}, {"a": 1}])
def test_a_plain_event_has_no_extra(properties: dict[str, int] | None) -> None:
    """Without headers, key and lifted properties an event is its bytes."""
    event = make_event(properties=properties)

    assert event.extra is None
    assert orjson.loads(event.json)["properties"] == (properties or {})


def test_a_batch_has_events_of_its_own() -> None:
    """A number makes so many different events, in order, under a new id."""
    first, second = make_batch(3, lane="l"), make_batch(3)

    assert [(event.event, event.distinct_id, event.lane) for event in first.events] == [
        ("e0", "u0", "l"),
        ("e1", "u1", "l"),
        ("e2", "u2", "l"),
    ]
    assert (first.lane, first.attempt) == ("l", 1)
    assert len({event.uuid for event in (*first.events, *second.events)}) == 6
    assert first.id != second.id


def test_a_batch_takes_given_events() -> None:
    """Events go in as they are."""
    events = [make_event("a"), make_event("b")]

    assert make_batch(events, id="i", attempt=3).events == tuple(events)
