"""What is put on disk instead of being dropped, and what becomes of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from eventpipe.core.ledger import Ledger
from eventpipe.errors import ClosedError, StoreError
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.transport.barrier import Standing

if TYPE_CHECKING:  # it needs SQLite, and what Windows does not have
    from eventpipe.spool.spool import Spool
    from eventpipe.spool.writing import Writing

# Seconds between two batches that see whether a far end takes something again, while what it does not take is on disk.
PROBE_INTERVAL: Final = 60.0
# Where time, or another configuration, may lead to another end.
HELPED: Final = frozenset(
    {
        DropReason.QUEUE_FULL,
        DropReason.EXHAUSTED,
        DropReason.CLOSE_DEADLINE,
        DropReason.UNAUTHORIZED,
        DropReason.MISCONFIGURED,
    }
)

Confirm = Callable[[Outcome, Standing], None]


class Spilling:
    """The disk of one sink.

    An event that is on disk already is let go at once. One that is not is counted as on disk when it is about to be
    written, and nobody is told before it is; where it cannot be written it is dropped, for the reason that it would
    have been dropped for.

    Args:
        sink: The sink's name.
        spool: The disk.
        ledger: Counts what goes there.
        max_events: Events that may be on their way there; those beyond are dropped.
        confirm: Books what is known then, and tells of it.
    """

    def __init__(self, sink: str, spool: Spool, ledger: Ledger, *, max_events: int, confirm: Confirm) -> None:
        self._sink = sink
        self._spool = spool
        self._shelf = spool.shelves[sink]
        self._ledger = ledger
        self._max_events = max_events
        self._confirm = confirm
        self._writing: dict[asyncio.Future[None], tuple[Outcome, Standing]] = {}
        self._events = 0  # of those
        self._deleting: set[asyncio.Future[int]] = set()

    def divert(self, outcome: Outcome, standing: Standing) -> list[Outcome]:
        """What is to be booked now of an outcome: what is on disk, and what is dropped all the same."""
        if outcome.kind not in (OutcomeKind.DELIVERED, OutcomeKind.DROPPED):
            return [outcome]
        if outcome.kind is OutcomeKind.DELIVERED or outcome.reason not in HELPED:
            for deleting in self._spool.settle(self._sink, outcome.captured):
                self._deleting.add(deleting)
                deleting.add_done_callback(self._deleting.discard)
            return [outcome]
        self._spool.writer.hand_in()
        kept, rest = _parted(outcome.captured, self._shelf.is_kept)
        parts = []
        if kept:
            kept = self._await_written(replace(outcome, captured=kept), standing)
            self._shelf.put_back(event.ticket for event in kept)
            parts += [replace(outcome, kind=OutcomeKind.SPOOLED, captured=kept)] if kept else []
        written = self._begin(replace(outcome, captured=rest[: self._max_events - self._events]), standing)
        if len(rest) > written:
            parts.append(replace(outcome, captured=rest[written:]))
        return parts

    def insure(self, events: Iterable[CapturedEvent]) -> None:
        """Write what is in memory alone, so that whatever becomes of the process, or of its time, it is on disk."""
        self._spool.writer.hand_in()
        fresh = [event for event in events if not self._shelf.is_kept(event)]
        if fresh:
            with contextlib.suppress(ClosedError, StoreError):  # it is in memory alone, as before
                self._spool.writer.write(fresh, (self._sink,), is_synced=False)

    async def written(self) -> None:
        """Wait until what is on its way to the disk now is there, or is known not to come there.

        Cancellation:
            Safe. It goes on being written.
        """
        if self._writing:
            await asyncio.wait({*self._writing})

    async def let_go(self) -> None:
        """Wait until what was settled is off the disk: what is not yet would be sent again after a kill.

        Cancellation:
            Safe. It goes on being deleted.
        """
        loop = asyncio.get_running_loop()
        deleting = {deleted for deleted in self._deleting if deleted.get_loop() is loop}  # one that is closed ends none
        if deleting:
            await asyncio.wait(deleting)

    def give_up(self) -> None:
        """Count as dropped what is still on its way to the disk; whether it comes there, nobody will know."""
        for waiter in [*self._writing]:
            self._end(waiter, is_on_disk=False)

    @property
    def is_behind(self) -> bool:
        """Whether producers had better wait, because half of the events are on their way that may be."""
        return 2 * self._events >= self._max_events

    @property
    def events(self) -> int:
        """Events that are on their way to the disk."""
        return self._events

    def _begin(self, outcome: Outcome, standing: Standing) -> int:
        """Begin to write the events of an outcome; how many."""
        events = outcome.captured
        if not events:
            return 0
        try:
            writing = self._spool.writer.write(events, (self._sink,), is_synced=False)
        except (ClosedError, StoreError):
            return 0
        self._await(writing, outcome, standing)
        return len(events)

    def _await_written(self, outcome: Outcome, standing: Standing) -> tuple[CapturedEvent, ...]:
        """Wait for those of an outcome that somebody is having written just now; the others are on disk."""
        there: list[CapturedEvent] = []
        coming: dict[Writing, list[CapturedEvent]] = {}
        for event in outcome.captured:
            writing = self._spool.writer.under_way(event)
            (there if writing is None else coming.setdefault(writing, [])).append(event)
        for writing, events in coming.items():
            self._await(writing, replace(outcome, captured=tuple(events)), standing)
        return tuple(there)

    def _await(self, writing: Writing, outcome: Outcome, standing: Standing) -> None:
        """Count events as on disk that are on their way there, and book what became of them when that is known."""
        events = outcome.captured
        self._ledger.spool(len(events), sum(event.held for event in events))
        self._events += len(events)
        waiter = writing.waiter()
        self._writing[waiter] = outcome, standing
        waiter.add_done_callback(lambda waiter: self._end(waiter, is_on_disk=writing.error is None))

    def _end(self, waiter: asyncio.Future[None], *, is_on_disk: bool) -> None:
        found = self._writing.pop(waiter, None)
        if found is None:
            return  # given up before
        outcome, standing = found
        self._events -= len(outcome.captured)
        if is_on_disk:
            self._shelf.put_back(event.ticket for event in outcome.captured)
            outcome = replace(outcome, kind=OutcomeKind.SPOOLED)
        self._confirm(outcome, standing)


def _parted(
    events: Iterable[CapturedEvent], is_so: Callable[[CapturedEvent], bool]
) -> tuple[tuple[CapturedEvent, ...], tuple[CapturedEvent, ...]]:
    answers = [(event, is_so(event)) for event in events]
    return tuple(event for event, yes in answers if yes), tuple(event for event, yes in answers if not yes)
