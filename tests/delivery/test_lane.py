"""A lane: what waits in it for a slot, when that must not begin any more, and what is claimed again then."""

from __future__ import annotations

import math
from typing import Any

import pytest

from eventpipe.delivery.lane import Lane
from eventpipe.delivery.pacing import Pace
from eventpipe.stores.delivery_values import (
    ClaimedRow,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    Place,
    PublishedEvent,
)


def claimed(number: int, due_at: float | None = 5.0) -> ClaimedRow:
    """A row that was claimed."""
    values: dict[str, Any] = {"claimed_until": 60.0, "holder": "me", "version": 2}  # Any: of several types
    row = DeliveryRow(
        number, "u", "paid", "acme", DeliveryState.PENDING, None, 0, 0, 0, 1.0, due_at, 9.0, None, **values
    )
    return ClaimedRow(row, PublishedEvent("u", "paid", 1.0, None, 1, None))


@pytest.fixture
def lane() -> Lane:
    """A lane in which three rows wait, until 100."""
    made = Lane(EndpointInfo("acme", "sink"), Pace(4))
    made.after = Place(5.0, 12)
    made.add([claimed(10), claimed(11), claimed(12)], late_at=100.0)
    return made


def test_what_was_claimed_first_begins_first(lane: Lane) -> None:
    """Until nothing waits."""
    taken = [lane.take(99.0) for _ in range(4)]

    assert [one and one.row.id for one in taken] == [10, 11, 12, None]


def test_what_has_waited_too_long_does_not_begin(lane: Lane) -> None:
    """From the moment on; each page has its own."""
    lane.add([claimed(13)], late_at=200.0)
    assert (lane.late_at, lane.is_late(99.9), lane.is_late(100.0)) == (100.0, False, True)
    assert lane.take(100.0) is None
    for _ in range(3):
        lane.take(99.0)

    assert lane.late_at == 200.0
    assert lane.take(199.0) is not None
    assert lane.late_at == math.inf


@pytest.mark.parametrize("state", [EndpointState.DISABLED, EndpointState.REMOVED])
def test_nothing_begins_at_an_endpoint_that_is_no_more(lane: Lane, state: EndpointState) -> None:
    """Its rows fail without an attempt."""
    lane.endpoint = EndpointInfo("acme", "sink", state=state)

    assert lane.take(1.0) is None


def test_nothing_begins_where_the_far_end_is_to_be_left_alone(lane: Lane) -> None:
    """Because it asked for that, or because a probe has failed since the pass began."""
    lane.pace.asked_until = 50.0
    asked = lane.take(49.0), lane.take(50.0)
    lane.pace.trips += 1

    assert asked[0] is None
    assert asked[1] is not None
    assert lane.take(60.0) is None


def test_a_step_back_gives_up_what_waits_and_has_it_claimed_again(lane: Lane) -> None:
    """From the first of these rows on, also where everything had been claimed; nothing is claimed ahead at once."""
    lane.is_claimed = True
    lane.pace.succeeded(0.001)
    lane.take(1.0)
    given_up = lane.step_back()

    assert [row.id for row in given_up] == [11, 12]
    assert lane.after == Place(5.0, 10)
    assert (lane.is_claimed, lane.is_done, lane.pace.ahead(4)) == (False, False, 0)
    assert lane.step_back() == []


def test_a_lane_is_done_when_all_is_claimed_and_nothing_waits(lane: Lane) -> None:
    """And not before."""
    seen = [lane.is_done]
    lane.is_claimed = True
    seen.append(lane.is_done)
    for _ in range(3):
        lane.take(1.0)

    assert [*seen, lane.is_done] == [False, False, True]


def test_half_of_what_waited_is_little(lane: Lane) -> None:
    """Then more is claimed; where there is no more, nobody is woken before the last one has begun."""
    short = [lane.is_short]
    for _ in range(2):
        lane.take(1.0)
        short.append(lane.is_short)
    lane.is_claimed = True
    lane.add([claimed(13)], late_at=100.0)
    short.append(lane.is_short)

    assert short == [False, False, True, False]
