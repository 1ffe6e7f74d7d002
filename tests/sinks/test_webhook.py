"""Webhooks on their way: what arrives, what is believed there, and where they never go."""

from __future__ import annotations

import errno
import inspect
import logging
import pickle
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partialmethod
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from eventpipe import AsyncClient
from eventpipe.clock import Clock
from eventpipe.codecs import FeatureFlags, JsonCodec, PostHogV0, StandardWebhook, verify_webhook
from eventpipe.codecs.base import library_version
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.outcomes import DropReason
from eventpipe.sinks import HttpSink, WebhookSink, webhook
from eventpipe.testing.events import STAMP, make_batch, make_event
from eventpipe.testing.exchange import Reply
from eventpipe.testing.server import Answer, ScriptedServer

URL = "https://hooks.example/in"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"

server_test = pytest.mark.wallclock


@asynccontextmanager
async def webhook_sink(
    server: ScriptedServer, secret: str | Sequence[str] | None = SECRET, *args: Any, **options: Any
) -> AsyncIterator[WebhookSink]:
    sink = WebhookSink(options.pop("url", server.url), secret, *args, **{"allow_private": True, **options})
    try:
        yield sink
    finally:
        await sink.aclose()


# What it is


def test_it_tells_the_driver_what_the_codec_wants() -> None:
    """One event a request, unless another codec writes the body."""
    sink = WebhookSink(URL, SECRET)

    assert (sink.name, sink.max_batch_events, sink.lane) == ("hooks.example", 1, None)
    assert (sink.max_event_bytes, sink.lifted) == (900 * 1024, frozenset())
    assert WebhookSink(URL, SECRET, JsonCodec()).max_batch_events is None
    posthog = WebhookSink("https://app.posthog.com", SECRET, PostHogV0("phc_key"))
    assert posthog.lifted == PostHogV0("phc_key").lifted
    assert repr(posthog).startswith("WebhookSink('https://us.i.posthog.com', StandardWebhook(PostHogV0(")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"secret": "whsec_SECRET"}, "secret must be whsec_ and the base64 of 24 to 64 bytes (its value is not shown)"),
        ({"secret": ["a", "b"], "scheme": "hub"}, "secret must be one secret, not 2: X-Hub-Signature-256 holds one"),
        ({"scheme": "github"}, "scheme must be one of 'standard', 'hub', not 'github'"),
        ({"allow_private": "false"}, "allow_private must be True or False, not 'false'"),
        ({"allow_insecure": "false"}, "allow_insecure must be True or False, not 'false'"),
        ({"url": "ftp://hooks.example/SECRET"}, "url must begin with http:// or https://, not 'ftp://hooks.example/…'"),
        ({"url": "http://hooks.example/"}, "url must begin with https://"),
        ({"url": "https://user:SECRET@hooks.example/"}, "url must not carry credentials (pass them in headers)"),
        ({"timeout": 0}, "timeout must be a finite number of seconds above 0, or None, not 0"),
        ({"headers": {"X": "SECRET\r\n"}}, "headers['X'] must be"),
        *(
            (
                {"headers": {"X": "a", name: "SECRET"}},
                f"headers must not have {name!r}, which scheme='standard' writes anew for each attempt;"
                " leave it out, or give it another name",
            )
            for name in ("webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE")
        ),
        (
            {"scheme": "hub", "secret": "SECRET", "headers": {"X-Hub-Signature-256": "SECRET"}},
            "headers must not have 'X-Hub-Signature-256', which scheme='hub' writes",
        ),
        ({"where": 7}, "where must be a plain function or None, not 7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_option_is_refused_when_the_sink_is_made(options: dict[str, Any], message: str) -> None:
    """The message names the option, the value and the rule, and no secret."""
    with pytest.raises(ValueError, match=r"^\w+[\w.\[\]']* must ") as caught:
        WebhookSink(**{"url": URL, "secret": SECRET, **options})

    assert str(caught.value).startswith(message)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000",
        "localhost",
        "LOCALHOST:1",
        "[::1]",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "255.255.255.255",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:7f00:1]",
        "[64:ff9b::a00:1]",
    ],
)
def test_a_url_that_names_a_private_address_is_refused_when_the_sink_is_made(host: str) -> None:
    """Unless it is allowed; the message says how."""
    with pytest.raises(ValueError, match=r"^url must lead to a public address") as caught:
        WebhookSink(f"https://{host}/SECRET", SECRET)

    assert str(caught.value) == (
        f"url must lead to a public address (or pass allow_private=True), not 'https://{host}/…'"
    )
    WebhookSink(f"https://{host}/hook", SECRET, allow_private=True)


def test_a_public_address_may_be_written_as_one() -> None:
    """It is no name that needs to be looked up."""
    WebhookSink("https://93.184.215.14/hook", SECRET)
    WebhookSink("https://[2606:4700:4700::1111]/hook", SECRET)


@pytest.mark.asyncio
async def test_what_connects_by_itself_needs_to_be_allowed() -> None:
    """Where a lent session, a proxy or whoever listens on a unix socket connects to cannot be checked."""
    async with aiohttp.ClientSession() as session:
        options: list[dict[str, Any]] = [
            {"session": session},
            {"proxy": "https://egress.example:4750"},
            {"socket_path": "/run/hooks.sock", "url": "http://hooks.example"},
        ]
        for option in options:
            with pytest.raises(ValueError, match=r"^\w+ must be None ") as caught:
                WebhookSink(**{"url": URL, "secret": SECRET, **option})
            assert str(caught.value) == (
                f"{next(iter(option))} must be None (or pass allow_private=True): what it connects to cannot be checked"
            )
            WebhookSink(**{"url": URL, "secret": SECRET, "allow_private": True, **option})


def test_every_other_option_is_one_of_an_http_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it takes but the way to compress, each handed on as it was given."""
    theirs, ours = (set(inspect.signature(sink).parameters) for sink in (HttpSink, WebhookSink))
    options = {option: object() for option in ours & theirs - {"url", "codec"}} | {"headers": {"X": "a"}}
    handed: dict[str, object] = {}
    monkeypatch.setattr(HttpSink, "__init__", lambda self, url, codec, **options: handed.update(options))

    WebhookSink(URL, SECRET, allow_private=True, **options)  # type: ignore[arg-type]  # objects, to know them again

    assert handed == options
    assert theirs - ours == {"compression"}


def test_none_means_the_default() -> None:
    """15 and three seconds, a payload per event, nothing more."""
    nothing: dict[str, Any] = dict.fromkeys(
        ["timeout", "connect_timeout", "headers", "auth", "session", "ssl", "proxy"]
    )
    sink = WebhookSink(URL, None, None, **nothing)

    assert (sink._timeout, sink._wire.timeout.sock_connect, sink.max_batch_events) == (15, 3, 1)


# What arrives


@server_test
@pytest.mark.asyncio
async def test_an_event_arrives_as_one_request_that_is_believed() -> None:
    """These headers and no others; the body is what was signed, and is not compressed however large it is."""
    event = make_event("invoice.paid", properties={"text": "x" * 10_000})
    async with ScriptedServer() as server, webhook_sink(server, headers={"X-Team": "a"}) as sink:
        assert await sink.send(make_batch([event])) is None

        [request] = server.requests
        assert request.headers.keys() == {
            "host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "x-team",
            "webhook-id", "webhook-timestamp", "webhook-signature",
        }  # fmt: skip
        assert request.headers["user-agent"] == f"eventpipe/{library_version()}"
        assert verify_webhook(request.raw, request.headers, SECRET).id == event.uuid
        assert Webhook(SECRET).verify(request.raw, dict(request.headers))["data"] == event.properties


@server_test
@pytest.mark.asyncio
async def test_what_is_signed_is_compressed_by_no_other_sink_either() -> None:
    """A receiver checks the bytes that came, and they are those that were signed."""
    batch = make_batch(200)
    async with ScriptedServer() as server:
        sink = HttpSink(server.url, StandardWebhook(SECRET, JsonCodec()))
        await sink.send(batch)
        await sink.aclose()

        [request] = server.requests
        assert "content-encoding" not in request.headers
        assert verify_webhook(request.raw, request.headers, SECRET).id == batch.id


@server_test
@pytest.mark.asyncio
async def test_a_client_sends_each_event_by_itself() -> None:
    """However many wait; each has its own id, which receivers know it by."""
    async with (
        ScriptedServer() as server,
        AsyncClient(WebhookSink(server.url, [SECRET, OLD], allow_private=True), batch_events=100) as client,
    ):
        receipts = [await client.capture("paid", distinct_id=f"u{n}", properties={"n": n}) for n in range(20)]
        report = await client.flush()

        assert report.delivered == 20
        verified = [verify_webhook(request.raw, request.headers, OLD) for request in server.requests]
        assert sorted(webhook.id or "" for webhook in verified) == sorted(receipt.uuid for receipt in receipts)
        assert sorted(request.json["data"]["n"] for request in server.requests) == list(range(20))


@server_test
@pytest.mark.asyncio
async def test_each_attempt_is_signed_at_its_own_time_under_the_same_id() -> None:
    """A receiver that was down for an hour believes the attempt that reaches it."""

    class Later(Clock):
        now = STAMP

        def time(self) -> float:
            return self.now

    clock, batch = Later(), make_batch(1)
    async with ScriptedServer(503) as server, webhook_sink(server, clock=clock) as sink:
        with pytest.raises(TransientSinkError):
            await sink.send(batch)
        clock.now += 3600
        batch.attempt = 2
        await sink.send(batch)

        first, second = (verify_webhook(r.raw, r.headers, SECRET, now=STAMP, tolerance=3600) for r in server.requests)
        assert (first.id, first.timestamp) == (batch.events[0].uuid, STAMP)
        assert (second.id, second.timestamp) == (first.id, STAMP + 3600)


@server_test
@pytest.mark.asyncio
async def test_exporters_of_feature_flags_sign_their_body_for_a_hub() -> None:
    """A whole batch, under X-Hub-Signature-256."""
    batch = make_batch(50)
    async with ScriptedServer() as server, webhook_sink(server, "key", FeatureFlags(), scheme="hub") as sink:
        await sink.send(batch)

        [request] = server.requests
        verify_webhook(request.raw, request.headers, "key", scheme="hub")
        assert [event["uuid"] for event in request.json["events"]] == [event.uuid for event in batch.events]


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (200, None, None),
        (204, None, None),
        (299, None, None),
        (410, PermanentSinkError, DropReason.MISCONFIGURED),
        (301, PermanentSinkError, DropReason.MISCONFIGURED),
        (401, PermanentSinkError, DropReason.UNAUTHORIZED),
        (400, PermanentSinkError, DropReason.REJECTED),
        (413, PermanentSinkError, DropReason.TOO_LARGE),
        (429, TransientSinkError, "status_429"),
        (502, TransientSinkError, "status_502"),
        (Reply(307, {"Location": "https://elsewhere.example/"}), PermanentSinkError, DropReason.MISCONFIGURED),
    ],
    ids=str,
)
async def test_answers_lead_where_they_always_lead(answer: Answer, kind: type[Exception] | None, reason: str) -> None:
    """Any 2xx accepts; gone is gone; nobody is led elsewhere."""
    async with ScriptedServer(answer) as server, webhook_sink(server) as sink:
        if kind is None:
            assert await sink.send(make_batch(1)) is None
        else:
            with pytest.raises(kind) as caught:
                await sink.send(make_batch(1))
            assert caught.value.reason == reason  # type: ignore[attr-defined]  # one of the two


# Where it never goes


class Names:
    """What the resolver of this machine answers for ``hooks.example``: one list of addresses after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[list[str]] = []
        self.asked = 0
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != "hooks.example":
            return self._resolve(host, port, *args, **options)
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


def url_of(server: ScriptedServer, scheme: str = "http") -> str:
    return f"{scheme}://hooks.example:{server.url.rpartition(':')[2]}/in"


@server_test
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::ffff:127.0.0.1"], ["10.0.0.1", "127.0.0.1", "fe80::1"]],
    ids=["loopback", "mapped", "several"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("watched", [False, True], ids=["direct", "watched"])
async def test_a_public_name_with_a_private_address_is_not_connected_to(
    names: Names, addresses: list[str], scheme: str, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far end sees no connection; the batch is refused as misconfigured, in words that name the host.

    So it is where an instrument stands in for what makes aiohttp's requests, and they go through its session.
    """
    if watched:
        monkeypatch.setattr(aiohttp.ClientSession, "_request", partialmethod(aiohttp.ClientSession._request))
    names.answers = [addresses]
    async with (
        ScriptedServer() as server,
        webhook_sink(server, url=url_of(server, scheme), allow_private=False, allow_insecure=True) as sink,
    ):
        with pytest.raises(PermanentSinkError) as caught:
            await sink.send(make_batch(1))

        assert (caught.value.scope, caught.value.reason) == ("sink", DropReason.MISCONFIGURED)
        assert "hooks.example" in str(caught.value)
        assert (names.asked, server.connections) == (1, 0)


WRITTEN_OTHERWISE = (
    "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "localhost.", "127.0.0.1.", "a.localhost",
    "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1", "127\u30020.0.1", "[::ffff:127.0.0.1]", "[::127.0.0.1]",
)  # fmt: skip


@server_test
@pytest.mark.asyncio
async def test_other_ways_to_write_an_address_lead_nowhere_either() -> None:
    """What a resolver reads as a number is judged as what it reads."""
    async with ScriptedServer() as server:
        port = server.url.rpartition(":")[2]
        for host in WRITTEN_OTHERWISE:
            try:
                sink = WebhookSink(f"http://{host}:{port}/", SECRET, allow_insecure=True)
            except ValueError:
                continue  # refused even earlier
            with pytest.raises((PermanentSinkError, TransientSinkError)):
                await sink.send(make_batch(1))
            await sink.aclose()

        assert server.connections == 0


@server_test
@pytest.mark.asyncio
async def test_a_private_address_is_connected_to_when_allowed(names: Names) -> None:
    """For a network of one's own."""
    names.answers = [["127.0.0.1"]]
    async with ScriptedServer() as server, webhook_sink(server, url=url_of(server), allow_insecure=True) as sink:
        assert await sink.send(make_batch(1)) is None


@pytest.fixture
def trapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 plays a public address; 127.0.0.2 stays private."""
    monkeypatch.setattr(webhook, "is_public", lambda address: address == "127.0.0.1")


class Trap:
    """Something private that listens on the port of a server."""

    def __init__(self, server: ScriptedServer) -> None:
        try:
            self._socket = socket.create_server(("127.0.0.2", int(server.url.rpartition(":")[2])))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            pytest.skip("this machine has one loopback address only")
        self._socket.setblocking(False)

    def __enter__(self) -> Trap:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    @property
    def connections(self) -> int:
        number = 0
        while True:
            try:
                accepted, _ = self._socket.accept()
            except BlockingIOError:
                return number
            accepted.close()
            number += 1


@server_test
@pytest.mark.asyncio
@pytest.mark.usefixtures("trapped")
async def test_an_answer_that_changes_changes_nothing_after_the_check(names: Names) -> None:
    """The address that was checked is the one that is connected to, without a second look-up."""
    names.answers = [["127.0.0.1"], ["127.0.0.2"]]
    async with ScriptedServer(default="answer_then_close") as server:
        with Trap(server) as trap:
            options: dict[str, Any] = {"url": url_of(server), "allow_private": False, "allow_insecure": True}
            async with webhook_sink(server, **options) as sink:
                assert await sink.send(make_batch(1)) is None
                assert (names.asked, server.connections) == (1, 1)
            async with webhook_sink(server, **options) as sink:
                with pytest.raises(PermanentSinkError, match=r"hooks\.example"):
                    await sink.send(make_batch(1))

            assert (names.asked, server.connections, trap.connections) == (2, 1, 0)


@server_test
@pytest.mark.asyncio
@pytest.mark.usefixtures("trapped")
async def test_of_several_addresses_only_the_public_ones_are_tried(names: Names) -> None:
    """Whatever their order."""
    async with ScriptedServer() as server:
        with Trap(server) as trap:
            for addresses in (["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
                names.answers = [addresses]
                async with webhook_sink(server, url=url_of(server), allow_private=False, allow_insecure=True) as sink:
                    assert await sink.send(make_batch(1)) is None

            assert (server.connections, trap.connections) == (2, 0)


@server_test
@pytest.mark.asyncio
async def test_a_redirect_is_checked_as_every_connection_is(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to the same origin, whose name means something private by now."""
    judged: list[str] = []

    def first_only(address: str) -> bool:
        judged.append(address)
        return len(judged) == 1

    monkeypatch.setattr(webhook, "is_public", first_only)
    names.answers = [["127.0.0.1"]]
    redirect = Reply(307, {"Location": "/again", "Connection": "close"}, behaviour="answer_then_close")
    async with (
        ScriptedServer(redirect) as server,
        webhook_sink(server, url=url_of(server), allow_private=False, allow_insecure=True) as sink,
    ):
        with pytest.raises(PermanentSinkError, match=r"hooks\.example"):
            await sink.send(make_batch(1))

        assert (judged, server.connections) == (["127.0.0.1"] * 2, 1)


# What shows


@server_test
@pytest.mark.asyncio
async def test_secrets_show_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """In no repr, no log at any level, no error, and no pickle, whatever the far end answers."""
    caplog.set_level(logging.DEBUG)
    shown: list[object] = []
    async with ScriptedServer(200, 401, 500, "reset", "garbage") as server, webhook_sink(server, [SECRET, OLD]) as sink:
        shown += [sink, repr(sink), vars(sink)]
        for _ in range(5):
            try:
                await sink.send(make_batch(1))
            except (PermanentSinkError, TransientSinkError) as error:
                shown += [error, repr(error), error.__cause__, error.__context__]
        with pytest.raises(TypeError) as caught:
            pickle.dumps(sink)
        shown.append(caught.value)

    text = f"{caplog.text} {shown}"
    for part in (SECRET, SECRET.removeprefix("whsec_"), SECRET[:12], OLD, OLD[:12]):
        assert part not in text
