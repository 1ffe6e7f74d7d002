"""The contract of a service, as tests: derive a class and give it a fixture that makes services.

```python
class TestMirror(ServiceContract):
    @pytest.fixture
    def make_service(self):
        return lambda: Mirror(MemorySource(), MemorySink())
```

The tests are ``async`` and marked for pytest-asyncio. They run in virtual and in real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import pytest

from eventpipe.core.service import Service, ServiceState
from eventpipe.errors import ClosedError
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.sweep import Swept, cancellation_sweep

TASKS: Final = 10
ROUNDS: Final = 50

MakeService = Callable[[], Service]


@pytest.mark.asyncio
class ServiceContract:
    """What everything that owns a task promises to who starts and stops it.

    ``make_service`` gives a fresh one, never started. Override ``use()`` and ``check()`` where there is something that
    could be lost, and ``crash()`` where its work can fail in a way of its own.
    """

    async def use(self, service: Service) -> None:
        """Give a running service something to do; called while others start and stop it."""

    def check(self, service: Service) -> None:
        """Raise ``AssertionError`` if a service that has stopped lost something of what it was given."""

    def crash(self, service: Service) -> None:
        """Have a running service crash: its main task is cancelled, as by somebody who cancels all that there are."""
        life = service._current()
        if life is not None:
            life.task.cancel()

    async def test_runs_between_start_and_stop(self, make_service: MakeService) -> None:
        """It is idle, runs, has stopped, and leaves nothing."""
        service = make_service()
        assert _state(service) == ServiceState.IDLE
        with no_leaks():
            async with service:
                assert _state(service) == ServiceState.RUNNING
                await self.use(service)

        assert (_state(service), service.error) == (ServiceState.STOPPED, None)
        self.check(service)

    async def test_a_service_never_started_owns_nothing(self, make_service: MakeService) -> None:
        """Making one, and stopping what never ran, makes no task, thread or file."""
        with no_leaks():
            service = make_service()
            await service.stop()

        assert _state(service) == ServiceState.IDLE

    async def test_may_be_waited_for_before_it_starts(self, make_service: MakeService) -> None:
        """``started()`` and ``stopped()`` of one that was never started wait for its first life."""
        service = make_service()
        with no_leaks():
            started, stopped = (asyncio.create_task(wait()) for wait in (service.started, service.stopped))
            await asyncio.sleep(0)
            await service.start()
            await started
            assert not stopped.done()
            await service.stop()
            await stopped

        assert (_state(service), service.error) == (ServiceState.STOPPED, None)

    async def test_stop_says_that_all_is_well(self, make_service: MakeService) -> None:
        """Nothing had to be cut off, failed or is left; asked again, it says the same."""
        service = make_service()
        async with service:
            await self.use(service)
            report = await service.stop()

        assert report
        assert report.stopped
        assert replace(await service.stop(), elapsed=report.elapsed) == report

    async def test_start_and_stop_may_come_twice_and_at_once(self, make_service: MakeService) -> None:
        """Ten starts are one start, ten stops one stop."""
        service = make_service()
        with no_leaks():
            await asyncio.gather(*(service.start() for _ in range(TASKS)))
            await service.start()
            assert _state(service) == ServiceState.RUNNING
            await asyncio.gather(*(service.stop() for _ in range(TASKS)))
            await service.stop()

        assert (_state(service), service.error) == (ServiceState.STOPPED, None)

    async def test_starts_again_after_it_stopped(self, make_service: MakeService) -> None:
        """Each life is as good as the first."""
        service = make_service()
        with no_leaks():
            for _ in range(3):
                async with service:
                    assert _state(service) == ServiceState.RUNNING
                    await self.use(service)

        assert (_state(service), service.error) == (ServiceState.STOPPED, None)
        self.check(service)

    async def test_cut_off_it_stops_and_starts_again(self, make_service: MakeService) -> None:
        """``cancel()`` ends it wherever it is, which is no crash: nothing stays, nothing is lost."""
        service = make_service()
        for turns in range(TASKS):
            with no_leaks():
                starter = asyncio.create_task(self._start_and_use(service))
                for _ in range(turns):
                    await asyncio.sleep(0)
                service.cancel()
                await asyncio.wait({starter})
                service.cancel()
                await service.stop()

            assert (_state(service), service.error) == (ServiceState.STOPPED, None)
            self.check(service)

    async def test_a_crash_is_kept_and_it_starts_again(self, make_service: MakeService) -> None:
        """It has failed and says with what; the next life is as good as the first, and nothing was lost."""
        service = make_service()
        with no_leaks():
            for _ in range(3):
                await service.start()
                await self.use(service)
                self.crash(service)
                await service.stopped()
                assert _state(service) == ServiceState.FAILED
                assert service.error is not None
            async with service:
                await self.use(service)

        assert (_state(service), service.error) == (ServiceState.STOPPED, None)
        self.check(service)

    async def test_stop_during_start_stops_it(self, make_service: MakeService) -> None:
        """However far it got, it has stopped when ``stop()`` returns, and the starter is told or was in time."""
        service = make_service()
        for turns in range(TASKS):
            with no_leaks():
                starter = asyncio.create_task(service.start())
                for _ in range(turns):
                    await asyncio.sleep(0)
                if turns:
                    await service.stop()
                (end,) = await asyncio.gather(starter, return_exceptions=True)
                await service.stop()

            assert end is None or isinstance(end, ClosedError)
            assert (_state(service), service.error) == (ServiceState.STOPPED, None)

    async def test_its_tasks_are_not_children_of_who_started_it(self, make_service: MakeService) -> None:
        """Cancelling the task that started it, while that waits and later, ends nothing."""
        service = make_service()

        async def handler() -> None:
            await service.start()
            await asyncio.Event().wait()

        with no_leaks():
            for is_early in (True, False):
                starter = asyncio.create_task(handler())
                await (asyncio.sleep(0) if is_early else service.start())
                starter.cancel()
                await asyncio.wait({starter})
                await service.start()
                assert _state(service) == ServiceState.RUNNING
            await service.stop()

    async def test_a_stop_cancelled_leaves_the_others_and_the_stop(self, make_service: MakeService) -> None:
        """Whoever still waits sees the end, and so does who asks later."""
        service = make_service()
        with no_leaks():
            await service.start()
            cancelled, waiting = (asyncio.create_task(service.stop()) for _ in range(2))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait({cancelled, waiting})
            await service.stop()

        assert waiting.exception() is None
        assert (_state(service), service.error) == (ServiceState.STOPPED, None)

    async def test_a_life_cancelled_anywhere_leaves_nothing(self, make_service: MakeService) -> None:
        """Entering, using and leaving it, cancelled at every point: it stops, and lost nothing."""

        @asynccontextmanager
        async def life() -> AsyncIterator[Swept]:
            service = make_service()

            async def live() -> None:
                async with service:
                    await self.use(service)

            with no_leaks():
                yield live()
                await service.stop()
            assert (_state(service), service.error) in {(ServiceState.STOPPED, None), (ServiceState.IDLE, None)}
            self.check(service)

        assert await cancellation_sweep(life) > 0

    @pytest.mark.parametrize("with_crashes", [False, True], ids=["without crashes", "with crashes"])
    async def test_ten_tasks_may_start_and_stop_it_fifty_times(
        self, make_service: MakeService, with_crashes: bool
    ) -> None:
        """In whatever order, crashes among them: no task, thread or file stays, no call hangs, and nothing is lost."""
        service = make_service()

        async def disturb(seed: int) -> None:
            chance = random.Random(seed)  # noqa: S311  # an order that repeats, not a secret
            for _ in range(ROUNDS):
                match chance.randrange(10):
                    case 0 | 1:
                        await service.stop()
                    case 2:
                        service.request_stop()
                    case 3:
                        service.cancel()
                    case 4 if with_crashes and service.state is ServiceState.RUNNING:
                        self.crash(service)
                    case _:
                        await self._start_and_use(service)

        with no_leaks():
            await asyncio.gather(*(disturb(seed) for seed in range(TASKS)))
            await service.stop()
            async with service:
                await self.use(service)

        assert (_state(service), service.error) == (ServiceState.STOPPED, None)
        self.check(service)

    async def test_runs_in_one_loop_after_the_other(self, make_service: MakeService) -> None:
        """What was used in one event loop works in the next."""
        service = make_service()

        async def live() -> None:
            async with service:
                await self.use(service)

        with no_leaks():
            for _ in range(3):
                await asyncio.to_thread(asyncio.run, live())

        assert (_state(service), service.error) == (ServiceState.STOPPED, None)
        self.check(service)

    async def _start_and_use(self, service: Service) -> None:
        with contextlib.suppress(ClosedError):  # another one stopped it meanwhile, or had it crash
            await service.start()
            await self.use(service)


def _state(service: Service) -> ServiceState:
    # Through a function, so that a type checker does not take it for constant.
    return service.state
