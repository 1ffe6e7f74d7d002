"""The flushes of one sink: barriers that are opened behind what is pending, and given back."""

from __future__ import annotations

from collections.abc import Callable

from eventpipe.transport.backlog import Backlog
from eventpipe.transport.barrier import Barrier, Barriers, Until
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.exit import Exit


class Flushes:
    """Opens barriers at one sink and gives them back.

    Args:
        barriers: Those of the sink.
        backlog: What is pending.
        exit: What is on its way to the disk.
        own_batch: The batch that the calling task itself sends; ``None``: it sends none.
        now: Reads the loop clock.
        wake: Has the dispatcher look.
    """

    def __init__(
        self,
        barriers: Barriers,
        backlog: Backlog,
        exit: Exit,  # noqa: A002  # the word of the dispatcher for it
        *,
        own_batch: Callable[[], OutboundBatch | None],
        now: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._barriers = barriers
        self._backlog = backlog
        self._exit = exit
        self._own_batch = own_batch
        self._now = now
        self._wake = wake

    @property
    def own_events(self) -> int:
        """Events of the batch that the calling task itself sends; 0 elsewhere."""
        return len(own.events) if (own := self._own_batch()) else 0

    def open(self, until: Until, *, hurry: bool) -> tuple[Barrier, int]:
        """Make everything that waits leave now, and open a barrier behind it.

        Args:
            until: What the barrier waits for.
            hurry: Whether backoffs that wait are due at once as well.

        Returns:
            The barrier, which others may share, to be given back by ``leave()``; and the number of pending events that
            it leaves out, because the calling task itself sends them.
        """
        own, backlog, barriers = self._own_batch(), self._backlog, self._barriers
        intake = backlog.intake
        left_out = len(own.events) if own else 0
        newest = barriers.serial
        barrier = barriers.open(
            pending=backlog.pending + self._exit.on_way_to_disk - left_out,
            captured=intake.ledger.accepted + intake.ledger.waiting + intake.ledger.returned,
            attempts=backlog.attempts,
            until=until,
            shared=own is None,
        )
        barrier.flushes += 1
        if barrier.is_reached:
            return barrier, left_out
        if barrier.serial > newest:
            if own is not None:
                own.standing = own.standing._replace(exempt=own.standing.exempt | {barrier.serial})
            intake.room.mark(lambda: barriers.place(barrier.serial, intake.position))
            self._wake()
        if hurry and backlog.schedule.events:
            backlog.schedule.hurry(self._now())
            self._wake()
        return barrier, left_out

    def leave(self, barrier: Barrier) -> None:
        """Give ``barrier`` back; it is forgotten when nobody else has it."""
        barrier.flushes -= 1
        if barrier.flushes == 0:
            self._barriers.forget(barrier)

    def forget(self) -> None:
        """Nobody waits for any flush begun so far: their loop was closed."""
        self._barriers.abandon()
