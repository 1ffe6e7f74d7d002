"""What is on disk only, on its way back: behind what is fresh, and no faster than there is room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from eventpipe.core.deadline import Deadline
from eventpipe.core.log import contained_logger
from eventpipe.core.service import Service
from eventpipe.errors import ClosedError, StoreError
from eventpipe.transport.spilling import PROBE_INTERVAL

if TYPE_CHECKING:
    from eventpipe.options import ClientOptions
    from eventpipe.spool.spool import Spool
    from eventpipe.transport.dispatcher import Dispatcher

# However full the queue is, a batch goes back for so many that arrived: what waits on disk is not overtaken for ever.
TURN: Final = 5
# Part of the queue's bounds that is kept free for that, at most.
_PART: Final = 4

_logger = contained_logger(__name__)


class Replay(Service):
    """Gives one sink its events back, a batch at a time, while its queue is at most half full, or it is their turn.

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
        self._goes_first = options.spool_replay == "before"
        self._max_events = min(options.batch_events, max(options.queue_events // _PART, 1))
        self._max_bytes = min(options.max_batch_bytes, max(options.queue_bytes // _PART, 1))
        self._turn_at = 0  # by the number of events delivered
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
            self._reserve()
            while self._may_go() and await self._give_back():
                self._reserve()
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
        self._dispatcher.intake.reserve(0, 0)

    def _reserve(self) -> None:
        """Keep room for a batch, while there is one and a far end that takes it."""
        if self._shelf.waiting and not self._dispatcher.is_failing:
            self._dispatcher.intake.reserve(self._max_events, self._max_bytes)
        else:
            self._dispatcher.intake.reserve(0, 0)

    def _may_go(self) -> bool:
        """Whether something is on disk, and there is room for it, and a far end that takes it or is to be probed."""
        intake = self._dispatcher.intake
        if self._life is None or self._life.stop_requested.is_set() or intake.is_closed or not self._shelf.waiting:
            return False
        if self._dispatcher.is_failing:
            return intake.has_room and asyncio.get_running_loop().time() >= self._probe_at
        is_turn = self._goes_first or self._dispatcher.ledger.delivered >= self._turn_at
        return intake.has_room or (is_turn and intake.has_reserve)

    async def _give_back(self) -> bool:
        """Read a batch and hand it over; whether there was one."""
        try:
            events = await self._spool.take(self._dispatcher.traits.name, self._max_events, self._max_bytes)
        except (StoreError, ClosedError, OSError) as error:
            _logger.warning("%s cannot read the spool, and tries again: %s", self.name, error)
            await self._wait_for_stop(1.0)
            return False
        self._probe_at = asyncio.get_running_loop().time() + PROBE_INTERVAL
        self._turn_at = self._dispatcher.ledger.delivered + (TURN + 1) * self._max_events
        if events:
            self._dispatcher.take_back(events, goes_first=self._goes_first)
        return bool(events)
