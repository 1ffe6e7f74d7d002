"""When a service that crashed starts again: no task, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventpipe.core.retry import backoff

if TYPE_CHECKING:
    from eventpipe.options import RetryPolicy

# A part of a client that crashed, or that somebody cancelled, starts again after so many seconds: long enough that
# asyncio.run(), which cancels every task there is before it closes its loop, has closed it by then.
RESTART_AFTER = 1.0


class Restarts:
    """The starts of one service in a row, each of which ended in a crash.

    Args:
        policy: ``max_attempts`` bounds the starts in a row, the first included; the delays are those between attempts
            of a batch. One that ran longer than ``max_delay`` was well, and what happens next is counted anew.
        random: A source of floats, uniform in ``[0, 1)``.

    Attributes:
        crashes: How many there were in a row.
    """

    def __init__(self, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self.policy = policy
        self.crashes = 0
        self._random = random

    def crashed(self, ran: float) -> float | None:
        """Count a crash.

        Args:
            ran: Seconds that the service had run; 0 when it did not even open.

        Returns:
            Seconds until it starts again; ``None``: it was the last start.
        """
        if ran > self.policy.max_delay:
            self.crashes = 0
        self.crashes += 1
        if self.crashes >= self.policy.max_attempts:
            return None
        return backoff(self.policy, self.crashes, self._random)
