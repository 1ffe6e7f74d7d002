"""Having an event on disk before its capture returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventpipe.core.log import contained_logger
from eventpipe.core.service import ServiceState
from eventpipe.errors import ClosedError, StoreError
from eventpipe.transport.receipts import KeptReceipt, Receipt

if TYPE_CHECKING:
    from eventpipe.events import Durability, Event
    from eventpipe.spool.spool import Spool
    from eventpipe.transport.dispatcher import Dispatcher

_logger = contained_logger("eventpipe")


class Keeping:
    """Writes what must survive more than its process's memory; where that fails the event is in memory all the same.

    Args:
        spool: The disk.
        durability: What events survive that do not say so themselves.

    Attributes:
        failed: Events that could not be written as durably as was wanted.
    """

    def __init__(self, spool: Spool, durability: Durability) -> None:
        self.failed = 0
        self._spool = spool
        self._durability = durability
        self._is_failing = False

    async def ready(self, described: Event) -> None:
        """Wait until the disk is open, where an event needs it and it is being opened."""
        level = described.durability or self._durability
        if level != "memory" and self._spool.state is ServiceState.STARTING:
            with contextlib.suppress(ClosedError, StoreError, OSError):  # met when it is to be written
                await self._spool.started()

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
            writing = self._spool.write(
                [receipt._event], [dispatcher.traits.name for dispatcher in dispatchers], is_synced=level == "power"
            )
        except (ClosedError, StoreError) as error:
            writing = asyncio.get_running_loop().create_future()
            writing.set_exception(error)
        writing.add_done_callback(self._wrote)
        return KeptReceipt(receipt, writing, level)

    def _wrote(self, writing: asyncio.Future[int]) -> None:
        error = None if writing.cancelled() else writing.exception()
        if error is None and not writing.cancelled():
            if self._is_failing:
                self._is_failing = False
                _logger.warning("events are written to the spool again; %d were in memory only", self.failed)
            return
        self.failed += 1
        if not self._is_failing:
            self._is_failing = True
            _logger.error("events cannot be written to the spool, and are in memory only: %s", error)
