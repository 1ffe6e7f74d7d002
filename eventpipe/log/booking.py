"""What an attempt means for the events that were in it: settled, given back, or dead. Decides, never waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from eventpipe.clock import Clock
from eventpipe.core.retry import backoff
from eventpipe.log.claimed import is_used_up
from eventpipe.log.fresh import Run, attempt_of, captured_of, claimed_of
from eventpipe.log.handling import Handled
from eventpipe.log.letters import MAX_TEXT, letter_of
from eventpipe.log.reports import Tally
from eventpipe.options import RetryPolicy
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.stores.values import Acks, ClaimedEvent, ClaimedRun, ConsumerKey, Disposal, Disposition, offsets_of

NO_ROOM = "dead_letters_full"
"""Why an event was given back that should have died: the topic of dead letters had no room."""

_Part = tuple[Handled, Disposal, float]
_offset_of: Final = attrgetter("claimed.offset")


class Booked(NamedTuple):
    """What becomes of events, to be told to the store in one commit.

    Attributes:
        parts: What is told of it, each event in one, with its disposal and the seconds until it is due again.
        dispositions: The same for the store, with what was turned away behind each event.
    """

    parts: list[_Part]
    dispositions: Sequence[Disposition]

    @property
    def handled(self) -> list[Handled]:
        """What is told of it."""
        return [handled for handled, _, _ in self.parts]

    @property
    def skipped(self) -> int:
        """Events that were turned away behind others."""
        return len(self.dispositions) - sum(len(handled.events) for handled, _, _ in self.parts)

    def add_to(self, tally: Tally) -> None:
        """Count what is settled now."""
        for handled in self.handled:
            events = len(handled.events)
            if handled.kind is OutcomeKind.DELIVERED:
                tally.delivered += events
                continue
            if handled.kind is OutcomeKind.DROPPED:
                tally.dead += events
            else:
                tally.retried += events
            tally.failed(_why(handled))

    def without_letters(self, delay: float) -> Booked:
        """The same, but that nothing dies: what should is given back, and tried again ``delay`` seconds later."""
        return Booked(
            [
                (handled._replace(kind=OutcomeKind.RETRY, reason=NO_ROOM), Disposal.NACK, delay)
                if disposal is Disposal.DEAD
                else (handled, disposal, due)
                for handled, disposal, due in self.parts
            ],
            [
                Disposition(said.claimed, Disposal.NACK, delay, NO_ROOM) if said.disposal is Disposal.DEAD else said
                for said in self.dispositions
            ],
        )


class Booking:
    """The rules of one consumer.

    Attributes:
        random: Uniform in ``[0, 1)``.
    """

    def __init__(
        self,
        key: ConsumerKey,
        policy: RetryPolicy,
        max_attempts: int | None,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        """Book nothing yet.

        Args:
            key: The consumer.
            policy: How long what failed waits; how often it may is said by ``max_attempts``.
            max_attempts: How often an event is handed out; ``None``: without end.
            clock: Stamps dead letters.
            random: A source of floats, uniform in ``[0, 1)``.
        """
        self.random = random
        self._key = key
        self._policy = policy
        self._max_attempts = max_attempts
        self._clock = clock

    def book(self, outbox: Sequence[Handled], delay: float | None) -> Booked:
        """Say what becomes of the events of some attempts.

        Args:
            outbox: What the attempts led to.
            delay: Seconds until what failed is due again; ``None``: the policy says.
        """
        parts = [part for handled in outbox for part in self._parts(handled, delay)]
        return Booked(parts, self._said(parts))

    def outcomes(self, handled: Sequence[Handled]) -> tuple[list[Outcome], list[Sequence[int]]]:
        """The same as outcomes, and the offsets of the events of each."""
        told = [
            Outcome(
                one.kind,
                self._key.name,
                attempt_of(one.events),
                one.reason,
                one.status,
                one.durations,
                one.error,
                captured_of(one.events),
            )
            for one in handled
        ]
        return told, [offsets_of(claimed_of(one.events)) for one in handled]

    def _parts(self, handled: Handled, delay: float | None) -> list[_Part]:
        """What becomes of the events of one attempt."""
        if handled.kind is OutcomeKind.DELIVERED:
            return [(handled, Disposal.ACK, 0.0)]
        if handled.kind is OutcomeKind.DROPPED:
            return [(handled, Disposal.DEAD, 0.0)]
        parts: list[_Part] = []
        last = [held for held in handled.events if self._is_last(held.claimed)]
        if last:
            error = handled.error or handled.reason
            given_up = handled._replace(
                events=tuple(last), kind=OutcomeKind.DROPPED, reason=DropReason.EXHAUSTED, error=error
            )
            parts.append((given_up, Disposal.DEAD, 0.0))
        if len(last) < len(handled.events):
            again = tuple(held for held in handled.events if not self._is_last(held.claimed))
            attempt = max(held.claimed.attempt for held in again)
            if delay is None:
                delay = backoff(self._policy, attempt, self.random, handled.retry_after)
            parts.append((handled._replace(events=again), Disposal.NACK, delay))
        return parts

    def _is_last(self, claimed: ClaimedEvent) -> bool:
        return self._max_attempts is not None and claimed.attempt >= self._max_attempts

    def _said(self, parts: Sequence[_Part]) -> Sequence[Disposition]:
        """The same for the store."""
        behind = [
            claimed
            for handled, _, _ in parts
            if not isinstance(handled.events, Run)
            for held in handled.events
            for claimed in held.behind
        ]
        if not behind and all(disposal is Disposal.ACK for _, disposal, _ in parts):
            return Acks(_joined([claimed_of(handled.events) for handled, _, _ in parts]))
        said = [
            Disposition(claimed, disposal)
            if disposal is Disposal.ACK
            else self._failed(claimed, handled, disposal, delay)
            for handled, disposal, delay in parts
            for claimed in claimed_of(handled.events)
        ]
        if behind:  # in order, so that the store can move over all of them at once
            said += [Disposition(claimed, Disposal.SKIP) for claimed in behind]
            said.sort(key=_offset_of)
        return said

    def _failed(self, claimed: ClaimedEvent, handled: Handled, disposal: Disposal, delay: float) -> Disposition:
        if disposal is not Disposal.DEAD:
            return Disposition(claimed, disposal, delay, _why(handled))
        reason, error = str(handled.reason), handled.error
        letter = letter_of(self._as_attempted(claimed), self._key, reason, error, self._clock.time())
        return Disposition(claimed, disposal, delay, _why(handled), letter)

    def _as_attempted(self, claimed: ClaimedEvent) -> ClaimedEvent:
        """An event as it was at its last attempt: one that used all of them up is claimed once more to be given up."""
        if not is_used_up(claimed, self._max_attempts):
            return claimed
        return ClaimedEvent(
            claimed.offset,
            claimed.appended_at,
            claimed.event,
            claimed.fault,
            claimed.raw,
            claimed.attempt - 1,
            claimed.claim,
        )


def _why(handled: Handled) -> str:
    """The reason and the error, bounded."""
    return (f"{handled.reason}: {handled.error}" if handled.error else str(handled.reason))[:MAX_TEXT]


def _joined(parts: Sequence[Sequence[ClaimedEvent]]) -> Sequence[ClaimedEvent]:
    """The events of some parts; one run, where they are runs of which each begins where the one before it ends."""
    joined = parts[0] if parts else []
    for part in parts[1:]:
        if not (isinstance(joined, ClaimedRun) and isinstance(part, ClaimedRun) and part.first == joined.end):
            return [claimed for part in parts for claimed in part]
        joined += part
    return joined
