"""One moment on the loop clock, handed down so that nested timeouts never add up."""

from __future__ import annotations

import asyncio
import math

from eventpipe.checked import shown


class Deadline:
    """The moment by which something must have returned, or never.

    Attributes:
        when: The moment on the loop clock; ``None`` means never.
    """

    __slots__ = ("when",)

    def __init__(self, when: float | None = None) -> None:
        if when is not None and not when < math.inf:
            if math.isnan(when):
                raise ValueError(f"a deadline must be a number or None, not {when}")
            when = None  # a timer at infinity would be a timer: never is said in one way
        self.when = when

    @classmethod
    def after(cls, timeout: float | None) -> Deadline:
        """The moment ``timeout`` seconds from now; zero or less is due already, ``None`` is never.

        Raises:
            ValueError: It is not a number.
            TypeError: It is of another type.
        """
        if timeout is None:
            return cls()
        if not isinstance(timeout, int | float):
            raise TypeError(f"a timeout must be a number of seconds or None, not {shown(timeout)}")
        return cls(asyncio.get_running_loop().time() + timeout)

    @classmethod
    def at(cls, when: float | None) -> Deadline:
        """A moment on the loop clock; ``None`` is never."""
        return cls(when)

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return self.when is not None and self.when <= asyncio.get_running_loop().time()

    def remaining(self) -> float:
        """Seconds left, never negative; infinity when there is no end."""
        return math.inf if self.when is None else max(0.0, self.when - asyncio.get_running_loop().time())

    def earlier(self, timeout: float | None) -> Deadline:
        """This deadline or the moment ``timeout`` seconds from now, whichever comes first."""
        other = Deadline.after(timeout)
        if other.when is None or (self.when is not None and self.when <= other.when):
            return self
        return other

    def scope(self) -> asyncio.Timeout:
        """A context that raises ``TimeoutError`` when the moment comes, at the first await that suspends."""
        return asyncio.timeout_at(self.when)

    def __repr__(self) -> str:
        return f"Deadline(when={self.when})"
