"""``eventpipe doctor`` at far ends that are real servers on loopback: each check finds what is there, and in time."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import orjson
import pytest
import trustme

from eventpipe.cli import doctor_far_end
from eventpipe.cli.collector import Collector
from eventpipe.cli.doctor import DoctorOptions
from eventpipe.cli.doctor_report import Finding, Status
from eventpipe.testing import Reply, ScriptedServer
from eventpipe.testing.exchange import Behaviour
from tests.cli.process import run
from tests.cli.terminal import terminal

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
KEY = "phc_not_to_be_seen"
BEHAVIOURS: dict[Behaviour, str] = {
    "close": "it closed the connection",
    "garbage": "what it sent is not HTTP",
    "reset": "Connection reset by peer",
}
OK, WARNING, FAILED, UNKNOWN = Status.OK, Status.WARNING, Status.FAILED, Status.UNKNOWN


def serving(
    authority: trustme.CA = AUTHORITY, host: str = "127.0.0.1", **validity: datetime.datetime
) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host, **validity).configure_cert(context)  # type: ignore[arg-type]  # dates, by their names
    return context


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine knows one authority more."""

    def context(ssl_: object, *, is_needed: bool, **_: object) -> ssl.SSLContext | None:
        assert ssl_ is None
        trusting = ssl.create_default_context()
        AUTHORITY.configure_trust(trusting)
        return trusting if is_needed else None

    monkeypatch.setattr(doctor_far_end, "check_tls", context)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def found_at(url: str, options: DoctorOptions | None = None) -> dict[str, Finding]:
    """What the checks at a far end find, by check."""
    far_end = (options or DoctorOptions(timeout="20s")).far_end(url)
    assert far_end is not None
    findings = [finding async for finding in far_end.check()]
    assert len({finding.check for finding in findings}) == len(findings)
    assert all(KEY not in finding.found + finding.advice for finding in findings)
    return {finding.check: finding for finding in findings}


def statuses(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: str(finding.status) for name, finding in findings.items()}


def dated(seconds: float, status: int = 200) -> Reply:
    """An answer of a far end whose clock is so much ahead."""
    return Reply(status, {"Date": formatdate(time.time() + seconds, usegmt=True)})


async def test_all_is_well_by_https() -> None:
    """A far end by its name and by TLS: version, days left, status, clock."""
    async with ScriptedServer(
        default=lambda _: dated(0, 405), ssl=serving(host="localhost", not_after=NOW + 40 * DAY)
    ) as server:
        found = await found_at(server.url.replace("127.0.0.1", "localhost"))

    assert statuses(found) == {
        "address": "ok",
        "name": "ok",
        "connection": "ok",
        "tls": "ok",
        "http": "ok",
        "clock": "ok",
        "key": "not checked",
    }
    assert found["name"].found.startswith("localhost is ")
    assert found["tls"].found == "TLSv1.3, a valid certificate that expires in 39 days"
    assert found["http"].found.startswith("it answers HEAD with 405 in ")
    assert found["key"].advice.startswith("--send-test-event sends one event named eventpipe_doctor")
    assert {request.method for request in server.requests} == {"HEAD"}


@pytest.mark.parametrize(
    ("tls", "words", "advice"),
    [
        (
            lambda: serving(not_before=NOW - 9 * DAY, not_after=NOW - DAY),
            "the certificate is refused: certificate has expired",
            "renew it there, or set this machine's clock if that is ahead",
        ),
        (
            lambda: serving(not_before=NOW + DAY, not_after=NOW + 9 * DAY),
            "the certificate is refused: certificate is not yet valid",
            "set this machine's clock if that is behind",
        ),
        (
            lambda: serving(STRANGER),
            "the certificate is refused: unable to get local issuer certificate",
            "give SSL_CERT_FILE the authority's certificate, or HttpSink an ssl= that knows it",
        ),
        (
            lambda: serving(host="other.example"),
            "the certificate is refused: IP address mismatch, certificate is not valid for '127.0.0.1'",
            "use a name that the certificate is for, or have one made for this name",
        ),
    ],
    ids=["expired", "not yet", "stranger", "other host"],
)
async def test_certificate_that_cannot_be_trusted_is_told(
    tls: Callable[[], ssl.SSLContext], words: str, advice: str
) -> None:
    """What is wrong with it and what to do; nothing is asked over it, and no key is sent."""
    async with ScriptedServer(ssl=tls()) as server:
        found = await found_at(server.url, DoctorOptions(api_key=KEY, send_test_event=True))

    assert (found["tls"].status, found["tls"].found, found["tls"].advice) == (FAILED, words, advice)
    assert {found[name].status for name in ("http", "clock", "key", "test event")} == {UNKNOWN}
    assert found["http"].found == "there is nothing to look at before tls is mended"
    assert server.requests == []


async def test_certificate_that_ends_soon_is_a_warning() -> None:
    """Two weeks before."""
    async with ScriptedServer(ssl=serving(not_after=NOW + 13 * DAY)) as server:
        found = await found_at(server.url)

    assert (found["tls"].status, found["http"].status) == (WARNING, OK)
    assert found["tls"].found.endswith("expires in 12 days")


async def test_https_at_a_port_of_plain_http_is_told() -> None:
    """In the words of TLS."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        found = await found_at(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert found["tls"].status is FAILED
    assert found["tls"].found in (
        "no TLS with 127.0.0.1: wrong version number",
        "no TLS with 127.0.0.1: record layer failure",
    )


async def test_mute_far_end_costs_its_time_and_no_more(silent: int) -> None:
    """It takes connections: HTTP and TLS are overdue, each after the time that it had."""
    started = time.monotonic()
    plain = await found_at(f"http://127.0.0.1:{silent}", DoctorOptions(timeout="1s"))
    secure = await found_at(f"https://127.0.0.1:{silent}", DoctorOptions(timeout="1s"))
    took = time.monotonic() - started

    assert (plain["connection"].status, plain["http"].found) == (OK, "no answer within 1 s")
    assert (secure["connection"].status, secure["tls"].found) == (OK, "no answer within 1 s")
    assert statuses(plain)["clock"] == statuses(plain)["key"] == statuses(secure)["http"] == "not checked"
    assert 2 <= took < 6


async def test_nobody_there() -> None:
    """A port that is closed."""
    port = closed_port()

    found = await found_at(f"http://127.0.0.1:{port}")

    assert found["connection"] == Finding(
        "connection",
        FAILED,
        f"nobody can be reached at port {port} (127.0.0.1: connection refused)",
        "check the port, that the far end runs, and firewalls on the way",
        found["connection"].seconds,
    )
    assert statuses(found)["http"] == "not checked"


async def test_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a resolver that does not answer: the check ends, and nobody waits for its thread."""
    released = threading.Event()

    def refuse(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    def fail(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    def hang(*_: object, **__: object) -> object:
        released.wait(20)
        return []

    told = []
    for resolver, timeout in ((refuse, "20s"), (fail, "20s"), (hang, "100ms")):
        monkeypatch.setattr("eventpipe.cli.doctor_probe.socket.getaddrinfo", resolver)
        found = await found_at("https://collector.example", DoctorOptions(timeout=timeout))
        told.append((found["name"].status, found["name"].found))
        assert {finding.status for name, finding in found.items() if name not in ("address", "name")} == {UNKNOWN}
    released.set()

    assert told == [
        (FAILED, "there is no host collector.example"),
        (FAILED, "no name server said what collector.example is"),
        (FAILED, "no answer within 0.1 s"),
    ]


async def test_one_address_of_two_that_is_dead_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The living one is asked."""
    async with ScriptedServer() as server:
        port = int(server.url.rpartition(":")[2])
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.9", "127.0.0.1")]
        monkeypatch.setattr("eventpipe.cli.doctor_probe.socket.getaddrinfo", lambda *_, **__: both)
        found = await found_at(f"http://localhost:{port}")

    assert found["connection"].status is WARNING
    assert "but not 127.0.0.9: connection refused" in found["connection"].found
    assert found["http"].status is OK


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [
        (0, OK, "within 1 s of the far end's"),
        (3, OK, "within 3 s of the far end's"),
        (60, WARNING, "behind the far end's"),
        (-60, WARNING, "ahead of the far end's"),
        (3600, FAILED, "behind the far end's: signed webhooks are refused"),
        (-3600, FAILED, "ahead of the far end's: signed webhooks are refused"),
    ],
    ids=str,
)
async def test_clock_that_is_off_is_told(ahead: float, status: Status, words: str) -> None:
    """By the Date header: a warning above five seconds, a failure above five minutes."""
    async with ScriptedServer(default=lambda _: dated(ahead)) as server:
        found = await found_at(server.url)

    assert found["clock"].status is status
    assert found["clock"].found.endswith(words)


async def test_far_end_that_hangs_up_or_speaks_something_else() -> None:
    """In words, without a part of what it said."""
    told = []
    for behaviour in BEHAVIOURS:
        async with ScriptedServer(default=behaviour) as server:
            told.append((await found_at(server.url))["http"])

    assert [one.status for one in told] == [FAILED] * 3
    assert [one.found for one in told] == [f"the far end gave no answer: {words}" for words in BEHAVIOURS.values()]


async def test_status_of_the_answer_is_judged() -> None:
    """Trouble is a warning, a redirect to elsewhere too; what a HEAD may get anywhere is not."""
    replies = (
        Reply(503),
        Reply(501),
        Reply(301, {"Location": "https://other.example/secret?token=1"}),
        Reply(307, {"Location": "/further"}),
        Reply(429),
    )
    async with ScriptedServer(*(reply for reply in replies for _ in range(2))) as server:
        found = [(await found_at(server.url))["http"] for _ in replies]

    assert [one.status for one in found] == [WARNING, OK, WARNING, OK, WARNING]
    assert found[2].found.endswith("a redirect to https://other.example/…")


@pytest.mark.parametrize("codec", ["posthog", "posthog-v1"])
@pytest.mark.parametrize(
    ("reply", "status"), [(200, OK), (401, FAILED), (404, UNKNOWN), (503, UNKNOWN), (400, WARNING)], ids=str
)
async def test_key_of_posthog_is_looked_up_without_an_event(codec: str, reply: int, status: Status) -> None:
    """By the address for flags, which is asked to evaluate none."""
    async with ScriptedServer(200, default=reply) as server:
        found = await found_at(server.url, DoctorOptions(codec=codec, api_key=KEY))  # type: ignore[arg-type]

    assert found["key"].status is status
    [head, asked] = server.requests
    assert (head.method, head.raw) == ("HEAD", b"")
    assert (asked.method, asked.path) == ("POST", "/flags/?v=2")
    assert orjson.loads(asked.raw) == {"api_key": KEY, "distinct_id": "eventpipe_doctor", "disable_flags": True}


@pytest.mark.parametrize(
    ("codec", "path", "body"),
    [
        ("otlp", "/v1/logs", b""),
        ("otlp-json", "/v1/logs", b"{}"),
        ("cloudevents", "/", b"[]"),
        ("segment", "/v1/batch", b'{"batch":[]}'),
    ],
)
async def test_key_is_asked_for_with_a_batch_of_no_events(codec: str, path: str, body: bytes) -> None:
    """Taken, refused, and nobody there for it."""
    told = []
    for reply in (200, 403, 404):
        async with ScriptedServer(200, default=reply) as server:
            found = await found_at(server.url, DoctorOptions(codec=codec, api_key=KEY, source="/shop"))  # type: ignore[arg-type]
        asked = server.requests[1]
        assert (asked.method, asked.path, asked.raw) == ("POST", path, body)
        assert asked.headers["authorization"].startswith("Basic " if codec == "segment" else f"Bearer {KEY}")
        told.append(found["key"].status)

    assert told == ([UNKNOWN, FAILED, UNKNOWN] if codec == "segment" else [OK, FAILED, FAILED])


@pytest.mark.parametrize("codec", ["json", "ndjson", "feature-flags", "webhook", "cloudevents-binary"])
async def test_where_an_empty_request_may_be_an_event_none_is_sent(codec: str) -> None:
    """A HEAD tells of a key that is refused, and else nothing."""
    options = DoctorOptions(codec=codec, api_key=KEY, secret=("whsec_" + "MfKQ9r8GKYqrTwjU" * 2,), source="/shop")  # type: ignore[arg-type]
    async with ScriptedServer(200, 405, 200, 401) as server:
        unknown, refused = [await found_at(server.url, options) for _ in range(2)]

    assert (unknown["key"].status, refused["key"].status) == (UNKNOWN, FAILED)
    assert {request.method for request in server.requests} == {"HEAD"}
    assert [request.headers.get("authorization") for request in server.requests] == [None, f"Bearer {KEY}"] * 2


async def test_missing_key_is_told_and_the_rest_is_looked_at() -> None:
    """As the option that it is given with."""
    async with ScriptedServer() as server:
        found = await found_at(server.url, DoctorOptions(codec="posthog", send_test_event=True))

    assert (found["key"].status, found["http"].status) == (FAILED, OK)
    assert found["key"].found == "--codec posthog needs the project's key: --api-key, or EVENTPIPE_API_KEY"
    assert found["test event"].status is UNKNOWN
    assert len(server.requests) == 1


@pytest.mark.parametrize("codec", ["json", "posthog", "posthog-v1", "segment", "otlp", "cloudevents-structured"])
async def test_test_event_is_one_event(codec: str) -> None:
    """Only when it is asked for; the far end has it once, and the checks before it left none."""
    options = DoctorOptions(codec=codec, api_key=KEY, source="/shop")  # type: ignore[arg-type]
    async with Collector(remember_ids=True) as collector:
        without = await found_at(collector.url, options)
        before = collector.events
        fields = {name: getattr(options, name) for name in DoctorOptions.__slots__}
        found = await found_at(collector.url, DoctorOptions(**{**fields, "send_test_event": True}))

    assert "test event" not in without
    assert (before, collector.events) == (0, 1)
    [uuid] = collector.ids
    assert found["test event"].status is OK
    assert found["test event"].found == f"eventpipe_doctor was delivered, id {uuid}"


async def test_test_event_that_fails_is_told() -> None:
    """With the reason, after one attempt, or when time is up."""
    options = DoctorOptions(send_test_event=True, timeout="1s")
    async with ScriptedServer(200, 200, 503, 200, 200, 422, 200, 200, "hang") as server:
        told = [(await found_at(server.url, options))["test event"] for _ in range(3)]

    assert [one.status for one in told] == [FAILED] * 3
    assert [one.found for one in told] == [
        "it was not delivered: exhausted, status 503",
        "it was not delivered: rejected, status 422",
        "no answer within 1 s",
    ]
    assert len(server.requests) == 9


async def test_plain_http_to_another_machine_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a failure that says so, a warning when it was allowed; what is harmless is looked at all the same."""
    async with ScriptedServer() as server:
        port = int(server.url.rpartition(":")[2])
        looked_up = []

        def look_up(host: str, *_: object, **__: object) -> list[object]:
            looked_up.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr("eventpipe.cli.doctor_probe.socket.getaddrinfo", look_up)
        url = f"http://collector.example:{port}"
        refused = await found_at(url, DoctorOptions(codec="otlp", api_key=KEY, send_test_event=True))
        asked = len(server.requests)
        allowed = await found_at(url, DoctorOptions(codec="otlp", api_key=KEY, allow_insecure=True))

    assert (refused["address"].status, refused["http"].status, refused["key"].status) == (FAILED, OK, UNKNOWN)
    assert "is plain http to another machine" in refused["address"].found
    assert refused["test event"].status is UNKNOWN
    assert asked == 1
    assert "authorization" not in server.requests[0].headers
    assert looked_up == ["collector.example"] * 2  # once a run: all checks are of the same address
    assert (allowed["address"].status, allowed["key"].status) == (WARNING, OK)


async def test_command_tells_everything(tmp_path: Path) -> None:
    """As a process: plain lines, a summary, and exit code 1 when something failed; no secret in any of it."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")
    environment = {
        "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
        "EVENTPIPE_API_KEY": KEY,
        "EVENTPIPE_WORKER": KEY,
        "HTTPS_PROXY": f"http://user:{KEY}@proxy.example",
    }
    async with ScriptedServer(200, 401, ssl=serving()) as server:
        refused = await run("doctor", server.url, "--codec", "posthog", environment=environment)
        expired = await run("doctor", server.url, "--json", environment={**environment, "SSL_CERT_FILE": ""})

    lines = refused.stdout.splitlines()
    assert (refused.code, refused.stderr) == (1, "")
    assert any(line.startswith("ok           tls            TLSv1.3, a valid certificate") for line in lines)
    assert any(line.startswith("failed       key            it answers 401: the key is refused") for line in lines)
    assert "warning      variables      EVENTPIPE_WORKER is read by nothing" in lines
    assert "                            -> did you mean EVENTPIPE_WORKERS?" in lines
    assert any(line.startswith("warning      proxies        HTTPS_PROXY set, and not read") for line in lines)
    assert lines[-1].startswith("1 failed, 2 warnings, ")
    assert lines[-1].endswith("; each check had at most 5 s")
    told = orjson.loads(expired.stdout)
    assert (expired.code, told["exit_code"], told["timeout"]) == (1, 1, 5.0)
    assert [check["check"] for check in told["checks"] if check["status"] == "failed"] == ["tls"]
    assert KEY not in refused.stdout + expired.stdout


async def test_command_is_content_without_a_far_end(tmp_path: Path) -> None:
    """With warnings alone the exit code is 0; a file is looked at and not made."""
    ended = await run("doctor", "--file", str(tmp_path / "events.ndjson"), environment={"EVENTPIPE_WORKER": "3"})

    assert (ended.code, ended.stderr) == (0, "")
    assert f"ok           disk           {tmp_path} is there, and takes new files" in ended.stdout.splitlines()
    assert "not checked  far end        no URL was given" in ended.stdout.splitlines()
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_terminal_gets_colours() -> None:
    """And is left as it was."""
    async with terminal("doctor") as running:
        await running.shows("each check had at most 5 s")
        code = await running.end()

        assert (code, running.is_as_before) == (0, True)
        assert "\x1b[32mok" in running.shown


async def test_wrong_configuration_is_a_failure(tmp_path: Path) -> None:
    """A finding for each line, and the other checks go on."""
    path = tmp_path / "events.toml"
    path.write_text("worker = 3\nstrict = 1")
    async with ScriptedServer() as server:
        ended = await run("doctor", server.url, environment={"EVENTPIPE_CONFIG": str(path)})

    lines = ended.stdout.splitlines()
    assert ended.code == 1
    assert f"failed       configuration  unknown option worker in {path}; did you mean 'workers'?" in lines
    assert f"failed       configuration  strict in {path} must be true or false, not 1" in lines
    assert any(line.startswith("ok           http ") for line in lines)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("ftp://x",),
            "URL must begin with http:// or https://, not 'ftp://x'",
        ),
        (
            (f"https://user:{KEY}@x.example",),
            "URL must not carry credentials (pass them as --api-key), not 'https://x.example'",
        ),
        (("--send-test-event",), "--send-test-event needs the URL to send to"),
        (("--timeout", "0s"), "--timeout: must be from 0.1 to 60 s, not 0s"),
        (("--timeout", "soon"), "--timeout: 'soon' is not a duration such as 50ms, 5s or 2m"),
    ],
    ids=["scheme", "credentials", "event", "no time", "no duration"],
)
async def test_wrong_command_line_is_one_line(words: tuple[str, ...], line: str) -> None:
    """Exit code 2, and nothing was looked at."""
    ended = await run("doctor", *words)

    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"eventpipe: {line}\n")
