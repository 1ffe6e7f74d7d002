"""Fake sinks that a test steers: one that waits at a gate, one that fails at random, one that never answers."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventpipe.errors import TransientSinkError
from eventpipe.testing.recording import RecordingSink

if TYPE_CHECKING:
    from eventpipe.contracts import Where
    from eventpipe.events import Batch
    from eventpipe.outcomes import Verdict

MakeError = Callable[[], BaseException]


@dataclass(frozen=True, slots=True)
class _Answer:
    verdicts: Sequence[Verdict] | None
    error: BaseException | None


class GatedSink(RecordingSink):
    """Holds every attempt until the test lets it go on.

    ``await sink.reached(2)`` waits for the second attempt; ``sink.release()`` opens the gate for good,
    ``sink.release(1)`` lets one attempt through, ``sink.hold()`` shuts the gate again.
    """

    def __init__(self, *, where: Where | None = None, name: str | None = None) -> None:
        super().__init__(where=where, name=name)
        self._held: deque[asyncio.Future[_Answer]] = deque()
        self._ahead: deque[_Answer] = deque()  # answers for attempts that have not come yet
        self._always: _Answer | None = None

    @property
    def held(self) -> int:
        """Attempts that wait at the gate now."""
        return sum(not attempt.done() for attempt in self._held)

    def release(
        self,
        attempts: int | None = None,
        *,
        error: BaseException | None = None,
        verdicts: Sequence[Verdict] | None = None,
    ) -> None:
        """Let attempts go on, the oldest first, and those that come later where fewer are held.

        Args:
            attempts: How many. ``None`` means those held and every later one.
            error: What they raise. ``None`` means that they are accepted.
            verdicts: What they return.
        """
        answer = _Answer(verdicts, error)
        if attempts is None:
            self._always = answer
            attempts = len(self._held)
        for _ in range(attempts):
            if (waiter := self._next_held()) is not None:
                waiter.set_result(answer)
            elif self._always is None:
                self._ahead.append(answer)

    def hold(self) -> None:
        """Hold every attempt from now on, also those that were to be let through."""
        self._always = None
        self._ahead.clear()

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        if self._ahead:
            answer = self._ahead.popleft()
        elif self._always is not None:
            answer = self._always
        else:
            waiter: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
            self._held.append(waiter)
            answer = await waiter
        if answer.error is not None:
            raise answer.error
        return answer.verdicts

    def _next_held(self) -> asyncio.Future[_Answer] | None:
        while self._held:
            waiter = self._held.popleft()
            if not waiter.done():  # a cancelled attempt takes nobody's turn
                return waiter
        return None


class FlakySink(RecordingSink):
    """Takes a random time over each attempt and fails some of them; the same seed gives the same run.

    Args:
        seed: Of its random source; print it where it was drawn.
        failure_rate: The part of attempts that fail, 0 to 1.
        latency: Shortest and longest time of an attempt, in seconds on the loop clock.
        errors: Called to make the error of a failing attempt, one of them chosen at random.
        where: See ``BaseSink``.
        name: See ``BaseSink``.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(
        self,
        seed: int,
        *,
        failure_rate: float = 0.3,
        latency: tuple[float, float] = (0.0, 0.0),
        errors: Sequence[MakeError] = (TransientSinkError,),
        where: Where | None = None,
        name: str | None = None,
    ) -> None:
        if not 0 <= failure_rate <= 1:
            raise ValueError(f"failure_rate must be between 0 and 1, not {failure_rate!r}")
        if not 0 <= latency[0] <= latency[1] < math.inf:
            raise ValueError(f"latency must be two finite times, shortest first, not {latency!r}")
        if failure_rate and not errors:
            raise ValueError("errors must name at least one error when failure_rate is above 0, not ()")
        super().__init__(where=where, name=name)
        self._random = random.Random(seed)  # noqa: S311  # a repeatable run, not a secret
        self._failure_rate = failure_rate
        self._latency = latency
        self._errors = tuple(errors)

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        # Drawn before the wait, so that a run depends on the order of the attempts alone.
        fails = self._random.random() < self._failure_rate
        make_error = self._random.choice(self._errors) if fails else None
        delay = self._random.uniform(*self._latency)
        if delay > 0:
            await asyncio.sleep(delay)
        if make_error is not None:
            raise make_error()
        return None


class HangingSink(RecordingSink):
    """Never answers. It can swallow cancellations too, as code that a close cannot rely on does.

    A test that makes it swallow must end with ``await sink.release()``, which leaves no attempt running.

    Args:
        swallows: Cancellations that each attempt ignores before it obeys one; ``math.inf`` ignores all.
        where: See ``BaseSink``.
        name: See ``BaseSink``.

    Attributes:
        swallowed: Cancellations ignored so far.
    """

    def __init__(self, *, swallows: float = 0, where: Where | None = None, name: str | None = None) -> None:
        if not swallows >= 0:
            raise ValueError(f"swallows must be at least 0, not {swallows!r}")
        super().__init__(where=where, name=name)
        self._swallows = swallows
        self._waiting: set[asyncio.Future[None]] = set()
        self.swallowed = 0

    async def release(self) -> None:
        """End every attempt that hangs, with ``TransientSinkError``, and wait until all have."""
        while self.running:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            await asyncio.sleep(0)

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        left = self._swallows
        while True:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if left <= 0:
                    raise
                left -= 1
                self.swallowed += 1
            else:
                raise TransientSinkError("released by the test", reason="released")
            finally:
                self._waiting.discard(waiter)
