"""Ctrl-C and SIGTERM as something a command can wait for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Counts the times the user asked to stop."""

    def __init__(self) -> None:
        self._asked = [asyncio.Event(), asyncio.Event()]

    @property
    def is_asked(self) -> bool:
        """Whether the user asked at least once."""
        return self._asked[0].is_set()

    def ask(self) -> None:
        """Ask once more."""
        next((event for event in self._asked if not event.is_set()), self._asked[-1]).set()

    async def wait(self, times: int = 1) -> None:
        """Wait until the user asked once, or twice.

        Cancellation:
            Safe. Nothing is forgotten.
        """
        await self._asked[times - 1].wait()


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into calls of ``Stop.ask()`` while the block runs; to be entered in the main thread.

    ``signal.signal`` rather than ``loop.add_signal_handler``, which Windows lacks.
    """
    stop = Stop()
    loop = asyncio.get_running_loop()

    def ask(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.ask)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
