"""Everything that owns a task starts and stops the same way."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from enum import StrEnum
from typing import Self

from eventpipe.core.deadline import Deadline
from eventpipe.core.failures import where_raised
from eventpipe.core.life import Life
from eventpipe.core.log import contained_logger
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


class Service:
    """Something that owns a task; starting and stopping it are idempotent, in any order, from any number of tasks.

    The main task opens, serves and closes. It is nobody's child: cancelling the task that called ``start()`` ends
    nothing, and no context variable of a caller reaches it. It can start again after it stopped or failed, also in
    another event loop. All methods but the constructor belong to the loop it runs in.

    A subclass overrides what it needs of ``_open()``, ``_serve()``, ``_request_stop()``, ``_close()`` and
    ``on_crash()``.

    Attributes:
        name: What its task and its log lines are named after.
        error: What it failed with last; ``None`` once it starts again.
        on_end: Called whenever a life of it is over, however it ended; must not raise.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__
        self.error: BaseException | None = None
        self.on_end: Callable[[], None] = lambda: None
        self._life: Life | None = None
        self._state = ServiceState.IDLE

    @property
    def state(self) -> ServiceState:
        """Where it is now; one that a closed loop left running is over."""
        return ServiceState.STOPPED if self._life is not None and self._life.is_abandoned else self._state

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
        contextvars.Context().run(self._begin)

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
        """Wait until it runs, without starting it; one that was never started is not waited for.

        Raises:
            ClosedError: It does not run: never started, stopped, or stopped while it was starting.
            Exception: What opening it raised.

        Cancellation:
            Safe. Nothing changes.
        """
        life = self._current()
        if life is not None:
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

    async def stop(self, timeout: float | None = None) -> None:
        """Stop, and wait until it has; returns at once when there is nothing to stop.

        Args:
            timeout: Seconds on the loop clock, this caller's own; ``None`` waits as long as it takes.

        Raises:
            TimeoutError: It is still stopping, and ``stop()`` may come again.
            RuntimeError: Called by the service's own main task, which would wait for itself: use ``request_stop()``.

        Cancellation:
            Safe. The stop goes on, and so do others who wait for it.
        """
        life = self._current()
        if life is None:
            return
        if asyncio.current_task() is life.task:
            raise RuntimeError(f"service {self.name} cannot wait for its own end; use request_stop()")
        deadline = Deadline.after(timeout)
        self.request_stop(deadline)
        try:
            async with deadline.scope():
                await life.over.wait()
        except TimeoutError:
            raise TimeoutError(f"service {self.name} did not stop within {timeout} s") from None

    async def stopped(self) -> None:
        """Wait until it does not run, however it ended; ``error`` says what it failed with.

        Cancellation:
            Safe. Nothing changes.
        """
        life = self._current()
        if life is not None:
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
        if self._life is not None:
            await self._life.stop_requested.wait()

    def _request_stop(self, deadline: Deadline) -> None:
        """Make ``_serve()`` return by ``deadline``; called again when a later request brings it forward."""

    async def _close(self) -> None:
        """Release everything, whatever ``_open()`` got to and however ``_serve()`` ended."""

    def on_crash(self, error: BaseException) -> None:
        """See the error that the service failed with, after everybody who waited was told; must not raise."""

    def _current(self) -> Life | None:
        """The life that is not over, if there is one, and it is of this loop."""
        life = self._life
        if life is None or life.over.is_set() or life.is_abandoned:
            return None
        if life.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"service {self.name} runs in another event loop; stop it there")
        return life

    def _begin(self) -> None:
        life = self._life = Life()
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
                life.has_run = True
                life.opened.set()
                await self._serve()
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
        if life.error is None:
            life.error = asyncio.CancelledError() if task.cancelled() else task.exception()
        elif not task.cancelled():
            task.exception()  # marks it as seen
        self.error = life.error
        self._state = ServiceState.STOPPED if life.error is None else ServiceState.FAILED
        life.opened.set()
        life.over.set()
        if isinstance(life.error, asyncio.CancelledError):
            _logger.warning("service %s was cancelled by somebody else; stop it instead", self.name)
        elif life.error is not None:
            _logger.error("service %s failed: %s", self.name, where_raised(life.error))
        self.on_end()
        if life.error is not None:
            self.on_crash(life.error)
