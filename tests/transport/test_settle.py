"""The one door for outcomes: everything is booked before anybody is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from eventpipe.core.ledger import Ledger
from eventpipe.events import CapturedEvent, Pending
from eventpipe.outcomes import DropReason, Durations, Outcome, OutcomeKind, Settlement
from eventpipe.testing.events import make_event
from eventpipe.transport.barrier import Barrier, Barriers, Standing
from eventpipe.transport.episodes import GAP, Episodes
from eventpipe.transport.meter import Meter
from eventpipe.transport.settle import Settler
from eventpipe.transport.tallies import Shortlist
from tests.transport.values import CREATED_AT

CAPTURED = Standing(0)


class Rig:
    """A door over a real ledger, barriers and episodes; remembers in which order things were told."""

    def __init__(self, events: int) -> None:
        self.events = tuple(make_event(f"e{number}", key="k" * (number % 2)) for number in range(events))
        self.ledger = Ledger()
        for event in self.events:
            self.ledger.accept(event.held)
        self.barriers = Barriers()
        self.now = 0.0
        self.episodes = Episodes("eu", lambda: self.now)
        self.told: list[tuple[str, Sequence[Outcome]]] = []
        observers = [lambda outcomes: self.told.append(("first", outcomes)), self.look]
        self.meter = Meter(Shortlist(), lambda: CREATED_AT)
        self.settler = Settler(
            self.ledger,
            self.barriers,
            self.episodes,
            self.meter,
            observers,
            now=lambda: self.now,
        )
        self.looks: list[tuple[int, int, int]] = []

    def open(self) -> Barrier:
        return self.barriers.open(
            pending=len(self.events), captured=self.barriers.serial, attempts=0, until="settled", shared=True
        )

    def look(self, outcomes: Sequence[Outcome]) -> None:
        """An observer that reads the books."""
        self.told.append(("second", outcomes))
        self.looks.append((self.ledger.held, self.ledger.delivered, self.ledger.dropped.total()))

    def outcome(
        self, kind: OutcomeKind, which: slice, *, reason: str | None = None, error: str | None = None
    ) -> Outcome:
        return Outcome(kind, "eu", 2, reason, 503, Durations(1.0, 0.5), error, self.events[which])


def size(events: Sequence[CapturedEvent]) -> int:
    return sum(event.held for event in events)


DELIVERED, DROPPED, RETRY, INTERRUPTED = (
    OutcomeKind.DELIVERED,
    OutcomeKind.DROPPED,
    OutcomeKind.RETRY,
    OutcomeKind.INTERRUPTED,
)


def test_every_part_of_an_answer_is_booked_by_its_kind() -> None:
    """Delivered and dropped events leave the ledger, with their bytes; the others stay."""
    rig = Rig(9)
    barrier = rig.open()

    rig.settler.settle(
        [
            rig.outcome(DELIVERED, slice(0, 3)),
            rig.outcome(DROPPED, slice(3, 5), reason=DropReason.TOO_LARGE),
            rig.outcome(DROPPED, slice(5, 6), reason=DropReason.REJECTED),
            rig.outcome(RETRY, slice(6, 9), reason="status_503"),
        ],
        CAPTURED,
    )

    ledger = rig.ledger
    assert (ledger.delivered, ledger.dropped) == (3, Counter(too_large=2, rejected=1))
    assert (ledger.held, ledger.held_bytes) == (3, size(rig.events[6:]))
    assert (barrier.delivered, barrier.dropped) == (3, Counter(too_large=2, rejected=1))
    assert (barrier.unsettled, barrier.unattempted) == (3, 0)


def test_what_was_interrupted_is_neither_settled_nor_attempted() -> None:
    """Its attempt does not count, for barriers either; its standing stays."""
    rig = Rig(2)
    barrier = rig.open()
    kept: list[Standing] = []

    rig.settler.settle([rig.outcome(INTERRUPTED, slice(0, 2))], CAPTURED, kept.append)

    assert (rig.ledger.held, barrier.unsettled, barrier.unattempted, kept) == (2, 2, 2, [CAPTURED])
    assert [event.settlement for event in rig.events] == [None, None]


def test_what_stays_is_kept_with_its_standing_from_now_on() -> None:
    """Attempted up to the newest barrier; where nothing is to be kept, nothing is called."""
    rig = Rig(4)
    rig.open()
    rig.open()
    kept: list[Standing] = []
    standing = Standing(1, 0, frozenset({9}))

    rig.settler.settle([rig.outcome(RETRY, slice(0, 2)), rig.outcome(DELIVERED, slice(2, 4))], standing, kept.append)
    assert kept == [Standing(1, 2, frozenset({9}))]

    rig.settler.settle([rig.outcome(RETRY, slice(0, 2))], standing)
    assert len(kept) == 1


def test_parts_of_one_answer_count_by_the_standing_they_were_sent_with() -> None:
    """Whatever their order: events sent again do not hide the others from a barrier that waits for attempts."""
    rig = Rig(4)
    barrier = rig.barriers.open(pending=4, captured=4, attempts=0, until="attempted", shared=True)

    rig.settler.settle([rig.outcome(RETRY, slice(0, 2)), rig.outcome(DELIVERED, slice(2, 4))], CAPTURED)

    assert (barrier.unattempted, barrier.unsettled) == (0, 2)
    assert rig.barriers.take_reached() == [barrier]


def test_each_event_is_told_what_became_of_it() -> None:
    """All of an outcome share one settlement, which does not list them; those sent again are told nothing."""
    rig = Rig(4)

    rig.settler.settle(
        [
            rig.outcome(DELIVERED, slice(0, 2)),
            rig.outcome(DROPPED, slice(2, 3), reason="rejected", error="no"),
            rig.outcome(RETRY, slice(3, 4)),
        ],
        CAPTURED,
    )

    first, second, third, fourth = (event.settlement for event in rig.events)
    assert first == Settlement(DELIVERED, "eu", 2, None, 503, Durations(1.0, 0.5), None)
    assert second is first
    assert type(first) is Settlement
    assert third == Settlement(DROPPED, "eu", 2, "rejected", 503, Durations(1.0, 0.5), "no")
    assert fourth is None


def test_whoever_waits_for_an_event_is_told_and_a_settled_one_stays_as_it_is() -> None:
    """A waiter decides itself what the event keeps; a settlement that is there was the event's end."""
    rig = Rig(3)
    told: list[tuple[CapturedEvent, Settlement]] = []

    class Waiting(Pending):
        def settle(self, event: CapturedEvent, settlement: Settlement) -> None:
            told.append((event, settlement))

    before = Settlement(DROPPED, "other")
    rig.events[0].settlement = waiting = Waiting()
    rig.events[1].settlement = before

    rig.settler.settle([rig.outcome(DELIVERED, slice(0, 3))], CAPTURED)

    settlement = rig.events[2].settlement
    assert isinstance(settlement, Settlement)
    assert told == [(rig.events[0], settlement)]
    assert rig.events[0].settlement is waiting
    assert rig.events[1].settlement is before


def test_observers_are_told_in_order_when_all_is_booked() -> None:
    """Once per batch, with every outcome of it, and what stays has been put where it waits."""
    rig = Rig(5)
    order: list[str] = []
    outcomes = [
        rig.outcome(DROPPED, slice(0, 1), reason="rejected"),
        rig.outcome(RETRY, slice(1, 3)),
        rig.outcome(DELIVERED, slice(3, 5)),
    ]

    rig.settler.settle(outcomes, CAPTURED, lambda _: order.append(f"kept before {len(rig.told)} were told"))

    assert order == ["kept before 0 were told"]
    assert [(who, one is outcomes) for who, one in rig.told] == [("first", True), ("second", True)]
    assert rig.looks == [(2, 2, 1)]


def test_booking_and_telling_are_two_steps_for_who_has_several_batches() -> None:
    """So that no observer meets numbers of which a part is booked."""
    rig = Rig(2)
    outcomes = [rig.outcome(DELIVERED, slice(0, 2))]

    rig.settler.book(outcomes, CAPTURED)
    assert (rig.ledger.delivered, rig.told) == (2, [])

    rig.settler.tell(outcomes)
    assert (rig.ledger.delivered, len(rig.told), rig.looks) == (2, 2, [(0, 2, 0)])


def test_drops_are_logged_and_a_delivery_ends_their_episode(caplog: pytest.LogCaptureFixture) -> None:
    """With the reason, the number and the error's text."""
    rig = Rig(5)

    rig.settler.settle([rig.outcome(DROPPED, slice(0, 2), reason="exhausted", error="down")], CAPTURED)
    rig.settler.settle([rig.outcome(DROPPED, slice(2, 3), reason="exhausted", error="down")], CAPTURED)
    rig.now += GAP
    rig.settler.settle([rig.outcome(DELIVERED, slice(3, 5))], CAPTURED)

    assert [record.getMessage() for record in caplog.records] == [
        "sink eu: events are being dropped, reason exhausted: down",
        "sink eu: 3 events were dropped, reason exhausted",
    ]


def test_an_empty_answer_books_nothing() -> None:
    """Observers are told of it all the same: it was an attempt."""
    rig = Rig(1)

    rig.settler.settle([], CAPTURED)

    assert (rig.ledger.held, rig.looks) == (1, [(1, 0, 0)])
