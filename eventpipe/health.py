"""Whether a client can take events in, and which of its parts cannot do their work: for probes and dashboards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eventpipe.core.service import ServiceState


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How one sink does.

    Attributes:
        state: Of its dispatcher: idle before the first event, running, stopped after the close, failed after a crash.
        pressure: How full it is, from 0 to 1: events or bytes held of those that may be, whichever is more.
        pending: Events not settled.
        last_success: When it last delivered, seconds since the epoch; ``None`` before the first time.
        failing: Why its last attempt failed, as a short word such as ``"status_503"``; ``None`` when it did not.
        paused: Seconds for which no attempt begins, by lane, ``""`` for the usual one; lanes that are open are absent.
        error: What its dispatcher crashed with, and where, without the error's text; ``None`` when it did not.
    """

    state: ServiceState
    pressure: float
    pending: int
    last_success: float | None = None
    failing: str | None = None
    paused: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How a client does at this moment; true when it is ready.

    A far end that is down, and a sink that is paused for it, do not make a client unready: that is what its queue is
    for, and a probe that took the process out of service then would turn the far end's outage into one of its own.

    Attributes:
        is_open: Whether it takes events in: it was not closed.
        pressure: The highest of its sinks; at 1 events are dropped, or their callers wait.
        last_success: The latest of its sinks, seconds since the epoch; ``None`` before the first delivery.
        paused: Names of the sinks in which a lane is paused.
        crashed: Names of the services that failed, and have not been started again.
        sinks: Each sink's own health, by its name.
    """

    is_open: bool
    pressure: float = 0.0
    last_success: float | None = None
    paused: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()
    sinks: Mapping[str, SinkHealth] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether it takes events in, has room for them, and all its parts work."""
        return self.is_open and not self.crashed and self.pressure < 1

    def __bool__(self) -> bool:
        return self.is_ready
