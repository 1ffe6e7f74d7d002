"""What a health endpoint says of its process, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import orjson

from eventpipe.cli.json_values import read_json
from eventpipe.health import Health
from eventpipe.measures import Latencies
from eventpipe.statistics import Statistics


class Status(StrEnum):
    """Whether a client may be given events."""

    READY = "ready"
    NOT_READY = "not_ready"


@dataclass(frozen=True, slots=True)
class Process:
    """The process that answered.

    Attributes:
        pid: Its id, which in a container is often 1.
        uptime: For how many seconds it has run.
        version: The version of eventpipe in it.
        now: Its wall clock; ``None`` where it is not told.
    """

    pid: int
    uptime: float
    version: str
    now: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """How a client does at one moment."""

    status: Status
    health: Health
    statistics: Statistics
    process: Process

    @property
    def is_ready(self) -> bool:
        """Whether it says so."""
        return self.status is Status.READY


def parse_picture(body: bytes) -> Picture:
    """Read the answer of a health endpoint.

    Raises:
        ValueError: It is none; names what is wrong, and shows no value.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("the answer is no JSON") from None
    picture = read_json(Picture, parsed)
    for statistics in (picture.statistics, *picture.statistics.by_sink.values()):
        _check(statistics.latency)
    return picture


def _check(latency: Latencies) -> None:
    for name in Latencies.__slots__:
        histogram = getattr(latency, name)
        if len(histogram.counts) != len(histogram.bounds) + 1:
            raise ValueError(f"latency.{name} must have one count more than bounds")
