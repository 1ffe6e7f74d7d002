from __future__ import annotations

import asyncio
import errno
import gzip
import io
import stat
import time
import zlib
from io import FileIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from eventpipe.cli import collector as collector_module
from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Fail, Faults, Outage, Stall, VerdictShare
from eventpipe.cli.store import EventFile
from eventpipe.clock import Clock

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

EVENTS = [{"event": "signed_up", "distinct_id": "u1", "uuid": "a"}, {"event": "paid", "distinct_id": "u2", "uuid": "b"}]


async def post(url: str, body: bytes | list[Any], **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    names = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=names) as response:
        return response.status, orjson.loads(await response.read())


async def test_counts_what_arrives() -> None:
    """Events, batches, bytes and names are those that were sent; ids tell first comings from second ones."""
    async with Collector(remember_ids=True) as collector:
        first = await post(f"{collector.url}/collect", EVENTS)
        await post(collector.url, EVENTS[:1])

    statistics = collector.statistics()
    assert first == (200, {"status": "ok", "accepted": 2})
    assert (statistics.requests, statistics.batches, statistics.events) == (2, 2, 3)
    assert statistics.body_bytes == len(orjson.dumps(EVENTS)) + len(orjson.dumps(EVENTS[:1]))
    assert statistics.names == {"signed_up": 2, "paid": 1}
    assert (collector.events, collector.duplicates, dict(collector.ids)) == (3, 1, {"a": 2, "b": 1})


async def test_a_visitor_is_told_how_many_came_and_where_to_look() -> None:
    """Whoever opens the address in a browser; the visit itself is no request to be counted."""
    async with Collector() as collector, aiohttp.ClientSession() as session:
        await post(collector.url, EVENTS)
        async with session.get(collector.url) as response:
            status, text = response.status, await response.text()

    assert (status, text) == (
        200,
        "2 events so far; POST events to any path, GET /_eventpipe/statistics for the counters\n",
    )
    assert collector.statistics().requests == 1


async def test_posthog_is_answered_as_the_real_service_does() -> None:
    """Success is ``{"status": "Ok"}``; an error has a ``detail``, where PostHog's clients look for it."""
    async with Collector() as collector:
        good = await post(f"{collector.url}/batch/", orjson.dumps({"api_key": "k", "batch": EVENTS}))
        bad = await post(f"{collector.url}/batch/", orjson.dumps({"api_key": "k", "batch": [{"event": "a"}]}))
        flags = await post(f"{collector.url}/flags/?v=4", b"{}")

    assert good == (200, {"status": "Ok"})
    assert (bad[0], bad[1]["detail"]) == (400, "event 0 has no distinct_id")
    assert flags[1]["flags"] == {}
    assert (collector.events, collector.statistics().refused) == (2, 1)


async def test_a_question_for_flags_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused as any other body that is too large, with no error of the server's own."""
    monkeypatch.setattr(collector_module, "MAX_WIRE_BYTES", 1024)
    async with Collector() as collector:
        status, answer = await post(f"{collector.url}/flags/", b"x" * 1025)

    assert (status, answer) == (413, {"error": "the body is larger than 1024 bytes"})
    assert collector.statistics().refused == 1


@pytest.mark.parametrize(
    ("query", "headers", "body"),
    [
        ("", {"Content_Encoding": "gzip"}, gzip.compress(orjson.dumps(EVENTS))),
        ("", {"Content_Encoding": "deflate"}, zlib.compress(orjson.dumps(EVENTS))),
        ("?compression=gzip", {}, gzip.compress(orjson.dumps(EVENTS))),
    ],
    ids=["gzip", "deflate", "named in the query"],
)
async def test_compressed_bodies_are_read(query: str, headers: dict[str, str], body: bytes) -> None:
    """Compression may be named by header or, as PostHog's browsers do, by query."""
    async with Collector() as collector:
        status, _ = await post(f"{collector.url}/batch/{query}", body, **headers)

    assert (status, collector.events) == (200, 2)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{", 400),
        ({}, b'[{"event": "ok"}, {}]', 400),
        ({"Content_Type": "text/html"}, b"[]", 415),
        ({"Content_Encoding": "compress"}, b"[]", 415),
        ({"Content_Encoding": "gzip"}, gzip.compress(b" " * 60_000_000, 9), 413),
        ({}, b" " * (21 * 1024 * 1024), 413),
    ],
    ids=["no json", "one bad event", "type", "encoding", "bomb", "large"],
)
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_bad_request_counts_nothing(headers: dict[str, str], body: bytes, status: int) -> None:
    """A request that is refused is refused as a whole, with its status, and the collector lives on."""
    async with Collector() as collector:
        answer = await post(collector.url, body, **headers)
        after = await post(collector.url, EVENTS)

    assert (answer[0], after[0]) == (status, 200)
    assert (collector.events, collector.statistics().refused) == (2, 1)
    assert (collector.statistics().last_error or "").startswith(f"{status}: ")


async def test_store_appends_one_line_per_event(tmp_path: Path) -> None:
    """What was taken is in the file when the answer arrives, with the time it came; a second run appends."""
    directory = tmp_path / "made" / "here"
    for run in (1, 2):
        async with Collector(store=directory) as collector:
            await post(collector.url, EVENTS)
            lines = (directory / "events.ndjson").read_bytes().splitlines()
            assert len(lines) == 2 * run

    stored = [orjson.loads(line) for line in lines]
    assert [{key: line[key] for key in EVENTS[0]} for line in stored] == EVENTS * 2
    assert all(line["received_at"].endswith("Z") for line in stored)
    assert stat.S_IMODE((directory / "events.ndjson").stat().st_mode) == 0o600


async def test_store_that_fails_is_an_error_for_the_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that could not be stored were not taken: the sender is told, and nothing is counted."""

    def full(_file: EventFile, _events: object, _received_at: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(EventFile, "append", full)

    async with Collector(store=tmp_path) as collector:
        answer = await post(collector.url, EVENTS)

    assert answer == (500, {"error": "cannot store: No space left on device"})
    assert (collector.events, collector.statistics().refused) == (0, 1)


async def test_a_disk_that_fills_up_stores_a_request_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of a request that failed is taken back, and nothing is kept to be written later."""
    room = 40

    class FullFile(FileIO):
        def write(self, data: Any) -> int:
            nonlocal room
            if not room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = super().write(bytes(data[:room]))
            room -= written
            return written

    monkeypatch.setattr("eventpipe.cli.store.FileIO", FullFile)
    async with Collector(store=tmp_path) as collector:
        failed = [await post(collector.url, EVENTS) for _ in range(2)]
        size = (tmp_path / "events.ndjson").stat().st_size
        room = 1000
        answer = await post(collector.url, EVENTS[:1])

    assert [status for status, _ in failed] == [500, 500]
    assert size == 0
    assert answer == (200, {"status": "ok", "accepted": 1})
    (line,) = (tmp_path / "events.ndjson").read_bytes().splitlines()
    assert orjson.loads(line)["uuid"] == "a"
    assert (collector.events, collector.statistics().refused) == (1, 2)


async def test_an_event_too_deep_to_be_stored_is_refused(tmp_path: Path) -> None:
    """JSON may be read at a depth that it cannot be written at; sent again it would fail again."""
    deep = b'[{"event": "a"}, {"event": "a", "deep": ' + b"[" * 300 + b"]" * 300 + b"}]"
    async with Collector(store=tmp_path) as collector:
        status, answer = await post(collector.url, deep)

    assert (status, answer) == (400, {"error": "cannot store: Recursion limit reached"})
    assert (tmp_path / "events.ndjson").read_bytes() == b""
    assert collector.events == 0


async def test_reset_ends_the_connection_and_counts_no_event() -> None:
    """A reset request gets no answer, and its events cannot have been taken."""
    async with Collector(faults=Faults(reset=1.0)) as collector:
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(collector.url, EVENTS)

    assert (collector.events, collector.statistics().resets) == (0, 1)


async def test_failure_is_answered_and_counts_no_event() -> None:
    """A request that fails on purpose gets its status; none of its events counts."""
    async with Collector(faults=Faults(fail=Fail(503, 1.0))) as collector:
        status, answer = await post(collector.url, EVENTS)

    assert (status, answer) == (503, {"error": "failed on purpose"})
    assert (collector.events, collector.statistics().failed) == (0, 1)


V1 = {
    "Authorization": "Bearer k",
    "PostHog-Sdk-Info": "a/1",
    "PostHog-Attempt": "1",
    "PostHog-Request-Id": "01890a5d-ac96-774b-bcce-b302099a8059",
    "PostHog-Request-Timestamp": "2026-01-31T09:05:00Z",
}


@pytest.mark.parametrize(
    ("path", "content_type", "answer"),
    [
        (
            "/batch/",
            "application/json",
            b'"type":"validation_error","code":"invalid_payload","detail":"failed on purpose"',
        ),
        ("/i/v1/analytics/events", "application/json", b'"error":"service_unavailable","error_description":"failed on'),
        ("/v1/batch", "application/json", b'{"success":false,"code":"invalid_request","message":"failed on purpose"}'),
        ("/v1/logs", "application/json", b'{"code":14,"message":"failed on purpose"}'),
        ("/v1/logs", "application/x-protobuf", b"\x08\x0e\x12\x11failed on purpose"),
        ("/", "application/cloudevents+json", b'{"error":"failed on purpose"}'),
        ("/", "application/json", b'{"error":"failed on purpose"}'),
    ],
)
async def test_a_failure_on_purpose_is_in_the_words_of_the_format(path: str, content_type: str, answer: bytes) -> None:
    """A client meets the same answer as that of the real service in trouble, its content type included."""
    async with Collector(faults=Faults(fail=Fail(503, 1.0))) as collector, aiohttp.ClientSession() as session:
        headers = {"Content-Type": content_type}
        async with session.post(collector.url + path, data=b"{}", headers=headers) as response:
            body = await response.read()

    assert (response.status, answer in body) == (503, True)
    assert response.content_type == ("application/x-protobuf" if "protobuf" in content_type else "application/json")


async def test_a_larger_body_than_version_1_takes_is_refused_in_its_words() -> None:
    """10 MiB as it travels, where others take 20; the request's id is repeated."""
    async with Collector() as collector, aiohttp.ClientSession() as session:
        headers = {"Content-Type": "application/json", **V1}
        data = io.BytesIO(b" " * (10 * 1024 * 1024 + 1))
        async with session.post(f"{collector.url}/i/v1/analytics/events", data=data, headers=headers) as response:
            body = orjson.loads(await response.read())

    assert (response.status, body["error"]) == (413, "payload_too_large")
    assert response.headers["PostHog-Request-Id"] == V1["PostHog-Request-Id"]


async def test_verdicts_on_purpose_are_given() -> None:
    """Each event of a format that answers for each gets one; only what was taken counts, by its format."""
    faults = Faults(verdicts=[VerdictShare("drop", 1.0)])
    event = {"event": "a", "uuid": V1["PostHog-Request-Id"], "distinct_id": "u", "timestamp": "2026-01-31T09:05:00Z"}
    body = orjson.dumps({"created_at": "2026-01-31T09:05:00Z", "batch": [event]})
    async with Collector(faults=faults) as collector:
        headers = {name.replace("-", "_"): value for name, value in V1.items()}
        status, answer = await post(f"{collector.url}/i/v1/analytics/events", body, **headers)
        await post(collector.url, EVENTS)

    assert (status, answer["results"][event["uuid"]]["result"]) == (200, "drop")
    assert collector.statistics().formats == {"posthog-v1": 0, "json": 2}


async def test_a_signature_that_does_not_fit_is_refused_whatever_the_format() -> None:
    """In the words of the format; what has no signature is taken, unless it is a webhook."""
    async with Collector(webhook_secrets=["secret"]) as collector:
        signed = {"X_Hub_Signature_256": "sha256=00"}
        wrong = await post(f"{collector.url}/batch/", orjson.dumps({"api_key": "k", "batch": EVENTS}), **signed)
        unsigned = await post(collector.url, EVENTS)
        webhook = await post(collector.url, orjson.dumps({"type": "a", "data": {}}))

    assert (wrong[0], wrong[1]["code"]) == (401, "invalid_payload")
    assert (unsigned[0], webhook[0]) == (200, 401)
    assert (collector.events, collector.statistics().refused) == (2, 2)


class SteppedClock(Clock):
    """A clock that moves by one second per reading and notes how long it was asked to sleep."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        self.moment += 1.0
        return self.moment

    async def sleep(self, delay: float) -> None:
        self.slept.append(delay)


async def test_outage_ends() -> None:
    """Requests in the outage fail, those before and after it are served."""
    async with Collector(faults=Faults(outage=Outage(1.0, 2.0)), clock=SteppedClock()) as collector:
        statuses = [(await post(collector.url, EVENTS))[0] for _ in range(5)]

    assert statuses == [200, 503, 503, 200, 200]


async def test_a_stalled_request_is_read_at_once_and_answered_late() -> None:
    """The events count before the stall; only the answer waits."""
    clock = SteppedClock()
    async with Collector(faults=Faults(latency=0.5, stall=Stall(1.0, 5.0)), clock=clock) as collector:
        status, _ = await post(collector.url, EVENTS)

    assert (status, clock.slept, collector.statistics().stalls) == (200, [5.5], 1)


class WatchedClock(Clock):
    """Tells when somebody begins to sleep."""

    def __init__(self) -> None:
        self.sleeping = asyncio.Event()

    async def sleep(self, delay: float) -> None:
        self.sleeping.set()
        await super().sleep(delay)


async def test_closing_waits_for_no_stall() -> None:
    """A collector with a stalled request stops within a second, though the stall has an hour to go."""
    clock = WatchedClock()
    async with Collector(faults=Faults(stall=Stall(1.0, 3600.0)), clock=clock) as collector:
        sender = asyncio.create_task(post(collector.url, EVENTS))
        await clock.sleeping.wait()
        started = time.monotonic()

        await collector.aclose()

        assert time.monotonic() - started < 1.0
        with pytest.raises(aiohttp.ClientConnectionError):
            await sender


async def test_control_routes_tell_what_was_seen() -> None:
    """Another process can read the counters and every id with how often it came."""
    async with Collector(remember_ids=True) as collector, aiohttp.ClientSession() as session:
        for _ in range(2):
            await post(collector.url, EVENTS[:1])
        async with session.get(f"{collector.url}/_eventpipe/statistics") as response:
            statistics = orjson.loads(await response.read())
        async with session.get(f"{collector.url}/_eventpipe/ids") as response:
            ids = await response.text()

    assert (statistics["events"], statistics["duplicates"], statistics["names"]) == (2, 1, {"signed_up": 2})
    assert ids == "a 2\n"


async def test_names_are_counted_within_bounds() -> None:
    """A sender that makes a new name for each event does not fill the memory."""
    async with Collector() as collector:
        await post(collector.url, [{"event": f"name {number}"} for number in range(1500)])

    names = collector.statistics().names
    assert (len(names), names["(other)"]) == (1001, 500)
    assert collector.ids == {}


async def test_names_and_ids_are_kept_short_and_on_one_line() -> None:
    """A name is counted by its beginning, and an id that could pass for two in the list of ids is left out of it."""
    async with Collector(remember_ids=True) as collector:
        await post(collector.url, [{"event": "n" * 300, "uuid": "a"}, {"event": "n" * 400, "uuid": "b 1\nc"}])

    assert (collector.statistics().names, dict(collector.ids)) == ({"n" * 200: 2}, {"a": 1})


async def test_a_taken_port_is_an_error_that_leaves_nothing() -> None:
    """The second collector on one port raises ``OSError`` and can be closed; the first goes on."""
    async with Collector() as first:
        second = Collector(port=int(first.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        with pytest.raises(RuntimeError, match="not started"):
            second.url  # noqa: B018
        await second.aclose()

        assert (await post(first.url, EVENTS))[0] == 200
