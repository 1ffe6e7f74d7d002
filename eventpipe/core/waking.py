"""Which loop and which task run here, and waking a task of any loop, from any thread."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


def wake(future: asyncio.Future[None]) -> None:
    """Resolve a future that a task waits for; one that is done, or whose loop is gone, is left alone."""
    loop = future.get_loop()
    if loop is running_loop():
        resolve(future)
        return
    with contextlib.suppress(RuntimeError):  # it was closed
        loop.call_soon_threadsafe(resolve, future)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread; ``None``: there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def is_running(task: asyncio.Task[Any] | None) -> bool:  # Any: whatever it returns
    """Whether a task is the one that runs here: a ``GeneratorExit`` in it was raised, else its loop was closed."""
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


def resolve(future: asyncio.Future[None]) -> None:
    """Resolve a future of this very loop, if it is open; one that is done is left alone."""
    if not future.done() and not future.get_loop().is_closed():
        with contextlib.suppress(asyncio.InvalidStateError):  # a signal handler came between, and did it
            future.set_result(None)
