"""A client's numbers in a registry of prometheus-client; with the extra ``prometheus``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from threading import Lock
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

from eventpipe.client import AsyncClient
from eventpipe.integrations.families import FAMILIES, Family, Seen, label
from eventpipe.measures import Histogram

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.utils import floatToGoString
except ImportError as error:
    raise ImportError("Prometheus metrics need prometheus-client: pip install 'eventpipe[prometheus]'") from error


class PrometheusMetrics:
    """Shows a client in a registry, from its making until ``close()``; a context manager as well.

    A scrape reads each client once, at one moment of its own loop, so that the accounting identity holds in what is
    scraped. Nothing is counted twice and nothing is done between scrapes.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        name: str = "default",
        registry: CollectorRegistry = REGISTRY,
        event_names: bool = False,
    ) -> None:
        """Add ``client`` to ``registry``.

        Args:
            client: What to show; it may be shown before it starts and after it was closed.
            name: The label ``client``, which tells several clients in one registry apart.
            registry: Where to be scraped from.
            event_names: Whether to count by event name as well: at most 100 names a client, then ``"(others)"``.

        Raises:
            ValueError: Another client has that name in that registry, or somebody else has one of the metrics.
            TypeError: It is no client, no name or no registry.
        """
        if not isinstance(client, AsyncClient):
            raise TypeError(f"client must be an AsyncClient, not {client!r}")
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, not {name!r}")
        if not isinstance(registry, CollectorRegistry):
            raise TypeError(f"registry must be a CollectorRegistry of prometheus-client, not {registry!r}")
        self._client = client
        self._name = label(name)
        self._registry = registry
        self._event_names = event_names
        with _lock:
            collector = _collectors.get(registry) or _Collector()
            if self._name in collector.shown:
                raise ValueError(
                    f"name must be another than {self._name!r}, by which this registry shows a client already; "
                    f"close() that one, or give each a name"
                )
            if not collector.shown:
                registry.register(collector)
                _collectors[registry] = collector
            collector.shown = {**collector.shown, self._name: self}

    def close(self) -> None:
        """Take the client out of the registry. May come twice."""
        with _lock:
            collector = _collectors.get(self._registry)
            if collector is None:
                return
            collector.shown = {name: one for name, one in collector.shown.items() if one is not self}
            if not collector.shown:
                self._registry.unregister(collector)
                del _collectors[self._registry]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PrometheusMetrics {self._name!r} of {self._client!r}>"

    def seen(self) -> Seen:
        """All that a scrape shows, of one moment."""
        return Seen.of(self._client, event_names=self._event_names)


class _Collector:
    """All clients of one registry: the samples of a metric have to stand together there.

    Attributes:
        shown: The clients by name; replaced, never changed, as scrapes go on in threads of their own.
    """

    def __init__(self) -> None:
        self.shown: dict[str, PrometheusMetrics] = {}

    def describe(self) -> Iterator[Metric]:
        """Say which names are taken, without a look at any client."""
        for family in FAMILIES:
            yield _metric(family)

    def collect(self) -> Iterator[Metric]:
        """Read every client once, then tell of each metric."""
        clients = [(name, one.seen()) for name, one in self.shown.items()]
        for family in FAMILIES:
            metric = _metric(family)
            for name, seen in clients:
                for labels, value in family.samples(seen):
                    if isinstance(metric, HistogramMetricFamily):
                        assert isinstance(value, Histogram)  # noqa: S101  # as the family says
                        metric.add_metric((name, *labels), _buckets(value), value.sum)
                    else:
                        assert not isinstance(value, Histogram)  # noqa: S101  # as well
                        metric.add_metric((name, *labels), value)
            yield metric


_collectors: WeakKeyDictionary[CollectorRegistry, _Collector] = WeakKeyDictionary()
_lock = Lock()


def _metric(family: Family) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    labels = ("client", *family.labels)
    if family.kind == "histogram":
        return HistogramMetricFamily(family.name, family.meaning, labels=labels)
    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return made(family.name, family.meaning, labels=labels)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """The numbers at or below each bound, as Prometheus has them."""
    bounds = (*map(floatToGoString, histogram.bounds), "+Inf")
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
