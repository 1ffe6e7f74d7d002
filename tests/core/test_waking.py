"""Waking tasks of this loop, of another thread's, and of one that is gone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from eventpipe.core.waking import wake


@pytest.mark.asyncio
async def test_waiter_of_the_running_loop_is_resolved_at_once() -> None:
    """It is its own loop's turn already."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    wake(future)
    assert future.done()
    wake(future)

    await future


@pytest.mark.asyncio
async def test_waiter_that_was_cancelled_is_left_alone() -> None:
    """Whoever it was for is gone."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()

    wake(future)

    assert future.cancelled()


@pytest.mark.wallclock
@pytest.mark.parametrize("times", [1, 2])
def test_waiter_of_another_loop_is_woken_there(times: int) -> None:
    """From a thread without a loop, and twice at once."""
    waiting = threading.Event()
    futures: list[asyncio.Future[None]] = []

    async def wait() -> None:
        futures.append(asyncio.get_running_loop().create_future())
        waiting.set()
        async with asyncio.timeout(10):
            await futures[0]

    thread = threading.Thread(target=asyncio.run, args=(wait(),))
    thread.start()
    waiting.wait()

    for _ in range(times):
        wake(futures[0])

    thread.join()
    assert futures[0].done()


@pytest.mark.wallclock
def test_waiter_whose_loop_was_closed_is_left_alone() -> None:
    """It is nobody's any more."""
    loop = asyncio.new_event_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.close()

    wake(future)

    assert not future.done()
