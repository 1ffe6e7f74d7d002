"""Claimed events as a run: the same as one by one, whoever looks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.stores.values import ClaimedEvent, ClaimedRun, offsets_of
from eventpipe.testing.events import make_event

EVENTS = [make_event() for _ in range(12)]


def claimed(first: int, numbers: Sequence[int]) -> list[ClaimedEvent]:
    """Events from an offset on, each of the claim with its number."""
    return [ClaimedEvent(first + at, 100.0 + at, EVENTS[at], None, b"", 1, number) for at, number in enumerate(numbers)]


def run_of(events: Sequence[ClaimedEvent]) -> ClaimedRun:
    run = ClaimedRun.of(events)
    assert run is not None
    return run


def parts(events: Sequence[ClaimedEvent]) -> list[tuple[object, ...]]:
    return [(one.offset, one.appended_at, one.event, one.fault, one.raw, one.attempt, one.claim) for one in events]


numbers = st.lists(st.integers(1, 3), min_size=1, max_size=12).map(sorted)


@given(st.integers(0, 5), numbers, st.slices(12), st.integers(-12, 11))
def test_run_is_as_a_list_of_its_events(first: int, of_claims: list[int], part: slice, at: int) -> None:
    """Its length, its order, one of them, and a part of it."""
    events = claimed(first, of_claims)
    run = run_of(events)

    assert (len(run), parts(run), [*offsets_of(run)]) == (len(events), parts(events), offsets_of(events))
    assert parts(list(reversed(run))) == parts(events[::-1])
    if -len(events) <= at < len(events):
        assert parts([run[at]]) == parts([events[at]])
    else:
        with pytest.raises(IndexError):
            run[at]
    if part.step in (None, 1):
        assert parts(run[part]) == parts(events[part])
    else:
        with pytest.raises(ValueError, match="without steps"):
            run[part]


@given(st.integers(0, 5), numbers, st.integers(0, 12))
def test_parts_of_a_run_make_it_again(first: int, of_claims: list[int], cut: int) -> None:
    """Wherever it was cut, between two claims or within one."""
    run = run_of(claimed(first, of_claims))
    one, other = run[:cut], run[cut:]

    joined = one + other if one else other

    assert parts(joined) == parts(run)
    assert [*joined.by_claim()] == [*run.by_claim()]
    assert [offset for _, offsets in run.by_claim() for offset in offsets] == [*offsets_of(run)]


def test_what_is_a_run_already_stays_it() -> None:
    """Nothing is copied."""
    run = run_of(claimed(3, [1, 1, 2]))
    assert ClaimedRun.of(run) is run


@pytest.mark.parametrize(
    "events",
    [
        [],
        [*claimed(0, [1]), *claimed(2, [1])],
        claimed(0, [1, 1])[::-1],
        [*claimed(0, [1]), ClaimedEvent(1, 0.0, EVENTS[1], None, b"", 2, 1)],
        [*claimed(0, [1]), ClaimedEvent(1, 0.0, None, "damaged", b"{", 1, 1)],
    ],
    ids=["none", "a gap", "another order", "a later attempt", "one that is no event"],
)
def test_what_is_no_run(events: list[ClaimedEvent]) -> None:
    """Of each something is to be said by itself."""
    assert ClaimedRun.of(events) is None
