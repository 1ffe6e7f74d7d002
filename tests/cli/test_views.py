"""What terminals are shown, without a terminal."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console, RenderableType

from eventpipe.cli.collector import Collector
from eventpipe.cli.demo_report import DemoReport
from eventpipe.cli.demo_view import DemoView
from eventpipe.cli.fields import Fields
from eventpipe.cli.inputs import Input
from eventpipe.cli.producer import Producer
from eventpipe.cli.reconciliation import Reconciliation
from eventpipe.cli.rejects import Rejects
from eventpipe.cli.send import SendView
from eventpipe.cli.sending import Sending
from eventpipe.cli.serve import ServeView
from eventpipe.cli.verify import Checked
from eventpipe.cli.wires.base import Taken, accepted
from eventpipe.client import AsyncClient
from eventpipe.log.eventlog import EventLog
from eventpipe.sinks import MemorySink
from eventpipe.statistics import Statistics
from eventpipe.stores.memory import MemoryStore

DELIVERED = Statistics(captured=12, delivered=12)


def rendered(frame: RenderableType) -> dict[str, str]:
    """The rows of a frame by their names."""
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=True, color_system=None).print(frame)
    rows = (line.rstrip().partition("  ") for line in out.getvalue().splitlines())
    return {name.strip(): value.strip() for name, _, value in rows if name.strip()}


def test_serve_shows_counts_and_the_most_frequent_names() -> None:
    """All numbers, the formats, the ten most frequent names, the rest in one row, and the latest refusal."""
    collector = Collector(remember_ids=True)
    for number in range(12):
        events = [{"event": f"name {number:02}", "uuid": str(number)}] * (number + 1)
        collector._tally.take(Taken("segment" if number else "json", events, accepted(1)), 100)
    collector._tally.refuse(400, "no \x1b[31mJSON")

    rows = rendered(ServeView(collector).frame())

    assert rows["events"] == "78"
    assert rows["batches"] == "12"
    assert rows["received"] == "1.2 KiB"
    assert rows["duplicates"] == "66"
    assert rows["on purpose"] == "0 failed, 0 reset, 0 stalled"
    assert rows["last error"] == "400: no ?[31mJSON"
    assert (rows["segment"], rows["json"]) == ("77", "1")
    names = list(rows)[: list(rows).index("latest")]
    assert names[-11:] == [*(f"name {number:02}" for number in range(11, 1, -1)), "2 more"]
    assert rows["2 more"] == "3"


def test_serve_shows_no_names_before_the_first_event() -> None:
    """An idle collector shows its zeros alone, and has nothing to say in lines."""
    view = ServeView(Collector())

    assert "by name" not in rendered(view.frame())
    assert view.line() is None


def signed_up(number: int) -> dict[str, object]:
    return {"event": "signed_up", "distinct_id": f"u{number}", "properties": {"plan": "p" * 150}}


def test_serve_shows_the_last_five_events_on_a_row_each() -> None:
    """The newest first, whichever batch it came in, and cut where the terminal ends."""
    collector = Collector()
    for start in (0, 6):
        collector._tally.take(Taken("json", [signed_up(start + number) for number in range(6)], accepted(1)), 100)
    out = io.StringIO()

    Console(file=out, width=40, force_terminal=True, color_system=None).print(ServeView(collector).frame())

    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    latest = lines[lines.index("latest") + 1 :]
    assert [line.partition(" {")[0] for line in latest] == [f"signed_up u{number}" for number in (11, 10, 9, 8, 7)]
    assert all(len(line) == 40 and line.endswith("…") for line in latest)


def test_serve_prints_the_events_themselves_where_they_are_few() -> None:
    """Up to five since the last line stand above it, oldest first; of more, none does."""
    collector = Collector()
    view = ServeView(collector)
    printed = []
    for new in (2, 5, 6, 1):
        before = collector.events
        events = [{"event": "a", "distinct_id": f"u{before + number}"} for number in range(new)]
        collector._tally.requests += 1
        collector._tally.take(Taken("json", events, accepted(1)), 100)
        printed.append((view.line() or "").splitlines())

    assert printed[0][:-1] == ["a u0", "a u1"]
    assert printed[1][:-1] == ["a u2", "a u3", "a u4", "a u5", "a u6"]
    assert printed[2][:-1] == []
    assert printed[3][:-1] == ["a u13"]
    assert [lines[-1].partition(",")[0] for lines in printed] == [
        "2 events in 1 batch",
        "7 events in 2 batches",
        "13 events in 3 batches",
        "14 events in 4 batches",
    ]
    assert view.line() is None


@pytest.mark.asyncio
async def test_demo_shows_what_the_client_counts() -> None:
    """While it produces the time, afterwards that the rest is sent, and in the end that it is done."""
    async with AsyncClient(MemorySink()) as client:
        producer = Producer(client, 100)
        now = time.monotonic()
        await client.capture("a")
        during = rendered(DemoView(client, producer, now - 3.0, 10.0).frame())
        after = rendered(DemoView(client, producer, now - 12.0, 10.0).frame())
        await client.flush()
        done = rendered(DemoView(client, producer, now - 12.0, 10.0).frame())

    assert [rows["time"] for rows in (during, after, done)] == ["3 of 10 s", "12 s, sending the rest", "12 s, done"]
    assert (during["captured"], during["delivered"][0], done["delivered"][0]) == ("1", "0", "1")


@pytest.mark.parametrize(
    ("size", "read", "bar"),
    [(4096, "1.0 KiB of 4.0 KiB", "25 %"), (None, "1.0 KiB", ""), (0, "1.0 KiB of 0 B", "100 %")],
    ids=["known", "unknown", "empty"],
)
@pytest.mark.asyncio
async def test_send_shows_how_far_it_is(size: int | None, read: str, bar: str) -> None:
    """With files whose size is known a share, otherwise what was read."""
    inputs = [Input("in.ndjson", "ndjson", ",", size)]
    sending = Sending(inputs, Fields(), Rejects(None), lambda _line: None)
    sending.bytes_read = 1024
    client = AsyncClient(MemorySink())

    frame = SendView(sending, client, inputs, "http://[bold]host", time.monotonic()).frame()

    out = io.StringIO()
    Console(file=out, width=100, force_terminal=True, color_system=None).print(frame)
    assert "sending to http://[bold]host" in out.getvalue()
    assert rendered(frame)["read"] == read
    assert out.getvalue().splitlines()[1].rstrip().endswith(bar)


@pytest.mark.parametrize(
    ("statistics", "seen", "verdict"),
    [
        (DELIVERED, dict.fromkeys("abcdefghijkl", 1), "They agree, by event id: nothing was lost."),
        (DELIVERED, {}, "They do not agree."),
        (Statistics(captured=12, pending=12), {}, "They agree, by event id, and not every event arrived."),
    ],
    ids=["all well", "lost", "pending"],
)
@pytest.mark.asyncio
async def test_demo_ends_with_a_verdict(statistics: Statistics, seen: dict[str, int], verdict: str) -> None:
    """The last line says whether the two agree, and lost events are named."""
    found = Reconciliation.of(set("abcdefghijkl"), {}, statistics, seen)
    faults = {"stalls": 1, "failed": 2, "resets": 3, "events": 12}
    report = DemoReport.of(found, statistics, Producer(AsyncClient(MemorySink()), 1), faults, 2.0)

    lines = report.text()

    assert lines[-1] == verdict
    assert "on the way: 1 stall, 2 answers of 503, 3 resets; 0 retries" in lines
    assert ("lost:       a, b, c, d, e, f, g, h, i, j, …" in lines) is (not seen)
    assert report.as_json()["faults"] == {"stalls": 1, "failed": 2, "resets": 3}


@pytest.mark.asyncio
async def test_verify_shows_that_it_goes_on_within_a_topic() -> None:
    """Which topic it is at, how large that is, and for how long it has been at it."""
    async with EventLog(MemoryStore()) as log:
        await log.append_many("orders", ["paid", "refunded"])
        topics = await log.topics()
        checked = Checked(total=2, topic=topics[0], since=time.monotonic() - 3)
        before = shown(checked.frame())
        checked.since -= 1000
        after = shown(checked.frame())
        await checked.run(log, topics)

    assert re.search(r"^checking.* 0 % 0 damaged; 3\.\d s for 2 events of 'orders'$", before)
    assert re.search(r"; 16 m 4\d s for 2 events of 'orders'$", after)
    assert shown(checked.frame()).endswith(" 100 % 0 damaged")


def shown(frame: RenderableType) -> str:
    """A frame in one line, with single spaces."""
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=True, color_system=None).print(frame)
    return " ".join(out.getvalue().split())
