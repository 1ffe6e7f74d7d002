from __future__ import annotations

from typing import Literal

from eventpipe.cli.top_view import TopView
from eventpipe.core.service import ServiceState
from eventpipe.health import Health
from eventpipe.measures import Rate, Rates
from eventpipe.statistics import EventCounts, HighWater, Statistics
from tests.cli.pictures import NOW, latencies, picture, printed, sink

HEALTH = Health(
    is_open=True,
    pressure=0.3,
    last_success=NOW - 3.0,
    paused=("hooks",),
    sinks={
        "collector": sink(pressure=0.3, last_success=NOW - 3.0),
        "hooks": sink(pressure=0.1, paused={"": 12.0}),
    },
)
COUNTED = Statistics(
    captured=12_345,
    delivered=12_000,
    dropped=45,
    dropped_by_reason={"queue_full": 40, "expired": 5},
    pending=300,
    queued=200,
    in_flight=60,
    waiting_retry=40,
    attempts=340,
    retries=12,
    retried=600,
    by_sink={
        "collector": Statistics(latency=latencies({0.02: 100}, {0.2: 100})),
        "hooks": Statistics(dropped=5, dropped_by_reason={"expired": 5}),
    },
    rates=Rates(Rate(118.0, 119.0, 120.0), Rate(0.0, 0.5, 1.0), Rate(6.0, 6.0, 6.0)),
    latency=latencies({0.02: 100}, {0.2: 100}),
    high_water=HighWater(held=5000, held_bytes=1_258_291, in_flight=500, waiting_retry=300),
)
FIRST = """\
http://there:8000/…  pid 7, up 3 m 20 s, eventpipe 1.2.3
ready
pending       300  [QQQQQQQQFFRR............................] 30 %
              Q 200 queued, B 0 buffered, F 60 in flight, R 40 to retry
last success  3.0 s ago
most at once  5,000 held (1.2 MiB), 500 in flight, 300 to retry
retries       12 of 340 attempts
dropped       40 queue_full, 5 expired

events        in all  now  last 1 s   10 s   60 s
captured      12,345    -         -      -      -
delivered     12,000    -     118/s  119/s  120/s
dropped           45    -       0/s  0.5/s  1.0/s
retried          600    -     6.0/s  6.0/s  6.0/s

since start   events     p50     p90     p99
queue            100  175 ms  235 ms  248 ms
send             100   18 ms   24 ms   25 ms
delivery         100  175 ms  235 ms  248 ms

sink            state  full  last success  send p50/p99  delivery p50/p99
collector     running  30 %     3.0 s ago   18 ms/25 ms     175 ms/248 ms
hooks          paused  10 %         never             -                 -
hooks         paused: 12.0 s left; dropped 5 expired
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_view(by: Literal["sink", "event"] = "sink") -> tuple[TopView, Clock]:
    clock = Clock()
    return TopView("http://there:8000/…", by, 1.0, clock, lambda: NOW + 50.0), clock


def test_terminal_of_80_by_24_shows_the_whole_picture() -> None:
    """State, where pending events are, totals and rates, latencies, and each sink with what troubles it."""
    view, _ = make_view()

    view.take(picture(HEALTH, COUNTED, uptime=200.0))

    lines = printed(view.frame(), width=80).splitlines()
    assert lines == FIRST.splitlines()
    assert len(lines) <= 24


def test_what_is_on_disk_is_told_where_there_is_a_spool() -> None:
    """In the picture and in the line; without one there is nothing to tell."""
    view, _ = make_view()
    on_disk = {"spooled": 1_200, "recovered": 30}
    counted = Statistics(**{name: getattr(COUNTED, name) for name in COUNTED.__slots__} | on_disk)
    [line] = view.take(picture(HEALTH, counted, uptime=200.0))

    lines = printed(view.frame(), width=80).splitlines()
    assert "on disk       1,200 spooled; 30 recovered from earlier" in lines
    assert ", 1,200 on disk, 30 % full, " in line


def test_line_says_the_same() -> None:
    """Without a terminal a picture is one line; the speeds come with the second."""
    view, clock = make_view()
    [first] = view.take(picture(HEALTH, COUNTED, uptime=200.0))
    clock.now += 2.0
    later = Statistics(**{name: getattr(COUNTED, name) for name in COUNTED.__slots__} | {"captured": 12_545})
    [second] = view.take(picture(HEALTH, later, uptime=202.0, now=NOW + 2.0))

    assert first == (
        "ready, 12,345 captured, 12,000 delivered, 45 dropped (40 queue_full, 5 expired), "
        "300 pending (200 queued, 60 in flight, 40 to retry), 30 % full, 12 retries, last success 3.0 s ago, "
        "send 18 ms/25 ms, delivery 175 ms/248 ms, hooks paused: 12.0 s left"
    )
    assert second.startswith("ready, 12,545 captured (100/s), 12,000 delivered (0/s), ")
    assert "last success 5.0 s ago, send -, delivery -" in second


def test_reason_not_to_be_ready_is_shown_first() -> None:
    """With the services that crashed, and where."""
    view, _ = make_view()
    crashed = Health(
        is_open=True,
        crashed=("eventpipe-collector",),
        sinks={"collector": sink(ServiceState.FAILED, error="KeyError at sink.py:12")},
    )

    [line] = view.take(picture(crashed))
    shown = printed(view.frame()).splitlines()

    assert line.startswith("not ready: crashed: eventpipe-collector, 0 captured, ")
    assert shown[1] == "not ready: crashed: eventpipe-collector"
    assert shown[-1].split("  ")[-1].strip() == "crashed: KeyError at sink.py:12"
    assert " failed " in shown[-2]


def test_clock_of_the_far_side_says_how_long_ago() -> None:
    """Its machine and ours may differ by minutes; between two pictures time goes on."""
    view, clock = make_view()
    view.take(picture(Health(is_open=True, last_success=NOW - 3.0), now=NOW))
    clock.now += 2.0
    assert "last success  5.0 s ago" in printed(view.frame())

    view.take(picture(Health(is_open=True, last_success=NOW - 3.0), uptime=102.0, now=None))
    assert "last success  53.0 s ago" in printed(view.frame())


def test_silence_is_told_with_its_length() -> None:
    """The last picture stays, with its age; the first answer ends it."""
    view, clock = make_view()
    assert printed(view.frame()) == "http://there:8000/…\nwaiting for an answer\n"
    assert view.miss("cannot reach there: connection refused", clock.now) == [
        "no answer: cannot reach there: connection refused; trying again"
    ]
    assert printed(view.frame()).splitlines()[1] == "no answer: cannot reach there: connection refused; trying again"

    view.take(picture())
    assert (view.silence, view.silent_for) == (None, 0.0)

    asked = clock.now = clock.now + 1.0
    clock.now += 5.0
    assert view.miss("there did not answer within 5 s", asked) == [
        "no answer for 5.0 s: there did not answer within 5 s; trying again"
    ]
    clock.now += 2.0
    view.miss("there \x1b[2Jhung up", clock.now)
    assert view.silent_for == 7.0
    assert printed(view.frame(), width=120).splitlines()[1] == (
        "no answer for 7.0 s: there ?[2Jhung up; trying again; what follows is 8.0 s old"
    )


def test_picture_that_grows_old_is_marked() -> None:
    """While an answer is awaited for longer than usual, nobody takes the numbers for those of now."""
    view, clock = make_view()
    view.take(picture())
    clock.now += 3.0
    assert printed(view.frame()).splitlines()[1] == "ready"

    clock.now += 0.5
    assert printed(view.frame()).splitlines()[1] == "no answer yet; what follows is 3.5 s old"


def test_restart_is_noted_for_a_minute() -> None:
    """On a terminal below the facts, in lines before the picture."""
    view, clock = make_view()
    view.take(picture(pid=7))
    clock.now += 1.0
    news, line = view.take(picture(pid=8, uptime=0.5))
    assert news == "another process answers, and the counts begin anew: pid 8 in place of 7"
    assert line.startswith("ready, ")

    clock.now += 5.0
    assert f"note          {news} (5.0 s ago)" in printed(view.frame(), width=120)
    clock.now += 60.0
    assert "note" not in printed(view.frame())


def test_names_of_events_are_shown_where_they_are_told() -> None:
    """The most frequent first, the rest in one row; an endpoint that tells none is named."""
    view, clock = make_view("event")
    view.take(picture())
    assert printed(view.frame()).splitlines()[-1] == (
        "no names of events: HealthEndpoint(client, event_names=True) tells them"
    )

    by_event = {f"name {number:02}": EventCounts(number, 1, 2) for number in range(1, 13)}
    view.take(picture(statistics=Statistics(by_event=by_event), uptime=101.0))
    clock.now += 1.0
    by_event["name 12"] = EventCounts(32, 1, 2)
    view.take(picture(statistics=Statistics(by_event=by_event), uptime=102.0))

    rows = printed(view.frame()).splitlines()[-12:]
    assert rows[0].split() == ["event", "now", "delivered", "dropped", "retried"]
    assert rows[1].split() == ["name", "12", "16/s", "32", "1", "2"]
    assert rows[10].split() == ["name", "03", "1.5/s", "3", "1", "2"]
    assert rows[11].split() == ["2", "more", "3", "2", "4"]


def test_sinks_beyond_a_screen_are_counted() -> None:
    """A client of many sinks does not push the rest off the terminal."""
    view, _ = make_view()
    sinks = {f"sink {number}": sink(paused={"": 1.0}) for number in range(13)}

    [line] = view.take(picture(Health(is_open=True, sinks=sinks)))

    assert line.endswith(
        "sink 0 paused: 1.0 s left, sink 1 paused: 1.0 s left, sink 2 paused: 1.0 s left, 10 more paused"
    )
    assert printed(view.frame()).splitlines()[-1] == "3 more        not shown"


def test_hooks_that_raise_are_counted() -> None:
    """An error in a callback of the user's is nowhere else to be seen."""
    view, _ = make_view()

    view.take(picture(statistics=Statistics(hook_errors=2)))

    assert "hooks         2 errors" in printed(view.frame())
