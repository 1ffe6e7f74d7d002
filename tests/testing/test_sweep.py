"""The sweep finds every point where a coroutine can be cancelled, and what goes wrong there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from eventpipe.testing import sweep
from eventpipe.testing.sweep import Interruption, Point, Swept, cancellation_sweep

pytestmark = pytest.mark.asyncio


def resolve(future: asyncio.Future[str]) -> None:
    if not future.done():
        future.set_result("item")


async def three_steps() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(1)
    await asyncio.to_thread(lambda: None)


async def test_each_suspension_is_a_point_of_each_interruption() -> None:
    """Three suspensions, three ways: nine runs that are cancelled, in order, and each names its line."""
    points: list[Point] = []

    assert await cancellation_sweep(three_steps, points.append) == 9

    assert [(point.interruption, point.number) for point in points] == [
        (interruption, number) for interruption in Interruption for number in (1, 2, 3)
    ]
    assert all(point.line.startswith("three_steps (") for point in points)
    assert str(points[0]).startswith("cancelled while suspended, at point 1: three_steps (")


async def test_a_coroutine_that_never_suspends_has_no_points() -> None:
    """There is nowhere to cancel it."""

    async def at_once() -> None:
        return

    assert await cancellation_sweep(at_once) == 0


async def test_only_the_ways_that_are_asked_for() -> None:
    """A sweep can be limited."""
    assert await cancellation_sweep(three_steps, interruptions=[Interruption.SUSPENDED]) == 3


async def test_suspended_is_cancelled_before_the_result_and_ready_after_it() -> None:
    """The two differ in whether the future, whose result nobody takes, was done."""
    done: dict[Interruption, list[bool]] = {interruption: [] for interruption in Interruption}
    future: asyncio.Future[str]

    async def wait() -> None:
        await future

    def make() -> Swept:
        nonlocal future
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, resolve, future)
        return wait()

    await cancellation_sweep(
        make, lambda point: done[point.interruption].append(future.done() and not future.cancelled())
    )

    assert done == {Interruption.SUSPENDED: [False], Interruption.RESULT_READY: [True], Interruption.TWICE: [False]}


async def test_twice_interrupts_the_clean_up() -> None:
    """The second cancellation comes where the coroutine suspends next."""
    cleaned: list[Interruption] = []
    interrupted: list[Interruption] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)
            ended.append(True)

    ended: list[bool] = []

    def make() -> Swept:
        ended.clear()
        return work()

    def check(point: Point) -> None:
        if point.number == 1:
            (cleaned if ended else interrupted).append(point.interruption)

    await cancellation_sweep(make, check)

    assert cleaned == [Interruption.SUSPENDED, Interruption.RESULT_READY]
    assert interrupted == [Interruption.TWICE]


async def test_finds_a_result_that_is_lost_in_the_race() -> None:
    """The classic fault, an item taken and dropped when the taker is cancelled with it in hand."""
    taken: list[str]
    queue: asyncio.Future[str]

    async def take() -> None:
        nonlocal queue
        waiter, queue = queue, asyncio.get_running_loop().create_future()  # removed before it is handed over
        with suppress(asyncio.CancelledError):
            taken.append(await waiter)
            return
        raise asyncio.CancelledError

    @asynccontextmanager
    async def one_item() -> AsyncIterator[Swept]:
        nonlocal queue, taken
        taken = []
        first = queue = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, resolve, first)
        yield take()
        assert taken or first.cancelled(), "the item is gone"

    with pytest.raises(AssertionError, match="the item is gone") as caught:
        await cancellation_sweep(one_item)

    assert caught.value.__notes__[0].startswith(
        "cancelled after the result is there but before it runs, at point 1: test_finds"
    )


async def test_a_swallowed_cancellation_fails_unless_it_may() -> None:
    """``CancelledError`` stays ``CancelledError``."""

    async def swallow() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="the cancellation was swallowed") as caught:
        await cancellation_sweep(swallow)

    assert caught.value.__notes__[0].startswith("cancelled while suspended, at point 1")
    assert await cancellation_sweep(swallow, may_swallow=True) == 3


async def test_an_error_in_place_of_the_cancellation_is_raised() -> None:
    """Also where swallowing is allowed."""

    async def confuse() -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            raise KeyError("confused") from None

    with pytest.raises(KeyError, match="confused"):
        await cancellation_sweep(confuse, may_swallow=True)


async def test_an_error_of_the_run_that_is_not_cancelled_is_raised() -> None:
    """The sweep ends with a run to the end, and that must work."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise KeyError("late")

    with pytest.raises(KeyError, match="late") as caught:
        await cancellation_sweep(fail)

    assert caught.value.__notes__ == ["never cancelled"]


async def test_set_up_and_checks_surround_each_run() -> None:
    """A context manager is entered anew for each point and for the run to the end of each way."""
    log: list[str] = []

    @asynccontextmanager
    async def scenario() -> AsyncIterator[Swept]:
        await asyncio.sleep(1)
        log.append("set up")
        yield asyncio.sleep(1)
        log.append("checked")

    async def check(_: Point) -> None:
        await asyncio.sleep(1)
        log.append("called back")

    assert await cancellation_sweep(scenario, check) == 3
    assert log == ["set up", "checked", "called back", "set up", "checked"] * 3


async def test_a_timeout_inside_is_left_to_its_owner() -> None:
    """The sweep does not disturb what asyncio does with cancellations of its own."""

    async def times_out() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)
        await asyncio.sleep(1)

    assert await cancellation_sweep(times_out, interruptions=[Interruption.SUSPENDED]) == 2


async def test_a_coroutine_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """More points than anything sensible has are a failure, not an endless test."""
    monkeypatch.setattr(sweep, "MAX_POINTS", 20)

    async def endless() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(
        AssertionError, match="more than 20 suspensions; the last: cancelled while suspended, at point 20"
    ):
        await cancellation_sweep(endless)


async def test_cancelling_the_sweep_ends_what_it_drives() -> None:
    """No task of it is left."""
    sweeping = asyncio.create_task(
        cancellation_sweep(lambda: asyncio.sleep(10), interruptions=[Interruption.RESULT_READY])
    )
    await asyncio.sleep(1)

    sweeping.cancel()
    await asyncio.wait({sweeping})

    assert asyncio.all_tasks() == {asyncio.current_task()}
