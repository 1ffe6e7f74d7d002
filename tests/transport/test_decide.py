"""What becomes of a batch, for every error, attempt and moment; and how a poison event is found."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import ceil, inf, log2, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.errors import PermanentSinkError, Scope, SinkError, TransientSinkError
from eventpipe.events import CapturedEvent
from eventpipe.options import RetryPolicy
from eventpipe.outcomes import DropReason
from eventpipe.transport.barrier import Standing
from eventpipe.transport.batch import Bisection, OutboundBatch
from eventpipe.transport.decide import Decider, Decision, Drop, Retry, Split
from tests.transport.values import CREATED_AT, numbering, outbound

# Without chance: 1, 2, 4 s; a Retry-After is met to the second.
POLICY = RetryPolicy(max_attempts=3, initial=1.0, factor=2.0, max_delay=10.0, min_delay=0.0, jitter=0.0)
NOW = 1_000.0
STANDING = Standing(4, 5, frozenset({6}))


def decider() -> Decider:
    return Decider(POLICY, lambda: 0.5, numbering("part-"))


def shown(decision: Decision) -> tuple[object, ...]:
    """A decision in a row of a table: what, when, whether it is the last attempt, and the pause."""
    if isinstance(decision, Retry):
        return ("retry", decision.due - NOW, decision.batch.final, _since(decision.pause_until))
    if isinstance(decision, Split):
        return ("split", [len(part.events) for part in decision.parts])
    return ("drop", decision.reason, _since(decision.pause_until))


def _since(moment: float | None) -> float | None:
    return None if moment is None else moment - NOW


TRANSIENT = TransientSinkError("down")
RETRY_AFTER = TransientSinkError("slow down", retry_after=5.0)
SHORT_RETRY_AFTER = TransientSinkError("slow down", retry_after=0.5)
HUGE_RETRY_AFTER = TransientSinkError("slow down", retry_after=1e9)
UNKNOWN = SinkError("neither", reason="odd")
EXHAUSTED = DropReason.EXHAUSTED
CLOSE_DEADLINE = DropReason.CLOSE_DEADLINE

OPEN, SOON, NOW_OR_BEFORE, ENDLESS = None, NOW + 3.0, NOW, inf


@pytest.mark.parametrize(
    ("error", "attempt", "final", "closing", "expected"),
    [
        # open: backoff, or the far end's wish, which pauses the lane as well; the last attempt ends it
        (TRANSIENT, 1, False, OPEN, ("retry", 1.0, False, None)),
        (TRANSIENT, 2, False, OPEN, ("retry", 2.0, False, None)),
        (TRANSIENT, 3, False, OPEN, ("drop", EXHAUSTED, None)),
        (TRANSIENT, 4, False, OPEN, ("drop", EXHAUSTED, None)),
        (TRANSIENT, 1, True, OPEN, ("drop", EXHAUSTED, None)),
        (UNKNOWN, 1, False, OPEN, ("retry", 1.0, False, None)),
        (RETRY_AFTER, 1, False, OPEN, ("retry", 5.0, False, 5.0)),
        (RETRY_AFTER, 2, False, OPEN, ("retry", 5.0, False, 5.0)),
        (SHORT_RETRY_AFTER, 2, False, OPEN, ("retry", 2.0, False, 0.5)),
        (HUGE_RETRY_AFTER, 1, False, OPEN, ("retry", 300.0, False, 300.0)),
        (RETRY_AFTER, 3, False, OPEN, ("drop", EXHAUSTED, 5.0)),
        (RETRY_AFTER, 1, True, OPEN, ("drop", EXHAUSTED, 5.0)),
        # closing, the deadline in three seconds: one final attempt, when its backoff falls due or at once
        (TRANSIENT, 1, False, SOON, ("retry", 1.0, True, None)),
        (TRANSIENT, 2, False, SOON, ("retry", 2.0, True, None)),
        (TRANSIENT, 3, False, SOON, ("drop", EXHAUSTED, None)),
        (TRANSIENT, 1, True, SOON, ("drop", EXHAUSTED, None)),
        (UNKNOWN, 2, False, SOON, ("retry", 2.0, True, None)),
        (RETRY_AFTER, 1, False, SOON, ("drop", CLOSE_DEADLINE, 5.0)),
        (RETRY_AFTER, 3, False, SOON, ("drop", EXHAUSTED, 5.0)),
        (RETRY_AFTER, 1, True, SOON, ("drop", EXHAUSTED, 5.0)),
        (SHORT_RETRY_AFTER, 2, False, SOON, ("retry", 2.0, True, 0.5)),
        # closing, and the deadline is now: nothing is sent after it
        (TRANSIENT, 1, False, NOW_OR_BEFORE, ("drop", CLOSE_DEADLINE, None)),
        (TRANSIENT, 1, True, NOW_OR_BEFORE, ("drop", EXHAUSTED, None)),
        (RETRY_AFTER, 1, False, NOW_OR_BEFORE, ("drop", CLOSE_DEADLINE, 5.0)),
        (TRANSIENT, 1, False, NOW - 9.0, ("drop", CLOSE_DEADLINE, None)),
        # closing without a deadline: everything falls due
        (TRANSIENT, 1, False, ENDLESS, ("retry", 1.0, True, None)),
        (RETRY_AFTER, 1, False, ENDLESS, ("retry", 5.0, True, 5.0)),
    ],
)
def test_what_becomes_of_a_batch_that_may_succeed_later(
    error: SinkError, attempt: int, final: bool, closing: float | None, expected: tuple[object, ...]
) -> None:
    """Every combination of error, attempt and close."""
    batch = outbound(2, attempt=attempt, final=final)

    assert shown(decider().decide(batch, error, NOW, closing)) == expected


@pytest.mark.parametrize("retry_after", [nan, -inf, -5.0, -1, 0.0, 0])
@pytest.mark.parametrize(
    ("attempt", "closing"), [(1, OPEN), (3, OPEN), (1, SOON), (2, NOW + 1.5), (1, NOW_OR_BEFORE), (1, ENDLESS)]
)
def test_a_retry_after_that_is_no_time_to_come_is_none(retry_after: float, attempt: int, closing: float | None) -> None:
    """NaN, zero and negative seconds: the batch goes again as if nothing was said, and no lane pauses."""
    batch = outbound(attempt=attempt)
    error = TransientSinkError("slow down", retry_after=retry_after)

    assert shown(decider().decide(batch, error, NOW, closing)) == shown(
        decider().decide(batch, TRANSIENT, NOW, closing)
    )


@pytest.mark.parametrize(
    ("closing", "expected"),
    [
        (NOW + 1.9, ("retry", 0.0, True, None)),
        (NOW + 2.0, ("retry", 2.0, True, None)),
        (NOW + 2.1, ("retry", 2.0, True, None)),
    ],
    ids=["due after the deadline", "due at it", "due before it"],
)
def test_the_final_attempt_is_made_at_once_where_its_backoff_outlasts_the_deadline(
    closing: float, expected: tuple[object, ...]
) -> None:
    """A backoff of two seconds against deadlines around it."""
    assert shown(decider().decide(outbound(attempt=2), TRANSIENT, NOW, closing)) == expected


@pytest.mark.parametrize(
    ("closing", "expected"),
    [
        (NOW + 4.9, ("drop", CLOSE_DEADLINE, 5.0)),
        (NOW + 5.0, ("retry", 5.0, True, 5.0)),
    ],
    ids=["beyond the deadline", "at it"],
)
def test_a_retry_after_that_outlasts_the_deadline_ends_the_batch(closing: float, expected: tuple[object, ...]) -> None:
    """The far end's wish is never undercut."""
    assert shown(decider().decide(outbound(), RETRY_AFTER, NOW, closing)) == expected


@pytest.mark.parametrize(
    ("closing", "expected"),
    [
        (NOW + 0.4, ("drop", CLOSE_DEADLINE, 0.5)),
        (NOW + 0.5, ("retry", 0.5, True, 0.5)),
        (NOW + 1.9, ("retry", 0.5, True, 0.5)),
        (NOW + 2.0, ("retry", 2.0, True, 0.5)),
    ],
    ids=["beyond the deadline", "at it", "its backoff beyond", "its backoff at it"],
)
def test_the_final_attempt_is_made_as_soon_as_the_far_end_allows(closing: float, expected: tuple[object, ...]) -> None:
    """Where the backoff outlasts the deadline, and the wait that was asked for does not."""
    assert shown(decider().decide(outbound(attempt=2), SHORT_RETRY_AFTER, NOW, closing)) == expected


def test_a_retry_is_the_same_batch_one_attempt_later() -> None:
    """Id, events, stamps, barriers and what a flush did stay; the batch that was sent is unchanged."""
    bisection = Bisection(3)
    batch = outbound(3, id="same", lane="live", attempt=2, standing=STANDING, hurried=True, bisection=bisection)

    decision = decider().decide(batch, TRANSIENT, NOW, None)

    assert isinstance(decision, Retry)
    again = decision.batch
    assert again is not batch
    assert (again.id, again.lane, again.events, again.created_at) == ("same", "live", batch.events, CREATED_AT)
    assert (again.attempt, again.standing, again.hurried, again.final) == (3, STANDING, True, False)
    assert again.bisection is bisection
    assert (batch.attempt, batch.final) == (2, False)


def test_the_delay_is_the_policy_s_with_its_chance() -> None:
    """The attempt that failed, the source of chance and the Retry-After go into the backoff."""
    policy = RetryPolicy(initial=1.0, factor=3.0, max_delay=100.0, min_delay=0.0, jitter=0.5)
    chances = iter([0.0, 0.5, 0.5])
    rules = Decider(policy, lambda: next(chances), numbering())

    due = [rules.decide(outbound(attempt=3), error, NOW, None) for error in (TRANSIENT, TRANSIENT, RETRY_AFTER)]

    assert [shown(decision) for decision in due] == [
        ("retry", 4.5, False, None),
        ("retry", 6.75, False, None),
        ("retry", 7.25, False, 5.0),
    ]


SCOPES: tuple[Scope, ...] = ("size", "event", "sink", "batch")


@pytest.mark.parametrize("closing", [None, NOW + 3.0, NOW - 1.0], ids=["open", "closing", "past the deadline"])
@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
@pytest.mark.parametrize("events", [1, 2, 5])
@pytest.mark.parametrize("scope", SCOPES)
def test_what_becomes_of_a_batch_that_would_fail_again(
    scope: Scope, events: int, attempt: int, closing: float | None
) -> None:
    """Too large or one event to blame: in two halves; a single event, or anything else: dropped, whatever the time."""
    expected: dict[Scope, tuple[object, ...]] = {
        "size": ("drop", DropReason.TOO_LARGE, None),
        "event": ("drop", DropReason.REJECTED, None),
        "sink": ("drop", DropReason.MISCONFIGURED, None),
        "batch": ("drop", DropReason.REJECTED, None),
    }
    if events > 1 and scope in ("size", "event"):
        expected[scope] = ("split", {2: [1, 1], 5: [3, 2]}[events])
    batch = outbound(events, attempt=attempt, final=True)

    assert shown(decider().decide(batch, PermanentSinkError(scope=scope), NOW, closing)) == expected[scope]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_drop_has_the_reason_that_the_sink_gave(scope: Scope) -> None:
    """A reason of the error's own comes before the one of its scope."""
    error = PermanentSinkError(scope=scope, reason=DropReason.UNAUTHORIZED)

    assert shown(decider().decide(outbound(), error, NOW, None)) == ("drop", DropReason.UNAUTHORIZED, None)


def test_what_a_bisection_leaves_has_the_sink_s_reason_as_well() -> None:
    """The search ended, and why the batch was refused has not changed."""
    batch = outbound(4, bisection=Bisection(0))
    error = PermanentSinkError(scope="event", reason=DropReason.TOO_LARGE)

    assert shown(decider().decide(batch, error, NOW, None)) == ("drop", DropReason.TOO_LARGE, None)


@pytest.mark.parametrize("scope", ["size", "event"])
def test_parts_are_new_batches_that_inherit_what_barriers_know(scope: Scope) -> None:
    """New ids and a first attempt; lane, stamps, barriers, the flush and the close stay; the order stays."""
    batch = outbound(5, id="whole", lane="live", attempt=2, standing=STANDING, hurried=True, final=True)

    decision = decider().decide(batch, PermanentSinkError(scope=scope), NOW, None)

    assert isinstance(decision, Split)
    first, second = decision.parts
    assert (first.id, second.id) == ("part-1", "part-2")
    assert first.events + second.events == batch.events
    for part in decision.parts:
        assert (part.lane, part.created_at, part.attempt, part.standing) == ("live", CREATED_AT, 1, STANDING)
        assert (part.hurried, part.final) == (True, True)
    assert (batch.id, batch.attempt, batch.bisection) == ("whole", 2, None)


def test_halving_by_size_uses_up_no_bisection() -> None:
    """The far end said what is wrong: there is nothing to search."""
    decision = decider().decide(outbound(4), PermanentSinkError(scope="size"), NOW, None)

    assert isinstance(decision, Split)
    assert [part.bisection for part in decision.parts] == [None, None]


@pytest.mark.parametrize(
    ("events", "requests"), [(1, 0), (2, 4), (3, 8), (4, 8), (5, 12), (8, 12), (9, 16), (500, 36), (512, 36), (513, 40)]
)
def test_a_bisection_has_four_requests_per_halving(events: int, requests: int) -> None:
    """4·⌈log₂ n⌉, worked out by hand."""
    assert Bisection.of(events).requests_left == requests


def test_all_parts_share_one_bisection() -> None:
    """Two requests are taken for each split, from the count of the batch that was split first."""
    rules = decider()
    error = PermanentSinkError(scope="event")

    first = rules.decide(outbound(8), error, NOW, None)
    assert isinstance(first, Split)
    budget = first.parts[0].bisection
    assert budget is not None
    assert (budget.requests_left, first.parts[1].bisection) == (10, budget)

    second = rules.decide(first.parts[1], error, NOW, None)
    assert isinstance(second, Split)
    assert [part.bisection for part in second.parts] == [budget, budget]
    assert budget.requests_left == 8


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (0, ("drop", DropReason.REJECTED, None)),
        (1, ("drop", DropReason.REJECTED, None)),
        (2, ("split", [2, 2])),
        (3, ("split", [2, 2])),
    ],
)
def test_a_bisection_ends_where_two_more_requests_would_be_too_many(left: int, expected: tuple[object, ...]) -> None:
    """What is left for less than two is dropped, and nothing is taken for it."""
    bisection = Bisection(left)

    decision = decider().decide(outbound(4, bisection=bisection), PermanentSinkError(scope="event"), NOW, None)

    assert shown(decision) == expected
    assert bisection.requests_left == (left if left < 2 else left - 2)


@dataclass
class Search:
    """What a far end saw of one batch: requests beyond the first, and what became of its events."""

    extra: int
    delivered: list[CapturedEvent]
    dropped: list[CapturedEvent]


def search(batch: OutboundBatch, is_poison: Callable[[CapturedEvent], bool]) -> Search:
    """Play a far end that refuses every batch with a poison event in it; parts go in the order they were made."""
    rules = decider()
    found = Search(-1, [], [])
    waiting = deque([batch])
    while waiting:
        sent = waiting.popleft()
        found.extra += 1
        assert found.extra < 10_000, "the search has no end"
        if not any(map(is_poison, sent.events)):
            found.delivered += sent.events
            continue
        decision = rules.decide(sent, PermanentSinkError(scope="event"), NOW, None)
        if isinstance(decision, Split):
            waiting.extend(decision.parts)
        else:
            assert isinstance(decision, Drop)
            found.dropped += sent.events
    return found


def is_among(ids: set[int], event: CapturedEvent) -> bool:
    return id(event) in ids


@pytest.mark.parametrize("poisons", [1, 2])
@pytest.mark.parametrize("events", [1, 2, 3, 4, 7, 8, 9, 16, 17, 31])
def test_one_or_two_poison_events_take_no_neighbour_along(events: int, poisons: int) -> None:
    """At every place, and every two places: they alone are dropped, within the requests allowed."""
    for places in combinations(range(events), poisons):
        batch = outbound(events)
        bad = {id(batch.events[place]) for place in places}

        found = search(batch, partial(is_among, bad))

        assert {*map(id, found.dropped)} == bad
        assert len(found.dropped) == poisons
        assert len(found.delivered) == events - poisons
        assert found.extra <= 4 * ceil(log2(events))


@pytest.mark.parametrize("events", [2, 3, 8, 9, 31, 500])
def test_a_batch_of_poison_uses_up_its_requests_and_no_more(events: int) -> None:
    """The search has an end: exactly 4·⌈log₂ n⌉ extra requests, or fewer where every event has had its own."""
    found = search(outbound(events), lambda event: True)

    assert found.extra == min(4 * ceil(log2(events)), 2 * (events - 1))
    assert (len(found.dropped), found.delivered) == (events, [])


@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_however_many_are_poison_each_event_is_settled_once(poison: list[bool]) -> None:
    """Every event is delivered or dropped, no poison is delivered, within the requests allowed."""
    batch = outbound(len(poison))
    bad = {id(event) for event, is_bad in zip(batch.events, poison, strict=True) if is_bad}

    found = search(batch, partial(is_among, bad))

    assert sorted(map(id, found.delivered + found.dropped)) == sorted(map(id, batch.events))
    assert bad <= {*map(id, found.dropped)}
    assert found.extra <= 4 * ceil(log2(len(poison)))


@pytest.mark.parametrize("events", [1, 2, 3, 8, 9, 500])
def test_a_batch_whose_every_event_is_too_large_is_halved_to_the_end(events: int) -> None:
    """Halving has no budget: each event is tried alone before it is dropped, in 2(n - 1) extra requests."""
    rules = decider()
    waiting = deque([outbound(events)])
    requests, dropped = -1, 0
    while waiting:
        requests += 1
        assert requests < 10_000, "halving has no end"
        decision = rules.decide(waiting.popleft(), PermanentSinkError(scope="size"), NOW, None)
        if isinstance(decision, Split):
            waiting.extend(decision.parts)
        else:
            assert shown(decision) == ("drop", DropReason.TOO_LARGE, None)
            dropped += 1

    assert (requests, dropped) == (2 * (events - 1), events)
