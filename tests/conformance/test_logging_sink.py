"""``LoggingSink`` keeps the contract; its far end is a handler that reads the lines back."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence

import pytest_asyncio

from eventpipe.sinks import LoggingSink
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import SinkRig
from tests.conformance.wires import QuietWire


class LoggingWire(QuietWire, logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._received: list[str] = []

    @property
    def received(self) -> Sequence[str]:
        return self._received

    def emit(self, record: logging.LogRecord) -> None:
        self._received.append(json.loads(record.getMessage())["uuid"])


class TestLoggingSink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        logger = logging.Logger("test.events")
        wire = LoggingWire()
        logger.addHandler(wire)
        sink = LoggingSink(logger)
        yield SinkRig(sink, wire, refuses=False, hangs=False)
        await sink.aclose()
