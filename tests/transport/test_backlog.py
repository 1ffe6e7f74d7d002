"""Where events are, which batch leaves next, and that no batch spans a barrier; with the real parts, without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipe.core.ledger import Ledger
from eventpipe.events import CapturedEvent
from eventpipe.statistics import HighWater, Statistics
from eventpipe.transport.backlog import Backlog
from eventpipe.transport.barrier import Barriers, Standing
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.batcher import Batcher
from eventpipe.transport.decide import Retry, Split
from eventpipe.transport.intake import Intake
from eventpipe.transport.meter import Meter
from eventpipe.transport.schedule import Schedule
from eventpipe.transport.tallies import Shortlist
from tests.scale import SCALE
from tests.transport.values import CREATED_AT, blank, numbering, outbound

AGE = 1.0


class Rig:
    """A backlog over its real parts."""

    def __init__(self, *, batch_events: int = 3, workers: int = 4, lanes: bool = False, room: int = 1_000) -> None:
        self.ledger = Ledger()
        self.intake = Intake(
            self.ledger, max_events=room, max_bytes=10**6, batch_events=batch_events, wake=lambda: None
        )
        self.batcher = Batcher(
            batch_events=batch_events,
            batch_bytes=10**6,
            batch_age=AGE,
            lane_of=(lambda event: event.lane) if lanes else None,
            new_id=numbering(),
            wall=lambda: CREATED_AT,
        )
        self.schedule = Schedule(workers)
        self.barriers = Barriers()
        self.backlog = Backlog(
            self.intake, self.batcher, self.schedule, self.barriers, Meter(Shortlist(), lambda: CREATED_AT)
        )
        self.newest_cut = 0

    def capture(self, *events: CapturedEvent) -> None:
        for event in events:
            assert self.intake.offer(event, event.held)

    def cut(self) -> int:
        """Open a barrier behind everything captured so far, in the way a flush does; returns its serial."""
        barrier = self.barriers.open(
            pending=self.backlog.pending, captured=self.ledger.accepted, attempts=0, until="settled", shared=True
        )
        if not barrier.is_reached:  # nothing is pending: nobody waits, and no batch need end here
            self.barriers.place(barrier.serial, self.intake.position)
            self.newest_cut = barrier.serial
        return barrier.serial

    def leaving(self, now: float = 0.0, *, closing: bool = False) -> list[OutboundBatch]:
        """Every batch that may leave now, with nothing begun."""
        batches = []
        while (batch := self.backlog.next_batch(now, closing=closing)) is not None:
            batches.append(batch)
        return batches

    def places(self) -> tuple[int, int, int, int, int]:
        """Events in line, queued, buffered, in flight and waiting for a retry."""
        backlog = self.backlog
        return (
            self.intake.room.waiting,
            len(self.intake.queue.events),
            self.batcher.events,
            backlog.in_flight_events,
            self.schedule.events,
        )


def sizes(batches: Sequence[OutboundBatch]) -> list[int]:
    return [len(batch.events) for batch in batches]


def lane_events(names: str, *, at: float = 0.0) -> list[CapturedEvent]:
    return [blank(lane=name, at=at) for name in names]


async def join(rig: Rig, events: int) -> None:
    for _ in range(events):
        rig.backlog.join(blank())


async def in_line(rig: Rig, *events: CapturedEvent) -> None:
    for event in events:
        rig.intake.join(event, rig.barriers.serial)


def test_an_empty_backlog_has_nothing() -> None:
    """Nothing pending, nothing to send, no moment; the first event must be told of."""
    backlog = Rig().backlog

    assert (backlog.pending, backlog.in_flight, backlog.in_flight_events) == (0, {}, 0)
    assert (backlog.next_batch(0.0, closing=False), backlog.next_batch(0.0, closing=True)) == (None, None)
    assert (backlog.next_moment(0.0), backlog.events_until_full(0.0), backlog.pop_oldest()) == (inf, 1, None)
    assert (list(backlog.take_hopeless(-inf)), list(backlog.take_everything())) == ([], [])


def test_pending_is_the_sum_over_the_places() -> None:
    """Each event is in one of them, and passes them in order."""
    rig = Rig(batch_events=2, room=4)
    rig.capture(*(blank() for _ in range(4)))
    asyncio.run(in_line(rig, blank()))
    assert rig.places() == (1, 4, 0, 0, 0)

    batch = rig.backlog.next_batch(0.0, closing=False)
    assert batch is not None
    assert rig.places() == (1, 2, 0, 0, 0)
    rig.backlog.begin(batch, 5.0)
    assert rig.places() == (1, 2, 0, 2, 0)
    assert rig.backlog.in_flight == {batch: 5.0}

    assert rig.backlog.end(batch, succeeded=False) == 5.0
    rig.schedule.add(batch, 9.0)
    assert rig.places() == (1, 2, 0, 0, 2)
    assert rig.backlog.pending == 5

    rig.batcher.fill(rig.intake.queue.events, 1)
    assert rig.places() == (1, 1, 1, 0, 2)
    assert rig.backlog.pending == 5


def test_attempts_are_counted_where_they_begin() -> None:
    """Each of them, and those that are not their batch's first apart."""
    rig = Rig()
    for attempt in (1, 2, 1, 3):
        rig.backlog.begin(outbound(attempt=attempt), 0.0)

    assert (rig.backlog.attempts, rig.backlog.retries) == (4, 2)


def test_statistics_show_what_came_in_what_left_and_where_the_rest_is() -> None:
    """Each number from the place that keeps it; the reasons as a copy."""
    rig = Rig(batch_events=2, room=6)
    ledger = rig.ledger
    rig.capture(*(blank(10) for _ in range(6)))
    asyncio.run(in_line(rig, blank()))
    batch = rig.backlog.next_batch(0.0, closing=False)
    assert batch is not None
    rig.backlog.begin(batch, 0.0)
    rig.batcher.fill(rig.intake.queue.events, 1)
    rig.schedule.add(outbound(5), 9.0)
    for _ in range(20):
        ledger.accept(0)
    ledger.deliver(7, 0)
    ledger.drop(4, 0, "rejected")
    ledger.drop(1, 0, "expired")
    ledger.recovered, ledger.spooled = 3, 8
    rig.backlog.retries = 11

    statistics = rig.backlog.statistics(0.0)
    ledger.drop(1, 0, "rejected")

    assert statistics == Statistics(
        captured=24,
        recovered=3,
        delivered=7,
        dropped=5,
        dropped_by_reason={"rejected": 4, "expired": 1},
        spooled=8,
        pending=12,
        waiting_room=1,
        queued=3,
        buffered=1,
        in_flight=2,
        waiting_retry=5,
        attempts=1,
        retries=11,
        queue_bytes=48,
        high_water=HighWater(held=14, held_bytes=48, in_flight=2, waiting_retry=5, waiting_room=1),
    )


def test_the_highest_levels_are_seen_wherever_they_fall() -> None:
    """Nothing looks at an event that gets in, so each level is looked at where it rose, or before it falls."""
    rig = Rig(batch_events=4, room=9)
    backlog, highest = rig.backlog, rig.backlog.marks.highest
    rig.capture(*(blank(10) for _ in range(9)))
    backlog.pop_oldest()
    rig.ledger.drop(1, 8, "queue_full")
    assert highest() == HighWater(held=9, held_bytes=72)

    first, second = rig.leaving()
    rig.capture(blank(10))
    backlog.begin(first, 0.0)
    backlog.begin(second, 0.0)
    backlog.end(first, succeeded=True)
    rig.ledger.deliver(4, 32)
    assert highest() == HighWater(held=9, held_bytes=72, in_flight=8)

    backlog.end(second, succeeded=False)
    backlog.keep(Retry(second, 5.0), 0.0, Standing(0))
    again = rig.leaving(5.0)[0]  # before the fresh event, which is old enough by now
    assert (again.events, rig.schedule.events) == (second.events, 0)
    assert highest() == HighWater(held=9, held_bytes=72, in_flight=8, waiting_retry=4)

    asyncio.run(join(rig, 3))
    rig.intake.turn_away()
    assert highest() == HighWater(held=9, held_bytes=72, in_flight=8, waiting_retry=4, waiting_room=3)


def test_what_finds_no_room_is_not_held_at_any_moment() -> None:
    """It counts as accepted for the step in which it leaves; the highest stays within the bound."""
    rig = Rig(room=2)
    rig.capture(blank(10), blank(10))
    asyncio.run(join(rig, 3))

    for events, standing in rig.backlog.take_everything():
        rig.ledger.drop(len(events), sum(event.held for event in events), "close_deadline")
        assert standing == Standing(0)

    assert rig.ledger.accepted == 5
    assert rig.backlog.marks.highest() == HighWater(held=2, held_bytes=16, waiting_room=3)


def test_an_attempt_ends_once() -> None:
    """What was taken away meanwhile is not in flight any more."""
    rig = Rig()
    batch = outbound(2)
    rig.backlog.begin(batch, 1.0)

    assert rig.backlog.end(batch, succeeded=True) == 1.0
    assert rig.backlog.end(batch, succeeded=True) is None
    assert (rig.backlog.in_flight, rig.backlog.in_flight_events) == ({}, 0)


def test_the_schedule_knows_what_is_in_flight() -> None:
    """A lane that was paused reopens with one probe, and its success admits two."""
    rig = Rig()
    rig.schedule.pause(None, 0.0)
    probe = outbound()

    rig.backlog.begin(probe, 0.0)
    assert not rig.schedule.is_open(None, 0.0)

    rig.backlog.end(probe, succeeded=True)
    rig.backlog.begin(outbound(), 0.0)
    assert rig.schedule.is_open(None, 0.0)
    rig.backlog.begin(outbound(), 0.0)
    assert not rig.schedule.is_open(None, 0.0)


def test_a_due_retry_goes_before_fresh_batches() -> None:
    """It has waited longer; one that is not due yet does not hold them up."""
    rig = Rig()
    rig.capture(*(blank() for _ in range(3)))
    rig.schedule.add(outbound(id="later"), 2.0)
    rig.schedule.add(outbound(id="due"), 1.0)

    assert [batch.id for batch in rig.leaving(1.0)] == ["due", "batch-1"]


def test_full_batches_leave_now_and_the_rest_when_it_is_old_enough() -> None:
    """Seven events are two batches of three; the seventh waits for company."""
    rig = Rig(batch_events=3)
    rig.capture(*(blank(at=float(number)) for number in range(7)))

    assert sizes(rig.leaving(6.5)) == [3, 3]
    assert (rig.backlog.next_moment(6.5), rig.places()) == (7.0, (0, 0, 1, 0, 0))
    assert sizes(rig.leaving(6.9)) == []
    assert sizes(rig.leaving(7.0)) == [1]


def test_no_more_is_taken_from_the_queue_than_the_next_batch_needs() -> None:
    """What stays in the queue can still be dropped in order."""
    rig = Rig(batch_events=3)
    rig.capture(*(blank() for _ in range(9)))

    rig.backlog.next_batch(0.0, closing=False)

    assert rig.places() == (0, 6, 0, 0, 0)


def test_a_closed_lane_leaves_its_events_in_the_queue() -> None:
    """Without lanes nothing is taken while nothing may leave."""
    rig = Rig(batch_events=2)
    rig.schedule.pause(None, 5.0)
    rig.capture(*(blank() for _ in range(3)))

    assert rig.leaving(4.9, closing=True) == []
    assert rig.places() == (0, 3, 0, 0, 0)
    assert rig.backlog.next_moment(0.0) == 5.0
    assert sizes(rig.leaving(5.0)) == [2, 1]


def test_a_closed_lane_does_not_hide_the_events_behind_it() -> None:
    """With lanes the queue is searched for a batch that may leave."""
    rig = Rig(batch_events=2, lanes=True)
    rig.schedule.pause("x", 5.0)
    rig.capture(*lane_events("xxxyxy"))

    assert [(batch.lane, len(batch.events)) for batch in rig.leaving(0.0)] == [("y", 2)]
    assert rig.places() == (0, 0, 4, 0, 0)
    assert [(batch.lane, len(batch.events)) for batch in rig.leaving(5.0)] == [("x", 2), ("x", 2)]


def test_a_barrier_behind_a_closed_lane_does_not_end_the_search() -> None:
    """What is behind it may leave, if it is of another lane: however little was found before it."""
    rig = Rig(batch_events=2, lanes=True)
    rig.schedule.pause("x", 5.0)
    rig.capture(*lane_events("x"))
    rig.cut()
    rig.capture(*lane_events("yy"))

    assert [(batch.lane, len(batch.events)) for batch in rig.leaving(0.0)] == [("y", 2)]


def test_closing_waits_for_no_company() -> None:
    """The last events leave at once, after the full batches."""
    rig = Rig(batch_events=3)
    rig.capture(*(blank() for _ in range(5)))

    assert sizes(rig.leaving(0.0, closing=True)) == [3, 2]


def test_closing_cuts_no_batch_short_while_the_queue_has_more() -> None:
    """Events that could still fill it are taken first."""
    rig = Rig(batch_events=3)
    rig.capture(blank())
    rig.leaving(0.0)
    rig.capture(*(blank() for _ in range(2)))

    assert sizes(rig.leaving(0.0, closing=True)) == [3]


def test_a_batch_never_spans_a_barrier() -> None:
    """What was captured before it leaves at once, and what came after it begins a batch of its own."""
    rig = Rig(batch_events=4)
    rig.capture(*(blank() for _ in range(6)))
    first = rig.cut()
    rig.capture(*(blank() for _ in range(3)))
    second = rig.cut()
    rig.capture(*(blank() for _ in range(5)))

    batches = rig.leaving(0.0)

    assert [(len(batch.events), batch.standing.epoch) for batch in batches] == [(4, 0), (2, 0), (3, first), (4, second)]
    assert rig.places() == (0, 0, 1, 0, 0)


def test_a_barrier_cuts_what_was_taken_from_the_queue_before_it() -> None:
    """Events that were buffered when it was opened leave now."""
    rig = Rig(batch_events=4)
    rig.capture(*(blank() for _ in range(2)))
    assert rig.leaving(0.0) == []

    rig.cut()

    assert sizes(rig.leaving(0.0)) == [2]
    rig.capture(blank())
    assert rig.leaving(0.0) == []
    assert sizes(rig.leaving(AGE)) == [1]


def test_barriers_at_one_place_are_passed_together() -> None:
    """Two flushes with nothing between them cut once, and what comes next stands behind both."""
    rig = Rig(batch_events=2)
    rig.capture(blank())
    rig.cut()
    serial = rig.cut()
    rig.capture(blank(), blank())

    assert [(len(batch.events), batch.standing.epoch) for batch in rig.leaving(0.0)] == [(1, 0), (2, serial)]


@settings(max_examples=150 * SCALE, deadline=None)
@given(
    st.lists(st.one_of(st.just("cut"), st.integers(1, 9), st.sampled_from(["take", "pop"])), max_size=30),
    st.booleans(),
)
def test_every_event_leaves_once_in_order_and_on_its_side_of_every_barrier(steps: list[int | str], lanes: bool) -> None:
    """However captures, barriers, batches and drops of the oldest event follow each other."""
    rig = Rig(batch_events=4, lanes=lanes)
    epochs: dict[CapturedEvent, int] = {}
    order: list[CapturedEvent] = []
    left: list[CapturedEvent] = []

    def leave(events: Sequence[CapturedEvent], standing: Standing) -> None:
        assert {epochs[event] for event in events} == {standing.epoch}
        left.extend(events)

    for step in steps:
        if step == "cut":
            rig.cut()
        elif step == "take":
            batch = rig.backlog.next_batch(0.0, closing=False)
            if batch is not None:
                leave(batch.events, batch.standing)
        elif step == "pop":
            oldest = rig.backlog.pop_oldest()
            if oldest is not None:
                leave((oldest[0],), oldest[1])
        else:
            assert isinstance(step, int)
            for number in range(step):
                event = blank(lane="xy"[number % 2], at=float(len(order)))
                epochs[event] = rig.newest_cut
                order.append(event)
                rig.capture(event)
        assert rig.backlog.pending == len(order) - len(left)
    for batch in rig.leaving(inf, closing=True):
        leave(batch.events, batch.standing)

    assert rig.backlog.pending == 0
    for names in ("x", "y") if lanes else (("x", "y"),):
        assert [event for event in left if event.lane in names] == [event for event in order if event.lane in names]
    assert rig.intake.taken == rig.intake.position == len(order)


@pytest.mark.parametrize("lanes", [False, True], ids=["one lane", "lanes"])
def test_the_next_moment_is_the_first_at_which_anything_may_leave(lanes: bool) -> None:
    """A buffered event's age, or a retry that falls due."""
    rig = Rig(lanes=lanes)
    rig.schedule.add(outbound(), 8.0)
    assert rig.backlog.next_moment(5.0) == 8.0

    rig.capture(blank(at=5.0))
    rig.leaving(5.0)
    assert rig.backlog.next_moment(5.0) == 6.0


def test_a_pause_is_a_moment_for_whatever_waits_in_its_lane() -> None:
    """Buffered, or in the queue where there is but one lane."""
    rig = Rig(batch_events=2)
    rig.schedule.pause(None, 5.0)
    assert rig.backlog.next_moment(0.0) == inf

    rig.capture(blank())
    assert rig.backlog.next_moment(0.0) == 5.0

    buffered = Rig(batch_events=2)
    buffered.capture(blank())
    buffered.leaving(0.0)
    buffered.schedule.pause(None, 5.0)
    assert buffered.backlog.next_moment(0.0) == 5.0


def test_a_queue_of_lanes_says_nothing_of_the_usual_lane() -> None:
    """Its events are not known to be of any lane before they are taken."""
    rig = Rig(lanes=True)
    rig.schedule.pause(None, 5.0)
    rig.capture(*lane_events("x"))

    assert rig.backlog.next_moment(0.0) == inf


def test_the_dispatcher_is_told_of_the_first_event_and_then_of_a_full_batch() -> None:
    """The first arms the timer; after that only as many as a batch lacks change anything."""
    rig = Rig(batch_events=5)
    assert rig.backlog.events_until_full(0.0) == 1

    rig.capture(blank(), blank())
    rig.leaving(0.0)
    assert rig.backlog.events_until_full(0.0) == 3

    rig.cut()
    (batch,) = rig.leaving(0.0)
    rig.backlog.begin(batch, 0.0)
    assert rig.backlog.events_until_full(0.0) == 1


def test_events_that_wait_for_a_worker_need_no_telling() -> None:
    """A batch that is ready, or a queue that was left as it is, is looked at when a worker is free."""
    rig = Rig(batch_events=5)
    rig.capture(blank())
    assert rig.backlog.events_until_full(0.0) == 5

    rig = Rig(batch_events=5)
    rig.capture(*(blank() for _ in range(5)))
    rig.batcher.fill(rig.intake.queue.events, 5)
    assert rig.backlog.events_until_full(0.0) == 5


def test_while_closed_lanes_hold_events_the_queue_is_looked_at_in_time() -> None:
    """At the age of the newest event held, and after that with the next that comes."""
    rig = Rig(batch_events=5, lanes=True)
    rig.schedule.pause("x", 100.0)
    rig.capture(blank(at=1.0, lane="x"), blank(at=1.5, lane="x"))
    rig.leaving(1.5)

    assert (rig.backlog.next_moment(1.6), rig.backlog.events_until_full(1.6)) == (2.5, 3)
    assert (rig.backlog.next_moment(2.5), rig.backlog.events_until_full(2.5)) == (100.0, 1)

    rig.capture(blank(at=3.0, lane="y"))
    rig.leaving(3.0)
    assert (rig.backlog.next_moment(3.0), rig.backlog.events_until_full(3.0)) == (4.0, 3)


def test_a_full_batch_of_a_closed_lane_is_held_like_any_other_event() -> None:
    """Ready batches count for when the queue is looked at again."""
    rig = Rig(batch_events=3, lanes=True)
    rig.schedule.pause("x", 100.0)
    rig.capture(*(blank(at=at, lane="x") for at in (1.0, 1.2, 1.5)))
    rig.leaving(1.5)

    assert (rig.backlog.next_moment(1.6), rig.backlog.events_until_full(1.6)) == (2.5, 3)


def test_the_oldest_event_is_given_up_wherever_it_waits_for_its_first_attempt() -> None:
    """Buffered ones first, then the queue's head; never one that is in flight or waits for a retry."""
    rig = Rig(batch_events=2)
    first, second, third, fourth = (blank(at=float(number)) for number in range(4))
    rig.schedule.add(outbound(), 0.0)
    rig.backlog.begin(outbound(), 0.0)
    rig.capture(first)
    rig.batcher.fill(rig.intake.queue.events, 1)
    rig.intake.taken = 1
    rig.capture(second, third)
    serial = rig.cut()
    rig.capture(fourth)

    popped = [rig.backlog.pop_oldest() for _ in range(5)]

    assert popped == [
        (first, Standing(0)),
        (second, Standing(0)),
        (third, Standing(0)),
        (fourth, Standing(serial)),
        None,
    ]
    assert rig.places() == (0, 0, 0, 1, 1)


@pytest.mark.parametrize("lanes", [False, True], ids=["one lane", "lanes"])
def test_hopeless_is_what_waits_in_lanes_paused_beyond_the_deadline(lanes: bool) -> None:
    """Retries, buffered events and the queue behind them; what is in flight goes on."""
    rig = Rig(batch_events=2, lanes=lanes)
    rig.schedule.pause(None, 9.0)
    rig.backlog.begin(outbound(4), 0.0)
    rig.schedule.add(outbound(3), 1.0)
    rig.capture(*(blank() for _ in range(3)))

    assert list(rig.backlog.take_hopeless(9.0)) == []
    assert rig.backlog.pending == 10

    assert sizes(list(rig.backlog.take_hopeless(8.9))) == [3, 2, 1]
    assert rig.places() == (0, 0, 0, 4, 0)


def test_lanes_that_reopen_in_time_are_not_hopeless() -> None:
    """Their retries and events stay."""
    rig = Rig(batch_events=2, lanes=True)
    rig.schedule.pause("x", 9.0)
    rig.schedule.pause("y", 3.0)
    rig.schedule.add(outbound(lane="y"), 1.0)
    rig.schedule.add(outbound(7, lane="x"), 1.0)
    rig.capture(*lane_events("xyzxx"))

    gone = [(batch.lane, len(batch.events)) for batch in rig.backlog.take_hopeless(5.0)]
    assert gone == [("x", 7), ("x", 2), ("x", 1)]
    assert rig.places() == (0, 0, 2, 0, 1)


def test_everything_is_given_up_with_its_standing() -> None:
    """In flight, waiting for a retry, buffered, queued and in line; nothing is pending afterwards."""
    rig = Rig(batch_events=2, lanes=True, room=20)
    in_flight, waiting = outbound(2, standing=Standing(7)), outbound(3, lane="w", standing=Standing(8, 9))
    rig.backlog.begin(in_flight, 0.0)
    rig.schedule.add(waiting, 50.0)
    ready, buffered, queued, behind, line = (
        lane_events("xxy"),
        lane_events("z"),
        lane_events("q"),
        lane_events("r"),
        blank(),
    )
    rig.schedule.pause("x", 9.0)
    rig.capture(*ready, *buffered)
    rig.leaving(0.0)
    rig.capture(*queued)
    serial = rig.cut()
    rig.capture(*behind)
    asyncio.run(in_line(rig, line))

    gone = {event: standing for events, standing in rig.backlog.take_everything() for event in events}

    assert gone == {
        **dict.fromkeys(in_flight.events, Standing(7)),
        **dict.fromkeys(waiting.events, Standing(8, 9)),
        **dict.fromkeys([*ready, *buffered, *queued], Standing(0)),
        **dict.fromkeys([*behind, line], Standing(serial)),
    }
    assert (rig.places(), rig.backlog.pending, rig.backlog.in_flight) == ((0, 0, 0, 0, 0), 0, {})
    assert rig.ledger.waiting == 0


def test_a_probe_that_is_given_up_admits_no_crowd() -> None:
    """It has proved nothing of the lane; and its place is free again."""
    rig = Rig()
    rig.schedule.pause(None, 0.0)
    rig.backlog.begin(outbound(), 0.0)
    assert not rig.schedule.is_open(None, 0.0)

    list(rig.backlog.take_everything())

    assert rig.schedule.is_open(None, 0.0)
    rig.backlog.begin(outbound(), 0.0)
    assert not rig.schedule.is_open(None, 0.0)


def test_a_batch_that_was_not_accepted_waits_until_it_is_due() -> None:
    """With the standing that it has from now on, and as the attempt that was decided."""
    rig = Rig()
    standing = Standing(epoch=1, covered=2)

    rig.backlog.keep(Retry(outbound(2, attempt=2), due=7.0), 3.0, standing)

    assert rig.leaving(6.9) == []
    assert [(batch.attempt, batch.standing) for batch in rig.leaving(7.0)] == [(2, standing)]


def test_the_parts_of_a_batch_may_leave_at_once() -> None:
    """In their order, each with the standing that the batch has from now on."""
    rig = Rig()
    standing = Standing(epoch=1, covered=2)

    rig.backlog.keep(Split((outbound(2, id="first"), outbound(1, id="second"))), 3.0, standing)

    assert rig.leaving(2.9) == []
    assert [(batch.id, batch.standing) for batch in rig.leaving(3.0)] == [("first", standing), ("second", standing)]
