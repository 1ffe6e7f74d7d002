"""Properties are taken out of an encoded event as the encoder keeps them apart."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.encoding import Encoder
from eventpipe.encoding.lifting import lifted_out
from eventpipe.events import CapturedEvent

JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=4)
NAMES = st.sampled_from(["a", "$set", "é", "uuid", '"'])


def encoded(properties: dict[str, object], lifted: frozenset[str] = frozenset()) -> CapturedEvent:
    uuid, at = "0190e2a4-0000-7000-8000-000000000001", None
    return Encoder(lifted=lifted).encode("paid", "u1", properties, at, uuid, {"h": "1"}, "k", "lane")


@given(st.dictionaries(NAMES, JSON), st.frozensets(NAMES))
def test_properties_taken_out_later_are_those_taken_out_at_capture(
    properties: dict[str, object], names: frozenset[str]
) -> None:
    """Whatever they hold: the same inside, the same beside, and the whole event says the same."""
    at_capture, later = encoded(properties, names), lifted_out(encoded(properties), names)

    assert later.lifted == at_capture.lifted
    assert later.properties == at_capture.properties == properties
    assert orjson.loads(later.data + b"}}")["properties"].keys() == properties.keys() - names
    assert (later.uuid, later.name, later.key, later.lane, later.headers) == (
        at_capture.uuid,
        at_capture.name,
        at_capture.key,
        at_capture.lane,
        at_capture.headers,
    )


@pytest.mark.parametrize("properties", [{}, {"b": 1}, {"b": {"a": 1}}], ids=["none", "another", "deeper"])
def test_an_event_without_such_a_property_is_left_as_it_is(properties: dict[str, object]) -> None:
    """The same object, also where the name stands deeper inside."""
    event = encoded(properties)

    assert lifted_out(event, frozenset({"a"})) is event


def test_what_is_beside_already_stays_there() -> None:
    """An event that a client with one codec captured reaches a consumer with another."""
    event = encoded({"a": 1, "b": 2, "c": 3}, frozenset({"a"}))

    assert lifted_out(event, frozenset({"b"})).lifted == {"a": 1, "b": 2}


def test_an_event_that_is_no_json_is_told_apart() -> None:
    """By the error that decoding it raises anywhere else."""
    event = encoded({"a": 1})
    event.data = event.data[:-1]  # a number without its digits

    with pytest.raises(ValueError, match=r"JSON|expected"):
        lifted_out(event, frozenset({"a"}))
