"""What a hook may do to its client: whatever it is, it is contained, counted, and has an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any

import anyio
import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    ClosedError,
    CloseReport,
    DropReason,
    Event,
    FlushReport,
    Outcome,
    PermanentSinkError,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import check_ledger

pytestmark = pytest.mark.asyncio

HOOKS = ["before_send", "on_drop", "on_error"]


def refuse_bad(batch: Batch) -> None:
    if batch.events[0].event == "bad":
        raise PermanentSinkError


def client_with(hook: str, work: Callable[[], object]) -> AsyncClient:
    """A client whose ``hook`` calls ``work``, over a far end that refuses what is called bad."""

    def pass_on(event: Event) -> Event:
        work()
        return event

    hooks: dict[str, Any] = {hook: pass_on if hook == "before_send" else lambda _: work()}
    return AsyncClient(CallbackSink(refuse_bad), batch_events=1, **hooks)


@pytest.mark.parametrize("hook", HOOKS)
async def test_hook_that_begins_a_close_does_not_deadlock(hook: str) -> None:
    """The close waits for the outcome that the hook is told of, and for everything before it; it ends by itself."""
    closes: list[asyncio.Task[CloseReport]] = []
    client = client_with(hook, lambda: closes.append(asyncio.create_task(client.aclose(50))))
    await client.capture_many(["bad", "good"])

    await anyio.wait_all_tasks_blocked()
    reports = await asyncio.gather(*closes)

    assert len(closes) == (2 if hook == "before_send" else 1)
    assert {(report.delivered, report.dropped, report.pending) for report in reports} == {(1, 1, 0)}
    assert asyncio.get_running_loop().time() < 1
    assert check_ledger(client, drained=True).hook_errors == 0


@pytest.mark.parametrize("strict", [False, True])
async def test_event_whose_own_hook_closes_the_client_is_refused_as_closed(strict: bool) -> None:
    """A close that begins at once, as in a loop whose tasks are eager, is the reason, not a queue that has room."""
    closes: list[Coroutine[Any, Any, CloseReport]] = []

    def begin_close(event: Event) -> Event:
        closes.append(client.aclose(50))
        closes[0].send(None)
        return event

    client = AsyncClient(MemorySink(), before_send=begin_close, strict=strict)
    with pytest.raises(ClosedError) if strict else nullcontext():
        assert (await client.capture("e")).reason == DropReason.CLOSED
    closes[0].close()

    assert (await client.aclose()).dropped_by_reason == {DropReason.CLOSED: 1}
    check_ledger(client, drained=True)


@pytest.mark.parametrize("hook", HOOKS)
async def test_hook_that_begins_a_flush_does_not_deadlock(hook: str) -> None:
    """Each flush ends with what was captured before it, the event that the hook is about included or not yet there."""
    flushes: list[asyncio.Task[FlushReport]] = []
    client = client_with(hook, lambda: flushes.append(asyncio.create_task(client.flush(50))))
    async with client:
        await client.capture_many(["bad", "good"])
        await client.flush()

        reports = await asyncio.gather(*flushes)

        assert len(flushes) == (2 if hook == "before_send" else 1)
        assert [report.pending for report in reports] == [0] * len(flushes)
    assert asyncio.get_running_loop().time() < 1
    assert check_ledger(client, drained=True).hook_errors == 0


@pytest.mark.parametrize("hook", HOOKS)
async def test_hook_that_blocks_is_measured_and_named(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be interrupted, but nobody has to look for it; events are settled as without it."""
    client = client_with(hook, lambda: time.sleep(0.11))
    async with client:
        await client.capture("bad")
        report = await client.flush()

    statistics = check_ledger(client, drained=True)
    assert (report.dropped, report.pending) == (1, 0)
    assert 0.11 <= statistics.slowest_hook < 5
    assert f"{hook} held up its caller for 0." in caplog.text


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncio.CancelledError("x")], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("hook", ["on_drop", "on_error"])
async def test_callback_that_raises_each_time_ends_no_worker(hook: str, error: BaseException) -> None:
    """A hundred refusals with one worker: each is told, each error counted, and what comes after is delivered."""
    told = 0

    def work() -> None:
        nonlocal told
        told += 1
        raise error

    client = client_with(hook, work)
    await client.capture_many(["bad"] * 100 + ["good"])

    report = await client.aclose()

    assert (report.delivered, report.dropped, told) == (1, 100, 100)
    assert check_ledger(client, drained=True).hook_errors == 100


async def test_callback_that_captures_at_each_failure_stays_within_the_bound() -> None:
    """Three events about each failed attempt, over a far end that always fails: the bound holds, and it ends."""
    most = 0

    async def fail(batch: Batch) -> None:
        await asyncio.sleep(0.1)
        raise PermanentSinkError

    def on_error(outcome: Outcome) -> None:
        nonlocal most
        for _ in range(3):
            client.capture_nowait("failure")
        most = max(most, check_ledger(client).pending)

    client = AsyncClient(CallbackSink(fail), queue_events=10, batch_events=1, workers=4, on_error=on_error)
    await client.capture("e")
    await asyncio.sleep(10)

    report = await client.aclose(5)

    assert most == 10
    assert (report.delivered, report.pending) == (0, 0)
    assert report.dropped_by_reason.keys() == {"rejected", "queue_full", "closed"}
    check_ledger(client, drained=True)
