"""Which flush waits for which events. Decides, never waits."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import Counter, deque
from typing import Literal, NamedTuple, get_args

from eventpipe.outcomes import DropReason, OutcomeKind

Until = Literal["settled", "attempted"]
UNTIL = get_args(Until)


class Standing(NamedTuple):
    """Which barriers count an event, or a batch.

    Attributes:
        epoch: The newest barrier that had been opened before its events were captured: only later ones count it.
        covered: The newest barrier that has counted the end of an attempt of it; 0 before the first.
        exempt: Barriers that do not wait for it, because its own ``send`` waits for them.
    """

    epoch: int
    covered: int = 0
    exempt: frozenset[int] = frozenset()


class Barrier:
    """A place in the order of capture and the number of events before it that a flush still waits for.

    Attributes:
        serial: Barriers are numbered from 1 as they are opened; an event counts for those above its epoch.
        captured: Events that had ever come in when it was opened; -1 when nobody may share it.
        attempts: Attempts that had begun when it was opened.
        until: What a flush waits for.
        unsettled: Events before the barrier that are not settled.
        unattempted: Events before it that have not had the end of an attempt since it was opened.
        delivered: Events before it that the far end accepted since it was opened.
        dropped: Events before it that were dropped since, by reason.
        spooled: Events before it that went to disk since, and are nowhere else.
        condition: Announces that the barrier was reached.
        flushes: Calls that have it.
        is_given_up: Nobody is left who could reach it.
    """

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "attempts",
        "captured",
        "condition",
        "delivered",
        "dropped",
        "flushes",
        "is_given_up",
        "serial",
        "spooled",
        "unattempted",
        "unsettled",
        "until",
    )

    def __init__(self, serial: int, until: Until, pending: int, captured: int, attempts: int) -> None:
        self.serial = serial
        self.captured = captured
        self.until = until
        self.unsettled = self.unattempted = pending
        self.attempts = attempts
        self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.spooled = 0
        self.condition = asyncio.Condition()
        self.flushes = 0
        self.is_given_up = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf  # uvloop's handle of what is due at once does not say when

    @property
    def is_reached(self) -> bool:
        """Whether nothing is waited for any longer."""
        return self.unsettled <= 0 or (self.until == "attempted" and self.unattempted <= 0)

    @property
    def is_over(self) -> bool:
        """Whether it was reached, or nobody is left who could reach it."""
        return self.is_reached or self.is_given_up

    async def announce(self) -> None:
        """Let everybody who waits here look whether that is over."""
        async with self.condition:
            self.condition.notify_all()

    def announce_by(self, deadline: float | None) -> None:
        """Announce it by ``deadline`` on the loop clock, whatever is the case then; ``None`` asks for nothing.

        All who wait share one timer, for the nearest of their deadlines: those who are not late then ask again.
        """
        if deadline is None or self._alarm_at <= deadline:
            return
        self.silence()
        self._alarm_at = deadline
        self._alarm = asyncio.get_running_loop().call_at(deadline, self._ring)

    def silence(self) -> None:
        """Announce nothing on account of a deadline any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            self._alarm_at = math.inf

    def _ring(self) -> None:
        self._alarm = None
        self._alarm_at = math.inf
        asyncio.get_running_loop().create_task(self.announce())  # over in one step


def _serial(barrier: Barrier) -> int:
    return barrier.serial


class Barriers:
    """The open barriers of one sink, oldest first.

    A *cut* is a barrier's place in the queue, as the number of events ever put in before it; a batch never spans one.
    While producers wait for room, a new barrier has no place yet: it gets one when they are in.

    Attributes:
        serial: The newest barrier's serial.
    """

    def __init__(self) -> None:
        self.serial = 0
        self._open: list[Barrier] = []
        self._cuts: deque[tuple[int, int]] = deque()
        self._passed = 0  # the serial of the newest cut that was passed
        self._reached: list[Barrier] = []

    def open(self, *, pending: int, captured: int, attempts: int, until: Until, shared: bool) -> Barrier:
        """Open a barrier before everything captured from now on, or share the newest one if it stands there.

        Args:
            pending: Events that are pending now and shall be waited for.
            captured: Events that ever came in: where that is the same, so are the events to wait for.
            attempts: Attempts that began so far. A barrier that waits for attempts is shared only when none began and
                none failed.
            until: What to wait for.
            shared: ``False`` when ``pending`` leaves something out, so that nobody else may wait here.
        """
        newest = self._open[-1] if self._open else None
        if (
            shared
            and newest is not None
            and newest.serial == self.serial
            and newest.captured == captured
            and newest.until == until
            and (until == "settled" or (newest.attempts == attempts and newest.unattempted == pending))
        ):
            return newest
        self.serial += 1
        barrier = Barrier(self.serial, until, pending, captured if shared else -1, attempts)
        if not barrier.is_reached:
            self._open.append(barrier)
        return barrier

    def place(self, serial: int, position: int) -> None:
        """Give a barrier its place in the queue.

        A cut at the same place is not needed beside it, and one that nobody waits at any longer is not either: what
        came before it leaves with the events before this one, in batches that need not end there.
        """
        while self._cuts and (self._cuts[-1][0] == position or not self._is_last_cut_needed()):
            self._cuts.pop()
        self._cuts.append((position, serial))

    def next_cut(self) -> int | None:
        """The place of the next barrier; ``None`` when there is none."""
        return self._cuts[0][0] if self._cuts else None

    def pass_cut(self) -> int:
        """Everything before the next cut has been taken from the queue.

        Returns:
            The serial of its barrier: the epoch of the events behind it.
        """
        self._passed = self._cuts.popleft()[1]
        return self._passed

    def settled(self, standing: Standing, events: int, kind: OutcomeKind, reason: str | None) -> None:
        """Count settled events at the barriers that wait for them."""
        if not self._open:
            return
        for barrier in self._counting(standing):
            barrier.unsettled -= events
            if barrier.serial > standing.covered:
                barrier.unattempted -= events
            if kind is OutcomeKind.DELIVERED:
                barrier.delivered += events
            elif kind is OutcomeKind.SPOOLED:
                barrier.spooled += events
            else:
                barrier.dropped[reason or DropReason.REJECTED] += events
        self._collect()

    def attempted(self, standing: Standing, events: int) -> Standing:
        """Count the end of an attempt after which ``events`` stay pending.

        Returns:
            Their standing from now on.
        """
        for barrier in self._counting(standing):
            if barrier.serial > standing.covered:
                barrier.unattempted -= events
        self._collect()
        return standing._replace(covered=self.serial)

    def take_reached(self) -> list[Barrier]:
        """The barriers reached since the last call, to be announced."""
        reached, self._reached = self._reached, []
        return reached

    @property
    def has_reached(self) -> bool:
        """Whether a barrier waits to be announced."""
        return bool(self._reached)

    @property
    def has_open(self) -> bool:
        """Whether a place in the order of capture is to be kept, because somebody waits for what is before it."""
        return bool(self._open)

    def give_up(self) -> None:
        """Announce every barrier as it stands: nobody is left who could reach them."""
        for barrier in self._open:
            barrier.is_given_up = True
        self._reached.extend(self._open)
        self._open.clear()

    def abandon(self) -> None:
        """Announce none of the barriers there are: the loop of those who waited was closed, and cannot be woken."""
        for barrier in self._open:
            barrier.is_given_up = True
        self._open.clear()
        self._reached.clear()

    def forget(self, barrier: Barrier) -> None:
        """Nobody waits for this barrier any longer."""
        barrier.silence()
        if barrier in self._open:
            self._open.remove(barrier)

    def _is_last_cut_needed(self) -> bool:
        """Whether a barrier is open that stands at the last cut: its own, or an older one that it took the place of."""
        before = self._cuts[-2][1] if len(self._cuts) > 1 else self._passed
        index = bisect_right(self._open, before, key=_serial)
        return index < len(self._open) and self._open[index].serial <= self._cuts[-1][1]

    def _counting(self, standing: Standing) -> list[Barrier]:
        return [
            barrier
            for barrier in self._open
            if barrier.serial > standing.epoch and barrier.serial not in standing.exempt
        ]

    def _collect(self) -> None:
        if any(barrier.is_reached for barrier in self._open):
            self._reached.extend(barrier for barrier in self._open if barrier.is_reached)
            self._open = [barrier for barrier in self._open if not barrier.is_reached]
