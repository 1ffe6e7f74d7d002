"""What travels between a log and its store: events at their places, claims, dispositions, and how things stand.

Moments are seconds since the epoch on the wall clock, because other processes read them; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from typing import Final, Literal, NamedTuple, overload

from eventpipe.events import CapturedEvent
from eventpipe.retention import Retention

Start = Literal["earliest", "latest"] | int
"""Where a new consumer begins: at the first event that is kept, after the last, or at an offset."""

DEAD_SUFFIX: Final = ".dead"
"""The dead letters of a topic are the events of the topic that has this at the end of its name."""


class ConsumerKey(NamedTuple):
    """Which consumer: one name on two topics is two consumers."""

    topic: str
    name: str

    def __str__(self) -> str:
        return f"{self.name!r} of topic {self.topic!r}"

    @property
    def lease(self) -> str:
        """The name of the lease that one holder of the consumer has at a time; no two consumers share one."""
        # Names may have slashes in them: the first one here ends the topic, whatever it is called.
        topic = self.topic.replace("%", "%25").replace("/", "%2F")
        return f"consumer:{topic}/{self.name}"


class StoredEvent:
    """An event at its place in a topic.

    Attributes:
        offset: Strictly increasing in the order in which events become visible; gaps are allowed.
        appended_at: Wall clock.
        event: As it was captured; ``None`` when what is kept cannot be turned into an event again.
        fault: Why not; ``None`` when it can.
        raw: What is kept, as it is, when it cannot be turned into an event; else empty.
    """

    __slots__ = ("appended_at", "event", "fault", "offset", "raw")

    def __init__(
        self, offset: int, appended_at: float, event: CapturedEvent | None, fault: str | None = None, raw: bytes = b""
    ) -> None:
        self.offset = offset
        self.appended_at = appended_at
        self.event = event
        self.fault = fault
        self.raw = raw

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.offset}>"  # payloads stay out of logs


class ClaimedEvent(StoredEvent):
    """An event that one consumer is handed.

    Attributes:
        attempt: How many times this consumer has been handed it, counted from 1; also across restarts and crashes.
        claim: What settling it proves itself with: the number of the claim that handed it out.
    """

    __slots__ = ("attempt", "claim")

    def __init__(
        self,
        offset: int,
        appended_at: float,
        event: CapturedEvent | None,
        fault: str | None,
        raw: bytes,
        attempt: int,
        claim: int,
    ) -> None:
        self.offset = offset  # not through the base: this is made for every event that is handed out
        self.appended_at = appended_at
        self.event = event
        self.fault = fault
        self.raw = raw
        self.attempt = attempt
        self.claim = claim


class ClaimedRun(Sequence[ClaimedEvent]):
    """Claimed events without a gap between them, all intact and at their first attempt; each is made when looked at.

    Nobody looks where all of them are delivered: an object for each, made and collected as garbage, costs as much as
    all else that is done with an event in hand.

    Attributes:
        first: The lowest offset.
        captured: The events, by offset.
        moments: When each was appended, wall clock.
        claims: By which claims they were handed out, ascending: the number of each, and the offset behind its last.
    """

    __slots__ = ("captured", "claims", "first", "moments")

    def __init__(
        self,
        first: int,
        captured: Sequence[CapturedEvent],
        moments: Sequence[float],
        claims: Sequence[tuple[int, int]],
    ) -> None:
        self.first = first
        self.captured = captured
        self.moments = moments
        self.claims = claims

    @classmethod
    def of(cls, events: Sequence[ClaimedEvent]) -> ClaimedRun | None:
        """The same events as a run; ``None``: there is none, or a gap, or one is damaged, or at a later attempt."""
        if isinstance(events, ClaimedRun):
            return events
        captured = [event for claimed in events if (event := claimed.event) is not None and claimed.attempt == 1]
        if len(captured) < len(events) or not events:
            return None
        first = events[0].offset
        if [claimed.offset for claimed in events] != list(range(first, first + len(events))):
            return None
        ends = {claimed.claim: claimed.offset + 1 for claimed in events}  # in their order, and the last one counts
        return cls(first, captured, [claimed.appended_at for claimed in events], [*ends.items()])

    @property
    def end(self) -> int:
        """The offset behind the last."""
        return self.first + len(self.captured)

    def by_claim(self) -> Iterator[tuple[int, range]]:
        """The number of each claim, with the offsets that it handed out."""
        first = self.first
        for number, end in self.claims:
            yield number, range(first, end)
            first = end

    def __len__(self) -> int:
        return len(self.captured)

    def __iter__(self) -> Iterator[ClaimedEvent]:
        at = zip(self.captured, self.moments, strict=True)
        for number, offsets in self.by_claim():
            for offset, (event, moment) in zip(offsets, at, strict=False):
                yield ClaimedEvent(offset, moment, event, None, b"", 1, number)

    @overload
    def __getitem__(self, at: int) -> ClaimedEvent: ...

    @overload
    def __getitem__(self, at: slice) -> ClaimedRun: ...

    def __getitem__(self, at: int | slice) -> ClaimedEvent | ClaimedRun:
        offsets = range(self.first, self.end)[at]
        if isinstance(offsets, int):
            at, number = offsets - self.first, next(number for number, end in self.claims if offsets < end)
            return ClaimedEvent(offsets, self.moments[at], self.captured[at], None, b"", 1, number)
        if offsets.step != 1:
            raise ValueError("a run of claimed events is cut without steps")
        claims = [
            (number, min(of_one.stop, offsets.stop))
            for number, of_one in self.by_claim()
            if of_one.start < offsets.stop and of_one.stop > offsets.start
        ]
        part = slice(offsets.start - self.first, max(offsets.stop, offsets.start) - self.first)
        return ClaimedRun(offsets.start, self.captured[part], self.moments[part], claims)

    def __add__(self, other: ClaimedRun) -> ClaimedRun:
        """Both as one; ``other`` begins where this ends."""
        claims = [*self.claims]
        if claims and other.claims and claims[-1][0] == other.claims[0][0]:
            claims.pop()
        return ClaimedRun(
            self.first, [*self.captured, *other.captured], [*self.moments, *other.moments], [*claims, *other.claims]
        )


def offsets_of(events: Sequence[ClaimedEvent]) -> Sequence[int]:
    """Where events lie."""
    return range(events.first, events.end) if isinstance(events, ClaimedRun) else [one.offset for one in events]


class Claims(NamedTuple):
    """What a consumer is handed at once.

    Attributes:
        events: By offset, ascending; a ``ClaimedRun`` spares an object for each. Empty: nothing is due, or the consumer
            is paused.
        gap: Events that retention dropped before this consumer had settled them, since they were last told of.
        damaged: Offsets of events that did not pass their checksum, ascending. They are set aside, count as settled,
            and are listed by ``verify()``.
        due_in: Seconds until the next event that was given back, or whose claim runs out, is due; ``None``: there is
            none.
    """

    events: Sequence[ClaimedEvent]
    gap: int = 0
    damaged: Sequence[int] = ()
    due_in: float | None = None


class Disposal(StrEnum):
    """What becomes of a claimed event."""

    ACK = "ack"  # settled
    SKIP = "skip"  # settled, because a filter turned it away
    DEAD = "dead"  # settled: its letter is appended to the topic of dead letters in the same step
    NACK = "nack"  # handed out again after ``delay``; the attempt counts
    RELEASE = "release"  # handed out again after ``delay``, unharmed; the attempt does not count


class Disposition(NamedTuple):
    """One event's disposal.

    Attributes:
        claimed: The event, as it was claimed.
        disposal: What becomes of it.
        delay: Seconds until it is due again, for ``NACK`` and ``RELEASE``.
        reason: Why, in a few words without payload, for ``NACK`` and ``DEAD``; kept as the consumer's last error.
        letter: What is appended to the dead letters, for ``DEAD``, as a replay.
    """

    claimed: ClaimedEvent
    disposal: Disposal
    delay: float = 0.0
    reason: str | None = None
    letter: CapturedEvent | None = None


class Acks(Sequence[Disposition]):
    """The dispositions of events that are all acked, which is what nearly every settlement says.

    Each is made when somebody looks at it: a store that asks for ``events`` instead is spared an object per event.

    Attributes:
        events: The events, as they were claimed.
    """

    __slots__ = ("events",)

    def __init__(self, events: Sequence[ClaimedEvent]) -> None:
        self.events = events

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Disposition]:
        return map(Disposition, self.events, repeat(Disposal.ACK))

    @overload
    def __getitem__(self, at: int) -> Disposition: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Disposition]: ...

    def __getitem__(self, at: int | slice) -> Disposition | Sequence[Disposition]:
        return Acks(self.events[at]) if isinstance(at, slice) else Disposition(self.events[at], Disposal.ACK)


def settled_by(dispositions: Sequence[Disposition]) -> Sequence[ClaimedEvent]:
    """The events that something is said of."""
    if isinstance(dispositions, Acks):
        return dispositions.events
    return [claimed for claimed, _, _, _, _ in dispositions]


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic, as it is now.

    Attributes:
        name: Its name.
        first: The lowest offset that is kept; ``end`` when none is.
        end: The offset that the next event gets at least.
        events: How many are kept.
        bytes: Their encoded bytes, the sum of ``held``.
        oldest_at: When the first of them was appended, wall clock; ``None``: none is kept.
        newest_at: When the last of them was appended; ``None``: none is kept.
        retention: What it keeps beyond what is settled.
        dropped: Events that retention dropped although some consumer had not settled them.
        damaged: Events that were set aside because they did not pass their checksum.
    """

    name: str
    first: int
    end: int
    events: int
    bytes: int
    oldest_at: float | None
    newest_at: float | None
    retention: Retention
    dropped: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A consumer, as it is now.

    Attributes:
        topic: Its topic.
        name: Its name.
        cursor: The lowest offset that it has not settled; ``None``: it has never settled one.
        position: Where it is: ``cursor``, and before that where it was registered to begin.
        pending: Events from there on that it has not settled.
        claimed: Of these, handed out and neither settled nor given back.
        waiting: Of these, given back and not due yet.
        oldest_at: When the oldest pending event was appended, wall clock; ``None``: none is pending.
        skipped: Events that its filter turned away, or that are addressed to other consumers.
        dead: Events that went to the dead letters.
        dropped: Events that retention dropped before it had settled them.
        is_paused: Whether it is handed nothing until it is resumed.
        holder: Who holds its lease; ``None``: nobody.
        expires_in: Seconds that the lease goes on without being renewed; ``None``: nobody holds it, or it does not end.
        last_error: Why an event was given back or died last, with the error where there was one; ``None``: none was.
    """

    topic: str
    name: str
    cursor: int | None
    position: int
    pending: int
    claimed: int = 0
    waiting: int = 0
    oldest_at: float | None = None
    skipped: int = 0
    dead: int = 0
    dropped: int = 0
    is_paused: bool = False
    holder: str | None = None
    expires_in: float | None = None
    last_error: str | None = None

    @property
    def key(self) -> ConsumerKey:
        """Which consumer this is."""
        return ConsumerKey(self.topic, self.name)


class Damage(NamedTuple):
    """An event that did not pass its checksum."""

    topic: str
    offset: int
    fault: str
