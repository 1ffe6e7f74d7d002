"""Providers of OpenTelemetry's SDK that keep everything in memory, and what their numbers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from opentelemetry.sdk.metrics import Counter as SdkCounter
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics import (
    MeterProvider,
    ObservableCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from eventpipe import AsyncClient, Statistics
from eventpipe.integrations.opentelemetry import Instrumentation, instrument
from eventpipe.integrations.opentelemetry_measures import Value

Attributes = frozenset[tuple[str, object]]
COUNTERS: list[type] = [ObservableCounter, SdkCounter, SdkHistogram]
DELTA = dict.fromkeys(COUNTERS, AggregationTemporality.DELTA)


@dataclass
class Numbers:
    """What one collection found."""

    metrics: dict[str, Metric] = field(default_factory=dict)

    def points(self, name: str) -> list[object]:
        """The points of one instrument, none where nothing was recorded."""
        return list(self.metrics[name].data.data_points) if name in self.metrics else []

    def values(self, name: str) -> dict[Attributes, float]:
        """The values of one instrument, by attributes."""
        return {
            frozenset((point.attributes or {}).items()): point.value
            for point in self.points(name)
            if isinstance(point, NumberDataPoint)
        }

    def sum(self, name: str, **attributes: str) -> float:
        """The sum over all points of an instrument that have these attributes."""
        wanted = set(attributes.items())
        return sum(value for key, value in self.values(name).items() if wanted <= key)

    def histogram(self, name: str) -> dict[Attributes, int]:
        """How often a histogram was recorded, by attributes."""
        return {
            frozenset((point.attributes or {}).items()): point.count
            for point in self.points(name)
            if isinstance(point, HistogramDataPoint)
        }

    def all(self) -> Iterator[float]:
        """Every number there is."""
        for name in self.metrics:
            yield from self.values(name).values()

    def adds_up(self, sink: str | None = None) -> bool:
        """Whether the accounting identity holds in the exported numbers alone, of one sink or over all."""
        at = {} if sink is None else {"sink": sink}
        came = self.sum("eventpipe.captured", **at) + self.sum("eventpipe.recovered", **at)
        left = self.sum("eventpipe.events", **at)
        held = self.sum("eventpipe.spooled", **at) + self.sum("eventpipe.pending", **at)
        return came == left + held

    def as_statistics(self, sink: str) -> dict[str, object]:
        """The exported numbers of one sink under the names that ``Statistics`` has for them."""
        at = {"sink": sink}
        reasons: Counter[str] = Counter()
        for key, value in self.values("eventpipe.events").items():
            attributes = dict(key)
            if attributes["sink"] == sink and attributes["outcome"] == "dropped":
                reasons[str(attributes["reason"])] += int(value)
        places = ("waiting_room", "queued", "buffered", "in_flight", "waiting_retry")
        return {
            **{place: self.sum("eventpipe.pending", place=place, **at) for place in places},
            "captured": self.sum("eventpipe.captured", **at),
            "recovered": self.sum("eventpipe.recovered", **at),
            "delivered": self.sum("eventpipe.events", outcome="delivered", **at),
            "dropped": self.sum("eventpipe.events", outcome="dropped", **at),
            "dropped_by_reason": {reason: events for reason, events in reasons.items() if events},
            "spooled": self.sum("eventpipe.spooled", **at),
            "pending": self.sum("eventpipe.pending", **at),
            "attempts": self.sum("eventpipe.attempts", **at),
            "retries": self.sum("eventpipe.retries", **at),
            "queue_bytes": self.sum("eventpipe.queue.bytes", **at),
            "retried": self.sum("eventpipe.retried_events", **at),
            "interrupted": self.sum("eventpipe.interrupted_events", **at),
        }

    def agree_with(self, statistics: Statistics) -> None:
        """Fail unless every number of every sink is that of ``statistics``."""
        for sink, counted in statistics.by_sink.items():
            exported = self.as_statistics(sink)
            assert exported == {name: getattr(counted, name) for name in exported}


class Rig:
    """One meter provider and one tracer provider, and what they got."""

    def __init__(self, *, is_delta: bool = False, processor: SpanProcessor | None = None) -> None:
        self.reader = InMemoryMetricReader(preferred_temporality=DELTA if is_delta else None)
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(processor or SimpleSpanProcessor(self.exporter))

    @property
    def tracer(self) -> Tracer:
        """For the spans of a test's own."""
        return self.tracers.get_tracer("test")

    def instrument(
        self, client: AsyncClient, attributes: dict[str, Value] | None = None, *, event_names: bool = False
    ) -> Instrumentation:
        """Instrument ``client`` with both providers."""
        return instrument(
            client,
            meter_provider=self.meters,
            tracer_provider=self.tracers,
            attributes=attributes,
            event_names=event_names,
        )

    def collect(self) -> Numbers:
        """Collect once."""
        data = self.reader.get_metrics_data()
        return Numbers(
            {
                metric.name: metric
                for resource in (data.resource_metrics if data is not None else ())
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
        )

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Spans that have ended, oldest first; only those of ``name`` if it is given."""
        return [span for span in self.exporter.get_finished_spans() if name in (None, span.name)]

    def sends(self) -> list[ReadableSpan]:
        """Spans of attempts, oldest first."""
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith("send ")]


def links_of(span: ReadableSpan) -> list[int]:
    """The ids of the spans that it links to, in order."""
    return [link.context.span_id for link in span.links]
