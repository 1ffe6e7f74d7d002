"""What is learned of how large a batch may be."""

from __future__ import annotations

from eventpipe.transport.limits import LEARNED_FOR, MAX_LEARNED, BatchLimits


def test_half_of_what_was_refused_is_the_limit_of_that_lane() -> None:
    """Of no other; and what is refused again halves it again."""
    limits = BatchLimits(1000)
    assert limits.of(None, 0.0) == 1000

    limits.learn("ai", 900, now=0.0)
    assert (limits.of("ai", 1.0), limits.of(None, 1.0)) == (450, 1000)

    limits.learn("ai", 400, now=1.0)
    assert limits.of("ai", 2.0) == 200


def test_a_limit_only_shrinks_while_it_holds() -> None:
    """A larger batch that was under way is refused later than a smaller one; and one byte is the least."""
    limits = BatchLimits(1000)
    limits.learn(None, 400, now=0.0)

    limits.learn(None, 1000, now=1.0)
    assert limits.of(None, 2.0) == 200

    limits.learn(None, 1, now=2.0)
    assert limits.of(None, 3.0) == 1


def test_a_limit_is_forgotten_after_an_hour() -> None:
    """Counted from when it was learned last: a far end may be set to take more one day."""
    limits = BatchLimits(1000)
    limits.learn(None, 900, now=0.0)
    limits.learn(None, 900, now=100.0)

    assert limits.of(None, 100.0 + LEARNED_FOR - 1) == 450
    assert limits.of(None, 100.0 + LEARNED_FOR) == 1000


def test_limits_of_so_many_lanes_are_kept_and_the_oldest_goes_first() -> None:
    """A sink may name a lane per customer."""
    limits = BatchLimits(1000)
    for number in range(MAX_LEARNED):
        limits.learn(f"lane {number}", 900, now=0.0)
    limits.learn("lane 0", 400, now=1.0)  # the latest now

    limits.learn("one more", 900, now=2.0)

    found = [limits.of(lane, 3.0) for lane in ("lane 0", "lane 1", "lane 2", "one more")]
    assert found == [200, 1000, 450, 450]
