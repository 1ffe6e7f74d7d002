"""What waits for a subscriber; by examples and against a model that keeps everything."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventpipe.outcomes import Outcome
from eventpipe.subscriptions.buffer import OVERFLOWS, Buffer, Gap, Sized, SubscriptionOverflow
from tests.scale import SCALE
from tests.subscriptions.values import event, outcome, seen

BIG = 10**9


def filled(overflow: SubscriptionOverflow, count: int, *, capacity: int = 3) -> Buffer:
    """A buffer that was offered outcomes 1 to ``count``."""
    buffer = Buffer(capacity, BIG, overflow)
    for number in range(1, count + 1):
        buffer.add(sized(number))
    return buffer


def sized(number: int, size: int = 10) -> Sized:
    """Outcome ``number`` of one event of ``size`` bytes."""
    return Sized(outcome(number, size=size))


def take_all(buffer: Buffer) -> list[int | str | None]:
    return seen(iter(buffer.take, None))


def test_outcomes_come_out_as_they_went_in() -> None:
    """The very objects, in order, and then nothing."""
    buffer = Buffer(3, BIG, "drop_newest")
    one, two = outcome(1), outcome(2)

    assert buffer.is_empty
    assert buffer.add(Sized(one))
    assert buffer.add(Sized(two))
    assert (buffer.outcomes, buffer.is_empty) == (2, False)
    assert [buffer.take(), buffer.take(), buffer.take()] == [one, two, None]
    assert (buffer.outcomes, buffer.missed, buffer.is_empty) == (0, 0, True)


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        ("drop_newest", [1, 2, 3, "-2/2"]),
        ("drop_oldest", ["-2/2", 3, 4, 5]),
        ("disconnect", [1, 2, 3, "-2/2"]),
    ],
)
def test_a_gap_stands_where_the_loss_was(overflow: SubscriptionOverflow, expected: list[int | str]) -> None:
    """Behind what is buffered, or before it."""
    buffer = filled(overflow, 5)

    assert buffer.missed == 2
    assert take_all(buffer) == expected


def test_what_came_after_a_loss_is_behind_the_gap() -> None:
    """Room that a reader makes is for what comes next."""
    buffer = filled("drop_newest", 4)
    assert buffer.take() is not None
    assert buffer.add(sized(5))
    assert not buffer.add(sized(6))

    assert take_all(buffer) == [2, 3, "-1/1", 5, "-1/1"]


def test_a_gap_has_the_events_of_what_it_stands_for() -> None:
    """An outcome of a batch is one outcome and many events."""
    buffer = Buffer(1, BIG, "drop_oldest")
    for events in (3, 4, 0, 7):
        buffer.add(Sized(outcome(1, events=events)))

    assert buffer.take() == Gap(outcomes=3, events=7)
    assert buffer.missed == 3


def test_losses_on_both_sides_of_the_oldest_become_one_gap() -> None:
    """The reader sees one number, however often something was lost there."""
    buffer = Buffer(1, BIG, "drop_oldest")
    buffer.miss(outcome(1))
    buffer.add(sized(2))
    buffer.miss(outcome(3))

    assert not buffer.add(sized(4))

    assert take_all(buffer) == ["-3/3", 4]


def test_disconnected_buffer_lets_nothing_more_in() -> None:
    """Not even where the reader made room: what came is counted behind what it has still to read."""
    buffer = filled("disconnect", 4)
    assert buffer.is_disconnected

    assert buffer.take() is not None
    assert not buffer.add(sized(5))

    assert take_all(buffer) == [2, 3, "-2/2"]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_only_disconnect_disconnects(overflow: SubscriptionOverflow) -> None:
    """The others go on."""
    assert not filled(overflow, 4).is_disconnected


@pytest.mark.parametrize(("overflow", "expected"), [("drop_newest", [1, 2, "-1/1"]), ("drop_oldest", ["-1/1", 2, 3])])
def test_bytes_are_a_bound_as_well(overflow: SubscriptionOverflow, expected: list[int | str]) -> None:
    """Reached exactly they are no loss; one more byte is."""
    buffer = Buffer(100, 20, overflow)
    buffer.add(sized(1, 9))
    buffer.add(sized(2, 11))
    assert buffer.missed == 0

    assert not buffer.add(sized(3, 1))

    assert take_all(buffer) == expected


@pytest.mark.parametrize(
    ("overflow", "expected"), [("drop_newest", [1, "-1/1"]), ("drop_oldest", ["-1/1", 2]), ("disconnect", [1, "-1/1"])]
)
def test_an_outcome_above_the_bytes_waits_alone(overflow: SubscriptionOverflow, expected: list[int | str]) -> None:
    """It can be read at all, and the bound is exceeded by one outcome at most."""
    buffer = Buffer(100, 20, overflow)

    assert buffer.add(sized(1, 21))
    assert not buffer.add(sized(2, 1))

    assert take_all(buffer) == expected


def test_several_old_ones_make_room_for_a_large_one() -> None:
    """As many as it needs, and no more."""
    buffer = Buffer(100, 20, "drop_oldest")
    for number in (1, 2, 3, 4):
        buffer.add(sized(number, 5))

    buffer.add(sized(5, 15))

    assert take_all(buffer) == ["-3/3", 4, 5]


def test_the_bytes_that_a_reader_took_are_free_again() -> None:
    """Counted by what is there."""
    buffer = Buffer(100, 20, "drop_newest")
    for number in range(1, 100):
        assert buffer.add(sized(number, 20))
        assert seen([buffer.take()]) == [number]

    assert buffer.missed == 0


def test_size_is_that_of_the_events_and_what_is_kept_beside_them() -> None:
    """As the ledger counts it."""
    plain = Outcome(outcome(1).kind, "sink", captured=(event(10), event(20)))
    rich = Outcome(outcome(1).kind, "sink", captured=(event(10), event(20, beside=5)))

    assert (Sized(plain).size, Sized(rich).size, Sized(outcome(1, events=0)).size) == (30, 30, 0)


@dataclass
class Place:
    """One outcome in the model's line, lost or not."""

    outcome: Outcome
    size: int
    is_lost: bool


class AgainstAModel(RuleBasedStateMachine):
    """The buffer, and a list of every outcome that was offered and not read, each lost or not."""

    @initialize(overflow=st.sampled_from(OVERFLOWS), capacity=st.integers(1, 4), max_bytes=st.integers(1, 30))
    def begin(self, overflow: SubscriptionOverflow, capacity: int, max_bytes: int) -> None:
        self.buffer = Buffer(capacity, max_bytes, overflow)
        self.overflow, self.capacity, self.max_bytes = overflow, capacity, max_bytes
        self.line: list[Place] = []
        self.offered = self.received = self.in_gaps = 0
        self.is_disconnected = False

    @rule(each=st.integers(0, 6), events=st.integers(0, 3))
    def add(self, each: int, events: int) -> None:
        self.offered += 1
        size = each * events
        one = outcome(self.offered, events=events, size=each)
        had_room = not self.is_disconnected and self.has_room(size)
        is_lost = not had_room and self.overflow != "drop_oldest"
        self.is_disconnected |= is_lost and self.overflow == "disconnect"
        while not is_lost and not self.has_room(size):
            next(place for place in self.line if not place.is_lost).is_lost = True
        self.line.append(Place(one, size, is_lost))

        assert self.buffer.add(Sized(one)) is had_room

    @rule(events=st.integers(0, 3))
    def miss(self, events: int) -> None:
        self.offered += 1
        one = outcome(self.offered, events=events)
        self.line.append(Place(one, 0, is_lost=True))

        self.buffer.miss(one)

    @rule()
    def take(self) -> None:
        lost: list[Outcome] = []
        while self.line and self.line[0].is_lost:
            lost.append(self.line.pop(0).outcome)

        item = self.buffer.take()

        if lost:
            assert item == Gap(len(lost), sum(len(one.captured) for one in lost))
            self.in_gaps += len(lost)
        elif self.line:
            assert item is self.line.pop(0).outcome
            self.received += 1
        else:
            assert item is None

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "buffer"):
            return
        waiting = self.waiting()
        lost = [place for place in self.line if place.is_lost]
        assert self.buffer.outcomes == len(waiting) <= self.capacity
        assert len(waiting) <= 1 or sum(place.size for place in waiting) <= self.max_bytes
        assert self.buffer.missed == self.in_gaps + len(lost)
        assert self.received + len(waiting) + self.buffer.missed == self.offered
        assert self.buffer.is_empty is (not self.line)
        assert self.buffer.is_disconnected is self.is_disconnected

    def waiting(self) -> list[Place]:
        return [place for place in self.line if not place.is_lost]

    def has_room(self, size: int) -> bool:
        waiting = self.waiting()
        if not waiting:
            return True
        return len(waiting) < self.capacity and sum(place.size for place in waiting) + size <= self.max_bytes


AgainstAModel.TestCase.settings = settings(max_examples=200 * SCALE, stateful_step_count=50, deadline=None)
TestAgainstAModel = AgainstAModel.TestCase
