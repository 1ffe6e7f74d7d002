"""Words in bounded number, events by second, durations by bucket: each against a count made one by one."""

from __future__ import annotations

from collections import Counter
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.measures import BOUNDS, Histogram, Rate
from eventpipe.statistics import OTHERS
from eventpipe.transport.tallies import MAX_WORD, MAX_WORDS, Buckets, Pace, Shortlist, Tally

QUARTERS = st.integers(0, 4 * 400).map(lambda quarters: quarters / 4)  # seconds that floats add up exactly


def bucket_of(seconds: float) -> int:
    """The first bucket whose bound is not below ``seconds``, looked for one by one."""
    return next((bucket for bucket, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))


def counted(durations: list[float]) -> tuple[int, ...]:
    buckets = Counter(map(bucket_of, durations))
    return tuple(buckets[bucket] for bucket in range(len(BOUNDS) + 1))


def test_the_first_hundred_words_are_counted_apart() -> None:
    """The others as one, however many there are; a word that was on the list stays on it."""
    tally = Tally(Shortlist())
    for number in range(10 * MAX_WORDS):
        tally.add(f"e{number}", 2)
    tally.add("e0", 1)
    tally.add("e999", 4)

    assert tally.counts == {"e0": 3, **{f"e{n}": 2 for n in range(1, 100)}, OTHERS: 2 * 900 + 4}


def test_tallies_of_one_list_count_the_same_words_apart() -> None:
    """Of several sinks and several doors: the sum over them has no more words than each."""
    shortlist = Shortlist()
    first, second = Tally(shortlist), Tally(shortlist)
    for tally, letter in ((first, "a"), (second, "b"), (first, "b")):
        for number in range(60):
            tally.add(f"{letter}{number}", 1)

    assert len({*first.counts, *second.counts}) == MAX_WORDS + 1
    assert first.counts[OTHERS] == second.counts[OTHERS] == 20


@pytest.mark.parametrize("word", ["x" * (MAX_WORD + 1), OTHERS])
def test_a_word_that_is_too_long_or_stands_for_all_others_takes_no_place(word: str) -> None:
    """Its text would be kept for as long as the client lives."""
    shortlist = Shortlist()
    tally = Tally(shortlist)
    tally.add(word, 3)
    for number in range(MAX_WORDS):
        tally.add("x" * (MAX_WORD - 3) + f"{number:03}", 1)

    assert (tally.counts[OTHERS], len(tally.counts)) == (3, MAX_WORDS + 1)


@pytest.mark.parametrize("word", ["", " ", "\n", '"} 1', "\x00", "naïve ☃", "{0}"])
def test_any_short_word_is_counted_as_it_is(word: str) -> None:
    """Nothing is read into it."""
    tally = Tally(Shortlist())
    tally.add(word, 1)
    tally.add(word, 2)

    assert tally.counts == {word: 3}


def test_a_rate_is_the_mean_over_whole_seconds_before_this_one() -> None:
    """The running second shows when it is over, and leaves each window exactly when it is that old."""
    pace = Pace()
    pace.add(30, 100.0)
    pace.add(30, 100.999)

    assert pace.rate(100.999) == Rate(0.0, 0.0, 0.0)
    assert pace.rate(101.0) == Rate(60.0, 6.0, 1.0)
    assert pace.rate(101.999) == Rate(60.0, 6.0, 1.0)
    assert pace.rate(102.0) == Rate(0.0, 6.0, 1.0)
    assert pace.rate(110.999) == Rate(0.0, 6.0, 1.0)
    assert pace.rate(111.0) == Rate(0.0, 0.0, 1.0)
    assert pace.rate(160.999) == Rate(0.0, 0.0, 1.0)
    assert pace.rate(161.0) == Rate(0.0, 0.0, 0.0)
    assert pace.rate(1e9) == Rate(0.0, 0.0, 0.0)


def test_nothing_happened_is_no_rate() -> None:
    """Also at the very first moment of a clock."""
    assert [Pace().rate(now) for now in (0.0, 0.5, 61.0)] == [Rate(), Rate(), Rate()]


def test_a_clock_that_begins_again_leaves_nothing_of_the_one_before() -> None:
    """Another loop may have one of its own; its seconds must not be taken for those."""
    pace = Pace()
    for second in range(61):
        pace.add(7, 30.0 + second)
    pace.add(5, 10.0)

    assert pace.rate(11.0) == Rate(5.0, 0.5, 5 / 60)
    assert pace.rate(31.0) == Rate(0.0, 0.0, 5 / 60)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.75, 1.0, 7.5, 59.0, 61.0, 200.0]), st.integers(0, 9))))
def test_rates_are_those_of_a_list_of_all_events(steps: list[tuple[float, int]]) -> None:
    """Whatever the pauses between them."""
    pace, now, all_of_them = Pace(), 0.0, []
    for pause, events in steps:
        now += pause
        pace.add(events, now)
        all_of_them += [now] * events

        end = floor(now)
        sums = [sum(end - window <= moment < end for moment in all_of_them) for window in (1, 10, 60)]
        assert pace.rate(now) == Rate(sums[0] / 1, sums[1] / 10, sums[2] / 60)


@pytest.mark.parametrize(("bucket", "bound"), list(enumerate(BOUNDS)))
def test_a_bound_belongs_to_its_own_bucket(bucket: int, bound: float) -> None:
    """As Prometheus and OpenTelemetry have it: up to the bound, and the next one above it."""
    one, many = Buckets(), Buckets()
    one.add(bound, 1)
    one.add(bound * 1.0001, 1)
    many.add_since([-bound * 1.0001, -bound], -bound * 2.0001, 0.0)
    expected = tuple(int(at in (bucket, bucket + 1)) for at in range(len(BOUNDS) + 1))

    assert (one.histogram().counts, many.histogram().counts) == (expected, expected)


def test_a_batch_counts_once_per_event() -> None:
    """All of them with the same duration."""
    buckets = Buckets()
    buckets.add(0.25, 500)
    buckets.add(400.0, 3)

    assert buckets.histogram() == Histogram(BOUNDS, (*[0] * 6, 500, *[0] * 8, 3), 503, 125.0 + 1200.0)


@given(st.lists(QUARTERS, min_size=1), QUARTERS)
def test_durations_since_moments_are_counted_as_one_by_one(moments: list[float], later: float) -> None:
    """In one pass over a sorted list, wherever the bounds between buckets fall."""
    end = max(moments) + later
    buckets = Buckets()
    buckets.add_since(sorted(moments), sum(moments), end)
    durations = [end - moment for moment in moments]

    assert buckets.histogram() == Histogram(BOUNDS, counted(durations), len(moments), sum(durations))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1e6))
def test_no_duration_is_below_zero(moments: list[float], end: float) -> None:
    """Moments of another clock may lie ahead of this one: they are as good as now."""
    buckets = Buckets()
    buckets.add_since(sorted(moments), sum(moments), end)
    buckets.add(-1.0, 2)
    durations = [max(end - moment, 0.0) for moment in moments]
    histogram = buckets.histogram()

    assert histogram.counts == counted([*durations, 0.0, 0.0])
    assert histogram.count == len(moments) + 2
    assert histogram.sum >= 0.0
    assert histogram.sum == pytest.approx(sum(durations), abs=1e-6)
