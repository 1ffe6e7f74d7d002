"""Lanes as a client's user meets them: apart, within limits of their own, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    CapturedEvent,
    DropReason,
    Event,
    OutcomeKind,
    PermanentSinkError,
    Verdict,
)
from eventpipe.outcomes import DELIVERED
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio


class LaneSink(GatedSink):
    """A far end with a lane for imports and one for language models, which takes larger events."""

    max_event_bytes = 1_000
    lane_event_bytes = {"ai": 5_000}  # noqa: RUF012 - never changed

    def lane(self, event: CapturedEvent) -> str | None:
        return event.lane if event.lane in ("historical", "ai") else None


async def test_lanes_never_share_a_batch() -> None:
    """Live events, imports and those of language models travel apart, each in capture order."""
    sink = LaneSink()
    sink.release()
    async with AsyncClient(sink) as client:
        for number in range(3):
            await client.capture(f"live {number}")
            await client.capture(f"old {number}", lane="historical")
            await client.capture_ai(f"asked {number}")

    assert sorted((str(batch.lane), [event.event for event in batch.events]) for batch in sink.attempts) == [
        ("None", ["live 0", "live 1", "live 2"]),
        ("ai", ["asked 0", "asked 1", "asked 2"]),
        ("historical", ["old 0", "old 1", "old 2"]),
    ]


async def test_an_event_of_a_language_model_has_a_limit_of_its_own() -> None:
    """It may be larger than others; beyond its lane's limit it is dropped like any other."""
    sink = LaneSink()
    sink.release()
    async with AsyncClient(sink) as client:
        live = await client.capture("live", properties={"text": "x" * 2_000})
        asked = await client.capture_ai("asked", properties={"text": "x" * 2_000})
        too_large = await client.capture_ai("asked", properties={"text": "x" * 6_000})
        nowait = client.capture_nowait("asked", properties={"text": "x" * 2_000}, lane="ai")

    reasons = [receipt.reason for receipt in (live, asked, too_large, nowait)]
    assert reasons == [DropReason.TOO_LARGE, None, DropReason.TOO_LARGE, None]
    assert [event.uuid for event in sink.events] == [asked.uuid, nowait.uuid]


async def test_capture_ai_takes_what_capture_takes() -> None:
    """By name or as an ``Event``; a supplied id is kept."""
    sink = MemorySink()
    uuid = "0190a0a0-0000-7000-8000-000000000001"
    async with AsyncClient(sink) as client:
        receipt = await client.capture_ai("asked", distinct_id="u1", properties={"n": 1}, uuid=uuid, key="k")
        await client.capture_ai(Event("answered", distinct_id="u2"))

    assert receipt.uuid == uuid
    assert [(event.event, event.distinct_id, event.lane) for event in sink.events] == [
        ("asked", "u1", "ai"),
        ("answered", "u2", "ai"),
    ]
    assert (sink.events[0].uuid, sink.events[0].key, sink.events[0].properties) == (uuid, "k", {"n": 1})


async def test_capture_ai_refuses_another_lane_and_arguments_beside_an_event() -> None:
    """Each error names the rule, and nothing is captured."""
    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(ValueError, match=r"^lane must be 'ai' or None here, not 'historical'; use capture\(\)"):
            await client.capture_ai("asked", lane="historical")
        with pytest.raises(TypeError, match="an Event has all arguments of capture"):
            await client.capture_ai(Event("asked"), distinct_id="u1")
        with pytest.raises(TypeError, match="distinct"):
            await client.capture_ai("asked", distinct="u1")  # type: ignore[call-arg]

        assert client.statistics().captured == 0


async def test_a_change_of_lane_delays_no_flush() -> None:
    """Events of three lanes that take turns leave at once, in three batches, and the flush has waited for nothing."""
    sink = LaneSink()
    sink.release()
    async with AsyncClient(sink, max_batch_age=60) as client:
        for number in range(300):
            await client.capture("e", lane=(None, "historical", "ai")[number % 3])
        loop = asyncio.get_running_loop()
        began = loop.time()

        report = await client.flush()

        assert (report.delivered, report.pending) == (300, 0)
        assert loop.time() - began < 0.001
        assert [len(batch.events) for batch in sink.attempts] == [100, 100, 100]


async def test_a_far_end_s_size_limit_is_learned_once_per_lane() -> None:
    """After a 413 no batch of that size is made again in that lane; the others stay as they were."""
    limit = 2_000
    sizes: list[tuple[str | None, int]] = []

    class SmallSink(LaneSink):
        async def send(self, batch: Batch) -> Sequence[Verdict] | None:
            sizes.append((batch.lane, batch.size))
            if batch.lane is None and batch.size > limit:
                raise PermanentSinkError("too large", scope="size", status=413)
            return None

    async with AsyncClient(SmallSink(), batch_events=64, max_batch_bytes=10_000, workers=1) as client:
        for _ in range(5):
            for _ in range(64):
                await client.capture("e", properties={"text": "x" * 30})
                await client.capture("e", properties={"text": "x" * 30}, lane="historical")
            await client.flush()
        statistics = check_ledger(client)

    refused = [size for lane, size in sizes if lane is None and size > limit]
    assert statistics.delivered == 640
    assert statistics.dropped == 0
    assert len(refused) == 1 + 2 + 4  # the first batch, halved until it fits
    assert all(size <= limit for lane, size in sizes[len(sizes) // 2 :] if lane is None)
    assert sum(size > limit for lane, size in sizes if lane == "historical") == 5


async def test_words_of_a_far_end_on_what_it_took_reach_the_receipt() -> None:
    """A delivery with a warning is a delivery: counted as one, told with its words, and no error."""
    errors: list[object] = []

    def judge(batch: Batch) -> list[Verdict]:
        return [
            Verdict(OutcomeKind.DELIVERED, "warning", detail="clock is off") if event.event == "odd" else DELIVERED
            for event in batch.events
        ]

    async with AsyncClient(CallbackSink(judge), on_error=errors.append) as client:
        outcomes = await client.deliver([Event("a"), Event("odd"), Event("b")])
        statistics = check_ledger(client)

    assert [(one.kind, one.reason, one.error) for one in outcomes] == [
        (OutcomeKind.DELIVERED, None, None),
        (OutcomeKind.DELIVERED, "warning", "clock is off"),
        (OutcomeKind.DELIVERED, None, None),
    ]
    assert (statistics.delivered, statistics.dropped, errors) == (3, 0, [])


async def test_a_sink_that_takes_one_event_a_request_gets_one() -> None:
    """``max_batch_events`` of the sink goes before the client's ``batch_events``; many are sent at once."""

    class SingleSink(GatedSink):
        max_batch_events = 1

    sink = SingleSink()
    async with AsyncClient(sink, workers=4) as client:
        for _ in range(10):
            await client.capture("e")
        await sink.reached(4)
        assert len(sink.attempts) == 4
        sink.release()

    assert [len(batch.events) for batch in sink.attempts] == [1] * 10
