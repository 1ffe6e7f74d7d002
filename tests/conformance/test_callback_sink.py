"""``CallbackSink`` keeps the contract, whatever its function does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from eventpipe.sinks import CallbackSink
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import SinkRig
from tests.conformance.wires import FunctionWire


class TestCallbackSink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        wire = FunctionWire()
        sink = CallbackSink(wire.take)
        yield SinkRig(sink, wire, partial=True)
        await sink.aclose()
