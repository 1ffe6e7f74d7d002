"""The ledger against a model that keeps every event by itself."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventpipe.core.ledger import Ledger
from tests.scale import SCALE

SIZES = st.integers(0, 1_000)
REASONS = st.sampled_from(["queue_full", "exhausted", "rejected"])


def test_an_empty_ledger_counts_nothing() -> None:
    """Every counter begins at zero, and no reason is named."""
    ledger = Ledger()

    assert (ledger.accepted, ledger.accepted_bytes, ledger.left, ledger.left_bytes) == (0, 0, 0, 0)
    assert (ledger.waiting, ledger.recovered, ledger.delivered, ledger.spooled) == (0, 0, 0, 0)
    assert (ledger.captured, ledger.held, ledger.held_bytes) == (0, 0, 0)
    assert ledger.dropped == Counter()


def test_accept_counts_one_event_and_its_bytes() -> None:
    """Each call is one event, whatever its size."""
    ledger = Ledger()

    ledger.accept(70)
    ledger.accept(0)

    assert (ledger.accepted, ledger.accepted_bytes) == (2, 70)
    assert (ledger.captured, ledger.held, ledger.held_bytes) == (2, 2, 70)


def test_the_good_door_counts_deliveries_only() -> None:
    """Delivered events make room for others and are no drops."""
    ledger = Ledger()
    for size in (5, 6, 7):
        ledger.accept(size)

    ledger.deliver(2, 11)

    assert (ledger.delivered, ledger.dropped) == (2, Counter())
    assert (ledger.left, ledger.left_bytes, ledger.held, ledger.held_bytes) == (2, 11, 1, 7)
    assert ledger.captured == 3


def test_the_drop_door_counts_by_reason() -> None:
    """Dropped events make room as well, and each reason has its number."""
    ledger = Ledger()
    for size in (5, 6, 7, 8):
        ledger.accept(size)

    ledger.drop(1, 5, "queue_full")
    ledger.drop(1, 6, "exhausted")
    ledger.drop(1, 7, "queue_full")

    assert (ledger.delivered, ledger.dropped) == (0, Counter(queue_full=2, exhausted=1))
    assert (ledger.left, ledger.left_bytes, ledger.held, ledger.held_bytes) == (3, 18, 1, 8)


def test_an_event_cannot_leave_twice() -> None:
    """More leaving than are held is an error at either door, and changes nothing."""
    ledger = Ledger()
    ledger.accept(5)
    ledger.accept(6)
    ledger.deliver(1, 5)

    with pytest.raises(AssertionError, match=r"^2 events leave, only 1 are held: an event was counted twice$"):
        ledger.deliver(2, 6)
    with pytest.raises(AssertionError, match="counted twice"):
        ledger.drop(2, 6, "rejected")

    assert (ledger.left, ledger.left_bytes, ledger.delivered, ledger.dropped) == (1, 5, 1, Counter())
    ledger.drop(1, 6, "rejected")
    assert (ledger.held, ledger.held_bytes) == (0, 0)


def test_who_waits_for_room_was_captured_and_holds_nothing() -> None:
    """A waiting producer's event is captured before it is accepted; accepting it changes nothing of that."""
    ledger = Ledger()
    ledger.waiting += 1

    assert (ledger.captured, ledger.held, ledger.held_bytes) == (1, 0, 0)

    ledger.waiting -= 1
    ledger.accept(9)

    assert (ledger.captured, ledger.held, ledger.held_bytes) == (1, 1, 9)


def test_what_came_from_a_spool_was_not_captured() -> None:
    """Recovered events are held like others but are no calls of ``capture()``."""
    ledger = Ledger()
    ledger.accept(3)
    ledger.accept(4)
    ledger.recovered += 1

    assert (ledger.captured, ledger.recovered, ledger.held) == (1, 1, 2)


class LedgerMachine(RuleBasedStateMachine):
    """Keeps the size of every event in a list of its own, by what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.calls = 0
        self.recovered = 0
        self.waiting: list[int] = []
        self.held: list[int] = []
        self.delivered: list[int] = []
        self.dropped: dict[str, list[int]] = {}

    @rule(size=SIZES)
    def accept(self, size: int) -> None:
        self.calls += 1
        self.held.append(size)
        self.ledger.accept(size)

    @rule(size=SIZES)
    def recover(self, size: int) -> None:
        self.recovered += 1
        self.held.append(size)
        self.ledger.accept(size)
        self.ledger.recovered += 1

    @rule(size=SIZES)
    def wait(self, size: int) -> None:
        self.calls += 1
        self.waiting.append(size)
        self.ledger.waiting += 1

    @precondition(lambda self: self.waiting)
    @rule()
    def admit(self) -> None:
        size = self.waiting.pop(0)
        self.held.append(size)
        self.ledger.waiting -= 1
        self.ledger.accept(size)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        size = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.dropped.setdefault("abandoned", []).append(size)
        self.ledger.waiting -= 1
        self.ledger.accept(size)
        self.ledger.drop(1, size, "abandoned")

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        leaving = self._take(data)
        self.delivered += leaving
        self.ledger.deliver(len(leaving), sum(leaving))

    @rule(data=st.data(), reason=REASONS)
    def drop(self, data: st.DataObject, reason: str) -> None:
        leaving = self._take(data)
        self.dropped.setdefault(reason, []).extend(leaving)
        self.ledger.drop(len(leaving), sum(leaving), reason)

    @rule(more=st.integers(1, 3))
    def count_twice(self, more: int) -> None:
        with pytest.raises(AssertionError, match="counted twice"):
            self.ledger.deliver(len(self.held) + more, 0)

    @invariant()
    def each_event_is_in_one_place(self) -> None:
        ledger = self.ledger
        by_reason = {reason: len(sizes) for reason, sizes in self.dropped.items() if sizes}

        assert ledger.captured == self.calls
        assert ledger.recovered == self.recovered
        assert ledger.waiting == len(self.waiting)
        assert (ledger.held, ledger.held_bytes) == (len(self.held), sum(self.held))
        assert ledger.delivered == len(self.delivered)
        assert +ledger.dropped == Counter(by_reason)
        assert ledger.left_bytes == sum(self.delivered) + sum(map(sum, self.dropped.values()))
        pending = ledger.waiting + ledger.held
        assert ledger.captured + ledger.recovered == ledger.delivered + ledger.dropped.total() + pending

    def _take(self, data: st.DataObject) -> list[int]:
        count = data.draw(st.integers(0, len(self.held)))
        leaving, self.held = self.held[:count], self.held[count:]
        return leaving


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40 * SCALE, stateful_step_count=30, deadline=None)
