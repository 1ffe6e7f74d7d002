"""Answers with a verdict per event that do not match what was sent: too few, too many, twice, of other events."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from eventpipe import DropReason, OutcomeKind
from eventpipe.codecs import PostHogV1
from tests.edge.conftest import Record
from tests.edge.leaks import KEY
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import Peer, RawServer, Script, answer, head
from tests.edge.rows import Row

ROW = Row.RESULTS
pytestmark = [pytest.mark.wallclock, pytest.mark.asyncio]

EVENTS = 5
Fate = tuple[OutcomeKind, str | None]

TAKEN: Fate = (OutcomeKind.DELIVERED, None)
WARNED: Fate = (OutcomeKind.DELIVERED, "warning")
REFUSED: Fate = (OutcomeKind.DROPPED, DropReason.REJECTED)
UNKNOWN: Fate = (OutcomeKind.DROPPED, DropReason.UNKNOWN_VERDICT)
UNANSWERED: Fate = (OutcomeKind.DROPPED, DropReason.UNANSWERED)

Body = Callable[[list[str]], bytes]
STRANGERS = [f"00000000-0000-7000-8000-{n:012}" for n in range(3)]


def members(pairs: list[tuple[str, object]]) -> bytes:
    """A body whose results are these, names repeated as they come."""
    written = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs)
    return b'{"results":{' + written.encode() + b"}}"


def each(*words: str) -> Body:
    """One verdict per event, in order; fewer where there are fewer words."""
    return lambda uuids: members([(uuid, {"result": word}) for uuid, word in zip(uuids, words, strict=False)])


def all_get(value: object) -> Body:
    return lambda uuids: members([(uuid, value) for uuid in uuids])


def whole(content: object) -> Body:
    return lambda _: json.dumps(content).encode()


OK = {"result": "ok"}
CASES: dict[str, tuple[Body, list[Fate]]] = {
    "all of them": (each(*["ok"] * EVENTS), [TAKEN] * EVENTS),
    "one of each": (each("ok", "warning", "drop", "limited", "gone"), [TAKEN, WARNED, REFUSED, REFUSED, UNKNOWN]),
    "one too few": (each(*["ok"] * (EVENTS - 1)), [TAKEN] * (EVENTS - 1) + [UNANSWERED]),
    "only the last": (lambda uuids: members([(uuids[-1], OK)]), [UNANSWERED] * (EVENTS - 1) + [TAKEN]),
    "none": (whole({"results": {}}), [UNANSWERED] * EVENTS),
    "unknown ids beside": (
        lambda uuids: members([(uuid, OK) for uuid in (*STRANGERS, *uuids, *STRANGERS)]),
        [TAKEN] * EVENTS,
    ),
    "unknown ids alone": (lambda _: members([(uuid, OK) for uuid in STRANGERS]), [UNANSWERED] * EVENTS),
    "unknown ids that are refused": (
        lambda uuids: members([(STRANGERS[0], {"result": "drop"}), *((uuid, OK) for uuid in uuids)]),
        [TAKEN] * EVENTS,
    ),
    "one id for all": (lambda uuids: members([(uuids[0], OK)] * EVENTS), [TAKEN] + [UNANSWERED] * (EVENTS - 1)),
    "twice, ok then drop": (
        lambda uuids: members([(uuid, {"result": word}) for word in ("ok", "drop") for uuid in uuids]),
        [TAKEN] * EVENTS,
    ),
    "twice, drop then ok": (
        lambda uuids: members([(uuid, {"result": word}) for word in ("drop", "ok") for uuid in uuids]),
        [REFUSED] * EVENTS,
    ),
    "another order": (lambda uuids: members([(uuid, OK) for uuid in reversed(uuids)]), [TAKEN] * EVENTS),
    "ids in capitals": (lambda uuids: members([(uuid.upper(), OK) for uuid in uuids]), [UNANSWERED] * EVENTS),
    "ids with spaces": (lambda uuids: members([(f" {uuid}", OK) for uuid in uuids]), [UNANSWERED] * EVENTS),
    "results twice": (
        lambda uuids: b'{"results":{},' + members([(uuid, OK) for uuid in uuids])[1:],
        [UNANSWERED] * EVENTS,
    ),
    "verdict null": (all_get(None), [UNKNOWN] * EVENTS),
    "verdict a word": (all_get("ok"), [UNKNOWN] * EVENTS),
    "verdict a list": (all_get(["ok"]), [UNKNOWN] * EVENTS),
    "verdict without a result": (all_get({}), [UNKNOWN] * EVENTS),
    "result null": (all_get({"result": None}), [UNKNOWN] * EVENTS),
    "result a number": (all_get({"result": 1}), [UNKNOWN] * EVENTS),
    "result an object": (all_get({"result": {"result": "ok"}}), [UNKNOWN] * EVENTS),
    "result in capitals": (all_get({"result": "OK"}), [UNKNOWN] * EVENTS),
    "result of 10 kB": (all_get({"result": "x" * 10_000}), [UNKNOWN] * EVENTS),
    "details an object": (all_get({"result": "drop", "details": {"a": 1}}), [REFUSED] * EVENTS),
    "details of 10 kB": (all_get({"result": "drop", "details": "y" * 10_000}), [REFUSED] * EVENTS),
    "details with control characters": (all_get({"result": "drop", "details": "a\n\x1b[31mb"}), [REFUSED] * EVENTS),
    "details that repeat the key": (all_get({"result": "drop", "details": f"no such key: {KEY}"}), [REFUSED] * EVENTS),
    "details that begin the key": (all_get({"result": "warning", "details": f"for {KEY[:8]}"}), [WARNED] * EVENTS),
    "results a list": (whole({"results": [OK] * EVENTS}), [UNANSWERED] * EVENTS),
    "results null": (whole({"results": None}), [UNANSWERED] * EVENTS),
    "no results": (whole({"status": 1}), [UNANSWERED] * EVENTS),
    "an array": (whole([OK] * EVENTS), [UNANSWERED] * EVENTS),
    "null": (whole(None), [UNANSWERED] * EVENTS),
    "empty": (lambda _: b"", [UNANSWERED] * EVENTS),
    "HTML": (lambda _: b"<html>fine</html>", [UNANSWERED] * EVENTS),
    "no UTF-8": (lambda _: b'{"results":{"\xff":1}}', [UNANSWERED] * EVENTS),
    "NaN": (lambda _: b'{"results":NaN}', [UNANSWERED] * EVENTS),
    "50 000 levels": (lambda _: b'{"results":' + b"[" * 50_000, [UNANSWERED] * EVENTS),
    "numbers of 4300 digits": (lambda _: b'{"results":' + b"9" * 5000 + b"}", [UNANSWERED] * EVENTS),
}


def answers(body: Body) -> Script:
    async def script(peer: Peer) -> None:
        assert peer.request is not None
        await peer.say(answer(200, body(peer.request.uuids), "Content-Type: application/json"))

    return script


def all_ok(uuids: list[str]) -> bytes:
    return members([(uuid, OK) for uuid in uuids])


@pytest.mark.parametrize("case", CASES)
async def test_each_id_is_settled_once(case: str, pipeline: Pipelines, record: Record) -> None:
    """As the first verdict on it says; unknown ids change nothing, ids without a verdict are dropped and counted."""
    body, fates = CASES[case]
    async with (
        RawServer(answers(body)) as server,
        pipeline(server.url, PostHogV1(KEY), batch_events=EVENTS, max_batch_age=5.0) as pipe,
    ):
        outcomes = await pipe.outcomes(EVENTS)

        assert [(outcome.kind, outcome.reason) for outcome in outcomes] == fates
        assert len(server.requests) == 1
        statistics = pipe.client.statistics()
        assert statistics.delivered + statistics.dropped == EVENTS
        for outcome in outcomes:
            assert outcome.error is None or (len(outcome.error) <= 300 and outcome.error.isprintable())
    record(case, delivered=statistics.delivered, dropped=statistics.dropped, why=dict(statistics.dropped_by_reason))


async def test_only_what_is_asked_for_goes_again(pipeline: Pipelines, record: Record) -> None:
    """Under the same request id, with the next attempt's number; what was said of the others before stays."""
    async with (
        RawServer(answers(each("ok", "retry", "drop", "retry", "ok")), answers(all_ok)) as server,
        pipeline(server.url, PostHogV1(KEY), batch_events=EVENTS, max_batch_age=5.0) as pipe,
    ):
        outcomes = await pipe.outcomes(EVENTS)

    first, second = server.requests
    assert second.uuids == [first.uuids[1], first.uuids[3]]
    assert [request.headers["posthog-attempt"] for request in (first, second)] == ["1", "2"]
    assert first.headers["posthog-request-id"] == second.headers["posthog-request-id"]
    assert first.json["created_at"] == second.json["created_at"]
    assert [(outcome.kind, outcome.attempt) for outcome in outcomes] == [
        (OutcomeKind.DELIVERED, 1),
        (OutcomeKind.DELIVERED, 2),
        (OutcomeKind.DROPPED, 1),
        (OutcomeKind.DELIVERED, 2),
        (OutcomeKind.DELIVERED, 1),
    ]
    record("retry for two of five", sent_again=2, same_request_id=True)


def cut_short(reset: bool) -> Script:
    async def script(peer: Peer) -> None:
        assert peer.request is not None
        body = all_ok(peer.request.uuids)
        await peer.say(head(200, size=len(body)) + body[: len(body) // 2])
        peer.reset() if reset else peer.close()

    return script


def too_long(uuids: list[str]) -> bytes:
    """What it says of the events lies beyond the bound."""
    return b'{"x":"' + b"x" * 70_000 + b'",' + all_ok(uuids)[1:]


INCOMPLETE = {
    "half of it, then RST": cut_short(reset=True),
    "half of it, then the end": cut_short(reset=False),
    "longer than 64 KiB": answers(too_long),
}


@pytest.mark.parametrize("case", INCOMPLETE)
async def test_results_that_are_incomplete_are_asked_for_again(case: str, pipeline: Pipelines, record: Record) -> None:
    """Under the same request id, so that the far end can tell; a verdict is never guessed."""
    async with (
        RawServer(INCOMPLETE[case], answers(all_ok)) as server,
        pipeline(server.url, PostHogV1(KEY), batch_events=EVENTS, max_batch_age=5.0) as pipe,
    ):
        outcomes = await pipe.outcomes(EVENTS)

    first, second = server.requests
    assert first.headers["posthog-request-id"] == second.headers["posthog-request-id"]
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * EVENTS
    assert second.connection != first.connection
    record(case, requests=2, same_request_id=True, sent_again=len(second.uuids))
