"""On the virtual loop an hour costs nothing, a hang fails at once, and what acts from outside is waited for."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.testing.loop import DeadlockError, VirtualTimeLoop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


@pytest.fixture
def _takes_no_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 5, "virtual time is not free"


@pytest.mark.usefixtures("_takes_no_time")
def test_a_day_costs_a_handful_of_steps() -> None:
    """Sleeping jumps to the timer, beyond the longest wait that asyncio asks a selector for."""

    async def main() -> tuple[float, int]:
        before = loop().steps
        await asyncio.sleep(86_400 * 30)
        return loop().time(), loop().steps - before

    assert run(main()) == (86_400 * 30, 2)


@given(delays=st.lists(st.floats(min_value=1e-9, max_value=1e9), min_size=1, max_size=20), start=st.floats(0, 1e12))
def test_timers_fire_at_their_moment_and_in_order(delays: list[float], start: float) -> None:
    """Never early, never late, by not so much as the last bit, however large the clock has grown."""

    async def main() -> list[tuple[float, float]]:
        await asyncio.sleep(start)
        fired: list[tuple[float, float]] = []
        moments = [loop().time() + delay for delay in delays]
        for when in moments:
            loop().call_at(when, lambda moment: fired.append((moment, loop().time())), when)
        before = loop().steps
        await asyncio.sleep(max(delays) * 2 + 1)
        assert loop().steps - before <= len(set(moments)) + 3
        return fired

    fired = run(main())

    assert [when for when, _ in fired] == sorted(when for when, _ in fired)
    assert all(when == now for when, now in fired)
    assert len(fired) == len(delays)


@pytest.mark.usefixtures("_takes_no_time")
def test_timeouts_and_anyio_run_on_it() -> None:
    """``asyncio.timeout``, anyio's scopes and task groups see virtual time."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        with anyio.move_on_after(60) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 60)
        return loop().time()

    assert run(main()) == 180


def test_a_hang_fails_at_once_and_says_who_waits_where() -> None:
    """The message names each task and the line that it waits in."""

    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        loop().create_task(asyncio.Queue[int]().get(), name="reader")
        await wait_for_nothing()

    with pytest.raises(DeadlockError) as caught:
        run(main())

    first, *tasks = str(caught.value).splitlines()
    assert first == "deadlock: every task is blocked and no timer is set"
    assert len(tasks) == 2
    assert "wait_for_nothing (" in tasks[0]
    assert __file__ in tasks[0]
    assert tasks[1].startswith("  reader: Queue.get (")


def test_a_deadlock_can_be_cleaned_up() -> None:
    """What the blocked tasks do when they are cancelled still runs."""
    cleaned = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3600)
            cleaned.append(loop().time())

    with pytest.raises(DeadlockError):
        run(main())

    assert cleaned == [3600]


def test_waits_really_while_a_thread_works() -> None:
    """A timer an hour away does not overtake a call that takes milliseconds, of any kind of thread."""

    async def main() -> None:
        fired: list[float] = []
        loop().call_later(3600, lambda: fired.append(loop().time()))
        with ThreadPoolExecutor(1) as executor:
            await asyncio.to_thread(time.sleep, 0.005)
            await loop().run_in_executor(executor, time.sleep, 0.005)
            await anyio.to_thread.run_sync(time.sleep, 0.005)
            assert await anyio.to_thread.run_sync(lambda: "from an idle worker") == "from an idle worker"
        assert loop().time() < 5
        assert fired == []
        await asyncio.sleep(3600)
        assert fired == [3600]

    run(main())


def test_timers_come_while_a_thread_works() -> None:
    """The clock goes on as the wall's does, so what a thread waits for can be a timer."""

    async def main() -> None:
        gate = threading.Event()
        loop().call_later(0.005, gate.set)
        assert await asyncio.to_thread(gate.wait, 5)
        assert 0.005 <= loop().time() < 5

    run(main())


@pytest.mark.usefixtures("_takes_no_time")
def test_an_idle_thread_does_not_hold_the_clock() -> None:
    """Workers that wait for their next call are no reason to wait for them."""

    async def main() -> None:
        await asyncio.to_thread(lambda: None)
        await anyio.to_thread.run_sync(lambda: None)
        before = loop().steps
        await asyncio.sleep(3600)
        assert loop().steps - before <= 3

    run(main())


def test_a_call_whose_waiter_was_cancelled_is_waited_for() -> None:
    """Its thread still runs: timers wait for it, and after it the loop goes on as before."""
    ended: list[float] = []

    async def main() -> None:
        gate = threading.Event()

        def work() -> None:
            gate.wait(5)
            ended.append(1)

        call = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
        timer = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0.002)  # real, for the thread is out
        assert not timer.done()
        gate.set()
        await timer
        assert ended == [1]

    run(main())


@pytest.mark.usefixtures("_takes_no_time")
def test_a_call_cancelled_in_the_queue_of_its_executor_is_forgotten() -> None:
    """A call that never began is not waited for."""

    async def main() -> None:
        gate = threading.Event()
        with ThreadPoolExecutor(1) as executor:
            first = loop().run_in_executor(executor, gate.wait, 5)
            second = loop().run_in_executor(executor, lambda: None)
            second.cancel()
            gate.set()
            await first
            await asyncio.sleep(3600)

    run(main())


def test_thread_and_loop_hand_over_without_a_false_deadlock() -> None:
    """Whatever moment the thread ends in, its result is seen before the loop says that nothing can happen."""

    async def main() -> int:
        return sum([await asyncio.to_thread(lambda: 1) for _ in range(300)])

    assert run(main()) == 300


def test_the_loop_is_woken_when_a_thread_is_gone() -> None:
    """Between its result and its end the loop waits really for the next timer, and must learn that it need not."""

    class SlowFuture(Future[None]):
        def add_done_callback(self, fn: Callable[[Future[None]], object]) -> None:
            def late(future: Future[None]) -> None:
                time.sleep(0.005)
                fn(future)

            super().add_done_callback(late)

    class SlowExecutor(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:  # Any: as the executor's own
            future = SlowFuture()
            threading.Timer(0.005, future.set_result, [None]).start()
            return future

    async def main() -> None:
        await loop().run_in_executor(SlowExecutor(), print)
        await asyncio.sleep(3600)

    run(main())


def test_an_error_in_a_thread_reaches_who_waits() -> None:
    """An executor that cannot run the call raises, and the loop does not wait for what never was."""

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        with pytest.raises(RuntimeError):
            loop().run_in_executor(executor, lambda: None)
        await asyncio.sleep(3600)

    run(main())


def test_real_time_waits_for_a_thread_the_loop_does_not_know() -> None:
    """Inside the block a call from a thread comes in time, where it would be a deadlock otherwise."""

    async def main() -> None:
        called = asyncio.Event()
        thread = threading.Timer(0.005, loop().call_soon_threadsafe, [called.set])
        with loop().real_time():
            thread.start()
            await called.wait()
        thread.join()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()

    run(main())


def test_waits_really_while_a_socket_is_open() -> None:
    """An hour-long timeout does not overtake a peer that answers in milliseconds; without sockets time jumps again."""

    async def main() -> bytes:
        here, there = socket.socketpair()
        answer = threading.Timer(0.005, there.sendall, [b"late"])
        answer.start()
        reader, writer = await asyncio.open_connection(sock=here)
        async with asyncio.timeout(3600):
            data = await reader.read(4)
        answer.join()
        writer.close()
        await writer.wait_closed()
        there.close()
        assert loop().time() < 5
        await asyncio.sleep(3600)
        return data

    assert run(main()) == b"late"


def test_a_loop_that_never_waits_keeps_its_clock() -> None:
    """Time does not pass while there is something to do."""

    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return loop().time()

    assert run(main()) == 0.0


@pytest.mark.asyncio
async def test_the_suite_runs_on_it() -> None:
    """Async tests get virtual time without asking."""
    await asyncio.sleep(3600)

    assert loop().time() == 3600


@pytest.mark.asyncio
@given(delay=st.floats(min_value=1, max_value=1e6))
async def test_hypothesis_drives_async_tests_on_it(delay: float) -> None:
    """Examples share a loop, and each moves its clock on."""
    before = loop().time()

    await asyncio.sleep(delay)

    assert loop().time() == before + delay


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_wallclock_tests_do_not() -> None:
    """Real sockets and real time get a plain loop."""
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
