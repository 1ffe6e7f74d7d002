"""What a client's numbers are called where metrics have names and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from eventpipe.client import AsyncClient
from eventpipe.health import Health, SinkHealth
from eventpipe.integrations.snapshots import read, steady
from eventpipe.measures import Histogram
from eventpipe.outcomes import DropReason
from eventpipe.statistics import Statistics

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float | Histogram]]

PLACES = ("waiting_room", "queued", "buffered", "in_flight", "waiting_retry")
STAGES = ("queue", "send", "delivery")
HIGH_WATER = ("held", "in_flight", "waiting_retry", "waiting_room")


class Seen(NamedTuple):
    """All that is read of a client at one moment.

    Attributes:
        statistics: Its counters.
        health: How it does.
        queue_events: Events that each sink may hold.
        queue_bytes: Bytes that each sink may hold.
        event_names: Whether the names of events may be shown.
    """

    statistics: Statistics
    health: Health
    queue_events: int
    queue_bytes: int
    event_names: bool

    @classmethod
    def of(cls, client: AsyncClient, *, event_names: bool = False) -> Seen:
        """Read a client, at one moment of its loop, from any thread."""

        def look() -> Seen:
            options = client._options
            return cls(steady(client), client.health(), options.queue_events, options.queue_bytes, event_names)

        return read(client, look)


class Sink(NamedTuple):
    """The same of one sink."""

    name: str
    statistics: Statistics
    health: SinkHealth
    queue_events: int
    queue_bytes: int


class Family(NamedTuple):
    """A metric, and where its values are.

    Attributes:
        name: As Prometheus has it; a counter's without ``_total``.
        kind: What may be done with its values.
        labels: Their names, besides ``client``.
        meaning: In a sentence.
        samples: Values by the values of the labels, in their order.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    meaning: str
    samples: Callable[[Seen], Samples]

    @property
    def exported(self) -> str:
        """Its name in a query."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def label(text: str) -> str:
    """``text`` as a scrape can carry it: half of a character would cost all of it."""
    return text.encode("utf-8", "backslashreplace").decode()


def each(value: Callable[[Sink], float | None]) -> Callable[[Seen], Samples]:
    """One value a sink; ``None`` where there is none yet."""
    return every(lambda sink: [((), number)] if (number := value(sink)) is not None else [])


def every(values: Callable[[Sink], Samples]) -> Callable[[Seen], Samples]:
    """Several values a sink, told apart by further labels."""

    def samples(seen: Seen) -> Samples:
        for name, statistics in seen.statistics.by_sink.items():
            sink = Sink(name, statistics, seen.health.sinks[name], seen.queue_events, seen.queue_bytes)
            for labels, value in values(sink):
                yield (label(name), *labels), value

    return samples


def whole(value: Callable[[Seen], float]) -> Callable[[Seen], Samples]:
    """One value a client."""
    return lambda seen: [((), value(seen))]


def _settled(sink: Sink) -> Samples:
    """All reasons from the beginning: who watches a counter grow does not see one that begins at 1."""
    yield ("delivered", ""), sink.statistics.delivered
    for reason in DropReason:
        yield ("dropped", reason.value), sink.statistics.dropped_by_reason.get(reason, 0)


def _retried(sink: Sink) -> Samples:
    counts: Counter[str] = Counter()
    for reason, events in sink.statistics.retried_by_reason.items():
        counts[label(reason)] += events
    return [((reason,), events) for reason, events in counts.items()]


def _named(seen: Seen) -> Samples:
    counts: Counter[Labels] = Counter()
    for name, events in seen.statistics.by_event.items() if seen.event_names else ():
        for outcome in ("delivered", "dropped", "retried"):
            counts[label(name), outcome] += getattr(events, outcome)  # two names may be one label
    return counts.items()


FAMILIES = (
    Family(
        "eventpipe_captured", "counter", ("sink",),
        "Calls that gave an event to the sink, refused ones included.",
        each(lambda sink: sink.statistics.captured),
    ),
    Family(
        "eventpipe_recovered", "counter", ("sink",),
        "Events taken over from a spool.",
        each(lambda sink: sink.statistics.recovered),
    ),
    Family(
        "eventpipe_events", "counter", ("sink", "outcome", "reason"),
        "Events that left: delivered, or dropped with the reason.",
        every(_settled),
    ),
    Family(
        "eventpipe_spooled", "gauge", ("sink",),
        "Events held only on disk.",
        each(lambda sink: sink.statistics.spooled),
    ),
    Family(
        "eventpipe_pending", "gauge", ("sink", "place"),
        "Events accepted and not settled, by where they are.",
        every(lambda sink: [((place,), getattr(sink.statistics, place)) for place in PLACES]),
    ),
    Family(
        "eventpipe_queue_size", "gauge", ("sink",),
        "Events that count against the capacity: all that are pending, but those waiting for room.",
        each(lambda sink: sink.statistics.pending - sink.statistics.waiting_room),
    ),
    Family(
        "eventpipe_queue_capacity", "gauge", ("sink",),
        "Events that may be held: queue_events.",
        each(lambda sink: sink.queue_events),
    ),
    Family(
        "eventpipe_queue_bytes", "gauge", ("sink",),
        "Encoded size of the events held.",
        each(lambda sink: sink.statistics.queue_bytes),
    ),
    Family(
        "eventpipe_queue_bytes_capacity", "gauge", ("sink",),
        "Bytes that may be held: queue_bytes.",
        each(lambda sink: sink.queue_bytes),
    ),
    Family(
        "eventpipe_queue_pressure", "gauge", ("sink",),
        "How full it is, from 0 to 1: events or bytes, whichever is more.",
        each(lambda sink: sink.health.pressure),
    ),
    Family(
        "eventpipe_inflight", "gauge", ("sink",),
        "Events that workers are sending now.",
        each(lambda sink: sink.statistics.in_flight),
    ),
    Family(
        "eventpipe_high_water", "gauge", ("sink", "place"),
        "The most events that there ever were in a place at once.",
        every(lambda sink: [((place,), getattr(sink.statistics.high_water, place)) for place in HIGH_WATER]),
    ),
    Family(
        "eventpipe_high_water_bytes", "gauge", ("sink",),
        "The most bytes that were ever held at once.",
        each(lambda sink: sink.statistics.high_water.held_bytes),
    ),
    Family(
        "eventpipe_attempts", "counter", ("sink",),
        "Calls of send.",
        each(lambda sink: sink.statistics.attempts),
    ),
    Family(
        "eventpipe_retries", "counter", ("sink",),
        "Attempts that were not the first of their batch.",
        each(lambda sink: sink.statistics.retries),
    ),
    Family(
        "eventpipe_retried_events", "counter", ("sink", "reason"),
        "Times that an event was in an attempt that failed and is made again.",
        every(_retried),
    ),
    Family(
        "eventpipe_interrupted_events", "counter", ("sink",),
        "Times that an event was in an attempt that was cut off.",
        each(lambda sink: sink.statistics.interrupted),
    ),
    Family(
        "eventpipe_latency_seconds", "histogram", ("sink", "stage"),
        "How long delivered events took: in the queue, in the last attempt, and from capture to delivery.",
        every(lambda sink: [((stage,), getattr(sink.statistics.latency, stage)) for stage in STAGES]),
    ),
    Family(
        "eventpipe_last_success_timestamp_seconds", "gauge", ("sink",),
        "When events were last delivered, since the epoch; absent before the first time.",
        each(lambda sink: sink.statistics.last_success),
    ),
    Family(
        "eventpipe_sink_paused", "gauge", ("sink",),
        "Lanes in which no attempt begins for a while, because the far end asked for that.",
        each(lambda sink: len(sink.health.paused)),
    ),
    Family(
        "eventpipe_named_events", "counter", ("event", "outcome"),
        "By event name: delivered, dropped, and times retried. Only with event_names=True.",
        _named,
    ),
    Family(
        "eventpipe_repaired", "counter", (),
        "Events in which a value that JSON cannot carry was replaced.",
        whole(lambda seen: seen.statistics.repaired),
    ),
    Family(
        "eventpipe_hook_errors", "counter", (),
        "Exceptions raised by before_send, by callbacks and their filters, and by the where of sinks.",
        whole(lambda seen: seen.statistics.hook_errors),
    ),
    Family(
        "eventpipe_slowest_hook_seconds", "gauge", (),
        "The longest that a call of a hook held up the loop.",
        whole(lambda seen: seen.statistics.slowest_hook),
    ),
    Family(
        "eventpipe_up", "gauge", (),
        "1 while the client takes events in, 0 once it was closed.",
        whole(lambda seen: seen.health.is_open),
    ),
    Family(
        "eventpipe_ready", "gauge", (),
        "1 while the client is open, has room, and no service of it crashed.",
        whole(lambda seen: seen.health.is_ready),
    ),
    Family(
        "eventpipe_crashed", "gauge", (),
        "Services that failed and were not started again.",
        whole(lambda seen: len(seen.health.crashed)),
    ),
)  # fmt: skip
