"""One file of a spool, from the event loop that owns it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from typing import TypeVar

from eventpipe.clock import Clock
from eventpipe.errors import ClosedError, SpoolError, StoreError
from eventpipe.spool import rows
from eventpipe.spool.folder import Owned
from eventpipe.spool.status import Glance
from eventpipe.spool.values import Ask, Discard, Holding, Page, Settled, Written
from eventpipe.stores.sqlite_faults import is_broken
from eventpipe.stores.sqlite_jobs import Need
from eventpipe.stores.sqlite_port import Port, open_port

T = TypeVar("T")

_DISCARD_STEP = 1_000


class SpoolFile:
    """Writes events, reads them back and lets go of them; made by ``open_file()``.

    Attributes:
        owned: Whose it is, and where.
        holding: What it held when it was opened.
        bits: By sink: the bit by which rows say that they are owed to it.
        last: The highest number that was ever given.
        fault: What showed that it is damaged beyond its rows. ``None``: nothing did.
    """

    def __init__(
        self, owned: Owned, port: Port, holding: Holding, bits: dict[str, int], clock: Clock, last: int
    ) -> None:
        self.owned = owned
        self.holding = holding
        self.bits = bits
        self.fault: BaseException | None = None
        self._port = port
        self._clock = clock
        self.last = last

    def next_ids(self, events: int) -> range:
        """So many numbers that no event ever had in this file, one after the other."""
        first, self.last = self.last + 1, self.last + events
        return range(first, self.last + 1)

    def write(self, written: Written, *, is_synced: bool) -> asyncio.Future[int]:
        """Keep events; those who write in one turn of the loop share a commit.

        Returns:
            Done when they are committed, with ``is_synced`` so that they outlive a loss of power: the bytes in use.

        Raises:
            ClosedError: It was closed.
        """
        need = Need.GROW if is_synced else Need.ADD
        return self._watched(self._port.submit(rows.write, written, need, takes_many=True))

    def settle(self, bit: int, ids: Sequence[int]) -> asyncio.Future[int]:
        """Let go of events that a sink has settled; those who do so in one turn of the loop share a commit.

        Returns:
            Done when they are gone: the bytes in use. What is not done before the process ends is read again, and sent
            a second time.

        Raises:
            ClosedError: It was closed.
        """
        return self._watched(self._port.submit(rows.settle, Settled(bit, ids), Need.NOTE, takes_many=True))

    async def read(self, bit: int, *, after: int, held: Set[int], max_events: int, max_bytes: int) -> Page:
        """Read events that a sink is owed, in the order in which they were written.

        Args:
            bit: Of the sink.
            after: Behind this number.
            held: Numbers that are in memory already, and are left out.
            max_events: At most so many.
            max_bytes: At most so many, or one event.

        Raises:
            StoreError: The file cannot be read.
            ClosedError: It was closed.
        """
        now = self._clock.time()
        shift = asyncio.get_running_loop().time() - now
        # What does not pass its checksum is set aside: a change, and one that makes no room.
        ask = Ask(bit, after, held, max_events, max_bytes, now, shift)
        page: Page = await self._watched(self._port.submit(rows.read, ask, Need.NOTE))
        return page

    async def discard(self, *, before: float, held: Set[int], max_bytes: float) -> list[tuple[int, int]]:
        """Delete events, the oldest first: as many as are deleted in some milliseconds, in which nobody's job is done.

        Args:
            before: Those that were captured before this moment of the wall clock.
            held: Numbers that are in memory, and stay.
            max_bytes: Until they come to so many.

        Returns:
            Of each its number, and the bits of the sinks that it was owed to.

        Raises:
            StoreError: The file cannot be changed.
            ClosedError: It was closed.
        """
        ask = Discard(before, held, _DISCARD_STEP, max_bytes)
        gone: list[tuple[int, int]] = await self._watched(self._port.submit(rows.discard, ask, Need.NOTE))
        return gone

    async def hold(self) -> Holding:
        """What it holds now."""
        holding: Holding = await self._port.submit(rows.hold, self._clock.time(), Need.NOTE)
        return holding

    async def glance(self) -> Glance:
        """What of it is quickly looked up."""
        glance: Glance = await self._port.submit(rows.glance, None, Need.READ)
        return glance

    async def used(self) -> int:
        """Bytes in use."""
        used: int = await self._port.submit(rows.used, None, Need.READ)
        return used

    async def is_empty(self) -> bool:
        """Whether nothing is left, not even what was damaged, when all that was asked for before is done."""
        is_empty: bool = await self._port.submit(rows.is_empty, None, Need.READ)
        return is_empty

    async def aclose(self) -> None:
        """Do what was asked for, and close it; it stays this process's until ``owned`` is released.

        Cancellation:
            It goes on in its thread.
        """
        await self._port.aclose(rows.note_last, self.last)

    def _watched(self, job: asyncio.Future[T]) -> asyncio.Future[T]:
        job.add_done_callback(self._see)
        return job

    def _see(self, job: asyncio.Future[T]) -> None:
        error = None if job.cancelled() else job.exception()
        if is_broken(error):
            self.fault = error


async def open_file(owned: Owned, sinks: Sequence[str], clock: Clock, *, after: int = 0) -> SpoolFile:
    """Open a file of events, or make it.

    Args:
        owned: Which.
        sinks: Names of the sinks.
        clock: What tells the time.
        after: A number that was given, though it may not be there.

    Raises:
        SpoolError: It cannot be opened, or is none of ours. It was left as it is.

    Cancellation:
        Safe.
    """
    port = await open_port(
        owned.path, rows.SCHEME, is_shared=False, durability="power", poll=1.0, changed=_Nobody().changed
    )
    try:
        bits: dict[str, int]
        holding: Holding
        bits, holding = await port.submit(rows.begin, (sinks, clock.time()), Need.NOTE)
    except BaseException as error:
        port.close_soon(rows.used, None)
        if isinstance(error, StoreError | ClosedError) or not isinstance(error, Exception):
            raise
        # More sinks than there are bits; or what a damaged table holds in the place of numbers and names.
        raise SpoolError(f"{owned.path} cannot be used: {error}") from error
    return SpoolFile(owned, port, holding, bits, clock, max(after, holding.last))


class _Nobody:
    """Is told of nothing: no other process changes the file."""

    def changed(self, names: Set[str] | None) -> None:
        """As ``Changed``."""
