"""``check_ledger`` finds an event that is missing, counted twice, or nowhere."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from eventpipe.outcomes import DropReason, Statistics
from eventpipe.testing import LedgerError, check_ledger

SOUND = Statistics(
    captured=20,
    recovered=2,
    delivered=3,
    dropped=4,
    dropped_by_reason={DropReason.EXPIRED: 1, "queue_full": 3},
    spooled=5,
    pending=10,
    waiting_room=1,
    queued=2,
    buffered=2,
    in_flight=4,
    waiting_retry=1,
)


class Client:
    def __init__(self, **changes: Any) -> None:
        self._statistics = dataclasses.replace(SOUND, **changes)

    def statistics(self) -> Statistics:
        return self._statistics


def test_sound_numbers_pass() -> None:
    """Numbers that add up are handed back."""
    assert check_ledger(Client()) == SOUND
    assert check_ledger(Client(), received=["a", "b", "c"], captured="abcd", delivered="abc") == SOUND


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"captured": 21}, "23 events came in, 12 left and 10 are pending"),
        ({"delivered": 2}, "22 events came in, 11 left and 10 are pending"),
        ({"recovered": 0}, "20 events came in, 12 left and 10 are pending"),
        ({"spooled": 6}, "22 events came in, 13 left and 10 are pending"),
        ({"pending": 9, "captured": 19}, "9 events are pending, and 10 are in waiting_room, queued, buffered"),
        ({"queued": 3}, "10 events are pending, and 11 are in"),
        ({"in_flight": -4, "queued": 10}, "in_flight is -4"),
        ({"dropped_by_reason": {"expired": 3}}, "4 events were dropped, for these reasons: {'expired': 3}"),
        ({"dropped_by_reason": {"because": 4}}, "drop reasons that are in no list: ['because']"),
    ],
)
def test_numbers_that_do_not_add_up_are_named(changes: dict[str, Any], fault: str) -> None:
    """Each part of the identity is checked by itself, and the message has the numbers."""
    with pytest.raises(LedgerError) as caught:
        check_ledger(Client(**changes))

    assert fault in str(caught.value)
    assert "Statistics(captured=" in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        ({"received": "ab"}, "3 events were delivered, and 2 arrived"),
        ({"received": "abcd"}, "4 events arrived, and 3 were delivered"),
        ({"received": "abca"}, "arrived more than once: a"),
        ({"received": "abc", "captured": "ab"}, "arrived and never captured: c"),
        ({"received": "abc", "delivered": "abd"}, "delivered and never arrived: d"),
        ({"received": "ab", "duplicates": True}, "3 events were delivered, and 2 arrived"),
    ],
)
def test_a_far_end_that_has_something_else_is_named(ids: dict[str, Any], fault: str) -> None:
    """What arrived is compared by id with what was captured and what was delivered."""
    with pytest.raises(LedgerError) as caught:
        check_ledger(Client(), **ids)

    assert fault in str(caught.value)


def test_duplicates_pass_where_they_are_allowed() -> None:
    """An attempt that failed after its batch arrived leaves more at the far end than was delivered."""
    check_ledger(Client(), received="abcda", captured="abcdef", delivered="abc", duplicates=True)


def test_a_drained_pipeline_has_nothing_pending() -> None:
    """After the end nothing waits anywhere."""
    with pytest.raises(LedgerError, match="10 events are pending, where nothing may be"):
        check_ledger(Client(), drained=True)


def test_many_ids_are_cut_short() -> None:
    """A message stays readable when thousands are lost."""
    with pytest.raises(LedgerError) as caught:
        check_ledger(Client(), received="abc", delivered=[f"{n:03}" for n in range(300)])

    assert "delivered and never arrived: 000, 001, 002, 003, 004 and 295 more" in str(caught.value)
