"""What was handled, until it is settled: in one commit, then booked and told to whoever listens."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from eventpipe.errors import ClosedError, LeaseLostError, StoreError, StoreFullError, UnknownConsumerError
from eventpipe.log.booking import Booked
from eventpipe.log.claimant import Claimant
from eventpipe.log.episodes import Episodes
from eventpipe.log.feeder import Feeder
from eventpipe.log.handling import Handled
from eventpipe.log.planning import Plan
from eventpipe.log.reports import Tally
from eventpipe.log.window import Window
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.stores.values import Disposal, Disposition

# In a pass, what failed is left alone until its end: longer than any pass. The next holder is handed it at once.
_AFTER_THE_PASS: Final = 86_400.0


class Teller(Protocol):
    """Who is told of outcomes."""

    def tell(self, outcomes: Sequence[Outcome], offsets: Sequence[Sequence[int]]) -> None:
        """See these, in order."""


class Settling:
    """The one door by which events leave a shift: settled in the store, counted and told, or told as interrupted.

    Attributes:
        outbox: What was handled, and is not settled.
        not_before: Loop clock: the store failed, and is left alone until then.
    """

    def __init__(
        self,
        claimant: Claimant,
        plan: Plan,
        window: Window,
        feeder: Feeder,
        episodes: Episodes,
        teller: Teller,
        tally: Tally,
        *,
        is_pass: bool,
        on_error: Callable[[Exception, int], float],
    ) -> None:
        """Settle nothing yet.

        Args:
            claimant: Who claimed it.
            plan: What to do.
            window: What is told of it once it is settled.
            feeder: Who turns events away, which are settled with the others.
            episodes: Logs what lasts.
            teller: Who is told of outcomes.
            tally: Where it counts.
            is_pass: Whether what fails is not tried again.
            on_error: Called when the store failed, with the number of failures in a row; says for how many seconds to
                leave it alone, or raises.
        """
        self.outbox: list[Handled] = []
        self.not_before = 0.0
        self._claimant = claimant
        self._plan = plan
        self._window = window
        self._feeder = feeder
        self._episodes = episodes
        self._teller = teller
        self._tally = tally
        self._is_pass = is_pass
        self._on_error = on_error
        self._failures = 0

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to settle."""
        return not (self.outbox or self._feeder.aside)

    async def settle(self) -> None:
        """Settle what was handled since the last time, in one commit; where the store fails, later.

        Raises:
            LeaseLostError: The consumer was taken over or moved. Nothing was settled.
            UnknownConsumerError: It was removed.
            ClosedError: The log does not run.
            Exception: What ``on_error`` raised.

        Cancellation:
            It may be settled, and is not booked: ``settle_the_last()`` does that.
        """
        if self.is_idle:
            return
        (outbox, self.outbox), (aside, self._feeder.aside) = (self.outbox, []), (self._feeder.aside, [])
        self._feeder.leave(outbox)
        later = _AFTER_THE_PASS if self._is_pass else None
        booked = self._plan.booking.book(outbox, later)
        try:
            try:
                await self._claimant.settle([*aside, *booked.dispositions] if aside else booked.dispositions)
            except StoreFullError as error:
                self._episodes.no_room(error)
                booked = booked.without_letters(later or self._plan.policy.max_delay)
                await self._claimant.settle([*aside, *booked.dispositions])
        except (LeaseLostError, UnknownConsumerError, ClosedError, asyncio.CancelledError):
            self._take_back(outbox, aside)  # settled perhaps; said again, that changes nothing
            raise
        except (StoreError, OSError) as error:
            self._take_back(outbox, aside)
            self._failures += 1
            self.not_before = asyncio.get_running_loop().time() + self._on_error(error, self._failures)
            return
        self._failures = 0
        self._episodes.store_is_well()
        self._booked(booked, sum(said.disposal is Disposal.SKIP for said in aside))

    async def settle_the_last(self) -> None:
        """Settle what is left while the consumer is this holder's, and tell of the rest that it was interrupted."""
        lease = self._claimant.lease
        if lease is not None and lease.token is not None:
            with contextlib.suppress(StoreError, ClosedError, OSError):
                await self.settle()
        self.give_up()

    def give_up(self) -> None:
        """Tell of what is not settled that it was interrupted: it will be handed out again, whatever became of it."""
        lost = [handled._replace(kind=OutcomeKind.INTERRUPTED, reason=None) for handled in self.outbox]
        self.interrupted(lost)

    def interrupted(self, handled: Sequence[Handled]) -> None:
        """Count and tell what counts as no attempt."""
        self._tally.interrupted += sum(len(one.events) for one in handled)
        self._teller.tell(*self._plan.booking.outcomes(handled))

    def _take_back(self, outbox: list[Handled], aside: list[Disposition]) -> None:
        self.outbox[:0], self._feeder.aside[:0] = outbox, aside

    def _booked(self, booked: Booked, skipped: int) -> None:
        """See that everything that was said of these events is so now."""
        now = asyncio.get_running_loop().time()
        for handled, disposal, delay in booked.parts:
            if disposal is Disposal.ACK:
                self._window.settled(handled.events)
            elif disposal is Disposal.DEAD:
                self._window.died(handled.events)
            else:
                self._window.given_back(handled.events, math.inf if self._is_pass else now + delay)
        booked.add_to(self._tally)
        skipped += booked.skipped
        self._tally.skipped += skipped
        self._window.turned_away -= skipped
        self._episodes.handled(booked.handled)
        self._teller.tell(*self._plan.booking.outcomes(booked.handled))
