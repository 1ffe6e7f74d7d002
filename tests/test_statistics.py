"""Snapshots as values: they add up over sinks, subtract over time, and cannot be changed."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.measures import BOUNDS, Histogram, Latencies, Rate, Rates
from eventpipe.statistics import EventCounts, Fixed, HighWater, Statistics

NUMBERS = st.integers(0, 1_000)
WORDS = st.sampled_from(["a", "b", "c"])


INTEGERS = [field.name for field in dataclasses.fields(Statistics) if type(field.default) is int]


def histogram(buckets: list[int]) -> Histogram:
    counts = tuple(buckets.count(bucket) for bucket in range(len(BOUNDS) + 1))
    return Histogram(BOUNDS, counts, len(buckets), float(sum(buckets)))


HISTOGRAMS = st.lists(st.integers(0, len(BOUNDS)), max_size=4).map(histogram)


def snapshots(by_sink: st.SearchStrategy[dict[str, Statistics]]) -> st.SearchStrategy[Statistics]:
    counts = st.dictionaries(WORDS, st.integers(1, 9))
    rate = st.builds(Rate, NUMBERS, NUMBERS, NUMBERS)
    given: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(INTEGERS, NUMBERS)
    return st.builds(
        Statistics,
        **given,
        dropped_by_reason=counts,
        retried_by_reason=counts,
        by_event=st.dictionaries(WORDS, st.builds(EventCounts, st.integers(1, 9), NUMBERS, NUMBERS)),
        by_sink=by_sink,
        rates=st.builds(Rates, rate, rate, rate),
        latency=st.builds(Latencies, HISTOGRAMS, HISTOGRAMS, HISTOGRAMS),
        high_water=st.builds(HighWater, *[NUMBERS] * 5),
        slowest_hook=st.floats(0, 9),
        last_success=st.none() | st.floats(1, 9),
    )


CLIENTS = snapshots(st.dictionaries(WORDS, snapshots(st.just({})), max_size=2))


def example() -> Statistics:
    return Statistics(
        captured=3,
        delivered=2,
        dropped=1,
        dropped_by_reason={"expired": 1},
        by_event={"paid": EventCounts(2, 1)},
        by_sink={"eu": Statistics(captured=3)},
        latency=Latencies(send=Histogram(counts=(2, *[0] * 15), count=2, sum=0.001)),
        last_success=7.0,
    )


@given(CLIENTS, CLIENTS, CLIENTS)
def test_sums_do_not_depend_on_their_order(one: Statistics, two: Statistics, three: Statistics) -> None:
    """Sinks have no order among themselves, and an empty snapshot adds nothing."""
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Statistics() == one
    assert sum([one, two], Statistics()) == one + two


@given(CLIENTS, CLIENTS)
def test_the_difference_undoes_the_sum_of_what_is_counted(before: Statistics, since: Statistics) -> None:
    """What is no counter is as it is in the later one."""
    now = before + since
    difference = now - before

    for name in ("captured", "delivered", "dropped", "attempts", "retried", "hook_errors", "latency"):
        assert getattr(difference, name) == getattr(since, name)
    for name in ("dropped_by_reason", "retried_by_reason", "by_event"):
        assert getattr(difference, name) == getattr(since, name)
    for name in ("pending", "in_flight", "queue_bytes", "slowest_hook", "last_success", "rates", "high_water"):
        assert getattr(difference, name) == getattr(now, name)
    assert difference.by_sink == {
        name: sink - before.by_sink.get(name, Statistics()) for name, sink in now.by_sink.items()
    }


def test_every_field_is_of_one_sort() -> None:
    """A new one has to be put with the counters, the levels, or what is neither: no sum forgets it."""
    ones: dict[str, Any] = dict.fromkeys(INTEGERS, 1)
    one = Statistics(
        **ones,
        rates=Rates(Rate(1, 1, 1), Rate(1, 1, 1), Rate(1, 1, 1)),
        high_water=HighWater(1, 1, 1, 1, 1),
        slowest_hook=1.0,
        last_success=1.0,
    )
    both = one + one
    twice = {field.name: getattr(both, field.name) for field in dataclasses.fields(Statistics)}

    assert {name for name, value in twice.items() if value == 1} == {"slowest_hook", "last_success"}
    assert both.rates.retried == Rate(2, 2, 2)
    assert both.high_water == HighWater(2, 2, 2, 2, 2)


def test_the_sum_of_high_water_is_never_below_a_level() -> None:
    """As the sum of levels is: where the sinks had their highest at different moments it is above all of them."""
    one = Statistics(in_flight=5, high_water=HighWater(in_flight=9))
    two = Statistics(in_flight=7, high_water=HighWater(in_flight=7))

    assert ((one + two).in_flight, (one + two).high_water.in_flight) == (12, 16)


def test_what_did_not_occur_in_between_is_in_no_mapping_of_a_difference() -> None:
    """But for sinks, which are there whether anything occurred or not."""
    before = example()
    now = before + Statistics(by_event={"left": EventCounts(1)}, retried_by_reason={"tls": 4})

    since = now - before

    assert (since.by_event, since.dropped_by_reason) == ({"left": EventCounts(1)}, {})
    assert (since.retried_by_reason, since.by_sink) == ({"tls": 4}, {"eu": Statistics()})


@pytest.mark.parametrize(
    "change",
    [
        lambda mapping: mapping.__setitem__("paid", 1),
        lambda mapping: mapping.__delitem__("paid"),
        lambda mapping: mapping.update(paid=1),
        lambda mapping: mapping.pop("paid"),
        lambda mapping: mapping.popitem(),
        lambda mapping: mapping.setdefault("new", 1),
        lambda mapping: mapping.clear(),
        lambda mapping: mapping.__ior__({"paid": 1}),
    ],
)
def test_a_snapshot_cannot_be_changed(change: Callable[[Any], object]) -> None:
    """Neither its fields nor its mappings."""
    statistics = example()
    with pytest.raises(TypeError, match="a snapshot cannot be changed; make a dict of it"):
        change(statistics.by_event)
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.captured = 4  # type: ignore[misc]  # what is tried here

    assert statistics == example()


def test_a_snapshot_keeps_copies_of_what_it_is_made_of() -> None:
    """Whoever goes on counting in the same dictionary changes nothing of it."""
    reasons = {"expired": 1}
    statistics = Statistics(dropped=1, dropped_by_reason=reasons)
    reasons["expired"] = 2

    assert statistics.dropped_by_reason == {"expired": 1}
    assert dataclasses.replace(statistics, dropped=2).dropped_by_reason == {"expired": 1}


def test_a_snapshot_can_be_copied_pickled_and_written_as_json() -> None:
    """A read-only view of a dictionary could be none of these."""
    statistics = example()

    assert pickle.loads(pickle.dumps(statistics)) == statistics  # noqa: S301  # its own
    assert copy.deepcopy(statistics) == statistics
    assert type(copy.deepcopy(statistics.by_event)) is Fixed
    written = json.loads(json.dumps(dataclasses.asdict(statistics)))
    assert orjson.loads(orjson.dumps(statistics)) == written
    assert (written["by_event"], written["captured"]) == ({"paid": {"delivered": 2, "dropped": 1, "retried": 0}}, 3)
    assert written["latency"]["send"] == {"bounds": list(BOUNDS), "counts": [2, *[0] * 15], "count": 2, "sum": 0.001}


def test_no_event_name_is_in_a_repr() -> None:
    """It gets into logs, where a name may be anything that somebody sent."""
    assert "paid" not in repr(example())
    assert repr(example()).startswith("Statistics(captured=3, recovered=0, delivered=2, dropped=1, ")


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ((0,) * 16, 0.5, 0.0),
        ((4, *[0] * 15), 0.5, 0.0005),
        ((4, *[0] * 15), 1.0, 0.001),
        ((0, 10, 10, *[0] * 13), 0.5, 0.005),
        ((0, 10, 10, *[0] * 13), 0.75, 0.0075),
        ((1, *[0] * 14, 9), 0.99, 300.0),
        ((*[0] * 14, 2, 0), 0.5, 180.0),
    ],
)
def test_a_quantile_lies_on_a_straight_line_through_its_bucket(
    counts: tuple[int, ...], share: float, seconds: float
) -> None:
    """As Prometheus reads a histogram; the last bucket has no end, so that its beginning stands for it."""
    assert Histogram(counts=counts, count=sum(counts)).quantile(share) == pytest.approx(seconds)


@given(HISTOGRAMS, st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_larger_share_takes_no_less_time(taken: Histogram, one: float, other: float) -> None:
    """And none is beyond the last bound."""
    low, high = sorted([one, other])

    assert 0.0 <= taken.quantile(low) <= taken.quantile(high) <= BOUNDS[-1]


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_a_share_outside_of_its_bounds_is_refused(share: float) -> None:
    """With the value and the rule."""
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, not "):
        Histogram().quantile(share)


def test_histograms_of_other_buckets_are_not_mixed() -> None:
    """A sum over them would mean nothing."""
    with pytest.raises(ValueError, match="the same bounds"):
        Histogram() + Histogram((1.0,), (0, 0))
