"""When a reconciler looks for rows that a clock which was set back left lying."""

from __future__ import annotations

from eventpipe.delivery.setback import Setback

WALL = 1_700_000_000.0


def looks(setback: Setback, *moments: tuple[float, float]) -> list[bool]:
    """Whether it looked, at each of these (seconds on the wall clock, on the loop's)."""
    found = []
    for wall, loop in moments:
        found.append(setback.is_looked_for(WALL + wall, loop))
        if found[-1]:
            setback.looked(loop)
    return found


def settled() -> Setback:
    """One that knows the clock."""
    setback = Setback(60.0)
    assert looks(setback, (0, 0), (60, 60)) == [True, True]
    return setback


def test_it_looks_at_first_and_for_as_long_as_somebody_may_have_a_row() -> None:
    """Nobody knows how the clock was set before; the last look is at the end of that time, or after it."""
    assert looks(Setback(60.0), (0, 0), (59, 59), (75, 75), (90, 90)) == [True, True, True, False]


def test_it_looks_when_the_clock_lost_more_than_a_second() -> None:
    """And not for a second."""
    assert looks(settled(), (99, 100), (113.9, 115), (175, 176.1), (190, 191.1)) == [False, True, True, False]


def test_many_small_steps_back_are_a_large_one() -> None:
    """They are counted from the moment at which the clock was furthest ahead."""
    assert looks(settled(), (99.6, 100), (109.2, 110), (118.8, 120)) == [False, False, True]


def test_a_clock_that_is_set_forward_is_looked_into_when_it_is_set_right() -> None:
    """What was published meanwhile is due too late then."""
    assert looks(settled(), (86_500, 100), (110, 110)) == [False, True]


def test_a_look_that_failed_is_made_again() -> None:
    """However long that takes."""
    setback = settled()
    assert setback.is_looked_for(WALL, 100.0)
    assert setback.is_looked_for(WALL + 1000, 1100.0)
    setback.looked(1100.0)
    assert not setback.is_looked_for(WALL + 1010, 1110.0)
