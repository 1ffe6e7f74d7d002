"""``MemorySink`` keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest_asyncio

from eventpipe.sinks import MemorySink
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import SinkRig
from tests.conformance.wires import QuietWire


class MemoryWire(QuietWire):
    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink

    @property
    def received(self) -> Sequence[str]:
        return self._sink.uuids


class TestMemorySink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        sink = MemorySink()
        yield SinkRig(sink, MemoryWire(sink), refuses=False, hangs=False)
        await sink.aclose()
