"""What is on disk only, on its way back: behind what is fresh, and no faster than there is room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from eventpipe.core.deadline import Deadline
from eventpipe.core.log import contained_logger
from eventpipe.core.service import Service
from eventpipe.errors import ClosedError, StoreError

if TYPE_CHECKING:
    from eventpipe.options import ClientOptions
    from eventpipe.spool.spool import Spool
    from eventpipe.transport.dispatcher import Dispatcher

# Seconds between two batches while the far end fails: each is a probe.
PROBE_INTERVAL: Final = 60.0

_logger = contained_logger(__name__)


class Replay(Service):
    """Gives one sink its events back, a batch at a time, while its queue is at most half full.

    Args:
        dispatcher: The sink's.
        spool: The disk.
        options: The client's: as many events at once as a batch has.
    """

    def __init__(self, dispatcher: Dispatcher, spool: Spool, options: ClientOptions) -> None:
        super().__init__(f"{dispatcher.name} replay")
        self._dispatcher = dispatcher
        self._spool = spool
        self._shelf = spool.shelves[dispatcher.traits.name]
        self._max_events = options.batch_events
        self._max_bytes = options.max_batch_bytes
        self._probe_at = 0.0
        self._stir = asyncio.Event()

    def look(self) -> None:
        """Look again: something came to be on disk only, or room was made, or the far end took something."""
        if self._shelf.waiting:
            self._stir.set()

    async def _open(self) -> None:
        self._stir = asyncio.Event()
        self._shelf.on_waiting = self.look
        self._dispatcher.exit.on_room = self.look

    async def _serve(self) -> None:
        loop, life = asyncio.get_running_loop(), self._life
        assert life is not None  # noqa: S101  # this is a step of it
        self._stir.set()
        while not life.stop_requested.is_set():
            self._stir.clear()
            while self._may_go() and await self._give_back():
                pass
            # Once a probe is due, what it still lacks is room, and that is told.
            is_waiting = self._shelf.waiting and self._dispatcher.is_failing and self._probe_at > loop.time()
            probing = loop.call_at(self._probe_at, self._stir.set) if is_waiting else None
            try:
                await self._stir.wait()
            finally:
                if probing is not None:
                    probing.cancel()

    def _request_stop(self, deadline: Deadline) -> None:
        del deadline
        self._stir.set()

    async def _close(self) -> None:
        self._shelf.on_waiting = self._dispatcher.exit.on_room = None

    def _may_go(self) -> bool:
        """Whether something is on disk, and there is room for it, and a far end that takes it or is to be probed."""
        if self._life is None or self._life.stop_requested.is_set():
            return False
        if not self._shelf.waiting or not self._dispatcher.intake.has_room or self._dispatcher.intake.is_closed:
            return False
        return not self._dispatcher.is_failing or asyncio.get_running_loop().time() >= self._probe_at

    async def _give_back(self) -> bool:
        """Read a batch and hand it over; whether there was one."""
        try:
            events = await self._spool.take(self._dispatcher.traits.name, self._max_events, self._max_bytes)
        except (StoreError, ClosedError, OSError) as error:
            _logger.warning("%s cannot read the spool, and tries again: %s", self.name, error)
            await self._wait_for_stop(1.0)
            return False
        self._probe_at = asyncio.get_running_loop().time() + PROBE_INTERVAL
        if events:
            self._dispatcher.take_back(events)
        return bool(events)
