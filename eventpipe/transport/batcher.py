"""Which events leave together: by lane, up to a number, a size and an age. Decides, never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from math import inf

from eventpipe.encoding import PlainEvent
from eventpipe.events import CLOSING, UUID_AT, CapturedEvent
from eventpipe.transport.barrier import Standing
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.limits import BatchLimits

MAX_RUN = 1024  # events that are taken at once, and put back where their size decides: only so many in vain

LaneOf = Callable[[CapturedEvent], str | None]
IsOpen = Callable[[str | None], bool]


class _Buffer:
    """One lane: full batches first, then the events of the one that is being filled.

    Attributes:
        ids: Of ``events``, where one of them may have the id of another; ``None``: all were made here, each once.
        max_bytes: The size that a batch of this lane is closed before.
    """

    __slots__ = ("events", "ids", "lane", "max_bytes", "ready", "size")

    def __init__(self, lane: str | None, max_bytes: int) -> None:
        self.lane = lane
        self.max_bytes = max_bytes
        self.ready: deque[OutboundBatch] = deque()
        self.events: list[CapturedEvent] = []
        self.ids: set[bytes] | None = None
        self.size = 0

    def oldest(self) -> float:
        """When the first event that waits here was captured."""
        return self.ready[0].events[0].captured_at if self.ready else self.events[0].captured_at

    def newest(self) -> float:
        """When the last event that waits here was captured."""
        return self.events[-1].captured_at if self.events else self.ready[-1].events[-1].captured_at

    def has_id_of(self, event: CapturedEvent) -> bool:
        """Whether the batch that is being filled has an event of the same id; notes it if not."""
        if self.ids is None:
            if type(event) is PlainEvent:
                return False
            self.ids = {other.data[UUID_AT] for other in self.events}
        known = len(self.ids)
        self.ids.add(event.data[UUID_AT])
        return len(self.ids) == known


class Batcher:
    """Takes events from the queue and cuts them into batches, each of one lane, in capture order.

    Attributes:
        events: Events taken from the queue that have not left in a batch.
        epoch: The newest barrier whose events have all been taken; new batches carry it.
    """

    def __init__(
        self,
        *,
        batch_events: int,
        batch_bytes: int,
        batch_age: float,
        lane_of: LaneOf | None,
        new_id: Callable[[], str],
        wall: Callable[[], float],
        unique_ids: bool = False,
    ) -> None:
        """Make an empty batcher.

        Args:
            batch_events: A batch is full at this number of events.
            batch_bytes: A batch is closed before it would exceed this size; a larger event travels alone.
            batch_age: Seconds that the oldest event of a batch waits for company.
            lane_of: Names the lane of an event; ``None`` when the sink has no lanes.
            new_id: Makes batch ids.
            wall: The wall clock, for ``created_at``.
            unique_ids: Whether an event whose id is in the batch already closes that batch and begins the next.
        """
        self._batch_events = batch_events
        self._limits = BatchLimits(batch_bytes)
        self._batch_age = batch_age
        self._lane_of = lane_of
        self._new_id = new_id
        self._wall = wall
        self._unique_ids = unique_ids
        self._buffers: dict[str | None, _Buffer] = {}
        self._buffer(None)  # which stays
        self._standing = Standing(0)
        self._ready = 0  # batches that are full or were closed, of all lanes
        self.events = 0
        self.epoch = 0

    @property
    def has_lanes(self) -> bool:
        """Whether events of several lanes can be in the queue side by side."""
        return self._lane_of is not None

    def fill(self, queue: deque[CapturedEvent], limit: int) -> int:
        """Take up to ``limit`` events from the front of ``queue``, stopping when a batch is full.

        Returns:
            The number taken.
        """
        count = min(limit, len(queue))
        return (self._put_run(queue, count) or self._put_each(queue, count)) if count > 0 else 0

    def learn(self, lane: str | None, refused: int) -> None:
        """Make smaller batches in this lane from now on: the far end refused one of so many bytes."""
        now = self._wall()
        self._limits.learn(lane, refused, now)
        buffer = self._buffers.get(lane)
        if buffer is not None:
            buffer.max_bytes = self._limits.of(lane, now)

    def close(self) -> None:
        """Cut what is buffered into batches, full or not, because a barrier or the end has been reached."""
        for buffer in self._buffers.values():
            if buffer.events:
                self._cut(buffer)

    def has_ready(self, is_open: IsOpen) -> bool:
        """Whether an open lane has a batch that is full or was closed."""
        return self._ready > 0 and any(buffer.ready and is_open(lane) for lane, buffer in self._buffers.items())

    def take(self, is_open: IsOpen, now: float) -> OutboundBatch | None:
        """The next batch: full, closed, or old enough; of several open lanes the one that waits longest."""
        choice: _Buffer | None = None
        for lane, buffer in self._buffers.items():
            is_due = buffer.ready or (buffer.events and buffer.events[0].captured_at + self._batch_age <= now)
            if is_due and is_open(lane) and (choice is None or buffer.oldest() < choice.oldest()):
                choice = buffer
        if choice is None:
            return None
        if not choice.ready:
            self._cut(choice)
        return self._leave(choice)

    def due_at(self, is_open: IsOpen) -> float | None:
        """When the next batch of an open lane will have waited long enough; ``None`` when none waits."""
        return min(
            (
                buffer.events[0].captured_at + self._batch_age
                for lane, buffer in self._buffers.items()
                if buffer.events and is_open(lane)
            ),
            default=None,
        )

    def quiet_at(self) -> float:
        """When the newest event that waits here will be as old as a batch may become; ``-inf`` when none waits."""
        newest = (buffer.newest() for buffer in self._buffers.values() if buffer.ready or buffer.events)
        return max(newest, default=-inf) + self._batch_age

    def lanes(self) -> list[str | None]:
        """The lanes that have something to send."""
        return [lane for lane, buffer in self._buffers.items() if buffer.ready or buffer.events]

    def missing(self) -> int:
        """How many more events could make a batch full; at least 1."""
        return self._batch_events - max((len(buffer.events) for buffer in self._buffers.values()), default=0)

    def held(self) -> Iterator[CapturedEvent]:
        """Every event that has not left."""
        for buffer in self._buffers.values():
            for batch in buffer.ready:
                yield from batch.events
            yield from buffer.events

    def pop_oldest(self) -> tuple[CapturedEvent, Standing] | None:
        """Give up the event that was captured first, with its standing; ``None`` when there is none."""
        buffers = [buffer for buffer in self._buffers.values() if buffer.ready or buffer.events]
        if not buffers:
            return None
        buffer = min(buffers, key=_Buffer.oldest)
        self.events -= 1
        if not buffer.ready:
            event = buffer.events.pop(0)
            buffer.size -= event.size
            if buffer.ids is not None:
                buffer.ids.discard(event.data[UUID_AT])
            self._forget_if_empty(buffer)
            return event, Standing(self.epoch)
        batch = buffer.ready[0]
        if len(batch.events) == 1:
            self._ready -= 1
            buffer.ready.popleft()
            self._forget_if_empty(buffer)
        else:
            buffer.ready[0] = replace(batch, events=batch.events[1:])
        return batch.events[0], batch.standing

    def take_all(self, lane: str | None) -> list[OutboundBatch]:
        """Everything that waits in one lane, because it will not be sent."""
        buffer = self._buffer(lane)
        if buffer.events:
            self._cut(buffer)
        return [self._leave(buffer) for _ in range(len(buffer.ready))]

    def _put_run(self, queue: deque[CapturedEvent], count: int) -> int:
        """Add up to ``count`` events of one lane at once; 0 where each has to be looked at, which takes longer.

        Source: 0.08 against 0.23 µs an event, batches of 500; with lanes, as PostHog's, 0.16 against 0.35.
        """
        lane_of = self._lane_of
        try:
            buffer = self._buffer(None if lane_of is None else lane_of(queue[0]))
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # a codec's fault costs its event the lane alone
            return 0
        events: list[CapturedEvent] = []
        most = min(count, self._batch_events - len(buffer.events), MAX_RUN)
        # One by one, in C: a signal handler may capture between any two steps of Python, and its event has to stay.
        with suppress(IndexError):  # it made room by dropping events: what came out before is in the list
            events.extend(islice(iter(queue.popleft, None), most))
        run = len(events)
        if not self._is_run(events, buffer):
            queue.extendleft(reversed(events))
            return 0
        size = buffer.size + run * len(CLOSING)
        for event in events:
            size += len(event.data) if event.extra is None else event.held
        if size >= buffer.max_bytes:
            queue.extendleft(reversed(events))
            return 0
        if buffer.events:
            buffer.events += events
        else:
            buffer.events = events
        buffer.size = size
        self.events += run
        if len(buffer.events) == self._batch_events:
            self._cut(buffer)
        return run

    def _is_run(self, events: list[CapturedEvent], buffer: _Buffer) -> bool:
        """Whether all belong into ``buffer``, as far as lanes and ids tell."""
        lane_of = self._lane_of
        try:
            if lane_of is not None and set(map(lane_of, events)) != {buffer.lane}:
                return False
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # as above
            return False
        return not self._unique_ids or (buffer.ids is None and set(map(type, events)) == {PlainEvent})

    def _put_each(self, queue: deque[CapturedEvent], count: int) -> int:
        """Add up to ``count`` events, until a batch is ready; returns their number."""
        lane_of = self._lane_of
        buffer = self._buffer(None)
        taken = 0
        is_ready = False
        while taken < count and queue and not is_ready:  # fewer, where a signal handler dropped some
            event = queue.popleft()
            taken += 1
            if lane_of is not None:
                try:
                    buffer = self._buffer(lane_of(event))
                except KeyboardInterrupt:
                    raise
                except BaseException:  # noqa: BLE001  # as above
                    buffer = self._buffer(None)
            is_ready = self._put(buffer, event)
        self.events += taken
        return taken

    def _put(self, buffer: _Buffer, event: CapturedEvent) -> bool:
        """Add an event; true when a batch became ready."""
        size = event.size
        overflows = bool(buffer.events) and buffer.size + size > buffer.max_bytes
        if overflows:
            self._cut(buffer)
        if self._unique_ids and buffer.has_id_of(event):
            self._cut(buffer)
            overflows = True
            buffer.has_id_of(event)
        buffer.events.append(event)
        buffer.size += size
        if len(buffer.events) < self._batch_events and buffer.size < buffer.max_bytes:
            return overflows
        self._cut(buffer)
        return True

    def _cut(self, buffer: _Buffer) -> None:
        self._ready += 1
        now = self._wall()
        if self._standing.epoch != self.epoch:
            self._standing = Standing(self.epoch)
        buffer.ready.append(
            OutboundBatch(
                id=self._new_id(),
                lane=buffer.lane,
                events=tuple(buffer.events),
                created_at=now,
                attempt=1,
                standing=self._standing,
            )
        )
        buffer.events.clear()
        buffer.ids = None
        buffer.size = 0
        buffer.max_bytes = self._limits.of(buffer.lane, now)

    def _leave(self, buffer: _Buffer) -> OutboundBatch:
        batch = buffer.ready.popleft()
        self._ready -= 1
        self.events -= len(batch.events)
        self._forget_if_empty(buffer)
        return batch

    def _forget_if_empty(self, buffer: _Buffer) -> None:
        """Keep no named lane that has nothing: a sink may name one per customer, and every look goes over all."""
        if not buffer.ready and not buffer.events and buffer.lane is not None:
            self._buffers.pop(buffer.lane, None)

    def _buffer(self, lane: str | None) -> _Buffer:
        buffer = self._buffers.get(lane)
        if buffer is None:
            buffer = self._buffers[lane] = _Buffer(lane, self._limits.of(lane, self._wall()))
        return buffer
