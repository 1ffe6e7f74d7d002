"""Retries in due order, pauses, and lanes that reopen slowly; by examples and against a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.schedule import Schedule
from tests.scale import SCALE
from tests.transport.values import outbound


def drained(schedule: Schedule, now: float) -> list[str]:
    """The ids of what is due, in the order in which it is taken."""
    ids = []
    while (batch := schedule.take_due(now)) is not None:
        ids.append(batch.id)
    return ids


def begun(schedule: Schedule, count: int, lane: str | None = None) -> list[OutboundBatch]:
    """Begin so many attempts in a lane."""
    batches = [outbound(lane=lane) for _ in range(count)]
    for batch in batches:
        schedule.begin(batch)
    return batches


def admitted(schedule: Schedule, now: float, lane: str | None = None) -> int:
    """How many attempts may begin now, found by beginning them; they are ended as failures."""
    running: list[OutboundBatch] = []
    while schedule.is_open(lane, now) and len(running) < 100:
        running += begun(schedule, 1, lane)
    for batch in running:
        schedule.end(batch, succeeded=False)
    return len(running)


def test_nothing_is_due_in_an_empty_schedule() -> None:
    """Every lane is open, nothing waits, no moment is named."""
    schedule = Schedule(4)

    assert (schedule.events, schedule.take_due(inf), schedule.due_at([], 0.0)) == (0, None, None)
    assert schedule.is_open(None, 0.0)
    assert schedule.is_open("live", -inf)
    assert (list(schedule.lanes()), schedule.take_all("live"), schedule.paused_until("other")) == ([], [], -inf)


def test_retries_leave_in_due_order() -> None:
    """Whatever order they came in; those due at the same moment leave in the order they came."""
    schedule = Schedule(4)
    for name, due in (("c", 3.0), ("a", 1.0), ("b1", 2.0), ("b2", 2.0), ("b3", 2.0)):
        schedule.add(outbound(id=name), due)

    assert drained(schedule, 0.9) == []
    assert drained(schedule, 1.0) == ["a"]
    assert drained(schedule, 3.0) == ["b1", "b2", "b3", "c"]


def test_of_two_lanes_the_batch_that_is_due_for_longest_leaves_first() -> None:
    """Lanes do not take turns; at the same moment the one that came first leaves first."""
    schedule = Schedule(4)
    for name, lane, due in (("x2", "x", 2.0), ("y1", "y", 1.0), ("x4", "x", 4.0), ("y2", "y", 2.0), ("y3", "y", 3.0)):
        schedule.add(outbound(id=name, lane=lane), due)

    assert drained(schedule, 9.0) == ["y1", "x2", "y2", "y3", "x4"]


def test_events_are_counted_while_they_wait() -> None:
    """In with ``add()``, out with ``take_due()`` and ``take_all()``."""
    schedule = Schedule(4)
    schedule.add(outbound(3), 1.0)
    schedule.add(outbound(4, lane="x"), 2.0)
    schedule.add(outbound(5, lane="x"), 3.0)
    assert schedule.events == 12

    schedule.take_due(1.0)
    assert schedule.events == 9

    schedule.take_all("x")
    assert schedule.events == 0


def test_a_lane_admits_as_many_attempts_as_there_are_workers() -> None:
    """The last is turned away until another ends; other lanes are not concerned."""
    schedule = Schedule(3)
    first, *_ = begun(schedule, 3, "x")

    assert not schedule.is_open("x", 0.0)
    assert schedule.is_open("y", 0.0)

    schedule.end(first, succeeded=False)
    assert schedule.is_open("x", 0.0)
    begun(schedule, 1, "x")
    assert not schedule.is_open("x", 0.0)


def test_a_retry_waits_while_its_lane_is_closed() -> None:
    """It is due, and others leave; it leaves when an attempt of its lane has ended."""
    schedule = Schedule(1)
    (running,) = begun(schedule, 1, "x")
    schedule.add(outbound(id="x", lane="x"), 1.0)
    schedule.add(outbound(id="y", lane="y"), 2.0)

    assert drained(schedule, 2.0) == ["y"]

    schedule.end(running, succeeded=False)
    assert drained(schedule, 2.0) == ["x"]


def test_a_pause_lets_nothing_begin_before_its_end() -> None:
    """Neither fresh batches nor due retries, in this lane alone."""
    schedule = Schedule(4)
    schedule.add(outbound(id="x", lane="x"), 1.0)
    schedule.add(outbound(id="y", lane="y"), 1.0)

    schedule.pause("x", 5.0)

    assert schedule.paused_until("x") == 5.0
    assert schedule.paused_until("y") == -inf
    assert not schedule.is_open("x", 4.9)
    assert drained(schedule, 4.9) == ["y"]
    assert schedule.is_open("x", 5.0)
    assert drained(schedule, 5.0) == ["x"]


def test_a_pause_is_never_shortened() -> None:
    """Of two answers that ask for time, the longer holds, whichever came last."""
    schedule = Schedule(4)

    schedule.pause(None, 9.0)
    schedule.pause(None, 5.0)

    assert schedule.paused_until(None) == 9.0
    assert not schedule.is_open(None, 8.9)


@pytest.mark.parametrize(
    ("workers", "steps"), [(16, [1, 2, 4, 8, 16, 16]), (10, [1, 2, 4, 8, 10, 10]), (1, [1, 1])], ids=str
)
def test_a_lane_reopens_with_one_probe_and_each_success_doubles_it(workers: int, steps: list[int]) -> None:
    """1, 2, 4, 8 and so on, up to the number of workers; a failure changes nothing."""
    schedule = Schedule(workers)
    schedule.pause(None, 5.0)

    found = []
    for _ in steps:
        found.append(admitted(schedule, 5.0))
        (probe,) = begun(schedule, 1)
        schedule.end(probe, succeeded=True)

    assert found == steps


def test_another_pause_begins_with_one_probe_again() -> None:
    """However far the lane had reopened."""
    schedule = Schedule(8)
    schedule.pause(None, 5.0)
    for _ in range(3):
        schedule.end(*begun(schedule, 1), succeeded=True)
    assert admitted(schedule, 5.0) == 8

    schedule.pause(None, 6.0)

    assert admitted(schedule, 6.0) == 1


def test_attempts_from_before_a_pause_say_nothing_of_the_lane_after_it() -> None:
    """Their late successes admit no crowd: the lane still reopens with one probe."""
    schedule = Schedule(16)
    older = begun(schedule, 8)
    schedule.pause(None, 5.0)

    for batch in older:
        schedule.end(batch, succeeded=True)

    assert admitted(schedule, 5.0) == 1


def test_an_attempt_stalled_since_before_a_pause_does_not_hold_the_probe_back() -> None:
    """It costs its worker, not the lane; and when it ends no slot is counted that it does not have."""
    schedule = Schedule(4)
    (stalled,) = begun(schedule, 1)
    schedule.pause(None, 5.0)

    assert admitted(schedule, 5.0) == 1
    (probe,) = begun(schedule, 1)
    schedule.end(stalled, succeeded=False)
    assert not schedule.is_open(None, 5.0)

    schedule.end(probe, succeeded=True)
    assert admitted(schedule, 5.0) == 2


@pytest.mark.parametrize(
    ("now", "expected"), [(0.0, 3.0), (3.5, 3.0)], ids=["the first that falls due", "due already, without a worker"]
)
def test_the_next_moment_is_the_first_retry_s(now: float, expected: float) -> None:
    """Of all lanes."""
    schedule = Schedule(4)
    schedule.add(outbound(lane="x"), 4.0)
    schedule.add(outbound(lane="x"), 3.0)
    schedule.add(outbound(lane="y"), 5.0)

    assert schedule.due_at([], now) == expected


def test_the_next_moment_of_a_paused_lane_is_the_end_of_its_pause() -> None:
    """Or the retry that falls due after it; a pause in which nothing waits is no moment."""
    schedule = Schedule(4)
    schedule.pause("x", 7.0)
    assert schedule.due_at([], 0.0) is None
    assert schedule.due_at(["y"], 0.0) is None
    assert schedule.due_at(["x"], 0.0) == 7.0
    assert schedule.due_at(["x"], 7.0) is None

    schedule.add(outbound(lane="x"), 4.0)
    assert schedule.due_at([], 0.0) == 7.0

    schedule.take_all("x")
    schedule.add(outbound(lane="x"), 9.0)
    assert schedule.due_at([], 0.0) == 9.0
    assert schedule.due_at(["x"], 0.0) == 7.0


def test_a_lane_that_admits_no_more_names_no_moment() -> None:
    """Only the end of an attempt can change anything there; other lanes go on."""
    schedule = Schedule(1)
    begun(schedule, 1, "x")
    schedule.add(outbound(lane="x"), 1.0)
    assert schedule.due_at(["x"], 0.0) is None

    schedule.add(outbound(lane="y"), 8.0)
    assert schedule.due_at(["x"], 0.0) == 8.0


def test_hurry_makes_what_waits_due_now_once() -> None:
    """In every lane, in the order in which it was due; what comes later waits its time."""
    schedule = Schedule(4)
    batches = [outbound(id=name, lane=lane) for name, lane in (("a", None), ("b", None), ("c", "x"))]
    for due, batch in zip((9.0, 5.0, 7.0), batches, strict=True):
        schedule.add(batch, due)

    schedule.hurry(1.0)

    assert [batch.hurried for batch in batches] == [True, True, True]
    assert sorted(drained(schedule, 1.0)) == ["a", "b", "c"]

    schedule.add(batches[0], 9.0)
    schedule.hurry(2.0)
    assert (drained(schedule, 8.9), drained(schedule, 9.0)) == ([], ["a"])


def test_hurry_leaves_alone_what_is_due_and_what_the_far_end_paused() -> None:
    """A due batch may still be hurried later; a pause stays."""
    schedule = Schedule(4)
    due, later = outbound(id="due"), outbound(id="later")
    schedule.add(due, 1.0)
    schedule.add(later, 3.0)
    schedule.pause(None, 5.0)

    schedule.hurry(1.0)

    assert (due.hurried, later.hurried) == (False, True)
    assert schedule.due_at([], 1.0) == 5.0
    assert drained(schedule, 4.9) == []
    assert drained(schedule, 5.0) == ["due", "later"]


def test_hurry_keeps_the_heap_in_order() -> None:
    """A batch that was hurried before stays last, those made due now leave first, in the order they came."""
    schedule = Schedule(4)
    for name, due, hurried in (("a", 2.0, True), ("b", 4.0, False), ("c", 3.0, True), ("d", 5.0, False)):
        schedule.add(outbound(id=name, hurried=hurried), due)

    schedule.hurry(1.0)

    assert drained(schedule, 1.0) == ["b", "d"]
    assert drained(schedule, 2.5) == ["a"]
    assert drained(schedule, 3.0) == ["c"]


def test_closing_leaves_each_batch_one_attempt_within_the_deadline() -> None:
    """When it falls due, at the deadline included; at once where that is later. All are final."""
    schedule = Schedule(4)
    batches = {
        due: outbound(id=str(due), lane=lane) for due, lane in ((2.0, None), (5.0, None), (5.1, None), (9.0, "x"))
    }
    for due, batch in batches.items():
        schedule.add(batch, due)

    schedule.close(1.0, 5.0)

    assert [batch.final for batch in batches.values()] == [True] * 4
    assert drained(schedule, 1.0) == ["5.1", "9.0"]
    assert drained(schedule, 4.9) == ["2.0"]
    assert drained(schedule, 5.0) == ["5.0"]


def test_take_all_empties_one_lane_in_due_order() -> None:
    """The others keep what they have."""
    schedule = Schedule(4)
    for name, lane, due in (("x3", "x", 3.0), ("x1", "x", 1.0), ("y", "y", 2.0), ("x2", "x", 2.0)):
        schedule.add(outbound(id=name, lane=lane), due)

    assert [batch.id for batch in schedule.take_all("x")] == ["x1", "x2", "x3"]
    assert schedule.take_all("x") == []
    assert drained(schedule, 9.0) == ["y"]


def test_lanes_are_those_that_were_used() -> None:
    """By an attempt, a retry or a pause."""
    schedule = Schedule(4)
    begun(schedule, 1, "a")
    schedule.add(outbound(lane="b"), 1.0)
    schedule.pause(None, 1.0)

    assert list(schedule.lanes()) == ["a", "b", None]


def test_a_lane_of_which_there_is_nothing_to_know_is_forgotten() -> None:
    """When its last retry was taken, its last attempt ended, or a success ended its pause; never before."""
    schedule = Schedule(2)
    schedule.add(outbound(lane="x"), 1.0)
    schedule.add(outbound(lane="x"), 1.0)
    schedule.take_due(1.0)
    assert list(schedule.lanes()) == ["x"]
    schedule.take_due(1.0)
    assert list(schedule.lanes()) == []

    (running,) = begun(schedule, 1, "y")
    assert list(schedule.lanes()) == ["y"]
    schedule.end(running, succeeded=False)
    assert list(schedule.lanes()) == []

    schedule.pause("z", 5.0)
    (probe,) = begun(schedule, 1, "z")
    schedule.end(probe, succeeded=False)
    assert list(schedule.lanes()) == ["z"]
    (probe,) = begun(schedule, 1, "z")
    schedule.end(probe, succeeded=True)
    assert list(schedule.lanes()) == []


LANES = st.sampled_from([None, "x", "y"])
DELAYS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0])


@dataclass
class Waiting:
    """One retry of the model."""

    batch: OutboundBatch
    due: float
    came: int
    hurried: bool = False
    final: bool = False


@dataclass
class Lane:
    """What the model knows of one lane."""

    admitted: int
    paused_until: float = -inf
    running: list[OutboundBatch] = field(default_factory=list)
    before_pause: list[OutboundBatch] = field(default_factory=list)


class ScheduleMachine(RuleBasedStateMachine):
    """Keeps every retry in one plain list, and looks at all of them each time."""

    workers = 5

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(self.workers)
        self.now = 0.0
        self.came = 0
        self.waiting: list[Waiting] = []
        self.lanes: dict[str | None, Lane] = {}

    def lane(self, name: str | None) -> Lane:
        return self.lanes.setdefault(name, Lane(self.workers))

    def is_open(self, name: str | None) -> bool:
        lane = self.lanes.get(name)
        return lane is None or (lane.paused_until <= self.now and len(lane.running) < lane.admitted)

    @rule(lane=LANES, events=st.integers(1, 3), delay=DELAYS, hurried=st.booleans())
    def add(self, lane: str | None, events: int, delay: float, hurried: bool) -> None:
        batch = outbound(events, lane=lane, hurried=hurried)
        self.came += 1
        self.lane(lane)
        self.waiting.append(Waiting(batch, self.now + delay, self.came, hurried))
        self.schedule.add(batch, self.now + delay)

    @rule(delay=DELAYS)
    def wait(self, delay: float) -> None:
        self.now += delay

    @rule(begin=st.booleans())
    def take(self, begin: bool) -> None:
        due = [entry for entry in self.waiting if entry.due <= self.now and self.is_open(entry.batch.lane)]
        expected = min(due, key=lambda entry: (entry.due, entry.came), default=None)

        taken = self.schedule.take_due(self.now)

        assert taken is (expected.batch if expected else None)
        if expected is not None:
            assert (expected.batch.hurried, expected.batch.final) == (expected.hurried, expected.final)
            self.waiting.remove(expected)
            if begin:
                self.begin_batch(expected.batch)

    @rule(lane=LANES)
    def begin(self, lane: str | None) -> None:
        if self.is_open(lane):
            self.begin_batch(outbound(lane=lane))

    def begin_batch(self, batch: OutboundBatch) -> None:
        self.lane(batch.lane).running.append(batch)
        self.schedule.begin(batch)

    @precondition(lambda self: any(lane.running or lane.before_pause for lane in self.lanes.values()))
    @rule(data=st.data(), succeeded=st.booleans())
    def end(self, data: st.DataObject, succeeded: bool) -> None:
        batches = [batch for lane in self.lanes.values() for batch in (*lane.running, *lane.before_pause)]
        batch = data.draw(st.sampled_from(batches))
        lane = self.lanes[batch.lane]
        if batch in lane.running:
            lane.running.remove(batch)
            if succeeded:
                lane.admitted = min(2 * lane.admitted, self.workers)
                lane.paused_until = -inf
        else:
            lane.before_pause.remove(batch)
        self.schedule.end(batch, succeeded=succeeded)

    @rule(name=LANES, delay=DELAYS)
    def pause(self, name: str | None, delay: float) -> None:
        lane = self.lane(name)
        lane.paused_until = max(lane.paused_until, self.now + delay)
        lane.admitted = 1
        lane.before_pause += lane.running
        lane.running = []
        self.schedule.pause(name, self.now + delay)

    @rule()
    def hurry(self) -> None:
        for entry in self.waiting:
            if entry.due > self.now and not entry.hurried:
                entry.due, entry.hurried = self.now, True
        self.schedule.hurry(self.now)

    @rule(delay=DELAYS)
    def close(self, delay: float) -> None:
        for entry in self.waiting:
            entry.final = True
            if entry.due > self.now + delay:
                entry.due = self.now
        self.schedule.close(self.now, self.now + delay)

    @rule(lane=LANES)
    def take_all(self, lane: str | None) -> None:
        self.lane(lane)
        gone = sorted(
            (entry for entry in self.waiting if entry.batch.lane == lane), key=lambda entry: (entry.due, entry.came)
        )
        assert self.schedule.take_all(lane) == [entry.batch for entry in gone]
        self.waiting = [entry for entry in self.waiting if entry.batch.lane != lane]

    @invariant()
    def the_model_agrees(self) -> None:
        assert self.schedule.events == sum(len(entry.batch.events) for entry in self.waiting)
        waiting = {entry.batch.lane for entry in self.waiting}
        known = {
            name
            for name, lane in self.lanes.items()
            if name in waiting or lane.running or lane.admitted < self.workers or lane.paused_until > -inf
        }
        shown = set(self.schedule.lanes())
        assert known <= shown <= known | {None}  # the usual lane is not forgotten
        for name in (None, "x", "y"):
            assert self.schedule.is_open(name, self.now) is self.is_open(name)

    @rule(fresh=st.lists(LANES, unique=True))
    def nothing_can_be_sent_before_the_moment_that_is_named(self, fresh: list[str | None]) -> None:
        moments = [
            moment
            for name, lane in self.lanes.items()
            if len(lane.running) < lane.admitted
            for moment in (
                *(max(entry.due, lane.paused_until) for entry in self.waiting if entry.batch.lane == name),
                *([lane.paused_until] if name in fresh and lane.paused_until > self.now else []),
            )
        ]

        assert self.schedule.due_at(fresh, self.now) == min(moments, default=None)


TestScheduleMachine = ScheduleMachine.TestCase
TestScheduleMachine.settings = settings(max_examples=60 * SCALE, stateful_step_count=30, deadline=None)
