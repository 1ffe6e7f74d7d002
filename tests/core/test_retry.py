"""Delays, Retry-After and retryable statuses, by tables."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.core.retry import MAX_DELTA, backoff, is_retryable_status, parse_http_date, parse_retry_after
from eventpipe.options import RetryPolicy

DEFAULT = RetryPolicy()
NOW = 784_111_777.0 - 30  # half a minute before the examples of RFC 9110
ALMOST_ONE = 1 - 2**-53


def lowest() -> float:
    return 0.0


def highest() -> float:
    return ALMOST_ONE


@pytest.mark.parametrize(
    ("attempt", "base"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 16.0), (7, 30.0), (8, 30.0), (100, 30.0)],
)
def test_a_delay_is_uniform_in_the_upper_half_of_its_base(attempt: int, base: float) -> None:
    """The defaults double from half a second up to thirty, and half of each delay is random."""
    assert backoff(DEFAULT, attempt, lowest) == base / 2
    assert backoff(DEFAULT, attempt, lambda: 0.5) == base * 0.75
    assert backoff(DEFAULT, attempt, highest) == pytest.approx(base)


@pytest.mark.parametrize("factor", [2.0, 1e9, 1.0000001], ids=str)
@pytest.mark.parametrize("attempt", [1_100, 10**6, 10**12], ids=str)
def test_an_enormous_attempt_number_waits_the_longest_delay_at_most(attempt: int, factor: float) -> None:
    """A power too large for a float is the bound, at once, and not an error."""
    policy = RetryPolicy(factor=factor)

    assert 0 < backoff(policy, attempt, highest) <= policy.max_delay


@pytest.mark.parametrize(
    ("jitter", "shortest", "longest"), [(0.0, 8.0, 8.0), (0.25, 6.0, 8.0), (1.0, 0.1, 8.0)], ids=str
)
def test_jitter_is_the_part_of_the_delay_that_is_random(jitter: float, shortest: float, longest: float) -> None:
    """None of it, a quarter, all of it down to the shortest delay."""
    policy = RetryPolicy(jitter=jitter)

    assert backoff(policy, 5, lowest) == shortest
    assert backoff(policy, 5, highest) == pytest.approx(longest)


def test_no_delay_is_shorter_than_the_shortest() -> None:
    """Neither jitter nor a tiny Retry-After undercuts ``min_delay``."""
    policy = RetryPolicy(initial=0.01, min_delay=0.1, jitter=1.0)

    assert backoff(policy, 1, lowest) == 0.1
    assert backoff(policy, 1, highest) == 0.1
    assert backoff(policy, 1, lowest, retry_after=0.001) == 0.1


@pytest.mark.parametrize(
    ("attempt", "retry_after", "shortest", "longest"),
    [
        (1, 1.0, 1.0, 3.0),
        (1, 10.0, 10.0, 15.0),
        (1, 60.0, 60.0, 75.0),
        (1, 300.0, 300.0, 315.0),
        (1, 3600.0, 300.0, 315.0),
        (1, MAX_DELTA, 300.0, 315.0),
        (8, 1.0, 15.0, 30.0),
    ],
    ids=["short", "longer", "spread at its bound", "at the clamp", "clamped", "huge", "below the backoff"],
)
def test_retry_after_is_a_floor_with_jitter_on_top(
    attempt: int, retry_after: float, shortest: float, longest: float
) -> None:
    """The far end's wish, clamped, is the shortest delay; the random part is added to it."""
    assert backoff(DEFAULT, attempt, lowest, retry_after) == shortest
    assert backoff(DEFAULT, attempt, highest, retry_after) == pytest.approx(longest)


@given(
    attempt=st.integers(1, 10_000),
    retry_after=st.one_of(st.none(), st.floats(0.001, 1e9)),
    chance=st.floats(0, 1, exclude_max=True),
    jitter=st.floats(0, 1),
)
def test_a_delay_keeps_all_its_bounds(attempt: int, retry_after: float | None, chance: float, jitter: float) -> None:
    """Never below the clamped Retry-After or the shortest delay, never above the floor plus the random part."""
    policy = RetryPolicy(jitter=jitter)

    delay = backoff(policy, attempt, lambda: chance, retry_after)

    floor = min(retry_after or 0.0, policy.max_retry_after)
    assert max(floor, policy.min_delay) <= delay <= max(floor, policy.max_delay) + jitter * policy.max_delay


@pytest.mark.parametrize("retry_after", [1.0, 5.0, 60.0, 3600.0], ids=str)
def test_twenty_batches_told_the_same_retry_after_do_not_wake_in_one_second(retry_after: float) -> None:
    """In a thousand rounds of twenty, no round falls into one second."""
    chance = random.Random(20)
    spreads = []
    for _ in range(1_000):
        delays = [backoff(DEFAULT, 1, chance.random, retry_after) for _ in range(20)]
        spreads.append(max(delays) - min(delays))

    assert min(spreads) > 1.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        ("120", 120.0),
        (" 120\t", 120.0),
        ("007", 7.0),
        ("9" * 400, MAX_DELTA),
        ("9" * 100_000, MAX_DELTA),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 30.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 30.0),
        ("Sun Nov  6 08:49:37 1994", 30.0),
        ("Thu Nov 10 08:49:37 1994", 30.0 + 4 * 86_400),
        ("Tue, 06 Nov 2294 08:49:37 GMT", pytest.approx(300 * 365.2425 * 86_400, rel=1e-3)),
    ],
    ids=[
        "one",
        "seconds",
        "space around",
        "leading zeros",
        "more than a float",
        "more than an int may have digits",
        "RFC 1123",
        "RFC 850",
        "asctime",
        "asctime with two digits",
        "far away",
    ],
)
def test_retry_after_is_read_as_seconds_or_any_http_date(value: str | None, seconds: float) -> None:
    """Delta-seconds, and the three forms of a date."""
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("9, 7", 9.0),
        ("7, 9", 9.0),
        ("7, soon", 7.0),
        ("soon, 7", 7.0),
        ("0, -1", None),
        ("7, Sun, 06 Nov 1994 08:49:37 GMT", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT, 7", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:47 GMT", 40.0),
        ("soon, " * 8 + "7", None),
        ("1, " * 100_000, 1.0),
    ],
    ids=lambda value: f"{value:.40}" if isinstance(value, str) else "",
)
def test_of_several_retry_after_headers_the_longest_wait_counts(value: str, seconds: float | None) -> None:
    """Among the first eight of them, those that say something."""
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "0",
        "000",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "0x10",
        "inf",
        "nan",
        "1,2",
        "1 2",
        "١٢",
        "soon",
        "10 s",
        "X10",
        "10X",
        "10\n",
        "Sun, 06 Nov 1994 08:49:06 GMT",
        "Sun, 06 Nov 1994 08:49:07 GMT",
        "Sunday, 06-Nov-93 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1993",
        "Sun, 31 Feb 2094 08:49:37 GMT",
        "Sun, 06 Nov 2094 24:49:37 GMT",
        "Sun, 06 Nov 2094 08:60:37 GMT",
        "Sun, 06 Nov 2094 08:49:61 GMT",
        "Sun, 06 Nov 2094 08:49:37 CET",
        "Sun, 06 Nov 2094 08:49:37 +0000",
        "Sun, 6 Nov 2094 08:49:37 GMT",
        "Son, 06 Nov 2094 08:49:37 GMT",
        "2094-11-06T08:49:37Z",
        "Sun, 06 Nov 0000 08:49:37 GMT",
    ],
    ids=lambda value: ascii(value).replace("\\", "/"),  # a backslash would be escaped at each collection
)
def test_retry_after_that_says_nothing_is_absent(value: str | None) -> None:
    """Zero, negative, past, or no number and no date of HTTP."""
    assert parse_retry_after(value, NOW) is None


@pytest.mark.parametrize(
    ("two_digits", "now_year", "year"),
    [
        ("94", 1994, 1994),
        ("44", 1994, 2044),
        ("45", 1994, 1945),
        ("76", 2026, 2076),
        ("77", 2026, 1977),
        ("01", 2099, 2101),
    ],
)
def test_a_two_digit_year_is_at_most_fifty_years_ahead(two_digits: str, now_year: int, year: int) -> None:
    """RFC 9110: a date that appears more than fifty years ahead is of the century before."""
    now = parse_http_date(f"Mon, 01 Jan {now_year} 00:00:00 GMT", 0.0)
    assert now is not None

    stamp = parse_http_date(f"Monday, 01-Jan-{two_digits} 00:00:00 GMT", now)

    assert stamp == parse_http_date(f"Mon, 01 Jan {year} 00:00:00 GMT", 0.0)


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is fourteen hours ahead."""
    monkeypatch.setenv("TZ", "<+14>-14")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_dates_are_in_utc_wherever_the_machine_is() -> None:
    """A date of HTTP, and the century of a two-digit year: at the end of 1994 UTC, it is 1995 there."""
    now = 788_918_399.0  # Sat, 31 Dec 1994 23:59:59 GMT

    assert parse_http_date("Sat, 31 Dec 1994 23:59:59 GMT", now) == now
    assert parse_http_date("Sunday, 01-Jan-45 00:00:00 GMT", now) == parse_http_date(
        "Mon, 01 Jan 1945 00:00:00 GMT", now
    )


def test_a_leap_second_is_the_second_after_59() -> None:
    """HTTP allows :60; it is the same moment as the next minute."""
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW) == parse_http_date(
        "Sun, 01 Jan 2017 00:00:00 GMT", NOW
    )


@given(st.integers(0, 4_102_444_800))
def test_a_date_is_read_back_to_the_second(stamp: int) -> None:
    """Whatever a server writes in the usual form is the same moment here."""
    assert parse_http_date(formatdate(stamp, usegmt=True), NOW) == stamp


def test_only_some_statuses_are_worth_another_attempt() -> None:
    """408, 429 and 5xx without 501 and 505, and nothing else."""
    retryable = {status for status in range(-1, 1_000) if is_retryable_status(status)}

    assert retryable == {408, 429} | (set(range(500, 600)) - {501, 505})
