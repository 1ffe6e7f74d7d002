"""``check_ledger`` finds an event that is missing, counted twice, or nowhere."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from eventpipe.measures import Histogram, Latencies
from eventpipe.outcomes import DropReason
from eventpipe.statistics import EventCounts, HighWater, Statistics
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
    queue_bytes=90,
    retried=6,
    retried_by_reason={"timeout": 4, "status_503": 2},
    by_event={"paid": EventCounts(delivered=1, dropped=4), "left": EventCounts(delivered=2, retried=6)},
    latency=Latencies(*(Histogram(counts=(1, 2, *[0] * 14), count=3, sum=0.007) for _ in range(3))),
    high_water=HighWater(held=9, held_bytes=90, in_flight=4, waiting_retry=1, waiting_room=1),
)

SLOW = Histogram(counts=(*[0] * 15, 3), count=3, sum=1000.0)


class Client:
    def __init__(self, sound: Statistics = SOUND, **changes: Any) -> None:
        self._statistics = dataclasses.replace(sound, **changes)

    def statistics(self) -> Statistics:
        return self._statistics


def test_sound_numbers_pass() -> None:
    """Numbers that add up are handed back."""
    assert check_ledger(Client()) == SOUND
    both = SOUND + SOUND
    assert check_ledger(Client(both, by_sink={"a": SOUND, "b": SOUND})).captured == 40
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
        ({"retried": 5}, "5 events were retried, for these reasons: {'timeout': 4, 'status_503': 2}"),
        ({"retried": 5}, "5 events were retried, and by event name 6"),
        ({"interrupted": -1}, "interrupted is -1"),
        ({"by_event": {"paid": EventCounts(3, 3, 6)}}, "4 events were dropped, and by event name 3"),
        ({"by_event": {}}, "3 events were delivered, and by event name 0"),
        ({"latency": Latencies()}, "3 events were delivered, and latency.send is Histogram(bounds="),
        ({"latency": Latencies(SLOW, SLOW, Histogram(SLOW.bounds, SLOW.counts, 4))}, "latency.delivery is Histogram("),
        ({"latency": Latencies(SLOW, Histogram(SLOW.bounds, SLOW.counts, 3, -1.0), SLOW)}, "latency.send is"),
        ({"high_water": HighWater(8, 90, 4, 1, 1)}, "held is 9, and its highest is 8"),
        ({"high_water": HighWater(9, 90, 4, 0, 1)}, "waiting_retry is 1, and its highest is 0"),
        ({"by_sink": {"a": SOUND, "b": Statistics()}, "spooled": 6, "captured": 21}, "summed over the sinks 5"),
        ({"by_sink": {"a": dataclasses.replace(SOUND, queued=3)}}, "sink a: 10 events are pending, and 11 are in"),
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
