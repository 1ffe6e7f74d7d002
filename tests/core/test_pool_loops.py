"""A pool at the end of a program, and in one event loop after another."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from eventpipe.core.pool import Pool


class Rig:
    def __init__(self) -> None:
        self.lost: list[str] = []
        self.ended: list[str] = []
        self.pool: Pool[str] = Pool(3, "test", on_lost=self.lost.append)

    async def work(self, item: str) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # accounted for, so it returns
            await asyncio.sleep(3600)
        self.ended.append(item)

    async def begin(self, *items: str) -> None:
        await self.pool.start()
        for item in items:
            await self.pool.acquire()
            self.pool.spawn(self.work(item), item)
        await asyncio.sleep(0)


def test_the_end_of_a_program_loses_no_account() -> None:
    """Cancelling every task there is, as ``asyncio.run()`` does, ends the pool without an error; each item is known."""
    rig = Rig()

    async def main() -> None:
        await rig.begin("returns")
        await rig.pool.acquire()
        rig.pool.spawn(rig.work("never ran"), "never ran")
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(main())

    assert (rig.ended, rig.lost) == (["returns"], ["never ran"])
    assert (rig.pool.running, rig.pool.free) == (0, 3)


def test_runs_in_one_loop_after_the_other() -> None:
    """Each ``asyncio.run()`` finds a pool that starts and has all its slots."""
    rig = Rig()

    for number in range(1, 4):
        asyncio.run(rig.begin("a", "b", "c"))
        assert len(rig.ended) == 3 * number
        assert (rig.pool.free, rig.lost) == (3, [])


@pytest.mark.parametrize("door", ["start", "stop"])
def test_what_a_closed_loop_left_running_is_lost_and_known(door: str) -> None:
    """It never runs again, so whoever touches the pool next accounts for it."""
    rig = Rig()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(rig.begin("a", "b"))
    tasks = asyncio.all_tasks(loop)
    loop.close()

    async def touch() -> None:
        if door == "start":
            await rig.begin("c")
        assert await rig.pool.stop(1) == []

    asyncio.run(touch())

    assert sorted(rig.lost) == ["a", "b"]
    assert (rig.pool.free, rig.pool.running, rig.pool.lost) == (3, 0, 2)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop closed under its tasks is the point
        task.get_coro().close()


def test_two_loops_at_once_are_refused() -> None:
    """A pool belongs to the loop it runs in until it is stopped there."""
    rig = Rig()
    first = asyncio.new_event_loop()
    first.run_until_complete(rig.pool.start())
    try:
        with pytest.raises(RuntimeError, match="pool test runs in another event loop"):
            asyncio.run(rig.pool.start())
    finally:
        first.run_until_complete(rig.pool.stop(1))
        first.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_inside_work_ends_the_program(error: type[BaseException]) -> None:
    """It leaves through the loop, as from any callback; the item is known to be lost, its sibling ended in order."""
    rig = Rig()

    async def leave() -> None:
        raise error

    async def main() -> None:
        await rig.begin("sibling")
        await rig.pool.acquire()
        rig.pool.spawn(leave(), "exit")
        await asyncio.sleep(1)

    with pytest.raises(error):
        asyncio.run(main())

    assert (rig.lost, rig.ended) == (["exit"], ["sibling"])
