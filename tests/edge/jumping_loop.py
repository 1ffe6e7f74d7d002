"""An event loop with real sockets whose clock can be put forward."""

from __future__ import annotations

import asyncio


class JumpingLoop(asyncio.SelectorEventLoop):
    """Runs in real time, except that ``jump()`` makes it later at once: five minutes of a pause cost nothing.

    Attributes:
        steps: How often it has looked for something to do.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self.steps = 0
        super().__init__()

    def time(self) -> float:
        """The clock of the machine, and what was jumped over."""
        return super().time() + self._ahead

    def jump(self, seconds: float) -> None:
        """Make it so many seconds later; timers that are due by then run next."""
        self._ahead += seconds
        self.call_soon(lambda: None)

    def _run_once(self) -> None:
        self.steps += 1
        super()._run_once()  # type: ignore[misc]  # of the standard library's loop
