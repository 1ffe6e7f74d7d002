"""The workers of a pass: each attempts one row after the other, while what attempts came to is written beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from eventpipe.core.pool import Pool
from eventpipe.delivery.attempting import Attempting, Held
from eventpipe.delivery.common import UNWRITTEN
from eventpipe.delivery.writing import Writing
from eventpipe.errors import ClosedError, LeaseLostError
from eventpipe.stores.delivery_values import DeliveryRow

if TYPE_CHECKING:
    from eventpipe.delivery.common import Common
    from eventpipe.delivery.lanes import Lanes
    from eventpipe.delivery.reports import Tally

# One that attempts, and one for each row that is sent and has to be written by itself; as many again are about to end.
TASKS_PER_WORKER: Final = 2 * (2 + UNWRITTEN)


class Hands:
    """What one task has to bring to an end.

    Attributes:
        held: What it attempts; ``None``: nothing.
        page: What it writes.
        unwritten: How many of these are counted as unwritten.
    """

    __slots__ = ("held", "page", "unwritten")

    def __init__(self, held: Held | None = None, page: Sequence[Held] = ()) -> None:
        self.held = held
        self.page = page
        self.unwritten = len(page)


class Workers:
    """Attempts rows, at most one for each slot at once, and writes what that came to.

    Args:
        common: What all passes share.
        tally: Of the pass.
        writing: Writes.
        lanes: Say which row follows on another.
        stir: Called when more can be claimed or begun than before.

    Attributes:
        left: Rows that were claimed, and not attempted to an end.
        stragglers: Names of tasks that ignored their cancellation.
        failure: Why nothing may be written any more; ``None``: it may.
        is_stopping: Whether nothing more is begun.
    """

    def __init__(self, common: Common, tally: Tally, writing: Writing, lanes: Lanes, stir: Callable[[], None]) -> None:
        self.left: list[DeliveryRow] = []
        self.stragglers: list[str] = []
        self.failure: BaseException | None = None
        self.is_stopping = False
        self._common = common
        self._tally = tally
        self._lanes = lanes
        self._stir = stir
        self._attempting = Attempting(common, tally)
        self._writing = writing
        self._answered: list[Held] = []  # in nobody's hands yet
        self._writer: Hands | None = None
        self._is_ending = False
        self._pool: Pool[Hands] = Pool(
            TASKS_PER_WORKER * common.pacing.workers,
            common.deliveries.name + " attempts",
            on_lost=self._lost,
        )

    @property
    def may_begin(self) -> bool:
        """Whether one more row may be attempted, if it has a slot."""
        return self._common.may_send and not self.is_stopping and self.failure is None

    async def start(self) -> None:
        """Get ready."""
        await self._pool.start()

    def begin(self, held: Held) -> None:
        """Attempt a row, in a slot that was taken for it."""
        hands = Hands(held)
        self._run(hands, self._attempt(hands))

    def write_left(self) -> None:
        """Write what earlier passes could not, beside all else."""
        self._run(Hands(), self._write_left())

    async def idle(self) -> None:
        """Wait until everything that was begun is written."""
        await self._pool.idle()

    async def stop(self, grace: float) -> None:
        """Cancel what runs, and wait for its end for so many seconds."""
        self._is_ending = True
        self.stragglers = await self._pool.stop(grace)
        self._common.wrote(len(self._answered))
        self._answered = []

    def _run(self, hands: Hands, work: Coroutine[Any, Any, None]) -> None:  # Any: as in the pool
        self._pool.try_acquire()
        self._pool.spawn(work, hands)

    async def _attempt(self, hands: Hands) -> None:
        try:
            while (held := hands.held) is not None:
                if held.lane.is_held_back:  # since it was given its slot, a step of the loop ago
                    self._lanes.claim_again([held.row])
                    self._stir()
                    return
                await self._attempting.attempt(held)
                if held.has_ended_endpoint:
                    await self._write_alone(held)  # in its slot, so that no other attempt takes its place
                elif not (held.is_settled or self._is_ending):
                    self._answered.append(held)
                    self._common.unwritten += 1
                    self._see_to_writing()
                hands.held = self._following(held)
        finally:
            self._let_go(hands)

    def _following(self, held: Held) -> Held | None:
        """Give the slot of an attempt that has ended to the row that follows, or to whoever's turn it is."""
        common, lanes = self._common, self._lanes
        held.has_slot = False
        common.pacing.ended(held.lane.pace)
        if held.began is not None:
            common.pacing.took(asyncio.get_running_loop().time() - held.began)
        following = lanes.following(held.lane) if self.may_begin else None
        if following is None:
            common.freed()
        elif lanes.are_short or following.lane.is_short:
            self._stir()
        return following

    def _see_to_writing(self) -> None:
        if self._answered and self._writer is None and not self._is_ending:
            self._writer = hands = Hands()
            try:
                self._run(hands, self._write(hands))
            except ClosedError as error:  # somebody cancelled all tasks there are
                self._failed(error)

    async def _write(self, hands: Hands) -> None:
        """Write what has been answered, again and again, until all is written."""
        try:
            while self._answered and self.failure is None:
                hands.page, self._answered = self._answered, []
                hands.unwritten = len(hands.page)
                if not await self._writing.write(hands.page):
                    for held in hands.page:
                        self._run(alone := Hands(page=[held]), self._write_each(alone))
                        hands.unwritten -= 1
                hands.page = []
                self._let_go(hands)
        except (LeaseLostError, ClosedError) as error:
            self._failed(error)
        finally:
            self._let_go(hands)
            self._writer = None

    async def _write_left(self) -> None:
        try:
            await self._writing.write_left()
        except (LeaseLostError, ClosedError) as error:
            self._failed(error)

    async def _write_each(self, hands: Hands) -> None:
        try:
            for held in hands.page:
                await self._write_alone(held)
        finally:
            self._let_go(hands)

    async def _write_alone(self, held: Held) -> None:
        try:
            await self._writing.write_alone(held)
        except (LeaseLostError, ClosedError) as error:
            self._failed(error)

    def _let_go(self, hands: Hands) -> None:
        """Give back what is counted as a task's; again it is nothing."""
        held = hands.held
        if held is not None and held.has_slot:
            held.has_slot = False
            self._common.pacing.ended(held.lane.pace)
            self._common.freed()
        if hands.unwritten:
            self._common.wrote(hands.unwritten)
            hands.unwritten = 0

    def _failed(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
        self._stir()

    def _lost(self, hands: Hands) -> None:
        """Take back what a task did not bring to an end, because it was cancelled."""
        self._let_go(hands)  # it may have had no first step
        for held in hands.page if hands.held is None else [hands.held]:
            if not held.is_answered:
                self._attempting.interrupted(held)
                self.left.append(held.row)
            if not self._is_ending and not held.is_settled and self.failure is None:
                self._tally.errors.append((held.row.id, RuntimeError("somebody cancelled the task that attempted it")))
        if hands is self._writer:
            self._writer = None
        self._see_to_writing()
