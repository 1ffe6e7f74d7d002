"""OpenTelemetry: what becomes of events as metrics, attempts as spans with links to where their events were captured.

Needs the extra ``otel``: ``pip install 'eventpipe[otel]'``, and an SDK to see anything of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from eventpipe.client import AsyncClient

try:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider, get_tracer
except ImportError as error:
    raise ImportError(
        "eventpipe.integrations.opentelemetry needs opentelemetry-api: pip install 'eventpipe[otel]'"
    ) from error

from eventpipe.codecs.base import library_version
from eventpipe.integrations.families import FAMILIES
from eventpipe.integrations.opentelemetry_ids import add_trace_ids, have_scopes_say
from eventpipe.integrations.opentelemetry_logs import Bridges, SendingFilter
from eventpipe.integrations.opentelemetry_measures import Value
from eventpipe.integrations.opentelemetry_metrics import Exports, Source
from eventpipe.integrations.opentelemetry_spans import Tracing

__all__ = ["Instrumentation", "SendingFilter", "add_trace_ids", "instrument"]

# Attributes that the exported numbers have already.
_TAKEN = ("error.type", *{name for family in FAMILIES for name in family.labels})


class Instrumentation:
    """What ``instrument()`` put on a client; as a context manager it is taken away at the end."""

    def __init__(
        self, client: AsyncClient, tracing: Tracing, exports: Exports, source: Source, bridges: Bridges
    ) -> None:
        self._client = client
        self._tracing = tracing
        self._exports = exports
        self._source = source
        self._bridges = bridges
        self._is_over = False

    @property
    def errors(self) -> int:
        """Failures of OpenTelemetry, of a tracer, an exporter or a span of somebody's own; they cost no event."""
        return self._tracing.errors + self._source.errors

    def close(self) -> None:
        """Take everything away; may come twice.

        Attempts that run are still seen to their end. Counters of the client stay in what its meter provider exports,
        as they are now, because a counter may not go back; levels go.
        """
        if self._is_over:
            return
        self._is_over = True
        if self._client._instrument is self._tracing:
            self._client.instrument(None)
        self._bridges.release()
        self._exports.remove(self._source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "over" if self._is_over else "on"
        return f"<Instrumentation of {self._client!r}, {state}, {self.errors} errors>"


def instrument(
    client: AsyncClient,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    attributes: Mapping[str, Value] | None = None,
    event_names: bool = False,
) -> Instrumentation:
    """Let OpenTelemetry see what becomes of a client's events, and each attempt to send them.

    From the first call on, each scope says the trace and span ids of the span that it is entered in.

    The client stays in memory until ``close()``, so that its last numbers can be exported after its end.

    Args:
        client: The client, running or not.
        meter_provider: Where metrics go. ``None`` means the global one; ``NoOpMeterProvider()`` means nowhere.
        tracer_provider: Where spans go. ``None`` means the global one; ``NoOpTracerProvider()`` means nowhere.
        attributes: Added to every number and span. Clients of one meter provider whose attributes are the same are
            exported as one, their numbers summed. ``None`` means none.
        event_names: Whether numbers by event name are exported too, for at most 100 names. They are not by default:
            who puts ids into names would have them in the metrics.

    Raises:
        ValueError: The client has an instrument already, or ``attributes`` cannot be used.
        TypeError: The client is none.
    """
    if not isinstance(client, AsyncClient):
        raise TypeError(f"client must be an AsyncClient, not {client!r}")
    shared = _checked({} if attributes is None else attributes)
    have_scopes_say()
    exports = Exports.on(meter_provider)
    tracer = get_tracer("eventpipe", library_version(), tracer_provider)
    bridges = Bridges()
    attempts = exports.attempts(shared)
    tracing = Tracing(tracer, attempts, bridges)
    client.instrument(tracing)
    source = Source(client, shared, attempts, lambda: tracing.errors, event_names=event_names)
    exports.add(source)
    return Instrumentation(client, tracing, exports, source, bridges)


def _checked(attributes: Mapping[str, Value]) -> dict[str, Value]:
    if not isinstance(attributes, Mapping):
        raise TypeError(f"attributes must be a mapping of names to values, not {attributes!r}")
    for name, value in attributes.items():
        if not _is_name(name):
            raise ValueError(f"attributes must have names that are not empty, and none that numbers have, not {name!r}")
        if not _is_value(value):
            raise ValueError(f"attributes must be texts, booleans or finite numbers, and {name!r} is not")
    return dict(attributes)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", *_TAKEN) and not name.startswith(("messaging.", "eventpipe."))


def _is_value(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
