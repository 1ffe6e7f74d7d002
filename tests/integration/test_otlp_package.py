"""The real OTLP/HTTP exporter of OpenTelemetry delivers logs to the collector, so that it can stand in for one."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import TraceFlags

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Fail, Faults, Outage
from tests.integration.test_posthog_package import OneRequestLater

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

NUMBER = 250
TIMESTAMP = 1769850300123456789
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


def stored(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (directory / "events.ndjson").read_bytes().splitlines()]


def emit(url: str, records: list[LogRecord], compression: Compression = Compression.NoCompression) -> bool:
    """Have the real exporter send some records; whether it says that all of them arrived."""
    session = requests.Session()
    session.trust_env = False  # loopback, and no proxy
    exporter = OTLPLogExporter(f"{url}/v1/logs", compression=compression, session=session)
    provider = LoggerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("tests", "1.0")
    for record in records:
        logger.emit(record)
    is_flushed = provider.force_flush()
    provider.shutdown()
    session.close()
    gc.collect()  # what it keeps of a failed request holds a connection
    return is_flushed


@pytest.mark.parametrize("compression", list(Compression), ids=[coding.value for coding in Compression])
async def test_every_record_arrives_once(tmp_path: Path, compression: Compression) -> None:
    """What the exporter was given is stored, with the attributes of the record and of where it comes from."""
    records = [LogRecord(timestamp=TIMESTAMP, event_name="paid", attributes={"n": n}) for n in range(NUMBER)]

    async with Collector(store=tmp_path) as collector:
        assert await asyncio.to_thread(emit, collector.url, records, compression)

    events = stored(tmp_path)
    assert [event["properties"]["n"] for event in events] == list(range(NUMBER))
    assert events[0]["timestamp"] == "2026-01-31T09:05:00.123456Z"
    assert {event["properties"]["resource.service.name"] for event in events} == {"shop"}
    assert collector.statistics().names == {"paid": NUMBER}
    assert collector.statistics().formats == {"otlp": NUMBER}
    assert collector.statistics().refused == 0


async def test_every_part_of_a_record_is_stored(tmp_path: Path) -> None:
    """Body, severity, attributes of every kind, and the span that it belongs to."""
    attributes: dict[str, Any] = {"text": "a", "yes": True, "number": 2**53 + 1, "fraction": 0.5, "several": ["a", "b"]}
    record = LogRecord(
        timestamp=TIMESTAMP,
        trace_id=TRACE,
        span_id=SPAN,
        trace_flags=TraceFlags(1),
        severity_text="ERROR",
        severity_number=SeverityNumber.ERROR,
        body={"why": ["no", "money"]},
        attributes=attributes,
    )

    async with Collector(store=tmp_path) as collector:
        assert await asyncio.to_thread(emit, collector.url, [record])

    [event] = stored(tmp_path)
    assert (event["event"], event["distinct_id"]) == ("log", None)
    assert event["properties"] == {
        **attributes,
        "body": {"why": ["no", "money"]},
        "severity_text": "ERROR",
        "severity_number": 17,
        "resource.service.name": "shop",
    }
    assert event["headers"] == {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


async def test_exporter_tries_again_after_a_failure(tmp_path: Path) -> None:
    """A 503 on purpose is what it takes for one: it sends the batch again, and that arrives once."""
    faults = Faults(outage=Outage(0.0, 1.0))
    async with Collector(store=tmp_path, faults=faults, clock=OneRequestLater()) as collector:
        assert await asyncio.to_thread(emit, collector.url, [LogRecord(event_name="paid", timestamp=TIMESTAMP)])

    assert (collector.events, collector.statistics().failed, collector.statistics().requests) == (1, 1, 2)


async def test_exporter_gives_up_at_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """A 400 is not tried again, and the exporter's log says so."""
    async with Collector(faults=Faults(fail=Fail(400, 1.0))) as collector:
        await asyncio.to_thread(emit, collector.url, [LogRecord(event_name="paid", timestamp=TIMESTAMP)])

    assert (collector.events, collector.statistics().requests) == (0, 1)
    assert "400" in caplog.text


async def test_exporter_takes_a_partial_success_for_one() -> None:
    """Rejected records are not sent again: the protocol forbids it."""
    async with Collector(faults=Rejecting()) as collector:
        records = [LogRecord(event_name="paid", timestamp=TIMESTAMP, attributes={"n": n}) for n in range(3)]
        assert await asyncio.to_thread(emit, collector.url, records)

    assert (collector.events, collector.statistics().requests) == (2, 1)


class Rejecting(Faults):
    """Drops the second event."""

    def __init__(self) -> None:
        super().__init__()
        self._words = ["ok", "drop", "ok"]

    def verdict(self) -> str:
        return self._words.pop(0)
