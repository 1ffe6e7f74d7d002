"""What the fake sinks share: they keep a record of what reached them and of what they accepted."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from typing import TYPE_CHECKING

from eventpipe.outcomes import OutcomeKind
from eventpipe.sinks.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpipe.contracts import Where
    from eventpipe.events import Batch
    from eventpipe.outcomes import Verdict


class RecordingSink(MemorySink):
    """Keeps what it accepted in ``batches``, ``events`` and ``uuids``, and every attempt beside it.

    Attributes:
        attempts: The batches that reached ``send()``, whatever became of them, oldest first; each is a copy, so that
            its ``attempt`` stays what it was.
        running: Calls of ``send()`` that have not ended.
        most_running: The highest that ``running`` ever was.
    """

    def __init__(self, *, where: Where | None = None, name: str | None = None) -> None:
        super().__init__(where=where, name=name)
        self.attempts: list[Batch] = []
        self.running = 0
        self.most_running = 0
        self._began: list[tuple[int, asyncio.Future[None]]] = []  # attempts asked for, and who waits for them

    async def reached(self, attempts: int = 1) -> None:
        """Wait until ``send()`` was called so many times since the sink was made.

        Cancellation:
            Safe; nothing is held.
        """
        if len(self.attempts) >= attempts:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._began.append((attempts, waiter))
        await waiter

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Record the attempt and answer it.

        Raises:
            ClosedError: ``aclose()`` was called before.
        """
        self._check_open()
        self.attempts.append(copy.copy(batch))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self._announce()
        try:
            verdicts = await self._answer(batch)
        finally:
            self.running -= 1
        if verdicts is None:
            self._keep(batch)
        else:
            self._keep_delivered(batch, verdicts)
        return verdicts

    async def _answer(self, batch: Batch) -> Sequence[Verdict] | None:
        """Accept ``batch`` by returning, refuse it by raising; what fakes differ in."""
        return None

    def _keep_delivered(self, batch: Batch, verdicts: Sequence[Verdict]) -> None:
        pairs = zip(batch.events, verdicts, strict=True)
        if events := tuple(event for event, verdict in pairs if verdict.kind is OutcomeKind.DELIVERED):
            self._keep(dataclasses.replace(batch, events=events))

    def _announce(self) -> None:
        for attempts, waiter in self._began:
            if attempts <= len(self.attempts) and not waiter.done():
                waiter.set_result(None)
        self._began = [entry for entry in self._began if not entry[1].done()]
