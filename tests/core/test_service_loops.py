"""A service at the end of a program, and in one event loop after another."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.core.service import Service, ServiceState


class Endless(Service):
    opened = closed = 0

    async def _open(self) -> None:
        self.opened += 1

    async def _close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


def test_runs_in_one_loop_after_the_other() -> None:
    """The constructor binds nothing: each ``asyncio.run()`` may start and stop the same service."""
    service = Endless()

    async def live() -> None:
        async with service:
            await asyncio.sleep(0)

    for number in range(1, 4):
        asyncio.run(live())
        assert (service.state, service.opened, service.closed) == (ServiceState.STOPPED, number, number)


def test_the_end_of_a_program_closes_what_nobody_stopped(caplog: pytest.LogCaptureFixture) -> None:
    """``asyncio.run()`` cancels what is left: the service closes, says so, and can start in the next loop."""
    service = Endless()

    asyncio.run(service.start())
    assert (service.state, service.closed) == (ServiceState.FAILED, 1)
    assert caplog.messages == [
        "Endless was cancelled from outside, as asyncio.run() does at its end; stop it, or close its client, before"
    ]

    asyncio.run(service.start())
    assert (service.opened, service.closed) == (2, 2)


def test_what_a_closed_loop_left_running_is_over() -> None:
    """It never runs again: it counts as stopped, there is nothing to stop, and it starts in the next loop."""
    service = Endless()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(service.start())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    assert service.state is ServiceState.STOPPED

    async def again() -> None:
        await service.stop()
        await service.stopped()
        async with service:
            assert service.state is ServiceState.RUNNING

    asyncio.run(again())

    assert (service.state, service.opened, service.closed) == (ServiceState.STOPPED, 2, 1)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop closed under its tasks is the point
        task.get_coro().close()


def test_two_loops_at_once_are_refused() -> None:
    """A service belongs to the loop it runs in until it is stopped there."""
    service = Endless()
    first = asyncio.new_event_loop()
    first.run_until_complete(service.start())
    try:
        for use in (service.start, service.stop):
            with pytest.raises(RuntimeError, match="service Endless runs in another event loop"):
                asyncio.run(use())
    finally:
        first.run_until_complete(service.stop())
        first.close()


def test_who_waited_in_a_closed_loop_for_the_first_start_is_forgotten() -> None:
    """The first start, in the next loop, is told to those who wait there."""
    service = Endless()

    async def wait_in_vain() -> None:
        waiter = asyncio.create_task(service.started())
        await asyncio.sleep(0)
        waiter.cancel()

    async def live() -> None:
        waiter = asyncio.create_task(service.started())
        await asyncio.sleep(0)
        async with service:
            await waiter

    async def live_unseen() -> None:
        async with service:
            await asyncio.sleep(0)

    asyncio.run(wait_in_vain())
    asyncio.run(live_unseen())
    service = Endless()
    asyncio.run(wait_in_vain())
    asyncio.run(live())


def test_ctrl_c_in_on_crash_ends_the_program() -> None:
    """What is contained is an error of the function, not the wish to end."""

    class Interrupted(Service):
        async def _serve(self) -> None:
            raise OSError

        def on_crash(self, error: BaseException) -> None:
            raise KeyboardInterrupt

    async def live() -> None:
        async with Interrupted():
            await asyncio.sleep(3600)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(live())
