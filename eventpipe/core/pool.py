"""A bounded number of workers: a slot is taken before the work exists and comes back however the work ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NoReturn

from eventpipe.core.crew import Crew, ItemT, Work, Worker
from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.core.own import own_context
from eventpipe.core.waking import is_running
from eventpipe.errors import ClosedError

_logger = contained_logger(__name__)


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
        self._crew: Crew[ItemT] | None = None

    @property
    def free(self) -> int:
        """Slots that nobody has taken."""
        return self.size - (self._crew.taken if self._crew is not None else 0)

    @property
    def running(self) -> int:
        """Workers that have not ended, stragglers of the last ``stop()`` included."""
        return len(self._crew.workers) if self._crew is not None else 0

    def items(self) -> list[ItemT]:
        """What the running workers work on, in the order they were spawned."""
        return [worker.item for worker in self._crew.workers.values()] if self._crew is not None else []

    def item_of(self, task: asyncio.Task[Any] | None) -> ItemT | None:
        """What ``task`` works on; ``None`` when it is no worker of this pool."""
        worker = self._crew.workers.get(task) if self._crew is not None and task is not None else None
        return None if worker is None else worker.item

    def current_item(self) -> ItemT | None:
        """What the current task works on; ``None`` when it is no worker of this pool."""
        return self.item_of(asyncio.current_task())

    async def start(self) -> None:
        """Make the task group; does nothing while it is there.

        May come again after ``stop()``, even one that left stragglers: they keep slots of their own time only.

        Raises:
            ClosedError: It was stopped, or its task cancelled, while it started.
            RuntimeError: The pool runs in another event loop.

        Cancellation:
            The pool goes on starting; ``stop()`` ends it.
        """
        crew = self._crew
        if crew is None or crew.is_over:
            self._abandon(crew)
            # In an empty context, which tasks and callbacks made there copy: a request ends with its handler.
            crew = self._crew = own_context().run(Crew, self.size, f"{self.name} group")
        elif crew.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"pool {self.name} runs in another event loop; stop it there first")
        await crew.opened.wait()
        if crew.is_over:
            raise ClosedError(f"pool {self.name} was stopped while it started")

    async def acquire(self) -> None:
        """Wait for a slot, first come first served, and take it.

        Raises:
            ClosedError: The pool is not running, or stopped meanwhile.

        Cancellation:
            Safe. No slot is taken; one that was just granted goes to the next in line.
        """
        crew = self._open_crew()
        await crew.slots.acquire()
        if crew.is_closed:
            crew.slots.release()  # wakes the next in line, to tell it the same
            raise ClosedError(f"pool {self.name} was stopped")
        crew.taken += 1

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody waits for it.

        Raises:
            ClosedError: The pool is not running.
        """
        crew = self._open_crew()
        if crew.taken >= self.size or crew.slots.locked():
            return False
        try:
            crew.slots.acquire().send(None)  # a semaphore that is not locked answers without suspending
        except StopIteration:
            crew.taken += 1
        return True

    def release(self) -> None:
        """Give a slot back that was taken and not used.

        Raises:
            RuntimeError: Every taken slot has its worker.
        """
        if self._crew is not None and not self._crew.is_closed:
            self._crew.check_unused_slot()
            self._crew.give_back()

    def spawn(self, work: Work, item: ItemT) -> None:
        """Run ``work`` on ``item`` in the slot taken before; the slot comes back when its task has ended.

        Raises:
            ClosedError: The pool is not running. The coroutine is closed; the item stays with the caller.
            RuntimeError: No slot was taken. As above.
        """
        try:
            crew = self._open_crew()
            crew.check_unused_slot()
            own_context().run(self._spawn, crew, Worker(item, work))
        except BaseException:
            work.close()
            raise

    async def idle(self) -> None:
        """Wait until no worker runs.

        Raises:
            RuntimeError: Called by a worker, which would wait for itself.

        Cancellation:
            Safe. Nothing changes.
        """
        if self._crew is not None and asyncio.current_task() in self._crew.workers:
            raise RuntimeError(f"a worker of pool {self.name} cannot wait until no worker runs")
        while self._crew is not None and self._crew.workers:
            await self._crew.idle.wait()

    def cancel_all(self) -> None:
        """Cancel each running worker through its own task: once, however often this is called, and never the caller."""
        if self._crew is not None and not self._crew.loop.is_closed():
            self._crew.cancel_all()

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
        crew = self._crew
        self._abandon(crew)
        if crew is None or crew.loop.is_closed():
            return []
        crew.close()
        crew.cancel_all()
        await asyncio.wait({crew.holder}, timeout=timeout)
        return [task.get_name() for task in crew.workers]

    def _open_crew(self) -> Crew[ItemT]:
        if self._crew is None or not self._crew.is_open or self._crew.loop.is_closed():
            raise ClosedError(f"pool {self.name} is not running")
        return self._crew

    def _spawn(self, crew: Crew[ItemT], worker: Worker[ItemT]) -> None:
        crew.idle.clear()
        task = crew.group.create_task(self._guard(crew, worker), name=f"{self.name} worker {next(self._numbers)}")
        crew.workers[task] = worker
        task.add_done_callback(partial(self._ended, crew))

    async def _guard(self, crew: Crew[ItemT], worker: Worker[ItemT]) -> None:
        """Keep every error of the work inside its own task: one that left would cancel the siblings."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine of a task
        crew.workers[task] = worker  # an eager task begins before create_task() returns
        try:
            await worker.work
        except (KeyboardInterrupt, SystemExit) as error:
            asyncio.get_running_loop().call_soon(_raise, error)  # ends the loop, as it would from any callback
        except BaseException as error:  # whatever it is, it must not reach the group
            if isinstance(error, GeneratorExit) and not is_running(task):  # its loop was closed under it: _abandon()
                raise
            if not (isinstance(error, asyncio.CancelledError) and _is_being_cancelled()):
                _logger.error("worker of pool %s raised %s", self.name, where_raised(error))
        else:
            worker.has_returned = True

    def _ended(self, crew: Crew[ItemT], task: asyncio.Task[None]) -> None:
        worker = crew.workers.pop(task)
        worker.work.close()  # of use where the task was cancelled before its first step
        crew.give_back()
        if not crew.workers:
            crew.idle.set()
        if not worker.has_returned:
            self._lose(worker.item)
        self._on_free()

    def _lose(self, item: ItemT) -> None:
        self.lost += 1
        try:
            self._on_lost(item)
        except Exception as error:  # noqa: BLE001  # this runs in a callback of the loop: nobody else would see it
            _logger.error("on_lost of pool %s raised %s", self.name, where_raised(error))

    def _abandon(self, crew: Crew[ItemT] | None) -> None:
        """Account for what was running when its loop was closed: it never runs again."""
        while crew is not None and crew.loop.is_closed() and crew.workers:
            crew.taken -= 1
            self._lose(crew.workers.popitem()[1].item)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _raise(error: BaseException) -> NoReturn:
    raise error
