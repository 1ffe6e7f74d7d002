"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from threading import get_ident
from typing import Any, TypeVar

from eventpipe.core.log import contained_logger
from eventpipe.core.waking import running_loop

T = TypeVar("T")

logger = contained_logger("eventpipe")

# Those who wait when the loop is told to end get their answers in a few of its steps.
LAST_ANSWERS = 0.1
# At the interpreter's end: cancelling what is in flight takes milliseconds, and what takes longer is left behind.
EXIT_TIMEOUT = 0.25


class LoopEndedError(RuntimeError):
    """The loop ended before it had an answer.

    Attributes:
        has_begun: Whether it had begun with the work.
    """

    def __init__(self, *, has_begun: bool) -> None:
        super().__init__("the event loop of the client's thread ended meanwhile")
        self.has_begun = has_begun


class HeldUpError(TimeoutError):
    """The loop has not answered in time.

    Attributes:
        has_begun: Whether it had begun with the work; else it never will.
    """

    def __init__(self, *, has_begun: bool) -> None:
        super().__init__("the event loop of the client's thread has not answered in time")
        self.has_begun = has_begun


class LoopThread:
    """Runs coroutines for threads without an event loop; ends, forks and exits without hanging.

    A thread of our own, because anyio's blocking portal is held by a generator that waits for its thread when it is
    collected: a program that ends without leaving it hangs for ever (anyio 4.16, Python 3.11), and so does a forked
    child, in which that thread does not exist. The thread is a daemon, for the same reason.
    """

    def __init__(
        self, name: str, *, begin: Callable[[], object], end: Callable[[], object], at_exit: Callable[[], object]
    ) -> None:
        """Start nothing.

        Args:
            name: What the thread is called.
            begin: Called on the loop, first of all, each time it starts.
            end: Called on the thread when the loop is closed.
            at_exit: Called at the end of the interpreter, after what the program registered for it.
        """
        self.name = name
        self._begin = begin
        self._end = end
        self.at_exit = at_exit
        self._forget()
        _living.add(self)

    def _forget(self) -> None:
        """Know of no thread, as a forked child does: only the thread that forked goes on there."""
        # Never held while anything is waited for; reentrant for a signal handler that captures.
        self._lock = threading.RLock()
        self._life: _Life | None = None

    @property
    def is_alive(self) -> bool:
        """Whether there is a loop, starting and ending included."""
        return self._life is not None and not self._life.is_over

    @property
    def is_here(self) -> bool:
        """Whether the caller is on its thread."""
        return self.is_alive and self._life is not None and self._life.thread.ident == get_ident()

    def start(self) -> _Life:
        """Start, if there is no loop; waits for nothing.

        Raises:
            RuntimeError: No thread can be started, for there are too many, or the interpreter ends.
        """
        before = self._life
        if before is not None and not before.is_over:
            return before
        with self._lock:
            if self._life is not None and not self._life.is_over:
                return self._life
            life = _Life(self.name, self._begin, self._end)
            self._life = life  # before it runs: a signal handler that comes here now finds it
            try:
                life.thread.start()
            except BaseException as exc:
                if isinstance(exc, RuntimeError):
                    life.loop.close()
                else:  # an interrupt: it may run nevertheless
                    life.request_stop()
                life.end()
                raise
            return life

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:  # Any: as Coroutine's own
        """Run ``work`` on the loop and wait for it here; an interrupt of this wait cancels ``work``.

        Where no thread can be started any more, as at the end of the interpreter, it is run here.

        Args:
            work: What to run.
            timeout: Seconds to wait. ``None``: as long as it takes.

        Raises:
            LoopEndedError: The loop ended meanwhile.
            HeldUpError: It has not answered in time; what it was to do is cancelled.
        """
        claim = [work]  # whoever takes it out decides: the loop begins, or nobody ever will
        beginning = _begin(claim)
        try:
            answer = self.start().submit(beginning)
        except RuntimeError as exc:
            beginning.close()
            if isinstance(exc, LoopEndedError) or running_loop() is not None:
                work.close()
                raise
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                return runner.run(work)
        try:
            return answer.result(None if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX))
        except CancelledError:
            raise LoopEndedError(has_begun=not _withdraw(claim)) from None
        except TimeoutError:
            if answer.done():
                raise  # of the work itself
            raise HeldUpError(has_begun=not _withdraw(claim)) from None
        finally:
            _withdraw(claim)
            answer.cancel()

    def stop(self, timeout: float) -> bool:
        """Have the loop end, as soon as those who wait have their answers; again is a no-op.

        Args:
            timeout: Seconds to wait for the end of the thread; on that thread itself nothing is waited for.

        Returns:
            Whether it has ended.
        """
        life = self._life
        if life is None:
            return True
        life.request_stop()
        if life.thread.ident is None:
            return life.is_over  # it was never started
        if life.thread is not threading.current_thread():
            life.thread.join(min(max(timeout, 0.0), threading.TIMEOUT_MAX))
        return not life.thread.is_alive()


class _Life:
    """One loop and the thread that runs it.

    Attributes:
        loop: The loop.
        thread: The thread.
        is_over: Whether the loop is closed.
    """

    def __init__(self, name: str, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._begin = begin
        self._end = end
        self._stopping = asyncio.Event()
        self._answers: dict[Future[Any], Coroutine[Any, Any, Any]] = {}  # Any: of whatever is run here
        self._lock = threading.RLock()  # between what comes in and the end
        self._is_ending = False
        self.is_over = False
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=contextvars.Context().run, args=(self._run,), name=name, daemon=True)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run ``work`` on the loop, in the context of the caller.

        Raises:
            LoopEndedError: It has ended, or is about to.
        """
        with self._lock:
            if self._is_ending:
                raise LoopEndedError(has_begun=False)
            answer = asyncio.run_coroutine_threadsafe(work, self.loop)
            self._answers[answer] = work
        answer.add_done_callback(self._answered)
        return answer

    def request_stop(self) -> None:
        """Ask it to end; any thread may."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(self._stopping.set)

    def end(self) -> None:
        """Answer everybody who would wait for ever."""
        with self._lock:
            self._is_ending = self.is_over = True
            left = list(self._answers.items())
        for answer, work in left:
            if answer.set_running_or_notify_cancel():
                has_begun = inspect.getcoroutinestate(work) != inspect.CORO_CREATED
                work.close()
                answer.set_exception(LoopEndedError(has_begun=has_begun))

    def _answered(self, answer: Future[Any]) -> None:
        self._answers.pop(answer, None)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(self._serve())
        except BaseException as exc:  # noqa: BLE001  # nobody would ever see it
            logger.error("the event loop of thread %s ended by %s", self.thread.name, type(exc).__name__)
        finally:
            self.end()
            self._end()

    async def _serve(self) -> None:
        self._begin()
        await self._stopping.wait()
        with self._lock:
            self._is_ending = True
            waiting = [asyncio.wrap_future(answer) for answer in list(self._answers)]
        if waiting:
            await asyncio.wait(waiting, timeout=LAST_ANSWERS)


async def _begin(claim: list[Coroutine[Any, Any, T]]) -> T:
    try:
        work = claim.pop()
    except IndexError:  # nobody waits for it any more, and it may be done by other means
        raise asyncio.CancelledError from None
    return await work


def _withdraw(claim: list[Coroutine[Any, Any, T]]) -> bool:
    """Have the work never begun; ``False`` when it was."""
    try:
        claim.pop().close()
    except IndexError:
        return False
    return True


_living: weakref.WeakSet[LoopThread] = weakref.WeakSet()
# What a forked child has of its parent's. A loop that is collected closes the poller that both have, and its parent
# would hear nothing more.
_inherited: list[_Life] = []


def _end_at_exit() -> None:
    """End the threads in order: one that the interpreter stops in the middle of a log line takes its stream along."""
    for thread in list(_living):
        try:
            thread.at_exit()
        except BaseException as exc:  # noqa: BLE001  # one costs no other its end
            logger.error("thread %s did not end in order: %s", thread.name, type(exc).__name__)
        thread.stop(EXIT_TIMEOUT)


def _start_clean() -> None:
    for thread in list(_living):
        if thread._life is not None:
            _inherited.append(thread._life)
        thread._forget()


# With the import: what is registered first comes last at the end, after all that a program does there.
atexit.register(_end_at_exit)
os.register_at_fork(after_in_child=_start_clean)
