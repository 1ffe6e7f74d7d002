"""When a delivery is attempted again, how often, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from eventpipe.checked import is_number, shown

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE

# Source: Standard Webhooks 1.0, "Deliverability and reliability", proposes these.
DELAYS: Final = (5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR)


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """Delays, deadlines and the number of attempts; a resend begins anew with all of them.

    Attributes:
        delays: Seconds from the first failed attempt to the second, and so on; further attempts wait as long as the
            last of them says.
        jitter: The part of a delay that comes on top of it at random, so that what failed together does not come back
            together.
        attempts: Attempts in all, at least 1.
        pending: Seconds from publishing in which a first attempt is expected: one that comes later, and fails, is the
            last.
        sending: Seconds from the first attempt after which one that fails is the last.
        max_retry_after: Seconds that a far end's Retry-After can ask for, at most.

    Raises:
        ValueError: A number has no meaning; the message names it, its value, and the rule.
    """

    delays: Sequence[float] = DELAYS
    jitter: float = 0.1
    attempts: int = len(DELAYS) + 1
    pending: float = 3 * HOUR
    sending: float = 48 * HOUR
    max_retry_after: float = 24 * HOUR

    def __post_init__(self) -> None:
        if not isinstance(self.delays, list | tuple) or not self.delays:
            raise ValueError(f"delays must be a list of at least one number of seconds, not {shown(self.delays)}")
        for number, delay in enumerate(self.delays):
            _check_positive(f"delays[{number}]", delay)
        object.__setattr__(self, "delays", tuple(self.delays))  # a list could change
        for option in ("pending", "sending", "max_retry_after"):
            _check_positive(option, getattr(self, option))
        if not is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be a number from 0 to 1, not {shown(self.jitter)}")
        if type(self.attempts) is not int or self.attempts < 1:
            raise ValueError(f"attempts must be a whole number, at least 1, not {shown(self.attempts)}")

    @property
    def longest(self) -> float:
        """Seconds that a row can be due in the future, at most."""
        return max(*self.delays, self.max_retry_after) * (1 + self.jitter)

    def delay(self, attempts: int, random: Callable[[], float], retry_after: float | None = None) -> float:
        """Seconds from a failed attempt to the next.

        Args:
            attempts: How many there were, this one included.
            random: A source of floats, uniform in ``[0, 1)``.
            retry_after: What the far end asked for, which is a floor; ``None``: it did not say.
        """
        delay = self.delays[min(attempts, len(self.delays)) - 1]
        if retry_after is not None:
            delay = max(delay, min(retry_after, self.max_retry_after))
        return delay * (1 + self.jitter * random())


def _check_positive(option: str, value: object) -> None:
    if not is_number(value) or value <= 0:
        raise ValueError(f"{option} must be a finite number of seconds above 0, not {shown(value)}")
