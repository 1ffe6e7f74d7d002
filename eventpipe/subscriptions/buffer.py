"""What a subscriber has not read yet; decides and never waits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Literal, get_args

from eventpipe.outcomes import Outcome

SubscriptionOverflow = Literal["drop_newest", "drop_oldest", "disconnect"]
OVERFLOWS: Final[tuple[SubscriptionOverflow, ...]] = get_args(SubscriptionOverflow)

# For Sized, which looks at every event of an outcome: in C, a third of what a loop over them takes.
_DATA = attrgetter("data")
_EXTRA = attrgetter("extra")


class Sized:
    """An outcome, and the bytes that its events hold, which are counted when somebody asks: 0.06 µs an event.

    One is shared by all subscriptions.
    """

    __slots__ = ("_size", "outcome")

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._size: int | None = None

    @property
    def size(self) -> int:
        """Encoded bytes of its events, as the ledger counts them."""
        if self._size is None:
            events = self.outcome.captured
            if any(map(_EXTRA, events)):
                self._size = sum(event.held for event in events)
            else:
                self._size = sum(map(len, map(_DATA, events)))
        return self._size


@dataclass(frozen=True, slots=True)
class Gap:
    """What a subscriber missed between the item before it and the item after it.

    Attributes:
        outcomes: Outcomes missed, at least one.
        events: The events in them.
    """

    outcomes: int
    events: int


class _Loss:
    """A gap that still grows."""

    __slots__ = ("events", "outcomes")

    def __init__(self, outcomes: int, events: int) -> None:
        self.outcomes = outcomes
        self.events = events


class Buffer:
    """A line of outcomes, bounded in number and bytes, in which every loss stands where it happened.

    No two losses are neighbours, so that there are never more of them than outcomes, and one. An outcome that alone
    exceeds the bytes has room where no other is.

    Attributes:
        outcomes: Those in line.
        missed: Those lost so far, by lack of room or otherwise.
        is_disconnected: With ``"disconnect"``: room was lacking once, and everything since is lost.
    """

    def __init__(self, capacity: int, max_bytes: int, overflow: SubscriptionOverflow) -> None:
        """Make an empty line of at most ``capacity`` outcomes, whose events have at most ``max_bytes``."""
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._overflow = overflow
        self._line: deque[Sized | _Loss] = deque()
        self._bytes = 0
        self._alone: Sized | None = None  # came when no other was there, so that nobody had to ask how large it is
        self.outcomes = 0
        self.missed = 0
        self.is_disconnected = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._line

    def __len__(self) -> int:
        """How many items there are to take, outcomes and gaps."""
        return len(self._line)

    def add(self, sized: Sized) -> bool:
        """Put an outcome at the end of the line, if the overflow lets it in.

        Returns:
            Whether there was room for it.
        """
        has_room = self._fits(sized) and not self.is_disconnected
        if not has_room and self._overflow != "drop_oldest":
            self.is_disconnected = self._overflow == "disconnect"
            self.miss(sized.outcome)
            return False
        while not self._fits(sized):
            self._lose_oldest()
        if self.outcomes:
            self._bytes += sized.size
        else:
            self._alone = sized
        self._line.append(sized)
        self.outcomes += 1
        return has_room

    def miss(self, outcome: Outcome) -> None:
        """Count an outcome as lost after all that is in line."""
        self.missed += 1
        last = self._line[-1] if self._line else None
        if isinstance(last, _Loss):
            last.outcomes += 1
            last.events += len(outcome.captured)
        else:
            self._line.append(_Loss(1, len(outcome.captured)))

    def take(self) -> Outcome | Gap | None:
        """The next in line, or ``None``."""
        if not self._line:
            return None
        item = self._line.popleft()
        if isinstance(item, _Loss):
            return Gap(item.outcomes, item.events)
        self.outcomes -= 1
        if item is self._alone:
            self._alone = None
        else:
            self._bytes -= item.size
        return item.outcome

    def _fits(self, sized: Sized) -> bool:
        if not self.outcomes:
            return True
        if self._alone is not None:
            self._bytes += self._alone.size
            self._alone = None
        return self.outcomes < self._capacity and self._bytes + sized.size <= self._max_bytes

    def _lose_oldest(self) -> None:
        """Lose the first outcome, together with what was lost before it and after it."""
        lost = Gap(0, 0)
        outcome = self.take()
        if isinstance(outcome, Gap):
            lost, outcome = outcome, self.take()
        assert isinstance(outcome, Outcome)  # noqa: S101  # there is one, and losses are no neighbours
        self.missed += 1
        if not self._line or not isinstance(self._line[0], _Loss):
            self._line.appendleft(_Loss(0, 0))
        first = self._line[0]
        assert isinstance(first, _Loss)  # noqa: S101  # it was put there
        first.outcomes += lost.outcomes + 1
        first.events += lost.events + len(outcome.captured)
