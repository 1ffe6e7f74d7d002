"""One user's way to an SQLite file, from one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar, TypeVarTuple

from eventpipe.errors import ClosedError, StoreError
from eventpipe.stores.sqlite_file import SqliteFile, enter, leave
from eventpipe.stores.sqlite_jobs import Job, Need, Work
from eventpipe.stores.sqlite_opening import Scheme, SqliteDurability

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Changed = Callable[[Set[str] | None], object]
"""Told, in its event loop, the names of what a commit changed; ``None``: another process changed something."""


class Port:
    """What asks a file for jobs, and is told of changes.

    Args:
        file: The file.
        loop: The event loop that it is used in.
        changed: A method that is told of changes; its object is not kept alive by that.
        poll: Seconds between two looks for foreign changes.

    Attributes:
        path: The real path of the file, for messages.
        is_called: See ``User``.
        is_closed: Whether nothing more can be asked.
    """

    def __init__(self, file: SqliteFile, loop: asyncio.AbstractEventLoop, changed: Changed, poll: float) -> None:
        self.path: Final = file.place.path
        self.is_called = False
        self.is_closed = False
        self._file = file
        self._loop = loop
        self._changed = weakref.WeakMethod(changed)
        self._poll = poll
        self._turn: list[Job] = []  # asked for in this turn of the loop
        self._left: asyncio.Future[None] | None = None
        self._last: asyncio.Future[Any] | None = None
        self._watching = 0
        self._is_looking = False  # or about to
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_forsaken(self) -> bool:
        """See ``User``."""
        return self._loop.is_closed()

    def submit(
        self, work: Work, argument: Any = None, need: Need = Need.WRITE, *, takes_many: bool = False
    ) -> asyncio.Future[Any]:
        """Have a job done; see ``Job``.

        Returns:
            Its answer, when it is done and committed; or why it failed, and what it did was undone. When the future is
            cancelled, the job is done all the same, or was not begun.

        Raises:
            ClosedError: The port is closed.
            StoreError: This is a forked child.
        """
        self.check()
        future = self._loop.create_future()
        turn = self._turn
        if turn and takes_many and turn[-1].work is work:  # as when many append
            job = turn[-1]
        else:
            if not turn:
                self._loop.call_soon(self._hand_in)  # after all who ask in this turn of the loop
            job = Job(self, work, need, takes_many)
            turn.append(job)
        job.arguments.append(argument)
        job.futures.append(future)
        return future

    def check(self) -> None:
        """See that it can be used.

        Raises:
            ClosedError: It is closed.
            StoreError: This is a forked child.
        """
        if self._file.is_inherited:
            raise StoreError(
                f"{self.path} was opened before this process was forked, and belongs to its parent;"
                " open a store of its own in the child"
            )
        if self.is_closed:
            raise ClosedError(f"{self.path} was closed")

    def hand_over(self, jobs: Sequence[Job], touched: Set[str] | None) -> None:
        """See ``User``."""
        self.post(lambda: self._answer(jobs, touched))

    def post(self, call: Callable[[], None]) -> bool:
        """See ``User``."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # it was closed, and nobody waits there any more
            return False
        return True

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look for changes by other processes, every ``poll`` seconds, in this block."""
        self._watching += 1
        if self._watching == 1:
            self._file.add_watcher(self)
        try:
            yield
        finally:
            self._watching -= 1
            if not self._watching:
                self._stop_watching()

    def watch(self) -> None:
        """See ``User``."""
        # One look at a time, however often the block is left and entered while the thread is at it.
        if self._watching and not self._is_looking and self._file.watchers[:1] == [self]:
            self._is_looking = True
            self._timer = self._loop.call_later(self._poll, self._look)

    async def aclose(self, last: Work, argument: Any = None) -> None:
        """Have ``last`` done and let go of the file, which is closed with its last port; again waits for the same.

        Cancellation:
            It goes on in the thread.
        """
        self._close(last, argument)
        if self._left is None or self._last is None:
            return
        await asyncio.shield(self._left)
        with contextlib.suppress(StoreError):  # on a broken disk; it is closed all the same
            await self._last

    def close_soon(self, last: Work, argument: Any) -> bool:
        """As ``aclose()``, and nobody waits; from any thread, and without a lock, so that a finalizer may call it.

        Returns:
            Whether it was open, and this process's.
        """
        if self.is_closed or self._file.is_inherited:
            return False
        self.post(lambda: self._close(last, argument))
        return True

    def _close(self, last: Work, argument: Any) -> None:
        if self.is_closed or self._file.is_inherited:
            return
        if self.is_forsaken:  # nobody can be answered
            self.is_closed = True
            with contextlib.suppress(RuntimeError):  # the file was closed with its last living user
                self._file.thread.submit(leave, self._file, self)
            return
        self._stop_watching()
        self._last = self.submit(last, argument)
        self._last.add_done_callback(_was_met)  # met here, if all who close are cancelled
        self._hand_in()  # now: the thread is asked to let go right after
        self.is_closed = True
        self._left = self._in_thread(leave, self._file, self)

    def _hand_in(self) -> None:
        self._file.queue.extend(self._turn)
        self._turn.clear()
        if self.is_called or not self._file.queue:
            return
        self.is_called = True
        # Its thread hands the answers over; by the future the loop of a test knows that a thread is at work.
        self._in_thread(self._file.work_off, self)

    def _in_thread(self, call: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        try:
            return self._loop.run_in_executor(self._file.thread, call, *args)
        except RuntimeError:  # the interpreter is ending, and has ended the thread
            answer: asyncio.Future[T] = self._loop.create_future()
            try:
                answer.set_result(call(*args))
            except Exception as error:  # noqa: BLE001  # as from the thread
                answer.set_exception(error)
            return answer

    def _answer(self, jobs: Sequence[Job], touched: Set[str] | None) -> None:
        for job in jobs:
            for future, answer in zip(job.futures, job.answers, strict=True):
                if future.done():
                    continue  # whoever asked was cancelled
                if not isinstance(answer, Exception):
                    future.set_result(answer)
                elif isinstance(answer, StopIteration):  # no future takes one, and its caller would wait for ever
                    future.set_exception(RuntimeError("a job raised StopIteration"))
                else:
                    future.set_exception(answer)
        changed = self._changed()
        if changed is not None and (touched is None or touched):
            changed(touched)

    def _look(self) -> None:
        self._timer = None
        self._in_thread(self._file.look).add_done_callback(self._looked)

    def _looked(self, look: asyncio.Future[None]) -> None:
        look.exception()  # who waits meets it when it looks itself
        self._is_looking = False
        self.watch()

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._is_looking = False
        self._file.remove_watcher(self)


async def open_port(
    path: str | os.PathLike[str],
    scheme: Scheme,
    *,
    is_shared: bool,
    durability: SqliteDurability,
    poll: float,
    changed: Changed,
) -> Port:
    """Use a file, which is opened if nobody in this process has it open.

    Raises:
        StoreError: It cannot be opened, or is open in another way. It was left as it is.

    Cancellation:
        Safe.
    """
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="eventpipe-sqlite")
    entered: Future[Port] = Future()  # beside that of the loop, which may be closed before the thread is done

    def make(file: SqliteFile) -> Port:
        return Port(file, loop, changed, poll)

    def go_in() -> Port:
        port = enter(path, scheme, thread, make, is_shared=is_shared, durability=durability)
        entered.set_result(port)
        return port

    entering = loop.run_in_executor(thread, go_in)
    try:
        return await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(_was_met)
        entered.add_done_callback(_leave_again)
        raise


def _was_met(failed: asyncio.Future[Any]) -> None:
    if not failed.cancelled():
        failed.exception()  # nobody waits for it any more


def _leave_again(entered: Future[Port]) -> None:
    port = entered.result()
    port._file.thread.submit(leave, port._file, port)
