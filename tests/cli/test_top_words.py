from __future__ import annotations

import math
from dataclasses import replace

import pytest

from eventpipe.cli import top_words as words
from eventpipe.cli.top_picture import Status
from eventpipe.core.service import ServiceState
from eventpipe.health import Health
from eventpipe.measures import BOUNDS, Histogram
from eventpipe.statistics import HighWater, Statistics
from tests.cli.pictures import histogram, picture, sink


@pytest.mark.parametrize(
    ("health", "said"),
    [
        (Health(is_open=True), "ready"),
        (Health(is_open=False), "not ready: closed"),
        (Health(is_open=True, crashed=("a", "b")), "not ready: crashed: a, b"),
        (Health(is_open=True, pressure=1.0), "not ready: no room for more events"),
        (
            Health(is_open=True, pressure=1.0, sinks={"a": sink(pressure=0.9), "b": sink(pressure=1.0)}),
            "not ready: no room for more events in b",
        ),
        (Health(is_open=False, crashed=("a",), pressure=1.5), "not ready: closed; crashed: a; no room for more events"),
    ],
)
def test_reason_is_said_with_readiness(health: Health, said: str) -> None:
    """Whoever is called at night reads why."""
    assert words.readiness(picture(health)) == said


def test_unexplained_refusal_is_said_as_one() -> None:
    """A process that says no more than that it is not ready."""
    unready = replace(picture(), status=Status.NOT_READY)

    assert words.readiness(unready) == "not ready: it does not say why"


@pytest.mark.parametrize(
    ("per_second", "said"),
    [
        (None, "-"),
        (0.0, "0/s"),
        (0.04, "0.0/s"),
        (0.4, "0.4/s"),
        (9.96, "10.0/s"),
        (10.4, "10/s"),
        (12345.6, "12,346/s"),
    ],
)
def test_rates_keep_a_digit_where_they_are_small(per_second: float | None, said: str) -> None:
    """One event in two seconds is not none."""
    assert words.rate(per_second) == said


@pytest.mark.parametrize(
    ("pressure", "said"), [(0.0, "0 %"), (0.001, "1 %"), (0.995, "99 %"), (1.0, "100 %"), (2.0, "100 %")]
)
def test_full_is_said_of_what_is_full_alone(pressure: float, said: str) -> None:
    """At 100 % events are dropped, or their callers wait."""
    assert words.percent(pressure) == said


def test_age_is_said_from_the_same_clock() -> None:
    """A moment that has not come yet is now; there may have been none."""
    assert [words.ago(moment, 100.0) for moment in (97.0, 103.0, None)] == ["3.0 s ago", "0 µs ago", "never"]


@pytest.mark.parametrize(
    ("held", "pressure", "drawn"),
    [
        ({}, 0.0, ".........."),
        ({"waiting_room": 9}, 1.0, ".........."),
        ({"queued": 5}, 0.5, "QQQQQ....."),
        ({"queued": 5}, 0.01, "Q........."),
        ({"queued": 2, "buffered": 1, "in_flight": 1, "waiting_retry": 1}, 1.0, "QQQQBBFFRR"),
        ({"queued": 1, "waiting_retry": 1}, 2.5, "QQQQQRRRRR"),
        ({"queued": 998, "in_flight": 1}, 0.8, "QQQQQQQQ.."),
    ],
)
def test_bar_is_as_full_as_the_client(held: dict[str, int], pressure: float, drawn: str) -> None:
    """Letters are shared out as the events are; what waits for room is not held."""
    assert words.bar(Statistics(**held), pressure, 10) == drawn  # type: ignore[arg-type]  # counters alone


def test_places_name_what_is_not_empty() -> None:
    """In the order of the way through a client."""
    counted = Statistics(queued=1200, waiting_retry=3, waiting_room=2)

    assert words.places(counted) == "1,200 queued, 3 to retry, 2 waiting for room"
    assert words.places(Statistics()) == ""


def test_long_lists_are_cut() -> None:
    """The largest come first, and the number of the others last."""
    numbers = {f"r{number}": number for number in range(1, 8)}

    assert words.tallied(numbers) == "7 r7, 6 r6, 5 r5, 4 r4, 3 r3, 2 more"
    assert words.names(tuple(numbers)) == "r1, r2, r3, r4, r5, 2 more"
    assert words.paused(dict.fromkeys(numbers, 1.0)).endswith("lane r5 1.0 s left, 2 more")
    assert words.short("n" * 50) == "n" * 39 + "…"


def test_high_water_names_waiting_callers_where_there_were_some() -> None:
    """The usual client has none."""
    said = words.high_water(HighWater(held=5000, held_bytes=1536, in_flight=500, waiting_retry=3))

    assert said == "5,000 held (1.5 KiB), 500 in flight, 3 to retry"
    assert words.high_water(HighWater(waiting_room=4)).endswith(", 4 waiting for room")


def test_quantiles_are_in_units_that_people_read() -> None:
    """Without events there are none; beyond the last bound only that is known."""
    assert words.quantiles(Histogram()) == "-"
    assert words.quantiles(histogram({0.02: 100})) == "18 ms/25 ms"
    assert words.quantile(histogram({1000.0: 1}), 0.5) == "> 5 m 0 s"
    assert words.quantile(histogram({BOUNDS[-1]: 1}), 1.0) == "5 m 0 s"


def test_pauses_are_said_by_lane() -> None:
    """The usual lane has no name; a pause may have no end."""
    assert words.paused({"": 3.2, "historical": math.inf}) == "3.2 s left, lane historical no end"


def test_troubles_of_a_sink_are_said_together() -> None:
    """A sink that works has none."""
    troubled = sink(ServiceState.FAILED, error="KeyError in send", paused={"": 3.0}, failing="status_503")
    counted = Statistics(dropped=4, dropped_by_reason={"expired": 4})

    assert words.sink_troubles(troubled, counted) == (
        "crashed: KeyError in send; paused: 3.0 s left; last attempt failed: status_503; dropped 4 expired"
    )
    assert words.sink_troubles(sink(), Statistics()) == ""
    assert [words.sink_state(sink()), words.sink_state(troubled)] == ["running", "paused"]
