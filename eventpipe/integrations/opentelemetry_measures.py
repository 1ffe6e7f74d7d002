"""What a client's numbers are called in OpenTelemetry, and how those of several clients become one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple

from eventpipe.integrations.families import FAMILIES, Family, Seen
from eventpipe.measures import Histogram

Value = str | bool | int | float
Key = tuple[tuple[str, Value], ...]  # attributes, sorted by name
Points = dict[str, dict[Key, float]]  # by instrument and attributes
Kind = Literal["counter", "up_down_counter", "gauge"]

EVENTS: Final = "eventpipe.events"
PENDING: Final = "eventpipe.pending"
SPOOLED: Final = "eventpipe.spooled"
ERRORS: Final = "eventpipe.instrumentation.errors"
SENT: Final = "messaging.client.sent.messages"


class Named(NamedTuple):
    """A family of numbers as OpenTelemetry has it.

    Attributes:
        name: What its instrument is called.
        unit: What it counts; none for a number that is none of something.
        join: What makes one number of those of two clients that have the same attributes.
    """

    name: str
    unit: str = ""
    join: Callable[[float, float], float] = operator.add


class Measure(NamedTuple):
    """One observable instrument.

    Attributes:
        name: What it is called.
        kind: A counter only grows, an up-down counter is a level that can be summed, a gauge one that cannot.
        unit: What it counts.
        attributes: Their names.
        meaning: In a sentence.
        join: As in ``Named``.
    """

    name: str
    kind: Kind
    unit: str
    attributes: tuple[str, ...]
    meaning: str
    join: Callable[[float, float], float] = operator.add


NAMES: Final = {
    "eventpipe_captured": Named("eventpipe.captured", "{event}"),
    "eventpipe_recovered": Named("eventpipe.recovered", "{event}"),
    "eventpipe_events": Named(EVENTS, "{event}"),
    "eventpipe_spooled": Named(SPOOLED, "{event}"),
    "eventpipe_pending": Named(PENDING, "{event}"),
    "eventpipe_queue_size": Named("eventpipe.queue.size", "{event}"),
    "eventpipe_queue_capacity": Named("eventpipe.queue.capacity", "{event}"),
    "eventpipe_queue_bytes": Named("eventpipe.queue.bytes", "By"),
    "eventpipe_queue_bytes_capacity": Named("eventpipe.queue.bytes_capacity", "By"),
    "eventpipe_queue_pressure": Named("eventpipe.queue.pressure", join=max),
    "eventpipe_inflight": Named("eventpipe.inflight", "{event}"),
    "eventpipe_high_water": Named("eventpipe.high_water", "{event}", max),
    "eventpipe_high_water_bytes": Named("eventpipe.high_water_bytes", "By", max),
    "eventpipe_attempts": Named("eventpipe.attempts", "{attempt}"),
    "eventpipe_retries": Named("eventpipe.retries", "{attempt}"),
    "eventpipe_retried_events": Named("eventpipe.retried_events", "{event}"),
    "eventpipe_interrupted_events": Named("eventpipe.interrupted_events", "{event}"),
    "eventpipe_latency_seconds": Named("eventpipe.latency", "s"),
    "eventpipe_last_success_timestamp_seconds": Named("eventpipe.last_success.timestamp", "s", max),
    "eventpipe_sink_paused": Named("eventpipe.sink.paused", "{lane}", max),
    "eventpipe_named_events": Named("eventpipe.named_events", "{event}"),
    "eventpipe_repaired": Named("eventpipe.repaired", "{event}"),
    "eventpipe_hook_errors": Named("eventpipe.hook.errors", "{error}"),
    "eventpipe_slowest_hook_seconds": Named("eventpipe.slowest_hook", "s", max),
    "eventpipe_up": Named("eventpipe.up", join=min),
    "eventpipe_ready": Named("eventpipe.ready", join=min),
    "eventpipe_crashed": Named("eventpipe.crashed", "{service}"),
}


def _measure(family: Family) -> Measure:
    name, unit, join = NAMES[family.name]
    meaning = family.meaning
    kind: Kind = "gauge" if join is not operator.add else "up_down_counter"
    if family.kind == "histogram":  # which nobody can observe here: what there is of it is the sum
        meaning = f"{meaning} Summed: divided by the events delivered it is their mean."
    if family.kind != "gauge":
        kind = "counter"
    return Measure(name, kind, unit, family.labels, meaning, join)


MEASURES: Final = (
    *map(_measure, FAMILIES),
    Measure(ERRORS, "counter", "{error}", (), "Failures of OpenTelemetry that were kept from the events."),
    # Source: OpenTelemetry's conventions for messaging.
    Measure(
        SENT,
        "counter",
        "{message}",
        ("messaging.system", "messaging.operation.name", "messaging.destination.name", "error.type"),
        "Events that attempts tried to send; with `error.type` those that were not accepted.",
    ),
)


def points_of(seen: Seen, errors: int, attributes: Mapping[str, Value]) -> Points:
    """Every number of one client.

    Args:
        seen: The client at one moment.
        errors: Failures of OpenTelemetry that were kept from its events.
        attributes: Added to those of each number.
    """
    points: Points = {ERRORS: {key_of(attributes): errors}}
    for family in FAMILIES:
        points[NAMES[family.name].name] = {
            key_of({**attributes, **dict(zip(family.labels, labels, strict=True))}): (
                value.sum if isinstance(value, Histogram) else +value
            )
            for labels, value in family.samples(seen)
        }
    return points


def key_of(attributes: Mapping[str, Value]) -> Key:
    """Attributes as they can be compared, without those that say nothing."""
    return tuple(sorted((name, value) for name, value in attributes.items() if value != ""))


def joined(parts: Iterable[Points]) -> Points:
    """The numbers of all parts, those with the same attributes made one."""
    whole: Points = {measure.name: {} for measure in MEASURES}
    for part in parts:
        for measure in MEASURES:
            values = whole[measure.name]
            for key, value in part.get(measure.name, {}).items():
                values[key] = measure.join(values[key], value) if key in values else value
    return whole


def left_by(last: Points) -> Points:
    """What remains of a client that nobody looks at any more: its counters, which may never go back.

    Events that it had not settled are counted as gone, with ``outcome="unobserved"``: so the numbers go on adding up.
    """
    left = {measure.name: dict(last.get(measure.name, {})) for measure in MEASURES if measure.kind == "counter"}
    for level in (PENDING, SPOOLED):
        for key, events in last.get(level, {}).items():
            if events:
                attributes = {name: value for name, value in key if name != "place"}
                gone = key_of({**attributes, "outcome": "unobserved"})
                left[EVENTS][gone] = left[EVENTS].get(gone, 0) + events
    return left
