"""Far ends that answer oddly, over real sockets and through a whole client: each answer is an outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    Codec,
    DropReason,
    Outcome,
    Request,
    RetryPolicy,
    SinkError,
    Verdict,
)
from eventpipe.codecs import JsonCodec, PostHogV0
from eventpipe.sinks import HttpSink
from eventpipe.testing import Reply, ScriptedServer, check_ledger
from eventpipe.testing.exchange import Behaviour
from eventpipe.testing.server import Answer

pytestmark = [pytest.mark.wallclock, pytest.mark.asyncio]

# Seconds for an answer that comes, however busy the machine is, and for one that does not.
PATIENT, SHORT = 30.0, 1.0
ENDLESS: frozenset[Behaviour] = frozenset({"hang", "stall_body"})

QUICK = RetryPolicy(initial=0.001, max_delay=0.001, min_delay=0, jitter=0)
CODECS = [pytest.param(JsonCodec(), id="json"), pytest.param(PostHogV0("phc_key"), id="posthog")]

ODD_BODIES = {
    "empty": b"",
    "HTML": b"<html>no</html>",
    "half of a JSON": b'{"detail":',
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 50_000,
    "null": b"null",
    "says that it is fine": b'{"status": "Ok"}',
    "says to come back": b'{"status": "retry", "retry_after": 0}',
}

RETRIED = {
    "closes": (Reply(behaviour="close"), "network"),
    "resets": (Reply(behaviour="reset"), "network"),
    "no HTTP": (Reply(behaviour="garbage"), "network"),
    "never answers": (Reply(behaviour="hang"), "timeout"),
    "503 whose body is reset": (Reply(503, body=b"x" * 100, behaviour="reset_body"), "status_503"),
    "503 whose body ends early": (Reply(503, body=b"x" * 100, behaviour="short_body"), "status_503"),
}

DROPPED = {
    "a redirect that would change the method": (Reply(302, {"Location": "/"}), DropReason.MISCONFIGURED),
    "a redirect to another origin": (Reply(307, {"Location": "http://127.0.0.1:9/"}), DropReason.MISCONFIGURED),
    "a redirect to nowhere": (Reply(308), DropReason.MISCONFIGURED),
    "413": (Reply(413), DropReason.TOO_LARGE),
    **{f"400, {name}": (Reply(400, body=body), DropReason.REJECTED) for name, body in ODD_BODIES.items()},
    "400 whose body is reset": (Reply(400, body=b"x" * 100, behaviour="reset_body"), DropReason.REJECTED),
}

DELIVERED = {
    **{f"200, {name}": Reply(200, body=body) for name, body in ODD_BODIES.items()},
    "200 whose body is reset": Reply(body=b"x" * 100, behaviour="reset_body"),
    "200 whose body ends early": Reply(body=b"x" * 100, behaviour="short_body"),
    "200 whose body stalls": Reply(body=b"x" * 100, behaviour="stall_body"),
    "200 and no notice of the end": Reply(behaviour="answer_then_close"),
}


async def send_two(server: ScriptedServer, answer: Reply, codec: Codec, told: list[Outcome]) -> AsyncClient:
    """Two events, one after the other, by a client with one worker; the first meets ``answer``."""
    sink = HttpSink(server.url, codec, timeout=SHORT if answer.behaviour in ENDLESS else PATIENT)
    client = AsyncClient(sink, batch_events=1, workers=1, retry=QUICK, on_error=told.append)
    async with client:
        uuids = [receipt.uuid for receipt in await client.capture_many(["first", "second"])]
        await client.flush()
        check_ledger(client, received=server.uuids, captured=uuids)
    check_ledger(client, drained=True)
    return client


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("answer", "reason"), RETRIED.values(), ids=RETRIED)
async def test_answer_that_may_pass_costs_one_attempt(answer: Reply, reason: str, codec: Codec) -> None:
    """It is an outcome with its reason: the batch goes again and arrives, and the only worker goes on."""
    told: list[Outcome] = []
    async with ScriptedServer(answer) as server:
        client = await send_two(server, answer, codec, told)

        assert Counter(event["event"] for event in server.events) == {"first": 1, "second": 1}
        assert len(server.requests) == 3
    statistics = client.statistics()
    assert (statistics.delivered, statistics.attempts, statistics.retries) == (2, 3, 1)
    assert [(outcome.kind, outcome.events, outcome.reason) for outcome in told] == [("retry", ("first",), reason)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("answer", "reason"), DROPPED.values(), ids=DROPPED)
async def test_answer_that_stands_is_not_asked_for_twice(answer: Reply, reason: DropReason, codec: Codec) -> None:
    """Whatever its body: one request for the event that it refuses, and the only worker goes on."""
    told: list[Outcome] = []
    async with ScriptedServer(answer) as server:
        client = await send_two(server, answer, codec, told)

        assert [event["event"] for event in server.events] == ["second"]
        assert len(server.requests) == 2
    statistics = client.statistics()
    assert (statistics.delivered, statistics.dropped_by_reason, statistics.retries) == (1, {reason: 1}, 0)
    assert [(outcome.kind, outcome.events, outcome.reason) for outcome in told] == [("dropped", ("first",), reason)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("answer", DELIVERED.values(), ids=DELIVERED)
async def test_answer_that_accepts_is_a_delivery_whatever_its_body(answer: Reply, codec: Codec) -> None:
    """The far end has the events, so that they are not sent again."""
    told: list[Outcome] = []
    async with ScriptedServer(answer) as server:
        client = await send_two(server, answer, codec, told)

        assert [event["event"] for event in server.events] == ["first", "second"]
        assert len(server.requests) == 2
    assert (client.statistics().delivered, client.statistics().retries, told) == (2, 0, [])


@pytest.mark.parametrize("answer", [503, 400, "reset"], ids=str)
async def test_batch_that_fails_sends_no_other_batch_again(answer: Answer) -> None:
    """Of five batches the second fails: the first is not sent again, nor are those after it."""
    async with (
        ScriptedServer(200, answer) as server,
        AsyncClient(HttpSink(server.url), batch_events=1, workers=1, retry=QUICK) as client,
    ):
        await client.capture_many([f"e{number}" for number in range(5)])
        await client.flush()

        requests = Counter(event["event"] for request in server.requests for event in request.events)

    again = {"e1": 1 if answer == 400 else 2}
    assert requests == {f"e{number}": 1 for number in range(5)} | again


class BrokenCodec(JsonCodec):
    """Raises in one of its methods the first time."""

    def __init__(self, broken: str, error: BaseException) -> None:
        super().__init__()
        self._broken = broken
        self._error = error

    def _raise_in(self, method: str) -> None:
        if method == self._broken:
            self._broken = ""
            raise self._error

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        self._raise_in("request")
        return super().request(batch, attempt, now)

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        self._raise_in("response")
        return super().response(batch, status, headers, body, complete)


@pytest.mark.parametrize(
    "error",
    [ValueError("hunter2"), asyncio.CancelledError("hunter2"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(("broken", "requests"), [("request", 2), ("response", 3)])
async def test_codec_that_raises_costs_one_attempt(broken: str, requests: int, error: BaseException) -> None:
    """Nobody knows what the answer meant, so the batch goes again; what the error quotes is shown nowhere."""
    told: list[Outcome] = []
    async with ScriptedServer() as server:
        client = AsyncClient(
            HttpSink(server.url, BrokenCodec(broken, error)),
            batch_events=1,
            workers=1,
            retry=QUICK,
            on_error=told.append,
        )
        async with client:
            await client.capture_many(["first", "second"])
            await client.flush()

        assert Counter(event["event"] for event in server.events) == {"first": requests - 1, "second": 1}
        assert len(server.requests) == requests
    statistics = check_ledger(client, drained=True)
    assert (statistics.delivered, statistics.retries) == (2, 1)
    assert [(outcome.kind, outcome.reason) for outcome in told] == [("retry", "sink_error")]
    assert "hunter2" not in f"{told}"
