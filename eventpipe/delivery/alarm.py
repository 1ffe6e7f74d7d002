"""What wakes a service: somebody rings, or a moment comes."""

from __future__ import annotations

import asyncio
import math
from typing import Final

# Moments are kept to so many a second, and rounded up: however many rows are due, few are kept. The wall clock, from
# which they come, is no finer than a quarter of a microsecond: one more step makes sure that they have come.
_STEPS: Final = 1000


class Alarm:
    """Rings when it is told to, at moments that it was told, and at one that is the last.

    Args:
        horizon: Seconds; moments beyond it are not kept, because who is woken at the last looks for them again.

    Attributes:
        last_at: On the loop clock, when it rings if nothing else makes it.
    """

    def __init__(self, horizon: float) -> None:
        self.last_at = math.inf
        self._horizon = horizon
        self._event = asyncio.Event()
        self._moments: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf  # uvloop's handle of what is due at once does not say when
        self._is_open = False

    def open(self) -> None:
        """Have a timer from now on, while there is a moment to come."""
        self._is_open = True

    def ring(self) -> None:
        """Wake who waits, or who comes to wait next."""
        self._event.set()

    def ring_at(self, moment: float) -> None:
        """Ring at a moment of the loop clock; at once, or nearly so, when it has come."""
        now = asyncio.get_running_loop().time()
        if self._is_open and moment <= now + self._horizon:
            step = math.ceil(max(moment, now) * _STEPS) + 1
            self._moments.add(step)
            if step / _STEPS < self._rings_at:
                self._set(step / _STEPS)

    def clear(self) -> None:
        """Forget that it rang, and the moments that have come."""
        now = asyncio.get_running_loop().time()
        self._event.clear()
        self._rings_at = math.inf
        self._moments = {step for step in self._moments if step / _STEPS > now}

    async def wait(self) -> None:
        """Wait until it rings.

        Cancellation:
            Safe. It rings all the same.
        """
        self._set(min([self.last_at, *(step / _STEPS for step in self._moments)]))
        await self._event.wait()

    def close(self) -> None:
        """Have no timer any more."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = asyncio.get_running_loop().call_at(when, self._event.set)
