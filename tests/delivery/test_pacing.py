"""How many attempts an endpoint may have: rates, probes, shares."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.delivery.pacing import AHEAD, BURST, FIRST_PAUSE, MAX_AHEAD, MAX_ASKED, Bucket, Pace, Pacing
from eventpipe.stores.delivery_values import EndpointInfo


def _endpoint(name: str, rate_limit: float | None = None, created_at: float = 0.0) -> EndpointInfo:
    return EndpointInfo(name, "sink", rate_limit=rate_limit, created_at=created_at)


class TestRate:
    @given(
        rate=st.floats(0.01, 1000),
        rests=st.lists(st.floats(0, 5), min_size=1, max_size=50),
    )
    def test_no_stretch_of_time_has_more_than_the_rate_allows(self, rate: float, rests: list[float]) -> None:
        """Between any two moments at most what the rate says for the time between, and one burst."""
        bucket, now = Bucket(rate, 0.0), 0.0
        taken: list[tuple[float, int]] = []
        for rest in rests:
            now += rest
            number = bucket.available(now)
            bucket.take(number, now)
            taken.append((now, number))

        for first, (begin, _) in enumerate(taken):
            total = 0
            for end, number in taken[first:]:
                total += number
                assert total <= max(1.0, rate * BURST) + rate * (end - begin) + 0.01

    @given(rate=st.floats(0.01, 1000), started=st.floats(0, 1e6))
    def test_one_may_begin_at_the_moment_that_it_names(self, rate: float, started: float) -> None:
        """Never a hair too early: who waits for the moment finds what was promised, at that moment and not before."""
        bucket = Bucket(rate, started)
        bucket.take(bucket.available(started), started)
        ready_at = bucket.ready_at(started)

        assert ready_at > started
        assert bucket.available(started) == 0
        assert bucket.available(ready_at) == 1

    def test_what_was_not_used_is_given_back(self) -> None:
        """Attempts that did not begin count for nothing."""
        bucket = Bucket(50.0, 0.0)
        bucket.take(5, 0.0)
        bucket.give_back(2)

        assert bucket.available(0.0) == 2

    def test_a_rate_that_is_changed_holds_at_once(self) -> None:
        """And one that is taken away limits nothing any more."""
        pace = Pace(8)
        pace.set_rate(1.0, 0.0)
        pace.take(1, 0.0)
        assert pace.limit(0.0) == 1

        pace.set_rate(50.0, 0.0)
        assert pace.limit(0.0) == 6
        pace.set_rate(None, 0.0)
        assert pace.limit(0.0) == 8


class TestBreaker:
    def test_a_failed_attempt_leaves_one_at_a_time_and_successes_double_that(self) -> None:
        """One probe, then two, four, and all."""
        pace = Pace(8)
        pace.failed(pace.epoch, 0.0, 15.0)

        limits = []
        for _ in range(5):
            limits.append(pace.limit(0.0))
            pace.succeeded(0.01)

        assert limits == [1, 2, 4, 8, 8]

    def test_a_probe_that_fails_trips(self) -> None:
        """Attempts that ran at the same time are one failure; one that began after that, and fails, is a trip."""
        pace = Pace(4)
        epoch = pace.epoch
        for _ in range(4):
            pace.failed(epoch, 0.0, 15.0)
        assert pace.trips == 0

        pace.failed(pace.epoch, 1.0, 15.0)
        assert pace.trips == 1

    def test_a_success_in_between_is_no_trip(self) -> None:
        """Far ends that fail now and then hold up nothing."""
        pace = Pace(4)
        for _ in range(10):
            pace.failed(pace.epoch, 0.0, 15.0)
            pace.succeeded(0.01)

        assert pace.trips == 0

    def test_the_pause_between_probes_doubles_up_to_the_interval(self) -> None:
        """So that an endpoint that is dead costs an attempt each interval."""
        pace = Pace(4)
        pauses = []
        for _ in range(6):
            pace.failed(pace.epoch, 100.0, 15.0)
            pauses.append(pace.probe_at - 100.0)

        assert pauses == [FIRST_PAUSE, 2, 4, 8, 15, 15]
        pace.succeeded(0.01)
        assert pace.probe_at == -math.inf

    def test_what_the_far_end_asks_for_is_honoured_and_clamped(self) -> None:
        """The longest request counts, up to a bound, and a success of another attempt does not undo it."""
        pace = Pace(4)
        pace.failed(pace.epoch, 0.0, 15.0, 20.0)
        pace.failed(pace.epoch, 0.0, 15.0, 5.0)
        pace.succeeded(0.01)
        assert pace.asked_until == 20.0

        pace.failed(pace.epoch, 0.0, 15.0, 1e9)
        assert pace.asked_until == MAX_ASKED


class TestShares:
    def test_an_endpoint_alone_may_have_all_slots(self) -> None:
        """Nobody else wants one."""
        pacing = Pacing(8)
        alone = pacing.pace(_endpoint("a"), 0.0)
        pacing.enter(alone)

        assert pacing.room(alone, 0.0) == 8

    @pytest.mark.parametrize("workers", [2, 3, 4, 7, 8, 16])
    @pytest.mark.parametrize("endpoints", [2, 3, 5, 20])
    def test_none_takes_all_slots_while_another_has_due_rows(self, workers: int, endpoints: int) -> None:
        """Whatever the order in which they take, each gets a slot where there are enough, and none is left idle."""
        pacing = Pacing(workers)
        paces = [pacing.pace(_endpoint(f"e{number}"), 0.0) for number in range(endpoints)]
        for pace in paces:
            pacing.enter(pace)
        for pace in paces:
            pacing.take(pace, pacing.room(pace, 0.0), 0.0)

        assert all(pace.in_flight < workers for pace in paces)
        assert pacing.free == 0
        assert sum(pace.in_flight > 0 for pace in paces) >= min(workers // math.ceil(workers / endpoints), endpoints)

    def test_what_one_cannot_use_others_have(self) -> None:
        """An endpoint that has one probe leaves seven of eight slots to the other."""
        pacing = Pacing(8)
        dead, well = (pacing.pace(_endpoint(name), 0.0) for name in ("dead", "well"))
        pacing.enter(dead)
        pacing.enter(well)
        dead.failed(dead.epoch, 0.0, 15.0)

        assert (pacing.room(dead, 0.0), pacing.room(well, 0.0)) == (1, 7)

    def test_an_endpoint_that_was_made_anew_begins_anew(self) -> None:
        """What was known of one that was removed says nothing of another of its name."""
        pacing = Pacing(8)
        pacing.pace(_endpoint("a", created_at=1.0), 0.0).failed(0, 0.0, 15.0)

        assert pacing.pace(_endpoint("a", created_at=2.0), 0.0).limit(0.0) == 8

    def test_only_what_is_worth_keeping_is_kept(self) -> None:
        """One that fails is remembered, however few slots there are; one at rest is not."""
        pacing = Pacing(1)
        failing, well = (pacing.pace(_endpoint(name), 0.0) for name in ("failing", "well"))
        failing.failed(failing.epoch, 0.0, 15.0)
        pacing.tidy(0.0)

        assert pacing.pace(_endpoint("failing"), 0.0) is failing
        assert pacing.pace(_endpoint("well"), 0.0) is not well


class TestAhead:
    def test_nothing_is_claimed_ahead_before_the_first_answer(self) -> None:
        """Nobody knows how long it takes."""
        assert Pace(4).ahead(4) == 0

    @pytest.mark.parametrize(
        ("took", "slots", "rows"),
        [(0.0, 4, 4 * MAX_AHEAD), (0.01, 4, 20), (AHEAD, 4, 4), (0.02, 2, 5), (4 * AHEAD, 4, 1), (1.0, 4, 0)],
        ids=["at once", "quick", "one each", "fewer slots", "slow", "too slow"],
    )
    def test_as_many_are_claimed_ahead_as_are_likely_to_begin_very_soon(
        self, took: float, slots: int, rows: int
    ) -> None:
        """With the slots that it has, and no more than a few for each of them."""
        pace = Pace(4)
        pace.succeeded(took)

        assert pace.ahead(slots) == rows

    def test_an_endpoint_that_fails_or_stalls_has_nothing_claimed_ahead(self) -> None:
        """Until it has answered again; after a failure no more than for the attempts that it may have then."""
        pace = Pace(8)
        seen = []
        for happens in (pace.stalled, lambda: pace.failed(pace.epoch, 0.0, 15.0)):
            pace.succeeded(0.0)
            happens()
            seen.append(pace.ahead(8))
        pace.succeeded(0.0)

        assert (seen, pace.ahead(8)) == ([0, 0], 2 * MAX_AHEAD)

    def test_a_rate_has_nothing_claimed_ahead(self) -> None:
        """What may begin is claimed when it may."""
        pace = Pace(4)
        pace.set_rate(1000.0, 0.0)
        pace.succeeded(0.001)

        assert pace.ahead(4) == 0

    def test_it_follows_what_attempts_take(self) -> None:
        """One slow answer among quick ones changes little, and many do."""
        pace = Pace(1)
        for _ in range(50):
            pace.succeeded(0.01)
        quick = pace.ahead(1)
        pace.succeeded(0.05)
        once = pace.ahead(1)
        for _ in range(50):
            pace.succeeded(0.05)

        assert (quick, once, pace.ahead(1)) == (5, 3, 1)

    def test_another_endpoint_that_wants_slots_halves_it(self) -> None:
        """What is claimed ahead is for the share of slots that an endpoint has."""
        pacing = Pacing(8)
        one, other = (pacing.pace(_endpoint(name), 0.0) for name in "ab")
        one.succeeded(0.0)
        pacing.enter(one)
        alone = pacing.ahead(one, 0.0)
        pacing.enter(other)

        assert (alone, pacing.ahead(one, 0.0)) == (8 * MAX_AHEAD, 4 * MAX_AHEAD)


class TestCrowd:
    @pytest.fixture
    def pacing(self) -> Pacing:
        """Two slots, which others have, and eight endpoints that want some."""
        made = Pacing(2)
        for number in range(8):
            made.enter(made.pace(_endpoint(f"e{number}"), 0.0))
        for number in (6, 7):
            made.take(made.pace(_endpoint(f"e{number}"), 0.0), 1, 0.0)
        return made

    def test_nothing_is_claimed_ahead_before_the_first_answer(self, pacing: Pacing) -> None:
        """Nor after slots were not free as soon as they were."""
        first = pacing.pace(_endpoint("e0"), 0.0)
        seen = [pacing.ahead(first, 0.0)]
        pacing.took(0.001)
        seen.append(pacing.ahead(first, 0.0))
        pacing.stalled()
        seen.append(pacing.ahead(first, 0.0))

        assert (seen, pacing.most_ahead) == ([0, 1, 0], 0)

    @pytest.mark.parametrize(
        ("took", "rows"),
        [(0.0, 2 * MAX_AHEAD), (0.01, 10), (AHEAD, 2), (2 * AHEAD, 1), (1.0, 0)],
        ids=["at once", "quick", "one each", "slow", "too slow"],
    )
    def test_all_endpoints_together_have_as_many_ahead_as_are_likely_to_begin_very_soon(
        self, pacing: Pacing, took: float, rows: int
    ) -> None:
        """Whichever of them it is, a row waits for whatever has a slot."""
        pacing.took(took)

        assert pacing.most_ahead == rows

    def test_it_follows_how_long_slots_are_held(self, pacing: Pacing) -> None:
        """One slow attempt among quick ones changes little, and many do."""
        for _ in range(50):
            pacing.took(0.01)
        pacing.took(0.05)
        once = pacing.most_ahead
        for _ in range(50):
            pacing.took(0.05)

        assert (once, pacing.most_ahead) == (6, 2)

    def test_each_has_one_row_ahead_that_is_not_known_to_be_slow_or_to_fail(self, pacing: Pacing) -> None:
        """Not one that has a slot, fails or has a rate; one that is quick has its part of what all may have."""
        pacing.took(0.0)
        new, failing, limited, quick = (pacing.pace(_endpoint(f"e{number}"), 0.0) for number in range(4))
        busy = pacing.pace(_endpoint("e6"), 0.0)
        failing.failed(failing.epoch, 0.0, 15.0)
        limited.set_rate(1.0, 0.0)
        quick.succeeded(0.0)

        assert [pacing.ahead(pace, 0.0) for pace in (new, failing, limited, quick, busy)] == [
            1, 0, 0, 2 * MAX_AHEAD // 8, 0,
        ]  # fmt: skip

    def test_where_slots_are_free_nothing_is_claimed_ahead_of_what_is_not_known(self, pacing: Pacing) -> None:
        """It has a slot then."""
        pacing.took(0.0)
        pacing.ended(pacing.pace(_endpoint("e6"), 0.0))

        assert pacing.ahead(pacing.pace(_endpoint("e0"), 0.0), 0.0) == 0
