"""Crowds: what a thousand callers cost grows with their number, not with its square."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink, VirtualTimeLoop, check_ledger

SMALL, LARGE = 250, 1000
LINEAR = 6  # the larger crowd may cost so many times the smaller; four times is linear, sixteen is the square


@dataclass
class Cost:
    """What a piece of code cost the loop.

    Attributes:
        callbacks: Calls that the loop was asked to make: steps of tasks, wake-ups and the like.
        steps: Turns of the loop.
    """

    callbacks: int = 0
    steps: int = 0


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cost]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    cost = Cost(steps=-loop.steps)
    call_soon = loop.call_soon

    def counting(*args: Any, **kwargs: Any) -> asyncio.Handle:  # Any: handed through as they come
        cost.callbacks += 1
        return call_soon(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon", counting)
        yield cost
    cost.steps += loop.steps


async def waiting_for_room(crowd: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Callers in line for a queue of ten, let in a batch at a time."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=10, batch_events=5, workers=2, overflow="wait") as client:
        callers = [asyncio.create_task(client.capture("e")) for _ in range(crowd)]
        await anyio.wait_all_tasks_blocked()
        assert check_ledger(client).waiting_room == crowd - 10
        with counted(monkeypatch) as cost:
            sink.release()
            receipts = await asyncio.gather(*callers)
        assert all(receipt.accepted for receipt in receipts)
    check_ledger(client, received=sink.uuids, captured=[receipt.uuid for receipt in receipts], drained=True)
    return cost


async def giving_up(crowd: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Callers in line that are cancelled, one after another, from the middle on."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=1, overflow="wait") as client:
        await client.capture("e")
        callers = [asyncio.create_task(client.capture("e")) for _ in range(crowd)]
        await anyio.wait_all_tasks_blocked()
        with counted(monkeypatch) as cost:
            for caller in callers[crowd // 2 :] + callers[: crowd // 2]:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        assert check_ledger(client).dropped_by_reason == {"abandoned": crowd}
        sink.release()
    return cost


async def flushing_together(crowd: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Flushes at one place."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=10_000) as client:
        await client.capture("e")
        with counted(monkeypatch) as cost:
            flushes = [asyncio.create_task(client.flush()) for _ in range(crowd)]
            await anyio.wait_all_tasks_blocked()
            sink.release()
            reports = await asyncio.gather(*flushes)
    assert [report.delivered for report in reports] == [1] * crowd
    return cost


async def flushing_in_a_row(crowd: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Flushes at as many places: an event before each."""
    sink = GatedSink()

    async def capture_and_flush(client: AsyncClient) -> int:
        client.capture_nowait("e")
        return (await client.flush()).delivered

    async with AsyncClient(sink, queue_events=10_000) as client:
        with counted(monkeypatch) as cost:
            flushes = [asyncio.create_task(capture_and_flush(client)) for _ in range(crowd)]
            await anyio.wait_all_tasks_blocked()
            sink.release()
            delivered = await asyncio.gather(*flushes)
    assert delivered == list(range(1, crowd + 1))
    return cost


async def awaiting_outcomes(crowd: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Callers that each wait for what becomes of their event."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        receipts = await client.capture_many(["e"] * crowd)
        with counted(monkeypatch) as cost:
            await asyncio.gather(*(receipt.outcome() for receipt in receipts))
    return cost


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "crowd", [waiting_for_room, giving_up, flushing_together, flushing_in_a_row, awaiting_outcomes]
)
async def test_cost_of_a_crowd_grows_with_its_number(
    crowd: Callable[[int, pytest.MonkeyPatch], Awaitable[Cost]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times as many callers make less than six times the wake-ups, and turns of the loop."""
    small, large = await crowd(SMALL, monkeypatch), await crowd(LARGE, monkeypatch)

    assert large.callbacks < LINEAR * small.callbacks
    assert large.steps < LINEAR * small.steps
