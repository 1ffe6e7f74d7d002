"""Answers of a health endpoint, as its client would give them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import orjson
from rich.console import Console, RenderableType

from eventpipe.cli.top_picture import Picture, parse_picture
from eventpipe.core.service import ServiceState
from eventpipe.health import Health, SinkHealth
from eventpipe.measures import BOUNDS, Histogram, Latencies
from eventpipe.statistics import Statistics

NOW = 1_700_000_000.0  # by the clock of the far side


def histogram(seconds: Mapping[float, int]) -> Histogram:
    """So many events that took so long each."""
    counts = [0] * (len(BOUNDS) + 1)
    for duration, events in seconds.items():
        counts[sum(bound < duration for bound in BOUNDS)] += events
    total = sum(duration * events for duration, events in seconds.items())
    return Histogram(BOUNDS, tuple(counts), sum(counts), total)


def latencies(send: Mapping[float, int], delivery: Mapping[float, int]) -> Latencies:
    return Latencies(histogram(delivery), histogram(send), histogram(delivery))


def sink(state: ServiceState = ServiceState.RUNNING, **fields: Any) -> SinkHealth:  # Any: as they come
    return SinkHealth(**{"state": state, "pressure": 0.0, "pending": 0, **fields})


def answer(
    health: Health | None = None,
    statistics: Statistics | None = None,
    *,
    pid: int = 7,
    uptime: float = 100.0,
    now: float | None = NOW,
) -> bytes:
    """The body of an answer; ready where the health is."""
    health = health if health is not None else Health(is_open=True, sinks={"http": sink()})
    return orjson.dumps(
        {
            "status": "ready" if health else "not_ready",
            "health": health,
            "statistics": statistics or Statistics(),
            "process": {"pid": pid, "uptime": uptime, "version": "1.2.3", "now": now},
        }
    )


def picture(
    health: Health | None = None,
    statistics: Statistics | None = None,
    *,
    pid: int = 7,
    uptime: float = 100.0,
    now: float | None = NOW,
) -> Picture:
    """The same, parsed."""
    return parse_picture(answer(health, statistics, pid=pid, uptime=uptime, now=now))


def printed(frame: RenderableType, width: int = 80) -> str:
    """What a terminal without colours shows of a frame, without the spaces at the ends of lines."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(frame)
    return "\n".join(line.rstrip(" ") for line in out.getvalue().split("\n"))
