"""Connections that break after any byte of a request or of its answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Literal

import pytest

from eventpipe import Codec, OutcomeKind
from eventpipe.codecs import PostHogV0, PostHogV1
from tests.edge.conftest import Record
from tests.edge.cutting_proxy import CuttingProxy, Way
from tests.edge.leaks import KEY
from tests.edge.pipeline import PATIENT, Pipelines
from tests.edge.raw_server import Peer, RawServer, Script, answer
from tests.edge.rows import Row

ROW = Row.CUTS
# Seconds for what takes three on a machine that has nothing else to do.
pytestmark = [pytest.mark.wallclock, pytest.mark.stress, pytest.mark.asyncio, pytest.mark.timeout(180)]

CODECS: dict[str, Codec] = {"posthog-v0": PostHogV0(KEY), "posthog-v1": PostHogV1(KEY)}


# Each cut meets a new connection, and is a failed attempt; or a kept-alive one, which is replaced within the attempt.
CASES: list[tuple[str, Literal["new", "kept alive"], Literal["FIN", "RST"]]] = [
    ("posthog-v0", "new", "FIN"),
    ("posthog-v0", "new", "RST"),
    ("posthog-v0", "kept alive", "RST"),
    ("posthog-v1", "new", "FIN"),
    ("posthog-v1", "new", "RST"),
    ("posthog-v1", "kept alive", "FIN"),
]


def accepting(connection: str) -> Script:
    """Answers as PostHog does: v1 with a result per event."""

    async def script(peer: Peer) -> None:
        assert peer.request is not None
        results = {uuid: {"result": "ok"} for uuid in peer.request.uuids}
        is_last = connection == "new"
        lines = ["Connection: close"] if is_last else []
        await peer.say(answer(200, json.dumps({"results": results}).encode(), *lines))
        if is_last:
            peer.close()

    return script


@pytest.mark.parametrize(("codec", "connection", "end"), CASES)
async def test_a_cut_after_any_byte_loses_nothing(
    codec: str, connection: str, end: str, pipeline: Pipelines, record: Record
) -> None:
    """Each event arrives; one arrives twice only where the far end had read all of it before the cut."""
    cuts = duplicates = 0
    async with RawServer(default=accepting(connection)) as server, CuttingProxy(server.port) as proxy:
        sink = pipeline.sink(proxy.url, CODECS[codec])
        async with pipeline.client(sink, debug=False) as pipe, asyncio.timeout(8 * PATIENT):
            await pipe.outcomes()
            sizes = dict(proxy.passed)
            for way, after in places(sizes):
                before = len(server.requests)
                proxy.cut = (way, after, end == "RST")
                (outcome,) = await pipe.outcomes()

                assert outcome.kind is OutcomeKind.DELIVERED, (way, after)
                assert proxy.has_cut
                copies = Counter(uuid for request in server.requests[before:] for uuid in request.uuids)
                had_it = way == "answer" or after >= sizes["request"]
                assert copies.keys() == set(outcome.uuids), (way, after)
                assert copies[outcome.uuids[0]] <= 1 + had_it, (way, after)
                cuts += 1
                duplicates += copies[outcome.uuids[0]] - 1
        lost = pipe.client.statistics().captured - pipe.client.statistics().delivered
    assert lost == 0
    sent = f"{sizes['request']}+{sizes['answer']}"
    record(f"{codec}, {connection}, {end}", cuts=cuts, lost=lost, duplicates=duplicates, bytes=sent)


def places(sizes: dict[Way, int]) -> list[tuple[Way, int]]:
    """Every byte of both ways, the last one included."""
    ways: list[Way] = ["request", "answer"]
    return [(way, after) for way in ways for after in range(sizes[way] + 1)]
