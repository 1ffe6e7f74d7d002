"""The fakes keep the contract that they stand in for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest_asyncio

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.outcomes import DELIVERED, OutcomeKind, Verdict
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import Refusal, SinkRig
from eventpipe.testing.sinks import FlakySink, GatedSink
from tests.conformance.wires import QuietWire


class GateWire:
    """Steers a ``GatedSink`` as a test does."""

    def __init__(self, sink: GatedSink) -> None:
        self._sink = sink
        sink.release()

    @property
    def received(self) -> Sequence[str]:
        return self._sink.uuids

    def accept(self) -> None:
        self._sink.release()

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        match kind:
            case "transient":
                self._sink.release(error=TransientSinkError(retry_after=retry_after))
            case "permanent":
                self._sink.release(error=PermanentSinkError())
            case "partial":
                self._sink.release(verdicts=[DELIVERED, Verdict(OutcomeKind.DROPPED), DELIVERED, DELIVERED])

    def hang(self) -> None:
        self._sink.hold()

    async def reached(self) -> None:
        await self._sink.reached(1)

    async def left(self) -> None:
        assert self._sink.running == 0


class TestGatedSink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        sink = GatedSink()
        yield SinkRig(sink, GateWire(sink), partial=True)
        await sink.aclose()


class FlakyWire(QuietWire):
    """At a failure rate of 0 it accepts, in its own time."""

    def __init__(self, sink: FlakySink) -> None:
        self._sink = sink

    @property
    def received(self) -> Sequence[str]:
        return self._sink.uuids


class TestFlakySink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        sink = FlakySink(seed=1, failure_rate=0.0, latency=(0.0, 0.01))
        yield SinkRig(sink, FlakyWire(sink), refuses=False, hangs=False)
        await sink.aclose()
