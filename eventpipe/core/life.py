"""A service between one start and one stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventpipe.core.deadline import Deadline

if TYPE_CHECKING:
    from eventpipe.core.stopping import StopReport


class Life:
    """One start to one stop. Whoever waits, waits for the life that was there when it began to wait.

    Attributes:
        task: The main task.
        opened: Set once it runs, or never will.
        over: Set once its task has ended.
        stop_requested: Set by the first request.
        deadline: The nearest moment by which it was asked to have stopped.
        began: When it began to run, on the loop clock.
        has_run: Whether it ever ran.
        has_finished: Whether its work ended by itself, before anybody asked it to stop.
        was_cut_off: Whether its task was cancelled through ``Service.cancel()``.
        error: The first error of its task.
        report: How it ended, once it is over.
    """

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.opened = asyncio.Event()
        self.over = asyncio.Event()
        self.stop_requested = asyncio.Event()
        self.deadline = Deadline()
        self.is_opening = False
        self.is_closing = False
        self.began = 0.0
        self.has_run = False
        self.has_finished = False
        self.was_cut_off = False
        self.error: BaseException | None = None
        self.report: StopReport | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether its loop was closed under it: it will never be over."""
        return self.loop.is_closed() and not self.over.is_set()
