"""One event on its way to a consumer that pulls: what it is, and how it is confirmed or given back."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from types import TracebackType
from typing import Self

from eventpipe.checked import is_number, shown
from eventpipe.clock import Clock
from eventpipe.core.log import contained_logger
from eventpipe.core.retry import backoff
from eventpipe.errors import ClosedError, StoreError
from eventpipe.events import CapturedEvent
from eventpipe.log.claimant import Claimant
from eventpipe.log.letters import letter_of
from eventpipe.options import RetryPolicy
from eventpipe.stores.values import ClaimedEvent, ConsumerKey, Disposal, Disposition

_logger = contained_logger(__name__)

EXHAUSTED = "exhausted"
"""Why an event went to the dead letters: it was handed out as often as it may be, and never acked."""


class _State(Enum):
    OPEN = auto()
    GIVEN_BACK = auto()
    SETTLED = auto()


class Settler:
    """Settles the deliveries of one consumer, and says which of them were handed out often enough.

    Attributes:
        claimant: What claimed them.
        max_attempts: How often an event is handed out at most.
    """

    __slots__ = ("_clock", "_policy", "_random", "claimant", "max_attempts")

    def __init__(
        self, claimant: Claimant, clock: Clock, *, max_attempts: int, policy: RetryPolicy, random: Callable[[], float]
    ) -> None:
        """Settle nothing yet.

        Args:
            claimant: What claims the events.
            clock: Stamps dead letters.
            max_attempts: How often an event is handed out at most.
            policy: How long an event waits that was given back by ``async with``.
            random: A source of floats, uniform in ``[0, 1)``.
        """
        self.claimant = claimant
        self.max_attempts = max_attempts
        self._clock = clock
        self._policy = policy
        self._random = random

    @property
    def key(self) -> ConsumerKey:
        """The consumer."""
        return self.claimant.key

    def is_exhausted(self, claimed: ClaimedEvent) -> bool:
        """Whether it was handed out as often as it may be before this claim."""
        return claimed.attempt > self.max_attempts

    def delay(self, attempt: int) -> float:
        """Seconds that an event waits after an attempt that failed."""
        return backoff(self._policy, attempt, self._random)

    def give_up(self, claimed: ClaimedEvent, error: str | None) -> Disposition:
        """What becomes of an event that used up its attempts."""
        handed = _before(claimed) if self.is_exhausted(claimed) else claimed
        letter = letter_of(handed, self.key, EXHAUSTED, error, self._clock.time())
        return Disposition(claimed, Disposal.DEAD, reason=error or EXHAUSTED, letter=letter)

    def told(self, offset: int, error: str | None) -> None:
        """Log that an event went to the dead letters."""
        _logger.warning(
            "consumer %s gave up the event at offset %d after %d attempts (%s); it is in the dead letters",
            self.key,
            offset,
            self.max_attempts,
            error or "never acked",
        )


def _before(claimed: ClaimedEvent) -> ClaimedEvent:
    """The same event at the attempt before this one, which was claimed and never handed out."""
    offset, appended_at, claim = claimed.offset, claimed.appended_at, claimed.claim
    return ClaimedEvent(offset, appended_at, claimed.event, claimed.fault, claimed.raw, claimed.attempt - 1, claim)


class Delivery:
    """One event that a receiver handed out: settled by ``ack()``, or given back by ``nack()``.

    ``async with delivery:`` acks it when the block succeeds, nacks it when the block raises, and gives it back when the
    block is cancelled: that attempt does not count, and the event is handed out again after the first delay of
    ``retry``. So a timeout belongs inside, ``async with delivery, asyncio.timeout(5):``, where it is an error like any
    other; around the block it would be a cancellation, and an event that always hangs would never use up its attempts.

    It can be settled after its receiver was cancelled or closed, for as long as no other holder has taken the consumer
    over.

    Attributes:
        gap: Events that retention dropped before this consumer had settled them, and that it would have been handed
            before this one, since the delivery before.
    """

    __slots__ = ("_claimed", "_settler", "_state", "gap")

    def __init__(self, settler: Settler, claimed: ClaimedEvent, gap: int = 0) -> None:
        """Made by a receiver."""
        self._settler = settler
        self._claimed = claimed
        self._state = _State.OPEN
        self.gap = gap

    @property
    def event(self) -> CapturedEvent:
        """The event, as it was captured.

        Raises:
            StoreError: What is kept of it cannot be decoded; ``fault`` says why.
        """
        event = self._claimed.event
        if event is None:
            raise StoreError(
                f"the event at offset {self.offset} of topic {self.topic!r} cannot be decoded: {self.fault}; ack() it"
                f" to pass it over, or nack() it, and after attempt {self._settler.max_attempts} its bytes go to the"
                " dead letters"
            )
        return event

    @property
    def offset(self) -> int:
        """Its place in the topic."""
        return self._claimed.offset

    @property
    def attempt(self) -> int:
        """How many times this consumer has claimed it, counted from 1; also across restarts and crashes."""
        return self._claimed.attempt

    @property
    def topic(self) -> str:
        """The topic it is of."""
        return self._settler.key.topic

    @property
    def consumer(self) -> str:
        """The name of the consumer that it was handed to."""
        return self._settler.key.name

    @property
    def appended_at(self) -> float:
        """When it was appended, wall clock, seconds since the epoch."""
        return self._claimed.appended_at

    @property
    def fault(self) -> str | None:
        """Why what is kept of it cannot be decoded; ``None``: it can."""
        return self._claimed.fault

    async def ack(self) -> None:
        """Confirm this event, and no other; again is a no-op.

        The cursor never goes back, however late this comes. After a ``nack()`` it counts until the event is handed out
        anew.

        Raises:
            LeaseLostError: Another holder has taken the consumer over, it was moved by ``seek()``, or the event was
                handed out anew: it will be, or was, handled again. Nothing was changed.
            UnknownConsumerError: The consumer was removed.
            ClosedError: The log does not run.

        Cancellation:
            It is confirmed, or that has failed, when the caller goes on as cancelled.
        """
        if self._state is not _State.SETTLED:
            await self._settler.claimant.settle((Disposition(self._claimed, Disposal.ACK),))
            self._state = _State.SETTLED

    async def nack(self, delay: float = 0.0, reason: str | None = None) -> None:
        """Give this event back: it is handed out again, at the next attempt; at the last, it goes to the dead letters.

        Later events go on meanwhile. Once the event is settled, this is a no-op.

        Args:
            delay: Seconds until it is due again.
            reason: Why, in a few words without payload; kept as the consumer's last error. ``None``: not said.

        Raises:
            ValueError: ``delay`` is negative or not finite.
            LeaseLostError: As for ``ack()``.
            UnknownConsumerError: The consumer was removed.
            StoreFullError: It was the last attempt, and the dead letters have no room. Nothing was changed.
            ClosedError: The log does not run.

        Cancellation:
            It is given back, or that has failed, when the caller goes on as cancelled.
        """
        if not is_number(delay) or delay < 0:
            raise ValueError(f"delay must be a finite number of seconds, at least 0, not {shown(delay)}")
        if self._state is _State.SETTLED:
            return
        settler, claimed = self._settler, self._claimed
        if claimed.attempt < settler.max_attempts:
            await settler.claimant.settle((Disposition(claimed, Disposal.NACK, delay, reason),))
            self._state = _State.GIVEN_BACK
        else:
            await settler.claimant.settle((settler.give_up(claimed, reason),))
            self._state = _State.SETTLED
            settler.told(claimed.offset, reason)

    async def extend(self, ttl: float) -> None:
        """Hold this event for ``ttl`` seconds from now; for receivers that share a consumer.

        Raises:
            ValueError: ``ttl`` is not positive and finite.
            RuntimeError: The receiver has the consumer for itself, and holds its events for as long as its lease.
            LeaseLostError: The event is not held any more, because its time was over or it was settled.
            UnknownConsumerError: The consumer was removed.
            ClosedError: The log does not run.
        """
        if not is_number(ttl) or ttl <= 0:
            raise ValueError(f"ttl must be a finite number of seconds above 0, not {shown(ttl)}")
        claimant = self._settler.claimant
        if not claimant.is_competing:
            raise RuntimeError(
                f"the receiver of consumer {claimant.key} has it for itself, and holds events as long as its lease;"
                " extend() is for receivers with competing=True"
            )
        await claimant.extend((self._claimed,), ttl)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._state is not _State.OPEN or isinstance(error, GeneratorExit):  # where nothing can be awaited
            return
        if error is None:
            await self.ack()
            return
        try:
            if isinstance(error, Exception):
                await self.nack(self._settler.delay(self.attempt), type(error).__name__)
            else:  # cancelled, or the process ends: that says nothing of the event, but it may be its timeout
                released = Disposition(self._claimed, Disposal.RELEASE, self._settler.delay(1))
                await self._settler.claimant.settle((released,))
                self._state = _State.GIVEN_BACK
        except (StoreError, ClosedError) as failure:  # the error of the block is what its caller must see
            _logger.warning(
                "the event at offset %d could not be given back by consumer %s: %s",
                self.offset,
                self._settler.key,
                failure,
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.offset} of topic {self.topic!r}, attempt {self.attempt}>"
