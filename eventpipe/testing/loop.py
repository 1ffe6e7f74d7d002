"""An event loop on which an hour costs nothing and a hang fails at once."""

from __future__ import annotations

import asyncio
import math
import selectors
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_ASYNCIO = str(Path(asyncio.__file__).parent)


class DeadlockError(RuntimeError):
    """Every task is blocked and no timer is set: nothing can ever happen again."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait: when nothing is ready it jumps to its next timer, exactly.

    Time begins at 0.0 and moves by jumps only, except while something outside the loop may still act; then the loop
    waits really, and its clock moves as the wall's does. That is so while a call of ``run_in_executor()``,
    ``asyncio.to_thread()`` or ``anyio.to_thread`` is out, while a file descriptor (a socket, a pipe) is
    registered, and inside ``real_time()``.

    ``call_soon_threadsafe()`` works from any thread, but a thread that the loop does not know of does not hold the
    clock: the loop may have jumped, or found a deadlock, before the call comes. Put ``real_time()`` around the wait
    for such a thread.

    When every task is blocked, no timer is set and nothing outside the loop can act, ``run_until_complete()`` and
    ``run_forever()`` raise ``DeadlockError``, which names the tasks and the lines they wait in.

    Attributes:
        steps: Turns of the loop so far. Something that parks takes a handful in an hour, something that polls many.
    """

    if TYPE_CHECKING:  # what asyncio's base classes have and keep to themselves
        _scheduled: list[asyncio.TimerHandle]
        _internal_fds: int
        _clock_resolution: float
        _default_executor: ThreadPoolExecutor | None
        _selector: selectors.BaseSelector

        def _check_closed(self) -> None: ...
        def _check_default_executor(self) -> None: ...

    def __init__(self) -> None:
        self.steps = 0
        self._now = 0.0
        self._real_waits = 0
        self._calls_out: set[Future[Any]] = set()
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Seconds since the loop was made, as its tasks see them."""
        return self._now

    @contextmanager
    def real_time(self) -> Iterator[None]:
        """Wait really inside this block, for a thread that the loop does not know of."""
        self._real_waits += 1
        try:
            yield
        finally:
            self._real_waits -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Call ``func`` in a thread; the loop waits really until the thread is done, even if its caller is not."""
        self._check_closed()
        if executor is None:
            self._check_default_executor()
            if self._default_executor is None:
                self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
            executor = self._default_executor
            assert executor is not None  # for the type checker: it was set two lines above
        call = executor.submit(func, *args)
        self._calls_out.add(call)
        # The result is handed to the loop by a callback of wrap_future(); ours is added after it and so runs after
        # it: the call counts as out until its result is in the loop.
        future = asyncio.wrap_future(call, loop=self)
        call.add_done_callback(self._call_is_back)
        return future

    def _call_is_back(self, call: Future[Any]) -> None:
        try:
            self.call_soon_threadsafe(self._calls_out.discard, call)
        except RuntimeError:  # closed meanwhile, so nobody reads the set any more
            self._calls_out.discard(call)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Join the threads of the default executor, which takes real time."""
        with self.real_time():
            if sys.version_info >= (3, 12):
                await super().shutdown_default_executor(timeout)
            else:
                await super().shutdown_default_executor()

    def _may_be_woken(self) -> bool:
        """Whether something outside the loop can still make a callback ready."""
        return bool(self._real_waits or self._calls_out) or self._has_open_files() or self._anyio_threads_out()

    def _has_open_files(self) -> bool:
        return len(self._selector.get_map()) > self._internal_fds

    def _anyio_threads_out(self) -> bool:
        """Whether a worker thread of anyio, which has threads of its own, works for this loop."""
        return threading.active_count() > 1 and any(
            getattr(thread, "loop", None) is self and thread not in getattr(thread, "idle_workers", (thread,))
            for thread in threading.enumerate()
        )

    def _jump(self) -> None:
        if not self._scheduled:
            raise DeadlockError(f"deadlock: every task is blocked and no timer is set\n{_describe(self)}")
        # BaseEventLoop runs the timers before now + resolution. One unit in the last place makes that exactly the
        # timers due now, however large the clock has grown, so that nothing runs early and nothing spins.
        self._now = max(self._now, self._scheduled[0].when())
        self._clock_resolution = math.ulp(self._now)

    def _wait(self, select: Callable[[], _T]) -> _T:
        before = time.monotonic()
        ready = select()
        self._now += time.monotonic() - before
        self._clock_resolution = math.ulp(self._now)
        return ready


class _JumpingSelector(selectors.DefaultSelector):
    """Asks what is ready and, where nothing is and nothing can become so, moves the clock of its loop."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See ``selectors.BaseSelector.select()``."""
        loop = self._loop
        loop.steps += 1
        if timeout is not None and timeout <= 0:
            return super().select(0)
        # Asked before looking: what acts from outside hands its result over first and counts as gone after.
        may_be_woken = loop._may_be_woken()
        ready = super().select(0)
        if ready:
            return ready
        if may_be_woken:
            return loop._wait(lambda: super(_JumpingSelector, self).select(timeout))
        loop._jump()
        return ready


def where(coroutine: Any) -> str:  # Any: whatever an await may stand on; only attributes of coroutines are read
    """The innermost line that a suspended coroutine waits in, outside asyncio if there is one."""
    line = ""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None and not (line and frame.f_code.co_filename.startswith(_ASYNCIO)):
            line = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return line or "not started"


def _describe(loop: asyncio.AbstractEventLoop) -> str:
    return "\n".join(sorted(f"  {task.get_name()}: {where(task.get_coro())}" for task in asyncio.all_tasks(loop)))
