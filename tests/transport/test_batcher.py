"""Batches by lane, number, size and age; by examples and against a model that cuts lists."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from sys import maxsize

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from eventpipe.encoding import Encoder
from eventpipe.events import CapturedEvent
from eventpipe.testing.events import make_event
from eventpipe.transport.barrier import Standing
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.batcher import Batcher, LaneOf
from tests.scale import SCALE
from tests.transport.values import CREATED_AT, blank, numbering

AGE = 1.0


def by_lane(event: CapturedEvent) -> str | None:
    return event.lane


def make(*, events: int = 3, size: int = 100, lane_of: LaneOf | None = None, unique_ids: bool = False) -> Batcher:
    return Batcher(
        batch_events=events,
        batch_bytes=size,
        batch_age=AGE,
        lane_of=lane_of,
        new_id=numbering(),
        wall=lambda: CREATED_AT,
        unique_ids=unique_ids,
    )


def always(lane: str | None) -> bool:
    return True


def never(lane: str | None) -> bool:
    return False


def only(*lanes: str | None) -> Callable[[str | None], bool]:
    return lambda lane: lane in lanes


def fill(batcher: Batcher, *events: CapturedEvent) -> None:
    """Put events in, all of them."""
    queue = deque(events)
    while queue:
        batcher.fill(queue, maxsize)


def taken(batcher: Batcher, now: float = -inf) -> list[OutboundBatch]:
    """Everything that leaves now."""
    batches = []
    while (batch := batcher.take(always, now)) is not None:
        batches.append(batch)
    return batches


def test_an_empty_batcher_has_nothing_to_say() -> None:
    """No batch, no moment, no lane; and room for a whole batch."""
    batcher = make()

    assert (batcher.events, batcher.epoch, batcher.has_lanes) == (0, 0, False)
    assert (batcher.take(always, inf), batcher.due_at(always), batcher.has_ready(always)) == (None, None, False)
    assert (batcher.lanes(), batcher.missing(), batcher.pop_oldest(), batcher.take_all(None)) == ([], 3, None, [])
    assert batcher.fill(deque(), 5) == 0
    assert make(lane_of=by_lane).has_lanes


def test_a_batch_is_full_at_its_number_of_events() -> None:
    """It is ready with the last of them, whatever the time, in the order in which they came."""
    batcher = make(events=3)
    events = [blank() for _ in range(4)]

    fill(batcher, *events[:2])
    assert not batcher.has_ready(always)
    fill(batcher, events[2])
    assert batcher.has_ready(always)

    fill(batcher, events[3])
    (batch,) = taken(batcher)
    assert batch.events == tuple(events[:3])
    assert batcher.events == 1


def test_a_batch_is_made_with_all_that_a_sink_may_ask_for() -> None:
    """Id, lane, stamp of its making, first attempt, standing of the newest barrier that was passed."""
    batcher = make(events=1, lane_of=by_lane)
    batcher.epoch = 7

    fill(batcher, blank(lane="x"), blank(lane="y"))

    assert [(batch.id, batch.lane) for batch in taken(batcher)] == [("batch-1", "x"), ("batch-2", "y")]
    fill(batcher, blank(lane="x"))
    (batch,) = taken(batcher)
    assert (batch.created_at, batch.attempt, batch.standing) == (CREATED_AT, 1, Standing(7))
    assert (batch.hurried, batch.final, batch.bisection) == (False, False, None)


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([40, 60], [[40, 60]]),
        ([40, 59], []),
        ([40, 59, 1 + 2], [[40, 59]]),
        ([40, 61], [[40]]),
        ([99], []),
        ([100], [[100]]),
        ([250], [[250]]),
        ([40, 250], [[40], [250]]),
        ([250, 40], [[250]]),
        ([40, 100, 50, 60], [[40], [100], [50]]),
    ],
    ids=str,
)
def test_a_batch_is_closed_before_it_exceeds_its_size(sizes: list[int], batches: list[list[int]]) -> None:
    """Full at exactly the bound; an event that does not fit begins the next batch; a larger one travels alone."""
    batcher = make(events=50, size=100)

    fill(batcher, *map(blank, sizes))

    ready = taken(batcher)
    assert [[event.size for event in batch.events] for batch in ready] == batches
    assert batcher.events == len(sizes) - sum(map(len, batches))


@pytest.mark.parametrize("lane_of", [None, by_lane], ids=["one lane", "lanes"])
def test_what_is_kept_beside_an_envelope_counts(lane_of: LaneOf | None) -> None:
    """Headers and lifted properties are sent as well."""
    batcher = make(events=50, size=100, lane_of=lane_of)

    fill(batcher, blank(60, beside=50), blank(39, beside=30))
    assert taken(batcher) == []

    fill(batcher, blank(3, beside=1))
    assert [len(batch.events) for batch in taken(batcher)] == [2]


@pytest.mark.parametrize("lane_of", [None, by_lane], ids=["one lane", "lanes"])
def test_a_batch_that_is_being_filled_takes_only_what_it_lacks(lane_of: LaneOf | None) -> None:
    """However much waits in the queue, and however small it is."""
    batcher = make(events=4, size=10_000, lane_of=lane_of)
    fill(batcher, blank(), blank(), blank())
    queue = deque(blank() for _ in range(9))

    assert batcher.fill(queue, maxsize) == 1

    assert (len(queue), batcher.events) == (8, 4)
    assert [len(batch.events) for batch in taken(batcher)] == [4]


def test_filling_stops_when_a_batch_is_ready() -> None:
    """What is behind it stays in the queue, where it can still be counted and dropped in order."""
    batcher = make(events=3)
    queue = deque(blank() for _ in range(5))

    assert batcher.fill(queue, maxsize) == 3
    assert (len(queue), batcher.events) == (2, 3)
    assert batcher.fill(queue, maxsize) == 2
    assert (len(queue), batcher.events) == (0, 5)


def test_filling_stops_when_an_event_closed_the_batch_before_it() -> None:
    """By number, by size, and by an event that did not fit."""
    batcher = make(events=50, size=100)
    queue = deque(map(blank, [60, 60, 10, 10]))

    assert batcher.fill(queue, maxsize) == 2
    assert len(queue) == 2


def test_filling_stops_at_its_limit() -> None:
    """Never more than asked for, so that a batch never spans a barrier."""
    batcher = make(events=9)
    queue = deque(blank() for _ in range(5))

    assert batcher.fill(queue, 2) == 2
    assert batcher.fill(queue, 0) == 0
    assert (len(queue), batcher.events) == (3, 2)


def test_a_batch_leaves_when_its_oldest_event_is_old_enough() -> None:
    """At that moment, with all that came since; not before."""
    batcher = make(events=9)
    fill(batcher, blank(at=5.0), blank(at=5.9))

    assert batcher.due_at(always) == 6.0
    assert batcher.take(always, 5.999) is None

    batch = batcher.take(always, 6.0)
    assert batch is not None
    assert len(batch.events) == 2
    assert (batcher.events, batcher.due_at(always), batcher.take(always, inf)) == (0, None, None)


def test_the_timer_counts_from_the_events_that_a_full_batch_left_behind() -> None:
    """A batch that is ready needs no timer."""
    batcher = make(events=2)
    fill(batcher, blank(at=1.0), blank(at=2.0), blank(at=3.0))

    assert batcher.due_at(always) == 4.0
    batcher.close()
    assert batcher.due_at(always) is None


def test_closing_cuts_what_is_buffered_in_every_lane() -> None:
    """Full or not; a lane without events gets no empty batch."""
    batcher = make(lane_of=by_lane)
    fill(batcher, blank(lane="x"), blank(lane="y"), blank(lane="x"))

    batcher.close()
    batcher.close()

    assert [(batch.lane, len(batch.events)) for batch in taken(batcher)] == [("x", 2), ("y", 1)]
    batcher.close()
    assert taken(batcher) == []


def test_a_batch_has_one_lane_and_lanes_fill_side_by_side() -> None:
    """Capture order within each lane; a full lane is ready while others wait for company."""
    batcher = make(events=2, lane_of=by_lane)
    x1, y1, x2, z1, y2 = (blank(lane=lane) for lane in "xyxzy")

    fill(batcher, x1, y1, x2, z1, y2)

    assert [(batch.lane, batch.events) for batch in taken(batcher)] == [("x", (x1, x2)), ("y", (y1, y2))]
    assert batcher.lanes() == ["z"]


def test_without_lanes_the_event_s_own_lane_does_not_matter() -> None:
    """A sink without lanes gets everything together, in a batch without a lane."""
    batcher = make(events=2)

    fill(batcher, blank(lane="x"), blank(lane="y"))

    assert [batch.lane for batch in taken(batcher)] == [None]


@pytest.mark.parametrize(
    "error", [ValueError("no lane"), asyncio.CancelledError(), RecursionError()], ids=lambda error: type(error).__name__
)
def test_a_lane_function_that_raises_costs_its_event_the_lane_only(error: BaseException) -> None:
    """It travels in the usual one, ``CancelledError`` or not; its neighbours keep theirs."""

    def lane_of(event: CapturedEvent) -> str | None:
        if event.lane == "bad":
            raise error
        return event.lane

    batcher = make(lane_of=lane_of)
    events = [blank(lane=lane) for lane in ("x", "bad", "x")]
    fill(batcher, *events)
    batcher.close()

    assert [(batch.lane, batch.events) for batch in taken(batcher)] == [
        (None, (events[1],)),
        ("x", (events[0], events[2])),
    ]


def test_a_lane_that_cannot_be_a_lane_costs_its_event_the_lane_only() -> None:
    """What a codec returns may be anything; the event is not lost."""
    batcher = make(lane_of=lambda event: [])  # type: ignore[arg-type,return-value]  # what a faulty codec may do

    fill(batcher, blank(), blank(), blank())

    assert [batch.lane for batch in taken(batcher)] == [None]


def test_of_several_lanes_the_one_that_waits_longest_leaves_first() -> None:
    """By the oldest event, whether its batch is full or only old enough."""
    batcher = make(events=2, lane_of=by_lane)
    fill(batcher, blank(at=2.0, lane="x"), blank(at=2.1, lane="x"))  # full
    fill(batcher, blank(at=1.0, lane="y"))  # old
    fill(batcher, blank(at=0.5, lane="z"), blank(at=3.0, lane="z"))  # full
    fill(batcher, blank(at=0.4, lane="z"))  # behind its lane's full batch, so its age does not matter

    assert [batch.lane for batch in taken(batcher, now=2.0)] == ["z", "z", "y", "x"]


def test_a_closed_lane_keeps_its_batches_and_holds_up_no_other() -> None:
    """Neither ready nor due nor timed, until it opens."""
    batcher = make(events=2, lane_of=by_lane)
    fill(batcher, blank(at=1.0, lane="x"), blank(at=1.0, lane="x"), blank(at=1.0, lane="x"), blank(at=5.0, lane="y"))

    assert batcher.has_ready(only("y")) is False
    assert batcher.due_at(only("y")) == 6.0
    assert batcher.due_at(only("x")) == 2.0
    assert batcher.due_at(never) is None
    assert batcher.take(only("y"), 5.9) is None
    batch = batcher.take(only("y"), 6.0)
    assert batch is not None
    assert batch.lane == "y"
    assert batcher.take(never, inf) is None
    assert [batch.lane for batch in taken(batcher, inf)] == ["x", "x"]


def test_lanes_are_those_with_something_to_send() -> None:
    """Ready or buffered."""
    batcher = make(events=2, lane_of=by_lane)
    fill(batcher, *(blank(lane=lane) for lane in ("x", "x", "y")))

    assert batcher.lanes() == ["x", "y"]
    batcher.take(always, -inf)
    assert batcher.lanes() == ["y"]


def test_what_is_missing_is_counted_from_the_fullest_lane() -> None:
    """At least one: a full batch is not being filled any more."""
    batcher = make(events=4, lane_of=by_lane)
    assert batcher.missing() == 4

    fill(batcher, *(blank(lane=lane) for lane in "xyyyz"))
    assert batcher.missing() == 1

    fill(batcher, blank(lane="y"))
    assert batcher.missing() == 3


def test_the_oldest_event_is_given_up_first() -> None:
    """Out of a ready batch, which stays ready and keeps its id, or out of the one that is being filled."""
    batcher = make(events=2, lane_of=by_lane)
    x1, y1, x2, y2, x3 = (
        blank(at=at, lane=lane) for at, lane in ((1.0, "x"), (1.5, "y"), (2.0, "x"), (2.5, "y"), (3.0, "x"))
    )
    fill(batcher, x1, y1, x2)
    batcher.epoch = 3
    fill(batcher, y2, x3)

    assert batcher.pop_oldest() == (x1, Standing(0))
    assert batcher.events == 4
    assert batcher.pop_oldest() == (y1, Standing(3))
    assert [(batch.id, batch.events) for batch in taken(batcher)] == [("batch-1", (x2,)), ("batch-2", (y2,))]
    assert batcher.pop_oldest() == (x3, Standing(3))
    assert batcher.pop_oldest() is None
    assert (batcher.events, batcher.lanes()) == (0, [])


def test_the_last_event_of_a_ready_batch_takes_the_batch_along() -> None:
    """No empty batch is left to be sent."""
    batcher = make(events=1)
    first, second = blank(at=1.0), blank(at=2.0)
    fill(batcher, first, second)

    assert batcher.pop_oldest() == (first, Standing(0))
    assert [batch.events for batch in taken(batcher)] == [(second,)]


def test_an_event_given_up_makes_room_in_its_batch() -> None:
    """Its bytes and its place go to those that come after it."""
    batcher = make(events=3, size=100)
    fill(batcher, blank(60), blank(30))

    batcher.pop_oldest()
    assert batcher.missing() == 2
    fill(batcher, blank(69))

    assert taken(batcher) == []
    fill(batcher, blank(2))
    assert [[event.size for event in batch.events] for batch in taken(batcher)] == [[30, 69]]


def test_everything_of_one_lane_can_be_taken() -> None:
    """Ready batches and the one that is being filled; the others stay."""
    batcher = make(events=2, lane_of=by_lane)
    fill(batcher, *(blank(lane=lane) for lane in "xxxyy"))

    assert [len(batch.events) for batch in batcher.take_all("x")] == [2, 1]
    assert (batcher.events, batcher.lanes(), batcher.take_all("x")) == (2, ["y"], [])


def test_a_refused_size_makes_smaller_batches_in_its_lane() -> None:
    """Of what is being filled, and of what comes; the other lanes go on as before."""
    batcher = make(events=100, size=100, lane_of=by_lane)
    fill(batcher, *(blank(10, lane="x") for _ in range(4)))

    batcher.learn("x", 100)
    fill(batcher, *(blank(10, lane=lane) for lane in "xxxxxxxyyyyyyyyyy"))

    batches = taken(batcher)
    assert [len(batch.events) for batch in batches if batch.lane == "x"] == [5, 5]
    assert [len(batch.events) for batch in batches if batch.lane == "y"] == [10]


def test_the_learned_size_outlives_the_lane_s_batches() -> None:
    """A lane is forgotten when it has nothing; what was learned of it is not."""
    batcher = make(events=100, size=100, lane_of=by_lane)
    batcher.learn("x", 100)

    for _ in range(3):
        fill(batcher, *(blank(10, lane="x") for _ in range(5)))
        assert [len(batch.events) for batch in taken(batcher)] == [5]


def twin(event: CapturedEvent) -> CapturedEvent:
    return CapturedEvent(event.name, event.data, event.lane, event.extra, event.captured_at)


def test_an_id_is_once_in_a_batch() -> None:
    """The second event of an id closes the batch that has the first and begins the next, in the order of capture."""
    first, second = make_event("first"), make_event("second")
    batcher = make(events=10, size=10_000, unique_ids=True)

    fill(batcher, first, second, twin(first), twin(first), twin(second))
    batcher.close()

    assert [[event.event for event in batch.events] for batch in taken(batcher)] == [
        ["first", "second"],
        ["first"],
        ["first", "second"],
    ]


def test_ids_of_other_lanes_and_of_batches_that_are_cut_do_not_matter() -> None:
    """A batch has one lane, and what has left it is no longer in it."""
    event, other = make_event("a", lane="x"), make_event("b", lane="x")
    elsewhere = CapturedEvent(event.name, event.data, "y", None, 0.0)
    batcher = make(events=2, size=10_000, lane_of=by_lane, unique_ids=True)

    fill(batcher, event, elsewhere, other, twin(event), make_event("c", lane="x"))

    assert [[event.event for event in batch.events] for batch in taken(batcher)] == [["a", "b"], ["a", "c"]]


def test_an_event_that_was_given_up_leaves_its_id_free() -> None:
    """Its twin needs no batch of its own."""
    event, other = make_event("a"), make_event("b")
    batcher = make(events=10, size=10_000, unique_ids=True)
    fill(batcher, event, other)
    batcher.pop_oldest()

    fill(batcher, twin(event))
    batcher.close()

    assert [[event.event for event in batch.events] for batch in taken(batcher)] == [["b", "a"]]


def test_without_need_an_id_may_be_in_a_batch_twice() -> None:
    """Most far ends do not mind, and a batch more is a request more."""
    event = make_event("a")
    batcher = make(events=10, size=10_000)

    fill(batcher, event, twin(event))
    batcher.close()

    assert [len(batch.events) for batch in taken(batcher)] == [2]


@pytest.mark.parametrize("unique_ids", [False, True])
@pytest.mark.parametrize("lane", [None, "x"])
def test_events_of_one_lane_are_taken_at_once(unique_ids: bool, lane: str | None) -> None:
    """As they are captured as a rule: made here, so that no id can be there twice, and of one lane."""
    calls = []

    def lane_of(event: CapturedEvent) -> str | None:
        calls.append(event)
        return lane

    encoder = Encoder()
    events = []
    for _ in range(7):
        event = encoder.encode_plain("e", None, None)
        assert event is not None
        events.append(event)
    batcher = make(events=3, size=10_000, lane_of=lane_of, unique_ids=unique_ids)
    queue: deque[CapturedEvent] = deque(events)

    assert [batcher.fill(queue, maxsize) for _ in range(3)] == [3, 3, 1]

    batcher.close()
    assert [batch.events for batch in taken(batcher)] == [tuple(events[:3]), tuple(events[3:6]), (events[6],)]
    assert len(calls) <= 7 + 3  # once each, and once more to see what the run is to be


@dataclass
class Lane:
    """One lane of the model: lists of events that leave together, the last of which may still grow."""

    lists: list[list[CapturedEvent]] = field(default_factory=list)
    is_open_ended: bool = False

    def add(self, event: CapturedEvent) -> None:
        last = self.lists[-1] if self.is_open_ended else None
        if last is None or sum(other.size for other in last) + event.size > BatcherMachine.size:
            last = []
            self.lists.append(last)
        last.append(event)
        total = sum(other.size for other in last)
        self.is_open_ended = len(last) < BatcherMachine.count and total < BatcherMachine.size

    def cut(self) -> None:
        self.is_open_ended = False

    def pop(self) -> list[CapturedEvent]:
        if len(self.lists) == 1:
            self.is_open_ended = False
        return self.lists.pop(0)

    def is_due(self, now: float) -> bool:
        if not self.lists:
            return False
        return len(self.lists) > 1 or not self.is_open_ended or self.lists[0][0].captured_at + AGE <= now

    def events(self) -> list[CapturedEvent]:
        return [event for events in self.lists for event in events]


class BatcherMachine(RuleBasedStateMachine):
    """Keeps each lane as a list of lists, and the barrier behind which each event came beside it."""

    count = 4
    size = 100
    lane_of: LaneOf | None = staticmethod(by_lane)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue: deque[CapturedEvent] = deque()
        self.batcher = make(events=self.count, size=self.size, lane_of=self.lane_of)
        self.lanes: dict[str | None, Lane] = {}
        self.epochs: dict[CapturedEvent, int] = {}
        self.ready: dict[str | None, int] = {}  # lists that grow no more, by lane, at the start of a step

    @rule(
        events=st.lists(
            st.tuples(
                st.sampled_from([None, "x", "y"]),
                st.sampled_from([5, 20, 34, 50, 99, 101, 150]),
                st.sampled_from([0, 0, 3]),
            )
        ),
        limit=st.integers(0, 9),
    )
    def fill(self, events: list[tuple[str | None, int, int]], limit: int) -> None:
        for name, size, beside in events:
            self.now += 0.0625  # every event has a time of its own
            self.queue.append(blank(size, at=self.now, lane=name if self.lane_of else None, beside=beside))
        before = list(self.queue)

        count = self.batcher.fill(self.queue, limit)

        assert list(self.queue) == before[count:]
        stopped = False
        for event in before[:count]:
            assert not stopped, "it stops with the event that made a batch ready"
            self.epochs[event] = self.batcher.epoch
            lane = self.lanes.setdefault(event.lane, Lane())
            lane.add(event)
            stopped = len(lane.lists) - lane.is_open_ended > self.ready.get(event.lane, 0)
        assert stopped or count == min(limit, len(before))

    @rule()
    def pass_barrier(self) -> None:
        for lane in self.lanes.values():
            lane.cut()
        self.batcher.close()
        self.batcher.epoch += 1

    @rule(delay=st.sampled_from([0.25, 0.5, 1.0]))
    def wait(self, delay: float) -> None:
        self.now += delay

    @rule(lanes=st.sets(st.sampled_from([None, "x", "y"])))
    def take(self, lanes: set[str | None]) -> None:
        due = [(lane.lists[0][0].captured_at, name) for name, lane in self.lanes.items() if lane.is_due(self.now)]
        due = [entry for entry in due if entry[1] in lanes]

        batch = self.batcher.take(only(*lanes), self.now)

        if not due:
            assert batch is None
            return
        _, name = min(due, key=lambda entry: entry[0])
        assert batch is not None
        assert (batch.lane, list(batch.events)) == (name, self.lanes[name].pop())
        self.check(batch)

    def check(self, batch: OutboundBatch) -> None:
        """What holds for every batch, whatever the model says."""
        assert 0 < len(batch.events) <= self.count
        assert batch.size <= self.size or len(batch.events) == 1
        assert {event.lane for event in batch.events} == {batch.lane}
        assert {self.epochs[event] for event in batch.events} == {batch.standing.epoch}
        assert sorted(batch.events, key=lambda event: event.captured_at) == list(batch.events)

    @rule()
    def pop_oldest(self) -> None:
        lanes = [lane for lane in self.lanes.values() if lane.lists]
        popped = self.batcher.pop_oldest()
        if not lanes:
            assert popped is None
            return
        lane = min(lanes, key=lambda lane: lane.lists[0][0].captured_at)
        event = lane.lists[0].pop(0)
        if not lane.lists[0]:
            lane.pop()
        assert popped == (event, Standing(self.epochs[event]))

    @rule(name=st.sampled_from([None, "x", "y"]))
    def take_all(self, name: str | None) -> None:
        lane = self.lanes.pop(name, Lane())
        batches = self.batcher.take_all(name)
        assert [list(batch.events) for batch in batches] == lane.lists
        for batch in batches:
            self.check(batch)

    @invariant()
    def the_model_agrees(self) -> None:
        batcher = self.batcher
        growing = {name: lane.lists[-1] for name, lane in self.lanes.items() if lane.lists and lane.is_open_ended}
        self.ready = {name: len(lane.lists) - lane.is_open_ended for name, lane in self.lanes.items()}

        assert batcher.events == sum(len(lane.events()) for lane in self.lanes.values())
        assert set(batcher.lanes()) == {name for name, lane in self.lanes.items() if lane.lists}
        assert batcher.missing() == self.count - max(map(len, growing.values()), default=0) >= 1
        for is_open in (always, only("x"), only(None, "y")):
            assert batcher.has_ready(is_open) is any(count and is_open(name) for name, count in self.ready.items())
            moments = [events[0].captured_at + AGE for name, events in growing.items() if is_open(name)]
            assert batcher.due_at(is_open) == min(moments, default=None)


class OneLaneMachine(BatcherMachine):
    """The same for a sink without lanes."""

    lane_of = None


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(max_examples=60 * SCALE, stateful_step_count=30, deadline=None)
TestOneLaneMachine = OneLaneMachine.TestCase
TestOneLaneMachine.settings = settings(max_examples=40 * SCALE, stateful_step_count=30, deadline=None)
