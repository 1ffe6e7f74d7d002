"""Cancels a coroutine at every point where it can be cancelled."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eventpipe.testing.loop import where

MAX_POINTS = 10_000  # per variant; a coroutine that suspends more often is taken for one that never ends


class Interruption(StrEnum):
    """How a suspended coroutine is cancelled."""

    SUSPENDED = "while suspended"
    RESULT_READY = "after the result is there but before it runs"
    TWICE = "twice in a row"  # the second time where it suspends next, in its clean-up


@dataclass(frozen=True, slots=True)
class Point:
    """One cancellation of a sweep.

    Attributes:
        number: Which suspension of the coroutine, counted from 1.
        interruption: How it was cancelled there.
        line: Where it waited.
    """

    number: int
    interruption: Interruption
    line: str

    def __str__(self) -> str:
        return f"cancelled {self.interruption}, at point {self.number}: {self.line}"


Swept = Coroutine[Any, Any, object]  # Any: what a coroutine yields to its loop is between the two


async def cancellation_sweep(
    make: Callable[[], Swept | AbstractAsyncContextManager[Swept]],
    check: Callable[[Point], Awaitable[None] | None] | None = None,
    *,
    interruptions: Sequence[Interruption] = tuple(Interruption),
    may_swallow: bool = False,
) -> int:
    """Run a coroutine again and again, cancelled at its first suspension, its second, until a run is never cancelled.

    ::

        @asynccontextmanager
        async def acquire():
            async with a_pool() as pool:
                yield pool.acquire()
                assert pool.free == pool.size

        assert await cancellation_sweep(acquire) > 0

    Args:
        make: Called anew for each point. Gives the coroutine, or a context manager that is entered with it: set-up
            before, checks after.
        check: Called after each point, once the coroutine has ended; may be async.
        interruptions: The ways to cancel, each swept by itself.
        may_swallow: Whether the coroutine may return although it was cancelled.

    Returns:
        The number of points; zero when the coroutine never suspends.

    Raises:
        AssertionError: A cancellation was swallowed, or there are more points than ``MAX_POINTS``.
        Exception: What the coroutine raised, other than ``CancelledError``, or a check; the point is in its notes.
    """
    points = 0
    for interruption in interruptions:
        for number in range(1, MAX_POINTS + 1):
            run = _Run(number, interruption)
            try:
                async with _entered(make()) as coroutine:
                    was_cancelled = await run.run(coroutine)
                    if run.point is not None and not (was_cancelled or may_swallow):
                        raise AssertionError("the cancellation was swallowed")
                if run.point is not None and check is not None and inspect.isawaitable(answer := check(run.point)):
                    await answer
            except BaseException as error:
                error.add_note(str(run.point) if run.point is not None else "never cancelled")
                raise
            if run.point is None:
                break
            points += 1
        else:
            raise AssertionError(f"more than {MAX_POINTS} suspensions; the last: {run.point}")
    return points


@asynccontextmanager
async def _entered(made: Swept | AbstractAsyncContextManager[Swept]) -> AsyncIterator[Swept]:
    if isinstance(made, AbstractAsyncContextManager):
        async with made as coroutine:
            yield coroutine
    else:
        yield made


class _Run:
    """Drives a coroutine in a task of its own, and cancels it at one suspension."""

    def __init__(self, number: int, interruption: Interruption) -> None:
        self.point: Point | None = None
        self._number = number
        self._interruption = interruption
        self._suspensions = 0

    async def run(self, coroutine: Swept) -> bool:
        """Run the coroutine; whether it ended as cancelled."""
        self._coroutine = coroutine
        self._task: asyncio.Task[None] = asyncio.create_task(self._drive(), name=f"swept to point {self._number}")
        try:
            await asyncio.wait({self._task})
        finally:
            self._task.cancel()
        if self._task.cancelled():
            return True
        if (error := self._task.exception()) is not None:
            raise error
        return False

    async def _drive(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # a coroutine of a task
        self._task = task  # an eager one begins before create_task() returns
        await self._steps()

    @types.coroutine
    def _steps(self) -> Generator[Any, None, None]:  # Any: futures, and None for a turn of the loop
        error: BaseException | None = None
        while True:
            try:
                future = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return
            self._on_suspension(future)
            error = None
            try:
                yield future
            except BaseException as thrown:  # noqa: BLE001  # whatever it is, it is meant for the coroutine
                error = thrown

    def _on_suspension(self, future: Any) -> None:
        self._suspensions += 1
        if self._suspensions == self._number:
            if self._interruption is Interruption.RESULT_READY and asyncio.isfuture(future):
                # The task adds its own callback once it has suspended: ours comes first, when the result is there.
                future.add_done_callback(lambda _: self._cancel())
            else:
                self._cancel()
        elif self._interruption is Interruption.TWICE and self._suspensions == self._number + 1:
            self._task.cancel()

    def _cancel(self) -> None:
        self.point = Point(self._number, self._interruption, where(self._coroutine))
        self._task.set_name(str(self.point))  # so that a deadlock names it
        self._task.cancel()
