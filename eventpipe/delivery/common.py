"""What all passes of one reconciler have in common."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from eventpipe.delivery.bookkeeping import Books
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.episodes import DeliveryEpisodes
from eventpipe.delivery.pacing import Pace, Pacing
from eventpipe.delivery.sending import GRACE
from eventpipe.delivery.setback import Setback
from eventpipe.stores.delivery_values import EndpointInfo

# A claim that reaches further than this into the future was made by a clock that was set back since.
LONGEST_CLAIM: Final = 3600.0

# Rows that may be sent and unwritten beside those of attempts that run, for each worker but the first: a slot is given
# back when the far end has answered, and whoever dies then costs each of these rows one more copy. A single worker has
# each row written before it sends the next.
UNWRITTEN: Final = 4

# Seconds that a claim lasts beyond the longest attempt: for what is written after it.
AFTER_ATTEMPT: Final = 5.0


class Common:
    """The options of a reconciler, its slots, and what it has learnt.

    Attributes:
        deliveries: Whose rows are delivered.
        timeout: Seconds for one attempt, unless its endpoint has its own.
        interval: Seconds from one pass to the next, where nothing calls for one before.
        claim_ttl: Seconds that a claim lasts.
        holder: Who claims, for the eyes of people.
        random: A source of floats, uniform in ``[0, 1)``.
        pacing: Divides the slots.
        books: Remembers what was sent and is not written.
        episodes: Logs what lasts.
        unwritten: Rows that were sent and are being written, or are about to be.
        stirs: Set, each of them, when a slot is free; each in turn is the first, so that no pass has all that are.
        rescues_at: When a pass that nobody asked for looks for rows that a clock left lying, on the loop clock.
        setback: Says when to look for rows that a clock left lying and that may be meant for such a moment.
        skipped: Endpoints that a pass left to an earlier one, which is not through with them.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        *,
        name: str,
        holder: str,
        workers: int,
        timeout: float,
        interval: float,
        claim_ttl: float,
        random: Callable[[], float],
    ) -> None:
        self.deliveries = deliveries
        self.timeout = timeout
        self.interval = interval
        self.claim_ttl = claim_ttl
        self.holder = holder
        self.random = random
        self.pacing = Pacing(workers)
        self.books = Books()
        self.episodes = DeliveryEpisodes(name)
        self.unwritten = 0
        self.stirs: deque[asyncio.Event] = deque()
        self.rescues_at = -math.inf
        self.setback = Setback(claim_ttl)
        self.skipped: set[Pace] = set()

    @property
    def may_send(self) -> bool:
        """Whether there are not too many rows that are sent and not written."""
        return self.unwritten <= UNWRITTEN * (self.pacing.workers - 1)

    def wrote(self, number: int) -> None:
        """See rows written, or lost."""
        could_send = self.may_send
        self.unwritten -= number
        if not could_send:
            self.freed()

    def longest(self, endpoint: EndpointInfo) -> float:
        """Seconds that an attempt may take at an endpoint."""
        return (endpoint.timeout or self.timeout) + GRACE

    def claim_lasts(self, endpoint: EndpointInfo) -> float:
        """Seconds that a claim lasts of rows of an endpoint."""
        return min(max(self.claim_ttl, self.longest(endpoint) + AFTER_ATTEMPT), LONGEST_CLAIM)

    def freed(self) -> None:
        """Wake whoever waits for a slot, or to send."""
        self.stirs.rotate()
        for stir in self.stirs:
            with contextlib.suppress(RuntimeError):  # of a loop that was closed
                stir.set()
