"""The highest levels, since the start and since each reader's own last look."""

from __future__ import annotations

import gc
import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventpipe.statistics import HighWater
from eventpipe.transport.marks import Levels, Marks, Watch


class Rig:
    """Marks over levels that a test sets."""

    def __init__(self) -> None:
        self.levels: Levels = (0, 0, 0, 0, 0)
        self.marks = Marks(lambda: self.levels)

    def be(self, *levels: int) -> None:
        held, size, in_flight, retry, room = self.levels = levels  # type: ignore[assignment]  # five of them
        self.marks.note_held(held, size)
        self.marks.note_in_flight(in_flight)
        self.marks.note_waiting(retry, room)


def test_each_level_has_a_highest_of_its_own() -> None:
    """At a moment of its own, in the order of the fields."""
    rig = Rig()
    rig.be(9, 50, 3, 0, 0)
    rig.be(2, 80, 1, 4, 0)
    rig.be(0, 0, 0, 0, 7)
    rig.be(0, 0, 0, 0, 0)

    assert rig.marks.highest() == HighWater(held=9, held_bytes=80, in_flight=3, waiting_retry=4, waiting_room=7)


def test_a_look_counts_the_levels_as_they_are() -> None:
    """Between two notes they may have risen, and no highest is below a level that is shown with it."""
    rig = Rig()
    watch = rig.marks.watch()
    rig.levels = (5, 0, 0, 0, 0)

    assert (rig.marks.highest().held, watch.take().held) == (5, 5)


def test_a_look_begins_with_the_levels_of_the_look_before() -> None:
    """What is held at both is held in between."""
    rig = Rig()
    watch = rig.marks.watch()
    rig.be(8, 0, 0, 0, 0)
    rig.be(5, 0, 0, 0, 0)

    assert [watch.take().held, watch.take().held] == [8, 5]
    rig.be(0, 0, 0, 0, 0)
    assert [watch.take().held, watch.take().held] == [5, 0]


def test_watches_do_not_disturb_each_other() -> None:
    """Each has its own last look, and the start has none."""
    rig = Rig()
    often, seldom = rig.marks.watch(), rig.marks.watch()
    taken = []
    for held in (4, 9, 2):
        rig.be(held, 0, 0, 0, 0)
        taken.append(often.take().held)

    assert taken == [4, 9, 9]
    assert (often.take().held, seldom.take().held, rig.marks.highest().held) == (2, 9, 9)


def test_a_watch_that_nobody_has_any_more_is_forgotten() -> None:
    """A program that makes a reader for each line of its log fills nothing."""
    rig = Rig()
    for _ in range(100):
        rig.marks.watch()
    gc.collect()

    assert len(rig.marks._watches) == 1


def test_readers_in_two_threads_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is made while another one looks neither ends that look nor is forgotten by it."""
    rig = Rig()
    watch = rig.marks.watch()
    made: list[Watch] = []
    other = threading.Thread(target=lambda: made.append(rig.marks.watch()))
    note = Watch.note

    def meet(one: Watch, recent: Levels, levels: Levels) -> None:
        if other.ident is None:
            other.start()
            other.join(0.01)
        note(one, recent, levels)

    monkeypatch.setattr(Watch, "note", meet)
    rig.be(7, 0, 0, 0, 0)

    assert watch.take().held == 7
    other.join()
    assert [one.take().held for one in made] == [7]
    assert len(rig.marks._watches) == 3


class MarksMachine(RuleBasedStateMachine):
    """Keeps every level there ever was, and for each watch where its last look was."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Levels] = [(0, 0, 0, 0, 0)]
        self.marks = Marks(lambda: self.history[-1])
        self.watches: list[tuple[Watch, list[int]]] = []

    @rule(levels=st.tuples(*[st.integers(0, 9)] * 5))
    def change(self, levels: Levels) -> None:
        self.history.append(levels)
        self.marks.note_held(*levels[:2])
        self.marks.note_in_flight(levels[2])
        self.marks.note_waiting(*levels[3:])

    @precondition(lambda self: len(self.watches) < 4)
    @rule()
    def watch(self) -> None:
        self.watches.append((self.marks.watch(), [len(self.history) - 1]))

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        watch, since = data.draw(st.sampled_from(self.watches))
        assert watch.take() == self.highest(since[0])
        since[0] = len(self.history) - 1

    @invariant()
    def since_the_start(self) -> None:
        assert self.marks.highest() == self.highest(0)

    def highest(self, since: int) -> HighWater:
        return HighWater(*(max(levels) for levels in zip(*self.history[since:], strict=True)))


TestMarksMachine = MarksMachine.TestCase
