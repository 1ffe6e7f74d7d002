"""The HTTP sink before a real server: what it sends, how it reads answers, where redirects lead, when it gives up."""

from __future__ import annotations

import asyncio
import gzip
import os
import pickle
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from freezegun import freeze_time

from eventpipe.clock import Clock
from eventpipe.codecs import JsonCodec, NdjsonCodec, PostHogV0
from eventpipe.codecs.base import library_version
from eventpipe.codecs.compression import Compression
from eventpipe.contracts import Codec, Request, Sink
from eventpipe.errors import ClosedError, PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch, make_event
from eventpipe.testing.exchange import Behaviour, Reply, gzip_bomb
from eventpipe.testing.server import Answer, ScriptedServer

URL = "https://collector.example/batch"
KIB = 1024

server_test = pytest.mark.wallclock


class ReadingCodec(JsonCodec):
    """Keeps what it was given to read, and answers as it was told."""

    def __init__(self, verdicts: Sequence[Verdict] | SinkError | None = None) -> None:
        super().__init__()
        self.verdicts = verdicts
        self.read: list[tuple[int, Mapping[str, str], bytes, bool]] = []

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        self.read.append((status, headers, body, complete))
        return self.verdicts


@asynccontextmanager
async def http_sink(server: ScriptedServer, codec: Codec | None = None, **options: Any) -> AsyncIterator[HttpSink]:
    sink = HttpSink(server.url, codec, **options)
    try:
        yield sink
    finally:
        await sink.aclose()


def large_batch(size: int = 3 * KIB) -> Batch:
    """One event of about ``size`` bytes that compress badly."""
    return make_batch([make_event(properties={"noise": os.urandom(size // 2).hex()})])


# What it is


def test_making_a_sink_needs_no_loop_and_opens_nothing() -> None:
    """The session is made at the first send; one that is never used has nothing to close."""
    sink: Sink = HttpSink(URL)

    asyncio.run(sink.aclose())
    asyncio.run(sink.aclose())


def test_it_tells_the_driver_what_the_codec_wants() -> None:
    """Name, limits, lifted properties; a lane function only where the codec has lanes."""
    codec = PostHogV0("phc_key")
    posthog, plain = HttpSink("https://eu.i.posthog.com", codec), HttpSink("http://127.0.0.1:8000/x")

    assert (posthog.name, plain.name) == ("eu.i.posthog.com", "127.0.0.1:8000")
    assert HttpSink(URL, name="audit").name == "audit"
    assert posthog.lifted == codec.lifted
    assert (posthog.max_event_bytes, posthog.max_batch_bytes) == (codec.max_event_bytes, codec.max_batch_bytes)
    assert posthog.lane is not None
    assert posthog.lane(make_event(lane="historical")) == "historical"
    assert plain.lane is None


def test_its_repr_has_no_secret() -> None:
    """Neither of the URL, nor of the headers, nor of the codec."""
    sink = HttpSink(
        "https://collector.example/SECRET?token=SECRET", PostHogV0("phc_SECRET"), headers={"Authorization": "SECRET"}
    )

    assert repr(sink) == ("HttpSink('https://collector.example/…', PostHogV0(historical=False, disable_geoip=True))")


@pytest.mark.parametrize("holder", [HttpSink(URL), JsonCodec(), PostHogV0("phc_SECRET")], ids=repr)
def test_what_may_hold_a_key_is_not_pickled(holder: object) -> None:
    """A pickle is a file or a message to somebody, with the key in it."""
    with pytest.raises(TypeError, match=r"may hold keys and is not pickled; make it where it is needed$"):
        pickle.dumps(holder)


def old_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    return context


def unchecked_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def nameless_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


async def async_where(event: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://h/SECRET"}, "url must begin with http:// or https://, not 'ftp://h/…'"),
        ({"url": "http://h/"}, "url must begin with https://"),
        ({"timeout": 0}, "timeout must be a finite number of seconds above 0, or None, not 0"),
        ({"timeout": -1.0}, "timeout must be a finite number of seconds above 0, or None, not -1.0"),
        ({"timeout": float("nan")}, "timeout must be a finite number of seconds above 0, or None, not nan"),
        ({"timeout": "10"}, "timeout must be a finite number of seconds above 0, or None, not '10'"),
        ({"connect_timeout": 0}, "connect_timeout must be a finite number of seconds above 0, or None, not 0"),
        ({"connect_timeout": float("inf")}, "connect_timeout must be a finite number of seconds above 0"),
        (
            {"compression": "brotli"},
            "compression must be one of 'gzip', 'deflate', 'br', 'zstd' or None, not 'brotli'",
        ),
        ({"name": " "}, "name must be a string that is not blank, or None, not ' '"),
        ({"where": async_where}, "where must be a plain function or None, not "),
        ({"headers": ["SECRET"]}, "headers must be a mapping of strings to strings or None, not list"),
        ({"headers": 1}, "headers must be a mapping of strings to strings or None, not int"),
        ({"headers": {"": "x"}}, "headers must have names of letters, digits and "),
        ({"headers": {"X Y": "x"}}, "headers must have names of letters, digits and "),
        ({"headers": {"X\r\nY": "x"}}, "headers must have names of letters, digits and "),
        ({"headers": {"X:": "x"}}, "headers must have names of letters, digits and "),
        ({"headers": {1: "x"}}, "headers must have names of letters, digits and "),
        ({"headers": {"Content-Length": "1"}}, "headers must not have 'Content-Length': the sink writes that one"),
        ({"headers": {"content-encoding": "br"}}, "headers must not have 'content-encoding': the sink writes that one"),
        (
            {"headers": {"X": "SECRET\r\nY: z"}},
            "headers['X'] must be a string of printable ASCII (its value is not shown)",
        ),
        ({"headers": {"X": "SECRET\n"}}, "headers['X'] must be a string of printable ASCII (its value is not shown)"),
        ({"headers": {"X": "SECRETé"}}, "headers['X'] must be a string of printable ASCII (its value is not shown)"),
        (
            {"headers": {"X": "SECRET\ud800"}},
            "headers['X'] must be a string of printable ASCII (its value is not shown)",
        ),
        ({"headers": {"X": b"SECRET"}}, "headers['X'] must be a string of printable ASCII (its value is not shown)"),
        ({"session": "SECRET"}, "session must be an aiohttp.ClientSession or None, not str"),
        ({"ssl": True}, "ssl must be an ssl.SSLContext or None, not bool"),
        ({"ssl": old_tls()}, "ssl.minimum_version must be TLSv1_2 or newer, not MINIMUM_SUPPORTED"),
        (
            {"ssl": unchecked_tls()},
            "ssl.verify_mode must be CERT_REQUIRED (or pass allow_insecure=True), not CERT_NONE",
        ),
        ({"url": "http://collector.example", "allow_insecure": "no"}, "allow_insecure must be True or False, not 'no'"),
        ({"ssl": nameless_tls()}, "ssl.check_hostname must be True (or pass allow_insecure=True), not False"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_option_is_refused_when_the_sink_is_made(options: dict[str, Any], message: str) -> None:
    """The message names the option, the value and the rule, and no secret."""
    with pytest.raises(ValueError, match=r"^\w+[\w.\[\]']* must ") as caught:
        HttpSink(**{"url": URL, **options})

    assert str(caught.value).startswith(message)
    assert "SECRET" not in str(caught.value)


def test_none_means_the_default() -> None:
    """For timeouts ten and three seconds, for the rest nothing."""
    HttpSink(URL, None, timeout=None, connect_timeout=None, compression=None, headers=None, ssl=None, where=None)


def test_what_is_insecure_can_be_allowed() -> None:
    """For tests and for networks that are secure by other means."""
    HttpSink("http://collector.example", allow_insecure=True)
    HttpSink(URL, ssl=unchecked_tls(), allow_insecure=True)


# What it sends


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("codec", [JsonCodec(), NdjsonCodec(), PostHogV0("phc_key")], ids=repr)
async def test_a_batch_arrives_once_whole_and_in_order(codec: Codec) -> None:
    """One POST; what the far end reads is what was captured."""
    batch = make_batch(200)
    async with ScriptedServer() as server, http_sink(server, codec) as sink:
        assert await sink.send(batch) is None

        [request] = server.requests
        assert request.method == "POST"
        assert request.uuids == [event.uuid for event in batch.events]
        assert [event["event"] for event in request.events] == [f"e{n}" for n in range(200)]


@server_test
@pytest.mark.asyncio
async def test_a_request_has_these_headers_and_no_others() -> None:
    """What it is, who sends it, and that the answer should come uncompressed."""
    async with ScriptedServer() as server, http_sink(server) as sink:
        await sink.send(make_batch(1))
        await sink.send(make_batch(50))

        small, large = server.requests
        assert small.headers == {
            "host": server.url.removeprefix("http://"),
            "user-agent": f"eventpipe/{library_version()}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "content-length": str(len(small.raw)),
        }
        assert large.headers == {**small.headers, "content-encoding": "gzip", "content-length": str(len(large.raw))}
        assert small.path == large.path == "/"


@server_test
@pytest.mark.asyncio
async def test_the_callers_headers_win() -> None:
    """Over those of the sink and of the codec, whatever their case; the mapping is read once."""
    headers = {"X-Key": "k", "user-agent": "mine/1", "CONTENT-TYPE": "application/vnd.mine+json"}
    async with ScriptedServer() as server, http_sink(server, headers=headers) as sink:
        headers["X-Key"] = "changed"
        await sink.send(make_batch())

        sent = server.requests[0].headers
        assert (sent["x-key"], sent["user-agent"], sent["content-type"]) == ("k", "mine/1", "application/vnd.mine+json")


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize(("compression", "wrapped"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
async def test_a_repeated_attempt_sends_the_same_bytes(compression: Compression, wrapped: Any) -> None:
    """Compressed again, the same batch is byte-identical."""
    batch = large_batch()
    async with ScriptedServer(503) as server, http_sink(server, compression=compression) as sink:
        with pytest.raises(TransientSinkError):
            await sink.send(batch)
        batch.attempt = 2
        await sink.send(batch)

        first, second = server.requests
        assert first.raw == second.raw
        assert wrapped(first.raw) == JsonCodec().request(batch, 1, 0.0).body
        assert first.headers["content-encoding"] == compression


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "size", [3 * KIB, 300 * KIB, 3 * KIB * KIB], ids=["small", "in a thread", "above a file's size"]
)
@pytest.mark.parametrize("compression", ["gzip", None], ids=str)
async def test_bodies_of_every_size_arrive(size: int, compression: Compression | None) -> None:
    """From one packet to megabytes, compressed or not."""
    batch = large_batch(size)
    async with ScriptedServer() as server, http_sink(server, compression=compression) as sink:
        await sink.send(batch)

        assert server.requests[0].body == JsonCodec().request(batch, 1, 0.0).body
        assert ("content-encoding" in server.requests[0].headers) is (compression is not None)


@server_test
@pytest.mark.asyncio
async def test_the_codecs_path_goes_after_the_sinks() -> None:
    """PostHog behind a prefix."""
    async with ScriptedServer() as server:
        sink = HttpSink(f"{server.url}/ingest", PostHogV0("phc_key"))
        await sink.send(make_batch())
        await sink.aclose()

        assert server.requests[0].path == "/ingest/batch/"


@server_test
@pytest.mark.asyncio
async def test_each_attempt_is_stamped_anew_and_the_events_never() -> None:
    """What the far end gets in a second attempt: a new ``sent_at``, the same events."""
    async with ScriptedServer(503) as server, http_sink(server, PostHogV0("phc_key")) as sink:
        with freeze_time("2026-03-01T12:00:00Z", real_asyncio=True) as frozen:
            batch = make_batch([make_event(timestamp=Clock().time())])
            with pytest.raises(TransientSinkError):
                await sink.send(batch)
            frozen.tick(61)
            batch.attempt = 2
            await sink.send(batch)

        first, second = (request.json for request in server.requests)
        assert (first["sent_at"], second["sent_at"]) == ("2026-03-01T12:00:00.000000Z", "2026-03-01T12:01:01.000000Z")
        assert first["batch"] == second["batch"]
        assert second["batch"][0]["timestamp"] == "2026-03-01T12:00:00.000000Z"


@server_test
@pytest.mark.asyncio
async def test_the_codec_is_told_the_attempt_and_the_wall_clock() -> None:
    """Counted from 1, also for a batch that nobody counted."""
    told: list[tuple[int, float]] = []

    class Telling(JsonCodec):
        def request(self, batch: Batch, attempt: int, now: float) -> Request:
            told.append((attempt, now))
            return super().request(batch, attempt, now)

    class Noon(Clock):
        def time(self) -> float:
            return 43_200.0

    async with ScriptedServer() as server, http_sink(server, Telling(), clock=Noon()) as sink:
        for attempt in (0, 1, 7):
            await sink.send(make_batch(attempt=attempt))

    assert told == [(1, 43_200.0), (1, 43_200.0), (7, 43_200.0)]


@server_test
@pytest.mark.asyncio
async def test_headers_that_a_codec_writes_anew_are_sent_anew() -> None:
    """Per attempt, compressed or not."""

    class Counting(JsonCodec):
        def request(self, batch: Batch, attempt: int, now: float) -> Request:
            return Request("", {"Attempt": str(attempt)}, super().request(batch, attempt, now).body)

    async with ScriptedServer() as server, http_sink(server, Counting()) as sink:
        for attempt in range(1, 5):
            await sink.send(make_batch(1 if attempt % 2 else 50, attempt=attempt))

        assert [request.headers["attempt"] for request in server.requests] == ["1", "2", "3", "4"]


@server_test
@pytest.mark.asyncio
async def test_sends_at_once_do_not_mix() -> None:
    """Fifty batches, each with its own answer: the odd ones are refused."""

    def refuse_odd(request: Any) -> Answer:
        return Reply(200 + 200 * (int(request.events[0]["event"]) % 2), latency=0.01)

    async with ScriptedServer(default=refuse_odd) as server, http_sink(server) as sink:
        batches = [make_batch([make_event(str(n))] * 3) for n in range(50)]

        ends = await asyncio.gather(*(sink.send(batch) for batch in batches), return_exceptions=True)

        assert [isinstance(end, PermanentSinkError) for end in ends] == [n % 2 == 1 for n in range(50)]
        assert sorted(server.uuids) == sorted(event.uuid for batch in batches[::2] for event in batch.events)


# How it reads answers


@server_test
@pytest.mark.asyncio
async def test_the_codec_reads_status_headers_and_body() -> None:
    """Names of headers in lower case, the body as it came."""
    codec = ReadingCodec()
    reply = Reply(207, {"X-One": "1", "RETRY-AFTER": "3"}, b'{"ok":1}')
    async with ScriptedServer(reply) as server, http_sink(server, codec) as sink:
        await sink.send(make_batch())

    assert codec.read == [
        (207, {"x-one": "1", "retry-after": "3", "content-length": "8"}, b'{"ok":1}', True),
    ]


@server_test
@pytest.mark.asyncio
async def test_verdicts_are_handed_on_and_errors_raised() -> None:
    """What the codec makes of an answer is what the driver gets."""
    verdicts = [DELIVERED, Verdict(OutcomeKind.DROPPED)]
    error = PermanentSinkError(scope="event")
    async with ScriptedServer() as server:
        async with http_sink(server, ReadingCodec(verdicts)) as sink:
            assert await sink.send(make_batch(2)) is verdicts
        async with http_sink(server, ReadingCodec(error)) as sink:
            with pytest.raises(PermanentSinkError) as caught:
                await sink.send(make_batch(2))

    assert caught.value is error


def enough_for(behaviour: Behaviour) -> float:
    """Seconds in which the status comes, however busy the machine is; a body without an end takes them all."""
    return 1 if behaviour in ("stall_body", "drip_body") else 30


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("behaviour", ["reset_body", "short_body", "stall_body", "drip_body"])
async def test_a_2xx_whose_body_breaks_is_an_answer_with_half_a_body(behaviour: Behaviour) -> None:
    """The far end has decided; the codec is told that the body is not complete, and the connection is cut."""
    codec = ReadingCodec()
    reply = Reply(body=b"x" * 2_000, behaviour=behaviour)
    async with ScriptedServer(reply) as server, http_sink(server, codec, timeout=enough_for(behaviour)) as sink:
        assert await sink.send(make_batch()) is None

        [(status, _, body, complete)] = codec.read
        assert (status, complete) == (200, False)
        assert len(body) < 2_000
        await server.disconnected()


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("behaviour", ["short_body", "stall_body", "reset_body"])
async def test_the_status_decides_even_if_the_body_breaks(behaviour: Behaviour) -> None:
    """A 503 is a 503, with its Retry-After, however its body ends."""
    reply = Reply(503, {"Retry-After": "9"}, b"busy" * 100, behaviour=behaviour)
    async with ScriptedServer(reply) as server, http_sink(server, timeout=enough_for(behaviour)) as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

    assert (caught.value.reason, caught.value.retry_after) == ("status_503", 9.0)


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("size", "read", "complete"),
    [(64 * KIB, 64 * KIB, True), (64 * KIB + 1, 64 * KIB, False), (10_000 * KIB, 64 * KIB, False)],
    ids=["at the bound", "above", "far above"],
)
async def test_at_most_64_kib_of_an_answer_are_read(size: int, read: int, complete: bool) -> None:
    """The rest is not waited for: the connection is cut, and the next batch gets a new one."""
    codec = ReadingCodec()
    async with ScriptedServer(Reply(body=b"x" * size)) as server, http_sink(server, codec) as sink:
        await sink.send(make_batch())
        await sink.send(make_batch())

        assert (len(codec.read[0][2]), codec.read[0][3]) == (read, complete)
        assert [request.connection for request in server.requests] == [1, 1 if complete else 2]


@server_test
@pytest.mark.asyncio
async def test_a_compressed_answer_is_not_inflated() -> None:
    """64 KiB that would become 64 MiB stay what they are, and cost no memory."""
    codec, bomb = ReadingCodec(), gzip_bomb(64)
    async with ScriptedServer(bomb) as server, http_sink(server, codec) as sink:
        tracemalloc.start()
        try:
            await sink.send(make_batch())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert codec.read[0][2] == bomb.body[: 64 * KIB]
        assert peak < 2 * KIB * KIB


# Where redirects lead


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("location", ["/moved/", "{url}/moved/"], ids=["path", "address"])
async def test_a_redirect_within_the_origin_keeps_method_body_and_headers(status: int, location: str) -> None:
    """The far end moved a path; the same request goes there within the same attempt."""
    async with ScriptedServer() as server, http_sink(server, headers={"X-Key": "k"}) as sink:
        server.script(Reply(status, {"Location": location.format(url=server.url)}, b"moved"))
        batch = make_batch(50)

        assert await sink.send(batch) is None

        first, second = server.requests
        assert (second.method, second.path, second.raw, second.headers) == (
            "POST",
            "/moved/",
            first.raw,
            first.headers,
        )
        assert second.connection == first.connection


@server_test
@pytest.mark.asyncio
async def test_five_redirects_are_followed_and_a_sixth_is_not() -> None:
    """A circle ends, and says that the configuration is wrong."""
    again = Reply(307, {"Location": "/again"})
    async with ScriptedServer(*[again] * 5) as server, http_sink(server) as sink:
        assert await sink.send(make_batch()) is None
        assert len(server.requests) == 6

        server.default = again
        with pytest.raises(PermanentSinkError, match="redirects more than 5 times") as caught:
            await sink.send(make_batch())
        assert (caught.value.scope, caught.value.reason, caught.value.status) == ("sink", "misconfigured", 307)
        assert len(server.requests) == 12


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nothing_is_sent_to_another_origin(status: int) -> None:
    """Neither the batch nor the key: another port is another origin."""
    async with ScriptedServer() as elsewhere, ScriptedServer() as server:
        server.default = Reply(status, {"Location": f"{elsewhere.url}/"})
        async with http_sink(server, headers={"Authorization": "SECRET"}) as sink:
            with pytest.raises(PermanentSinkError) as caught:
                await sink.send(make_batch())

        assert (caught.value.scope, caught.value.reason, caught.value.status) == ("sink", "misconfigured", status)
        assert (len(server.requests), elsewhere.requests) == (1, [])


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304])
async def test_a_redirect_that_changes_the_method_is_not_followed(status: int) -> None:
    """Not even within the origin: a GET would lose the batch and look like a success."""
    async with ScriptedServer(Reply(status, {"Location": "/"})) as server, http_sink(server) as sink:
        with pytest.raises(PermanentSinkError) as caught:
            await sink.send(make_batch())

        assert (caught.value.scope, len(server.requests)) == ("sink", 1)


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "headers", [{}, {"Location": ""}, {"Location": "https://[/"}], ids=["none", "empty", "garbage"]
)
async def test_a_redirect_to_nowhere_is_a_wrong_configuration(headers: dict[str, str]) -> None:
    """A Location that is missing or unreadable."""
    async with ScriptedServer(Reply(307, headers)) as server, http_sink(server) as sink:
        with pytest.raises(PermanentSinkError) as caught:
            await sink.send(make_batch())

        assert (caught.value.scope, caught.value.status) == ("sink", 307)


# When it gives up


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize("answer", ["hang", Reply(body=b"x" * 900, behaviour="drip"), Reply(latency=60)], ids=str)
async def test_an_attempt_ends_at_its_timeout(answer: Answer) -> None:
    """A far end that is silent, drips its headers, or takes its time; the connection is cut."""
    async with ScriptedServer(answer) as server, http_sink(server, timeout=0.1) as sink:
        started = asyncio.get_running_loop().time()
        with pytest.raises(TransientSinkError, match=r"^no answer within 0.1 s$") as caught:
            await sink.send(make_batch())
        elapsed = asyncio.get_running_loop().time() - started

        assert (caught.value.reason, caught.value.status) == ("timeout", None)
        assert 0.1 <= elapsed < 0.35
        if answer == "hang":
            await server.disconnected()


@server_test
@pytest.mark.asyncio
async def test_the_timeout_covers_all_redirects() -> None:
    """One deadline for the whole attempt, not one per request: five hops would take 0.6 s."""
    hop = Reply(307, {"Location": "/next"}, latency=0.1)
    async with ScriptedServer(default=hop) as server, http_sink(server, timeout=0.25) as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

        assert caught.value.reason == "timeout"
        assert len(server.requests) <= 3


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("location", "expected"),
    [("/next", ("timeout", None)), ("https://elsewhere.example/", (DropReason.MISCONFIGURED, 307))],
    ids=["within the origin", "elsewhere"],
)
async def test_a_redirect_whose_body_never_ends_has_decided_nothing(
    location: str, expected: tuple[str, int | None]
) -> None:
    """It could not be followed in time, so the batch goes again; one that would not be followed is as wrong as ever."""

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 307 Moved\r\nLocation: {location}\r\nContent-Length: 9\r\n\r\n".encode())
        await reader.read()  # until the connection is cut
        writer.close()

    far_end = await asyncio.start_server(redirect, "127.0.0.1")
    port = far_end.sockets[0].getsockname()[1]
    sink = HttpSink(f"http://127.0.0.1:{port}/batch", timeout=1)
    with pytest.raises(SinkError) as caught:
        await sink.send(make_batch())
    await sink.aclose()
    far_end.close()

    assert (caught.value.reason, caught.value.status) == expected


@server_test
@pytest.mark.asyncio
async def test_a_mute_far_end_with_a_large_body_ends_at_the_timeout_too() -> None:
    """A far end that never reads: the unsent rest is thrown away with the connection, not kept for it."""
    async with ScriptedServer(mute=True) as server, http_sink(server, compression=None, timeout=0.2) as sink:
        batch = large_batch(16 * KIB * KIB)
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(batch)

        assert caught.value.reason == "timeout"


@server_test
@pytest.mark.asyncio
async def test_an_outer_deadline_is_not_taken_for_the_sinks_own() -> None:
    """Who set it gets ``TimeoutError``; inside, the send was cancelled."""
    async with ScriptedServer("hang") as server, http_sink(server) as sink:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sink.send(make_batch())

        await server.disconnected()


@server_test
@pytest.mark.asyncio
async def test_errors_show_neither_key_nor_payload_nor_address() -> None:
    """Not even where the far end sends them back, in whatever place."""
    sink_options = {"headers": {"Authorization": "SECRET"}, "timeout": 0.1}
    answers: list[Answer] = [
        Reply(400, {"X-Echo": "SECRET"}, b"SECRET"),
        Reply(503, {"Retry-After": "SECRET"}, b"SECRET"),
        Reply(307, {"Location": "https://SECRET.example/SECRET"}),
        Reply(200, {"Content-Length": "SECRET"}, b"SECRET"),
        "garbage",
        "hang",
        "close",
    ]
    async with ScriptedServer(*answers) as server:
        sink = HttpSink(f"{server.url}/SECRET?k=SECRET", PostHogV0("phc_SECRET"), **sink_options)  # type: ignore[arg-type]
        texts = []
        for _ in answers:
            with pytest.raises(SinkError) as caught:
                await sink.send(make_batch([make_event("SECRET")]))
            texts.append(f"{caught.value!r} {caught.value.__cause__!r}")
        await sink.aclose()

    assert len(texts) == len(answers)
    assert not [text for text in texts if "SECRET" in text]


# How it ends


@server_test
@pytest.mark.asyncio
async def test_after_aclose_nothing_is_sent() -> None:
    """``ClosedError``, twice over; and a second ``aclose`` is nothing more."""
    async with ScriptedServer() as server, http_sink(server) as sink:
        await sink.send(make_batch())
        await sink.aclose()
        await sink.aclose()

        assert server.connections == 1
        for _ in range(2):
            with pytest.raises(ClosedError):
                await sink.send(make_batch())
        await server.disconnected()
        assert len(server.requests) == 1


@server_test
@pytest.mark.asyncio
async def test_aclose_ends_a_send_that_is_under_way() -> None:
    """It meets a network error; a mute far end holds up neither."""
    async with ScriptedServer("hang") as server, http_sink(server) as sink:
        sending = asyncio.create_task(sink.send(make_batch()))
        await server.reached(1)

        async with asyncio.timeout(0.5):
            await sink.aclose()
            with pytest.raises(TransientSinkError) as caught:
                await sending

        assert caught.value.reason == "network"
        await server.disconnected()
