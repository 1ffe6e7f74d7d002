"""Having an event on disk before its capture returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from eventpipe.core.log import contained_logger
from eventpipe.core.service import ServiceState
from eventpipe.errors import ClosedError, StoreError
from eventpipe.transport.receipts import KeptReceipt, Receipt

if TYPE_CHECKING:
    from eventpipe.events import CapturedEvent, Durability, Event
    from eventpipe.spool.spool import Spool
    from eventpipe.spool.writing import Writing
    from eventpipe.transport.dispatcher import Dispatcher
    from eventpipe.transport.intake import FanOut, Intake
    from eventpipe.transport.runtime import Runtime

_logger = contained_logger("eventpipe")


class Keeping:
    """Writes what must survive more than its process's memory; where that fails the event is in memory all the same.

    Args:
        spool: The disk.
        durability: What events survive that do not say so themselves.

    Attributes:
        spool: The same.
        failed: Events that could not be written as durably as was wanted.
    """

    def __init__(self, spool: Spool, durability: Durability) -> None:
        self.failed = 0
        self.spool = spool
        self._durability = durability
        self._is_failing = False

    def waits_for(self, described: Event) -> bool:
        """Whether an event is to be on disk before its capture returns."""
        return (described.durability or self._durability) != "memory"

    async def ready(self, described: Event) -> None:
        """Wait until the disk is open, where an event needs it and it is being opened."""
        if self.waits_for(described) and self.spool.state is ServiceState.STARTING:
            with contextlib.suppress(ClosedError, StoreError, OSError):  # met when it is to be written
                await self.spool.started()

    def keep(self, receipt: Receipt, dispatchers: Sequence[Dispatcher], durability: Durability | None) -> Receipt:
        """Begin to write an event that these sinks have, or wait for room for; the receipt that tells of that.

        Args:
            receipt: Of the event.
            dispatchers: Those of the sinks.
            durability: What it must survive. ``None``: what events do that do not say so.
        """
        level = durability or self._durability
        if level == "memory" or not dispatchers:
            return receipt
        try:
            writing = self.turn(names_of(dispatchers), is_synced=level == "power")
        except (ClosedError, StoreError) as error:
            self._failed(1, error)
            return KeptReceipt(receipt._event, error, receipt.accepted, receipt.reason)
        writing.events.append(receipt._event)
        return KeptReceipt(receipt._event, writing, receipt.accepted, receipt.reason)

    def turn(self, sinks: tuple[str, ...], *, is_synced: bool) -> Writing:
        """What this turn of the loop writes for these sinks; see ``Spool.turn()``."""
        writing = self.spool.writer.turn(sinks, is_synced=is_synced)
        writing.on_end = self._ended
        return writing

    def _ended(self, writing: Writing) -> None:
        if writing.error is not None:
            self._failed(len(writing.events), writing.error)
        elif self._is_failing:
            self._is_failing = False
            _logger.warning("events are written to the spool again; %d were in memory only", self.failed)

    def _failed(self, events: int, error: BaseException) -> None:
        self.failed += events
        if not self._is_failing:
            self._is_failing = True
            _logger.error("events cannot be written to the spool, and are in memory only: %s", error)


class KeptIntake:
    """The way into all sinks for events that are on disk before their capture returns.

    Args:
        intake: The way into the sinks.
        keeping: The way to the disk.
        runtime: Knows the loop that all of it is on.
        dispatchers: The sinks'.
        durability: What the events must survive.
    """

    __slots__ = ("_intake", "_is_synced", "_keeping", "_runtime", "_sinks", "_spilling", "_turn")

    def __init__(
        self,
        intake: Intake | FanOut,
        keeping: Keeping,
        runtime: Runtime,
        dispatchers: Sequence[Dispatcher],
        durability: Durability,
    ) -> None:
        self._intake = intake
        self._keeping = keeping
        self._runtime = runtime
        self._sinks = names_of(dispatchers)
        self._spilling = [dispatcher.exit.spilling for dispatcher in dispatchers]
        self._is_synced = durability == "power"
        self._turn: Writing | None = None

    def offer(self, event: CapturedEvent, held: int) -> Writing | None:
        """Let ``event`` in, which has so many bytes, and have it written in this turn; ``None``: it is in nowhere.

        So it is where there is anything to wait for but the commit.
        """
        writing = self._turn
        if writing is None or writing.is_begun or writing.loop is not asyncio.get_running_loop():
            if self._keeping.spool.state is not ServiceState.RUNNING or not self._runtime.is_here:
                return None
            if any(spilling is not None and spilling.is_behind for spilling in self._spilling):
                return None
            try:
                writing = self._turn = self._keeping.turn(self._sinks, is_synced=self._is_synced)
            except (ClosedError, StoreError):
                return None
        if not self._intake.offer(event, held):
            return None
        writing.events.append(event)
        return writing


def names_of(dispatchers: Iterable[Dispatcher]) -> tuple[str, ...]:
    """The names of their sinks."""
    return tuple(dispatcher.traits.name for dispatcher in dispatchers)
