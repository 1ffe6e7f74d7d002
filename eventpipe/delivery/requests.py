"""What people ask of deliveries that are there: to be sent again, or not any more."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from eventpipe.clock import Clock
from eventpipe.delivery.machine import DeliveryOutcome, advance
from eventpipe.delivery.outcomes import cancelled
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.events import CapturedEvent
from eventpipe.stores.delivery_base import DeliveryStore
from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryRow
from eventpipe.transport.feed_lives import FeedLives

PAGE: Final = 500
# Each time somebody else changed the row between the look and the change; an attempt does that twice.
_TRIES: Final = 20


class Asked(NamedTuple):
    """What became of a request; a delivery that a filter does not want any more, or that was deleted, is in none.

    Attributes:
        done: Ids of deliveries for which it holds.
        refused: Ids of deliveries that were final already, so that nothing is left to cancel.
        missed: Ids of deliveries that changed whenever this was about to change them; ask again.
        next: What to give as ``after`` to go on where ``limit`` was reached. ``None``: there are no more.
    """

    done: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    missed: tuple[int, ...] = ()
    next: int | None = None


@dataclass(slots=True)
class _Answer:
    done: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)

    def asked(self, next_: int | None = None) -> Asked:
        return Asked(tuple(self.done), tuple(self.refused), tuple(self.missed), next_)


class Requests:
    """Asks for rows to be sent again or to be cancelled, whatever a worker does with them meanwhile.

    Args:
        kept: What keeps them.
        policy: What a resend begins anew with.
        clock: What tells the time.
        outcomes: Tells of what is cancelled.
    """

    def __init__(self, kept: DeliveryStore, policy: DeliveryPolicy, clock: Clock, outcomes: FeedLives) -> None:
        self._kept = kept
        self._policy = policy
        self._clock = clock
        self._outcomes = outcomes

    async def ask(
        self, rows: Sequence[DeliveryRow], outcome: DeliveryOutcome, event: CapturedEvent | None = None
    ) -> Asked:
        """Ask for these rows, whatever state they come to meanwhile.

        Args:
            rows: As they were when somebody looked.
            outcome: ``RESEND`` or ``CANCEL``.
            event: Theirs, for whoever is told. ``None``: they have none that can be read, or several.
        """
        answer = _Answer()
        await self._ask(rows, outcome, answer, event=event)
        return answer.asked()

    async def ask_of_all(
        self, wanted: DeliveryFilter, outcome: DeliveryOutcome, after: int | None = None, limit: int | None = None
    ) -> Asked:
        """Ask for all rows that a filter wants, a page at a time, from the newest on; each is asked for once.

        Args:
            wanted: Which.
            outcome: ``RESEND`` or ``CANCEL``.
            after: Only those with ids below this one. ``None``: all.
            limit: At most so many. ``None``: any number.
        """
        answer = _Answer()
        left = math.inf if limit is None else limit
        while True:
            page = int(min(PAGE, left))
            rows = await self._kept.rows(wanted, after=after, limit=page)
            await self._ask(rows, outcome, answer, wanted)
            if len(rows) < page:
                return answer.asked()
            after = rows[-1].id
            left -= page
            if not left:
                return answer.asked(after if await self._kept.rows(wanted, after=after, limit=1) else None)
            await asyncio.sleep(0)  # a store in memory would let nobody else run until all is asked for

    async def rows_of(self, event_uuid: str) -> list[DeliveryRow]:
        """All rows of an event."""
        wanted = DeliveryFilter(event_uuid=event_uuid)
        rows: list[DeliveryRow] = []
        while True:
            page = await self._kept.rows(wanted, after=rows[-1].id if rows else None, limit=PAGE)
            rows += page
            if len(page) < PAGE:
                return rows

    async def _ask(
        self,
        rows: Sequence[DeliveryRow],
        outcome: DeliveryOutcome,
        answer: _Answer,
        wanted: DeliveryFilter | None = None,
        event: CapturedEvent | None = None,
    ) -> None:
        left = {row.id: row for row in rows}
        for _ in range(_TRIES):
            now = self._clock.time()
            changes = []
            for row in left.values():
                change = advance(row, outcome, now, self._policy, random=random.random)
                if change is None:
                    answer.refused.append(row.id)
                else:
                    changes.append(change)
            if not changes:
                return
            were_done = await self._kept.change(changes)
            done = [change.id for change, was_done in zip(changes, were_done, strict=True) if was_done]
            answer.done += done
            if outcome is DeliveryOutcome.CANCEL:
                self._outcomes.tell([cancelled(left[id_], event) for id_ in done])
            again = [left[change.id] for change, was_done in zip(changes, were_done, strict=True) if not was_done]
            found = [await self._as_it_is(row, wanted) for row in again]
            left = {row.id: row for row in found if row is not None}
        answer.missed += left

    async def _as_it_is(self, row: DeliveryRow, wanted: DeliveryFilter | None) -> DeliveryRow | None:
        """A row that somebody else has changed, if it is still there and, where a filter wanted it, still wanted."""
        if wanted is None:
            return await self._kept.row(row.id)
        # Asked for by a filter, it must fit when it changes: what failed, and was sent again meanwhile, did not fail.
        wanted = replace(wanted, event_uuid=row.event_uuid)
        found = await self._kept.rows(wanted, after=row.id + 1, limit=1)
        return found[0] if found and found[0].id == row.id else None
