"""What a holder has in hand: of a run as of each of its events by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from eventpipe.log.in_hand import InHand
from eventpipe.stores.values import ClaimedEvent, ClaimedRun
from eventpipe.testing.events import make_event


def claimed(*offsets: int, claim: int, attempt: int = 1) -> list[ClaimedEvent]:
    return [ClaimedEvent(offset, 1.0, make_event(), None, b"", attempt, claim) for offset in offsets]


def places(in_hand: InHand) -> list[tuple[int, int, int]]:
    return [(one.claim, one.offset, one.attempt) for one in in_hand.all()]


@pytest.mark.parametrize("kind", ["run", "list"])
def test_what_is_removed_is_in_hand_no_more(kind: str) -> None:
    """A part at once, one by itself, and what is not there at all; in the end nothing is left."""
    events: Sequence[ClaimedEvent] = claimed(*range(10), claim=4)
    if kind == "run":
        run = ClaimedRun.of(events)
        assert run is not None
        events = run
    in_hand = InHand()
    in_hand.add(events)
    in_hand.remove(events[2:5])
    in_hand.remove([events[7]])
    in_hand.remove(events[2:5])

    assert len(in_hand) == 6
    assert places(in_hand) == [(4, offset, 1) for offset in (0, 1, 5, 6, 8, 9)]
    in_hand.remove(events)
    assert (len(in_hand), in_hand.all()) == (0, [])


def test_an_offset_that_is_claimed_anew_is_another_one() -> None:
    """What is settled under the claim before it leaves it in hand."""
    first, again = (ClaimedRun.of(claimed(1, 2, claim=number)) for number in (1, 2))
    assert first is not None
    assert again is not None
    in_hand = InHand()
    in_hand.add(first)
    in_hand.add(again)
    in_hand.remove(first)
    in_hand.remove([first[0]])

    assert places(in_hand) == [(2, 1, 1), (2, 2, 1)]


def test_runs_and_single_ones_are_given_back_in_the_order_of_their_claims() -> None:
    """With the attempt that each is at."""
    run = ClaimedRun.of([*claimed(5, 6, claim=2), *claimed(7, claim=3)])
    assert run is not None
    in_hand = InHand()
    in_hand.add(run)
    in_hand.add(claimed(1, claim=1, attempt=3))
    in_hand.add(claimed(9, claim=2, attempt=2))

    assert places(in_hand) == [(1, 1, 3), (2, 5, 1), (2, 6, 1), (2, 9, 2), (3, 7, 1)]
