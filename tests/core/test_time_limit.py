"""A limit of many blocks: each ends at its own moment, as by ``asyncio.timeout()``, and there is one timer."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.core.time_limit import TimeLimit

pytestmark = pytest.mark.asyncio


def now() -> float:
    """The loop's clock."""
    return asyncio.get_running_loop().time()


def timers() -> list[float]:
    """When the timers of the loop ring that nobody has cancelled."""
    loop = asyncio.get_running_loop()
    return sorted(timer.when() for timer in loop._scheduled if not timer.cancelled())  # type: ignore[attr-defined]


async def slept(limit: TimeLimit, seconds: float) -> tuple[float, str]:
    """Sleep in a block; when that ended, and how."""
    try:
        with limit.block():
            await asyncio.sleep(seconds)
    except TimeoutError:
        return now(), "overdue"
    return now(), "done"


async def test_each_block_ends_at_its_own_moment() -> None:
    """Whatever began before or after it, and however others end."""
    limit = TimeLimit(10.0)
    began = now()
    blocks = []
    for seconds in (20.0, 1.0, 30.0, 9.0):
        blocks.append(asyncio.create_task(slept(limit, seconds)))
        await asyncio.sleep(2)
    ended = await asyncio.gather(*blocks)

    assert [(round(at - began, 6), how) for at, how in ended] == [
        (10, "overdue"),
        (3, "done"),
        (14, "overdue"),
        (15, "done"),
    ]


async def test_a_block_that_has_ended_is_not_cancelled_later() -> None:
    """Its task goes on, beyond the moment and in later blocks."""
    limit = TimeLimit(1.0)
    for _ in range(5):
        assert (await slept(limit, 0.5))[1] == "done"
    await asyncio.sleep(10)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_there_is_one_timer_for_all_and_none_for_nobody() -> None:
    """A thousand blocks are no thousand timers, and what is left behind is nothing."""
    limit = TimeLimit(1e6)
    before = timers()
    gate = asyncio.Event()

    async def wait() -> None:
        with limit.block():
            await gate.wait()

    blocks = [asyncio.create_task(wait()) for _ in range(1000)]
    await asyncio.sleep(0)
    meanwhile = timers()
    gate.set()
    await asyncio.gather(*blocks)

    assert len(meanwhile) == len(before) + 1
    assert timers() == before


@pytest.mark.parametrize("is_overdue", [False, True], ids=["alone", "and overdue"])
async def test_a_cancellation_by_somebody_else_stays_one(is_overdue: bool) -> None:
    """Also where both come at once."""
    limit = TimeLimit(5.0)
    task = asyncio.create_task(slept(limit, 100))
    if is_overdue:
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(now() + 5.0, task.cancel)
        await asyncio.sleep(5.0)
    else:
        await asyncio.sleep(1)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_at_the_last_moment_is_the_error() -> None:
    """What is raised by the code in place of the cancellation leaves the block as it is."""

    async def run() -> None:
        with TimeLimit(1.0).block():
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                raise KeyError from None

    with pytest.raises(KeyError):
        await run()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_blocks_stand_inside_others() -> None:
    """The outer one's moment ends both; the inner one's ends the inner one."""
    began = now()

    async def run() -> None:
        with TimeLimit(3.0).block():
            ended.append(await slept(TimeLimit(2.0), 10))
            await asyncio.sleep(10)

    ended: list[tuple[float, str]] = []
    with pytest.raises(TimeoutError):
        await run()

    assert (ended, now()) == ([(began + 2.0, "overdue")], began + 3.0)


async def test_it_needs_a_task() -> None:
    """There is nothing else that it could cancel."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            TimeLimit(1.0).block()
        except RuntimeError as error:
            raised.append(error)

    asyncio.get_running_loop().call_soon(call)
    await asyncio.sleep(0)

    assert [str(error) for error in raised] == ["a time limit needs a task that it can cancel"]
