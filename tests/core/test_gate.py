"""Parking: everybody sees every move, a cancelled waiter takes nothing along, and idling costs nothing."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventpipe.core.gate import Gate
from eventpipe.errors import ClosedError
from eventpipe.testing.loop import VirtualTimeLoop
from eventpipe.testing.sweep import Swept, cancellation_sweep
from tests.core.test_channel_loops import leave_running


async def park(gate: Gate, count: int) -> list[asyncio.Task[None]]:
    """So many waiters for the next move, each in a task that has parked."""
    tasks = [asyncio.create_task(gate.wait(gate.version)) for _ in range(count)]
    await asyncio.sleep(0)
    assert gate.waiting == count
    return tasks


@pytest.mark.asyncio
async def test_a_move_that_was_not_seen_needs_no_wait() -> None:
    """Who looked before the move, and waits after it, returns without suspending."""
    gate = Gate()
    seen = gate.version
    gate.move()

    with pytest.raises(StopIteration):  # what a coroutine that ran to its end raises
        gate.wait(seen).send(None)

    assert (gate.version, gate.waiting) == (1, 0)


@pytest.mark.asyncio
async def test_a_move_wakes_everybody_in_one_turn() -> None:
    """All of those who park have returned when the loop has turned once."""
    gate = Gate()
    tasks = await park(gate, 50)

    gate.move()
    await asyncio.sleep(0)

    assert all(task.done() for task in tasks)
    assert gate.waiting == 0


@pytest.mark.asyncio
async def test_moves_before_a_waiter_runs_are_one_wake_up() -> None:
    """Three moves wake it once; it sees the version of the last."""
    gate = Gate()
    seen: list[int] = []

    async def look() -> None:
        while True:
            await gate.wait(gate.version)
            seen.append(gate.version)

    task = asyncio.create_task(look())
    await asyncio.sleep(0)
    for _ in range(3):
        gate.move()
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert seen == [3]


@pytest.mark.asyncio
async def test_who_parks_again_waits_for_the_next_move() -> None:
    """A waiter that comes back while others are still being woken is not woken by the same move."""
    gate = Gate()
    (first, *_) = await park(gate, 3)
    again: list[asyncio.Task[None]] = []
    first.add_done_callback(lambda _: again.append(asyncio.ensure_future(gate.wait(gate.version))))

    gate.move()
    for _ in range(5):
        await asyncio.sleep(0)

    assert [task.done() for task in again] == [False]
    assert gate.waiting == 1
    gate.move()
    await again[0]


@pytest.mark.asyncio
async def test_parking_takes_no_turn_of_the_loop() -> None:
    """Fifty waiters cause no wake-up in an hour."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    gate = Gate()
    tasks = await park(gate, 50)
    before = loop.steps

    await asyncio.sleep(3600)

    assert loop.steps - before <= 3
    gate.move()
    await asyncio.gather(*tasks)


@pytest.mark.asyncio
async def test_closing_ends_all_waiting() -> None:
    """Those who park, those who come, and those who come for a version that is past, are told why."""
    gate = Gate()
    tasks = await park(gate, 2)
    assert not gate.is_closed

    gate.close("the store was closed")
    gate.close("a second time")
    ends = await asyncio.gather(*tasks, gate.wait(gate.version), gate.wait(-1), return_exceptions=True)

    assert [type(end) for end in ends] == [ClosedError] * 4
    assert {str(end) for end in ends} == {"the store was closed"}
    assert (gate.is_closed, gate.waiting, gate.version) == (True, 0, 0)


@pytest.mark.asyncio
async def test_a_gate_closed_behind_a_move_is_closed() -> None:
    """Who was woken by a move, and runs after the close, is told of the close."""
    gate = Gate()
    (task,) = await park(gate, 1)

    gate.move()
    gate.close()

    with pytest.raises(ClosedError, match="what this waits for was closed"):
        await task


@pytest.mark.parametrize("moves_first", [True, False], ids=["move, cancel", "cancel, move"])
@pytest.mark.asyncio
async def test_a_waiter_cancelled_in_the_step_of_a_move_takes_no_wake_up(moves_first: bool) -> None:
    """It is cancelled, and the others return."""
    gate = Gate()
    first, *others = await park(gate, 3)

    if moves_first:
        gate.move()
        first.cancel()
    else:
        first.cancel()
        gate.move()
    await asyncio.wait({first, *others})

    assert first.cancelled()
    assert [task.exception() for task in others] == [None, None]
    assert gate.waiting == 0


@pytest.mark.asyncio
async def test_nothing_is_kept_of_a_waiter_that_is_gone() -> None:
    """Of a thousand that were cancelled, and of a thousand that were woken, no future is left."""
    gate = Gate()
    for _ in range(2):
        tasks = await park(gate, 1000)
        futures = [weakref.ref(future) for future in gate._parked]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.waiting == 0
        tasks = await park(gate, 1000)
        futures += [weakref.ref(future) for future in gate._parked]
        gate.move()
        await asyncio.gather(*tasks)
        del tasks, task
        gc.collect()

        assert [future for future in futures if future() is not None] == []


@pytest.mark.asyncio
async def test_a_waiter_cancelled_anywhere_leaves_the_others_their_wake_up() -> None:
    """At every point of its wait, before, with and after a move: a neighbour returns, and nobody is left."""

    @asynccontextmanager
    async def waiting() -> AsyncIterator[Swept]:
        gate = Gate()
        before, after = asyncio.create_task(gate.wait(0)), asyncio.create_task(gate.wait(0))
        mover = asyncio.get_running_loop().call_later(1, gate.move)
        yield gate.wait(0)
        await before
        await after
        mover.cancel()
        assert (gate.version, gate.waiting) == (1, 0)

    assert await cancellation_sweep(waiting) > 0


@pytest.mark.asyncio
async def test_a_storm_of_cancellations_loses_no_wake_up() -> None:
    """Workers that are cancelled at random, while events come, take every one: a lost wake-up would be a deadlock."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it when the test fails
    chance = random.Random(seed)
    gate = Gate()
    events: list[int] = []
    taken: list[int] = []
    all_taken = asyncio.Event()

    async def work() -> None:
        while True:
            seen = gate.version
            if events:
                taken.append(events.pop())
                await asyncio.sleep(0)
            else:
                all_taken.set()
                await gate.wait(seen)

    workers = [asyncio.create_task(work()) for _ in range(10)]
    for event in range(3000):
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        events.append(event)
        all_taken.clear()
        gate.move()
        for place in chance.sample(range(10), chance.randrange(10)):
            workers[place].cancel()
            workers[place] = asyncio.create_task(work())
        if chance.random() < 0.5:
            await all_taken.wait()
    await all_taken.wait()
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)

    assert sorted(taken) == list(range(3000))
    assert gate.waiting == 0


def test_waiters_of_a_closed_loop_hold_up_nobody() -> None:
    """The next move, in another loop, forgets them and wakes who is there."""
    gate = Gate()

    async def wait_and_move() -> None:
        task = asyncio.create_task(gate.wait(gate.version))
        await asyncio.sleep(0)
        gate.move()
        await task

    stranded = leave_running(lambda: gate.wait(gate.version))
    assert gate.waiting == 1
    asyncio.run(wait_and_move())

    assert gate.waiting == 0
    del stranded
