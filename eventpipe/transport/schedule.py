"""When retries are due and lanes are open: a heap of backoffs, pauses, slow reopening. Decides, never waits."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from math import inf

from eventpipe.events import CapturedEvent
from eventpipe.transport.batch import OutboundBatch


class _Lane:
    """What a lane may do now.

    Attributes:
        retries: A heap of (due, tie breaker, batch).
        paused_until: No attempt begins before this moment.
        admitted: Attempts allowed at once; 1 after a pause (the probe), doubled by each success.
        in_flight: Attempts that run now and began since the last pause: an older one that stalls does not hold the
            probe back, and one that succeeds late says nothing of the lane after its pause.
    """

    __slots__ = ("admitted", "in_flight", "paused_until", "retries")

    def __init__(self, admitted: int) -> None:
        self.admitted = admitted
        self.retries: list[tuple[float, int, OutboundBatch]] = []
        self.paused_until = -inf
        self.in_flight: set[OutboundBatch] = set()


class Schedule:
    """The retry heaps and the pauses of one sink.

    Attributes:
        events: Events that wait for a later attempt.
    """

    def __init__(self, workers: int) -> None:
        """Make an empty schedule whose lanes admit ``workers`` attempts at once."""
        self._workers = workers
        self._lanes: dict[str | None, _Lane] = {}
        self._tie = count()
        self.events = 0

    def add(self, batch: OutboundBatch, due: float) -> None:
        """Let ``batch`` wait until ``due``."""
        heapq.heappush(self._lane(batch.lane).retries, (due, next(self._tie), batch))
        self.events += len(batch.events)

    def is_open(self, lane: str | None, now: float) -> bool:
        """Whether an attempt in this lane may begin now."""
        state = self._lanes.get(lane)
        return state is None or (state.paused_until <= now and len(state.in_flight) < state.admitted)

    def take_due(self, now: float) -> OutboundBatch | None:
        """The batch that has been due for longest, of the lanes that are open."""
        due = [
            (state.retries[0], state)
            for lane, state in self._lanes.items()
            if state.retries and state.retries[0][0] <= now and self.is_open(lane, now)
        ]
        if not due:
            return None
        _, state = min(due, key=lambda pair: pair[0][:2])
        batch = heapq.heappop(state.retries)[2]
        self.events -= len(batch.events)
        self._forget_if_usual(batch.lane)
        return batch

    def due_at(self, lanes_with_fresh: list[str | None], now: float) -> float | None:
        """When something can be sent that cannot be sent now.

        Args:
            lanes_with_fresh: Lanes in which batches wait that were never attempted.
            now: The loop clock.

        Returns:
            A moment on the loop clock, or ``None`` when only an attempt that ends can change anything.
        """
        moments = []
        for lane, state in self._lanes.items():
            if len(state.in_flight) >= state.admitted:
                continue  # the end of an attempt reopens it
            if lane in lanes_with_fresh and state.paused_until > now:
                moments.append(state.paused_until)
            if state.retries:
                moments.append(max(state.retries[0][0], state.paused_until))
        return min(moments, default=None)

    def begin(self, batch: OutboundBatch) -> None:
        """An attempt begins."""
        self._lane(batch.lane).in_flight.add(batch)

    def end(self, batch: OutboundBatch, *, succeeded: bool) -> None:
        """An attempt ended; a success lets twice as many begin, unless its lane was paused since it began."""
        state = self._lane(batch.lane)
        if batch in state.in_flight:
            state.in_flight.remove(batch)
            if succeeded:
                state.admitted = min(state.admitted * 2, self._workers)
                state.paused_until = -inf  # it began after the pause
        self._forget_if_usual(batch.lane)

    def pause(self, lane: str | None, until: float) -> None:
        """Begin no attempt in this lane before ``until``, and then a single one."""
        state = self._lane(lane)
        state.paused_until = max(state.paused_until, until)
        state.admitted = 1
        state.in_flight.clear()

    def paused_until(self, lane: str | None) -> float:
        """When the lane's pause ends; in the past when it is not paused."""
        state = self._lanes.get(lane)
        return -inf if state is None else state.paused_until

    def pauses(self, now: float) -> dict[str, float]:
        """Seconds left of each lane's pause, ``""`` the usual one; lanes that are not paused are absent."""
        left = {lane or "": state.paused_until - now for lane, state in self._lanes.items()}
        return {lane: seconds for lane, seconds in left.items() if seconds > 0}

    def hurry(self, now: float) -> None:
        """Make what waits due now; each batch once in its life, so that frequent flushes burn no attempts.

        A pause that the far end asked for stays.
        """
        for state in self._lanes.values():
            for index, (due, tie, batch) in enumerate(state.retries):
                if due > now and not batch.hurried:
                    batch.hurried = True
                    state.retries[index] = (now, tie, batch)
            heapq.heapify(state.retries)

    def close(self, now: float, deadline: float) -> None:
        """Leave every waiting batch one final attempt: when it falls due, or now if that is beyond ``deadline``."""
        for state in self._lanes.values():
            for index, (due, tie, batch) in enumerate(state.retries):
                batch.final = True
                if due > deadline:
                    state.retries[index] = (now, tie, batch)
            heapq.heapify(state.retries)

    def held(self) -> Iterator[CapturedEvent]:
        """Every event that waits for a later attempt."""
        for state in self._lanes.values():
            for _, _, batch in state.retries:
                yield from batch.events

    def take_all(self, lane: str | None) -> list[OutboundBatch]:
        """Everything that waits in one lane, because it will not be sent."""
        state = self._lane(lane)
        batches = [batch for _, _, batch in sorted(state.retries, key=lambda entry: entry[:2])]
        state.retries.clear()
        self.events -= sum(len(batch.events) for batch in batches)
        self._forget_if_usual(lane)
        return batches

    def lanes(self) -> Iterator[str | None]:
        """Every lane in which something waits, runs, or differs from the usual; and perhaps the usual one."""
        return iter(list(self._lanes))

    def _forget_if_usual(self, lane: str | None) -> None:
        """Keep no named lane of which there is nothing to know: a sink may name one per customer."""
        state = None if lane is None else self._lanes.get(lane)
        if (
            state is not None
            and not (state.retries or state.in_flight)
            and state.paused_until == -inf
            and state.admitted == self._workers
        ):
            del self._lanes[lane]

    def _lane(self, lane: str | None) -> _Lane:
        state = self._lanes.get(lane)
        if state is None:
            state = self._lanes[lane] = _Lane(self._workers)
        return state
