"""Every outcome is counted, whoever looks: against a model that keeps each event of each outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipe.events import CapturedEvent
from eventpipe.measures import BOUNDS, Histogram, Latencies, Rate, Rates
from eventpipe.outcomes import Durations, Outcome, OutcomeKind
from eventpipe.statistics import OTHERS, EventCounts, Statistics
from eventpipe.testing.events import make_event
from eventpipe.transport.meter import Meter
from eventpipe.transport.tallies import MAX_WORDS, Shortlist
from tests.scale import SCALE
from tests.transport.test_tallies import counted

WALL = 1_767_225_600.0

DELIVERED, DROPPED, RETRY, INTERRUPTED = (
    OutcomeKind.DELIVERED,
    OutcomeKind.DROPPED,
    OutcomeKind.RETRY,
    OutcomeKind.INTERRUPTED,
)


def outcome(
    kind: OutcomeKind, *events: CapturedEvent, reason: str | None = None, batch: float = 0.0, send: float = 0.0
) -> Outcome:
    return Outcome(kind, "eu", 1, reason, durations=Durations(0.0, batch, send), captured=events)


def metering(names: Shortlist | None = None) -> Meter:
    return Meter(names or Shortlist(), lambda: WALL)


def made(names: str, at: float = 0.0) -> list[CapturedEvent]:
    return [make_event(name, captured_at=at) for name in names]


def test_nothing_is_counted_at_first() -> None:
    """Zero everywhere, and no success."""
    assert metering().statistics(0.0) == Statistics()


def test_each_kind_is_counted_by_event_name_at_its_own_door() -> None:
    """And an interrupted attempt, which does not count, at none."""
    meter = metering()
    meter.count(outcome(DELIVERED, *made("aab")), 5.0)
    meter.count(outcome(DROPPED, *made("bc"), reason="rejected"), 5.0)
    meter.count(outcome(RETRY, *made("aaac"), reason="timeout"), 5.5)
    meter.count(outcome(RETRY, *made("c")), 5.5)
    meter.count(outcome(INTERRUPTED, *made("ab")), 5.5)

    statistics = meter.statistics(6.0)

    assert statistics.by_event == {
        "a": EventCounts(2, 0, 3),
        "b": EventCounts(1, 1, 0),
        "c": EventCounts(0, 1, 2),
    }
    assert (statistics.retried, statistics.interrupted) == (5, 2)
    assert statistics.retried_by_reason == {"timeout": 4, "retry": 1}
    assert statistics.rates == Rates(Rate(3.0, 0.3, 0.05), Rate(2.0, 0.2, 2 / 60), Rate(5.0, 0.5, 5 / 60))


def test_delivered_events_are_counted_by_their_own_age() -> None:
    """Out of order too: from the capture of each to its batch's first attempt, and to its delivery."""
    meter = metering()
    events = [make_event("a", captured_at=at) for at in (7.5, 2.0, 8.0, 0.0)]
    meter.count(outcome(DELIVERED, *events, batch=2.0, send=0.5), 10.5)

    latency = meter.statistics(11.0).latency

    assert latency.queue == Histogram(BOUNDS, counted([0.5, 6.0, 0.0, 8.0]), 4, 14.5)
    assert latency.send == Histogram(BOUNDS, counted([0.5] * 4), 4, 2.0)
    assert latency.delivery == Histogram(BOUNDS, counted([3.0, 8.5, 2.5, 10.5]), 4, 24.5)


def test_the_last_success_is_that_of_a_delivery() -> None:
    """Neither a drop nor a retry is one, nor is an answer about no event."""
    wall = iter([WALL])
    meter = Meter(Shortlist(), lambda: next(wall))
    for kind in (DROPPED, RETRY, INTERRUPTED):
        meter.count(outcome(kind, *made("a")), 0.0)
    meter.count(outcome(DELIVERED), 0.0)
    assert (meter.last_success, meter.statistics(0.0).last_success) == (None, None)

    meter.count(outcome(DELIVERED, *made("a")), 0.0)
    meter.count(outcome(DROPPED, *made("a")), 0.0)
    assert (meter.last_success, meter.statistics(0.0).last_success) == (WALL, WALL)


def test_what_nobody_saw_is_dropped_under_the_name_of_the_others() -> None:
    """Captured on other threads while their inbox was full: the number is all there is."""
    meter = metering()
    meter.count_unseen(7, 3.0)

    statistics = meter.statistics(4.0)

    assert statistics.by_event == {OTHERS: EventCounts(dropped=7)}
    assert statistics.rates.dropped == Rate(7.0, 0.7, 7 / 60)


def test_names_that_are_made_up_for_each_event_stay_bounded() -> None:
    """Over all sinks of a client: a hundred, and the others; the totals stay exact."""
    names = Shortlist()
    meters = [metering(names), metering(names)]
    for number in range(1_000):
        meters[number % 2].count(outcome(DELIVERED, make_event(f"user {number} came")), 0.0)

    both = meters[0].statistics(0.0) + meters[1].statistics(0.0)

    assert len(both.by_event) == MAX_WORDS + 1
    assert both.by_event[OTHERS].delivered == 900
    assert both.by_event["user 99 came"] == EventCounts(1)


def test_words_of_sinks_stay_bounded_too() -> None:
    """A sink of one's own may give a reason of its own to each retry."""
    meter = metering()
    for number in range(300):
        meter.count(outcome(RETRY, *made("a"), reason=f"because {number}"), 0.0)

    by_reason = meter.statistics(0.0).retried_by_reason

    assert (len(by_reason), by_reason[OTHERS], sum(by_reason.values())) == (MAX_WORDS + 1, 200, 300)


def test_a_snapshot_stays_as_it_is() -> None:
    """Whatever is counted after it; and nobody can change one by its mappings."""
    meter = metering()
    meter.count(outcome(DELIVERED, *made("a")), 0.0)
    meter.count(outcome(RETRY, *made("a")), 0.0)
    before = meter.statistics(1.0)
    as_it_was = repr((before, before.by_event, before.rates, before.latency))

    meter.count(outcome(DELIVERED, *made("ab")), 1.0)
    meter.count(outcome(RETRY, *made("b"), reason="tls"), 1.0)

    assert repr((before, before.by_event, before.rates, before.latency)) == as_it_was
    with pytest.raises(TypeError, match="cannot be changed"):
        before.by_event["a"] = EventCounts()  # type: ignore[index]  # what is tried here


@dataclass
class Recount:
    """What a list of every event of every outcome says, gone through one by one."""

    doors: dict[OutcomeKind, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in OutcomeKind})
    reasons: Counter[str] = field(default_factory=Counter)
    moments: dict[OutcomeKind, list[float]] = field(default_factory=lambda: {kind: [] for kind in OutcomeKind})
    queue: list[float] = field(default_factory=list)
    send: list[float] = field(default_factory=list)
    delivery: list[float] = field(default_factory=list)

    def count(self, told: Outcome, now: float) -> None:
        for event in told.captured:
            self.doors[told.kind][event.event] += 1
            self.moments[told.kind].append(now)
            if told.kind is RETRY:
                self.reasons[told.reason or "retry"] += 1
            if told.kind is DELIVERED:
                self.send.append(told.durations.send)
                self.delivery.append(now - event.captured_at)
                self.queue.append(now - told.durations.send - told.durations.batch - event.captured_at)

    def statistics(self, now: float) -> Statistics:
        delivered, dropped, retried = (self.doors[kind] for kind in (DELIVERED, DROPPED, RETRY))
        names = {*delivered, *dropped, *retried}
        return Statistics(
            retried=retried.total(),
            retried_by_reason=self.reasons,
            interrupted=self.doors[INTERRUPTED].total(),
            by_event={name: EventCounts(delivered[name], dropped[name], retried[name]) for name in names},
            rates=Rates(self.rate(DELIVERED, now), self.rate(DROPPED, now), self.rate(RETRY, now)),
            latency=Latencies(self.histogram(self.queue), self.histogram(self.send), self.histogram(self.delivery)),
            last_success=WALL if delivered else None,
        )

    def rate(self, kind: OutcomeKind, now: float) -> Rate:
        sums = [sum(now // 1 - window <= at < now // 1 for at in self.moments[kind]) for window in (1, 10, 60)]
        return Rate(sums[0] / 1, sums[1] / 10, sums[2] / 60)

    def histogram(self, durations: list[float]) -> Histogram:
        return Histogram(BOUNDS, counted(durations), len(durations), sum(durations))


EIGHTHS = st.integers(0, 80).map(lambda eighths: eighths / 8)  # seconds that floats add up exactly


@settings(max_examples=100 * SCALE)
@given(st.data())
def test_every_figure_is_that_of_a_recount(data: st.DataObject) -> None:
    """Random outcomes of several sinks, parts of batches, retries, names and ages: the sum and each sink are exact."""
    names = Shortlist()
    sinks = [(metering(names), Recount()) for _ in range(data.draw(st.integers(1, 3)))]
    now = 200.0
    for _ in range(data.draw(st.integers(0, 12))):
        now += data.draw(EIGHTHS)
        meter, recount = data.draw(st.sampled_from(sinks))
        ages = data.draw(st.lists(EIGHTHS, max_size=6))
        durations = Durations(0.0, data.draw(EIGHTHS), data.draw(EIGHTHS))
        attempt_began = now - durations.send - durations.batch
        events = [
            make_event(data.draw(st.sampled_from(["a", "b", "signed up", "ü"])), captured_at=attempt_began - age)
            for age in ages
        ]
        reason = data.draw(st.sampled_from([None, "timeout", "status_503"]))
        told = Outcome(data.draw(st.sampled_from(OutcomeKind)), "eu", 1, reason, None, durations, None, tuple(events))
        meter.count(told, now)
        recount.count(told, now)
    now += data.draw(EIGHTHS)

    for meter, recount in sinks:
        assert meter.statistics(now) == recount.statistics(now)
    total = sum((meter.statistics(now) for meter, _ in sinks), Statistics())
    recounted = sum((recount.statistics(now) for _, recount in sinks), Statistics())
    assert total == recounted
    assert total.latency.delivery.count == sum(one.delivered for one in total.by_event.values())
