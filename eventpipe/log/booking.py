"""What an attempt means for the events that were in it: settled, given back, or dead. Decides, never waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventpipe.clock import Clock
from eventpipe.core.retry import backoff
from eventpipe.log.handling import Handled
from eventpipe.log.letters import letter_of
from eventpipe.log.lines import Held
from eventpipe.log.reports import Tally
from eventpipe.options import RetryPolicy
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.stores.values import ClaimedEvent, ConsumerKey, Disposal, Disposition

NO_ROOM = "dead_letters_full"
"""Why an event was given back that should have died: the topic of dead letters had no room."""


class Booked(NamedTuple):
    """What becomes of events, to be told to the store in one commit.

    Attributes:
        events: Each with its disposal, and the seconds until it is due again.
        dispositions: The same for the store, with what was turned away behind each event.
        handled: What is told of it, each event in one.
    """

    events: list[tuple[Held, Disposal, float]]
    dispositions: list[Disposition]
    handled: list[Handled]

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
            tally.failed(f"{handled.reason}: {handled.error}" if handled.error else str(handled.reason))

    def without_letters(self, policy: RetryPolicy) -> Booked:
        """The same, but that nothing dies: what should is given back, and tried again later."""
        delay = policy.max_delay
        return Booked(
            [
                (held, Disposal.NACK, delay) if disposal is Disposal.DEAD else (held, disposal, due)
                for held, disposal, due in self.events
            ],
            [
                Disposition(said.claimed, Disposal.NACK, delay, NO_ROOM) if said.disposal is Disposal.DEAD else said
                for said in self.dispositions
            ],
            [
                handled._replace(kind=OutcomeKind.RETRY, reason=NO_ROOM)
                if handled.kind is OutcomeKind.DROPPED
                else handled
                for handled in self.handled
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
        booked = Booked([], [], [])
        for handled in outbox:
            if handled.kind is OutcomeKind.DELIVERED:
                self._add(booked, handled, Disposal.ACK)
            elif handled.kind is OutcomeKind.DROPPED:
                self._add(booked, handled, Disposal.DEAD)
            else:
                self._add_failed(booked, handled, delay)
        return booked

    def outcomes(self, handled: Sequence[Handled]) -> tuple[list[Outcome], list[list[int]]]:
        """The same as outcomes, and the offsets of the events of each."""
        told = [
            Outcome(
                one.kind,
                self._key.name,
                max(held.claimed.attempt for held in one.events),
                one.reason,
                one.status,
                one.durations,
                one.error,
                tuple(held.claimed.event for held in one.events if held.claimed.event is not None),
            )
            for one in handled
        ]
        return told, [[held.offset for held in one.events] for one in handled]

    def _add_failed(self, booked: Booked, handled: Handled, delay: float | None) -> None:
        last = [held for held in handled.events if self._is_last(held.claimed)]
        if last:
            error = handled.error or handled.reason
            given_up = handled._replace(
                events=tuple(last), kind=OutcomeKind.DROPPED, reason=DropReason.EXHAUSTED, error=error
            )
            self._add(booked, given_up, Disposal.DEAD)
        if len(last) < len(handled.events):
            again = tuple(held for held in handled.events if not self._is_last(held.claimed))
            attempt = max(held.claimed.attempt for held in again)
            if delay is None:
                delay = backoff(self._policy, attempt, self.random, handled.retry_after)
            self._add(booked, handled._replace(events=again), Disposal.NACK, delay)

    def _is_last(self, claimed: ClaimedEvent) -> bool:
        return self._max_attempts is not None and claimed.attempt >= self._max_attempts

    def _add(self, booked: Booked, handled: Handled, disposal: Disposal, delay: float = 0.0) -> None:
        reason = None if disposal is Disposal.ACK else str(handled.reason)
        for held in handled.events:
            letter = None
            if disposal is Disposal.DEAD:
                letter = letter_of(
                    self._as_attempted(held.claimed), self._key, str(reason), handled.error, self._clock.time()
                )
            booked.events.append((held, disposal, delay))
            booked.dispositions.append(Disposition(held.claimed, disposal, delay, reason, letter))
            booked.dispositions.extend(Disposition(claimed, Disposal.SKIP) for claimed in held.behind)
        booked.handled.append(handled)

    def _as_attempted(self, claimed: ClaimedEvent) -> ClaimedEvent:
        """An event as it was at its last attempt: one that used all of them up is claimed once more to be given up."""
        if self._max_attempts is None or claimed.attempt <= self._max_attempts:
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
