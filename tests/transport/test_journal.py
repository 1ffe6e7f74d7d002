"""Whoever turns the logger on reads each batch's life on one line; whoever does not pays nothing for it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import anyio
import pytest

from eventpipe import AsyncClient, Batch, PermanentSinkError, RetryPolicy, TransientSinkError
from eventpipe.outcomes import OutcomeKind, Verdict
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink
from eventpipe.transport.journal import NAME

pytestmark = pytest.mark.asyncio

STEADY = RetryPolicy(jitter=0.0)

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What was written so far, ids left out."""
    caplog.set_level(logging.DEBUG, logger=NAME)

    def written() -> list[str]:
        texts = [record.getMessage() for record in caplog.records if record.name == NAME]
        return [re.sub(r"[0-9a-f]{8}-[-0-9a-f]{27}", "ID", text) for text in texts]

    return written


async def test_a_delivered_batch_is_one_line(lines: Lines) -> None:
    """What it was, how long it waited, and what its attempt led to."""
    async with AsyncClient(MemorySink(name="far")) as client:
        await client.capture_many(["a", "b"])
        await client.flush()

        assert lines() == ["batch ID to far: 2 events, 272 bytes, queued 0.000 s; attempt 1: 2 delivered in 0.000 s"]


async def test_attempts_of_one_batch_share_its_line(lines: Lines) -> None:
    """Each with what it led to, the wait before it, and what goes again."""
    is_down = True

    def send(batch: Batch) -> list[Verdict]:
        nonlocal is_down
        if is_down:
            is_down = False
            raise TransientSinkError("busy", reason="status_503")
        return [Verdict(OutcomeKind.DELIVERED), Verdict(OutcomeKind.DROPPED, "rejected")]

    async with AsyncClient(CallbackSink(send), retry=STEADY) as client:
        await client.capture_many(["a", "b"])
        await client.flush()
        await anyio.wait_all_tasks_blocked()
        assert [line.split("; ")[1:] for line in lines()] == [
            [
                "attempt 1: 2 failed as status_503 in 0.000 s, again as attempt 2",
                "attempt 2 0.500 s later: 1 dropped as rejected, 1 delivered in 0.000 s",
            ]
        ]


async def test_a_batch_that_is_halved_names_its_halves(lines: Lines) -> None:
    """Each half has a line of its own."""

    def send(batch: Batch) -> None:
        if len(batch.events) > 1:
            raise PermanentSinkError("too large", scope="size")

    async with AsyncClient(CallbackSink(send)) as client:
        await client.capture_many(["a", "b"])
    whole, *halves = lines()
    assert whole.endswith("attempt 1: 2 failed as too_large in 0.000 s; goes on as ID and ID")
    assert [half.rpartition("; ")[2] for half in halves] == ["attempt 1: 1 delivered in 0.000 s"] * 2


async def test_a_batch_given_up_by_a_close_has_its_line(lines: Lines) -> None:
    """It ends between two attempts; what was never attempted has none."""

    def send(batch: Batch) -> None:
        raise TransientSinkError("busy", reason="status_429", retry_after=3600)

    client = AsyncClient(CallbackSink(send))
    await client.capture("a")
    await client.flush(2)
    await client.capture("b")
    await client.aclose(1)

    (line,) = lines()
    assert line.endswith("again as attempt 2; given up")


async def test_a_batch_that_expires_has_its_line(lines: Lines) -> None:
    """It is older than its events may be when its next attempt would begin."""

    def send(batch: Batch) -> None:
        raise TransientSinkError("busy", reason="status_503")

    async with AsyncClient(CallbackSink(send), retry=STEADY, max_event_age=0.2, max_batch_age=0.0) as client:
        await client.capture("a")
        await client.flush(5)
        (line,) = lines()
        assert line.endswith("again as attempt 2; expired")


async def test_lines_may_be_wanted_at_any_time(caplog: pytest.LogCaptureFixture, lines: Lines) -> None:
    """What was attempted before is not kept, and not told."""
    caplog.set_level(logging.INFO, logger=NAME)
    sink = GatedSink()
    async with AsyncClient(sink, retry=STEADY) as client:
        await client.capture("a")
        await sink.reached(1)
        sink.release(1, error=TransientSinkError("busy", reason="status_503"))
        await anyio.wait_all_tasks_blocked()
        caplog.set_level(logging.DEBUG, logger=NAME)
        sink.release()
        await client.flush()
        (line,) = lines()
        assert line.split("; ")[1:] == ["attempt 2 0.000 s later: 1 delivered in 0.000 s"]


async def test_what_was_begun_is_forgotten_when_lines_are_not_wanted_any_more(
    caplog: pytest.LogCaptureFixture, lines: Lines
) -> None:
    """Or each turn of the switch would leave batches behind until the close."""
    sink = GatedSink()
    async with AsyncClient(sink, retry=STEADY) as client:
        await client.capture("a")
        await sink.reached(1)
        sink.release(1, error=TransientSinkError("busy", reason="status_503"))
        await anyio.wait_all_tasks_blocked()
        caplog.set_level(logging.INFO, logger=NAME)
        sink.release()
        await client.flush()
        caplog.set_level(logging.DEBUG, logger=NAME)

    assert lines() == []


@pytest.mark.parametrize("level", [logging.INFO, logging.NOTSET])
async def test_nothing_is_written_unless_wanted(level: int, caplog: pytest.LogCaptureFixture, lines: Lines) -> None:
    """This logger decides: a program all of whose loggers are at DEBUG did not ask for a line per batch."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(level, logger=NAME)
    async with AsyncClient(MemorySink()) as client:
        await client.capture("a")

    assert lines() == []
