from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from eventpipe.cli.top_picture import Process, Status, parse_picture
from eventpipe.cli.top_view import TopView
from eventpipe.health import Health
from eventpipe.measures import Rate, Rates
from eventpipe.statistics import EventCounts, HighWater, Statistics
from tests.cli.pictures import NOW, answer, latencies, printed, sink

FULL = Statistics(
    captured=100,
    delivered=60,
    dropped=10,
    dropped_by_reason={"queue_full": 10},
    pending=30,
    queued=20,
    in_flight=10,
    by_event={"paid": EventCounts(60, 10, 3)},
    by_sink={"http": Statistics(captured=100, latency=latencies({0.02: 60}, {0.3: 60}))},
    rates=Rates(delivered=Rate(1.0, 2.0, 3.0)),
    latency=latencies({0.02: 60}, {0.3: 60}),
    high_water=HighWater(held=50),
    last_success=NOW,
)
HEALTH = Health(
    is_open=True,
    pressure=0.3,
    last_success=NOW,
    paused=("http",),
    sinks={"http": sink(failing="status_503", paused={"": 3.0})},
)


def test_answer_is_read_into_the_values_it_was_made_of() -> None:
    """What the client said of itself is there again, field by field."""
    picture = parse_picture(answer(HEALTH, FULL))

    assert (picture.health, picture.statistics) == (HEALTH, FULL)
    assert (picture.status, picture.is_ready) == (Status.READY, True)
    assert picture.process == Process(pid=7, uptime=100.0, version="1.2.3", now=NOW)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", "the answer is no JSON"),
        (b"<html>", "the answer is no JSON"),
        (b"[" * 100_000, "the answer is no JSON"),
        (b'{"status": "ready", "uptime": NaN}', "the answer is no JSON"),
        (b"[]", "the answer must be an object"),
        (b'{"status": "UP"}', "status must be one of ready, not_ready"),
        (b'{"status": "ready"}', "health must be an object"),
        (b'{"status": "ready", "health": {}}', "health.is_open must be true or false"),
    ],
)
def test_another_answer_is_refused(body: bytes, refusal: str) -> None:
    """The message says what is missing."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_picture(body)

    assert str(caught.value) == refusal


@pytest.mark.parametrize("place", ["statistics", "by_sink"])
def test_histogram_without_a_count_for_each_bucket_is_refused(place: str) -> None:
    """A quantile of it would be one of nothing."""
    parsed = orjson.loads(answer(HEALTH, FULL))
    counted = parsed["statistics"] if place == "statistics" else parsed["statistics"]["by_sink"]["http"]
    counted["latency"]["send"]["counts"].pop()

    with pytest.raises(ValueError, match=r"^latency\.send must have one count more than bounds$"):
        parse_picture(orjson.dumps(parsed))


JUNK: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    1.5,
    1e308,
    "",
    "\x1b[2J\n\x07",
    [],
    [1],
    {},
    {"\x1b[31m": 1},
    {"a": {}},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # Any: JSON
    yield path
    if isinstance(value, dict):
        for name, part in value.items():
            yield from places(part, (*path, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def replaced(value: Any, path: tuple[Any, ...], junk: object) -> Any:  # Any: JSON
    if not path:
        return junk
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], junk)
    return copy


def test_one_odd_value_anywhere_is_refused_or_shown() -> None:
    """Each value of an answer in turn is replaced: there is a clear refusal, or a picture without a control code."""
    whole = orjson.loads(answer(HEALTH, FULL))
    before = parse_picture(answer(HEALTH, FULL))
    shown = refused = 0
    for path in places(whole):
        for junk in JUNK:
            body = orjson.dumps(replaced(whole, path, junk))
            try:
                picture = parse_picture(body)
            except ValueError:
                refused += 1
                continue
            view = TopView("http://there", "event" if "by_event" in path else "sink", 1.0, lambda: 5.0, lambda: NOW)
            view.take(before)
            told = "".join(view.take(picture)) + printed(view.frame())
            assert told.replace("\n", "").isprintable(), (path, junk)
            shown += 1

    assert shown > 100
    assert refused > 1000
