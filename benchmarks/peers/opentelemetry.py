"""OpenTelemetry logs over OTLP/HTTP: ``emit()`` makes a record, a thread of the batch processor exports."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from benchmarks.peers import ROOMY, arguments, origin
from benchmarks.subject import Setup, Subject

# Room is what it lacks: by default 2 048 records. Large batches send twice as much to the slow far end.
BEST = {
    "max_queue_size": ROOMY,
    "max_export_batch_size": 4_096,
}
NAMES = {"batch_events": "max_export_batch_size", "queue_events": "max_queue_size"}


class Driver:
    """A logger as a subject; what finds the queue full pushes the oldest record out."""

    is_async = False

    def __init__(self, provider: LoggerProvider) -> None:
        self._provider = provider
        self._emit = provider.get_logger("benchmarks").emit
        self._numbers = count(time.time_ns())  # records have no id; no two processes give the same numbers

    def capture(self, event: str, *, distinct_id: str, properties: dict[str, Any]) -> None:  # Any: JSON
        self._emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            event_name=event,
            attributes={**properties, "user.id": distinct_id, "number": next(self._numbers)},
        )

    async def drain(self) -> None:
        self._provider.force_flush()

    async def close(self) -> None:
        self._provider.shutdown()


async def open(setup: Setup) -> Subject:
    """A logger whose records go to the far end."""
    provider = LoggerProvider()
    exporter = OTLPLogExporter(endpoint=f"{origin(setup.url)}/v1/logs")
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, **arguments(setup, BEST, NAMES)))
    return Driver(provider)
