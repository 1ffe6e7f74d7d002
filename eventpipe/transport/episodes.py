"""One log line when events begin to be dropped for a reason, one when that is over, with their number."""

from __future__ import annotations

from collections.abc import Callable

from eventpipe.core.log import contained_logger
from eventpipe.outcomes import DropReason

logger = contained_logger("eventpipe")

# A reason that concerns single events (a poison event, an invalid one) has no natural end: its episode is over when it
# has been quiet for this long. A minute is what alerting rules usually look at.
QUIET = 60.0

_ENDED_BY_SUCCESS = frozenset({DropReason.UNAUTHORIZED, DropReason.MISCONFIGURED, DropReason.EXHAUSTED})


class _Episode:
    __slots__ = ("events", "last_at")

    def __init__(self, events: int, last_at: float) -> None:
        self.events = events
        self.last_at = last_at


class Episodes:
    """The running episodes of one sink, by reason."""

    def __init__(self, sink: str, monotonic: Callable[[], float]) -> None:
        self._sink = sink
        self._monotonic = monotonic
        self._running: dict[str, _Episode] = {}

    def dropped(self, reason: str, events: int, error: str | None) -> None:
        """Note a drop; the first of an episode is logged."""
        now = self._monotonic()
        episode = self._running.get(reason)
        if episode is not None and reason != DropReason.QUEUE_FULL and episode.last_at + QUIET <= now:
            self._end(reason)
            episode = None
        if episode is None:
            self._running[reason] = _Episode(events, now)
            because = f": {error}" if error else ""
            logger.error("sink %s: events are being dropped, reason %s%s", self._sink, reason, because)
        else:
            episode.events += events
            episode.last_at = now

    def delivered(self) -> None:
        """End the episodes that a success proves to be over."""
        if not self._running:
            return
        for reason in _ENDED_BY_SUCCESS & self._running.keys():
            self._end(reason)

    @property
    def is_queue_full(self) -> bool:
        """Whether events are being dropped because the queue is full."""
        return DropReason.QUEUE_FULL in self._running

    def has_room(self) -> None:
        """The queue is half empty: end the episode of a full one."""
        if self.is_queue_full:
            self._end(DropReason.QUEUE_FULL)

    def close(self) -> None:
        """End every episode."""
        for reason in list(self._running):
            self._end(reason)

    def _end(self, reason: str) -> None:
        episode = self._running.pop(reason)
        number = "1 event was" if episode.events == 1 else f"{episode.events} events were"
        logger.warning("sink %s: %s dropped, reason %s", self._sink, number, reason)
