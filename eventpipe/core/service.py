"""Everything that owns a task starts and stops the same way."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, Protocol, Self

from eventpipe.core.deadline import Deadline
from eventpipe.core.failures import where_raised
from eventpipe.core.life import Life
from eventpipe.core.log import contained_logger
from eventpipe.core.stopping import StopReport, contained
from eventpipe.errors import ClosedError

_logger = contained_logger(__name__)


class ServiceState(StrEnum):
    """Where a service is in its life."""

    IDLE = "idle"  # never started
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Supervisor(Protocol):
    """Who looks after a service while it runs."""

    name: str

    @property
    def state(self) -> ServiceState:
        """Where it is itself."""

    def ended(self, service: Service, life: Life) -> None:
        """See that ``life`` of ``service`` is over, however it ended; another one may have begun."""


class Service:
    """Something that owns a task; starting and stopping it are idempotent, in any order, from any number of tasks.

    The main task opens, serves and closes. It is nobody's child: cancelling the task that called ``start()`` ends
    nothing, and no context variable of a caller reaches it. It can start again after it stopped or failed, also in
    another event loop. All methods but the constructor belong to the loop it runs in.

    A subclass overrides what it needs of ``_open()``, ``_serve()``, ``_request_stop()``, ``_close()`` and
    ``on_crash()``; ``_wait_for_stop()`` is for its use.

    Attributes:
        name: What its task and its log lines are named after.
        error: What it failed with last; ``None`` once it starts again.
        on_end: Called whenever a life of it is over, however it ended; must not raise.
        new_context: Makes the context of its main task, which has nothing of any caller's.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__
        self.error: BaseException | None = None
        self.on_end: Callable[[], None] = lambda: None
        self.new_context: Callable[[], contextvars.Context] = contextvars.Context
        self._life: Life | None = None
        self._coming: Life | None = None  # the first life, where somebody waits for it already
        self._state = ServiceState.IDLE
        self._supervisor: Supervisor | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.state}>"

    @property
    def state(self) -> ServiceState:
        """Where it is now; one that a closed loop left running is over."""
        return ServiceState.STOPPED if self._life is not None and self._life.is_abandoned else self._state

    @property
    def is_finished(self) -> bool:
        """Whether its work ended by itself, without a stop and without an error; not any more once it starts again."""
        life = self._life
        return life is not None and life.over.is_set() and life.has_finished and life.error is None

    @property
    def was_cut_off(self) -> bool:
        """Whether ``cancel()`` cut the life short that it is in, or was in last."""
        return self._life is not None and self._life.was_cut_off

    def launch(self) -> None:
        """Begin to start, without waiting; does nothing while it is starting or running.

        Raises:
            ClosedError: It is stopping.
            RuntimeError: It runs in another event loop.
        """
        if self._current() is not None:
            if self._state is ServiceState.STOPPING:
                raise ClosedError(f"service {self.name} is stopping; wait for stopped() before it starts again")
            return
        self.error = None
        self._state = ServiceState.STARTING
        # In an empty context, which tasks and callbacks made there copy: a request ends with its handler.
        self.new_context().run(self._begin)

    async def start(self) -> None:
        """Start, and wait until it runs; returns at once when it does. One that is stopping stops first.

        Raises:
            ClosedError: It was stopped, or its task cancelled, before it ran.
            Exception: What opening it raised. Everything was closed again.

        Cancellation:
            Safe. It goes on starting; ``stop()`` ends it.
        """
        while self.state is ServiceState.STOPPING:
            await self.stopped()
        self.launch()
        await self.started()

    async def started(self) -> None:
        """Wait until it runs, without starting it; one that was never started is waited for.

        Raises:
            ClosedError: It does not run: stopped, failed, or stopped while it was starting.
            Exception: What opening it raised.
            RuntimeError: Called by its own main task while it opens.

        Cancellation:
            Safe. Nothing changes.
        """
        life = self._current_or_first()
        if life is not None:
            if life is self._life and life.task is asyncio.current_task() and not life.has_run:
                raise RuntimeError(f"service {self.name} cannot wait for its own start while it opens")
            await life.opened.wait()
            if life.has_run:
                return
            if life.error is not None and not isinstance(life.error, asyncio.CancelledError):
                raise life.error
        raise ClosedError(f"service {self.name} is not running")

    def request_stop(self, deadline: Deadline | None = None) -> None:
        """Begin to stop, without waiting; does nothing when there is nothing to stop.

        Args:
            deadline: By when it should have stopped; ``None`` is never. A later request can only bring it forward.
        """
        life = self._current()
        if life is None:
            return
        deadline = deadline or Deadline()
        if life.stop_requested.is_set() and deadline.remaining() >= life.deadline.remaining():
            return
        is_first = not life.stop_requested.is_set()
        life.deadline = deadline
        life.stop_requested.set()
        self._state = ServiceState.STOPPING
        if life.has_run and not life.is_closing:
            self._request_stop(deadline)
        elif is_first and life.is_opening and asyncio.current_task() is not life.task:
            life.task.cancel()

    def cancel(self) -> None:
        """Cut it off where it is: its main task is cancelled, once in a life; does nothing when it does not run.

        That is no crash: it closes, and has stopped. One that ignores its cancellation goes on.
        """
        life = self._current()
        if life is None or life.was_cut_off:
            return
        life.was_cut_off = True
        try:
            self.request_stop(Deadline.after(0))
        finally:
            life.task.cancel()

    async def stop(self, timeout: float | None = None) -> StopReport:
        """Stop, and wait until it has; returns at once when there is nothing to stop.

        Args:
            timeout: Seconds on the loop clock, this caller's own; ``None`` waits as long as it takes.

        Returns:
            How its life ended, the last one where there is nothing to stop; empty when it was never started.

        Raises:
            TimeoutError: It is still stopping, and ``stop()`` may come again.
            RuntimeError: Called by the service's own main task, which would wait for itself: use ``request_stop()``.

        Cancellation:
            Safe. The stop goes on, and so do others who wait for it.
        """
        life = self._current()
        if life is None:
            return self._last_report()
        deadline = Deadline.after(timeout)
        try:
            async with deadline.scope():
                return await self._stop(life, deadline)
        except TimeoutError:
            raise TimeoutError(f"service {self.name} did not stop within {timeout} s") from None

    async def stopped(self) -> None:
        """Wait until it does not run, however it ended; ``error`` says what it failed with.

        One that was never started is waited for: until it has run, and stopped.

        Raises:
            RuntimeError: Called by its own main task.

        Cancellation:
            Safe. Nothing changes.
        """
        life = self._current_or_first()
        if life is not None:
            self._refuse_own_task()
            await life.over.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except asyncio.CancelledError:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _open(self) -> None:
        """Acquire what is needed; cancelled if it is stopped meanwhile. However it ends, ``_close()`` comes."""

    async def _serve(self) -> None:
        """Work until ``_request_stop()`` was called, or the input ends; an error is a crash.

        Where its loop is closed under it, what it does in a ``finally`` comes when the garbage collector does, in the
        middle of a later life perhaps: it asks whether the loop is closed, and leaves everything as it is.
        """
        await self._wait_for_stop()

    async def _wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait until this life was asked to stop, or for ``timeout`` seconds; whether it was asked."""
        assert self._life is not None  # noqa: S101  # this is a step of it
        asked = self._life.stop_requested
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asked.wait()
        return asked.is_set()

    def _request_stop(self, deadline: Deadline) -> None:
        """Make ``_serve()`` return by ``deadline``; called again when a later request brings it forward."""

    async def _close(self) -> None:
        """Release everything, whatever ``_open()`` got to and however ``_serve()`` ended."""

    def on_crash(self, error: BaseException) -> None:
        """See the error that the service failed with, after everybody who waited was told."""

    def _current(self) -> Life | None:
        """The life that is not over, if there is one, and it is of this loop."""
        life = self._life
        if life is None or life.over.is_set() or life.is_abandoned:
            return None
        if life.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"service {self.name} runs in another event loop; stop it there")
        return life

    def _current_or_first(self) -> Life | None:
        """The life that is not over; before the first start, the one to come in this loop."""
        if self._life is not None:
            return self._current()
        if self._coming is None or self._coming.loop is not asyncio.get_running_loop():
            self._coming = Life()
        return self._coming

    def _runs(self, task: asyncio.Task[Any] | None) -> bool:  # Any: whatever a task returns
        """Whether ``task`` must not wait for the end of this service, which waits for that task."""
        return self._life is not None and not self._life.over.is_set() and self._life.task is task

    def _refuse_own_task(self) -> None:
        if self._runs(asyncio.current_task()):
            raise RuntimeError(f"service {self.name} cannot wait for its own end in a main task; use request_stop()")

    async def _stop(self, life: Life, deadline: Deadline) -> StopReport:
        self._refuse_own_task()
        began = life.loop.time()
        self.request_stop(deadline)
        await life.over.wait()
        assert life.report is not None  # noqa: S101  # it is over
        return replace(life.report, elapsed=life.loop.time() - began)

    def _last_report(self) -> StopReport:
        """How its last life ended; as a straggler, where it has not."""
        life = self._life
        if life is None or life.is_abandoned:
            return StopReport()
        return StopReport(stragglers=(self.name,)) if life.report is None else life.report

    def _report(self, life: Life) -> StopReport:
        """How a life ended, under the name of this service."""
        if life.error is not None:
            return StopReport(failed=(self.name,))
        return StopReport(cancelled=(self.name,)) if life.was_cut_off else StopReport(stopped=(self.name,))

    def _begin(self) -> None:
        coming, self._coming = self._coming, None
        life = self._life = Life() if coming is None or coming.loop is not asyncio.get_running_loop() else coming
        life.task = life.loop.create_task(self._main(life), name=self.name)
        life.task.add_done_callback(lambda task: self._ended(life, task))

    async def _main(self, life: Life) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine of a task
        life.task = task  # an eager one begins before create_task() returns
        try:
            await self._open_unless_stopped(life)
            if not life.stop_requested.is_set():
                self._state = ServiceState.RUNNING
                life.began = life.loop.time()
                life.has_run = True
                life.opened.set()
                await self._serve()
                life.has_finished = not life.stop_requested.is_set()
        except asyncio.CancelledError as error:
            if not life.was_cut_off:
                life.error = error
                raise
            while task.uncancel():  # once by cancel(), once where it was asked to stop while it opened
                pass
        except BaseException as error:
            life.error = error  # the first is the one to look at, although closing may fail as well
            raise
        finally:
            # A loop closed under it leaves this to the garbage collector, which comes at any time of a later life.
            if not life.loop.is_closed():
                self._state = ServiceState.STOPPING
                life.is_closing = True
                await self._close()

    async def _open_unless_stopped(self, life: Life) -> None:
        if life.stop_requested.is_set():
            return
        life.is_opening = True
        try:
            await self._open()
        except asyncio.CancelledError:
            if not life.stop_requested.is_set() or life.task.uncancel():
                raise  # somebody else cancels
        finally:
            life.is_opening = False

    def _ended(self, life: Life, task: asyncio.Task[None]) -> None:
        if life.error is None and not (task.cancelled() and life.was_cut_off):
            life.error = asyncio.CancelledError() if task.cancelled() else task.exception()
        elif not task.cancelled():
            task.exception()  # marks it as seen
        self.error = life.error
        self._state = ServiceState.STOPPED if life.error is None else ServiceState.FAILED
        life.report = self._report(life)
        life.opened.set()
        life.over.set()
        if isinstance(life.error, asyncio.CancelledError):
            _logger.warning(
                "%s was cancelled from outside, as asyncio.run() does at its end; stop it, or close its client, before",
                self.name,
            )
        elif life.error is not None:
            _logger.error("service %s failed: %s", self.name, where_raised(life.error))
        self.on_end()
        if life.error is not None:
            contained(f"on_crash() of service {self.name}", self.on_crash, life.error)
        if self._supervisor is not None:
            self._supervisor.ended(self, life)
