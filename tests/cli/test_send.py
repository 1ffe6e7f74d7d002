from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Faults, Outage, Stall
from eventpipe.cli.wires.base import Answer, Asked, RefusedError, Wire
from eventpipe.cli.wires.coding import inflate
from eventpipe.log.eventlog import EventLog
from eventpipe.stores.sqlite import SqliteStore
from tests.cli.process import Ended, command, run

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


def ndjson(path: Path, events: Sequence[dict[str, Any]]) -> str:
    path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    return str(path)


def numbered(number: int, **more: object) -> list[dict[str, Any]]:
    return [{"event": "e", "distinct_id": f"u{n}", "n": n, **more} for n in range(number)]


def objects(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def report(ended: Ended) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(ended.stdout)
    return parsed


@pytest.mark.parametrize("codec", ["json", "ndjson", "posthog"])
async def test_every_line_arrives_once(codec: str, tmp_path: Path) -> None:
    """Each codec carries each line of a file to the collector, and the report says so."""
    path = ndjson(tmp_path / "in.ndjson", numbered(1234))

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        ended = await run("send", path, "--to", collector.url, "--codec", codec, "--api-key", "k")

    arrived = objects(tmp_path / "events.ndjson")
    assert ended.code == 0
    assert ended.stdout.startswith("1,234 of 1,234 lines delivered in ")
    assert sorted(event["properties"]["n"] for event in arrived) == list(range(1234))
    assert {(event["event"], event["distinct_id"]) for event in arrived} == {("e", f"u{n}") for n in range(1234)}
    assert (len(collector.ids), collector.duplicates) == (1234, 0)


async def test_what_a_log_exported_arrives_as_it_was(tmp_path: Path) -> None:
    """Every part of an event, and nothing of its place in the log."""
    path = tmp_path / "log.db"
    async with EventLog(SqliteStore(path)) as log:
        await log.append("orders", "paid", distinct_id="u1", properties={"n": 1}, headers={"trace": "t"}, key="k1")
        await log.append("orders", "left")
    exported = await run("export", str(path), "orders")
    (tmp_path / "in.ndjson").write_text(exported.stdout)

    async with Collector(store=tmp_path) as collector:
        ended = await run("send", str(tmp_path / "in.ndjson"), "--to", collector.url, "--codec", "ndjson", "--json")

    assert report(ended)["delivered"] == 2
    place = {"offset", "appended_at"}
    assert [
        {name: value for name, value in event.items() if name != "received_at"}
        for event in objects(tmp_path / "events.ndjson")
    ] == [
        {name: value for name, value in orjson.loads(line).items() if name not in place}
        for line in exported.stdout.splitlines()
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
async def test_a_file_whose_name_is_no_text_is_sent_as_others_are(tmp_path: Path) -> None:
    """The report and the rejects write the name with a question mark for what is not text."""
    path = ndjson(tmp_path / os.fsdecode(b"in\xff.ndjson"), [*numbered(1), {}])
    rejects = tmp_path / os.fsdecode(b"out\xff.ndjson")

    async with Collector() as collector:
        ended = await run("send", path, "--to", collector.url, "--json", "--rejects", str(rejects))

    said = report(ended)
    assert (said["lines"], said["delivered"], said["malformed"]) == (2, 1, 1)
    assert said["rejects_file"] == f"{tmp_path}/out?.ndjson"
    (reject,) = objects(rejects)
    assert (reject["file"], reject["line"], reject["text"]) == (f"{tmp_path}/in?.ndjson", 2, "{}")


async def test_files_of_every_format_are_sent_in_one_run(tmp_path: Path) -> None:
    """NDJSON, CSV, tab-separated and plain text, each by its suffix, with named fields and a name for the nameless."""
    first = ndjson(tmp_path / "a.jsonl", [{"action": "one", "who": 1, "at": "2026-01-31T09:05:00Z", "x": [1]}])
    (tmp_path / "b.csv").write_text("action,who,at,x\ntwo,u2,1769850300,y\n")
    (tmp_path / "c.tsv").write_text("action\twho\tx\nthree\tu3\ta,b\n")
    (tmp_path / "d.log").write_text("installed d\n")
    mapping = ["--event-field", "action", "--distinct-id-field", "who", "--timestamp-field", "at", "--event", "four"]

    async with Collector(store=tmp_path) as collector:
        files = [first, *(str(tmp_path / name) for name in ("b.csv", "c.tsv", "d.log"))]
        ended = await run("send", *files, "--to", collector.url, "--json", *mapping)

    arrived = [(e["event"], e["distinct_id"], e["properties"]) for e in objects(tmp_path / "events.ndjson")]
    assert (ended.code, report(ended)["delivered"]) == (0, 4)
    assert sorted(arrived, key=lambda event: str(event[0])) == [
        ("four", None, {"line": "installed d"}),
        ("one", "1", {"x": [1]}),
        ("three", "u3", {"x": "a,b"}),
        ("two", "u2", {"x": "y"}),
    ]
    stamps = {e["event"]: e["timestamp"] for e in objects(tmp_path / "events.ndjson")}
    assert stamps["one"] == stamps["two"] == "2026-01-31T09:05:00.000000Z"


async def test_what_was_stored_can_be_sent_again(tmp_path: Path) -> None:
    """Events in our own form keep id, name, person, time and properties on their way through a file."""
    original = {
        "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
        "event": "paid",
        "distinct_id": "u1",
        "timestamp": "2026-01-31T09:05:00.123456Z",
        "properties": {"sum": 5, "event": "inner"},
    }
    path = ndjson(tmp_path / "in.ndjson", [original])

    async with Collector(store=tmp_path) as collector:
        ended = await run("send", path, "--to", collector.url)

    [arrived] = objects(tmp_path / "events.ndjson")
    assert ended.code == 0
    assert {key: arrived[key] for key in original} == original


async def test_standard_input_is_read(tmp_path: Path) -> None:
    """``-`` reads NDJSON, or what ``--format`` says."""
    async with Collector(store=tmp_path) as collector:
        first = await run("send", "-", "--to", collector.url, "--json", stdin=b'{"event": "a"}\n{"event": "b"}')
        second = await run("send", "-", "--to", collector.url, "--json", "--format", "csv", stdin=b"event,n\nc,1\n")

    assert [report(first)["delivered"], report(second)["delivered"]] == [2, 1]
    assert {event["event"] for event in objects(tmp_path / "events.ndjson")} == {"a", "b", "c"}


async def test_a_slow_pipe_is_sent_as_it_comes() -> None:
    """What a pipe has brought is delivered while its writer is still there."""
    async with Collector() as collector, command("send", "-", "--to", collector.url) as sending:
        await sending.write(b'{"event": "a"}\n')
        async with asyncio.timeout(20):
            while not collector.events:  # noqa: ASYNC110 - another process makes it happen
                await asyncio.sleep(0.01)
        await sending.write(b'{"event": "b"}\n')
        ended = await sending.end()

    assert (ended.code, collector.events) == (0, 2)


async def test_malformed_lines_are_told_and_the_others_go(tmp_path: Path) -> None:
    """Each bad line is named with its number and why, written to the rejects, and costs the exit code only."""
    path = tmp_path / "in.ndjson"
    path.write_bytes(b'{"event": "a"}\n{oops\n{"event": ""}\n\n{"event": "b"}\n')

    async with Collector() as collector:
        ended = await run(
            "send", str(path), "--to", collector.url, "--rejects", str(tmp_path / "rejects.ndjson"), "--json"
        )

    rejects = objects(tmp_path / "rejects.ndjson")
    found = report(ended)
    assert (ended.code, collector.events) == (1, 2)
    assert (found["lines"], found["delivered"], found["malformed"], found["dropped"]) == (4, 2, 2, 0)
    assert ended.stderr.splitlines() == [
        f"{path}:2: not JSON: unexpected character, expected a string key: line 1 column 2 (char 1)",
        f"{path}:3: no event name: 'event' is missing or empty",
    ]
    assert [(reject["line"], reject["reason"], reject["text"]) for reject in rejects] == [
        (2, "malformed", "{oops"),
        (3, "malformed", '{"event": ""}'),
    ]


async def test_a_file_of_the_wrong_format_fills_no_screen(tmp_path: Path) -> None:
    """Of many malformed lines twenty are told, all are counted."""
    (tmp_path / "in.ndjson").write_text("plain\n" * 100)

    async with Collector() as collector:
        ended = await run("send", str(tmp_path / "in.ndjson"), "--to", collector.url, "--json")

    assert (ended.code, report(ended)["malformed"]) == (1, 100)
    assert len(ended.stderr.splitlines()) == 21
    assert ended.stderr.splitlines()[-1] == "more malformed lines are counted, and no longer shown"


class RefusesPoison(Collector):
    """Answers 400 to every request that holds a poisonous event."""

    def _take(self, wire: Wire, asked: Asked, body: bytes) -> Answer:
        if b'"poison"' in inflate(body, asked.encoding):
            raise RefusedError(400, "poison")
        return super()._take(wire, asked, body)


async def test_dropped_lines_are_rejects_with_their_reason(tmp_path: Path) -> None:
    """Exactly the lines that the far end refused are written, as they were; their neighbours arrive."""
    events = [{"event": "poison" if n in (7, 250) else "good", "n": n} for n in range(300)]
    path = ndjson(tmp_path / "in.ndjson", events)

    async with RefusesPoison(store=tmp_path) as collector:
        ended = await run("send", path, "--to", collector.url, "--rejects", str(tmp_path / "rejects.ndjson"))

    rejects = objects(tmp_path / "rejects.ndjson")
    arrived = {event["properties"]["n"] for event in objects(tmp_path / "events.ndjson")}
    assert ended.code == 1
    assert {(reject["line"], reject["reason"]) for reject in rejects} == {(8, "rejected"), (251, "rejected")}
    assert {reject["text"] for reject in rejects} == {orjson.dumps(events[n]).decode() for n in (7, 250)}
    assert arrived == set(range(300)) - {7, 250}
    assert ended.stdout.splitlines()[1:] == [
        "2 dropped: 2 rejected",
        f"2 lines that did not arrive: {tmp_path / 'rejects.ndjson'}",
    ]


class Unauthorized(Collector):
    """Knows nobody's key."""

    def _take(self, wire: Wire, asked: Asked, body: bytes) -> Answer:
        raise RefusedError(401, "who are you")


async def test_a_hopeless_answer_ends_it_early(tmp_path: Path) -> None:
    """When the far end refuses the key, the rest of the file is not read, and the report says where it stopped."""
    path = ndjson(tmp_path / "in.ndjson", numbered(50_000))

    async with Unauthorized() as collector:
        ended = await run("send", path, "--to", collector.url, "--json")

    found = report(ended)
    assert (ended.code, found["delivered"]) == (1, 0)
    assert found["stopped"].startswith("the far end answered 401 Unauthorized")
    assert found["stopped_at"] == [path, found["lines"]]
    assert 0 < found["lines"] < 50_000
    assert found["dropped"] == found["lines"]


async def test_failures_on_the_way_are_retried(tmp_path: Path) -> None:
    """Answers of 503 cost retries, and no line."""
    path = ndjson(tmp_path / "in.ndjson", numbered(1000))

    async with Collector(faults=Faults(outage=Outage(0.0, 0.2)), remember_ids=True) as collector:
        ended = await run("send", path, "--to", collector.url, "--json")

    found = report(ended)
    assert (ended.code, found["delivered"], len(collector.ids), collector.duplicates) == (0, 1000, 1000, 0)
    assert found["retries"] >= 2


async def test_interrupted_sends_what_was_read_and_says_what_is_left() -> None:
    """After Ctrl-C nothing more is read, what was read arrives, and the report names the last line."""
    async with Collector() as collector, command("send", "-", "--to", collector.url) as sending:
        await sending.write(b'{"event": "a"}\n{"event": "b"}\n')
        async with asyncio.timeout(20):
            while not collector.events:  # noqa: ASYNC110 - another process makes it happen
                await asyncio.sleep(0.01)
        sending.signal(signal.SIGINT)
        ended = await sending.end(stdin=None)

    assert (ended.code, collector.events) == (1, 2)
    assert ended.stdout.splitlines()[0].startswith("2 of 2 lines delivered in ")
    assert ended.stdout.splitlines()[1:] == ["stopped: interrupted", "left: everything after standard input:2"]
    assert "stopping: sending what was read, for at most 15 s; once more to give up at once" in ended.stderr


@pytest.mark.parametrize(("drain", "signals"), [("0.5s", 1), ("1h", 2)], ids=["deadline", "twice"])
async def test_interrupted_with_a_silent_far_end_ends_in_time(drain: str, signals: int, tmp_path: Path) -> None:
    """Draining ends at its deadline, or at once at the second Ctrl-C; every line is accounted for by then."""
    path = ndjson(tmp_path / "in.ndjson", numbered(1500))
    rejects = tmp_path / "rejects.ndjson"

    async with (
        Collector(faults=Faults(stall=Stall(1.0, 3600.0))) as collector,
        command("send", path, "--to", collector.url, "--drain", drain, "--rejects", str(rejects), "--json") as sending,
    ):
        async with asyncio.timeout(20):
            while collector.events < 1500:  # noqa: ASYNC110 - another process makes it happen
                await asyncio.sleep(0.01)
        sending.signal(signal.SIGINT)
        started = time.monotonic()
        if signals == 2:
            await sending.error_line()
            sending.signal(signal.SIGINT)
        ended = await sending.end()
        elapsed = time.monotonic() - started

    found = report(ended)
    assert (ended.code, found["lines"], found["delivered"], found["dropped"]) == (1, 1500, 0, 1500)
    assert found["stopped"] == "interrupted"
    assert sorted(reject["line"] for reject in objects(rejects)) == list(range(1, 1501))
    assert elapsed < 5.0


async def test_memory_stays_flat(tmp_path: Path) -> None:
    """A file four times as long needs no more memory, with a far end so slow that the queue is full for both."""
    short = ndjson(tmp_path / "short.ndjson", numbered(15_000, pad="x" * 200))
    long = ndjson(tmp_path / "long.ndjson", numbered(60_000, pad="x" * 200))
    peaks = []

    async with Collector(faults=Faults(latency=0.5)) as collector:
        for path in (short, long):
            async with command("send", path, "--to", collector.url, "--json") as sending:
                watching = asyncio.create_task(peak_of(sending.pid))
                ended = await sending.end()
                peaks.append(await watching)
            assert ended.code == 0

    assert collector.events == 75_000
    assert peaks[1] - peaks[0] < 10 * 1024 * 1024


async def peak_of(pid: int) -> int:
    """The highest resident size of a process until it ends, in bytes."""
    peak = 0
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.02)
    except psutil.NoSuchProcess:
        pass
    return peak


async def test_a_file_that_cannot_be_read_does_not_undo_those_before_it(tmp_path: Path) -> None:
    """What was read before is delivered and reported; the report says what ended it."""
    first = ndjson(tmp_path / "in.ndjson", numbered(10))
    second = tmp_path / "in.csv"
    second.write_text("name\nx\n")

    async with Collector() as collector:
        ended = await run("send", first, str(second), "--to", collector.url)

    lines = ended.stdout.splitlines()
    assert (ended.code, collector.events) == (1, 10)
    assert lines[0].startswith("10 of 10 lines delivered in ")
    assert lines[1].startswith(f"stopped: {second} has no column 'event'; name the right one with --event-field")
    assert lines[2] == f"left: everything after {first}:10"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_rejects_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    """A full disk costs the file of rejects, not the report."""
    (tmp_path / "in.ndjson").write_text("{oops\n" + '{"event": "a"}\n')

    async with Collector() as collector:
        ended = await run(
            "send", str(tmp_path / "in.ndjson"), "--to", collector.url, "--rejects", "/dev/full", "--json"
        )

    found = report(ended)
    assert (ended.code, found["delivered"], found["malformed"]) == (1, 1, 1)
    assert found["stopped"] == "cannot write /dev/full: no space left on device"


async def test_the_key_may_come_from_the_environment(tmp_path: Path) -> None:
    """A key in EVENTPIPE_API_KEY is used, and shown nowhere."""
    path = ndjson(tmp_path / "in.ndjson", numbered(1))

    async with Collector() as collector:
        ended = await run(
            *("send", path, "--to", collector.url, "--codec", "posthog", "--debug"),
            environment={"EVENTPIPE_API_KEY": "phc_secret"},
        )

    assert (ended.code, collector.events) == (0, 1)
    assert "phc_secret" not in ended.stdout + ended.stderr
