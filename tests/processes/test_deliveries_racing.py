"""Two reconcilers in two processes that want the same deliveries at the same moment."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from eventpipe.delivery import DeliveryState
from tests.processes.delivery_places import Place
from tests.processes.nursery import Child, Nursery
from tests.processes.webhooks import FarEnd

PENDING, RAISING = 100, 10
WORKERS = 4
HOLD = 0.01  # seconds from a request to its answer: so long it is in flight at least

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60)]


class Report(NamedTuple):
    """What a program said of its pass."""

    claimed: int
    succeeded: int
    skipped: int
    lock_held: bool
    errors: list[tuple[int, str]]

    @classmethod
    def of(cls, child: Child) -> Report:
        (entry,) = child.entries("report")
        errors = [(int(id_), kind) for _, id_, kind in child.entries("error")]
        return cls(int(entry[1]), int(entry[2]), int(entry[3]), entry[4] == "1", errors)


@pytest.fixture
def far(far: FarEnd) -> FarEnd:
    """One that takes its time."""
    far.hold(HOLD)
    return far


def race(place: Place, children: Nursery, **arguments: object) -> tuple[Report, Report]:
    """Two passes that begin together."""
    go = place.path.with_name("go")
    both = [place.fork(children, "pass", workers=WORKERS, go=str(go), **arguments) for _ in range(2)]
    for child in both:
        child.await_entry("ready")
    go.touch()
    assert [child.wait() for child in both] == [0, 0]
    one, other = map(Report.of, both)
    return one, other


@pytest.mark.parametrize("raises", ["StoreError", "BookkeepingError"])
def test_each_is_delivered_once_and_each_error_is_in_a_report(
    place: Place, far: FarEnd, children: Nursery, raises: str
) -> None:
    """A hundred, of which ten cannot be written: nothing goes out twice, and none of the ten is hidden."""
    uuids = place.publish(PENDING)
    raising = [row.id for row in place.rows()][5 :: PENDING // RAISING]

    one, other = race(place, children, raising=raising, raises=raises)

    seen = far.seen()
    assert sorted(seen.ids) == sorted(uuids)
    assert seen.most <= 2 * WORKERS
    assert sorted(one.errors + other.errors) == [(id_, raises) for id_ in raising]
    assert (one.succeeded + other.succeeded, one.skipped + other.skipped) == (PENDING - RAISING, 0)
    assert one.claimed + other.claimed == PENDING
    assert min(one.claimed, other.claimed) > 0  # else it was no race
    left = {row.id: row for row in place.rows() if row.state is not DeliveryState.SUCCESS}
    assert sorted(left) == raising
    assert {(row.state, row.attempts, row.claimed_until is None) for row in left.values()} == {
        (DeliveryState.PENDING, 0, False)
    }


def test_far_end_never_has_more_than_the_workers_of_both(place: Place, far: FarEnd, children: Nursery) -> None:
    """Measured where the requests arrive, which is as many as both may have, and not one more."""
    place.publish(PENDING)

    race(place, children)

    assert WORKERS < far.seen().most <= 2 * WORKERS


def test_with_a_lock_one_makes_the_pass_and_the_other_says_so(place: Place, far: FarEnd, children: Nursery) -> None:
    """The one does it all with its own workers; the other has done nothing, and that is no error."""
    uuids = place.publish(PENDING)

    reports = race(place, children, lock="deliveries")

    idle, busy = sorted(reports)
    assert idle == Report(0, 0, 0, True, [])
    assert busy == Report(PENDING, PENDING, 0, False, [])
    seen = far.seen()
    assert sorted(seen.ids) == sorted(uuids)
    assert seen.most <= WORKERS
