"""One log line when something begins to fail, one when that is over, with the number: never a line per failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from eventpipe.core.log import contained_logger
from eventpipe.outcomes import DropReason

logger = contained_logger("eventpipe")

# A reason that concerns single events (a poison event, an invalid one) has no natural end: its episode is over when it
# has been quiet for this long. A minute is what alerting rules usually look at.
QUIET = 60.0

# Between two lines of one class: a far end that works and fails by turns would write one for each turn.
GAP = 10.0

MAX_CLASSES = 100  # a sink may make up a reason for every attempt; those beyond share one
OTHERS = "(others)"

_ENDED_BY_SUCCESS = frozenset({DropReason.UNAUTHORIZED, DropReason.MISCONFIGURED, DropReason.EXHAUSTED})

# Wanted by whoever set up the hook that says so, of a large part of all events perhaps: no failure, and no line.
_WANTED = frozenset({DropReason.SAMPLED, DropReason.NOT_ALLOWED})

_Kind = Literal["drop", "attempt"]


class _Episode:
    """What is known of one class of failures.

    Attributes:
        number: Events dropped, or attempts that failed, since it began.
        last_at: When it last failed.
        line_at: When the last line about this class was written.
        is_running: Whether it is not over.
        is_said: Whether a line told of its beginning.
    """

    __slots__ = ("is_running", "is_said", "last_at", "line_at", "number")

    def __init__(self) -> None:
        self.number = 0
        self.last_at = self.line_at = float("-inf")
        self.is_running = self.is_said = False


class Episodes:
    """The episodes of one sink: of drops by reason, and of attempts that failed with nothing lost by theirs."""

    def __init__(self, sink: str, monotonic: Callable[[], float]) -> None:
        self._sink = sink
        self._monotonic = monotonic
        self._classes: dict[tuple[_Kind, str], _Episode] = {}
        self._running = 0

    def dropped(self, reason: str, events: int, error: str | None) -> None:
        """Note a drop; the first of an episode is logged, unless the reason says that it was wanted."""
        if reason not in _WANTED:
            self._note("drop", reason, events, error)

    def failed(self, reason: str, error: str | None) -> None:
        """Note an attempt that failed and lost nothing; the first of an episode is logged."""
        self._note("attempt", reason, 1, error)

    def delivered(self) -> None:
        """End the episodes that a success proves to be over."""
        if not self._running:
            return
        now = self._monotonic()
        for (kind, reason), episode in self._classes.items():
            is_over = kind == "attempt" or reason in _ENDED_BY_SUCCESS
            # Before that it goes on, and ends with a later success: its line would be one too many.
            if is_over and episode.is_running and episode.line_at + GAP <= now:
                self._end(kind, reason, episode, now)

    @property
    def is_queue_full(self) -> bool:
        """Whether events are being dropped because the queue is full."""
        full = self._classes.get(("drop", DropReason.QUEUE_FULL))
        return full is not None and full.is_running

    def has_room(self) -> None:
        """The queue is half empty: end the episode of a full one."""
        full = self._classes.get(("drop", DropReason.QUEUE_FULL))
        if full is not None and full.is_running:
            self._end("drop", DropReason.QUEUE_FULL, full, self._monotonic())

    def close(self) -> None:
        """End every episode, with what has not been told of it."""
        now = self._monotonic()
        for (kind, reason), episode in self._classes.items():
            if episode.is_running:
                self._end(kind, reason, episode, now)

    def _note(self, kind: _Kind, reason: str, number: int, error: str | None) -> None:
        now = self._monotonic()
        key = (kind, reason)
        if key not in self._classes and len(self._classes) >= MAX_CLASSES:
            key = (kind, OTHERS)
        episode = self._classes.setdefault(key, _Episode())
        before = 0
        if episode.is_running and episode.last_at + QUIET <= now and reason != DropReason.QUEUE_FULL:
            before = episode.number
            self._running -= 1
            episode.is_running = False
        if not episode.is_running:
            self._running += 1
            episode.is_running, episode.is_said, episode.number = True, False, 0
        episode.number += number
        episode.last_at = now
        if not episode.is_said and episode.line_at + GAP <= now:
            episode.is_said, episode.line_at = True, now
            self._say_begun(*key, error, before)

    def _say_begun(self, kind: _Kind, reason: str, error: str | None, before: int) -> None:
        because = f": {error}" if error else ""
        because += f" ({_counted(before, kind)} before)" if before else ""
        if kind == "drop":
            logger.error("sink %s: events are being dropped, reason %s%s", self._sink, reason, because)
        else:
            logger.warning("sink %s: attempts fail and are repeated, reason %s%s", self._sink, reason, because)

    def _end(self, kind: _Kind, reason: str, episode: _Episode, now: float) -> None:
        episode.is_running, episode.line_at = False, now
        self._running -= 1
        number = _counted(episode.number, kind)
        if kind == "drop":
            logger.warning("sink %s: %s dropped, reason %s", self._sink, number, reason)
        else:
            logger.warning("sink %s: %s failed, reason %s", self._sink, number, reason)


def _counted(number: int, kind: _Kind) -> str:
    if kind == "drop":
        return "1 event was" if number == 1 else f"{number} events were"
    return "1 attempt" if number == 1 else f"{number} attempts"
