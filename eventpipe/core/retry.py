"""When a batch is sent again: backoff with jitter and a floor, Retry-After, which status is worth another attempt.

Plain functions of their arguments: no clock and no source of chance of their own.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventpipe.options import RetryPolicy

# Batches parked by one Retry-After spread over at least this many seconds times ``jitter``: with the default of a half
# that is two seconds, and the chance that twenty of them wake within one second is 2 in 100 000.
MIN_SPREAD = 4.0

# RFC 9111, section 1.2.2: delta-seconds too great to represent count as 2^31.
MAX_DELTA = float(2**31)

MAX_VALUES = 8  # Retry-After headers of one answer, in which there should be one

_NOT_RETRYABLE_5XX = frozenset({501, 505})
_RETRYABLE_4XX = frozenset({408, 429})

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_SHORT_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_TIME = r"(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})"
# Names of days and months are English whatever the locale, which strptime() would follow.
_DATES = (
    rf"{_SHORT_DAY}, (?P<day>\d{{2}}) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
    rf"{_LONG_DAY}, (?P<day>\d{{2}})-{_MONTH}-(?P<year>\d{{2}}) {_TIME} GMT",
    rf"{_SHORT_DAY} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
)
_DELTA = re.compile(r"\d+", re.ASCII)
_LEAP_SECOND = 60


def backoff(policy: RetryPolicy, attempt: int, random: Callable[[], float], retry_after: float | None = None) -> float:
    """Say how long to wait between a failed attempt and the next one.

    Without ``retry_after`` the delay is uniform in ``[(1 - jitter) * base, base]``, where base is ``initial`` times
    ``factor`` per earlier attempt, at most ``max_delay``.

    ``retry_after`` is a floor and the random part comes on top of it. All batches that one outage parked are told the
    same number, and the random part of an early backoff is a fraction of a second: that alone would wake them all
    in the same second. So the random part grows with the floor, from ``MIN_SPREAD`` up to ``max_delay``, each times
    ``jitter``: twenty batches told "1 s" come back over two seconds, twenty told "60 s" over fifteen. With
    ``jitter=0`` there is no random part, as asked.

    Args:
        policy: The bounds.
        attempt: The attempt that failed, counted from 1.
        random: A source of floats, uniform in ``[0, 1)``.
        retry_after: Seconds the far end asked for, clamped at ``policy.max_retry_after``; ``None``: it did not say.

    Returns:
        Seconds, never below ``policy.min_delay``.
    """
    base = _base(policy, attempt)
    floor = (1.0 - policy.jitter) * base
    spread = base
    if retry_after is not None:
        floor = max(floor, min(retry_after, policy.max_retry_after))
        spread = min(policy.max_delay, max(base, floor, MIN_SPREAD))
    return max(policy.min_delay, floor + policy.jitter * spread * random())


def _base(policy: RetryPolicy, attempt: int) -> float:
    try:
        # float(): an integer factor to a large power would be an exact number of as many digits.
        return min(policy.max_delay, policy.initial * float(policy.factor) ** (attempt - 1))
    except OverflowError:
        return policy.max_delay


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header.

    Args:
        value: The header: seconds, or a date in one of the three forms of HTTP. Several headers are joined by a comma
            and a space, and the longest wait among those that say something counts. ``None``: it was absent.
        now: Wall clock, seconds since the epoch; a date counts from here.

    Returns:
        Seconds to wait, above zero and finite. ``None`` when the header is absent or says nothing: zero, negative,
        a moment that has passed, or anything else.

    Source:
        RFC 9110, section 10.2.3.
    """
    if value is None:
        return None
    values = value.split(", ", MAX_VALUES)[:MAX_VALUES]
    if len(values) > 1:  # several, or a date, which has such a comma as well
        values += [", ".join(pair) for pair in pairwise(values)]
    return max(filter(None, (_seconds(value.strip(" \t"), now) for value in values)), default=None)


def _seconds(value: str, now: float) -> float | None:
    if _DELTA.fullmatch(value):
        return min(float(value), MAX_DELTA) or None
    stamp = parse_http_date(value, now)
    return stamp - now if stamp is not None and stamp > now else None


def parse_http_date(value: str | None, now: float) -> float | None:
    """Read a date as HTTP writes it: RFC 1123, RFC 850 or asctime, always in UTC.

    Args:
        value: The date; ``None``: it was absent.
        now: Wall clock, seconds since the epoch; tells the century of a two-digit year.

    Returns:
        Seconds since the epoch, or ``None`` when it is no such date.

    Source:
        RFC 9110, section 5.6.7.
    """
    match = next(filter(None, (pattern.fullmatch(value or "") for pattern in _date_patterns())), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, now)
    second = int(match["second"])
    if second > _LEAP_SECOND:
        return None
    try:
        moment = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(second, _LEAP_SECOND - 1),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return moment.timestamp() + (second == _LEAP_SECOND)


@cache  # compiled for the first date: importing the package does without
def _date_patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.ASCII) for pattern in _DATES)


def _full_year(two_digits: int, now: float) -> int:
    """The year with these last digits that is at most 50 years ahead."""
    this_year = datetime.fromtimestamp(now, UTC).year
    year = this_year - this_year % 100 + two_digits
    if year > this_year + 50:
        return year - 100
    return year if year > this_year - 50 else year + 100


def is_retryable_status(status: int) -> bool:
    """Say whether the same request may succeed later: 408, 429, and every 5xx but 501 and 505."""
    if 500 <= status <= 599:
        return status not in _NOT_RETRYABLE_5XX
    return status in _RETRYABLE_4XX
