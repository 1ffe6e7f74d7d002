"""What a collector does to its requests on purpose. Decides and never waits, so that its tests need no server."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stall:
    """Requests that are read at once and answered late.

    Attributes:
        share: Which share of requests, 0 to 1.
        duration: How late, in seconds.
    """

    share: float
    duration: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Requests that are answered with an error status; their events are not taken.

    Attributes:
        status: The status, 400 to 599.
        share: Which share of requests, 0 to 1.
    """

    status: int
    share: float


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which every request is answered with an error status.

    Attributes:
        start: Seconds after the first request.
        duration: Seconds from there.
        status: The status.
    """

    start: float
    duration: float
    status: int = 503


@dataclass(frozen=True, slots=True)
class VerdictShare:
    """Events that get another answer than the rest of their request.

    Attributes:
        word: What is said of them, such as ``retry``.
        share: Which share of events, 0 to 1.
    """

    word: str
    share: float


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    Attributes:
        reset: The connection is reset before the body is read, so that its events cannot have been taken.
        status: The error status to answer with; ``None``: the request is served.
        delay: Seconds between reading the request and answering it.
        stalled: Whether ``delay`` holds a stall.
    """

    reset: bool = False
    status: int | None = None
    delay: float = 0.0
    stalled: bool = False


class Faults:
    """Chooses a fault for each request; the same seed gives the same faults in the same order of requests.

    A request meets at most one of reset, outage, failure and stall, in this order; latency comes on top of all
    but a reset. Verdicts are drawn for each event of the formats that answer for each.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        stall: Stall | None = None,
        fail: Fail | None = None,
        reset: float = 0.0,
        outage: Outage | None = None,
        verdicts: Sequence[VerdictShare] = (),
        seed: int | None = None,
    ) -> None:
        self._latency = latency
        self._stall = stall or Stall(0.0, 0.0)
        self._fail = fail or Fail(503, 0.0)
        self._reset = reset
        self._outage = outage
        self._verdicts = verdicts
        self._random = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._per_event = random.Random(seed)  # noqa: S311 - of its own: how many events a request has shifts nothing
        self._first: float | None = None

    def next(self, now: float) -> Fault:
        """The fault of the next request.

        Args:
            now: A moment in seconds on any clock that does not go back.
        """
        if self._first is None:
            self._first = now
        # All three are drawn for every request, so that what one request meets does not shift what the next ones do.
        reset, fail, stall = (self._random.random() for _ in range(3))
        if reset < self._reset:
            return Fault(reset=True)
        outage = self._outage
        if outage is not None and 0.0 <= now - self._first - outage.start < outage.duration:
            return Fault(status=outage.status, delay=self._latency)
        if fail < self._fail.share:
            return Fault(status=self._fail.status, delay=self._latency)
        if stall < self._stall.share:
            return Fault(delay=self._latency + self._stall.duration, stalled=True)
        return Fault(delay=self._latency)

    def verdict(self) -> str:
        """What is said of the next event: ``"ok"``, or one of the words asked for."""
        drawn = self._per_event.random()
        for verdict in self._verdicts:
            if drawn < verdict.share:
                return verdict.word
            drawn -= verdict.share
        return "ok"
