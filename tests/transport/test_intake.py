"""The way in: exact bounds, producers in line, and how often the dispatcher is woken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipe.core.ledger import Ledger
from eventpipe.core.room import Waiter
from eventpipe.events import CapturedEvent
from eventpipe.transport.barrier import Standing
from eventpipe.transport.batcher import Batcher
from eventpipe.transport.intake import NEVER, EventQueue, Intake
from tests.scale import SCALE
from tests.transport.values import blank, numbering

pytestmark = pytest.mark.asyncio


def data(size: int) -> CapturedEvent:
    """An event that counts for so many bytes: it is held without its closing braces, half of it beside the envelope."""
    return blank(size + 2, beside=size // 2)


def offer(intake: Intake, event: CapturedEvent) -> bool:
    return intake.offer(event, event.held)


class Rig:
    """An intake, and how often it woke the dispatcher."""

    def __init__(self, *, max_events: int = 4, max_bytes: int = 100, batch_events: int = 3) -> None:
        self.ledger = Ledger()
        self.wakes = 0
        self.intake = Intake(
            self.ledger, max_events=max_events, max_bytes=max_bytes, batch_events=batch_events, wake=self._wake
        )

    def _wake(self) -> None:
        self.wakes += 1

    def offer_all(self, *sizes: int) -> list[bool]:
        return [offer(self.intake, data(size)) for size in sizes]

    def settle(self, events: int, size: int) -> None:
        """So many events are delivered, and whoever waits is let in."""
        self.ledger.deliver(events, size)
        self.intake.admit_waiting()


async def test_the_queue_is_an_asyncio_queue_over_a_plain_deque() -> None:
    """Whoever looks at it as a queue sees the same events."""
    queue = EventQueue()
    event = data(1)

    queue.events.append(event)

    assert (queue.qsize(), queue.empty(), queue.get_nowait()) == (1, False, event)
    assert queue.events == deque()


async def test_an_empty_intake_is_open() -> None:
    """Nothing has come in, nobody waits, there is room."""
    intake = Rig().intake

    assert (intake.position, intake.taken, intake.room.waiting, intake.pop_oldest()) == (0, 0, 0, None)
    assert (intake.has_room, intake.is_closed, intake.batch_arrived, intake.turn_away()) == (True, False, False, [])


async def test_events_get_in_up_to_the_number_that_may_be_held() -> None:
    """Exactly so many, in order; the next gets in when one has left."""
    rig = Rig(max_events=3)
    events = [data(1) for _ in range(4)]

    assert [offer(rig.intake, event) for event in events] == [True, True, True, False]
    assert list(rig.intake.queue.events) == events[:3]
    assert (rig.ledger.accepted, rig.ledger.accepted_bytes, rig.intake.position) == (3, 3, 3)

    rig.settle(1, 1)
    assert rig.offer_all(1, 1) == [True, False]


async def test_events_get_in_up_to_the_bytes_that_may_be_held() -> None:
    """The bound itself included; a smaller one may still fit where a larger one did not."""
    rig = Rig(max_events=99, max_bytes=100)

    assert rig.offer_all(60, 41, 40, 1) == [True, False, True, False]

    rig.settle(1, 60)
    assert rig.offer_all(61, 60) == [False, True]
    assert (rig.ledger.held, rig.ledger.held_bytes) == (2, 100)


async def test_an_event_that_fills_the_bytes_exactly_gets_in_whichever_way() -> None:
    """The first one, which wakes the dispatcher, and one from the line."""
    rig = Rig(max_bytes=100)
    assert rig.offer_all(101, 100) == [False, True]

    waiter = rig.intake.join(data(100), 0)
    rig.settle(1, 100)

    assert waiter.is_admitted


async def test_what_has_left_the_queue_counts_until_it_is_settled() -> None:
    """Taking a batch makes no room."""
    rig = Rig(max_events=2)
    rig.offer_all(1, 1)
    batcher = Batcher(batch_events=9, batch_bytes=99, batch_age=1, lane_of=None, new_id=numbering(), wall=lambda: 0.0)

    assert rig.intake.take(batcher, 1) == 1
    assert (rig.intake.taken, rig.intake.position, batcher.events) == (1, 2, 1)
    assert rig.intake.take(batcher, 5) == 1
    assert (rig.intake.taken, rig.intake.position) == (2, 2)

    assert rig.offer_all(1) == [False]


async def test_the_oldest_event_is_the_queue_s_head() -> None:
    """It counts as taken, so that barriers find their place."""
    rig = Rig()
    events = [data(1), data(1)]
    for event in events:
        offer(rig.intake, event)

    assert [rig.intake.pop_oldest() for _ in range(3)] == [*events, None]
    assert (rig.intake.taken, rig.intake.position) == (2, 2)


@pytest.mark.parametrize(
    ("events", "size", "expected"), [(2, 40, True), (3, 3, False), (1, 51, False), (2, 50, True)], ids=str
)
async def test_room_means_at_most_half_full(events: int, size: int, expected: bool) -> None:
    """In events and in bytes: there an episode of a full queue is over."""
    rig = Rig(max_events=4, max_bytes=100)
    rig.offer_all(size - events + 1, *[1] * (events - 1))

    assert rig.intake.has_room is expected


async def test_a_closed_intake_lets_nothing_in() -> None:
    """However much room there is."""
    rig = Rig()

    rig.intake.close()

    assert (rig.intake.is_closed, rig.offer_all(1)) == (True, [False])
    rig.settle(0, 0)
    assert rig.offer_all(1) == [False]


async def test_who_waits_gets_in_first_and_also_after_the_close() -> None:
    """A later event does not overtake the line, although it would fit."""
    rig = Rig(max_events=2, max_bytes=100)
    rig.offer_all(50, 1)
    event = data(60)
    waiter = rig.intake.join(event, 7)
    assert (rig.ledger.waiting, rig.ledger.captured, rig.ledger.held, waiter.epoch, waiter.size) == (1, 3, 2, 7, 60)

    rig.settle(1, 1)
    assert rig.offer_all(1) == [False]
    assert not waiter.future.done()

    rig.intake.close()
    rig.settle(1, 50)
    assert await waiter.future is True
    assert rig.intake.queue.events[-1] is event
    assert (rig.ledger.waiting, rig.ledger.captured, rig.ledger.held, rig.ledger.held_bytes) == (0, 3, 1, 60)


async def test_when_the_line_is_empty_others_get_in_again() -> None:
    """The first in line came in, the second gave up."""
    rig = Rig(max_events=2, max_bytes=100)
    rig.offer_all(1, 1)
    rig.intake.join(data(1), 0)
    gives_up = rig.intake.join(data(99), 0)
    rig.settle(2, 2)
    assert rig.offer_all(1) == [False]

    rig.intake.leave(gives_up)
    rig.ledger.drop(1, 99, "abandoned")

    assert rig.offer_all(1, 1) == [True, False]


async def test_who_gives_up_is_counted_in_for_whoever_drops_it() -> None:
    """With the standing of the moment it got in line; once."""
    rig = Rig(max_events=1)
    rig.offer_all(1)
    waiter = rig.intake.join(data(9), 5)

    assert rig.intake.leave(waiter) == Standing(5)
    assert (rig.ledger.waiting, rig.ledger.accepted, rig.ledger.accepted_bytes) == (0, 2, 10)
    assert rig.intake.leave(waiter) is None
    assert (rig.ledger.waiting, rig.ledger.accepted) == (0, 2)

    rig.ledger.drop(1, 9, "abandoned")
    rig.settle(1, 1)
    assert rig.offer_all(1) == [True]


async def test_who_is_in_cannot_give_up() -> None:
    """Its event is on its way."""
    rig = Rig(max_events=1)
    waiter = rig.intake.join(data(1), 0)
    rig.intake.admit_waiting()

    assert rig.intake.leave(waiter) is None
    assert (rig.ledger.waiting, rig.ledger.accepted, list(rig.intake.queue.events)) == (0, 1, [waiter.item])


async def test_the_whole_line_can_be_turned_away() -> None:
    """In order, each counted in for whoever drops it, and told."""
    rig = Rig(max_events=1)
    rig.offer_all(1)
    first, second = rig.intake.join(data(2), 3), rig.intake.join(data(4), 5)

    assert rig.intake.turn_away() == [(first.item, Standing(3)), (second.item, Standing(5))]

    assert (rig.ledger.waiting, rig.ledger.accepted, rig.ledger.accepted_bytes) == (0, 3, 7)
    assert (await first.future, await second.future) == (False, False)
    rig.ledger.drop(2, 6, "close_deadline")
    rig.settle(1, 1)
    assert rig.offer_all(1) == [True]


async def test_the_first_event_wakes_the_dispatcher_and_then_each_batch_does() -> None:
    """Until it asks for another number: so that producers let it run even when it has not looked."""
    rig = Rig(max_events=99, batch_events=3)

    wakes = []
    for _ in range(8):
        offer(rig.intake, data(1))
        wakes.append(rig.wakes)

    assert wakes == [1, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("events", "size", "wakes"),
    [
        (2, NEVER, [0, 1, 1, 1, 2]),
        (5, 30, [0, 0, 1, 1, 1]),
        (5, 31, [0, 0, 0, 1, 1]),
        (NEVER, 10, [1, 1, 1, 2, 2]),
        (NEVER, NEVER, [0, 0, 0, 0, 0]),
        (5, NEVER, [0, 0, 0, 0, 1]),
    ],
    ids=str,
)
async def test_the_dispatcher_is_woken_after_the_events_or_bytes_it_asked_for(
    events: int, size: int, wakes: list[int]
) -> None:
    """Whichever comes first, counted from now."""
    rig = Rig(max_events=99, max_bytes=10_000, batch_events=3)
    rig.offer_all(10)
    rig.wakes = 0

    rig.intake.wake_after(events, size)

    found = []
    for _ in range(5):
        offer(rig.intake, data(10))
        found.append(rig.wakes)
    assert found == wakes


async def test_an_event_from_the_line_wakes_the_dispatcher_as_well() -> None:
    """It came in like any other."""
    rig = Rig(max_events=1)
    rig.offer_all(1)
    rig.intake.join(data(1), 0)
    rig.intake.wake_after(1, NEVER)
    rig.wakes = 0

    rig.settle(1, 1)

    assert rig.wakes == 1


async def test_a_producer_is_told_when_a_batch_has_come_together() -> None:
    """Not by the event that finds the queue empty: there is nothing yet that others could do for it."""
    rig = Rig(max_events=99, batch_events=3)

    arrived = []
    for _ in range(7):
        offer(rig.intake, data(1))
        arrived.append(rig.intake.batch_arrived)
        rig.intake.batch_arrived = False

    assert arrived == [False, False, False, True, False, False, True]


async def test_a_producer_need_not_give_way_for_the_first_batch() -> None:
    """The second one without a turn of the dispatcher is one too many; its turn begins the count anew."""
    rig = Rig(max_events=99, max_bytes=999, batch_events=3)

    behind = []
    for _ in range(8):
        offer(rig.intake, data(1))
        behind.append(rig.intake.is_behind)
    rig.intake.others_ran()

    assert behind == [False] * 6 + [True] * 2
    assert not rig.intake.is_behind


@pytest.mark.parametrize(("max_events", "max_bytes"), [(11, 999), (99, 11)], ids=["events", "bytes"])
async def test_a_producer_gives_way_once_a_quarter_of_the_room_is_taken(max_events: int, max_bytes: int) -> None:
    """A small queue would be full before two batches have come together; bytes count as events do."""
    rig = Rig(max_events=max_events, max_bytes=max_bytes, batch_events=9)

    behind = []
    for _ in range(3):
        offer(rig.intake, data(1))
        behind.append(rig.intake.is_behind)

    assert behind == [False, False, True]


async def test_two_events_are_a_batch_for_who_asked_for_the_second() -> None:
    """The queue was not empty, so the dispatcher has something to do."""
    rig = Rig(max_events=99, batch_events=9)
    rig.offer_all(1)
    rig.intake.batch_arrived = False
    rig.intake.wake_after(1, NEVER)

    rig.offer_all(1)

    assert rig.intake.batch_arrived


async def test_a_producer_whose_events_are_refused_is_told_as_often() -> None:
    """A loop of refused captures must let the others run, or nothing would ever make room."""
    rig = Rig(max_events=1, batch_events=4)
    rig.offer_all(1)
    rig.intake.batch_arrived = False

    told = []
    for _ in range(9):
        offer(rig.intake, data(1))
        told.append(rig.intake.batch_arrived)
        rig.intake.batch_arrived = False

    assert told == [False, False, False, True, False, False, False, True, False]


SIZES = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["offer", "offer", "offer", "join", "refuse"]), SIZES),
        st.tuples(st.sampled_from(["settle", "give_up", "wake_after", "wake_after_bytes"]), st.integers(0, 5)),
        st.tuples(st.sampled_from(["turn_away", "pop"]), st.just(0)),
        st.tuples(st.sampled_from(["close"]), st.just(0)),
    ),
    max_size=60,
)


@dataclass
class Model:
    """Every held event by its size, the line, and when the dispatcher asked to be woken."""

    max_events: int
    max_bytes: int
    batch_events: int
    held: list[int] = field(default_factory=list)
    line: list[tuple[Waiter[CapturedEvent], int]] = field(default_factory=list)
    came: int = 0
    came_bytes: int = 0
    wake_at: int = 1
    wake_at_bytes: int = NEVER
    wakes: int = 0
    is_closed: bool = False

    def fits(self, size: int) -> bool:
        return len(self.held) < self.max_events and sum(self.held) + size <= self.max_bytes

    def count(self, size: int) -> None:
        self.came += 1
        self.came_bytes += size

    def put(self, size: int) -> None:
        self.count(size)
        self.held.append(size)
        if self.came >= self.wake_at or self.came_bytes >= self.wake_at_bytes:
            self.wakes += 1
            self.wake_at, self.wake_at_bytes = self.came + self.batch_events, NEVER

    def admit(self) -> None:
        while self.line and self.fits(self.line[0][1]):
            self.put(self.line.pop(0)[1])


@settings(max_examples=200 * SCALE, deadline=None)
@given(STEPS)
async def test_any_order_of_captures_and_settlements_keeps_the_bounds_exactly(steps: list[tuple[str, int]]) -> None:
    """A model that looks at every held event says who gets in and when the dispatcher is woken."""
    model = Model(max_events=4, max_bytes=60, batch_events=3)
    rig = Rig(max_events=4, max_bytes=60, batch_events=3)
    intake, ledger = rig.intake, rig.ledger
    for what, value in steps:
        if what == "offer":
            expected = not model.is_closed and not model.line and model.fits(value)
            assert offer(intake, data(value)) is expected
            if expected:
                model.put(value)
        elif what == "join":
            model.line.append((intake.join(data(value), 0), value))
        elif what == "refuse":
            model.count(value)
            ledger.accept(value)
            ledger.drop(1, value, "invalid")
        elif what == "settle":
            leaving, model.held = model.held[:value], model.held[value:]
            model.admit()
            rig.settle(len(leaving), sum(leaving))
        elif what == "give_up" and model.line:
            waiter, size = model.line.pop(value % len(model.line))
            model.count(size)
            assert intake.leave(waiter) == Standing(0)
            ledger.drop(1, size, "abandoned")
            model.admit()
            intake.admit_waiting()
        elif what == "turn_away":
            assert [event for event, _ in intake.turn_away()] == [waiter.item for waiter, _ in model.line]
            for _, size in model.line:
                model.count(size)
                ledger.drop(1, size, "close_deadline")
            model.line = []
        elif what == "pop":
            intake.pop_oldest()
        elif what == "wake_after":
            model.wake_at, model.wake_at_bytes = model.came + value, NEVER
            intake.wake_after(value, NEVER)
        elif what == "wake_after_bytes":
            model.wake_at, model.wake_at_bytes = NEVER, model.came_bytes + 10 * value
            intake.wake_after(NEVER, 10 * value)
        elif what == "close":
            model.is_closed = True
            intake.close()

        assert (ledger.held, ledger.held_bytes) == (len(model.held), sum(model.held))
        assert ledger.waiting == intake.room.waiting == len(model.line)
        assert intake.has_room is (2 * len(model.held) <= 4 and 2 * sum(model.held) <= 60)
        assert rig.wakes == model.wakes
