"""What a client counts, as snapshots: totals, by sink, reason and event name, rates, latencies and highest levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Self, TypeVar

from eventpipe.measures import Counted, Latencies, Rates, Summed

K = TypeVar("K")
V = TypeVar("V")

OTHERS = "(others)"  # what is counted under no name of its own


class Fixed(dict[K, V]):
    """A mapping of a snapshot: a copy that nobody can change, and that can be compared, copied and written as JSON."""

    __slots__ = ()

    def _refuse(self, *arguments: object, **named: object) -> NoReturn:
        raise TypeError("a snapshot cannot be changed; make a dict of it")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __reduce__(self) -> tuple[type[Self], tuple[dict[K, V]]]:
        return type(self), (dict(self),)


@dataclass(frozen=True, slots=True)
class EventCounts(Counted):
    """What became of the events of one name.

    Attributes:
        delivered: Events the far end accepted.
        dropped: Events that left undelivered.
        retried: Times that an event was in an attempt that failed and is made again.
    """

    delivered: int = 0
    dropped: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class HighWater(Summed):
    """The highest that some levels have been; each by itself, at a moment of its own.

    Sums over sinks are sums of these: never below what was reached, above it where the sinks had their highest at
    different moments. A bound is per sink, so compare it with ``by_sink``.

    Attributes:
        held: Events that count against ``queue_events``.
        held_bytes: Bytes that count against ``queue_bytes``.
        in_flight: Events that workers sent at once.
        waiting_retry: Events that waited for a later attempt.
        waiting_room: Events whose callers waited for capacity.
    """

    held: int = 0
    held_bytes: int = 0
    in_flight: int = 0
    waiting_retry: int = 0
    waiting_room: int = 0


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of the counters; with several sinks, each number is the sum over them.

    At every moment ``captured + recovered == delivered + dropped + spooled + pending`` and
    ``pending == waiting_room + queued + buffered + in_flight + waiting_retry``. Mappings are copies that cannot be
    changed.

    Attributes:
        captured: Calls that gave an event to a sink, refused ones included.
        recovered: Events taken over from a spool.
        delivered: Events the far end accepted.
        dropped: Events that left undelivered.
        dropped_by_reason: The same, by ``DropReason``.
        spooled: Events held only on disk.
        pending: Events accepted and not settled.
        waiting_room: Events whose callers wait for capacity.
        queued: Events in the queue.
        buffered: Events in batches that have not been sent yet.
        in_flight: Events that a worker is sending now.
        waiting_retry: Events that wait for a later attempt.
        attempts: Calls of ``send`` so far.
        retries: Attempts that were not the first of their batch.
        repaired: Events in which a value that JSON cannot carry was replaced.
        hook_errors: Exceptions raised by ``before_send``, by callbacks (``on_drop``, ``on_error``, ``on_outcome()``)
            and their filters, and by the ``where`` of sinks; a subscription counts those of its filter itself.
        queue_bytes: Encoded size of the pending events, without those waiting for room.
        slowest_hook: Seconds the slowest hook call held up the loop, and 0.0 when none ran.
        retried: Times that an event was in an attempt that failed and is made again.
        retried_by_reason: The same, by the word that the outcomes carry; at most 100 words, then ``"(others)"``.
        interrupted: Times that an event was in an attempt that was cut off, and does not count.
        by_event: By event name what became of its events; at most 100 names a client, then ``"(others)"``.
        by_sink: Each sink's own statistics, by its name, in which this is empty.
        rates: Events a second over the last 1, 10 and 60 seconds.
        latency: How long delivered events took.
        high_water: The highest that the levels have been.
        last_success: When events were last delivered, seconds since the epoch; ``None`` before the first time.
    """

    captured: int = 0
    recovered: int = 0
    delivered: int = 0
    dropped: int = 0
    dropped_by_reason: Mapping[str, int] = field(default_factory=dict)
    spooled: int = 0
    pending: int = 0
    waiting_room: int = 0
    queued: int = 0
    buffered: int = 0
    in_flight: int = 0
    waiting_retry: int = 0
    attempts: int = 0
    retries: int = 0
    repaired: int = 0
    hook_errors: int = 0
    queue_bytes: int = 0
    slowest_hook: float = 0.0
    retried: int = 0
    retried_by_reason: Mapping[str, int] = field(default_factory=dict)
    interrupted: int = 0
    # Not in a repr, which gets into logs: they are many, and a name may be anything.
    by_event: Mapping[str, EventCounts] = field(default_factory=dict, repr=False)
    by_sink: Mapping[str, Statistics] = field(default_factory=dict, repr=False)
    rates: Rates = field(default=Rates(), repr=False)
    latency: Latencies = field(default=Latencies(), repr=False)
    high_water: HighWater = HighWater()
    last_success: float | None = None

    def __post_init__(self) -> None:
        for name in _MAPPINGS:
            object.__setattr__(self, name, Fixed(getattr(self, name)))

    def __add__(self, other: Statistics) -> Statistics:
        """The counters, levels and rates of both; of two slowest hook calls the slower, of two successes the later."""
        sums: dict[str, Any] = {  # Any: whatever the fields are
            **{name: getattr(self, name) + getattr(other, name) for name in (*_COUNTERS, *_LEVELS)},
            **{name: _added(getattr(self, name), getattr(other, name)) for name in _MAPPINGS},
        }
        successes = [moment for moment in (self.last_success, other.last_success) if moment is not None]
        slowest = max(self.slowest_hook, other.slowest_hook)
        return Statistics(**sums, slowest_hook=slowest, last_success=max(successes, default=None))

    def __sub__(self, earlier: Statistics) -> Statistics:
        """What happened since an earlier snapshot of the same client; what is no counter is as it is in this one."""
        differences: dict[str, Any] = {  # Any: as above
            **{name: getattr(self, name) - getattr(earlier, name) for name in _COUNTERS},
            **{name: _subtracted(getattr(self, name), getattr(earlier, name)) for name in _MAPPINGS},
        }
        return replace(self, **differences)


_COUNTERS = (
    "captured",
    "recovered",
    "delivered",
    "dropped",
    "spooled",
    "attempts",
    "retries",
    "repaired",
    "hook_errors",
    "retried",
    "interrupted",
    "latency",
)
_LEVELS = (
    "pending",
    "waiting_room",
    "queued",
    "buffered",
    "in_flight",
    "waiting_retry",
    "queue_bytes",
    "rates",
    "high_water",
)
_MAPPINGS = ("dropped_by_reason", "retried_by_reason", "by_event", "by_sink")


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:  # Any: numbers, or counts of them
    return {**one, **{name: one[name] + value if name in one else value for name, value in other.items()}}


def _subtracted(one: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:  # Any: as above
    """The differences; what did not occur in between is absent, but for sinks, which are there all the time."""
    differences = {name: value - earlier[name] if name in earlier else value for name, value in one.items()}
    return {name: value for name, value in differences.items() if value and value != EventCounts()}
