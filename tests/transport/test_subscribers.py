"""Lists of outcomes, handed to everybody in the same order, whatever filters do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from eventpipe.errors import ClosedError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions import Subscription
from eventpipe.transport.subscribers import Subscribers
from tests.subscriptions.values import DELIVERED, DROPPED, RETRY, outcome, outcomes, take_all

NUMBER = 100  # what a filter causes is numbered from here on


def added(
    subscribers: Subscribers, *kinds: OutcomeKind, judge: Callable[[Outcome], object] | None = None
) -> Subscription:
    subscription = Subscription(*(kinds or [DELIVERED]), filter=judge)
    subscribers.add(subscription)
    return subscription


def test_everybody_gets_what_they_want_in_order() -> None:
    """Each its own kinds; the kinds wanted are those of all."""
    subscribers = Subscribers()
    assert subscribers.wanted == ()
    one, both = added(subscribers), added(subscribers, DROPPED, DELIVERED)
    assert set(subscribers.wanted) == {DELIVERED, DROPPED}

    subscribers.publish([outcome(1), outcome(2, DROPPED)])
    subscribers.publish([outcome(3, RETRY), outcome(4)])

    assert (take_all(one), take_all(both)) == ([1, 4], [1, 2, 4])


def test_closed_subscription_wants_nothing() -> None:
    """Nothing is handed to it, and nothing is kept of it."""
    subscribers = Subscribers()
    one, other = added(subscribers), added(subscribers, DROPPED)

    wanted = []
    for subscription in (one, other):
        subscription.close()
        wanted.append(subscribers.wanted)

    assert wanted == [(DROPPED,), ()]


def test_the_end_closes_all_for_good() -> None:
    """What is buffered stays readable; who comes later is told."""
    subscribers = Subscribers()
    one, other = added(subscribers), added(subscribers)
    subscribers.publish(outcomes(2))

    subscribers.end()
    subscribers.publish(outcomes(2))
    subscribers.end()

    assert (one.is_closed, other.is_closed, subscribers.is_ended, subscribers.wanted) == (True, True, True, ())
    assert (take_all(one), take_all(other)) == ([1, 2], [1, 2])
    with pytest.raises(ClosedError, match=r"^the client was closed by aclose\(\), and has no more outcomes"):
        added(subscribers)


def test_forked_child_ends_without_locks_that_nobody_will_release() -> None:
    """A thread of the parent may have held them in the moment of the fork."""
    subscribers = Subscribers()
    one = added(subscribers)
    subscribers.publish(outcomes(2))
    for lock in (subscribers._changing, one._lock):
        holder = threading.Thread(target=lock.acquire)
        holder.start()
        holder.join()

    subscribers.disown()

    assert (one.is_closed, subscribers.is_ended, take_all(one)) == (True, True, [1, 2])


def test_filter_that_raises_costs_nobody_else() -> None:
    """Its own outcomes, and no other's."""

    def fail(one: Outcome) -> bool:
        raise SystemExit

    subscribers = Subscribers()
    before, failing, after = added(subscribers), added(subscribers, judge=fail), added(subscribers)

    subscribers.publish(outcomes(3))

    assert (take_all(before), take_all(failing), take_all(after)) == ([1, 2, 3], ["-3/3"], [1, 2, 3])
    assert failing.filter_errors == 3


def test_what_a_filter_causes_comes_behind_what_is_handed_out() -> None:
    """For everybody in the same place; the filter is not asked about it, and misses it."""
    asked = []

    def capture(one: Outcome) -> bool:
        asked.append(one.attempt)
        subscribers.publish([outcome(NUMBER + one.attempt)])
        return True

    subscribers = Subscribers()
    before, capturing, after = added(subscribers), added(subscribers, judge=capture), added(subscribers)

    subscribers.publish(outcomes(2))
    subscribers.publish([outcome(3)])

    assert take_all(before) == take_all(after) == [1, 2, 101, 102, 3, 103]
    assert take_all(capturing) == [1, 2, "-2/2", 3, "-1/1"]
    assert (asked, capturing.missed, capturing.filter_errors) == ([1, 2, 3], 3, 0)


def test_filters_that_cause_outcomes_for_each_other_come_to_an_end() -> None:
    """Each is asked about what the others caused, and never about what goes back to itself."""
    asked: dict[str, list[int]] = {"a": [], "b": []}

    def capturing(name: str, step: int) -> Callable[[Outcome], bool]:
        def capture(one: Outcome) -> bool:
            asked[name].append(one.attempt)
            subscribers.publish([outcome(one.attempt + step)])
            return True

        return capture

    subscribers = Subscribers()
    a = added(subscribers, judge=capturing("a", 10))
    b = added(subscribers, judge=capturing("b", 100))
    witness = added(subscribers)

    subscribers.publish([outcome(1)])

    assert asked == {"a": [1, 101], "b": [1, 11]}
    assert take_all(witness) == [1, 11, 101, 111, 111]
    assert (take_all(a), take_all(b)) == ([1, "-1/1", 101, "-2/2"], [1, 11, "-3/3"])


def test_filter_may_close_and_subscribe() -> None:
    """Its own subscription or another; who is new gets what is published next."""
    made: list[Subscription] = []

    def meddle(one: Outcome) -> bool:
        made.append(added(subscribers))
        victim.close()
        meddling.close()
        return True

    subscribers = Subscribers()
    meddling, victim, witness = added(subscribers, judge=meddle), added(subscribers), added(subscribers)

    subscribers.publish(outcomes(2))
    subscribers.publish([outcome(3)])

    assert (take_all(meddling), take_all(victim), take_all(witness)) == ([], [], [1, 2, 3])
    assert [take_all(subscription) for subscription in made] == [[3]]


def test_who_subscribes_has_nothing_from_before() -> None:
    """Not even what was published before and has yet to be handed out."""
    made: list[Subscription] = []

    def meddle(one: Outcome) -> bool:
        if not made:
            subscribers.publish([outcome(NUMBER)])
            made.append(added(subscribers))
            subscribers.publish([outcome(NUMBER + 1)])
        return True

    subscribers = Subscribers()
    witness = added(subscribers)
    added(subscribers, judge=meddle)

    subscribers.publish(outcomes(2))

    assert (take_all(witness), take_all(made[0])) == ([1, 2, NUMBER, NUMBER + 1], [NUMBER + 1])


def test_ctrl_c_in_a_filter_leaves_nothing_behind_it_stuck() -> None:
    """What waited is handed out with what comes next."""

    def interrupt(one: Outcome) -> bool:
        subscribers.publish([outcome(NUMBER)])
        raise KeyboardInterrupt

    subscribers = Subscribers()
    witness, interrupted = added(subscribers), added(subscribers, judge=interrupt)

    with pytest.raises(KeyboardInterrupt):
        subscribers.publish([outcome(1)])
    interrupted.close()
    subscribers.publish([outcome(2)])

    assert take_all(witness) == [1, NUMBER, 2]


@pytest.mark.wallclock
def test_thread_that_publishes_waits_for_no_filter_of_another() -> None:
    """What it left is handed out by the thread that is at it, behind what that has."""
    entered, leave = threading.Event(), threading.Event()

    def hold(one: Outcome) -> bool:
        entered.set()
        return leave.wait(10)

    subscribers = Subscribers()
    held, witness = added(subscribers, judge=hold), added(subscribers)
    thread = threading.Thread(target=subscribers.publish, args=([outcome(1)],))
    thread.start()
    entered.wait(10)

    assert not subscribers.is_filtering
    subscribers.publish([outcome(2)])
    assert take_all(witness) == []
    leave.set()
    thread.join()

    assert (take_all(held), take_all(witness)) == ([1, 2], [1, 2])


def test_list_that_comes_while_the_turn_is_given_back_is_not_forgotten() -> None:
    """Another thread saw that somebody is at it, in the very moment in which that one was done."""

    class Turn:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.acquire, self.locked = self.lock.acquire, self.lock.locked

        def release(self) -> None:
            if late:
                subscribers.publish([late.pop()])
            self.lock.release()

    late = [outcome(2)]
    subscribers = Subscribers()
    witness = added(subscribers)
    subscribers._turn = Turn()  # type: ignore[assignment]

    subscribers.publish([outcome(1)])

    assert take_all(witness) == [1, 2]


@pytest.mark.wallclock
def test_no_list_of_several_threads_is_forgotten() -> None:
    """Each is handed out by one of them, and those of one thread in its order."""
    subscribers = Subscribers()
    witness = Subscription(DELIVERED, buffer=10_000)
    subscribers.add(witness)

    def publish(first: int) -> None:
        for number in range(first, first + 1000):
            subscribers.publish([outcome(number)])

    threads = [threading.Thread(target=publish, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    numbers = take_all(witness)
    assert len(numbers) == 3000
    for first in (0, 1000, 2000):
        assert [n for n in numbers if isinstance(n, int) and first <= n < first + 1000] == [*range(first, first + 1000)]
