"""Barriers: each counts exactly the events that were unsettled when it was opened; by examples and by sets of ids."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventpipe.outcomes import DropReason, OutcomeKind
from eventpipe.transport.barrier import Barrier, Barriers, Standing, Until
from tests.scale import SCALE

DELIVERED, DROPPED = OutcomeKind.DELIVERED, OutcomeKind.DROPPED


def opened(
    barriers: Barriers,
    pending: int,
    captured: int = 0,
    *,
    attempts: int = 0,
    until: Until = "settled",
    shared: bool = True,
) -> Barrier:
    return barriers.open(pending=pending, captured=captured, attempts=attempts, until=until, shared=shared)


def test_a_barrier_begins_with_what_is_pending() -> None:
    """Nothing is settled or attempted yet, and nobody waits."""
    barrier = opened(Barriers(), 5, 8, attempts=3, until="attempted")

    assert (barrier.serial, barrier.captured, barrier.attempts, barrier.until) == (1, 8, 3, "attempted")
    assert (barrier.unsettled, barrier.unattempted, barrier.delivered, barrier.dropped) == (5, 5, 0, Counter())
    assert (barrier.flushes, barrier.is_reached, barrier.is_given_up) == (0, False, False)
    assert not barrier.condition.locked()


def test_a_barrier_behind_nothing_is_reached_and_not_announced() -> None:
    """Whoever opened it need not wait; its number is taken all the same."""
    barriers = Barriers()

    barrier = opened(barriers, 0)

    assert (barrier.is_reached, barriers.serial) == (True, 1)
    assert (barriers.has_reached, barriers.take_reached()) == (False, [])
    barriers.settled(Standing(0), 1, DELIVERED, None)
    assert (barrier.delivered, barriers.has_reached) == (0, False)


def test_only_events_from_before_it_lower_a_barrier() -> None:
    """Those captured after it was opened belong to later ones."""
    barriers = Barriers()
    first = opened(barriers, 2, 2)
    second = opened(barriers, 3, 3)

    barriers.settled(Standing(1), 1, DELIVERED, None)
    assert (first.unsettled, second.unsettled) == (2, 2)

    barriers.settled(Standing(2), 1, DELIVERED, None)
    assert (first.unsettled, second.unsettled) == (2, 2)

    barriers.settled(Standing(0), 2, DELIVERED, None)
    assert (first.unsettled, second.unsettled) == (0, 0)
    assert barriers.take_reached() == [first, second]


def test_a_barrier_says_what_became_of_its_events() -> None:
    """Delivered, and dropped by reason; a drop without one was a rejection."""
    barriers = Barriers()
    barrier = opened(barriers, 9)

    barriers.settled(Standing(0), 3, DELIVERED, None)
    barriers.settled(Standing(0), 2, DROPPED, "exhausted")
    barriers.settled(Standing(0), 1, DROPPED, None)
    barriers.settled(Standing(0), 1, DROPPED, "exhausted")

    assert (barrier.delivered, barrier.dropped) == (3, Counter({"exhausted": 3, DropReason.REJECTED: 1}))
    assert (barrier.unsettled, barrier.unattempted, barrier.is_reached) == (2, 2, False)


def test_a_reached_barrier_is_announced_once_and_counts_no_more() -> None:
    """It is taken by whoever announces it; later events do not touch it."""
    barriers = Barriers()
    reached, waiting = opened(barriers, 1, 1), opened(barriers, 2, 2)

    barriers.settled(Standing(0), 1, DELIVERED, None)

    assert barriers.has_reached
    assert barriers.take_reached() == [reached]
    assert (barriers.has_reached, barriers.take_reached()) == (False, [])
    barriers.settled(Standing(0), 1, DELIVERED, None)
    assert (reached.unsettled, reached.delivered) == (0, 1)
    assert barriers.take_reached() == [waiting]


def test_until_attempted_the_end_of_one_attempt_each_is_enough() -> None:
    """What failed stays pending; a barrier that waits for settlement goes on waiting."""
    barriers = Barriers()
    attempted = opened(barriers, 3, until="attempted")
    settled = opened(barriers, 3, until="settled")

    standing = barriers.attempted(Standing(0), 2)
    assert (attempted.unattempted, attempted.unsettled, attempted.is_reached) == (1, 3, False)
    barriers.settled(Standing(0), 1, DELIVERED, None)

    assert (attempted.unattempted, attempted.unsettled, attempted.is_reached) == (0, 2, True)
    assert (settled.unattempted, settled.unsettled, settled.is_reached) == (0, 2, False)
    assert barriers.take_reached() == [attempted]
    assert standing == Standing(0, covered=2)


def test_a_second_attempt_of_the_same_events_counts_no_more() -> None:
    """Its standing remembers which barriers have counted one; settlement still counts for those that wait for it."""
    barriers = Barriers()
    barrier = opened(barriers, 4, until="attempted")

    standing = barriers.attempted(Standing(0), 2)
    standing = barriers.attempted(standing, 2)
    assert (barrier.unattempted, barrier.unsettled) == (2, 4)

    barriers.settled(standing, 2, DROPPED, "exhausted")
    assert (barrier.unattempted, barrier.unsettled) == (2, 2)


def test_an_attempt_counts_for_barriers_opened_since_the_last_one() -> None:
    """Each flush until attempted gets an attempt of its own."""
    barriers = Barriers()
    first = opened(barriers, 2, until="attempted")
    standing = barriers.attempted(Standing(0), 2)
    assert barriers.take_reached() == [first]
    second = opened(barriers, 2, until="attempted")

    assert barriers.attempted(standing, 2) == Standing(0, covered=2)
    assert barriers.take_reached() == [second]


def test_an_attempt_changes_nothing_else_of_a_standing() -> None:
    """Epoch and exemptions stay."""
    barriers = Barriers()
    opened(barriers, 5)
    opened(barriers, 5, 1)

    standing = barriers.attempted(Standing(1, 0, frozenset({9})), 1)

    assert standing == Standing(1, 2, frozenset({9}))


def test_an_exempt_batch_is_not_waited_for() -> None:
    """The barrier that its own ``send`` opened does not count it, neither settled nor attempted; others do."""
    barriers = Barriers()
    own = opened(barriers, 1, until="attempted", shared=False)
    other = opened(barriers, 3, until="attempted")
    exempt = Standing(0, exempt=frozenset({own.serial}))

    barriers.attempted(exempt, 2)
    assert (own.unattempted, other.unattempted) == (1, 1)
    barriers.settled(exempt, 2, DELIVERED, None)
    assert (own.unsettled, own.delivered, other.unsettled) == (1, 0, 1)


def test_flushes_at_the_same_place_share_a_barrier() -> None:
    """Nothing was captured in between, so they wait for the same events."""
    barriers = Barriers()
    barrier = opened(barriers, 3, 7)
    barriers.settled(Standing(0), 1, DELIVERED, None)

    assert opened(barriers, 2, 7, attempts=5) is barrier
    assert barriers.serial == 1


@pytest.mark.parametrize(
    ("captured", "attempts", "until", "shared"),
    [(8, 0, "settled", True), (7, 0, "attempted", True), (7, 0, "settled", False)],
    ids=["captured since", "waits for something else", "leaves something out"],
)
def test_flushes_that_wait_for_different_events_do_not_share(
    captured: int, attempts: int, until: Until, shared: bool
) -> None:
    """A barrier of its own, with the next number."""
    barriers = Barriers()
    barrier = opened(barriers, 3, 7)

    other = opened(barriers, 2, captured, attempts=attempts, until=until, shared=shared)

    assert other is not barrier
    assert (other.serial, barriers.serial, other.unsettled) == (2, 2, 2)


def test_a_barrier_for_attempts_is_shared_only_while_none_began() -> None:
    """An attempt that began in between is the first one's, and not the second one's."""
    barriers = Barriers()
    barrier = opened(barriers, 3, 7, attempts=1, until="attempted")

    assert opened(barriers, 3, 7, attempts=1, until="attempted") is barrier
    assert opened(barriers, 3, 7, attempts=2, until="attempted") is not barrier


def test_nobody_shares_a_barrier_that_leaves_something_out() -> None:
    """Inside ``send`` the own batch is not waited for; for everybody else it is."""
    barriers = Barriers()
    own = opened(barriers, 1, 7, shared=False)

    assert opened(barriers, 3, 7) is not own
    assert opened(barriers, 1, -1, shared=False) is not own
    first = Barriers()
    own = opened(first, 1, 1, shared=False)
    assert opened(first, 1, 1) is not own


@pytest.mark.parametrize("how", ["reached", "forgotten", "given up"])
def test_a_barrier_that_is_over_is_not_shared(how: str) -> None:
    """A new flush gets a new one, although nothing was captured since."""
    barriers = Barriers()
    barrier = opened(barriers, 1, 7)
    if how == "reached":
        barriers.settled(Standing(0), 1, DELIVERED, None)
    elif how == "forgotten":
        barriers.forget(barrier)
    else:
        barriers.give_up()

    assert opened(barriers, 1, 7) is not barrier


def test_an_older_barrier_at_the_same_place_is_not_shared() -> None:
    """Only the newest: an event's epoch tells only which barrier was the newest at its capture."""
    barriers = Barriers()
    older = opened(barriers, 3, 7)
    opened(barriers, 0, 7, until="attempted")

    assert opened(barriers, 3, 7) is not older


def test_a_forgotten_barrier_is_neither_counted_nor_announced() -> None:
    """Forgetting twice, or one that was reached, does nothing."""
    barriers = Barriers()
    forgotten, kept = opened(barriers, 1, 1), opened(barriers, 1, 2)

    barriers.forget(forgotten)
    barriers.forget(forgotten)
    barriers.settled(Standing(0), 1, DELIVERED, None)

    assert (forgotten.unsettled, forgotten.delivered) == (1, 0)
    assert barriers.take_reached() == [kept]
    barriers.forget(kept)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("deadlines", "forgotten", "woken"),
    [
        pytest.param([3, 1, 2], False, [1], id="the nearest, once"),
        pytest.param([None], False, [], id="never"),
        pytest.param([1, 2], True, [], id="not when forgotten"),
    ],
)
async def test_a_barrier_is_announced_at_the_nearest_deadline(
    deadlines: list[float | None], forgotten: bool, woken: list[float]
) -> None:
    """One timer, however many deadlines; who is not late then asks again."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    barriers = Barriers()
    barrier = opened(barriers, 1)
    moments = []

    async def wait() -> None:
        async with barrier.condition:
            while await barrier.condition.wait():
                moments.append(loop.time() - began)

    waiting = asyncio.create_task(wait())
    for deadline in deadlines:
        barrier.announce_by(None if deadline is None else began + deadline)
    if forgotten:
        barriers.forget(barrier)
    await asyncio.sleep(10)

    assert moments == pytest.approx(woken)
    waiting.cancel()


def test_giving_up_announces_every_barrier_as_it_stands() -> None:
    """After those that were reached; none is counted any more."""
    barriers = Barriers()
    reached, first, second = opened(barriers, 1, 1), opened(barriers, 2, 2), opened(barriers, 3, 3)
    barriers.settled(Standing(0), 1, DELIVERED, None)

    barriers.give_up()

    assert barriers.take_reached() == [reached, first, second]
    assert [barrier.is_given_up for barrier in (reached, first, second)] == [False, True, True]
    assert [barrier.unsettled for barrier in (reached, first, second)] == [0, 1, 2]
    barriers.settled(Standing(0), 1, DELIVERED, None)
    assert (first.unsettled, barriers.has_reached) == (1, False)


def test_abandoning_announces_nothing() -> None:
    """Whoever waited cannot be woken; neither those reached nor the open ones are counted any more."""
    barriers = Barriers()
    reached, waiting = opened(barriers, 1, 1), opened(barriers, 2, 2)
    barriers.settled(Standing(0), 1, DELIVERED, None)

    barriers.abandon()

    assert (barriers.has_reached, barriers.take_reached()) == (False, [])
    assert (reached.is_given_up, waiting.is_given_up) == (False, True)
    barriers.settled(Standing(0), 1, DELIVERED, None)
    assert (waiting.unsettled, barriers.has_reached) == (1, False)


def test_cuts_are_passed_in_the_order_in_which_they_were_placed() -> None:
    """Each gives the epoch of the events behind it."""
    barriers = Barriers()
    assert barriers.next_cut() is None
    for position in (5, 9, 10):
        barriers.place(opened(barriers, pending=position, captured=position).serial, position)

    assert (barriers.next_cut(), barriers.pass_cut()) == (5, 1)
    assert (barriers.next_cut(), barriers.pass_cut()) == (9, 2)
    assert (barriers.next_cut(), barriers.pass_cut()) == (10, 3)
    assert barriers.next_cut() is None


def test_cuts_at_one_place_are_one() -> None:
    """The events behind it belong behind the newest of its barriers."""
    barriers = Barriers()
    for captured in (5, 6, 7):
        barriers.place(opened(barriers, pending=5, captured=captured).serial, 5)

    assert (barriers.next_cut(), barriers.pass_cut()) == (5, 3)
    assert barriers.next_cut() is None


def test_a_barrier_that_was_forgotten_before_it_got_its_place_is_placed_all_the_same() -> None:
    """Callers stood in line before it: what came in until then leaves now, and the older cut makes way."""
    barriers = Barriers()
    first, second = opened(barriers, pending=1, captured=1), opened(barriers, pending=2, captured=2)
    barriers.place(first.serial, 1)
    barriers.forget(first)
    barriers.forget(second)

    barriers.place(second.serial, 9)

    assert (barriers.next_cut(), barriers.pass_cut(), barriers.next_cut()) == (9, second.serial, None)


def test_cut_of_a_forgotten_barrier_makes_way_for_the_next() -> None:
    """Flushes that gave up leave one cut behind them, however many they were; an open barrier keeps its own."""
    barriers = Barriers()
    kept = opened(barriers, pending=1, captured=1)
    barriers.place(kept.serial, 1)
    for position in range(2, 100):
        barrier = opened(barriers, pending=position, captured=position)
        barriers.place(barrier.serial, position)
        barriers.forget(barrier)

    assert (barriers.next_cut(), barriers.pass_cut()) == (1, kept.serial)
    assert (barriers.next_cut(), barriers.pass_cut()) == (99, barriers.serial)
    assert barriers.next_cut() is None


def test_cut_stays_for_the_last_open_barrier_at_its_place() -> None:
    """Of two barriers at one place the younger was forgotten: the cut is still the elder's."""
    barriers = Barriers()
    elder = opened(barriers, pending=5, captured=5, until="attempted")
    barriers.place(elder.serial, 5)
    younger = opened(barriers, pending=5, captured=5)
    barriers.place(younger.serial, 5)
    barriers.forget(younger)

    barriers.place(opened(barriers, pending=6, captured=6).serial, 6)

    assert (barriers.next_cut(), barriers.pass_cut()) == (5, younger.serial)
    assert (barriers.next_cut(), barriers.pass_cut()) == (6, 3)


def test_cut_behind_an_open_barrier_that_was_passed_makes_way() -> None:
    """Barriers whose places have been passed need no cut, however long they stay open."""
    barriers = Barriers()
    barriers.place(opened(barriers, pending=5, captured=5).serial, 5)
    barriers.pass_cut()
    forgotten = opened(barriers, pending=6, captured=6)
    barriers.place(forgotten.serial, 6)
    barriers.forget(forgotten)

    barriers.place(opened(barriers, pending=7, captured=7).serial, 7)

    assert (barriers.next_cut(), barriers.pass_cut()) == (7, 3)


@dataclass(eq=False)
class Group:
    """Events of the model that share one standing."""

    ids: set[int]
    standing: Standing


@dataclass(eq=False)
class Expected:
    """What the model knows of one barrier: the very events it waits for."""

    barrier: Barrier
    key: tuple[object, ...]
    unsettled: set[int]
    unattempted: set[int]
    delivered: set[int] = field(default_factory=set)
    dropped: dict[str, set[int]] = field(default_factory=dict)

    @property
    def is_reached(self) -> bool:
        return not self.unsettled or (self.barrier.until == "attempted" and not self.unattempted)


class BarrierMachine(RuleBasedStateMachine):
    """Knows every event by its number, and for every barrier the set of those it waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.barriers = Barriers()
        self.captured = 0
        self.attempts = 0
        self.groups: list[Group] = []
        self.open: list[Expected] = []
        self.reached: list[Barrier] = []
        self.newest: Barrier | None = None

    def draw_group(self, data: st.DataObject) -> Group:
        return data.draw(st.sampled_from(self.groups))

    def take(self, data: st.DataObject, group: Group) -> set[int]:
        """Some of a group's events leave it."""
        ids = set(sorted(group.ids)[: data.draw(st.integers(0, len(group.ids)))])
        group.ids -= ids
        if not group.ids:
            self.groups.remove(group)
        return ids

    @rule(events=st.integers(1, 4))
    def capture(self, events: int) -> None:
        ids = set(range(self.captured, self.captured + events))
        self.captured += events
        self.groups.append(Group(ids, Standing(self.barriers.serial)))

    @rule(until=st.sampled_from(["settled", "attempted"]), leave_out=st.booleans(), data=st.data())
    def flush(self, until: Until, leave_out: bool, data: st.DataObject) -> None:
        own = self.draw_group(data) if leave_out and self.groups else None
        waited_for = {number for group in self.groups if group is not own for number in group.ids}
        key = (self.captured, until, self.attempts if until == "attempted" else None)
        same = next((one for one in self.open if one.barrier is self.newest and one.key == key), None)
        if same is not None and until == "attempted" and len(same.unattempted) < len(waited_for):
            same = None  # an attempt failed since: who comes now waits for another one

        barrier = self.barriers.open(
            pending=len(waited_for), captured=self.captured, attempts=self.attempts, until=until, shared=own is None
        )

        if own is None and same is not None:
            assert barrier is same.barrier
            return
        assert barrier.serial == self.barriers.serial
        assert barrier.is_reached is (not waited_for)
        self.newest = barrier
        if waited_for:
            self.open.append(Expected(barrier, key if own is None else (), waited_for, set(waited_for)))
        if own is not None:
            own.standing = Standing(own.standing.epoch, own.standing.covered, own.standing.exempt | {barrier.serial})

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), reason=st.sampled_from([None, "exhausted", "rejected"]))
    def settle(self, data: st.DataObject, reason: str | None) -> None:
        group = self.draw_group(data)
        standing = group.standing
        ids = self.take(data, group)
        for one in self.open:
            kind = one.delivered if reason is None else one.dropped.setdefault(reason, set())
            kind |= one.unsettled & ids
            one.unsettled -= ids
            one.unattempted -= ids
        self.barriers.settled(standing, len(ids), DELIVERED if reason is None else DROPPED, reason)
        self.collect()

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def attempt(self, data: st.DataObject) -> None:
        self.attempts += 1
        group = self.draw_group(data)
        for one in self.open:
            one.unattempted -= group.ids
        group.standing = self.barriers.attempted(group.standing, len(group.ids))
        self.collect()

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        group = self.draw_group(data)
        standing = group.standing
        if ids := self.take(data, group):
            self.groups.append(Group(ids, standing))

    @rule()
    def begin_attempt(self) -> None:
        self.attempts += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open))
        self.open.remove(one)
        self.barriers.forget(one.barrier)

    @rule()
    def announce(self) -> None:
        assert self.barriers.take_reached() == self.reached
        self.reached = []

    @rule()
    def give_up(self) -> None:
        self.reached += [one.barrier for one in self.open]
        self.open = []
        self.barriers.give_up()

    def collect(self) -> None:
        self.reached += [one.barrier for one in self.open if one.is_reached]
        self.open = [one for one in self.open if not one.is_reached]

    @invariant()
    def each_barrier_waits_for_exactly_its_events(self) -> None:
        assert self.barriers.has_reached is bool(self.reached)
        for one in self.open:
            barrier = one.barrier
            assert not barrier.is_reached
            assert (barrier.unsettled, barrier.unattempted) == (len(one.unsettled), len(one.unattempted))
            assert barrier.delivered == len(one.delivered)
            assert +barrier.dropped == +Counter({reason: len(ids) for reason, ids in one.dropped.items()})


TestBarrierMachine = BarrierMachine.TestCase
TestBarrierMachine.settings = settings(max_examples=50 * SCALE, stateful_step_count=30, deadline=None)
