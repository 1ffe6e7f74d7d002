"""What a sink says of itself is read once, and checked."""

from __future__ import annotations

from sys import maxsize
from typing import Any

import pytest

from eventpipe.events import Batch, CapturedEvent
from eventpipe.options import ClientOptions
from eventpipe.testing.events import make_event
from eventpipe.testing.sinks import GatedSink
from eventpipe.transport.traits import EventLimit, Traits, named_apart


class PlainSink:
    """A sink that says nothing of itself."""

    async def send(self, batch: Batch) -> None:
        pass

    async def aclose(self) -> None:
        pass


def saying(**attributes: object) -> PlainSink:
    sink = PlainSink()
    for name, value in attributes.items():
        setattr(sink, name, value)
    return sink


def test_a_plain_sink_has_the_defaults() -> None:
    """Its class's name, no filter, no lifted names, no bounds of its own, one lane."""
    assert Traits.of(PlainSink()) == Traits("PlainSink", None, frozenset(), maxsize, maxsize, None)


def test_every_attribute_is_read() -> None:
    """As the contract names them."""

    def where(event: CapturedEvent) -> bool:
        return True

    def lane(event: CapturedEvent) -> str | None:
        return "live"

    sink = saying(name="eu", where=where, lifted={"$set", "token"}, max_event_bytes=10, max_batch_bytes=1, lane=lane)
    assert Traits.of(sink) == Traits("eu", where, frozenset({"$set", "token"}), 10, 1, lane, {}, maxsize, False)

    sink = saying(lane_event_bytes={"ai": 50}, max_batch_events=1, unique_ids=True)
    assert Traits.of(sink)[6:] == ({"ai": 50}, 1, True)


@pytest.mark.parametrize("nothing", [None, "", (), frozenset()], ids=repr)
def test_nothing_means_the_default(nothing: object) -> None:
    """A name or a set that is empty is not one."""
    traits = Traits.of(saying(name=nothing, lifted=nothing))

    assert (traits.name, traits.lifted) == ("PlainSink", frozenset())


def test_none_means_no_bound_and_no_function() -> None:
    """As if the attribute were not there."""
    sink = saying(where=None, lane=None, max_event_bytes=None, max_batch_bytes=None)
    for attribute in ("lane_event_bytes", "max_batch_events", "unique_ids"):
        setattr(sink, attribute, None)

    assert Traits.of(sink) == Traits.of(PlainSink())


def test_a_name_of_another_type_is_shown_as_text() -> None:
    """It goes into logs and outcomes."""
    assert Traits.of(saying(name=5)).name == "5"


def test_a_method_may_name_the_lane() -> None:
    """Of the sink itself, as a codec's sink has it."""

    class LaneSink(PlainSink):
        def lane(self, event: CapturedEvent) -> str | None:
            return event.event

    lane = Traits.of(LaneSink()).lane

    assert lane is not None
    assert lane(make_event("paid")) == "paid"


@pytest.mark.parametrize(
    "no_sink",
    [None, 5, "sink", PlainSink, GatedSink, print, type("Half", (), {"send": print})(), saying(aclose=5)],
    ids=["None", "a number", "a string", "a class", "another class", "a function", "half a sink", "no function"],
)
def test_what_is_no_sink_is_refused(no_sink: Any) -> None:
    """With the way to wrap a function."""
    with pytest.raises(
        TypeError, match=r"^a sink must be an object with async send\(batch\) and aclose\(\), not "
    ) as info:
        Traits.of(no_sink)

    assert repr(no_sink) in str(info.value)
    assert str(info.value).endswith("; wrap a function as CallbackSink(function)")


async def a_coroutine_function(event: CapturedEvent) -> bool:
    return True


class AsyncCall:
    async def __call__(self, event: CapturedEvent) -> bool:
        return True


@pytest.mark.parametrize(
    "value", [5, "name", [], a_coroutine_function, AsyncCall()], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("attribute", ["where", "lane"])
def test_a_filter_or_a_lane_is_a_plain_function(attribute: str, value: object) -> None:
    """Anything else is refused; what an async one returns would be true for every event, and never be awaited."""
    with pytest.raises(TypeError) as info:
        Traits.of(saying(**{attribute: value}))

    assert str(info.value) == f"PlainSink.{attribute} must be a plain function or None, not {value!r}"


@pytest.mark.parametrize("value", [0, -1, 1.5, 900.0, "1", True, False, float("nan")], ids=repr)
@pytest.mark.parametrize("attribute", ["max_event_bytes", "max_batch_bytes", "max_batch_events"])
def test_a_bound_is_a_number(attribute: str, value: object) -> None:
    """A whole one, above zero."""
    with pytest.raises(TypeError) as info:
        Traits.of(saying(**{attribute: value}))

    unit = attribute.rpartition("_")[2]
    assert str(info.value) == f"PlainSink.{attribute} must be a number of {unit} or None, not {value!r}"


@pytest.mark.parametrize("value", [5, "ai", ["ai"], {"ai": 0}, {"ai": "5"}, {"ai": True}, {5: 5}], ids=repr)
def test_limits_of_lanes_are_numbers_by_name(value: object) -> None:
    """As other bounds are."""
    with pytest.raises(
        TypeError, match="lane_event_bytes must be a mapping of lanes to numbers of bytes or None, not "
    ):
        Traits.of(saying(lane_event_bytes=value))


@pytest.mark.parametrize("value", [1, "yes", [], 0.0], ids=repr)
def test_a_switch_is_true_or_false(value: object) -> None:
    """Nothing that is only true in a condition."""
    with pytest.raises(TypeError, match="unique_ids must be True, False or None, not "):
        Traits.of(saying(unique_ids=value))


@pytest.mark.parametrize(
    ("options", "attributes", "limits"),
    [
        ({}, {}, (900 * 1024, 900 * 1024)),
        ({}, {"max_event_bytes": 5_000_000}, (5_000_000, 5_000_000)),
        ({"max_event_bytes": 100}, {"max_event_bytes": 5_000_000}, (100, 100)),
        ({"max_event_bytes": 2_000_000}, {}, (2_000_000, 2_000_000)),
        ({"queue_bytes": 1000}, {"max_event_bytes": 5000, "lane_event_bytes": {"ai": 5000}}, (1000, 1000)),
        ({}, {"max_event_bytes": 100, "lane_event_bytes": {"ai": 5000}}, (100, 5000)),
        ({"max_event_bytes": 2000}, {"max_event_bytes": 100, "lane_event_bytes": {"ai": 5000}}, (100, 2000)),
        ({}, {"max_event_bytes": 100, "lane_event_bytes": {"ai": 50}}, (100, 50)),
    ],
    ids=str,
)
def test_an_event_s_limit_is_its_lane_s_within_what_was_asked_for(
    options: dict[str, Any], attributes: dict[str, Any], limits: tuple[int, int]
) -> None:
    """What the sink says of a lane goes before what it says of all; the option and the queue bound both."""
    sink = saying(lane=lambda event: event.lane, **attributes)

    limit = EventLimit(Traits.of(sink), ClientOptions(**options))

    assert (limit.of(make_event("paid")), limit.of(make_event("asked", lane="ai"))) == limits
    assert limit.of(make_event("old", lane="historical")) == limits[0]
    assert limit.smallest == min(limits)


def test_a_lane_that_cannot_be_told_has_the_usual_limit() -> None:
    """A codec's fault costs nobody anything."""

    def lane(event: CapturedEvent) -> str | None:
        raise ValueError

    sink = saying(lane=lane, max_event_bytes=100, lane_event_bytes={"ai": 50})

    assert EventLimit(Traits.of(sink), ClientOptions()).of(make_event("paid")) == 100


@pytest.mark.parametrize("value", ["token", [5], 5, ["a", None]], ids=repr)
def test_lifted_names_are_a_collection_of_names(value: object) -> None:
    """A single string would be taken for its letters."""
    with pytest.raises(TypeError) as info:
        Traits.of(saying(lifted=value))

    assert str(info.value) == f"PlainSink.lifted must be a collection of property names, not {value!r}"


@pytest.mark.parametrize(
    ("names", "apart"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a", "a", "b", "a"], ["a", "a-2", "b", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-2", "a-2-2"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
    ],
    ids=str,
)
def test_sinks_of_one_name_are_numbered(names: list[str], apart: list[str]) -> None:
    """Each name occurs once, also where a sink was given a name that looks like a number of ours."""
    traits = [Traits.of(saying(name=name, max_batch_bytes=number)) for number, name in enumerate(names, 1)]

    found = named_apart(traits)

    assert [one.name for one in found] == apart
    assert [one.max_batch_bytes for one in found] == list(range(1, len(names) + 1))
