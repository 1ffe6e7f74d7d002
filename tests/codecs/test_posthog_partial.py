"""PostHog's capture v1 through a real client: what an answer in part leads to, event by event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import pytest

from eventpipe import AsyncClient, DeliveryError, DropReason, Event, Outcome, RetryPolicy
from eventpipe.codecs import PostHogV1
from eventpipe.sinks import HttpSink
from eventpipe.testing import Reply, ScriptedServer, check_ledger
from eventpipe.testing.exchange import Received

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

KEY = "phc_0123456789abcdef"
QUICK = RetryPolicy(initial=0.001, max_delay=0.002, min_delay=0.001, max_attempts=4)

Script = Mapping[str, Sequence[str]]


def results(script: Script, *, more: str = "") -> Callable[[Received], Reply]:
    """A far end with a word for each event by name, one per attempt, the last for all that follow; else ``ok``."""

    def answer(request: Received) -> Reply:
        attempt = int(request.headers["posthog-attempt"])
        said = {}
        for event in request.events:
            words = script.get(event["event"], ["ok"])
            word = words[min(attempt, len(words)) - 1]
            said[event["uuid"]] = {"result": word, "details": f"{word}, attempt {attempt}{more}"}
        return Reply(200, {"Content-Type": "application/json"}, orjson.dumps({"results": said}))

    return answer


def client_of(server: ScriptedServer, **options: Any) -> AsyncClient:
    return AsyncClient(HttpSink(server.url, PostHogV1(KEY)), retry=QUICK, **options)


def said(outcome: Outcome) -> tuple[str, int, str | None, str | None]:
    return str(outcome.kind), outcome.attempt, outcome.reason, outcome.error


async def test_only_what_the_server_asks_for_again_goes_again() -> None:
    """Under the same id and time of making, one attempt later; each event's last verdict is its outcome."""
    script = {
        "late": ["retry", "ok"],
        "later": ["retry", "retry", "ok"],
        "warned": ["warning"],
        "late, warned": ["retry", "warning"],
    }
    async with ScriptedServer(default=results(script)) as server, client_of(server) as client:
        outcomes = await client.deliver([Event(name, distinct_id="u1") for name in ("good", *script)])

        assert [said(outcome) for outcome in outcomes] == [
            ("delivered", 1, None, "ok, attempt 1"),
            ("delivered", 2, None, "ok, attempt 2"),
            ("delivered", 3, None, "ok, attempt 3"),
            ("delivered", 1, "warning", "warning, attempt 1"),
            ("delivered", 2, "warning", "warning, attempt 2"),
        ]
        first, second, third = server.requests
        assert [[event["event"] for event in request.events] for request in server.requests] == [
            ["good", "late", "later", "warned", "late, warned"],
            ["late", "later", "late, warned"],
            ["later"],
        ]
        assert [request.headers["posthog-attempt"] for request in server.requests] == ["1", "2", "3"]
        assert len({request.headers["posthog-request-id"] for request in server.requests}) == 1
        assert len({request.json["created_at"] for request in server.requests}) == 1
        stamps = [request.headers["posthog-request-timestamp"] for request in server.requests]
        assert stamps == sorted(set(stamps))
        assert second.events == [event for event in first.events if event in second.events]
        assert third.events == second.events[1:2]
    check_ledger(client, drained=True)


async def test_deliver_names_what_became_of_each_event() -> None:
    """Those that were taken, those refused at once or later, and those whose attempts were used up."""
    script = {
        "refused": ["drop"],
        "limited": ["limited"],
        "refused later": ["retry", "drop"],
        "new": ["postponed"],
        "never": ["retry"],
    }
    async with ScriptedServer(default=results(script)) as server, client_of(server) as client:
        with pytest.raises(DeliveryError) as caught:
            await client.deliver([Event(name, distinct_id="u1") for name in ("good", *script)])

        assert [said(outcome) for outcome in caught.value.outcomes] == [
            ("delivered", 1, None, "ok, attempt 1"),
            ("dropped", 1, DropReason.REJECTED, "drop: drop, attempt 1"),
            ("dropped", 1, DropReason.REJECTED, "limited: limited, attempt 1"),
            ("dropped", 2, DropReason.REJECTED, "drop: drop, attempt 2"),
            ("dropped", 1, DropReason.UNKNOWN_VERDICT, "postponed: postponed, attempt 1"),
            ("dropped", 4, DropReason.EXHAUSTED, "TransientSinkError: retry: retry, attempt 4"),
        ]
        assert [len(request.events) for request in server.requests] == [6, 2, 1, 1]
    assert client.statistics().dropped_by_reason == {"rejected": 3, "unknown_verdict": 1, "exhausted": 1}
    check_ledger(client, drained=True)


async def test_a_warning_is_no_failure() -> None:
    """Beside an event that was dropped it is not counted among those that were not delivered."""
    server = ScriptedServer(default=results({"warned": ["warning"], "refused": ["drop"]}))
    async with server, client_of(server) as client:
        with pytest.raises(DeliveryError, match=r"^1 of 2 events were not delivered: rejected$"):
            await client.deliver([Event("warned"), Event("refused")])


async def test_an_event_that_the_answer_leaves_out_is_dropped_and_counted_apart() -> None:
    """Its neighbour is delivered, and nothing is sent a second time."""

    def forgetful(request: Received) -> Reply:
        return Reply(200, {}, orjson.dumps({"results": {request.uuids[0]: {"result": "ok"}}}))

    async with ScriptedServer(default=forgetful) as server, client_of(server) as client:
        with pytest.raises(DeliveryError) as caught:
            await client.deliver([Event("named"), Event("forgotten")])

        assert [said(outcome)[:3] for outcome in caught.value.outcomes] == [
            ("delivered", 1, None),
            ("dropped", 1, DropReason.UNANSWERED),
        ]
        assert len(server.requests) == 1


@pytest.mark.parametrize("behaviour", ["reset_body", "short_body"])
async def test_an_answer_that_is_cut_off_is_asked_for_again_under_the_same_id(behaviour: Any) -> None:
    """The server knows the request by its id; nobody would know the verdicts otherwise."""
    cut = Reply(200, {}, b'{"results":{' + b" " * 100 + b"}}", behaviour=behaviour)
    async with ScriptedServer(cut, default=results({})) as server, client_of(server) as client:
        outcomes = await client.deliver([Event("a"), Event("b")])

        assert [said(outcome)[:2] for outcome in outcomes] == [("delivered", 2)] * 2
        first, second = server.requests
        assert first.headers["posthog-request-id"] == second.headers["posthog-request-id"]
        assert (first.headers["posthog-attempt"], second.headers["posthog-attempt"]) == ("1", "2")
        assert first.raw == second.raw


async def test_verdicts_with_many_words_settle_a_large_batch_in_a_few_attempts() -> None:
    """More than 64 KiB are not read; what was not reached is asked about again, and each event is settled once."""
    async with ScriptedServer(default=results({}, more="x" * 500)) as server:
        async with client_of(server, batch_events=300, max_batch_age=10) as client:
            outcomes = await client.deliver([Event(f"e{n}", distinct_id="u1") for n in range(300)])

        assert {outcome.kind for outcome in outcomes} == {"delivered"}
        sizes = [len(request.events) for request in server.requests]
        assert sizes[0] == 300
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) == len(set(sizes)) == 3
        assert len({request.headers["posthog-request-id"] for request in server.requests}) == 1
    check_ledger(client, drained=True)


async def test_one_id_never_twice_in_a_batch() -> None:
    """The second waits for a later batch: a server that refuses such a batch has nothing to refuse."""
    uuid = "01a2008a-d1e8-71f7-9c72-4d79a53e6eec"

    def strict(request: Received) -> Reply:
        if len(set(request.uuids)) < len(request.uuids):
            return Reply(400)
        return results({})(request)

    async with ScriptedServer(default=strict) as server, client_of(server) as client:
        await client.capture_many([Event("other"), *(Event(f"twin {n}", uuid=uuid) for n in range(3)), Event("last")])
        report = await client.flush()

        assert (report.delivered, report.dropped) == (5, 0)
        assert sorted(request.uuids.count(uuid) for request in server.requests) == [1, 1, 1]
        names = [[event["event"] for event in request.events] for request in server.requests]
        assert sorted(name for batch in names for name in batch) == ["last", "other", "twin 0", "twin 1", "twin 2"]


async def test_lanes_travel_apart_and_each_as_its_far_end_reads_it() -> None:
    """Live events, imports and those of language models, in whatever order they were captured."""

    def answer(request: Received) -> Reply:
        return Reply(200) if request.path == "/i/v0/ai/batch/" else results({})(request)

    async with ScriptedServer(default=answer) as server:
        sink = HttpSink(server.url, PostHogV1(KEY), compression="zstd")
        async with AsyncClient(sink) as client:
            for number in range(3):
                await client.capture(f"live {number}")
                await client.capture(f"old {number}", lane="historical")
                await client.capture_ai(f"asked {number}", properties={"text": "x" * 1_000_000})

        assert client.statistics().delivered == 9
        asked = [request for request in server.requests if request.path == "/i/v0/ai/batch/"]
        others = [request for request in server.requests if request.path == "/i/v1/analytics/events"]
        assert names(asked) == ["asked 0", "asked 1", "asked 2"]
        assert {request.headers["content-encoding"] for request in asked} == {"gzip"}
        assert {request.json["api_key"] for request in asked} == {KEY}
        imports = [request for request in others if "historical_migration" in request.json]
        assert {request.json["historical_migration"] for request in imports} == {True}
        assert names(imports) == ["old 0", "old 1", "old 2"]
        assert names([request for request in others if request not in imports]) == ["live 0", "live 1", "live 2"]


def names(requests: Sequence[Received]) -> list[str]:
    """Of the events of all these; which of several requests came first is not said."""
    return sorted(event["event"] for request in requests for event in request.events)
