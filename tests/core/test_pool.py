"""Slots come back exactly once, items are accounted for, and nothing a worker does reaches another."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventpipe.core.pool import Pool
from eventpipe.errors import ClosedError
from eventpipe.testing.sweep import Point, Swept, cancellation_sweep

pytestmark = pytest.mark.asyncio

Work = Coroutine[Any, Any, None]


class Rig:
    """A pool, what it lost, and work that waits until it is let go."""

    def __init__(self, size: int = 2) -> None:
        self.lost: list[str] = []
        self.began: list[str] = []
        self.ended: list[str] = []
        self.gate = asyncio.Event()
        self.on_free: Callable[[], None] = lambda: None
        self.pool: Pool[str] = Pool(size, "test", on_lost=self.lost.append, on_free=lambda: self.on_free())

    async def work(self, item: str) -> None:
        self.began.append(item)
        with contextlib.suppress(asyncio.CancelledError):  # accounted for, so it returns
            await self.gate.wait()
        self.ended.append(item)

    async def stubborn(self, item: str) -> None:
        """Swallow every cancellation until the gate opens."""
        self.began.append(item)
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                continue
        self.ended.append(item)

    async def spawn(self, item: str, work: Callable[[str], Work] | None = None) -> None:
        await self.pool.acquire()
        self.pool.spawn((work or self.work)(item), item)


@asynccontextmanager
async def running(size: int = 2) -> AsyncIterator[Rig]:
    rig = Rig(size)
    await rig.pool.start()
    try:
        yield rig
    finally:
        rig.gate.set()
        assert await rig.pool.stop(1) == []
        assert (rig.pool.free, rig.pool.running) == (size, 0)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_runs_at_most_size_at_once() -> None:
    """The third of three items waits until one of two workers has ended."""
    async with running(2) as rig:
        third = asyncio.create_task(asyncio.wait({asyncio.create_task(rig.spawn(item)) for item in "abc"}))
        await turns()

        assert rig.began == ["a", "b"]
        assert (rig.pool.running, rig.pool.free, rig.pool.items()) == (2, 0, ["a", "b"])

        rig.gate.set()
        await third
        await rig.pool.idle()

        assert rig.ended == ["a", "b", "c"]
        assert rig.lost == []


async def test_a_slot_is_taken_before_the_work_and_can_be_given_back() -> None:
    """An unused slot goes back without a worker; one too many is an error, not a bigger pool."""
    async with running(2) as rig:
        await rig.pool.acquire()
        assert (rig.pool.free, rig.pool.running) == (1, 0)
        assert rig.pool.try_acquire()
        assert not rig.pool.try_acquire()
        rig.pool.release()
        rig.pool.release()

        with pytest.raises(RuntimeError, match="no slot was taken"):
            rig.pool.release()

        assert rig.pool.free == 2


async def test_release_does_not_take_a_worker_s_slot() -> None:
    """What a running worker holds is its own until it ends."""
    async with running(1) as rig:
        await rig.spawn("a")

        with pytest.raises(RuntimeError, match="no slot was taken"):
            rig.pool.release()


async def test_spawn_without_a_slot_is_refused() -> None:
    """Work without a slot never runs, and its coroutine is closed."""
    async with running(2) as rig:
        with pytest.raises(RuntimeError, match="acquire"):
            rig.pool.spawn(rig.work("a"), "a")

        await turns()
        assert (rig.began, rig.lost) == ([], [])


async def test_waiters_get_slots_first_come_first_served() -> None:
    """``try_acquire()`` does not overtake whoever waits."""
    async with running(1) as rig:
        await rig.pool.acquire()
        order: list[int] = []

        async def wait(number: int) -> None:
            await rig.pool.acquire()
            order.append(number)
            rig.pool.release()

        waiters = [asyncio.create_task(wait(number)) for number in range(3)]
        await turns()
        rig.pool.release()
        assert not rig.pool.try_acquire()
        await asyncio.wait(waiters)

        assert order == [0, 1, 2]


async def fail(_: str) -> None:
    raise ValueError("secret payload")


async def fail_as_cancelled(_: str) -> None:
    raise asyncio.CancelledError


class Odd(BaseException):
    pass


async def fail_oddly(_: str) -> None:
    raise Odd


async def fail_as_ended(_: str) -> None:
    raise GeneratorExit


@pytest.mark.parametrize("work", [fail, fail_as_cancelled, fail_as_ended, fail_oddly])
async def test_work_that_raises_loses_its_item_and_nothing_else(
    work: Callable[[str], Work], caplog: pytest.LogCaptureFixture
) -> None:
    """Its item is handed over, counted and logged without text; its sibling and the pool go on."""
    async with running(2) as rig:
        await rig.spawn("sibling")
        await rig.spawn("broken", work)
        await rig.spawn("next")

        assert rig.lost == ["broken"]
        assert rig.pool.lost == 1
        assert rig.pool.items() == ["sibling", "next"]
        record = caplog.records[-1]
        assert (record.levelno, record.getMessage().startswith("worker of pool test raised ")) == (logging.ERROR, True)
        assert "secret" not in caplog.text


async def test_on_lost_that_raises_is_contained(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the callback is logged; the slot has come back."""

    def on_lost(item: str) -> None:
        raise KeyError(item)

    pool = Pool(1, "test", on_lost=on_lost)
    await pool.start()
    await pool.acquire()
    pool.spawn(fail("a"), "a")
    await pool.idle()

    assert (pool.lost, pool.free) == (1, 1)
    assert caplog.messages[-1].startswith("on_lost of pool test raised KeyError in on_lost (test_pool.py:")
    await pool.stop(1)


async def test_work_cancelled_before_its_first_step_is_closed_and_accounted() -> None:
    """The coroutine of a worker that never ran is closed, its slot and its item come back."""
    async with running(2) as rig:
        await rig.spawn("a")
        rig.pool.cancel_all()
        await rig.pool.idle()

        assert (rig.began, rig.lost, rig.pool.free) == ([], ["a"], 2)


async def test_each_worker_is_cancelled_once() -> None:
    """However often all are cancelled, a worker that cleans up is interrupted once, and the caller never."""
    async with running(2) as rig:
        interruptions = []

        async def work(item: str) -> None:
            try:
                await rig.gate.wait()
            except asyncio.CancelledError:
                interruptions.append(item)
            rig.pool.cancel_all()
            await asyncio.sleep(1)
            rig.ended.append(item)

        await rig.spawn("a", work)
        await rig.spawn("b", work)
        await turns()
        rig.pool.cancel_all()
        await turns()
        rig.pool.cancel_all()
        await rig.pool.idle()

        assert sorted(interruptions) == rig.ended == ["a", "b"]
        assert rig.lost == []


async def test_cancelling_the_worker_s_own_scope_is_its_own_affair() -> None:
    """A timeout inside the work neither ends the worker nor hides it from ``cancel_all()``."""
    async with running(1) as rig:

        async def work(item: str) -> None:
            try:
                async with asyncio.timeout(1):
                    await rig.gate.wait()
            except TimeoutError:
                rig.began.append(item)
            await rig.work(item)

        await rig.spawn("a", work)
        await asyncio.sleep(2)
        rig.pool.cancel_all()
        await rig.pool.idle()

        assert (rig.began, rig.ended, rig.lost) == (["a", "a"], ["a"], [])


async def test_knows_which_task_works_on_what() -> None:
    """A worker finds its own item; anybody else finds nothing."""
    async with running(2) as rig:
        seen: list[str | None] = []

        async def work(item: str) -> None:
            seen.append(rig.pool.current_item())
            seen.append(rig.pool.item_of(asyncio.current_task()))

        await rig.spawn("a", work)
        await rig.spawn("b", work)
        await rig.pool.idle()

        assert seen == ["a", "a", "b", "b"]
        assert rig.pool.current_item() is None
        assert rig.pool.item_of(None) is None


async def test_no_context_of_a_caller_reaches_a_worker() -> None:
    """Neither what was set when the pool was started nor what was set when the work was spawned is seen in it."""
    request = contextvars.ContextVar("request", default="none")
    seen: list[str] = []
    request.set("the one that started")
    async with running(1) as rig:
        request.set("the one that spawned")

        async def work(_: str) -> None:
            seen.append(request.get())

        await rig.spawn("a", work)
        await rig.pool.idle()

    assert seen == ["none"]


async def test_idle_waits_for_what_was_spawned_meanwhile_and_takes_no_steps() -> None:
    """Waiting is parked: an hour costs a handful of turns."""
    async with running(2) as rig:
        await rig.spawn("a")
        waiter = asyncio.create_task(rig.pool.idle())
        await turns()
        loop = asyncio.get_running_loop()
        before: int = loop.steps  # type: ignore[attr-defined]  # the suite's loop counts
        await asyncio.sleep(3600)
        assert loop.steps - before <= 3  # type: ignore[attr-defined]
        await rig.spawn("b")
        assert not waiter.done()
        rig.gate.set()
        await waiter

        assert sorted(rig.ended) == ["a", "b"]


async def test_a_freed_slot_is_told_of_and_can_be_used_at_once() -> None:
    """The callback may take the slot for the next item; who waits until nothing runs, waits for that one, too."""
    async with running(1) as rig:
        todo = ["b", "c"]

        def next_one() -> None:
            if todo and rig.pool.try_acquire():
                item = todo.pop(0)
                rig.pool.spawn(rig.work(item), item)

        rig.on_free = next_one
        rig.gate.set()
        await rig.spawn("a")
        await rig.pool.idle()

        assert (rig.ended, todo) == (["a", "b", "c"], [])


async def test_a_group_that_somebody_cancels_takes_no_more_and_ends_nobody() -> None:
    """Its workers go on to their end, and the pool starts again."""
    async with running(2) as rig:
        await rig.spawn("a")
        group = next(task for task in asyncio.all_tasks() if task.get_name() == "test group")

        group.cancel()
        await turns()

        with pytest.raises(ClosedError):
            await rig.pool.acquire()
        assert rig.pool.items() == ["a"]
        rig.gate.set()
        await asyncio.wait({group})
        assert (rig.ended, rig.lost) == (["a"], [])
        await rig.pool.start()
        assert rig.pool.free == 2


@pytest.mark.parametrize("end", ["cancelled", "stopped"])
async def test_a_start_that_comes_to_nothing_says_so(end: str) -> None:
    """Whoever waits for the start is told that there is no pool, and does not hang."""
    rig = Rig()
    starter = asyncio.create_task(rig.pool.start())
    before = asyncio.all_tasks()
    await asyncio.sleep(0)
    if end == "stopped":
        assert await rig.pool.stop(1) == []
    else:
        (group,) = asyncio.all_tasks() - before
        group.cancel()

    with pytest.raises(ClosedError, match="pool test was stopped while it started"):
        await starter


async def test_a_pool_keeps_nothing_of_who_started_it_alive() -> None:
    """Its task holds no context of a request that is over."""

    class Request:
        pass

    current: contextvars.ContextVar[Request] = contextvars.ContextVar("current")
    seen: list[weakref.ref[Request]] = []
    rig = Rig()

    async def handler() -> None:
        current.set(Request())
        seen.append(weakref.ref(current.get()))
        await rig.pool.start()

    await asyncio.create_task(handler())
    await asyncio.sleep(0)  # the loop lets go of the handler's task
    gc.collect()

    assert seen[0]() is None
    assert await rig.pool.stop(1) == []


async def test_a_worker_that_waits_for_idle_is_told() -> None:
    """A worker would wait for itself."""
    async with running(1) as rig:
        errors = []

        async def work(_: str) -> None:
            try:
                await rig.pool.idle()
            except RuntimeError as error:
                errors.append(str(error))

        await rig.spawn("a", work)
        await rig.pool.idle()

        assert errors == ["a worker of pool test cannot wait until no worker runs"]


async def test_cancelling_who_started_the_pool_ends_no_worker() -> None:
    """The group's task is not a child of the caller's."""
    rig = Rig()

    async def start_and_wait() -> None:
        await rig.pool.start()
        await rig.spawn("a")
        await asyncio.sleep(10)

    starter = asyncio.create_task(start_and_wait())
    await asyncio.sleep(1)
    starter.cancel()
    await asyncio.wait({starter})
    rig.gate.set()
    await rig.pool.idle()

    assert (rig.ended, rig.lost) == (["a"], [])
    assert await rig.pool.stop(1) == []


async def test_start_twice_is_one_pool() -> None:
    """Starting what runs changes nothing, also for two at once."""
    rig = Rig(1)
    await asyncio.gather(rig.pool.start(), rig.pool.start())
    await rig.spawn("a")

    await rig.pool.start()

    assert rig.pool.items() == ["a"]
    assert await rig.pool.stop(1) == []


@pytest.mark.parametrize("state", ["never started", "stopped"])
async def test_a_pool_that_does_not_run_takes_nothing(state: str) -> None:
    """Every door says so, and work that comes to it is closed."""
    rig = Rig()
    if state == "stopped":
        await rig.pool.start()
        await rig.pool.stop(1)

    for refused in (rig.pool.acquire(), rig.spawn("a")):
        with pytest.raises(ClosedError, match="pool test is not running"):
            await refused
    with pytest.raises(ClosedError):
        rig.pool.try_acquire()
    with pytest.raises(ClosedError):
        rig.pool.spawn(rig.work("a"), "a")

    rig.pool.release()
    rig.pool.cancel_all()
    await rig.pool.idle()
    assert await rig.pool.stop(1) == []
    assert (rig.pool.free, rig.pool.running, rig.pool.items()) == (2, 0, [])


async def test_stop_tells_everyone_who_waits_for_a_slot() -> None:
    """Waiters raise as soon as the pool is stopping, although no worker has ended."""
    rig = Rig(1)
    await rig.pool.start()
    await rig.spawn("a", rig.stubborn)
    waiters = [asyncio.create_task(rig.pool.acquire()) for _ in range(3)]
    await turns()

    assert await rig.pool.stop(1) == ["test worker 1"]

    assert [type(waiter.exception()) for waiter in waiters] == [ClosedError] * 3
    rig.gate.set()
    assert await rig.pool.stop(1) == []
    assert rig.pool.free == 1


async def test_stop_cancels_and_waits_for_what_cleans_up() -> None:
    """A worker gets its time to clean up, within the timeout, and stop returns when the last has ended."""
    rig = Rig()
    await rig.pool.start()

    async def work(item: str) -> None:
        try:
            await rig.gate.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            rig.ended.append(item)

    await rig.spawn("a", work)
    await turns()

    assert await rig.pool.stop(10) == []
    assert asyncio.get_running_loop().time() == 3
    assert (rig.ended, rig.lost) == (["a"], [])


async def test_code_that_swallows_cancellation_cannot_hold_the_stop() -> None:
    """Stop ends by its timeout and names the straggler, once more when asked again; what ended is not named."""
    rig = Rig(3)
    await rig.pool.start()
    await rig.spawn("a", rig.stubborn)
    await rig.spawn("b")
    await rig.spawn("c", rig.stubborn)
    await turns()

    stragglers = await rig.pool.stop(5)

    assert asyncio.get_running_loop().time() == 5
    assert stragglers == ["test worker 1", "test worker 3"]
    assert (rig.pool.running, rig.pool.items()) == (2, ["a", "c"])
    assert await rig.pool.stop(1) == stragglers
    rig.gate.set()
    assert await rig.pool.stop(1) == []
    assert rig.ended == ["b", "a", "c"]


async def test_a_straggler_gives_nothing_to_the_pool_started_after_it() -> None:
    """Its slot belonged to the pool before: the new one has its own, all of them, and no more."""
    rig = Rig(1)
    await rig.pool.start()
    await rig.spawn("old", rig.stubborn)
    await turns()
    assert await rig.pool.stop(1) == ["test worker 1"]
    old_gate, rig.gate = rig.gate, asyncio.Event()

    await rig.pool.start()
    await rig.spawn("new")
    await turns()
    assert (rig.pool.free, rig.pool.items()) == (0, ["new"])
    old_gate.set()
    rig.gate.set()
    await turns(10)

    assert (rig.pool.free, rig.pool.running) == (1, 0)
    assert rig.pool.try_acquire()
    assert not rig.pool.try_acquire()
    rig.pool.release()
    assert await rig.pool.stop(1) == []


async def test_two_stops_at_once_each_keep_their_own_timeout() -> None:
    """The shorter one names the worker that the longer one sees end."""
    rig = Rig()
    await rig.pool.start()
    await rig.spawn("a", rig.stubborn)
    await turns()
    asyncio.get_running_loop().call_later(3, rig.gate.set)

    shorter, longer = await asyncio.gather(rig.pool.stop(1), rig.pool.stop(5))

    assert (shorter, longer) == (["test worker 1"], [])
    assert asyncio.get_running_loop().time() == 3


async def test_a_worker_may_stop_the_pool() -> None:
    """It is not cancelled, waits until its own time is up, and names itself."""
    rig = Rig()
    await rig.pool.start()
    names: list[str] = []

    async def work(_: str) -> None:
        names.extend(await rig.pool.stop(1))

    await rig.spawn("a", work)
    await rig.spawn("b")
    await asyncio.sleep(2)

    assert (names, rig.lost) == (["test worker 1"], ["b"])
    assert await rig.pool.stop(1) == []


@pytest.mark.parametrize("size", [0, -1])
async def test_a_pool_without_slots_is_refused(size: int) -> None:
    """It could never run anything."""
    with pytest.raises(ValueError, match=f"size must be at least 1, not {size}"):
        Pool(size, "test")


async def test_cancelled_acquire_leaks_no_slot() -> None:
    """Cancelled anywhere while it waits for a busy pool, also when just granted: all slots are there, in order."""

    @asynccontextmanager
    async def acquire() -> AsyncIterator[Swept]:
        async with running(2) as rig:
            await rig.spawn("a")
            await rig.spawn("b")
            asyncio.get_running_loop().call_later(1, rig.gate.set)

            async def use() -> None:
                await rig.pool.acquire()
                rig.pool.release()

            next_in_line = asyncio.get_running_loop().create_task(asyncio.sleep(0))
            yield use()
            await next_in_line
            await rig.pool.idle()
            assert rig.pool.try_acquire()
            assert rig.pool.try_acquire()
            rig.pool.release()
            rig.pool.release()

    assert await cancellation_sweep(acquire) == 3


async def test_slot_granted_to_a_cancelled_waiter_goes_to_the_next() -> None:
    """Two wait for the one slot; whichever way the first is cancelled, the second gets it."""

    @asynccontextmanager
    async def two() -> AsyncIterator[Swept]:
        async with running(1) as rig:
            await rig.spawn("a")
            asyncio.get_running_loop().call_later(1, rig.gate.set)
            second = asyncio.get_running_loop().create_future()

            async def first() -> None:
                await rig.pool.acquire()
                rig.pool.release()

            async def next_in_line() -> None:
                await asyncio.sleep(0)
                await rig.pool.acquire()
                rig.pool.release()
                second.set_result(None)

            task = asyncio.create_task(next_in_line())
            yield first()
            await asyncio.wait({task})
            assert second.done()

    assert await cancellation_sweep(two) == 3


async def test_cancelled_stop_and_start_lose_nothing() -> None:
    """A life of start, work and stop, cancelled anywhere: stopping again leaves no worker, slot or item unaccounted."""
    rig: Rig

    async def life() -> None:
        await rig.pool.start()
        for item in "abcd":
            await rig.pool.acquire()
            rig.pool.spawn(rig.work(item), item)
            spawned.append(item)
            if item == "b":
                rig.gate.set()
        await rig.pool.idle()
        rig.gate.clear()
        for item in "ef":
            await rig.spawn(item)
            spawned.append(item)
        await asyncio.sleep(0)
        await rig.pool.stop(1)

    spawned: list[str] = []

    def make() -> Swept:
        nonlocal rig
        rig = Rig()
        spawned.clear()
        return life()

    async def check(_: Point) -> None:
        assert await rig.pool.stop(1) == []
        assert sorted(rig.ended + rig.lost) == spawned
        assert rig.pool.free == rig.pool.size
        await rig.pool.start()
        assert rig.pool.try_acquire()
        rig.pool.release()
        assert await rig.pool.stop(1) == []

    assert await cancellation_sweep(make, check) >= 9
