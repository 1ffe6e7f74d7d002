"""What is asked of the rows of a spool's file, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from eventpipe.events import CapturedEvent


class Written(NamedTuple):
    """Events to be written.

    Attributes:
        ids: Their numbers.
        events: The events, as many.
        owed: The bits of the sinks that are to have them.
        captured_at: Wall clock.
    """

    ids: Sequence[int]
    events: Sequence[CapturedEvent]
    owed: int
    captured_at: float


class Settled(NamedTuple):
    """Events that a sink has settled.

    Attributes:
        bit: Of the sink.
        ids: Of the events.
    """

    bit: int
    ids: Sequence[int]


class Ask(NamedTuple):
    """Which rows are asked for: those of one sink, in the order in which they were written.

    Attributes:
        bit: Of the sink.
        after: Behind this number.
        held: Numbers that are in memory already, and are left out.
        max_events: At most so many.
        max_bytes: At most so many, or one event.
        now: Wall clock.
        shift: What makes a moment on the loop clock of one of the wall clock.
    """

    bit: int
    after: int
    held: Set[int]
    max_events: int
    max_bytes: int
    now: float
    shift: float


class Discard(NamedTuple):
    """Which rows are to go, the oldest first.

    Attributes:
        before: Captured before this moment, wall clock.
        held: Numbers that are in memory, and stay.
        max_events: At most so many.
        max_bytes: Until they come to so many.
    """

    before: float
    held: Set[int]
    max_events: int
    max_bytes: float


class Page(NamedTuple):
    """What was read.

    Attributes:
        events: Each with its number.
        damaged: Of each row that was set aside, because it did not pass its checksum, the bits of the sinks that it
            was counted for.
    """

    events: list[tuple[int, CapturedEvent]]
    damaged: list[int]


class Holding(NamedTuple):
    """What a file holds.

    Attributes:
        events: How many there are, by sink; one that is owed to two sinks counts for both.
        rows: How many there are in all.
        bytes: Of the file's pages that are in use.
        last: The highest number that was ever given.
        oldest: When the oldest was captured, wall clock; ``None``: there is none.
        damaged: How many rows are in quarantine.
        missing: How many rows more there were, which a damaged page does not show any more.
    """

    events: dict[str, int]
    rows: int
    bytes: int
    last: int
    oldest: float | None
    damaged: int
    missing: int
