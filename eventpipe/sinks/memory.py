"""A sink that keeps what it is sent."""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING

from eventpipe.sinks.base import BaseSink, check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpipe.contracts import Where
    from eventpipe.events import Batch, CapturedEvent
    from eventpipe.outcomes import Verdict


class MemorySink(BaseSink):
    """Keeps every batch in memory, for tests, for notebooks, and for looking at what the last events were.

    What it holds stays readable after ``aclose()``.

    Args:
        max_events: Events held; the oldest make room for new ones. ``None`` means every event, without a bound.
        where: See ``BaseSink``.
        name: See ``BaseSink``.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(self, max_events: int | None = None, *, where: Where | None = None, name: str | None = None) -> None:
        check_count("max_events", max_events, unit="events")
        super().__init__(where=where, name=name)
        self._max_events = max_events
        self._batches: deque[Batch] = deque()
        self._kept = 0  # events in _batches

    @property
    def batches(self) -> list[Batch]:
        """The batches as they were sent, oldest first; with ``max_events`` those that have an event in ``events``."""
        return list(self._batches)

    @property
    def events(self) -> list[CapturedEvent]:
        """The events, in the order in which they were sent; with ``max_events`` the last ones."""
        events = [event for batch in self._batches for event in batch.events]
        return events if self._max_events is None else events[-self._max_events :]

    @property
    def uuids(self) -> list[str]:
        """The ids of ``events``, in the same order."""
        return [event.uuid for event in self.events]

    def clear(self) -> None:
        """Forget everything held."""
        self._batches.clear()
        self._kept = 0

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Keep ``batch``.

        Raises:
            ClosedError: ``aclose()`` was called before.

        Cancellation:
            Does not suspend.
        """
        self._check_open()
        self._keep(batch)
        return None

    def _keep(self, batch: Batch) -> None:
        self._batches.append(copy.copy(batch))  # a copy: the attempt of the original counts on
        self._kept += len(batch.events)
        if self._max_events is None:
            return
        while self._kept - len(self._batches[0].events) >= self._max_events:
            self._kept -= len(self._batches.popleft().events)
