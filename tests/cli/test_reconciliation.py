from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from eventpipe.cli.reconciliation import Reconciliation
from eventpipe.statistics import Statistics

CAPTURED = frozenset(f"id {number:02}" for number in range(20))
SEEN = dict.fromkeys(CAPTURED, 1)
ALL_DELIVERED = Statistics(captured=20, delivered=20)


def reconcile(
    statistics: Statistics, seen: Mapping[str, int], dropped: Mapping[str, str] | None = None
) -> Reconciliation:
    return Reconciliation.of(CAPTURED, dropped or {}, statistics, seen)


def without(*ids: str) -> dict[str, int]:
    return {uuid: times for uuid, times in SEEN.items() if uuid not in ids}


def test_all_arrived_once() -> None:
    """Every event captured, delivered and seen: they agree, and all is well."""
    found = reconcile(ALL_DELIVERED, SEEN)

    assert (found.agrees, found.is_ok) == (True, True)
    assert (found.captured, found.delivered, found.arrived, found.lost, found.copies) == (20, 20, 20, 0, 0)


def test_a_lost_event_is_found_by_its_id() -> None:
    """An event that the client counts as delivered and the far end never saw is lost, and named."""
    found = reconcile(ALL_DELIVERED, without("id 03"))

    assert (found.lost, found.lost_ids, found.agrees, found.is_ok) == (1, ("id 03",), False, False)


def test_a_loss_is_found_where_a_copy_hides_it_in_the_sum() -> None:
    """One lost and another duplicated give the right number of arrivals, and are still told apart."""
    found = reconcile(ALL_DELIVERED, {**without("id 03"), "id 04": 2})

    assert (found.lost, found.duplicated, found.copies, found.agrees) == (1, 1, 1, False)


def test_duplicates_are_reported_and_allowed() -> None:
    """At-least-once delivery may repeat events; that is told, and no disagreement."""
    found = reconcile(ALL_DELIVERED, {**SEEN, "id 01": 3, "id 02": 2})

    assert (found.duplicated, found.copies, found.agrees, found.is_ok) == (2, 3, True, True)


def test_a_drop_that_both_sides_know_is_agreed_on() -> None:
    """A dropped event that never arrived is no disagreement, and not all is well."""
    found = reconcile(replace(ALL_DELIVERED, delivered=19, dropped=1), without("id 05"), {"id 05": "queue_full"})

    assert (found.dropped_by_reason, found.lost, found.agrees, found.is_ok) == ({"queue_full": 1}, 0, True, False)


def test_a_drop_that_arrived_is_told_apart() -> None:
    """An event dropped because its answer came too late was seen all the same: told, and agreed on."""
    found = reconcile(replace(ALL_DELIVERED, delivered=19, dropped=1), SEEN, {"id 05": "close_deadline"})

    assert (found.arrived, found.dropped_but_arrived, found.agrees, found.is_ok) == (20, 1, True, False)


@pytest.mark.parametrize(
    ("statistics", "seen", "dropped"),
    [
        (replace(ALL_DELIVERED, delivered=19), SEEN, {}),
        (replace(ALL_DELIVERED, delivered=21), SEEN, {}),
        (replace(ALL_DELIVERED, delivered=19, dropped=1), without("id 05"), {}),
        (ALL_DELIVERED, {**SEEN, "strange": 1}, {}),
        (replace(ALL_DELIVERED, delivered=19, pending=1), SEEN, {}),
    ],
    ids=["one not counted", "one counted twice", "drop without a name", "unknown id", "pending, but arrived"],
)
def test_numbers_that_do_not_fit_are_a_disagreement(
    statistics: Statistics, seen: Mapping[str, int], dropped: Mapping[str, str]
) -> None:
    """A number on one side that the ids on the other do not bear out is told."""
    found = reconcile(statistics, seen, dropped)

    assert (found.agrees, found.is_ok) == (False, False)


def test_ids_named_are_few() -> None:
    """Of many lost events ten are named."""
    found = reconcile(ALL_DELIVERED, {})

    assert (found.lost, found.lost_ids) == (20, tuple(f"id {number:02}" for number in range(10)))
