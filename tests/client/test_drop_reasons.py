"""The closed list of reasons to drop: a way to each, and each tells all who have to know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    DropReason,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    Receipt,
    RetryPolicy,
    TransientSinkError,
    Verdict,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, HangingSink, check_ledger

pytestmark = pytest.mark.asyncio


class Bench:
    """Makes the client of a scenario, and keeps what its callback was told.

    Attributes:
        client: The one that was made.
        told: What ``on_drop`` saw.
    """

    def __init__(self) -> None:
        self.client: AsyncClient
        self.told: list[Outcome] = []

    def make(self, sink: Any, **options: Any) -> AsyncClient:
        self.client = AsyncClient(sink, on_drop=self.told.append, **options)
        return self.client


Scenario = Callable[[Bench], Awaitable[Receipt | None]]


async def queue_full(bench: Bench) -> Receipt:
    sink = GatedSink()
    client = bench.make(sink, queue_events=1)
    await client.capture("first")
    receipt = await client.capture("second")
    sink.release()
    return receipt


async def queue_full_pushes_out(bench: Bench) -> Receipt:
    sink = GatedSink()
    client = bench.make(sink, queue_events=2, batch_events=1, workers=1, overflow="drop_oldest")
    await client.capture("in flight")
    await sink.reached(1)
    receipt = await client.capture("oldest")
    await client.capture("newest")
    sink.release()
    return receipt


async def queue_full_after_a_wait(bench: Bench) -> Receipt:
    sink = GatedSink()
    client = bench.make(sink, queue_events=1, overflow="wait", overflow_timeout=1)
    await client.capture("first")
    receipt = await client.capture("second")
    sink.release()
    return receipt


async def closed(bench: Bench) -> Receipt:
    client = bench.make(MemorySink())
    await client.aclose()
    return await client.capture("late")


async def invalid(bench: Bench) -> Receipt:
    return await bench.make(MemorySink()).capture("")


async def too_large(bench: Bench) -> Receipt:
    return await bench.make(MemorySink(), max_event_bytes=1000).capture("large", properties={"text": "x" * 1000})


async def too_large_for_the_far_end(bench: Bench) -> Receipt:
    return await refused_with(PermanentSinkError(scope="size"))(bench)


async def before_send(bench: Bench) -> Receipt:
    return await bench.make(MemorySink(), before_send=lambda event: None).capture("private")


def said_by_the_hook(reason: DropReason) -> Callable[[Bench], Awaitable[Receipt]]:
    """A hook that says why it wants the event dropped."""

    async def scenario(bench: Bench) -> Receipt:
        return await bench.make(MemorySink(), before_send=lambda event: reason).capture("unwanted")

    return scenario


async def abandoned(bench: Bench) -> None:
    sink = GatedSink()
    client = bench.make(sink, queue_events=1, overflow="wait")
    await client.capture("first")
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await client.capture("second")
    sink.release()


async def expired(bench: Bench) -> Receipt:
    def fail(batch: Batch) -> None:
        raise TransientSinkError(retry_after=60)

    receipt = await bench.make(CallbackSink(fail), max_event_age=30).capture("old")
    await asyncio.sleep(120)
    return receipt


def refused_with(error: Exception) -> Callable[[Bench], Awaitable[Receipt]]:
    """A far end that gives the same answer each time."""

    def fail(batch: Batch) -> None:
        raise error

    async def scenario(bench: Bench) -> Receipt:
        client = bench.make(CallbackSink(fail), retry=RetryPolicy(max_attempts=2))
        receipt = await client.capture("e")
        await client.flush(timeout=60)
        return receipt

    return scenario


def judged(reason: DropReason | None) -> Callable[[Bench], Awaitable[Receipt]]:
    """A far end that gives its verdict on each event."""

    async def scenario(bench: Bench) -> Receipt:
        client = bench.make(CallbackSink(lambda batch: [Verdict(OutcomeKind.DROPPED, reason) for _ in batch.events]))
        receipt = await client.capture("e")
        await client.flush()
        return receipt

    return scenario


async def close_deadline(bench: Bench) -> Receipt:
    client = bench.make(HangingSink())
    receipt = await client.capture("stuck")
    await client.aclose(timeout=1)
    return receipt


# The reason, a way to it, and whether the event had been taken in before (``None``: nobody has its receipt).
ROWS: list[tuple[DropReason, Scenario, bool | None]] = [
    (DropReason.QUEUE_FULL, queue_full, False),
    (DropReason.QUEUE_FULL, queue_full_pushes_out, True),
    (DropReason.QUEUE_FULL, queue_full_after_a_wait, False),
    (DropReason.CLOSED, closed, False),
    (DropReason.INVALID, invalid, False),
    (DropReason.TOO_LARGE, too_large, False),
    (DropReason.TOO_LARGE, too_large_for_the_far_end, True),
    (DropReason.BEFORE_SEND, before_send, False),
    (DropReason.BEFORE_SEND, said_by_the_hook(DropReason.BEFORE_SEND), False),
    (DropReason.SAMPLED, said_by_the_hook(DropReason.SAMPLED), False),
    (DropReason.NOT_ALLOWED, said_by_the_hook(DropReason.NOT_ALLOWED), False),
    (DropReason.ABANDONED, abandoned, None),
    (DropReason.EXPIRED, expired, True),
    (DropReason.EXHAUSTED, refused_with(TransientSinkError()), True),
    (DropReason.REJECTED, refused_with(PermanentSinkError(scope="event")), True),
    (DropReason.REJECTED, refused_with(PermanentSinkError(scope="batch")), True),
    (DropReason.REJECTED, judged(None), True),
    (DropReason.UNKNOWN_VERDICT, judged(DropReason.UNKNOWN_VERDICT), True),
    (DropReason.UNANSWERED, judged(DropReason.UNANSWERED), True),
    (DropReason.UNAUTHORIZED, refused_with(PermanentSinkError(scope="sink", reason=DropReason.UNAUTHORIZED)), True),
    (DropReason.MISCONFIGURED, refused_with(PermanentSinkError(scope="sink")), True),
    (DropReason.CLOSE_DEADLINE, close_deadline, True),
]


async def test_there_is_a_way_to_each_reason() -> None:
    """The list is closed: no member is without its row, but that of events which nobody can read any more."""
    assert {reason for reason, _, _ in ROWS} == set(DropReason) - {DropReason.DAMAGED}  # see test_spool


@pytest.mark.parametrize(
    ("reason", "scenario", "accepted"), ROWS, ids=[f"{reason}-{row}" for row, (reason, *_) in enumerate(ROWS)]
)
async def test_every_reason_to_drop_is_told(
    reason: DropReason, scenario: Scenario, accepted: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    """One event leaves with it: counters, receipt, outcome, report, callback and log say so, each once.

    The log says nothing of what a hook dropped on purpose.
    """
    bench = Bench()

    receipt = await scenario(bench)

    statistics = check_ledger(bench.client)
    assert statistics.dropped_by_reason == {reason: 1}
    [outcome] = bench.told
    assert (outcome.kind, outcome.reason, len(outcome.captured)) == (OutcomeKind.DROPPED, reason, 1)
    if receipt is not None:
        assert (receipt.accepted, receipt.reason) == (accepted, None if accepted else reason)
        settled = await receipt.outcome(timeout=0)
        assert (settled.kind, settled.reason, settled.uuids) == (OutcomeKind.DROPPED, reason, (receipt.uuid,))
        assert outcome.uuids == (receipt.uuid,)
    report = await bench.client.aclose()
    if scenario is not closed:  # what comes after the close is in no report
        assert (report.dropped_by_reason, report.dropped, bool(report)) == ({reason: 1}, 1, False)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    wanted = reason in (DropReason.SAMPLED, DropReason.NOT_ALLOWED)
    assert len(lines) == (0 if wanted else 1)
    assert all(f"events are being dropped, reason {reason}" in line for line in lines)
    check_ledger(bench.client, drained=True)
