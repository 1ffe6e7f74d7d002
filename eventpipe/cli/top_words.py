"""The words for a picture of a process: plain functions of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from eventpipe.cli.failures import one_line
from eventpipe.cli.text import duration, size
from eventpipe.cli.top_picture import Picture
from eventpipe.health import SinkHealth
from eventpipe.measures import Histogram
from eventpipe.statistics import HighWater, Statistics

MAX_NAME = 40  # characters of a name, which may be anything
SHOWN_REASONS = 5  # reasons and names listed on one line

# Where events are that a client holds, in the order of their way through it: the letter in the bar, and the word.
PLACES: Final = {
    "queued": ("Q", "queued"),
    "buffered": ("B", "buffered"),
    "in_flight": ("F", "in flight"),
    "waiting_retry": ("R", "to retry"),
}


def short(name: str) -> str:
    """A name that somebody else chose, on one line and not too long."""
    line = one_line(name)
    return line if len(line) <= MAX_NAME else line[: MAX_NAME - 1] + "…"


def readiness(picture: Picture) -> str:
    """``ready``, or ``not ready`` and why."""
    if picture.is_ready:
        return "ready"
    health = picture.health
    reasons = [] if health.is_open else ["closed"]
    reasons += [f"crashed: {names(health.crashed)}"] if health.crashed else []
    full = tuple(name for name, sink in health.sinks.items() if sink.pressure >= 1)
    reasons += [f"no room for more events{f' in {names(full)}' if full else ''}"] if health.pressure >= 1 else []
    return f"not ready: {'; '.join(reasons) or 'it does not say why'}"


def rate(per_second: float | None) -> str:
    """``1,234/s``, ``0.4/s``, or ``-`` where it is not known yet."""
    if per_second is None:
        return "-"
    return f"{per_second:,.1f}/s" if 0 < per_second < 10 else f"{per_second:,.0f}/s"


def percent(pressure: float) -> str:
    """``12 %``; 100 only for what is full."""
    return f"{min(99, math.ceil(pressure * 100)) if pressure < 1 else 100} %"


def ago(moment: float | None, now: float) -> str:
    """``3.2 s ago``, or ``never``; a moment ahead of a clock that differs is now."""
    return "never" if moment is None else f"{duration(max(0.0, now - moment))} ago"


def bar(statistics: Statistics, pressure: float, width: int) -> str:
    """The events that are held, a letter for each place, as much of ``width`` as the pressure is of the room."""
    held = sum(getattr(statistics, place) for place in PLACES)
    filled = math.ceil(min(pressure, 1.0) * width) if held else 0
    drawn, passed = "", 0
    for place, (letter, _) in PLACES.items():
        passed += getattr(statistics, place)
        drawn += letter * (round(passed / held * filled) - len(drawn) if held else 0)
    return drawn.ljust(width, ".")


def places(statistics: Statistics) -> str:
    """``200 queued, 50 in flight``: where the pending events are; empty when there are none."""
    parts = [(getattr(statistics, place), word) for place, (_, word) in PLACES.items()]
    parts.append((statistics.waiting_room, "waiting for room"))
    return ", ".join(f"{number:,} {word}" for number, word in parts if number)


def dropped(statistics: Statistics) -> str:
    """``40 queue_full, 5 expired``: the drops by reason, the most frequent first."""
    return tallied(statistics.dropped_by_reason)


def tallied(numbers: Mapping[str, int]) -> str:
    """Counters by name, the largest first, and how many more there are."""
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{number:,} {short(name)}" for name, number in ordered[:SHOWN_REASONS]]
    return ", ".join(parts + ([f"{len(ordered) - SHOWN_REASONS} more"] if len(ordered) > SHOWN_REASONS else []))


def names(given: tuple[str, ...]) -> str:
    """Names, and how many more there are."""
    more = len(given) - SHOWN_REASONS
    return ", ".join([*map(short, given[:SHOWN_REASONS]), *([f"{more} more"] if more > 0 else [])])


def high_water(levels: HighWater) -> str:
    """``5,000 held (1.2 MiB), 500 in flight, 300 to retry``: the most that there was of each."""
    parts = [
        f"{levels.held:,} held ({size(levels.held_bytes)})",
        f"{levels.in_flight:,} in flight",
        f"{levels.waiting_retry:,} to retry",
    ]
    return ", ".join([*parts, *([f"{levels.waiting_room:,} waiting for room"] if levels.waiting_room else [])])


def quantile(histogram: Histogram, share: float) -> str:
    """``12 ms``; ``> 5 m 0 s`` beyond all bounds, ``-`` without events."""
    if not histogram.count:
        return "-"
    seconds = histogram.quantile(share)
    is_beyond = bool(histogram.counts[-1]) and bool(histogram.bounds) and seconds >= histogram.bounds[-1]
    return f"{'> ' if is_beyond else ''}{duration(seconds)}"


def quantiles(histogram: Histogram) -> str:
    """The median and the 99th percentile: ``12 ms/80 ms``, or ``-``."""
    return f"{quantile(histogram, 0.5)}/{quantile(histogram, 0.99)}" if histogram.count else "-"


def paused(lanes: Mapping[str, float]) -> str:
    """``3.2 s left``, ``lane historical no end``: for how long no attempt begins; empty when none is paused."""
    parts = [
        f"{f'lane {short(lane)} ' if lane else ''}{f'{duration(left)} left' if left < math.inf else 'no end'}"
        for lane, left in lanes.items()
    ]
    more = len(parts) - SHOWN_REASONS
    return ", ".join(parts[:SHOWN_REASONS] + ([f"{more} more"] if more > 0 else []))


def sink_state(health: SinkHealth) -> str:
    """Its state, or that it is paused."""
    return "paused" if health.paused else str(health.state)


def sink_troubles(health: SinkHealth, statistics: Statistics) -> str:
    """What keeps a sink from its work, and what it cost; empty when nothing does."""
    parts = [
        f"crashed: {one_line(health.error)}" if health.error else "",
        f"paused: {paused(health.paused)}" if health.paused else "",
        f"last attempt failed: {short(health.failing)}" if health.failing else "",
        f"dropped {dropped(statistics)}" if statistics.dropped_by_reason else "",
    ]
    return "; ".join(part for part in parts if part)
