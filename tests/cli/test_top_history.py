from __future__ import annotations

import pytest

from eventpipe.cli.top_history import MAX_PROCESSES, History
from eventpipe.cli.top_picture import Picture
from eventpipe.measures import Histogram, Latencies
from eventpipe.statistics import Statistics
from tests.cli.pictures import histogram, latencies, picture


def at(uptime: float, delivered: int = 0, *, pid: int = 7, send: dict[float, int] | None = None) -> Picture:
    counted = Statistics(captured=delivered, delivered=delivered, latency=latencies(send or {}, {}))
    return picture(statistics=counted, pid=pid, uptime=uptime)


def delivered(picture: Picture) -> int:
    return picture.statistics.delivered


def send(picture: Picture) -> Histogram:
    return picture.statistics.latency.send


def test_nothing_is_known_of_the_speed_before_the_second_picture() -> None:
    """One picture has totals alone; its histograms are those since the start."""
    history = History()
    assert (history.latest, history.rate(delivered), history.span) == (None, None, None)
    assert history.latency(send) == Histogram()

    news = history.take(at(50.0, 100, send={0.02: 100}))

    assert (news, history.rate(delivered), history.span) == (None, None, None)
    assert history.latency(send) == histogram({0.02: 100})


def test_rate_is_that_of_the_last_two_seconds() -> None:
    """Seconds are those of the process itself, so that a slow answer changes nothing."""
    history = History()
    for uptime, number in ((10.0, 0), (11.0, 1000), (12.0, 1010), (13.0, 1020)):
        history.take(at(uptime, number))

    assert history.rate(delivered) == 10.0


def test_rate_of_rare_pictures_is_that_between_the_last_two() -> None:
    """With a long interval there is no picture two seconds ago."""
    history = History()
    for uptime, number in ((10.0, 0), (40.0, 3000), (70.0, 3030)):
        history.take(at(uptime, number))

    assert (history.rate(delivered), history.span) == (1.0, 30.0)


def test_latencies_are_those_of_the_last_ten_seconds() -> None:
    """What was slow a minute ago is no part of them."""
    history = History()
    for second in range(61):
        history.take(at(100.0 + second, send={5.0: min(second, 50), 0.02: max(0, second - 50)}))

    assert history.span == 10.0
    assert history.latency(send).counts == histogram({0.02: 10}).counts


def test_histogram_of_other_buckets_is_taken_whole() -> None:
    """Two of different buckets have no difference."""
    history = History()
    other = Histogram((1.0,), (3, 0), 3, 1.0)
    history.take(at(1.0, send={0.02: 2}))
    history.take(picture(statistics=Statistics(latency=Latencies(send=other)), uptime=2.0))

    assert history.latency(send) == other


def test_short_interval_does_not_fill_the_memory() -> None:
    """Of ten pictures a second some are kept, and they reach ten seconds back all the same."""
    history = History()
    for tick in range(1000):
        history.take(at(tick / 10, tick))

    [kept] = history._kept.values()
    assert len(kept) < 30
    assert history.span == pytest.approx(10.0, abs=1.0)
    assert history.rate(delivered) == pytest.approx(10.0)


def test_same_picture_again_changes_nothing() -> None:
    """What a cache answers is no second picture: no time went by in it."""
    history = History()
    for _ in range(3):
        history.take(at(5.0, 10))

    assert (history.rate(delivered), history.span) == (None, None)


@pytest.mark.parametrize(
    ("later", "news"),
    [
        (at(2.0, 120), "began anew, and so do the counts: pid 7, up 2 s"),
        (at(60.0, 3), "began anew, and so do the counts: pid 7, up 60 s"),
        (at(3.0, 5, pid=8), "another process answers, and the counts begin anew: pid 8 in place of 7"),
    ],
    ids=["same pid, as in a container", "another client in the process", "other pid"],
)
def test_restart_is_told_and_counted_anew(later: Picture, news: str) -> None:
    """Its counters are not compared with those of before: there is no negative rate."""
    history = History()
    history.take(at(50.0, 100))
    history.take(at(51.0, 110))

    assert history.take(later) == news
    assert (history.rate(delivered), history.span) == (None, None)

    uptime = later.process.uptime + 1.0
    assert history.take(at(uptime, later.statistics.delivered + 20, pid=later.process.pid)) is None
    assert history.rate(delivered) == 20.0


def test_several_processes_behind_one_address_are_told_once() -> None:
    """Each is compared with itself alone."""
    history = History()
    news = [history.take(at(10.0 + tick, 1000 * (tick % 2) + tick, pid=1 + tick % 2)) for tick in range(6)]

    assert news == [
        None,
        "another process answers, and the counts begin anew: pid 2 in place of 1",
        "several processes answer here in turn: each picture is of one of them",
        None,
        None,
        None,
    ]
    assert history.rate(delivered) == 1.0


def test_number_of_remembered_processes_is_bounded() -> None:
    """An address that shows another process each time costs no more than a few."""
    history = History()
    for pid in range(1000):
        history.take(at(10.0, pid=pid))

    assert len(history._kept) <= MAX_PROCESSES
