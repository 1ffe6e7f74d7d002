"""The workers of a pool between one start and one stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")
Work = Coroutine[Any, Any, None]  # Any: what a coroutine yields to its loop is between the two


class Worker(Generic[ItemT]):
    """One item, the work on it, and how far that got."""

    __slots__ = ("has_returned", "item", "was_cancelled", "work")

    def __init__(self, item: ItemT, work: Work) -> None:
        self.item = item
        self.work = work
        self.was_cancelled = False
        self.has_returned = False


class Crew(Generic[ItemT]):
    """A task group in a task of its own, its slots and its workers; never used again after it was closed.

    What ends late finds the slots of its own time here, not those of what was started since.

    Attributes:
        taken: Slots taken, with and without a worker.
        workers: What runs, by task.
        idle: Set while nothing runs.
        opened: Set once work may come, or never will.
        is_open: Whether work may come; still true where its loop was closed under it, on which nobody asks.
        holder: The task that the group lives in.
    """

    def __init__(self, size: int, name: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.slots = asyncio.Semaphore(size)
        self.taken = 0
        self.workers: dict[asyncio.Task[Any], Worker[ItemT]] = {}
        self.idle = asyncio.Event()
        self.opened = asyncio.Event()
        self.group = asyncio.TaskGroup()
        self.is_closed = False
        self.is_open = False
        self._closing = asyncio.Event()
        self.holder = self.loop.create_task(self._hold(), name=name)
        self.holder.add_done_callback(self._end)  # also if it was cancelled before it opened

    @property
    def is_over(self) -> bool:
        """Whether it takes no more: it was stopped, somebody cancelled its task, or its loop is gone."""
        return self.is_closed or self.holder.done() or self.loop.is_closed()

    async def _hold(self) -> None:
        try:
            async with self.group:
                self.is_open = not self.is_closed
                self.opened.set()
                try:
                    await self._closing.wait()
                except asyncio.CancelledError:
                    # Somebody cancels all tasks there are, the workers among them: take no more and wait for them.
                    self.close()
        except (RuntimeError, BaseExceptionGroup):
            if not self.loop.is_closed():  # a loop closed under its tasks cannot cancel the workers any more
                raise

    def _end(self, _: asyncio.Task[None]) -> None:
        self.is_open = False
        self.opened.set()

    def close(self) -> None:
        """Take no more work; the group ends with its last worker."""
        if not self.is_closed:
            self.is_closed = True
            self.is_open = False
            self._closing.set()
            self.slots.release()  # wakes the first in line, who wakes the next

    def cancel_all(self) -> None:
        """Cancel each worker once, and never the current task."""
        current = asyncio.current_task()
        for task, worker in self.workers.items():
            if task is not current and not worker.was_cancelled:
                worker.was_cancelled = True
                task.cancel()

    def check_unused_slot(self) -> None:
        """Raise ``RuntimeError`` unless a slot is taken that has no worker."""
        if self.taken <= len(self.workers):
            raise RuntimeError("no slot was taken: acquire() comes first")

    def give_back(self) -> None:
        """Free a slot for the first in line."""
        self.taken -= 1
        self.slots.release()
