"""A block at whose end everything captured is flushed, within what a platform leaves of its time."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from eventpipe.checked import shown
from eventpipe.core.hook import Hook, HookError, is_plain
from eventpipe.core.log import contained_logger
from eventpipe.errors import ClosedError
from eventpipe.outcomes import FlushReport

logger = contained_logger("eventpipe")

Flush = Callable[[float], Coroutine[Any, Any, FlushReport]]  # Any: as Coroutine's own


class BatchScope:
    """Flushes when its block ends; may be used for one block after the other.

    Attributes:
        report: What became of the events of the last block; ``None`` before the end of the first, and where the client
            was closed inside it.
    """

    def __init__(
        self,
        flush: Flush,
        pending: Callable[[], int],
        timeout: float,
        remaining: Callable[[], float] | None,
        margin: float,
    ) -> None:
        """Check everything.

        Args:
            flush: Waits for what was captured, for so many seconds at most.
            pending: Events not settled.
            timeout: As in ``AsyncClient.batch_scope()``.
            remaining: The same.
            margin: The same.

        Raises:
            ValueError: ``timeout`` or ``margin`` is negative or no number.
            TypeError: ``remaining`` is no plain function.
        """
        for name, value in (("timeout", timeout), ("margin", margin)):
            if not _is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of seconds, at least 0, not {shown(value)}")
        if remaining is not None and not is_plain(remaining):
            raise TypeError(f"remaining must be a plain function that returns seconds, not {shown(remaining)}")
        self._flush = flush
        self._pending = pending
        self._timeout = float(timeout)
        self._remaining = None if remaining is None else Hook[None, float]("remaining", lambda _: remaining())
        self._margin = margin
        self.report: FlushReport | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.report = await self._flush(self.time_left())
        except ClosedError:  # the block closed the client, which sent what there was
            self.report = None
        except RuntimeError as exc:  # the client's loop rests, and nobody knows whether it will go on
            self.report = FlushReport(pending=self._pending())
            logger.warning("a batch_scope could not flush, and %d events are pending: %s", self.report.pending, exc)

    def time_left(self) -> float:
        """Seconds that a flush may take now; where ``remaining`` fails or returns no number, ``timeout``."""
        if self._remaining is None:
            return self._timeout
        try:
            left = self._remaining(None)
        except HookError:  # named in the log
            return self._timeout
        if not _is_number(left) or math.isnan(left):
            self._remaining.failed(TypeError())
            return self._timeout
        return max(0.0, min(self._timeout, left - self._margin))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
