"""A bounded number of workers: a slot is taken before the work exists and comes back however the work ends."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

from eventpipe.core.failures import where_raised
from eventpipe.errors import ClosedError

_logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")
Work = Coroutine[Any, Any, None]  # Any: what a coroutine yields to its loop is between the two


class Pool(Generic[ItemT]):
    """At most ``size`` workers at once, each on one item; a worker accounts for its item and returns.

    The workers live in a task group, which lives in a task of its own: cancelling whoever started the pool ends no
    worker, and no context variable of a caller reaches one. Work that does not return (it raised, it let its
    cancellation through, or it was cancelled before its first step) has lost its item: that is counted, handed to
    ``on_lost``, and touches no other worker.

    Args:
        size: Workers that may run at once.
        name: What the tasks are named after.
        on_lost: Called with the item of work that did not return, once, when its task has ended; must not raise.
        on_free: Called when a worker has ended and its slot is free again; must not raise.

    Attributes:
        lost: Items whose work did not return, since the pool was made.
    """

    def __init__(
        self,
        size: int,
        name: str,
        *,
        on_lost: Callable[[ItemT], None] = lambda item: None,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        self.size = size
        self.name = name
        self.lost = 0
        self._on_lost = on_lost
        self._on_free = on_free
        self._numbers = itertools.count(1)
        self._run: _Run[ItemT] | None = None

    @property
    def free(self) -> int:
        """Slots that nobody has taken."""
        return self.size - (self._run.taken if self._run is not None else 0)

    @property
    def running(self) -> int:
        """Workers that have not ended, stragglers of the last ``stop()`` included."""
        return len(self._run.workers) if self._run is not None else 0

    def items(self) -> list[ItemT]:
        """What the running workers work on, in the order they were spawned."""
        return [worker.item for worker in self._run.workers.values()] if self._run is not None else []

    def item_of(self, task: asyncio.Task[Any] | None) -> ItemT | None:
        """What ``task`` works on; ``None`` when it is no worker of this pool."""
        worker = self._run.workers.get(task) if self._run is not None and task is not None else None
        return None if worker is None else worker.item

    def current_item(self) -> ItemT | None:
        """What the current task works on; ``None`` when it is no worker of this pool."""
        return self.item_of(asyncio.current_task())

    async def start(self) -> None:
        """Make the task group; does nothing while it is there.

        May come again after ``stop()``, even one that left stragglers: they keep slots of their own time only.

        Raises:
            RuntimeError: The pool runs in another event loop.

        Cancellation:
            The pool goes on starting; ``stop()`` ends it.
        """
        run = self._run
        if run is None or run.is_over:
            self._abandon(run)
            run = self._run = _Run(self.size, f"{self.name} group")
        elif run.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"pool {self.name} runs in another event loop; stop it there first")
        await run.opened.wait()

    async def acquire(self) -> None:
        """Wait for a slot, first come first served, and take it.

        Raises:
            ClosedError: The pool is not running, or stopped meanwhile.

        Cancellation:
            Safe. No slot is taken; one that was just granted goes to the next in line.
        """
        run = self._open_run()
        await run.slots.acquire()
        if run.is_closed:
            run.slots.release()  # wakes the next in line, to tell it the same
            raise ClosedError(f"pool {self.name} was stopped")
        run.taken += 1

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody waits for it.

        Raises:
            ClosedError: The pool is not running.
        """
        run = self._open_run()
        if run.slots.locked():
            return False
        try:
            run.slots.acquire().send(None)  # a semaphore that is not locked answers without suspending
        except StopIteration:
            run.taken += 1
        return True

    def release(self) -> None:
        """Give a slot back that was taken and not used.

        Raises:
            RuntimeError: Every taken slot has its worker.
        """
        if self._run is not None and not self._run.is_closed:
            self._run.unused_slot()
            self._run.give_back()

    def spawn(self, work: Work, item: ItemT) -> None:
        """Run ``work`` on ``item`` in the slot taken before; the slot comes back when its task has ended.

        Raises:
            ClosedError: The pool is not running. The coroutine is closed; the item stays with the caller.
            RuntimeError: No slot was taken. As above.
        """
        try:
            run = self._open_run()
            run.unused_slot()
            worker = _Worker(item, work)
            task = run.group.create_task(
                self._guard(worker), name=f"{self.name} worker {next(self._numbers)}", context=contextvars.Context()
            )
        except BaseException:
            work.close()
            raise
        run.workers[task] = worker
        run.idle.clear()
        task.add_done_callback(partial(self._ended, run))

    async def idle(self) -> None:
        """Wait until no worker runs.

        Raises:
            RuntimeError: Called by a worker, which would wait for itself.

        Cancellation:
            Safe. Nothing changes.
        """
        if self._run is not None and asyncio.current_task() in self._run.workers:
            raise RuntimeError(f"a worker of pool {self.name} cannot wait until no worker runs")
        while self._run is not None and self._run.workers:
            await self._run.idle.wait()

    def cancel_all(self) -> None:
        """Cancel each running worker through its own task: once, however often this is called, and never the caller."""
        if self._run is not None and not self._run.loop.is_closed():
            self._run.cancel_all()

    async def stop(self, timeout: float) -> list[str]:
        """Take no more work, cancel every worker, and wait until all have ended or time is up.

        A worker that ignores its cancellation is left to itself, and the group's task with it: its slot and its item
        come back when it ends, and disturb nothing that was started since.

        Args:
            timeout: Seconds on the loop clock.

        Returns:
            The names of the workers that still run, in the order they were spawned; a later call, while the pool was
            not started again, names those that are left then.

        Cancellation:
            Safe. The pool stays closed, its workers cancelled; the call may come again.
        """
        run = self._run
        self._abandon(run)
        if run is None or run.loop.is_closed():
            return []
        run.close()
        run.cancel_all()
        await asyncio.wait({run.holder}, timeout=timeout)
        return [task.get_name() for task in run.workers]

    def _open_run(self) -> _Run[ItemT]:
        if self._run is None or self._run.is_over or not self._run.opened.is_set():
            raise ClosedError(f"pool {self.name} is not running")
        return self._run

    async def _guard(self, worker: _Worker[ItemT]) -> None:
        """Keep every error of the work inside its own task: one that left would cancel the siblings."""
        try:
            await worker.work
        except (KeyboardInterrupt, SystemExit) as error:
            asyncio.get_running_loop().call_soon(_raise, error)  # ends the loop, as it would from any callback
        except GeneratorExit:  # its loop was closed under it; see _abandon()
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, it must not reach the group
            if not (isinstance(error, asyncio.CancelledError) and _is_being_cancelled()):
                _logger.error("worker of pool %s raised %s", self.name, where_raised(error))
        else:
            worker.has_returned = True

    def _ended(self, run: _Run[ItemT], task: asyncio.Task[None]) -> None:
        worker = run.workers.pop(task)
        worker.work.close()  # of use where the task was cancelled before its first step
        run.give_back()
        if not run.workers:
            run.idle.set()
        if not worker.has_returned:
            self._lose(worker.item)
        self._on_free()

    def _lose(self, item: ItemT) -> None:
        self.lost += 1
        try:
            self._on_lost(item)
        except Exception as error:  # noqa: BLE001  # this runs in a callback of the loop: nobody else would see it
            _logger.error("on_lost of pool %s raised %s", self.name, where_raised(error))

    def _abandon(self, run: _Run[ItemT] | None) -> None:
        """Account for what was running when its loop was closed: it never runs again."""
        while run is not None and run.loop.is_closed() and run.workers:
            run.taken -= 1
            self._lose(run.workers.popitem()[1].item)


@dataclass(slots=True, eq=False)
class _Worker(Generic[ItemT]):
    item: ItemT
    work: Work
    was_cancelled: bool = False
    has_returned: bool = False


class _Run(Generic[ItemT]):
    """The pool between one start and one stop; what ends late finds its own here, not what was started since."""

    def __init__(self, size: int, name: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.slots = asyncio.Semaphore(size)
        self.taken = 0
        self.workers: dict[asyncio.Task[Any], _Worker[ItemT]] = {}
        self.idle = asyncio.Event()
        self.opened = asyncio.Event()
        self.group = asyncio.TaskGroup()
        self.is_closed = False
        self._closing = asyncio.Event()
        self.holder = self.loop.create_task(self._hold(), name=name, context=contextvars.Context())
        self.holder.add_done_callback(lambda _: self.opened.set())  # also if it was cancelled before it opened

    @property
    def is_over(self) -> bool:
        """Whether it takes no more: it was stopped, somebody cancelled its task, or its loop is gone."""
        return self.is_closed or self.holder.done() or self.loop.is_closed()

    async def _hold(self) -> None:
        try:
            async with self.group:
                self.opened.set()
                try:
                    await self._closing.wait()
                except asyncio.CancelledError:
                    # Somebody cancels all tasks there are, the workers among them: take no more and wait for them.
                    self.close()
        except RuntimeError:
            if not self.loop.is_closed():  # a loop closed under its tasks cannot cancel the workers any more
                raise

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._closing.set()
            self.slots.release()  # wakes the first in line, who wakes the next

    def cancel_all(self) -> None:
        current = asyncio.current_task()
        for task, worker in self.workers.items():
            if task is not current and not worker.was_cancelled:
                worker.was_cancelled = True
                task.cancel()

    def unused_slot(self) -> None:
        if self.taken <= len(self.workers):
            raise RuntimeError("no slot was taken: acquire() comes first")

    def give_back(self) -> None:
        self.taken -= 1
        self.slots.release()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _raise(error: BaseException) -> NoReturn:
    raise error
