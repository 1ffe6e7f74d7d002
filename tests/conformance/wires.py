"""Far ends for the contract that have no protocol of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import DELIVERED, OutcomeKind, Verdict
from eventpipe.testing.sink_rig import Refusal


class QuietWire:
    """A far end that can only accept; what it received is read off the sink."""

    @property
    def received(self) -> Sequence[str]:
        raise AssertionError("read off the sink by whoever derives from this")

    def accept(self) -> None:
        """It always does."""

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        raise AssertionError("the rig says refuses=False")

    def hang(self) -> None:
        raise AssertionError("the rig says hangs=False")

    async def reached(self) -> None:
        raise AssertionError("the rig says hangs=False")

    async def left(self) -> None:
        """It has no connections."""


class FunctionWire(QuietWire):
    """A far end that is an async function of a batch."""

    def __init__(self) -> None:
        self._received: list[str] = []
        self._refusal: Refusal | None = None
        self._retry_after: float | None = None
        self._hangs = False
        self._reached = asyncio.Event()
        self.running = 0

    @property
    def received(self) -> Sequence[str]:
        return self._received

    def accept(self) -> None:
        self._refusal, self._hangs = None, False

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        self._refusal, self._retry_after = kind, retry_after

    def hang(self) -> None:
        self._hangs = True

    async def reached(self) -> None:
        await self._reached.wait()

    async def left(self) -> None:
        assert self.running == 0

    async def take(self, batch: Batch) -> list[Verdict] | None:
        self.running += 1
        try:
            await asyncio.sleep(0)
            if self._hangs:
                self._reached.set()
                await asyncio.Event().wait()
            return self._answer(batch)
        finally:
            self.running -= 1

    def _answer(self, batch: Batch) -> list[Verdict] | None:
        ids = [event.uuid for event in batch.events]
        if self._refusal == "transient":
            raise TransientSinkError(retry_after=self._retry_after)
        if self._refusal == "permanent":
            raise PermanentSinkError()
        if self._refusal == "partial":
            self._received += [ids[0], *ids[2:]]
            return [DELIVERED, Verdict(OutcomeKind.DROPPED), *[DELIVERED] * len(ids[2:])]
        self._received += ids
        return None
