"""What people and programs read of a spool that is in use: a small file beside each file of events."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from eventpipe.clock import Clock
from eventpipe.core.log import contained_logger
from eventpipe.spool.bounds import SpoolBounds
from eventpipe.spool.folder import Owned

FORMAT: Final = 1

_logger = contained_logger(__name__)


@dataclass(frozen=True, slots=True)
class SinkNumbers:
    """What a file holds for one sink.

    Attributes:
        waiting: Events that are on disk only.
        in_memory: Events that are on disk, and on their way to the far end.
        recovered: Events that were there when this process took the file over.
    """

    waiting: int = 0
    in_memory: int = 0
    recovered: int = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a file holds.

    Attributes:
        is_own: Whether new events go there; else it is read, and deleted once it is empty.
        sinks: By sink.
        foreign: Events of sinks that its owner does not have.
        bytes: In use.
        last: The highest number that was given.
        fault: Why nothing can be read of it; ``None``: it can.
    """

    is_own: bool = False
    sinks: Mapping[str, SinkNumbers] = field(default_factory=dict)
    foreign: int = 0
    bytes: int = 0
    last: int = 0
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """What is looked up when the numbers have changed.

    Attributes:
        oldest: When the oldest event was captured, wall clock; ``None``: there is none.
        damaged: Rows in quarantine.
    """

    oldest: float | None = None
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A status file.

    Attributes:
        format: Its version.
        pid: Of the owner.
        host: Of the owner.
        started_at: When the owner opened its spool, wall clock.
        updated_at: When this was written; nothing has changed since, or the owner has ended.
        max_bytes: ``spool_bytes``, of all files of the owner.
        max_age: ``spool_age``.
        overflow: ``spool_overflow``.
        numbers: What the file holds.
        glance: And what of it is looked up.
    """

    format: int
    pid: int
    host: str
    started_at: float
    updated_at: float
    max_bytes: int
    max_age: float | None
    overflow: str
    numbers: Numbers
    glance: Glance


class StatusFiles:
    """Replaces the status files of one spool, where numbers have changed.

    Args:
        bounds: Of the spool.
        clock: What tells the time.
    """

    def __init__(self, bounds: SpoolBounds, clock: Clock) -> None:
        self._bounds = bounds
        self._clock = clock
        self._started_at = clock.time()
        self._told: dict[str, Numbers] = {}
        self._is_failing = False

    def is_news(self, owned: Owned, numbers: Numbers) -> bool:
        """Whether the file beside ``owned`` says anything else, or there is none."""
        return self._told.get(owned.name) != numbers

    def write(self, news: Sequence[tuple[Owned, Numbers, Glance]]) -> None:
        """Replace files; blocks. One that cannot be written is tried again with the next."""
        pid, host, now = os.getpid(), socket.gethostname(), self._clock.time()
        bounds = self._bounds
        for owned, numbers, glance in news:
            status = Status(
                FORMAT,
                pid,
                host,
                self._started_at,
                now,
                bounds.max_bytes,
                bounds.max_age,
                bounds.overflow,
                numbers,
                glance,
            )
            try:
                owned.tell(orjson.dumps(status))
            except OSError as error:
                if not self._is_failing:
                    _logger.warning("%s cannot be written: %s; events are kept all the same", owned.status_path, error)
                self._is_failing = True
            else:
                self._told[owned.name] = numbers
                self._is_failing = False

    def forget(self, owned: Owned) -> None:
        """See a file that this process has let go of."""
        self._told.pop(owned.name, None)
