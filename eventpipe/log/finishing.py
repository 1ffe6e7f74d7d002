"""Work that goes on to its end although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:  # Any: what it yields to the loop, and is sent
    """Run ``work`` in a task of its own, which whoever holds it sees to the end.

    It begins at once where Python has that, from 3.12 on: work that never waits is done when this returns, in 1 µs.
    Before, that costs 15 µs and two turns of the loop.
    """
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(work)


async def finish(work: Coroutine[Any, Any, T]) -> T:  # Any: as above
    """Wait for the end of ``work``; a caller that is cancelled meanwhile ends as cancelled once it is done."""
    return await ended(begin(work))


async def ended(task: asyncio.Task[T]) -> T:
    """Wait for the end of ``task``, which is not cancelled with its caller; who is, ends as cancelled after it.

    What the task raised is then the cause of the ``CancelledError``.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()
