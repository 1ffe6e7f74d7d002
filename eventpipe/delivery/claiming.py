"""Claims of several endpoints at once: what is asked for, and what was granted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from eventpipe.log.finishing import begin
from eventpipe.stores.delivery_values import ClaimedRow, DeliveryRow, Place

if TYPE_CHECKING:
    from eventpipe.delivery.common import Common
    from eventpipe.delivery.lane import Lane
    from eventpipe.delivery.reports import Tally

# Endpoints whose rows are asked for at once, which a store that has one transaction for all does in about 3 ms.
MAX_ASKS: Final = 64

# Seconds that a claim which is cut off has to be answered, and then to end.
RELEASE_GRACE: Final = 0.1
CUT_GRACE: Final = 0.05


class Ask:
    """Rows of one endpoint that are to be claimed.

    Args:
        lane: Whose.
        number: So many at most.
        lasts: Seconds that they are claimed for.
        slots: How many slots were taken for them.
        now: On the loop clock.

    Attributes:
        lane: The same; so with number, lasts and slots.
        endpoint: As it was known to be.
        after: What was claimed last before.
        epoch: That of the pace.
        asked_at: When it was asked, on the loop clock.
        page: What was granted.
        error: Why nothing was; ``None``: it was answered, or cut off.
    """

    __slots__ = ("after", "asked_at", "endpoint", "epoch", "error", "lane", "lasts", "number", "page", "slots")

    def __init__(self, lane: Lane, number: int, lasts: float, slots: int, now: float) -> None:
        self.lane = lane
        self.number = number
        self.lasts = lasts
        self.slots = slots
        self.endpoint = lane.endpoint
        self.after = lane.after
        self.epoch = lane.pace.epoch
        self.asked_at = now
        self.page: list[ClaimedRow] = []
        self.error: BaseException | None = None

    @property
    def rows(self) -> list[DeliveryRow]:
        """Those that were granted."""
        return [row for row, _ in self.page]


class Claims:
    """Claims rows for one pass.

    Args:
        common: What all passes share.
        tally: Of the pass.
        check: Raises where nothing may be written any more.

    Attributes:
        cutoff: Rows are claimed that are due at this moment of the wall clock or before.
    """

    def __init__(self, common: Common, tally: Tally, check: Callable[[], object]) -> None:
        self.cutoff = 0.0
        self._common = common
        self._tally = tally
        self._check = check
        self._under_way: list[asyncio.Task[list[ClaimedRow]]] = []

    async def make(self, asks: Sequence[Ask]) -> None:
        """Claim what is asked for, in one turn of the loop, so that a store can do it in one transaction.

        Raises:
            LeaseLostError: Nothing may be written any more.
            ClosedError: The deliveries do not run any more.

        Cancellation:
            What is granted meanwhile is what ``cut_off()`` returns.
        """
        common = self._common
        self._check()
        now, kept = common.deliveries.clock.time(), common.deliveries.kept
        self._under_way = [
            begin(
                kept.claim(
                    ask.endpoint,
                    holder=common.holder,
                    cutoff=self.cutoff,
                    after=ask.after,
                    now=now,
                    until=now + ask.lasts,
                    limit=ask.number,
                )
            )
            for ask in asks
        ]
        await asyncio.wait(self._under_way)
        answered, self._under_way = self._under_way, []
        for ask, claim in zip(asks, answered, strict=True):
            ask.error = asyncio.CancelledError() if claim.cancelled() else claim.exception()
            if ask.error is None:
                self._granted(ask, claim.result())

    async def have_changed(self, asks: Sequence[Ask]) -> bool:
        """Whether one of some endpoints is not any more as it was when its rows were asked for, as far as is known."""
        kept = self._common.deliveries.kept
        looks = await asyncio.gather(*(kept.endpoints(ask.endpoint.name) for ask in asks))
        return any(
            [(now.created_at, now.version) for now in found] != [(ask.endpoint.created_at, ask.endpoint.version)]
            for ask, found in zip(asks, looks, strict=True)
        )

    async def cut_off(self) -> list[DeliveryRow]:
        """End what is under way; what was granted all the same."""
        claims, self._under_way = self._under_way, []
        if claims:
            await asyncio.wait(claims, timeout=RELEASE_GRACE)
            for claim in claims:
                claim.cancel()  # a no-op where it has ended
            await asyncio.wait(claims, timeout=CUT_GRACE)
        return [
            row
            for claim in claims
            if claim.done() and not claim.cancelled() and claim.exception() is None
            for row, _ in claim.result()
        ]

    def _granted(self, ask: Ask, page: list[ClaimedRow]) -> None:
        self._common.episodes.store_is_well()
        self._tally.claimed += len(page)
        ask.page = page
        if page:
            last = page[-1].row
            ask.lane.after = Place(self.cutoff if last.due_at is None else last.due_at, last.id)
