"""What fills a window: claims while there is room, and parks while nothing is due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from eventpipe.clock import Clock
from eventpipe.encoding.lifting import lifted_out
from eventpipe.errors import ClosedError, LeaseLostError, StoreError, UnknownConsumerError
from eventpipe.log.claimant import Claimant
from eventpipe.log.handling import Handled
from eventpipe.log.lines import Held
from eventpipe.log.reports import Tally
from eventpipe.log.sieve import Sieve
from eventpipe.log.window import MAX_BEHIND, Window
from eventpipe.stores.values import ClaimedEvent, ConsumerInfo, Disposal, Disposition, offsets_of


class FedLog(Protocol):
    """What a feeder asks of its log."""

    async def consumer(self, topic: str, name: str) -> ConsumerInfo:
        """One consumer, as it is now."""


class Feeder:
    """Claims for one window, and turns away what the consumer does not want.

    Attributes:
        aside: What becomes of events that nobody was handed: turned away, and not settled with the event before them;
            or given back.
        room: Set when there may be room in the window again.
        last: The last event taken in, until it is about to be settled.
        is_done: Whether it claims nothing more.
    """

    def __init__(
        self,
        log: FedLog,
        claimant: Claimant,
        window: Window,
        sieve: Sieve,
        clock: Clock,
        *,
        lifted: frozenset[str],
        tally: Tally,
        end: int | None,
        on_claim: Callable[[], None],
        on_error: Callable[[Exception, int], float],
    ) -> None:
        """Claim nothing yet.

        Args:
            log: The log.
            claimant: Open.
            window: What it fills.
            sieve: Which events go into it.
            clock: Tells how old events are.
            lifted: Properties that the far end wants outside the others.
            tally: Where it counts.
            end: It is done once everything before this offset was claimed. ``None``: it goes on.
            on_claim: Called when there is something new in the window, or to settle.
            on_error: Called when the store failed, with the number of failures in a row; says for how many seconds to
                leave it alone, or raises.
        """
        self.aside: list[Disposition] = []
        self.room = asyncio.Event()
        self.last: Held | None = None
        self.is_done = False
        self._log = log
        self._claimant = claimant
        self._window = window
        self._sieve = sieve
        self._clock = clock
        self._lifted = lifted
        self._tally = tally
        self._end = end
        self._on_claim = on_claim
        self._on_error = on_error
        self._pauses = 0
        self._back: Sequence[ClaimedEvent] = []  # claimed, and to be given back before anything else is claimed
        self._was_running = False  # looked at before the last claim: whether the consumer was not paused
        self._damaged = 0  # events that the claimant was told of so far
        self._foreign = 0  # events that it has passed over so far

    def leave(self, handled: Sequence[Handled]) -> None:
        """Have nothing more settled with these events, which are about to be."""
        if self.last is not None and any(self.last in one.events for one in handled):
            self.last = None

    def paused(self) -> None:
        """Give back all that is not handed out, because the consumer was paused, and what is being claimed too."""
        self._pauses += 1
        for held in self._window.let_go():
            self.aside.append(Disposition(held.claimed, Disposal.RELEASE))
            self.aside += [Disposition(claimed, Disposal.SKIP) for claimed in held.behind]
        self.last = None
        self._on_claim()

    async def run(self) -> None:
        """Claim until it is done.

        Raises:
            LeaseLostError: The lease was lost, or the consumer was moved.
            UnknownConsumerError: The consumer was removed.
            ClosedError: The log does not run.

        Cancellation:
            What is being claimed is given back by the claimant.
        """
        failures = 0
        while not self.is_done:
            try:
                await self._claim()
                failures = 0
            except (LeaseLostError, UnknownConsumerError, ClosedError):
                raise
            except (StoreError, OSError) as error:
                failures += 1
                await asyncio.sleep(self._on_error(error, failures))

    async def _claim(self) -> None:
        now = asyncio.get_running_loop().time()
        events, size = self._window.appetite(now)
        if events <= 0:
            self.room.clear()
            await self.room.wait()
            return
        is_probe = self._window.is_careful
        is_empty = await self._take(events, size)
        if is_empty and self._end is None:
            await self._park(now)
            return
        self.is_done = self.is_done or is_empty
        if is_probe and not self._window.is_careful and not self.is_done:
            await self._take(*self._window.appetite(now))  # so that the first batch is not one of a single event
        self._on_claim()

    async def _take(self, events: int, size: int) -> bool:
        """Claim once; whether nothing was due."""
        await self._give_back()
        pauses = self._pauses
        claims = await self._claimant.claim(events, size)
        self._tally.gap += claims.gap
        self._tally.damaged += self._claimant.damaged - self._damaged
        self._damaged = self._claimant.damaged
        self._tally.skipped += self._claimant.foreign - self._foreign
        self._foreign = self._claimant.foreign
        due = self._claimant.due
        if claims.events or due is not None:  # else it may be paused, and nothing is said of what is to come
            self._window.expect(self._claimant.claimed_at, due, claims.events)
        if self._pauses != pauses:
            self._back = claims.events
        elif claims.events:
            self._was_running = False
            self._take_in(claims.events)
        await self._give_back()
        if claims.gap:  # what was given back may be in it, and is not to come
            self._window.dropped((await self._log.consumer(*self._claimant.key)).position)
        return not claims.events

    async def _give_back(self) -> None:
        if self._back:
            await self._claimant.give_back(self._back)
            self._back = []

    async def _park(self, now: float) -> None:
        """Wait until another claim is worth it."""
        if self._window.is_overdue(now):
            # While the consumer is paused nothing is handed out, however long it is due. So it must not have been
            # before the claim that had nothing, nor after it.
            is_running = not (await self._log.consumer(*self._claimant.key)).is_paused
            self._was_running, was_running = is_running, self._was_running
            if is_running:
                if was_running:
                    self._window.expire(now)
                    self._on_claim()
                return
        self._was_running = False
        now = asyncio.get_running_loop().time()
        again = self._window.due_back_at(now)
        await self._claimant.wait(None if again is None else again - now)

    def _take_in(self, events: Sequence[ClaimedEvent]) -> None:
        are_plain = self._sieve.lets_all_in(events)
        now, wall = asyncio.get_running_loop().time(), self._clock.time()
        together = len(events) if are_plain else self._window.together(events, now)
        events, back = events[:together], events[together:]
        if self._end is not None and events and events[-1].offset >= self._end - 1:
            self.is_done = True
            within = sum(1 for offset in offsets_of(events) if offset < self._end)
            events, back = events[:within], [*events[within:], *back]
        again = self._window.held_of(offsets_of(events))
        if again:
            key = self._claimant.key
            raise LeaseLostError(f"consumer {key} was moved: it was handed offset {min(again)} again")
        if events and are_plain and not self._lifted:
            self._window.add_fresh(events, now, wall)
            self.last = None  # without a filter nothing is turned away behind them
        else:
            self._take_wanted(events, now, wall)
        if back and self._window.is_suspicious(back[0]):
            self._window.is_careful = True
        self._back = back

    def _take_wanted(self, events: Sequence[ClaimedEvent], now: float, wall: float) -> None:
        for claimed in events:
            is_wanted, fault = self._sieve.judge(claimed)
            if is_wanted:
                if self._lifted and claimed.event is not None:
                    with contextlib.suppress(ValueError):  # no JSON, which whoever reads it finds out
                        claimed.event = lifted_out(claimed.event, self._lifted)
                self.last = self._window.add(claimed, now, wall, fault)
                continue
            if self.last is not None and self._window.turned_away < MAX_BEHIND:
                self.last.turn_away(claimed)
            else:
                self.aside.append(Disposition(claimed, Disposal.SKIP))
            self._window.turn_away(claimed)
