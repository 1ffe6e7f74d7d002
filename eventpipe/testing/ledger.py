"""The accounting of a pipeline, checked from outside: what its counters say, and what its far end has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Protocol

from eventpipe.outcomes import DropReason
from eventpipe.statistics import Statistics

_PLACES = ("waiting_room", "queued", "buffered", "in_flight", "waiting_retry")
_TOTALS = (
    *("captured", "recovered", "delivered", "dropped", "spooled", "pending", *_PLACES),
    *("attempts", "retries", "retried", "interrupted", "queue_bytes"),
)
_DOORS = ("delivered", "dropped", "retried")
_SHOWN = 5  # ids in a message


class LedgerError(AssertionError):
    """The numbers of a pipeline do not add up; the message has one line per fault, then the numbers."""


class Counted(Protocol):
    """A client, a dispatcher, or whatever else has ``statistics()``."""

    def statistics(self) -> Statistics:
        """The counters, as of now."""


def check_ledger(
    client: Counted,
    *,
    received: Collection[str] | None = None,
    captured: Iterable[str] | None = None,
    delivered: Iterable[str] | None = None,
    duplicates: bool = False,
    drained: bool = False,
) -> Statistics:
    """Check that every event is counted, once, in one place.

    The identity ``captured + recovered == delivered + dropped + spooled + pending`` has to hold at every await point,
    so this may be called at any of them. What is counted by reason, event name, sink and duration has to come to the
    same totals, and no level may be above its highest. With a far end's ids, counts are compared with what is there.

    Args:
        client: What to check; with several sinks its numbers are sums, so ids are compared for one sink alone.
        received: Ids that the far end has, each as often as it arrived. ``None`` leaves the far end out.
        captured: Ids that were captured: nothing else may arrive. ``None`` leaves that out.
        delivered: Ids that the pipeline says were delivered: each has arrived. ``None`` compares numbers alone.
        duplicates: Whether an event may have arrived more often than it was delivered. It may where an attempt failed
            after the far end took the batch; without such failures what arrived is exactly what was delivered.
        drained: Whether nothing may be pending, as after ``aclose()``.

    Returns:
        The counters that were checked.

    Raises:
        LedgerError: Something is missing, counted twice, or nowhere.
    """
    statistics = client.statistics()
    faults = _identity(statistics) + _parts(statistics)
    for name, sink in statistics.by_sink.items():
        faults += [f"sink {name}: {fault}" for fault in _identity(sink) + _parts(sink)]
    if drained and statistics.pending:
        faults.append(f"{statistics.pending} events are pending, where nothing may be")
    if received is not None:
        faults += _far_end(statistics, Counter(received), captured, delivered, duplicates=duplicates)
    if faults:
        raise LedgerError("\n  ".join(["the numbers do not add up:", *faults, str(statistics)]))
    return statistics


def _identity(statistics: Statistics) -> list[str]:
    faults = [f"{name} is {value}" for name in _TOTALS if (value := getattr(statistics, name)) < 0]
    arrived = statistics.captured + statistics.recovered
    left = statistics.delivered + statistics.dropped + statistics.spooled
    if arrived != left + statistics.pending:
        faults.append(f"{arrived} events came in, {left} left and {statistics.pending} are pending")
    places = sum(getattr(statistics, name) for name in _PLACES)
    if places != statistics.pending:
        faults.append(f"{statistics.pending} events are pending, and {places} are in {', '.join(_PLACES)}")
    if sum(statistics.dropped_by_reason.values()) != statistics.dropped:
        faults.append(f"{statistics.dropped} events were dropped, for these reasons: {statistics.dropped_by_reason}")
    if unknown := sorted(set(statistics.dropped_by_reason) - set(DropReason)):
        faults.append(f"drop reasons that are in no list: {unknown}")
    return faults


def _parts(statistics: Statistics) -> list[str]:
    """What disagrees between totals, and what they are made of."""
    faults = []
    for name in _DOORS:
        total, by_event = getattr(statistics, name), sum(getattr(one, name) for one in statistics.by_event.values())
        if by_event != total:
            faults.append(f"{total} events were {name}, and by event name {by_event}")
    if sum(statistics.retried_by_reason.values()) != statistics.retried:
        faults.append(f"{statistics.retried} events were retried, for these reasons: {statistics.retried_by_reason}")
    for name in ("queue", "send", "delivery"):
        histogram = getattr(statistics.latency, name)
        if not statistics.delivered == histogram.count == sum(histogram.counts) or histogram.sum < 0:
            faults.append(f"{statistics.delivered} events were delivered, and latency.{name} is {histogram}")
    levels = {name: getattr(statistics, name) for name in ("in_flight", "waiting_retry", "waiting_room")}
    levels |= {"held": statistics.pending - statistics.waiting_room, "held_bytes": statistics.queue_bytes}
    for name, level in levels.items():
        if level > getattr(statistics.high_water, name):
            faults.append(f"{name} is {level}, and its highest is {getattr(statistics.high_water, name)}")
    for name in _TOTALS if statistics.by_sink else ():
        total, by_sink = getattr(statistics, name), sum(getattr(sink, name) for sink in statistics.by_sink.values())
        if total != by_sink:
            faults.append(f"{name} is {total}, and summed over the sinks {by_sink}")
    return faults


def _far_end(
    statistics: Statistics,
    received: Counter[str],
    captured: Iterable[str] | None,
    delivered: Iterable[str] | None,
    *,
    duplicates: bool,
) -> list[str]:
    faults = []
    if len(received) < statistics.delivered:
        faults.append(f"{statistics.delivered} events were delivered, and {len(received)} arrived")
    if captured is not None and (invented := received.keys() - set(captured)):
        faults.append(f"arrived and never captured: {_some(invented)}")
    if delivered is not None and (lost := set(delivered) - received.keys()):
        faults.append(f"delivered and never arrived: {_some(lost)}")
    if not duplicates:
        if twice := {uuid for uuid, times in received.items() if times > 1}:
            faults.append(f"arrived more than once: {_some(twice)}")
        if len(received) > statistics.delivered:
            faults.append(f"{len(received)} events arrived, and {statistics.delivered} were delivered")
    return faults


def _some(uuids: Collection[str]) -> str:
    shown = ", ".join(sorted(uuids)[:_SHOWN])
    return shown if len(uuids) <= _SHOWN else f"{shown} and {len(uuids) - _SHOWN} more"
