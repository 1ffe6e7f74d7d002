"""The ways a service ends: asked, by itself, cut off, failed; what each says of itself, and who may wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from eventpipe.core.deadline import Deadline
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.errors import ClosedError
from eventpipe.testing.leaks import no_leaks

pytestmark = pytest.mark.asyncio


class Plan(Service):
    """Serves and closes as it was told."""

    def __init__(
        self,
        serve: Callable[[], Coroutine[Any, Any, None]] | None = None,
        close: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        super().__init__("plan")
        self.serve = serve or super()._serve
        self.close = close
        self.closed = 0

    async def _serve(self) -> None:
        await self.serve()

    async def _close(self) -> None:
        if self.close is not None:
            await self.close()
        self.closed += 1


def state_of(service: Service) -> ServiceState:
    return service.state  # through a function, so that a type checker does not take it for constant


def was_cut_off(service: Service) -> bool:
    return service.was_cut_off


async def forever() -> None:
    await asyncio.Event().wait()


async def deaf() -> None:
    """Ignores its first cancellation for a minute."""
    try:
        await forever()
    except asyncio.CancelledError:
        await asyncio.sleep(60)


async def fail() -> None:
    raise OSError("disk full")


async def test_input_that_ends_without_a_stop_finishes_it_and_does_not_spin() -> None:
    """Nobody asked, nothing failed: it says that it has finished, in a handful of steps of the loop."""
    items = iter(range(3))

    async def read() -> None:
        for _ in items:
            await asyncio.sleep(1)

    service = Plan(read)
    loop = asyncio.get_running_loop()
    before: int = loop.steps  # type: ignore[attr-defined]  # the suite's loop counts
    await service.start()
    assert not service.is_finished
    await service.stopped()
    await asyncio.sleep(3600)

    assert loop.steps - before <= 12  # type: ignore[attr-defined]
    assert (service.is_finished, service.state, service.error) == (True, ServiceState.STOPPED, None)
    assert await service.stop() == StopReport(stopped=("plan",))


@pytest.mark.parametrize("end", ["stopped", "failed", "cut off", "failed while closing"])
async def test_only_work_that_ended_by_itself_is_finished(end: str) -> None:
    """A stop, a crash and a cut are other ends, and what starts again is not finished any more."""

    async def wait_and_close() -> None:
        if end == "failed while closing":
            raise OSError

    async def serve() -> None:
        if end == "failed":
            raise OSError
        if end != "failed while closing":
            await Service._serve(service)

    service = Plan(serve, wait_and_close)
    await service.start()
    if end == "stopped":
        await service.stop()
    elif end == "cut off":
        service.cancel()
    await service.stopped()

    assert not service.is_finished


async def test_a_service_that_finished_may_start_again() -> None:
    """It has finished until it starts, and once more when its new input has ended."""
    gates = [asyncio.Event(), asyncio.Event()]
    service = Plan(lambda: waiting())

    async def waiting() -> None:
        await gates[service.closed].wait()

    for gate in gates:
        await service.start()
        assert not service.is_finished
        gate.set()
        await service.stopped()
        assert service.is_finished


async def test_started_and_stopped_may_come_before_the_first_start() -> None:
    """Whoever waits early, waits for the first life: until it runs, and until it is over."""
    service = Service()
    with no_leaks():
        started, stopped = (asyncio.create_task(wait()) for wait in (service.started, service.stopped))
        await asyncio.sleep(3600)
        assert (state_of(service), started.done(), stopped.done()) == (ServiceState.IDLE, False, False)

        await service.start()
        await started
        assert not stopped.done()

        await service.stop()
        await stopped


async def test_a_first_start_that_fails_is_told_to_who_waited_for_it() -> None:
    """Waiting early hears the same as waiting in time."""
    error = OSError("port in use")

    class Broken(Service):
        async def _open(self) -> None:
            raise error

    service = Broken()
    started, stopped = (asyncio.create_task(wait()) for wait in (service.started, service.stopped))
    await asyncio.sleep(0)

    service.launch()
    await asyncio.wait({started, stopped})

    assert (started.exception(), stopped.exception()) == (error, None)


async def test_a_cancelled_early_waiter_leaves_the_others() -> None:
    """It is gone; the rest hear of the first start."""
    service = Service()
    waiters = [asyncio.create_task(service.started()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[1].cancel()

    await service.start()
    await asyncio.wait(waiters)

    assert [waiter.cancelled() for waiter in waiters] == [False, True, False]
    await service.stop()


async def test_cancel_cuts_it_off_without_a_crash(caplog: pytest.LogCaptureFixture) -> None:
    """It closes, has stopped, names no error, and says that it was cut off; starting again begins anew."""
    service = Plan(forever)
    await service.start()

    with no_leaks():
        service.cancel()
        await service.stopped()

    assert (service.state, service.error, service.closed) == (ServiceState.STOPPED, None, 1)
    assert was_cut_off(service)
    assert caplog.messages == []
    assert await service.stop() == StopReport(cancelled=("plan",))

    await service.start()
    assert not was_cut_off(service)
    service.cancel()
    await service.stopped()


@pytest.mark.parametrize("turns", range(6))
async def test_cancel_while_it_starts_is_a_stop_too(turns: int) -> None:
    """However far it got: nothing stays, and the starter is told that it does not run."""

    class Slow(Service):
        async def _open(self) -> None:
            for _ in range(3):
                await asyncio.sleep(0)

    service = Slow()
    with no_leaks():
        starter = asyncio.create_task(service.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        service.cancel()
        (end,) = await asyncio.gather(starter, return_exceptions=True)
        service.cancel()
        await service.stop()

    assert end is None or isinstance(end, ClosedError)
    assert (service.state, service.error) == (ServiceState.STOPPED, None)


async def test_cancel_comes_once() -> None:
    """What takes its cancellation well is not cancelled again, while it cleans up or closes."""
    steps: list[str] = []

    async def careful() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            steps.append("cleaned up")
            raise

    async def close() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0  # one that still counts confuses a task group
        await asyncio.sleep(1)
        steps.append("closed")

    service = Plan(careful, close)
    await service.start()
    for _ in range(3):
        service.cancel()
        await asyncio.sleep(0.5)
    await service.stopped()

    assert (steps, service.error, service.state) == (["cleaned up", "closed"], None, ServiceState.STOPPED)


async def test_cancel_cuts_closing_off_too() -> None:
    """A close that hangs ends, and what it would have raised is no crash."""
    service = Plan(close=forever)
    await service.start()
    service.request_stop()
    await asyncio.sleep(1)

    service.cancel()
    await service.stopped()

    assert (service.state, service.error, service.was_cut_off) == (ServiceState.STOPPED, None, True)


async def test_a_service_cut_off_that_fails_to_close_has_failed() -> None:
    """The error is kept: what was to be released may not be."""
    service = Plan(forever, fail)
    await service.start()

    service.cancel()
    report = await service.stop()

    assert isinstance(service.error, OSError)
    assert (service.state, report.failed, report.cancelled) == (ServiceState.FAILED, ("plan",), ())


async def test_cancel_of_what_ignores_it_leaves_it_stoppable() -> None:
    """It goes on, stopping, and whoever waits sees its end."""
    service = Plan(deaf)
    await service.start()

    service.cancel()
    with pytest.raises(TimeoutError):
        await service.stop(5)

    assert state_of(service) is ServiceState.STOPPING
    report = await service.stop()
    assert (report.cancelled, report.elapsed, state_of(service)) == (("plan",), 55, ServiceState.STOPPED)


async def test_stop_says_how_it_ended() -> None:
    """In order, cut off or failed, and how long this caller waited; only the first reads as true."""
    orderly, failing, cut = Plan(), Plan(close=fail), Plan(forever)
    reports = []
    for service in (orderly, failing, cut):
        await service.start()
        if service is cut:
            asyncio.get_running_loop().call_later(2, service.cancel)
        reports.append(await service.stop())

    assert reports == [
        StopReport(stopped=("plan",)),
        StopReport(failed=("plan",)),
        StopReport(cancelled=("plan",), elapsed=2),
    ]
    assert [bool(report) for report in reports] == [True, False, False]


async def test_concurrent_stops_each_say_how_long_they_took() -> None:
    """The end is shared, the time is the caller's own."""

    async def drain() -> None:
        await Service._serve(service)
        await asyncio.sleep(10)

    service = Plan(drain)
    await service.start()
    first = asyncio.create_task(service.stop(20))
    await asyncio.sleep(4)

    second = await service.stop(20)

    assert (await first, second) == (StopReport(("plan",), elapsed=10), StopReport(("plan",), elapsed=6))


async def test_a_service_that_starts_again_at_once_is_still_reported_as_stopped() -> None:
    """A report is of the life that was stopped, whatever began since."""
    service = Plan()
    await service.start()
    service.on_end = service.launch

    report = await service.stop()

    assert report == StopReport(stopped=("plan",))
    assert state_of(service) is ServiceState.STARTING
    service.on_end = lambda: None
    await service.stop()


async def test_stop_of_what_never_ran_says_nothing() -> None:
    """There was nothing to stop, which is well."""
    report = await Service().stop()

    assert (report, bool(report)) == (StopReport(), True)


@pytest.mark.parametrize("what", ["stop", "stopped", "started"])
async def test_a_main_task_that_waits_for_itself_is_told(what: str) -> None:
    """It would wait for ever: its own end, or its own start, can only be asked for."""
    errors: list[BaseException] = []

    class Suicidal(Service):
        async def _open(self) -> None:
            if what == "started":
                await self._try()

        async def _serve(self) -> None:
            if what != "started":
                await self._try()
            await super()._serve()

        async def _try(self) -> None:
            try:
                await getattr(self, what)()
            except RuntimeError as error:
                errors.append(error)

    async with Suicidal("itself") as service:
        service.request_stop()

    wanted = "its own start while it opens" if what == "started" else "its own end in a main task; use request_stop()"
    assert [str(error) for error in errors] == [f"service itself cannot wait for {wanted}"]


async def test_an_on_crash_that_raises_costs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged without its text, and the loop hears nothing of it."""
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))

    class Careless(Plan):
        def on_crash(self, error: BaseException) -> None:
            raise KeyError("payload of a user")

    service = Careless(fail)
    await service.start()
    await service.stopped()
    await asyncio.sleep(0)

    assert troubles == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert caplog.messages[1].startswith("on_crash() of service plan raised KeyError in on_crash (")
    assert "payload" not in caplog.text


async def test_the_repr_tells_the_state() -> None:
    """A service in a log line or a debugger says where it is."""
    service = Plan()
    before = repr(service)
    async with service:
        assert repr(service) == "<Plan 'plan' running>"

    assert (before, repr(service)) == ("<Plan 'plan' idle>", "<Plan 'plan' stopped>")


async def test_a_deadline_of_a_stop_reaches_the_work() -> None:
    """A service that is cut off hears that there is no time left, before its task is cancelled."""
    heard: list[float | None] = []

    class Listening(Plan):
        def _request_stop(self, deadline: Deadline) -> None:
            heard.append(deadline.when)

    service = Listening(forever)
    await service.start()
    service.request_stop(Deadline.after(10))
    await asyncio.sleep(3)
    service.cancel()
    await service.stopped()

    assert heard == [10, 3]
