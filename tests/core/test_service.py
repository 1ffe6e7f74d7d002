"""One way to start, stop and fail, for everything that owns a task; the contract suite adds what holds for all."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventpipe.core.deadline import Deadline
from eventpipe.core.service import Service, ServiceState
from eventpipe.errors import ClosedError
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.sweep import Point, Swept, cancellation_sweep

pytestmark = pytest.mark.asyncio

REQUEST = contextvars.ContextVar("REQUEST", default="none")


class Recorder(Service):
    """Writes down what happens to it; each step takes a second, and can be told to fail."""

    def __init__(self, *, open_error: Exception | None = None, close_error: Exception | None = None) -> None:
        super().__init__("recorder")
        self.open_error = open_error
        self.close_error = close_error
        self.steps: list[str] = []
        self.deadlines: list[float | None] = []
        self.crashes: list[BaseException] = []
        self.ends = 0
        self.on_end = self._count_end
        self.drain = 1.0
        self.crash: asyncio.Future[None]
        self.asked: asyncio.Future[None]
        self.seen_request: str | None = None

    def _count_end(self) -> None:
        self.ends += 1

    async def _open(self) -> None:
        self.steps.append("opening")
        self.seen_request = REQUEST.get()
        self.crash = asyncio.get_running_loop().create_future()
        self.asked = asyncio.get_running_loop().create_future()
        await asyncio.sleep(1)
        if self.open_error is not None:
            raise self.open_error
        self.steps.append("open")

    async def _serve(self) -> None:
        await asyncio.wait({self.crash, self.asked}, return_when=asyncio.FIRST_COMPLETED)
        if self.crash.done():
            self.crash.result()
            return
        await asyncio.sleep(self.drain)
        self.steps.append("drained")

    def _request_stop(self, deadline: Deadline) -> None:
        self.deadlines.append(deadline.when)
        if not self.asked.done():
            self.asked.set_result(None)

    async def _close(self) -> None:
        await asyncio.sleep(1)
        if self.close_error is not None:
            raise self.close_error
        self.steps.append("closed")

    def on_crash(self, error: BaseException) -> None:
        self.crashes.append(error)


def state_of(service: Service) -> ServiceState:
    return service.state  # through a function, so that a type checker does not take it for constant


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_life_from_start_to_stop() -> None:
    """Opens, runs, is asked to stop with its deadline, drains, closes; the state says where it is."""
    service = Recorder()
    assert state_of(service) is ServiceState.IDLE
    starter = asyncio.create_task(service.start())
    await asyncio.sleep(0)
    assert state_of(service) is ServiceState.STARTING
    await starter
    assert (state_of(service), now()) == (ServiceState.RUNNING, 1)

    stopper = asyncio.create_task(service.stop(10))
    await asyncio.sleep(0)
    assert state_of(service) is ServiceState.STOPPING
    await stopper

    assert (state_of(service), service.error, now()) == (ServiceState.STOPPED, None, 3)
    assert service.steps == ["opening", "open", "drained", "closed"]
    assert (service.deadlines, service.ends) == ([11], 1)


async def test_the_state_reads_as_a_word() -> None:
    """States are strings, for reports and logs."""
    assert [str(state) for state in ServiceState] == ["idle", "starting", "running", "stopping", "stopped", "failed"]


async def test_a_service_that_only_opens_and_closes_runs_until_it_is_stopped() -> None:
    """Nothing needs to be overridden: serving is waiting to be asked, and parked."""
    service = Service()
    await service.start()
    loop = asyncio.get_running_loop()
    before: int = loop.steps  # type: ignore[attr-defined]  # the suite's loop counts
    await asyncio.sleep(3600)

    assert loop.steps - before <= 2  # type: ignore[attr-defined]
    assert (service.name, service.state) == ("Service", ServiceState.RUNNING)
    await service.stop()


async def test_ten_starters_share_one_start_and_ten_stoppers_one_stop() -> None:
    """All return when it is done, and it is done once."""
    service = Recorder()

    await asyncio.gather(*(service.start() for _ in range(10)))
    await asyncio.gather(*(service.stop() for _ in range(10)))

    assert service.steps == ["opening", "open", "drained", "closed"]
    assert service.ends == 1


async def test_stop_before_start_changes_nothing() -> None:
    """There is nothing to stop, and a later start works."""
    service = Recorder()

    await service.stop()
    service.request_stop()
    service.cancel()

    assert state_of(service) is ServiceState.IDLE
    async with service:
        assert state_of(service) is ServiceState.RUNNING


@pytest.mark.parametrize("delay", [0, 0.5], ids=["before its first step", "while opening"])
async def test_stop_during_start_stops_it(delay: float) -> None:
    """Opening is cancelled, closing comes, and the starter is told; neither waits for what will not be."""
    service = Recorder()
    starter = asyncio.create_task(service.start())
    await asyncio.sleep(delay)

    await service.stop()

    assert (state_of(service), service.error) == (ServiceState.STOPPED, None)
    assert now() == delay + 1
    assert service.steps[-1] == "closed"
    assert "open" not in service.steps
    assert service.deadlines == []  # it never served, so there was nothing to wind up
    with pytest.raises(ClosedError, match="service recorder is not running"):
        await starter


async def test_started_and_stopped_only_wait() -> None:
    """Neither starts nor stops anything; after a life there is nothing to wait for."""
    service = Recorder()
    service.launch()
    service.launch()
    waiting = asyncio.create_task(service.stopped())

    await service.started()

    assert state_of(service) is ServiceState.RUNNING
    assert not waiting.done()
    await service.stop()
    await waiting
    await service.stopped()
    with pytest.raises(ClosedError):
        await service.started()


async def test_start_while_stopping_starts_again_afterwards() -> None:
    """The old life ends in order before the new one begins; beginning without waiting is refused."""
    service = Recorder()
    await service.start()
    stopper = asyncio.create_task(service.stop())
    await asyncio.sleep(0)
    with pytest.raises(ClosedError, match="is stopping"):
        service.launch()

    await service.start()

    assert stopper.done()
    assert service.steps == ["opening", "open", "drained", "closed", "opening", "open"]
    await service.stop()


async def test_stop_with_a_timeout_leaves_it_stoppable() -> None:
    """Time runs out for the caller alone; the stop goes on, and a later one sees its end."""
    service = Recorder()
    service.drain = 100
    await service.start()

    with pytest.raises(TimeoutError, match="service recorder did not stop within 5 s"):
        await service.stop(5)

    assert (state_of(service), now()) == (ServiceState.STOPPING, 6)
    await service.stop(200)
    assert (state_of(service), now()) == (ServiceState.STOPPED, 102)


async def test_each_stop_keeps_its_own_timeout() -> None:
    """Of two at once the shorter gives up in its time and the longer sees the end; the service hears the nearest."""
    service = Recorder()
    service.drain = 50
    await service.start()
    ends: list[tuple[str, float]] = []

    async def stop(timeout: float | None) -> None:
        try:
            await service.stop(timeout)
            ends.append(("stopped", now() - 1))
        except TimeoutError:
            ends.append(("timeout", now() - 1))

    await asyncio.gather(stop(20), stop(5), stop(None), stop(30))

    assert ends == [("timeout", 5), ("timeout", 20), ("timeout", 30), ("stopped", 51)]
    assert service.deadlines == [21, 6]  # a later request only brings the deadline forward


async def test_a_nearer_deadline_is_heard_only_by_what_still_serves() -> None:
    """While it closes there is nothing left to hurry; while it opens it is interrupted once."""

    class Careful(Recorder):
        interruptions = 0

        async def _open(self) -> None:
            try:
                await super()._open()
            except asyncio.CancelledError:
                self.interruptions += 1
                await asyncio.sleep(1)
                raise

    service = Careful()
    await service.start()
    service.request_stop(Deadline.after(10))
    await asyncio.sleep(1.5)  # drained, and closing
    service.request_stop(Deadline.after(1))
    await service.stopped()
    assert service.deadlines == [11]

    service.launch()
    await asyncio.sleep(0.5)
    for timeout in (10, 5, 1):
        service.request_stop(Deadline.after(timeout))
        await asyncio.sleep(0.1)
    await service.stopped()
    assert (service.interruptions, service.deadlines, service.error) == (1, [11], None)
    assert service.steps == ["opening", "open", "drained", "closed", "opening", "closed"]


async def test_cancelling_one_stopper_leaves_the_others_and_the_stop() -> None:
    """The cancelled one is gone at once, the stop ends in its time."""
    service = Recorder()
    await service.start()
    first, second = (asyncio.create_task(service.stop()) for _ in range(2))
    await asyncio.sleep(0.5)
    first.cancel()
    await asyncio.wait({first})
    assert (first.cancelled(), now()) == (True, 1.5)

    await second

    assert (state_of(service), now()) == (ServiceState.STOPPED, 3)


@pytest.mark.parametrize("delay", [0.5, 5], ids=["while it waits", "later"])
async def test_cancelling_the_task_that_started_it_ends_nothing(delay: float) -> None:
    """The main task is nobody's child."""
    service = Recorder()

    async def handler() -> None:
        await service.start()
        await asyncio.sleep(100)

    starter = asyncio.create_task(handler())
    await asyncio.sleep(delay)
    starter.cancel()
    await asyncio.wait({starter})

    await service.started()
    assert state_of(service) is ServiceState.RUNNING
    await service.stop()


async def test_no_context_of_a_caller_reaches_it() -> None:
    """The request that happened to start it is not the request it works for."""
    REQUEST.set("the one that started it")
    async with Recorder() as service:
        assert service.seen_request == "none"


async def test_it_keeps_nothing_of_who_started_it_alive() -> None:
    """Its task and callbacks hold no context of a request that is over."""

    class Request:
        pass

    current: contextvars.ContextVar[Request] = contextvars.ContextVar("current")
    seen: list[weakref.ref[Request]] = []
    service = Service()

    async def handler() -> None:
        current.set(Request())
        seen.append(weakref.ref(current.get()))
        await service.start()

    await asyncio.create_task(handler())
    await asyncio.sleep(0)  # the loop lets go of the handler's task
    gc.collect()

    assert seen[0]() is None
    await service.stop()


async def test_a_failed_start_leaves_nothing_and_tells_everybody() -> None:
    """Everyone who waits gets the error, what was opened is closed, and it can start again."""
    error = OSError("port in use")
    service = Recorder(open_error=error)

    with no_leaks():
        ends = await asyncio.gather(*(service.start() for _ in range(3)), service.stopped(), return_exceptions=True)

    assert ends == [error, error, error, None]
    assert (state_of(service), service.error, service.steps) == (ServiceState.FAILED, error, ["opening", "closed"])
    assert (service.crashes, service.ends) == ([error], 1)

    service.open_error = None
    async with service:
        assert (state_of(service), service.error) == (ServiceState.RUNNING, None)


async def test_a_main_task_that_dies_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """It fails with its error, closes, releases waiters, and says so once, without the text of the error."""
    service = Recorder()
    await service.start()
    waiter = asyncio.create_task(service.stopped())
    error = ValueError("payload of a user")

    service.crash.set_exception(error)
    await waiter

    assert (state_of(service), service.error, service.crashes) == (ServiceState.FAILED, error, [error])
    assert service.steps == ["opening", "open", "closed"]
    assert [(record.levelno, record.name) for record in caplog.records] == [(logging.ERROR, "eventpipe.core.service")]
    assert caplog.messages[0].startswith("service recorder failed: ValueError in _serve (test_service.py:")
    assert "payload" not in caplog.text
    with pytest.raises(ClosedError):
        await service.started()
    await service.stop()
    await service.start()
    await service.stop()


async def test_a_failure_while_closing_is_a_failure() -> None:
    """Stop returns, for there is nothing left to wait for, and the error is kept."""
    error = OSError("disk full")
    service = Recorder(close_error=error)
    await service.start()

    await service.stop()

    assert (state_of(service), service.error) == (ServiceState.FAILED, error)


async def test_the_first_error_is_the_one_that_is_kept() -> None:
    """Closing that fails after a crash does not hide it."""
    crash = ValueError("first")
    service = Recorder(close_error=OSError("second"))
    await service.start()

    service.crash.set_exception(crash)
    await service.stopped()

    assert service.error is crash


async def test_input_that_ends_by_itself_stops_it() -> None:
    """Serving that returns is a stop in order, which nobody has to ask for."""
    service = Recorder()
    await service.start()

    service.crash.set_result(None)
    await service.stopped()

    assert (state_of(service), service.error, service.deadlines) == (ServiceState.STOPPED, None, [])
    assert service.steps == ["opening", "open", "closed"]


@pytest.mark.parametrize(
    ("delay", "steps"), [(None, []), (0.5, ["opening", "closed"]), (2, ["opening", "open", "closed"])]
)
async def test_a_main_task_cancelled_by_somebody_else_has_failed(
    delay: float | None, steps: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It closes what it opened, and neither a starter nor a stopper hangs or takes the cancellation for its own."""
    service = Recorder()
    service.launch()
    starter = asyncio.create_task(service.start())
    if delay is not None:
        await asyncio.sleep(delay)
    main = next(task for task in asyncio.all_tasks() if task.get_name() == "recorder")

    main.cancel()
    await service.stopped()

    assert (state_of(service), service.steps) == (ServiceState.FAILED, steps)
    assert isinstance(service.error, asyncio.CancelledError)
    assert caplog.messages == [
        "recorder was cancelled from outside, as asyncio.run() does at its end; stop it, or close its client, before"
    ]
    (end,) = await asyncio.gather(starter, return_exceptions=True)
    assert isinstance(end, ClosedError) is (delay != 2)
    await service.stop()


async def test_stop_from_its_own_main_task_is_refused() -> None:
    """It would wait for itself; asking to stop is what it can do."""

    class Suicidal(Service):
        async def _serve(self) -> None:
            with pytest.raises(RuntimeError, match="use request_stop"):
                await self.stop()
            self.request_stop()
            await super()._serve()

    async with Suicidal() as service:
        await service.stopped()

    assert (state_of(service), service.error) == (ServiceState.STOPPED, None)


async def test_a_service_may_ask_to_stop_while_it_opens() -> None:
    """Opening goes on to its end, nothing is served, and everything is closed."""

    class Undecided(Recorder):
        async def _open(self) -> None:
            self.request_stop()
            await super()._open()

    service = Undecided()
    with pytest.raises(ClosedError):
        await service.start()
    await service.stopped()

    assert (state_of(service), service.steps) == (ServiceState.STOPPED, ["opening", "open", "closed"])


async def test_leaving_the_context_stops_it_and_an_error_inside_passes() -> None:
    """``async with`` starts and stops, whatever happens inside."""
    service = Recorder()

    with pytest.raises(KeyError):
        async with service:
            raise KeyError

    assert state_of(service) is ServiceState.STOPPED


async def test_entering_that_is_cancelled_leaves_nothing() -> None:
    """Nobody would leave the context, so what it began is stopped; cancelled at any point of entering."""
    service: Recorder

    async def enter() -> None:
        async with service:
            pass

    def make() -> Swept:
        nonlocal service
        service = Recorder()
        return enter()

    async def check(point: Point) -> None:
        await service.stopped()
        assert state_of(service) is ServiceState.STOPPED
        assert service.steps[-1] == "closed"

    assert await cancellation_sweep(make, check) == 6


async def test_a_starter_cancelled_anywhere_leaves_it_startable_and_stoppable() -> None:
    """A start and a stop, cancelled at any point: the service goes on, and stopping it once more leaves nothing."""

    @asynccontextmanager
    async def life() -> AsyncIterator[Swept]:
        service = Recorder()

        async def start_and_stop() -> None:
            await service.start()
            await service.stop()

        with no_leaks():
            yield start_and_stop()
            await service.stop()
        assert service.steps[-1] == "closed"
        assert service.error is None

    assert await cancellation_sweep(life) == 6
