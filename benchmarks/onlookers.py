"""Who looks on while events are sent: subscribers of outcomes, and exporters of metrics and traces."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from eventpipe import AsyncClient, OutcomeKind

EXPORT_EVERY = 1.0  # seconds of CPU; Prometheus commonly scrapes every 15 of the wall, OpenTelemetry exports every 60


async def attach(client: AsyncClient, names: Sequence[str], stack: AsyncExitStack) -> None:
    """Have them look on until ``stack`` is closed; ``names`` are keys of ``ONLOOKERS``."""
    for name in names:
        await ONLOOKERS[name](client, stack)


async def _read(client: AsyncClient, stack: AsyncExitStack) -> None:
    """A subscriber that reads every outcome as soon as it can."""
    subscription = client.subscribe(*OutcomeKind)

    async def read() -> None:
        async for _ in subscription:
            pass

    task = asyncio.create_task(read())

    async def end() -> None:
        subscription.close()
        await task

    stack.push_async_callback(end)


async def _ignore(client: AsyncClient, stack: AsyncExitStack) -> None:
    """A subscriber that never reads, and has been full since the first outcome."""
    stack.callback(client.subscribe(*OutcomeKind, buffer=1).close)


async def _scrape(client: AsyncClient, stack: AsyncExitStack) -> None:
    """Prometheus, which asks for everything once a second."""
    from prometheus_client import CollectorRegistry, generate_latest

    from eventpipe.integrations.prometheus import PrometheusMetrics

    registry = CollectorRegistry()
    stack.callback(PrometheusMetrics(client, registry=registry).close)
    _repeat(lambda: generate_latest(registry), stack)


async def _telemetry(client: AsyncClient, stack: AsyncExitStack) -> None:
    """OpenTelemetry with its own SDK: metrics collected once a second, a span for each attempt."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from eventpipe.integrations.opentelemetry import instrument

    reader = InMemoryMetricReader()
    meters, tracers = MeterProvider([reader]), TracerProvider()
    exporter = InMemorySpanExporter()
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    instrumentation = instrument(client, meter_provider=meters, tracer_provider=tracers)
    stack.callback(tracers.shutdown)
    stack.callback(meters.shutdown)
    stack.callback(instrumentation.close)

    def export() -> None:
        reader.get_metrics_data()
        exporter.clear()

    _repeat(export, stack)


async def _span(client: AsyncClient, stack: AsyncExitStack) -> None:
    """Every capture inside one span, as in a handler that is traced."""
    from opentelemetry import context, trace
    from opentelemetry.sdk.trace import TracerProvider

    span = TracerProvider().get_tracer("benchmarks").start_span("handler")
    context.attach(trace.set_span_in_context(span))
    stack.callback(span.end)


def _repeat(action: Callable[[], object], stack: AsyncExitStack) -> None:
    async def repeat() -> None:
        worked = time.process_time()
        while True:
            await asyncio.sleep(EXPORT_EVERY / 100)
            # A second of work: between its turns a subject stands still, and a clock on the wall would not.
            if time.process_time() - worked >= EXPORT_EVERY:
                worked = time.process_time()
                action()

    task = asyncio.create_task(repeat())

    async def end() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


ONLOOKERS = {"reader": _read, "sleeper": _ignore, "prometheus": _scrape, "opentelemetry": _telemetry, "span": _span}
